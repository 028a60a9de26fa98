//! Objects by name, asked of one long-running `git cat-file`.
//!
//! **For:** sizes and contents of very many objects without a process for each.
//!
//! **May touch:** one git child.
//!
//! **Must hold:** an object that is not here is an answer, not an error, and is never
//! fetched from a promisor; no content longer than was asked for is read into memory.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{ChildStdin, ChildStdout};

use bstr::{BString, ByteSlice};

use super::budget::Budget;
use super::unpromised::without_promisor;
use super::{GitId, WalkError};
use crate::repo::git_program::{GitError, GitPipe, GitProgram};

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ObjectKind {
    Blob,
    Tree,
    Commit,
    Tag,
}

/// An object that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ObjectInfo {
    pub id: GitId,
    pub kind: ObjectKind,
    pub len: u64,
}

/// A running `git cat-file --batch-command`.
pub(super) struct Objects {
    /// `None` once an answer was not understood: the child was then stopped.
    pipe: Option<GitPipe>,
    to_git: ChildStdin,
    from_git: BufReader<ChildStdout>,
}

/// Most questions that are written before the answers are read.
const QUESTIONS_MAX: usize = 4096;

impl Objects {
    pub fn start(git: &GitProgram, budget: &Budget) -> Result<Objects, WalkError> {
        let git = without_promisor(git)?;
        let mut pipe = budget.start(&git, &["cat-file", "--batch-command", "-z"])?;
        let to_git = pipe.take_stdin().expect("taken once");
        let from_git = BufReader::with_capacity(64 * 1024, pipe.take_stdout().expect("taken once"));
        Ok(Objects { pipe: Some(pipe), to_git, from_git })
    }

    /// Says what each name stands for; `None` where nothing of that name is here.
    pub fn info(&mut self, names: &[BString]) -> Result<Vec<Option<ObjectInfo>>, WalkError> {
        let mut infos = Vec::with_capacity(names.len());
        for names in names.chunks(QUESTIONS_MAX) {
            self.ask(b"info ", names, |from_git, name| {
                infos.push(read_info(from_git, name)?);
                Ok(())
            })?;
        }
        Ok(infos)
    }

    /// Hands the content of each object to `take`, in order; `None` where it is not here.
    ///
    /// The caller has bounded their lengths by [`Objects::info`].
    pub fn contents(&mut self, names: &[BString], mut take: impl FnMut(Option<&[u8]>)) -> Result<(), WalkError> {
        let mut content = Vec::new();
        for names in names.chunks(QUESTIONS_MAX) {
            self.ask(b"contents ", names, |from_git, name| {
                let Some(info) = read_info(from_git, name)? else {
                    take(None);
                    return Ok(());
                };
                content.clear();
                from_git.take(info.len + 1).read_to_end(&mut content)?;
                if content.len() as u64 != info.len + 1 || content.pop() != Some(b'\n') {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                take(Some(&content));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Writes one question for each name from a thread of its own, since git stops reading
    /// when nobody reads its answers.
    fn ask(
        &mut self,
        command: &[u8],
        names: &[BString],
        mut answer: impl FnMut(&mut BufReader<ChildStdout>, &BString) -> io::Result<()>,
    ) -> Result<(), WalkError> {
        let broken = |pipe: Option<&GitPipe>, error: io::Error| match pipe {
            Some(pipe) => pipe.broken(error),
            None => GitError::Run { command: "git cat-file".to_owned(), source: error },
        };
        let (to_git, from_git, pipe) = (&mut self.to_git, &mut self.from_git, &mut self.pipe);
        let mut questions = Vec::new();
        for name in names {
            questions.extend_from_slice(command);
            questions.extend_from_slice(name);
            questions.push(0);
        }
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || to_git.write_all(&questions).and_then(|()| to_git.flush()));
            let read = names.iter().try_for_each(|name| answer(from_git, name)).map_err(|error| {
                let error = broken(pipe.as_ref(), error);
                // Without its child the writer cannot go on waiting for somebody to read.
                drop(pipe.take());
                error
            });
            let written = writer.join().expect("writing to a pipe does not panic");
            read?;
            written.map_err(|error| broken(pipe.as_ref(), error).into())
        })
    }
}

/// Reads the line that answers for `name`.
fn read_info(from_git: &mut impl BufRead, name: &BString) -> io::Result<Option<ObjectInfo>> {
    let mut line = Vec::new();
    read_line(from_git, &mut line)?;
    // A name that is not here is echoed, whatever line feeds are in it.
    while name.strip_prefix(&line[..]).is_some_and(|rest| rest.starts_with(b"\n")) {
        line.push(b'\n');
        read_line(from_git, &mut line)?;
    }
    if line
        .strip_prefix(name.as_slice())
        .is_some_and(|rest| matches!(rest, b" missing" | b" submodule" | b" ambiguous"))
    {
        return Ok(None);
    }
    parse_info(&line).map(Some).ok_or_else(|| {
        let text = format!("git answered {:?}", line.as_bstr());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

fn read_line(from_git: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<()> {
    from_git.read_until(b'\n', line)?;
    match line.pop() {
        Some(b'\n') => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn parse_info(line: &[u8]) -> Option<ObjectInfo> {
    let mut words = line.split(|byte| *byte == b' ');
    let id = GitId::parse(words.next()?)?;
    let kind = match words.next()? {
        b"blob" => ObjectKind::Blob,
        b"tree" => ObjectKind::Tree,
        b"commit" => ObjectKind::Commit,
        b"tag" => ObjectKind::Tag,
        _ => return None,
    };
    let len = words.next()?.to_str().ok()?.parse().ok()?;
    words.next().is_none().then_some(ObjectInfo { id, kind, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_echoed_names() {
        let id = "0123456789012345678901234567890123456789";
        let found = read_info(&mut format!("{id} blob 12\n").as_bytes(), &"x".into()).expect("an answer");
        assert_eq!(found.map(|info| (info.kind, info.len)), Some((ObjectKind::Blob, 12)));
        let name: BString = format!("{id}:a\n\nb c/.gitattributes").into();
        let mut echoed = &format!("{name} missing\n{id} tree 3\n").into_bytes()[..];
        assert_eq!(read_info(&mut echoed, &name).expect("an answer"), None);
        assert!(read_info(&mut echoed, &name).expect("an answer").is_some());
        assert!(read_info(&mut &b"garbage\n"[..], &name).is_err());
        assert!(read_info(&mut &b"01234"[..], &name).is_err());
    }
}
