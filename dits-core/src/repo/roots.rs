//! Roots: which media a repository may still need.
//!
//! **For:** whoever is about to remove media that nobody needs.
//!
//! **May touch:** git children, read only. Nothing is ever fetched from a promisor.
//!
//! **Must hold:** a file whose pointer git still has, reachable or not, is among the roots; where that cannot be told,
//! there is an error and no answer.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::process::{ChildStdin, ChildStdout};

use super::git_program::{GitError, GitPipe, GitProgram};
use super::pointer_walk::{GitId, WalkError, without_promisor};
use crate::limits;
use crate::pointer::Pointer;

/// The roots of a repository cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// A git child failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The objects of a partial clone cannot be looked at.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// An object that git lists cannot be read: it is damaged, or git removed it meanwhile.
    #[error("git cannot read its object {0}")]
    Unreadable(String),
}

/// What git is asked of each object.
const LISTED: &str = "--batch-check=%(objectname) %(objecttype) %(objectsize)";

/// Hands on every file that a blob of the object database names, whether or not anything reaches the blob, and
/// those of alternates. A file may come more than once.
///
/// Git removes what nothing reaches only after a time (`gc.pruneExpire`), so that this covers refs, all reflogs,
/// stashes, the indexes and HEADs of all work trees, and what is being merged or rebased. The path of a
/// blob is not looked at: text that shows a pointer counts as one.
///
/// # Errors
///
/// [`RootsError`] if not all objects can be looked at, and whatever `take` says.
pub fn every_pointer<E: From<RootsError>>(
    git: &GitProgram,
    take: &mut dyn FnMut(Pointer) -> Result<(), E>,
) -> Result<(), E> {
    let git = without_promisor(&git.clone().with_env("GIT_NO_REPLACE_OBJECTS", "1")).map_err(RootsError::from)?;
    let start = |args: &[&str]| git.pipe(args).map_err(RootsError::from);
    let mut list = start(&["cat-file", "--batch-all-objects", "--unordered", "--buffer", LISTED])?;
    let mut contents = start(&["cat-file", "--batch", "--buffer"])?;
    let listed = BufReader::with_capacity(64 * 1024, list.take_stdout().expect("taken once"));
    let to_read = contents.take_stdin().expect("taken once");
    let mut from_git = BufReader::with_capacity(64 * 1024, contents.take_stdout().expect("taken once"));
    std::thread::scope(|scope| {
        let asking = scope.spawn(move || ask_for_short_blobs(listed, to_read));
        let taken = take_pointers(&mut from_git, &contents, take);
        if taken.is_err() {
            // Nobody reads on: the children end, and with them the thread.
            drop((list, contents, from_git));
            let _ = asking.join().expect("asking does not panic");
            return taken;
        }
        match asking.join().expect("asking does not panic") {
            Ok(None) => {}
            Ok(Some(line)) => return Err(RootsError::Unreadable(line).into()),
            Err(error) => return Err(RootsError::from(list.broken(error)).into()),
        }
        list.finish().map_err(RootsError::from)?;
        contents.finish().map_err(RootsError::from)?;
        Ok(())
    })
}

/// Asks for the content of each listed blob that is as short as a pointer. Returns the first line that is not
/// about an object that is there.
fn ask_for_short_blobs(mut listed: impl BufRead, to_read: ChildStdin) -> io::Result<Option<String>> {
    let mut to_read = BufWriter::with_capacity(64 * 1024, to_read);
    let mut line = String::new();
    loop {
        line.clear();
        if listed.read_line(&mut line)? == 0 {
            to_read.flush()?;
            return Ok(None);
        }
        match parse(&line) {
            Some((id, "blob", len)) if len <= limits::POINTER_LEN_MAX => writeln!(to_read, "{id}")?,
            Some(_) => {}
            None => return Ok(Some(line.trim_end().to_owned())),
        }
    }
}

fn take_pointers<E: From<RootsError>>(
    from_git: &mut BufReader<ChildStdout>,
    contents: &GitPipe,
    take: &mut dyn FnMut(Pointer) -> Result<(), E>,
) -> Result<(), E> {
    let broken = |error| RootsError::from(contents.broken(error));
    let (mut line, mut content) = (String::new(), Vec::new());
    loop {
        line.clear();
        if from_git.read_line(&mut line).map_err(broken)? == 0 {
            return Ok(());
        }
        let Some((_, _, len)) = parse(&line).filter(|(_, _, len)| *len <= limits::POINTER_LEN_MAX) else {
            return Err(RootsError::Unreadable(line.trim_end().to_owned()).into());
        };
        content.resize(len + 1, 0);
        from_git.read_exact(&mut content).map_err(broken)?;
        if let Some(pointer) = Pointer::parse(&content[..len]) {
            take(pointer)?;
        }
    }
}

