//! A push: git's commands wait at the gate, then everything flows.
//!
//! **For:** `connect git-receive-pack`.
//!
//! **May touch:** git's two streams, the far end, one unnamed temporary file in the git directory.
//!
//! **Must hold:**
//! - git's bytes reach the far end unchanged and in order;
//! - where the far end finds media missing, that media is uploaded and the same bytes are
//!   sent once more, to a new program; git hears only the last answer;
//! - without room for a copy the push goes on all the same, and only cannot be sent again.
//!
//! **Format:** `docs/protocols/remote-helper.md`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dits_core::wire::packet_line;

use crate::commands::{Commands, pass_advertisement};
use crate::far_end::{End, FarEnd, Link, Service};
use crate::gate;
use crate::here::Here;
use crate::refusal;
use crate::tunnel::{self, BUFFER_LEN, GitIn};
use dits_core::failure::Failure;

/// Longest answer of the far end that is held back until its end is known, in bytes. A
/// longer one comes from many refs or a talkative hook, and goes to git as it comes.
const ANSWER_LEN_MAX: usize = 1024 * 1024;

/// Runs a push to its end. Returns whether the far end did its work.
pub fn run(link: &Link, here: &Here, mut git_in: GitIn, git_out: &mut dyn Write) -> Result<bool, Failure> {
    let mut far = link.start(Service::ReceivePack, here)?;
    tunnel::accept(git_out)?;
    let Some(advertised) = pass_advertisement(&mut far.from, &mut &mut *git_out).map_err(lost)? else {
        return Ok(tunnel::ended(far.ending.wait()?));
    };
    let commands = Commands::read(&mut git_in).map_err(lost)?;
    if commands.is_cut_off {
        return Ok(true);
    }
    let needed = match gate::pass(link, here, &commands.tips, advertised) {
        Ok(needed) => needed,
        Err(failure) => {
            // A push of nothing lets the far end go without a word about a lost connection.
            let _ = packet_line::write_flush(&mut far.to);
            drop(far);
            return refuse(&commands, failure, &mut git_in, git_out);
        }
    };
    far.to.write_all(&commands.held).and_then(|()| far.to.flush()).map_err(lost)?;
    if !link.names_missing_media() {
        return tunnel::run(far, git_in, git_out);
    }
    let FarEnd { to, mut from, ending } = far;
    let sent = Arc::new(Mutex::new(Sent { spool: spool(here), to: Some(to) }));
    let feeder = Arc::clone(&sent);
    std::thread::spawn(move || feed(git_in, &feeder));
    let answer = hold(&mut from, git_out)?;
    let end = ending.wait()?;
    let is_kept = locked(&sent).spool.is_some();
    let may_mend = is_kept && answer.is_whole && !end.missing.is_empty();
    let is_mended = may_mend
        && gate::mend(link, here, &needed, &end.missing).unwrap_or_else(|failure| {
            // The far end's own refusal still goes to git, so that no ref is left without an answer.
            eprint!("{}", failure.text());
            false
        });
    if !is_mended {
        git_out.write_all(&answer.bytes).and_then(|()| git_out.flush()).map_err(lost)?;
        return Ok(tunnel::ended(end));
    }
    replay(link, here, &commands.held, &sent, git_out).map(tunnel::ended)
}

/// Tells people why, and git that every ref is refused, in a form that it shows as such.
fn refuse(commands: &Commands, failure: Failure, git_in: &mut GitIn, git_out: &mut dyn Write) -> Result<bool, Failure> {
    if !refusal::is_possible(commands) {
        return Err(failure);
    }
    eprint!("{}", failure.text());
    refusal::tell(commands, failure.message(), git_in, git_out).map_err(lost)?;
    Ok(false)
}

/// What git sends behind its commands, kept to be sent again.
struct Sent {
    /// `None` once there was no room for all of it.
    spool: Option<File>,
    to: Option<Box<dyn Write + Send>>,
}

/// A file beside the objects that are pushed: there is room for about as much, unlike in a
/// folder for temporary files, which may be memory.
fn spool(here: &Here) -> Option<File> {
    tempfile::tempfile_in(here.repository().ok()?.git_dir()).ok()
}

