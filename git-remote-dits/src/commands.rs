//! What stands at the start of a push: the far end's refs, and what git asks to change.
//!
//! **For:** the gate, which must know the new commits before git goes on.
//!
//! **May touch:** the streams it is handed.
//!
//! **Must hold:** every byte read is kept or passed on exactly as it came; what is kept is
//! bounded.
//!
//! **Format:** `gitprotocol-pack(5)`, and `docs/protocols/remote-helper.md`.

use std::collections::HashSet;
use std::io::{self, Read, Write};

use bstr::{BString, ByteSlice};
use dits_core::repo::pointer_walk::GitId;
use dits_core::wire::packet_line::{self, Header, PAYLOAD_LEN_MAX};

/// Longest list of commands that is held, in bytes: half a million refs.
const COMMANDS_LEN_MAX: usize = 64 * 1024 * 1024;

/// Passes the advertisement of refs on and returns the objects it names. `None` if the
/// stream ended inside it, as after an error of the far end.
pub fn pass_advertisement(from: &mut impl Read, to: &mut impl Write) -> io::Result<Option<Vec<GitId>>> {
    let mut ids = Vec::new();
    let mut payload = Vec::new();
    loop {
        let Some(header) = packet_line::read(from, &mut payload, PAYLOAD_LEN_MAX)? else {
            to.flush()?;
            return Ok(None);
        };
        pass(header, &payload, to)?;
        match header {
            Header::Data(_) => ids.extend(advertised(&payload)),
            _ => {
                to.flush()?;
                return Ok(Some(ids));
            }
        }
    }
}

/// The object of `<id> <name>`; nothing for the line that only carries capabilities.
fn advertised(line: &[u8]) -> Option<GitId> {
    let id = GitId::parse(line.split(|byte| *byte == b' ').next()?)?;
    (!id.is_null()).then_some(id)
}

/// What git asks of the far end, held back.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Commands {
    /// The bytes as they came, the flush at their end included.
    pub held: Vec<u8>,
    /// The objects that refs are to name: none for deletions.
    pub tips: Vec<GitId>,
    /// The refs that are to change, in order.
    pub refs: Vec<BString>,
    /// What git said it can do, separated by spaces.
    capabilities: BString,
    /// The list did not end: git has gone away.
    pub is_cut_off: bool,
}

impl Commands {
    /// Reads up to the first flush, or the end of the stream.
    pub fn read(from: &mut impl Read) -> io::Result<Commands> {
        let mut commands = Commands::default();
        let mut seen = HashSet::new();
        let mut payload = Vec::new();
        loop {
            let Some(header) = packet_line::read(from, &mut payload, PAYLOAD_LEN_MAX)? else {
                commands.is_cut_off = true;
                return Ok(commands);
            };
            pass(header, &payload, &mut commands.held)?;
            let Header::Data(_) = header else { return Ok(commands) };
            if commands.held.len() > COMMANDS_LEN_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the list of refs to push is too long"));
            }
            commands.take(&payload, &mut seen);
        }
    }

    fn take(&mut self, payload: &[u8], seen: &mut HashSet<GitId>) {
        let (line, capabilities) = payload.split_once_str(b"\0").unwrap_or((payload, b""));
        if self.capabilities.is_empty() {
            self.capabilities = capabilities.trim_ascii_end().into();
        }
        let Some((new, name)) = command(line) else { return };
        self.refs.push(name.into());
        if !new.is_null() && seen.insert(new) {
            self.tips.push(new);
        }
    }

    /// Whether git said that it can do this.
    pub fn wants(&self, capability: &str) -> bool {
        self.capabilities.split_str(" ").any(|one| one == capability.as_bytes())
    }
}

/// The new object and the ref of `<old> <new> <ref>`. A push certificate holds the same lines,
/// and no other line of it begins with two ids.
fn command(line: &[u8]) -> Option<(GitId, &[u8])> {
    let mut words = line.trim_ascii_end().splitn(3, |byte| *byte == b' ');
    GitId::parse(words.next()?)?;
    let new = GitId::parse(words.next()?)?;
    words.next().filter(|name| !name.is_empty()).map(|name| (new, name))
}

