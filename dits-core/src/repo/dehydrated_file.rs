//! Putting the pointer back in the place of content in a work tree.
//!
//! **For:** giving disk space back without a word to git.
//!
//! **May touch:** one file of the work tree, a temporary one beside it, and the journal.
//!
//! **Must hold:**
//! - only content that was just hashed to the pointer's oid is replaced; what the user saved meanwhile goes back;
//! - at every moment the path holds the whole content, the whole pointer, or what the user saved;
//! - what the user saved and that cannot go back is kept, and the error says where;
//! - no symbolic link is followed, neither at the path nor above it.
//!
//! **Limitations:** a program that holds the file open writes on into what no name leads to any more, as with any
//! file that git replaces.
//!
//! **Format:** `docs/formats/hydration-v1.md`.

use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;

use rustix::io::Errno;

use super::work_tree_file::{
    Exchange, Place, Replaced, Swap, SwapError, Swapped, Unnamed, exchange, open_regular, pointer_of, replace, unnamed,
};
use crate::hydration_record::{Record, Written};

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dehydrated {
    /// It holds the pointer now, in this file.
    Done(Written),
    /// It holds something else than the pointer's content, and was left as it is.
    Modified,
    /// There is no regular file, and nothing was done.
    Absent,
    /// Whoever watched ended it before all was read, and nothing was done.
    Stopped,
}

/// Is told how many bytes were read, and says whether to go on.
pub type Reading<'r> = &'r mut dyn FnMut(u64) -> ControlFlow<()>;

/// Replaces the content at the path by its pointer, unless `reading` it is ended.
///
/// # Errors
///
/// [`SwapError`] for what the system said. The path holds what it held, or what was saved there is kept beside it.
pub fn dehydrate(swap: Swap<'_>, reading: Reading<'_>) -> Result<Dehydrated, SwapError> {
    dehydrate_by(swap, reading, unnamed, &mut exchange)
}

