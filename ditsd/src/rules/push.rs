//! Whether a push may move refs.
//!
//! **For:** the check that git calls before any ref moves.
//!
//! **Must hold:** a ref never names media that the repository lacks.

use std::fmt;

use dits_core::hash::FileHash;
use dits_core::limits::{IDS_PER_MESSAGE_MAX, RAW_BLOB_LEN_MAX};
use dits_core::repo::pointer_walk::{Found, RawBlob, Walked};

use crate::db::Held;

/// Most files that a refusal names one by one.
const FILES_NAMED_MAX: usize = 20;
/// Most files that a refusal remembers; of what comes after them nobody learns.
const FILES_KEPT_MAX: usize = IDS_PER_MESSAGE_MAX;

/// What is in the way of a push, and so why it is refused. Its text is what the pushing user reads.
#[derive(Debug, Default)]
pub struct PushRefused {
    missing: Vec<Found>,
    wrong_size: Vec<(Found, u64)>,
    raw_blobs: Vec<RawBlob>,
}

impl PushRefused {
    /// Looks at a part of what a push brings: every pointer must name a held file, and no media may be
    /// plain blobs. `held` has one answer for each pointer, in order.
    pub fn look_at(&mut self, walked: Walked, held: &[Option<Held>]) {
        assert_eq!(walked.pointers.len(), held.len(), "one answer for each pointer");
        self.raw_blobs.extend(walked.raw_blobs);
        for (found, held) in walked.pointers.into_iter().zip(held) {
            match held {
                None => self.missing.push(found),
                Some(held) if held.pointer != found.pointer => self.wrong_size.push((found, held.pointer.size)),
                Some(_) => {}
            }
        }
    }

    /// Returns true once there is no need to look further.
    pub fn is_full(&self) -> bool {
        self.missing.len() + self.wrong_size.len() >= FILES_KEPT_MAX
    }

    /// Allows the push if nothing is in its way.
    ///
    /// # Errors
    ///
    /// [`PushRefused`] names all that is in the way.
    pub fn decide(self) -> Result<(), PushRefused> {
        match self.missing.is_empty() && self.wrong_size.is_empty() && self.raw_blobs.is_empty() {
            true => Ok(()),
            false => Err(self),
        }
    }

    /// The files that the repository lacks; a client that has them may upload them and push again.
    pub fn missing(&self) -> impl Iterator<Item = FileHash> {
        self.missing.iter().map(|found| found.pointer.oid)
    }
}

impl fmt::Display for PushRefused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        named(out, &self.missing, |out, found| {
            let Found { path, commit, pointer, .. } = found;
            writeln!(out, "error: {path} in commit {} needs media that this server lacks", Short(commit))?;
            writeln!(out, "caused by: nothing was uploaded for oid blake3:{}", pointer.oid)
        })?;
        if !self.missing.is_empty() {
            writeln!(out, "hint: install Dits (`git dits install`) and push again: it uploads media before refs")?;
            writeln!(out, "hint: if the media is only on another machine, push from there first")?;
        }
        named(out, &self.wrong_size, |out, (found, size)| {
            let Found { path, commit, pointer, .. } = found;
            writeln!(out, "error: {path} in commit {} is not a pointer that Dits made", Short(commit))?;
            writeln!(out, "caused by: oid blake3:{} has {size} bytes, not {}", pointer.oid, pointer.size)
        })?;
        named(out, &self.raw_blobs, |out, raw| {
            writeln!(out, "error: {} in commit {} was committed without Dits", raw.path, Short(&raw.commit))?;
            writeln!(
                out,
                "caused by: a blob of {} bytes on a path with filter=dits; {RAW_BLOB_LEN_MAX} are allowed",
                raw.len
            )
        })?;
        if !self.raw_blobs.is_empty() {
            writeln!(out, "hint: run `git dits install`, `git add --renormalize .` and amend the commit")?;
        }
        Ok(())
    }
}