fn pass(header: Header, payload: &[u8], to: &mut impl Write) -> io::Result<()> {
    match header {
        Header::Flush => packet_line::write_flush(to),
        Header::Delimiter => to.write_all(b"0001"),
        Header::ResponseEnd => to.write_all(b"0002"),
        Header::Data(_) => packet_line::write(to, payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const NULL: &str = "0000000000000000000000000000000000000000";

    fn packets(lines: &[String]) -> Vec<u8> {
        let mut bytes = Vec::new();
        lines.iter().for_each(|line| packet_line::write(&mut bytes, line.as_bytes()).expect("short"));
        packet_line::write_flush(&mut bytes).expect("in memory");
        bytes
    }

    fn id(hex: &str) -> GitId {
        GitId::parse(hex.as_bytes()).expect("hex")
    }

    #[test]
    fn an_advertisement_is_passed_on_and_its_objects_kept() {
        let lines = [
            "version 1\n".to_owned(),
            format!("{A} refs/heads/main\0report-status delete-refs\n"),
            format!("{B} .have\n"),
            format!("shallow {B}\n"),
        ];
        let (from, mut to) = (packets(&lines), Vec::new());
        let ids = pass_advertisement(&mut &from[..], &mut to).expect("read");
        assert_eq!((ids, &to), (Some(vec![id(A), id(B)]), &from));
        let empty = packets(&[format!("{NULL} capabilities^{{}}\0atomic\n")]);
        assert_eq!(pass_advertisement(&mut &empty[..], &mut Vec::new()).expect("read"), Some(vec![]));
        let mut error = Vec::new();
        packet_line::write(&mut error, b"ERR no").expect("short");
        assert_eq!(pass_advertisement(&mut &error[..], &mut Vec::new()).expect("read"), None);
    }

    #[test]
    fn commands_are_held_byte_for_byte_up_to_the_first_flush() {
        let lines = [
            format!("shallow {B}"),
            format!("{NULL} {A} refs/heads/main\0 report-status push-options"),
            format!("{B} {NULL} refs/heads/gone"),
            format!("{B} {A} refs/tags/x"),
        ];
        let mut from = packets(&lines);
        let held_len = from.len();
        from.extend_from_slice(b"0008opt=0000PACK");
        let mut reader = &from[..];
        let commands = Commands::read(&mut reader).expect("read");
        assert_eq!(commands.held, &from[..held_len]);
        assert!(commands.wants("report-status") && !commands.wants("report"));
        assert_eq!(commands.refs, ["refs/heads/main", "refs/heads/gone", "refs/tags/x"]);
        assert_eq!((commands.tips, commands.is_cut_off), (vec![id(A)], false));
        assert_eq!(reader, b"0008opt=0000PACK");
    }

    #[test]
    fn a_push_certificate_names_its_objects_too() {
        let lines = [
            "push-cert\0 report-status".to_owned(),
            "certificate version 0.1\n".to_owned(),
            "pusher A <a@b> 0 +0000\n".to_owned(),
            "\n".to_owned(),
            format!("{NULL} {A} refs/heads/main\n"),
            "-----BEGIN PGP SIGNATURE-----\n".to_owned(),
            "push-cert-end\n".to_owned(),
        ];
        let commands = Commands::read(&mut &packets(&lines)[..]).expect("read");
        assert_eq!(commands.tips, [id(A)]);
    }

    #[test]
    fn a_dry_run_and_a_git_that_went_away_ask_for_nothing() {
        assert_eq!(Commands::read(&mut &b"0000"[..]).expect("read").tips, []);
        assert!(Commands::read(&mut &b""[..]).expect("read").is_cut_off);
        assert!(Commands::read(&mut &b"00zz"[..]).is_err());
    }
}