fn locked(sent: &Mutex<Sent>) -> MutexGuard<'_, Sent> {
    sent.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends what git says on, and keeps it, until git says no more.
fn feed(mut git_in: impl Read, sent: &Mutex<Sent>) {
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        let len = match git_in.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let mut sent = locked(sent);
        // Without a whole copy nothing can be sent again, which is no reason not to send it now.
        if sent.spool.as_mut().is_some_and(|spool| spool.write_all(&buffer[..len]).is_err()) {
            sent.spool = None;
        }
        let is_taken =
            sent.to.as_mut().is_some_and(|to| to.write_all(&buffer[..len]).and_then(|()| to.flush()).is_ok());
        if !is_taken {
            // The far end has ended; why shows in its answer.
            sent.to = None;
        }
    }
    locked(sent).to = None;
}

/// The far end's answer, held back.
struct Answer {
    bytes: Vec<u8>,
    /// Nothing of it has gone to git yet.
    is_whole: bool,
}

fn hold(from: &mut dyn Read, git_out: &mut dyn Write) -> Result<Answer, Failure> {
    let mut bytes = Vec::new();
    from.take(ANSWER_LEN_MAX as u64).read_to_end(&mut bytes).map_err(lost)?;
    if bytes.len() < ANSWER_LEN_MAX {
        return Ok(Answer { bytes, is_whole: true });
    }
    git_out.write_all(&bytes).map_err(lost)?;
    tunnel::copy(from, git_out).map_err(lost)?;
    Ok(Answer { bytes: Vec::new(), is_whole: false })
}

/// Sends the whole push once more. The old ids in the commands are those git saw, so a ref
/// that has moved since is refused by the far end as it should be.
fn replay(
    link: &Link,
    here: &Here,
    commands: &[u8],
    sent: &Arc<Mutex<Sent>>,
    git_out: &mut dyn Write,
) -> Result<End, Failure> {
    let FarEnd { mut to, mut from, ending } = link.start(Service::ReceivePack, here)?;
    pass_advertisement(&mut from, &mut io::sink()).map_err(lost)?;
    to.write_all(commands).map_err(lost)?;
    let sent = Arc::clone(sent);
    std::thread::spawn(move || {
        let mut sent = locked(&sent);
        let Some(spool) = sent.spool.as_mut() else { return };
        let sent_again = spool.seek(SeekFrom::Start(0)).and_then(|_| tunnel::copy(spool, &mut to));
        // Whether git goes on sending is up to git: the feeder takes over, at the end of the file.
        sent.to = sent_again.is_ok().then_some(to);
    });
    tunnel::copy(&mut from, git_out).map_err(lost)?;
    ending.wait()
}

/// A stream that broke.
pub fn lost(error: io::Error) -> Failure {
    Failure::new("the connection was lost").because(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A far end that keeps what it is told.
    #[derive(Clone, Default)]
    struct Far(Arc<Mutex<Vec<u8>>>);

    impl Write for Far {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panics").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn fed(spool: File) -> (Vec<u8>, Option<File>) {
        let far = Far::default();
        let sent = Mutex::new(Sent { spool: Some(spool), to: Some(Box::new(far.clone())) });
        feed(&PUSH[..], &sent);
        assert!(locked(&sent).to.is_none(), "the far end hears that nothing follows");
        let told = std::mem::take(&mut *far.0.lock().expect("nobody panics"));
        (told, locked(&sent).spool.take())
    }

    static PUSH: [u8; 3 * BUFFER_LEN + 7] = [7; 3 * BUFFER_LEN + 7];

    #[test]
    fn a_push_is_kept_whole_while_it_is_sent() {
        let (told, spool) = fed(tempfile::tempfile().expect("a temporary file"));
        let mut kept = Vec::new();
        let mut spool = spool.expect("there is room");
        spool.seek(SeekFrom::Start(0)).and_then(|_| spool.read_to_end(&mut kept)).expect("readable");
        assert!(told == PUSH && kept == PUSH);
    }

    #[test]
    fn without_room_for_a_copy_a_push_goes_on_and_there_is_no_part_of_one() {
        let full = File::options().write(true).open("/dev/full").expect("Linux has a full disk");
        let (told, spool) = fed(full);
        assert!(told == PUSH && spool.is_none());
    }
}
