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
    use crate::pointer::Pointer;
    use crate::repo::work_tree_file::fixture::{DATE, Tree};
    use crate::repo::work_tree_file::{Recovered, recover};
    use crate::repo_path::RepoPath;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn go_on(_: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn content_becomes_its_pointer_with_mode_and_date() {
        let ways: [(Unnamed, bool); 2] = [(unnamed, true), (|_| Ok(None), false)];
        for (unnamed, exchanges) in ways {
            let tree = Tree::with("content");
            fs::set_permissions(tree.file(), fs::Permissions::from_mode(0o755)).expect("set");
            let mut by = |place: &Place<'_>, temporary: &str| match exchanges {
                true => exchange(place, temporary),
                false => Err(Errno::INVAL),
            };
            let done = dehydrate_by(tree.swap(), &mut go_on, unnamed, &mut by).expect("tried");
            let meta = tree.file().metadata().expect("there");
            assert_eq!(done, Dehydrated::Done(Written { inode: meta.ino(), date: DATE }));
            tree.holds(tree.pointer.to_string());
            assert_eq!((meta.permissions().mode() & 0o777, meta.mtime()), (0o755, DATE.secs));
            assert_eq!(tree.names(), 1);
        }
    }

    #[test]
    fn other_content_and_links_are_left_as_they_are() {
        let tree = Tree::with("content");
        fs::write(tree.top.join("other.bin"), "Content").expect("written");
        fs::write(tree.top.join("longer.bin"), "longer content").expect("written");
        symlink("a/b.bin", tree.top.join("link.bin")).expect("linked");
        let dehydrated = |path: &str| {
            let path = RepoPath::new(path).expect("a path");
            dehydrate(Swap { path: &path, ..tree.swap() }, &mut go_on).expect("tried")
        };
        assert_eq!(dehydrated("other.bin"), Dehydrated::Modified);
        assert_eq!(dehydrated("longer.bin"), Dehydrated::Modified);
        for path in ["a", "link.bin", "nothing.bin", "a/b.bin/x"] {
            assert_eq!(dehydrated(path), Dehydrated::Absent, "{path}");
        }
        tree.holds("content");
        assert_eq!((tree.names(), fs::read_dir(&tree.top).expect("listed").count()), (1, 4));
    }

    #[test]
    fn reading_ends_between_two_pieces_once_it_is_told_to() {
        let content = vec![7; 1024 * 1024];
        let tree = Tree::with(&content);
        let pointer = Pointer { oid: FileHash::of(&content), size: content.len() as u64 };
        let swap = Swap { pointer: &pointer, ..tree.swap() };
        let (mut read, mut pieces) = (0, 0);
        let mut reading = |len| {
            (read, pieces) = (read + len, pieces + 1);
            if pieces == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        assert_eq!(dehydrate(swap, &mut reading).expect("tried"), Dehydrated::Stopped);
        assert!(pieces == 2 && read < pointer.size, "{read} bytes in {pieces} pieces");
        assert!(fs::read(tree.file()).expect("there") == content);
        assert_eq!(tree.noted(), None, "nothing is left to do");
        assert!(matches!(dehydrate(swap, &mut go_on).expect("tried"), Dehydrated::Done(_)));
    }

    #[test]
    fn what_the_user_saves_meanwhile_stays() {
        // In place, and by another file that takes the name.
        for by_rename in [false, true] {
            let tree = Tree::with("content");
            let mut save = |_| {
                let to = if by_rename { tree.top.join("new") } else { tree.file() };
                fs::write(&to, "CONTENT").expect("written");
                fs::rename(&to, tree.file()).expect("renamed");
                ControlFlow::Continue(())
            };
            assert_eq!(dehydrate(tree.swap(), &mut save).expect("tried"), Dehydrated::Modified);
            tree.holds("CONTENT");
            assert_eq!(tree.names(), 1);
        }
    }

    #[test]
    fn a_save_that_cannot_be_put_back_is_kept_and_named_until_the_journal_is_taken_over() {
        for unnamed in [unnamed, |_: &_| Ok(None)] {
            let tree = Tree::with("content");
            let mut calls = 0;
            let mut by = |place: &Place<'_>, temporary: &str| {
                calls += 1;
                if calls == 2 {
                    return Err(Errno::IO);
                }
                tree.save("saved meanwhile");
                exchange(place, temporary)
            };
            let error = dehydrate_by(tree.swap(), &mut go_on, unnamed, &mut by).expect_err("the exchange failed");
            let SwapError::Io { kept: Some(kept), .. } = &error else { panic!("{error:?}") };
            assert_eq!(fs::read(kept).expect("there"), b"saved meanwhile");
            assert_eq!(kept.parent(), tree.file().parent());
            assert!(error.to_string().contains(&kept.display().to_string()), "{error}");
            let noted = tree.noted().expect("it was begun");
            assert_eq!(recover(&tree.top, &tree.path, &noted, &|| true).expect("recovered"), Recovered::default());
            tree.holds("saved meanwhile");
            assert_eq!(tree.names(), 1);
        }
    }

    #[test]
    fn a_save_between_the_exchange_and_the_one_back_is_kept_and_named() {
        let tree = Tree::with("content");
        let new = tree.top.join("new");
        let mut saves = ["first", "second"].into_iter();
        let mut by = |place: &Place<'_>, temporary: &str| {
            fs::write(&new, saves.next().expect("two exchanges")).expect("written");
            fs::rename(&new, tree.file()).expect("renamed");
            exchange(place, temporary)
        };
        let error = dehydrate_by(tree.swap(), &mut go_on, unnamed, &mut by).expect_err("there are two saves");
        let SwapError::Io { kept: Some(kept), .. } = error else { panic!("{error:?}") };
        tree.holds("first");
        assert_eq!(fs::read(&kept).expect("there"), b"second");
    }
}