/// [`dehydrate`], with the pointer's file made and names exchanged as told.
fn dehydrate_by(
    swap: Swap<'_>,
    reading: Reading<'_>,
    unnamed: Unnamed,
    exchange: Exchange<'_>,
) -> Result<Dehydrated, SwapError> {
    let failed = |error: io::Error| swap.failed(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    let opened = Place::open(swap.top, swap.path.as_bstr()).and_then(|place| {
        let file = open_regular(&place.folder, place.name)?;
        Ok((place, file))
    });
    let (place, file) = match opened {
        Ok(opened) => opened,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ISDIR) => return Ok(Dehydrated::Absent),
        Err(error) => return Err(swap.failed(error)),
    };
    let before = rustix::fs::fstat(&file).map_err(|error| swap.failed(error))?;
    if before.st_size as u64 != swap.pointer.size {
        return Ok(Dehydrated::Modified);
    }
    match pointer_of(&file, reading) {
        Ok(pointer) if pointer == *swap.pointer => {}
        Ok(_) => return Ok(Dehydrated::Modified),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Dehydrated::Stopped),
        Err(error) => return Err(failed(error)),
    }
    swap.journal.note(&[Record::Dehydrate { pointer: *swap.pointer, path: swap.path.clone() }])?;
    let write = |mut file: &File| file.write_all(swap.pointer.to_string().as_bytes()).map_err(failed);
    Ok(match replace(swap, &place, Replaced::File(&before), write, unnamed, exchange)? {
        Swapped::Done(written) => Dehydrated::Done(written),
        Swapped::Left | Swapped::Saved => Dehydrated::Modified,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::FileHash;
    use crate::hydration_record::Date;
    use crate::pointer::Pointer;
    use crate::repo::hydration_journal::{Journal, entries};
    use crate::repo::work_tree_file::{Recovered, recover};
    use crate::repo_path::RepoPath;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::PathBuf;
    use std::time::UNIX_EPOCH;

    const DATE: Date = Date { secs: 1_000_000_000, nanos: 7 };

    /// A work tree, and the journal of a process that dehydrates there.
    struct Tree {
        dir: tempfile::TempDir,
        journal: Journal,
    }

    impl Tree {
        fn new() -> Tree {
            let dir = tempfile::tempdir().expect("a temporary folder");
            fs::create_dir_all(dir.path().join("tree/a")).expect("made");
            let journal = Journal::create(&dir.path().join("git")).expect("made");
            Tree { dir, journal }
        }

        fn top(&self) -> PathBuf {
            self.dir.path().join("tree")
        }

        fn file(&self) -> PathBuf {
            self.top().join("b.bin")
        }

        fn dehydrate(&self, path: &str, reading: Reading<'_>) -> Result<Dehydrated, SwapError> {
            self.dehydrate_by(path, reading, unnamed, &mut exchange)
        }

        fn dehydrate_by(
            &self,
            path: &str,
            reading: Reading<'_>,
            unnamed: Unnamed,
            exchange: Exchange<'_>,
        ) -> Result<Dehydrated, SwapError> {
            let (top, path) = (self.top(), RepoPath::new(path).expect("a path"));
            let swap = Swap { top: &top, path: &path, pointer: &pointer(), date: DATE, journal: &self.journal };
            super::dehydrate_by(swap, reading, unnamed, exchange)
        }

        fn dehydrated(&self, path: &str) -> Dehydrated {
            self.dehydrate(path, &mut go_on).expect("tried")
        }

        fn names(&self) -> usize {
            fs::read_dir(self.top()).expect("listed").count()
        }
    }

    fn go_on(_: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn pointer() -> Pointer {
        Pointer { oid: FileHash::of(b"content"), size: 7 }
    }

    #[test]
    fn content_becomes_its_pointer_with_mode_and_date() {
        let ways: [(Unnamed, bool); 2] = [(unnamed, true), (|_| Ok(None), false)];
        for (unnamed, exchanges) in ways {
            let tree = Tree::new();
            let path = tree.top().join("a/b.bin");
            fs::write(&path, "content").expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
            let mut by = |place: &Place<'_>, temporary: &str| match exchanges {
                true => exchange(place, temporary),
                false => Err(Errno::INVAL),
            };
            let done = tree.dehydrate_by("a/b.bin", &mut go_on, unnamed, &mut by).expect("tried");
            let meta = path.metadata().expect("there");
            assert_eq!(done, Dehydrated::Done(Written { inode: meta.ino(), date: DATE }));
            assert_eq!(fs::read_to_string(&path).expect("there"), pointer().to_string());
            assert_eq!((meta.permissions().mode() & 0o777, meta.mtime()), (0o755, DATE.secs));
            assert_eq!(fs::read_dir(tree.top().join("a")).expect("listed").count(), 1);
        }
    }

    #[test]
    fn other_content_and_links_are_left_as_they_are() {
        let tree = Tree::new();
        let top = tree.top();
        fs::write(top.join("b.bin"), "Content").expect("written");
        fs::write(top.join("c.bin"), "longer content").expect("written");
        fs::write(top.join("d.bin"), "content").expect("written");
        std::os::unix::fs::symlink("d.bin", top.join("e.bin")).expect("linked");
        assert_eq!(tree.dehydrated("b.bin"), Dehydrated::Modified);
        assert_eq!(tree.dehydrated("c.bin"), Dehydrated::Modified);
        assert_eq!(tree.dehydrated("a"), Dehydrated::Absent);
        assert_eq!(tree.dehydrated("e.bin"), Dehydrated::Absent);
        assert_eq!(tree.dehydrated("f.bin"), Dehydrated::Absent);
        assert_eq!(tree.dehydrated("d.bin/x"), Dehydrated::Absent);
        assert_eq!(fs::read(top.join("d.bin")).expect("there"), b"content");
        assert_eq!(tree.names(), 5);
    }

    #[test]
    fn reading_ends_between_two_pieces_once_it_is_told_to() {
        let tree = Tree::new();
        let content = vec![7; 1024 * 1024];
        fs::write(tree.file(), &content).expect("written");
        let pointer = Pointer { oid: FileHash::of(&content), size: content.len() as u64 };
        let (top, path) = (tree.top(), RepoPath::new("b.bin").expect("a path"));
        let swap = Swap { top: &top, path: &path, pointer: &pointer, date: DATE, journal: &tree.journal };
        let (mut read, mut pieces) = (0, 0);
        let mut reading = |len| {
            (read, pieces) = (read + len, pieces + 1);
            if pieces == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        assert_eq!(dehydrate(swap, &mut reading).expect("tried"), Dehydrated::Stopped);
        assert!(pieces == 2 && read < pointer.size, "{read} bytes in {pieces} pieces");
        assert!(fs::read(tree.file()).expect("there") == content);
        assert!(entries(&tree.dir.path().join("git")).expect("read").is_empty(), "nothing is left to do");
        assert!(matches!(dehydrate(swap, &mut go_on).expect("tried"), Dehydrated::Done(_)));
    }

    #[test]
    fn what_the_user_saves_meanwhile_stays() {
        let tree = Tree::new();
        let path = tree.file();
        // In place, and by another file that takes the name.
        for by_rename in [false, true] {
            fs::write(&path, "content").expect("written");
            // Or the clock may not have gone on by the time of the save, which is as long as the content.
            let old = fs::FileTimes::new().set_modified(UNIX_EPOCH);
            File::options().append(true).open(&path).and_then(|file| file.set_times(old)).expect("dated");
            let mut save = |_| {
                let to = if by_rename { tree.top().join("new") } else { path.clone() };
                fs::write(&to, "CONTENT").expect("written");
                fs::rename(&to, &path).expect("renamed");
                ControlFlow::Continue(())
            };
            assert_eq!(tree.dehydrate("b.bin", &mut save).expect("tried"), Dehydrated::Modified);
            assert_eq!(fs::read(&path).expect("there"), b"CONTENT");
            assert_eq!(tree.names(), 2);
        }
    }

    #[test]
    fn a_save_that_cannot_be_put_back_is_kept_and_named_until_the_journal_is_taken_over() {
        for unnamed in [unnamed, |_: &_| Ok(None)] {
            let tree = Tree::new();
            let path = tree.file();
            fs::write(&path, "content").expect("written");
            let mut calls = 0;
            let mut by = |place: &Place<'_>, temporary: &str| {
                calls += 1;
                if calls == 2 {
                    return Err(Errno::IO);
                }
                fs::write(&path, "saved meanwhile").expect("written");
                exchange(place, temporary)
            };
            let error = tree.dehydrate_by("b.bin", &mut go_on, unnamed, &mut by).expect_err("the exchange failed");
            let SwapError::Io { kept: Some(kept), .. } = &error else { panic!("{error:?}") };
            assert_eq!(fs::read(kept).expect("there"), b"saved meanwhile");
            assert_eq!(kept.parent(), Some(&*tree.top()));
            assert!(error.to_string().contains(&kept.display().to_string()), "{error}");
            let noted = entries(&tree.dir.path().join("git")).expect("read");
            let [(noted_at, entry)] = noted.iter().collect::<Vec<_>>()[..] else { panic!("{noted:?}") };
            assert_eq!(recover(&tree.top(), noted_at, entry, &|| true).expect("recovered"), Recovered::default());
            assert_eq!(fs::read(&path).expect("there"), b"saved meanwhile");
            assert_eq!(tree.names(), 2);
        }
    }

    #[test]
    fn a_save_between_the_exchange_and_the_one_back_is_kept_and_named() {
        let tree = Tree::new();
        let (path, new) = (tree.file(), tree.top().join("new"));
        fs::write(&path, "content").expect("written");
        let mut saves = ["first", "second"].into_iter();
        let mut by = |place: &Place<'_>, temporary: &str| {
            fs::write(&new, saves.next().expect("two exchanges")).expect("written");
            fs::rename(&new, &path).expect("renamed");
            exchange(place, temporary)
        };
        let error = tree.dehydrate_by("b.bin", &mut go_on, unnamed, &mut by).expect_err("there are two saves");
        let SwapError::Io { kept: Some(kept), .. } = error else { panic!("{error:?}") };
        assert_eq!(fs::read(&path).expect("there"), b"first");
        assert_eq!(fs::read(&kept).expect("there"), b"second");
    }
}