/// Reads `<id> <kind> <length>`; `None` for anything else, such as `<id> missing`.
fn parse(line: &str) -> Option<(GitId, &str, usize)> {
    let mut words = line.trim_end().split(' ');
    let (id, kind, len) = (words.next()?, words.next()?, words.next()?);
    let id = GitId::parse(id.as_bytes())?;
    Some((id, kind, len.parse().ok()?)).filter(|_| words.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::FileHash;
    use crate::repo::environment::Environment;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn git(dir: &Path) -> GitProgram {
        let env = Environment::new(std::env::vars_os());
        let git = GitProgram::find(&env).expect("git is installed").in_dir(dir);
        let who = ["user.name=a", "user.email=a@b", "init.defaultBranch=main", "gc.auto=0"];
        who.into_iter().fold(git, |git, setting| git.with_config(setting))
    }

    fn pointer(name: &str) -> Pointer {
        Pointer { oid: FileHash::of(name.as_bytes()), size: 9 }
    }

    /// Writes the pointer of a file of this name into a work tree.
    fn write(dir: &Path, name: &str) {
        std::fs::write(dir.join(name), pointer(name).to_string()).expect("written");
    }

    fn roots(dir: &Path) -> Result<BTreeSet<Pointer>, RootsError> {
        let mut found = BTreeSet::new();
        every_pointer::<RootsError>(&git(dir), &mut |pointer| {
            found.insert(pointer);
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn whatever_git_still_has_is_a_root() {
        let dir = tempfile::tempdir().expect("a folder");
        let (dir, git) = (dir.path(), git(dir.path()));
        git.run(["init", "-q", "."]).expect("init");
        for (name, commands) in [
            ("committed", &[&["commit", "-qm", "x"][..]][..]),
            ("packed", &[&["commit", "-qm", "x"], &["repack", "-adq"]]),
            ("amended-away", &[&["commit", "-qm", "x"], &["reset", "-q", "--hard", "HEAD~1"]]),
            ("stashed", &[&["stash", "-q"]]),
            ("added-and-reset", &[&["reset", "-q", "--hard"]]),
            ("added", &[]),
        ] {
            write(dir, name);
            git.run(["add", name]).expect("added");
            commands.iter().for_each(|command| git.run(*command).expect("done"));
        }
        std::fs::write(dir.join("text"), "dits is a word\n").expect("written");
        std::fs::write(dir.join("large"), vec![b'x'; 100_000]).expect("written");
        write(dir, "untracked");
        git.run(["add", "text", "large"]).expect("added");
        let names = ["committed", "packed", "amended-away", "stashed", "added-and-reset", "added"];
        assert_eq!(roots(dir).expect("listed"), names.map(pointer).into());
        git.run(["reflog", "expire", "--expire=now", "--all"]).expect("expired");
        git.run(["gc", "-q", "--prune=now"]).expect("collected");
        let left = ["committed", "packed", "stashed", "added"];
        assert_eq!(roots(dir).expect("listed"), left.map(pointer).into());
    }

    #[test]
    fn files_of_alternates_and_of_sha_256_are_found() {
        let dir = tempfile::tempdir().expect("a folder");
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        git(dir.path()).run(["init", "-q", "--object-format=sha256", "first"]).expect("init");
        write(&first, "there");
        git(&first).run(["add", "."]).expect("added");
        git(&first).run(["commit", "-qm", "x"]).expect("committed");
        git(dir.path()).run(["clone", "-q", "--shared", "first", "second"]).expect("cloned");
        assert_eq!(roots(&second).expect("listed"), [pointer("there")].into());
    }

    #[test]
    fn an_object_that_cannot_be_read_is_an_error_and_no_answer() {
        let dir = tempfile::tempdir().expect("a folder");
        let (dir, git) = (dir.path(), git(dir.path()));
        git.run(["init", "-q", "."]).expect("init");
        write(dir, "a");
        let id = git.capture(["hash-object", "-w", "a"]).expect("written");
        let id = String::from_utf8(id).expect("hex");
        let object = dir.join(".git/objects").join(&id[..2]).join(id[2..].trim_end());
        std::fs::remove_file(&object).expect("it is loose");
        std::fs::write(&object, b"no object").expect("written");
        assert!(roots(dir).is_err());
    }

    #[test]
    fn what_the_caller_says_ends_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let (dir, git) = (dir.path(), git(dir.path()));
        git.run(["init", "-q", "."]).expect("init");
        (0..3000).for_each(|n| write(dir, &n.to_string()));
        git.run(["add", "."]).expect("added");
        let mut count = 0;
        let stopped = every_pointer::<RootsError>(&git, &mut |_| {
            count += 1;
            Err(RootsError::Unreadable("enough".to_owned()))
        });
        assert!(matches!(stopped, Err(RootsError::Unreadable(why)) if why == "enough") && count == 1);
        assert_eq!(roots(dir).expect("listed").len(), 3000);
    }
}
