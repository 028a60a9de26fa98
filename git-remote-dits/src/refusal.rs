//! A push that the gate refuses, told to git in the far end's place.
//!
//! **For:** a refusal that git shows beside each ref, with no word about a lost connection.
//!
//! **May touch:** git's two streams.
//!
//! **Must hold:** nothing is said that git did not ask for: a report only where it wants one,
//! in bands only where it wants bands.
//!
//! **Format:** `gitprotocol-pack(5)`, "Report Status".

use std::io::{self, Read, Write};

use dits_core::wire::packet_line;

use crate::commands::Commands;

/// The band of a report.
const BAND_DATA: u8 = 1;
/// Longest piece in one packet of the older, narrow bands, its band included.
const NARROW_LEN_MAX: usize = 996;

/// Whether git wants to be told.
pub fn is_possible(commands: &Commands) -> bool {
    commands.wants("report-status") || commands.wants("report-status-v2")
}

/// Says that every command is refused, and reads what git still sends to its end.
pub fn tell(commands: &Commands, reason: &str, git_in: &mut impl Read, git_out: &mut dyn Write) -> io::Result<()> {
    let report = report(commands, reason)?;
    match (commands.wants("side-band-64k"), commands.wants("side-band")) {
        (false, false) => git_out.write_all(&report)?,
        (is_wide, _) => {
            let len_max = if is_wide { packet_line::PAYLOAD_LEN_MAX } else { NARROW_LEN_MAX };
            let mut packet = Vec::new();
            for piece in report.chunks(len_max - 1) {
                packet.clear();
                packet.push(BAND_DATA);
                packet.extend_from_slice(piece);
                packet_line::write(&mut &mut *git_out, &packet)?;
            }
            packet_line::write_flush(&mut &mut *git_out)?;
        }
    }
    git_out.flush()?;
    // Git listens to the report only once its pack is taken.
    io::copy(git_in, &mut io::sink()).map(drop)
}

fn report(commands: &Commands, reason: &str) -> io::Result<Vec<u8>> {
    let mut report = Vec::new();
    packet_line::write(&mut report, b"unpack ok\n")?;
    let reason = reason.replace('\n', " ");
    for name in &commands.refs {
        packet_line::write(&mut report, &[b"ng ", name.as_slice(), b" ", reason.as_bytes(), b"\n"].concat())?;
    }
    packet_line::write_flush(&mut report)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(capabilities: &str, refs: usize) -> Commands {
        let mut bytes = Vec::new();
        for number in 0..refs {
            let line = format!("{} {} refs/heads/{number}\0{capabilities}", "0".repeat(40), "a".repeat(40));
            packet_line::write(&mut bytes, line.as_bytes()).expect("short");
        }
        packet_line::write_flush(&mut bytes).expect("in memory");
        Commands::read(&mut &bytes[..]).expect("well formed")
    }

    fn told(commands: &Commands) -> String {
        let (mut git_in, mut git_out) = (&b"PACK"[..], Vec::new());
        tell(commands, "no\nway", &mut git_in, &mut git_out).expect("told");
        assert!(git_in.is_empty(), "what git sends is taken to its end");
        String::from_utf8(git_out).expect("text")
    }

    #[test]
    fn a_report_has_the_form_that_git_asked_for() {
        assert!(!is_possible(&commands("agent=x", 1)));
        let plain = "000eunpack ok\n001bng refs/heads/0 no way\n0000";
        assert_eq!(told(&commands("report-status", 1)), plain);
        let banded = format!("0032\u{1}{plain}0000");
        assert_eq!(told(&commands(" report-status-v2 side-band-64k", 1)), banded);
    }

    #[test]
    fn narrow_bands_stay_narrow() {
        let text = told(&commands("report-status side-band", 60));
        assert!(text.starts_with("03e8\u{1}") && text.ends_with("0000"), "{text}");
    }
}
