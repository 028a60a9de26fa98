//! One conversation with git, from the handshake until git closes the pipe.
//!
//! **For:** `filter.dits.process`: one process for all files of a git command.
//!
//! **May touch:** the two streams it is handed, and what answering touches.
//!
//! **Must hold:** requests are answered one by one, in order; a conversation that is not
//! understood ends with an error and not with a guess.
//!
//! **Format:** `docs/protocols/filter-v2.md`.

use std::io::{self, Read, Write};

use crate::answer::{self, Status};
use crate::clean::{Cleaning, NotStored};
use crate::input::{Content, Input, InputError};
use crate::passing::PassError;
use crate::report::{Report, shown};
use crate::request::{self, Request, RequestError};
use crate::smudge::Smudging;
use dits_core::operations::clean::CleanError;
use dits_core::store::WriteError;

const CAPABILITIES: [&[u8]; 3] = [b"capability=clean", b"capability=smudge", b"capability=delay"];

/// A conversation that could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// What git sent cannot be understood.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A request makes no sense.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Git does not hear us any more, or a content could not be passed on.
    #[error(transparent)]
    Pass(PassError),
    /// Git does not hear us any more.
    #[error("cannot answer git")]
    Output(#[from] io::Error),
    /// The other end is not git, or speaks another version.
    #[error("the other end does not speak version 2 of git's filter protocol")]
    Handshake,
}

impl From<PassError> for SessionError {
    fn from(error: PassError) -> Self {
        match error {
            PassError::Input(error) => SessionError::Input(error),
            PassError::Output(error) => SessionError::Output(error),
            error => SessionError::Pass(error),
        }
    }
}

/// Answers all that git asks until it closes the pipe.
///
/// # Errors
///
/// [`SessionError`]; what was stored until then stays stored.
pub fn run<R: Read + Send, W: Write>(
    from: R,
    mut to: W,
    cleaning: &mut Cleaning<'_>,
    smudging: &mut Smudging<'_, '_>,
    report: &mut Report<'_>,
) -> Result<(), SessionError> {
    let mut input = Input::new(from);
    if !shake_hands(&mut input, &mut to)? {
        return Ok(());
    }
    while let Some(lines) = input.lines()? {
        match request::parse(&lines)? {
            Request::ListAvailable => smudging.list_available(&mut to, report)?,
            Request::Clean { path } => clean(&path, input.content()?, &mut to, cleaning, report)?,
            Request::Smudge { path, can_delay } => {
                let mut content = input.content()?;
                smudging.smudge(path, can_delay, &mut |block| content.fill(block), &mut to, report)?;
            }
        }
    }
    Ok(())
}

/// Agrees with git on version and capabilities; false if git has gone already.
fn shake_hands<R: Read>(input: &mut Input<R>, to: &mut impl Write) -> Result<bool, SessionError> {
    let Some(hello) = input.lines()? else { return Ok(false) };
    let speaks_v2 = hello.iter().skip(1).any(|line| line == b"version=2");
    if hello.first().is_none_or(|line| line != b"git-filter-client") || !speaks_v2 {
        return Err(SessionError::Handshake);
    }
    answer::lines(to, ["git-filter-server", "version=2"])?;
    let Some(offered) = input.lines()? else { return Ok(false) };
    // Git dies of a capability that it did not offer.
    answer::lines(to, CAPABILITIES.iter().filter(|capability| offered.iter().any(|line| line == *capability)))?;
    Ok(true)
}

fn clean<R: Read + Send>(
    path: &[u8],
    mut content: Content<'_, R>,
    to: &mut impl Write,
    cleaning: &mut Cleaning<'_>,
    report: &mut Report<'_>,
) -> Result<(), SessionError> {
    match cleaning.clean(path, &mut |block| content.fill(block))? {
        Ok(cleaned) => {
            if let Some(warning) = cleaned.warning {
                report.warning(&format!("{} {warning}", shown(path)));
            }
            answer::content(to, &cleaned.outcome.bytes())?;
        }
        Err(error) => {
            tell_not_stored(path, &error, report);
            answer::status(to, Status::Error)?;
        }
    }
    Ok(())
}

/// Says why a content was not stored, and what helps.
pub fn tell_not_stored(path: &[u8], error: &NotStored, report: &mut Report<'_>) {
    let hint = match error {
        NotStored::Open(_) => None,
        NotStored::Clean(error) => match **error {
            CleanError::Write { source: WriteError::Full { .. }, .. } | CleanError::Commit(WriteError::Full { .. }) => {
                Some("free some space there and run the same command again".to_owned())
            }
            CleanError::Conflicted => Some(format!(
                "take one side with `git checkout --ours {0}` or `git checkout --theirs {0}`, then add it",
                shown(path)
            )),
            _ => None,
        },
    };
    let hints: Vec<_> = hint.iter().map(String::as_str).collect();
    report.error(&format!("cannot store {}", shown(path)), Some(error), &hints);
}
