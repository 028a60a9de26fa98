//! Which files the refs of a repository name, through any commit that they reach.
//!
//! **For:** saying that a file stays where it is: a remote keeps what its refs name.
//!
//! **May touch:** git children, read only.
//!
//! **Must hold:** a pointer counts on a path with `filter=dits` alone, as in the check before refs move; a
//! walk that cannot be done, or that comes to too much, names nothing at all rather than a part.

use std::collections::HashSet;

use bstr::ByteSlice;

use crate::limits;
use crate::pointer::Pointer;
use crate::repo::git_program::{GitError, GitProgram};
use crate::repo::pointer_walk::{AttributeCase, GitId, Known, WalkError, WalkLimits, walk_each};

/// The refs of a repository at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refs {
    tips: Vec<GitId>,
    digest: [u8; 32],
}

impl Refs {
    /// Lists them.
    ///
    /// # Errors
    ///
    /// [`GitError`] when git fails.
    pub fn list(git: &GitProgram) -> Result<Refs, GitError> {
        let listed = git.capture(["for-each-ref", "--format=%(objectname) %(refname)"])?;
        let mut tips: Vec<GitId> = ByteSlice::lines(listed.as_slice())
            .filter_map(|line| GitId::parse(line.split(|byte| *byte == b' ').next()?))
            .collect();
        tips.sort_unstable();
        tips.dedup();
        Ok(Refs { tips, digest: *blake3::hash(&listed).as_bytes() })
    }

    /// Tells these refs from all others.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.tips.is_empty()
    }

    /// Finds the files that they name: at most [`limits::WALK_FILES_MAX`].
    ///
    /// # Errors
    ///
    /// [`WalkError`], also when they name more.
    pub fn files(&self, git: &GitProgram, case: AttributeCase) -> Result<HashSet<Pointer>, WalkError> {
        let mut files = HashSet::new();
        let nothing = Known::Ids(Vec::new());
        walk_each::<WalkError>(git, case, &self.tips, &nothing, WalkLimits::default(), &mut |walked| {
            files.extend(walked.pointers.into_iter().map(|found| found.pointer));
            match files.len() > limits::WALK_FILES_MAX {
                true => Err(WalkError::TooManyFiles { max: limits::WALK_FILES_MAX }),
                false => Ok(()),
            }
        })?;
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::FileHash;
    use crate::repo::environment::Environment;

    fn pointer(content: &[u8]) -> Pointer {
        Pointer { oid: FileHash::of(content), size: content.len() as u64 }
    }

    #[test]
    fn refs_name_what_any_of_their_commits_named_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let git =
            GitProgram::find(&Environment::new(std::env::vars_os())).expect("git is installed").in_dir(dir.path());
        git.run(["init", "--quiet", "."]).expect("init");
        let refs = || Refs::list(&git).expect("listed");
        assert!(refs().is_empty());
        let commit = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).expect("written");
            git.run(["add", "--all"]).expect("added");
            git.run(["-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", name])
                .expect("committed");
        };
        commit(".gitattributes", "*.mov filter=dits\n");
        commit("a.mov", &pointer(b"old").to_string());
        commit("a.mov", &pointer(b"new").to_string());
        commit("a.txt", &pointer(b"text").to_string());
        let files = |refs: &Refs| refs.files(&git, AttributeCase::Sensitive).expect("walked");
        let before = refs();
        assert_eq!(files(&before), HashSet::from([pointer(b"old"), pointer(b"new")]));
        git.run(["reset", "--quiet", "--hard", "HEAD~2"]).expect("reset");
        assert_ne!(refs().digest(), before.digest());
        assert_eq!(files(&refs()), HashSet::from([pointer(b"old")]));
    }
}