/// Writes the first few of many.
fn named<T>(
    out: &mut fmt::Formatter<'_>,
    all: &[T],
    mut write: impl FnMut(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    all.iter().take(FILES_NAMED_MAX).try_for_each(|one| write(out, one))?;
    match all.len().saturating_sub(FILES_NAMED_MAX) {
        0 => Ok(()),
        more => writeln!(out, "error: and {more} more like this"),
    }
}

/// A commit's name as people write it.
struct Short<T>(T);

impl<T: fmt::Display> fmt::Display for Short<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.12}", self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dits_core::hash::ManifestHash;
    use dits_core::pointer::Pointer;
    use dits_core::repo::pointer_walk::GitId;
    use dits_core::repo_path::RepoPath;

    fn commit() -> GitId {
        GitId::parse(b"0123456789abcdef0123456789abcdef01234567").unwrap()
    }

    fn found(path: &str, size: u64) -> Found {
        let pointer = Pointer { oid: FileHash::of(path.as_bytes()), size };
        Found { pointer, path: RepoPath::new(path).unwrap(), commit: commit(), replaces: None }
    }

    fn may_push(walked: Walked, held: &[Option<Held>]) -> Result<(), PushRefused> {
        let mut push = PushRefused::default();
        push.look_at(walked, held);
        push.decide()
    }

    fn held(path: &str, size: u64) -> Option<Held> {
        let pointer = Pointer { oid: FileHash::of(path.as_bytes()), size };
        Some(Held { pointer, manifest: ManifestHash::from_bytes([1; 32]), proven_at: 1 })
    }

    #[test]
    fn a_push_of_held_media_may_go_on() {
        let walked = Walked { pointers: vec![found("a.mov", 5)], raw_blobs: vec![], strays: vec![] };
        assert!(may_push(walked, &[held("a.mov", 5)]).is_ok());
        assert!(may_push(Walked::default(), &[]).is_ok());
    }

    #[test]
    fn a_refusal_names_file_commit_oid_and_remedy() {
        let walked = Walked { pointers: vec![found("a.mov", 5), found("b.mov", 6)], raw_blobs: vec![], strays: vec![] };
        let refused = may_push(walked, &[None, held("b.mov", 6)]).unwrap_err();
        let text = refused.to_string();
        let oid = FileHash::of(b"a.mov");
        assert_eq!(refused.missing().collect::<Vec<_>>(), [oid]);
        assert!(text.contains("error: a.mov in commit 0123456789ab needs media that this server lacks\n"), "{text}");
        assert!(text.contains(&format!("blake3:{oid}\n")) && text.contains("hint: ") && !text.contains("b.mov"));
    }

    #[test]
    fn a_pointer_with_a_wrong_size_is_refused() {
        let walked = Walked { pointers: vec![found("a.mov", 9)], raw_blobs: vec![], strays: vec![] };
        let refused = may_push(walked, &[held("a.mov", 5)]).unwrap_err();
        assert!(refused.to_string().contains("has 5 bytes, not 9"));
        assert_eq!(refused.missing().count(), 0, "an upload does not mend it");
    }

    #[test]
    fn media_committed_without_dits_is_refused() {
        let raw = RawBlob { path: RepoPath::new("a.mov").unwrap(), commit: commit(), blob: commit(), len: 2 << 20 };
        let refused = may_push(Walked { pointers: vec![], raw_blobs: vec![raw], strays: vec![] }, &[]).unwrap_err();
        assert!(refused.to_string().contains("was committed without Dits\ncaused by: a blob of 2097152 bytes"));
    }

    #[test]
    fn a_long_list_is_cut_short() {
        let pointers: Vec<_> = (0..50).map(|n| found(&format!("{n}.mov"), 1)).collect();
        let refused = may_push(Walked { pointers, raw_blobs: vec![], strays: vec![] }, &vec![None; 50]).unwrap_err();
        assert!(refused.to_string().contains("error: and 30 more like this\n"));
        assert_eq!(refused.missing().count(), 50);
    }
}
