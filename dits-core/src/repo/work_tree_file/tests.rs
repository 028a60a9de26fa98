use super::aside::set_aside_by;
use super::fixture::{DATE, Tree, path, pointer};
use super::swap::{swap_in_by, unnamed};
use super::*;
use crate::hydration_record::TemporaryName;
use crate::repo::hydration_journal::Entry;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn swap_by(
    tree: &Tree,
    write: impl FnOnce(&File) -> Result<(), SwapError>,
    unnamed: super::swap::Unnamed,
    exchange: super::swap::Exchange<'_>,
) -> Result<Swapped, SwapError> {
    swap_in_by(tree.swap(), write, unnamed, exchange)
}

/// What the journal of the tree says, and that this is to stand at the path.
fn entry(tree: &Tree, goal: Option<Stands>) -> Entry {
    Entry { goal, ..tree.noted().expect("it was noted") }
}

fn failed(source: io::Error) -> SwapError {
    SwapError::Io { path: PathBuf::new(), kept: None, source }
}

fn write(mut file: &File) -> Result<(), SwapError> {
    file.write_all(b"content").map_err(failed)
}

#[test]
fn a_pointer_becomes_content_and_keeps_its_mode_and_gets_its_date() {
    let tree = Tree::new();
    fs::set_permissions(tree.file(), fs::Permissions::from_mode(0o755)).expect("set");
    assert_eq!(state(&tree.top, "a/b.bin".into()).expect("read"), State::Pointer(pointer()));
    let Swapped::Done(written) = swap_in(tree.swap(), write).expect("swapped") else { panic!("not swapped") };
    tree.holds(b"content");
    let meta = tree.file().metadata().expect("there");
    assert_eq!(meta.permissions().mode() & 0o777, 0o755);
    assert_eq!((meta.mtime(), meta.mtime_nsec(), meta.ino()), (DATE.secs, DATE.nanos.into(), written.inode));
    assert_eq!(tree.names(), 1);
    assert_eq!(swap_in(tree.swap(), write).expect("tried"), Swapped::Left);
}

#[test]
fn a_file_system_without_unnamed_files_or_exchanges_is_enough() {
    let tree = Tree::new();
    let swapped = swap_by(&tree, write, |_| Ok(None), &mut |_, _| Err(Errno::INVAL));
    assert!(matches!(swapped.expect("swapped"), Swapped::Done(_)));
    tree.holds(b"content");
    assert_eq!(tree.names(), 1);
}

#[test]
fn what_the_user_saved_meanwhile_stays() {
    type Save = fn(&Path);
    let saves: [(&str, Save); 4] = [
        ("a file", |file| fs::write(file, "saved by the user").expect("written")),
        ("nothing", |file| fs::remove_file(file).expect("removed")),
        ("a folder", |file| {
            fs::remove_file(file).expect("removed");
            fs::create_dir(file).expect("made");
        }),
        ("a link", |file| {
            fs::remove_file(file).expect("removed");
            symlink("elsewhere", file).expect("linked");
        }),
    ];
    for (what, save) in saves {
        // Before the content is complete, and at the last moment.
        for is_late in [false, true] {
            let tree = Tree::new();
            let file = tree.file();
            let early = |content: &File| {
                if !is_late {
                    save(&file);
                }
                write(content)
            };
            let mut saves_left = u32::from(is_late);
            let mut exchange = |place: &Place<'_>, temporary: &str| {
                if std::mem::take(&mut saves_left) > 0 {
                    save(&file);
                }
                place.exchange(temporary)
            };
            let swapped = swap_by(&tree, early, unnamed, &mut exchange);
            assert_eq!(swapped.expect("tried"), Swapped::Saved, "{what}, late: {is_late}");
            let meta = fs::symlink_metadata(&file);
            match what {
                "a file" => assert_eq!(fs::read(&file).expect("there"), b"saved by the user"),
                "nothing" => assert!(meta.is_err()),
                "a folder" => assert!(meta.expect("there").is_dir()),
                _ => assert!(meta.expect("there").is_symlink()),
            }
            assert_eq!(tree.names(), usize::from(what != "nothing"), "{what}, late: {is_late}");
        }
    }
}

#[test]
fn what_the_user_saved_is_kept_where_it_cannot_be_put_back() {
    let tree = Tree::new();
    let file = tree.file();
    let mut calls = 0;
    let mut once = |place: &Place<'_>, temporary: &str| {
        calls += 1;
        match calls {
            1 => {
                fs::write(&file, "saved by the user").expect("written");
                place.exchange(temporary)
            }
            _ => Err(Errno::IO),
        }
    };
    let error = swap_by(&tree, write, |_| Ok(None), &mut once).expect_err("not put back");
    let SwapError::Io { kept: Some(kept), .. } = &error else { panic!("{error:?}") };
    assert_eq!(fs::read(kept).expect("there"), b"saved by the user");
    assert!(error.to_string().contains(&kept.display().to_string()), "{error}");
    // Whoever takes over the journal puts it back.
    let recovered =
        recover(&tree.top, &path(), &entry(&tree, Some(Stands::Content(pointer()))), &|| true).expect("recovered");
    assert_eq!(recovered, Recovered::default());
    assert_eq!(fs::read(&file).expect("there"), b"saved by the user");
    assert_eq!(tree.names(), 1);
}

#[test]
fn a_failed_write_leaves_the_pointer() {
    for unnamed in [unnamed, |_: &OwnedFd| Ok(None)] {
        let tree = Tree::new();
        let full = |_: &File| Err(failed(io::ErrorKind::StorageFull.into()));
        assert!(swap_by(&tree, full, unnamed, &mut |place, temporary| place.exchange(temporary)).is_err());
        assert_eq!(state(&tree.top, "a/b.bin".into()).expect("read"), State::Pointer(pointer()));
        assert_eq!(tree.names(), 1);
    }
}

#[test]
fn no_link_is_followed() {
    let tree = Tree::new();
    let outside = tempfile::tempdir().expect("a temporary folder");
    fs::write(outside.path().join("b.bin"), pointer().to_string()).expect("written");
    fs::remove_dir_all(tree.top.join("a")).expect("removed");
    symlink(outside.path(), tree.top.join("a")).expect("linked");
    assert_eq!(state(&tree.top, "a/b.bin".into()).expect("read"), State::Absent);
    assert_eq!(swap_in(tree.swap(), write).expect("tried"), Swapped::Left);
    assert_eq!(
        redate(&tree.top, &path(), Stands::Content(pointer()), DATE, 0, &|| true).expect("tried"),
        Redated::Left
    );
    assert_eq!(recover(&tree.top, &path(), &Entry::default(), &|| true).expect("tried"), Recovered::default());
    assert_eq!(fs::read(outside.path().join("b.bin")).expect("there"), pointer().to_string().as_bytes());
}

#[test]
fn a_file_gets_its_date_only_with_the_content_behind_it() {
    let tree = Tree::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later").as_secs() as i64;
    let redated_as =
        |stands, unsure_from| redate(&tree.top, &path(), stands, DATE, unsure_from, &|| true).expect("tried");
    let redated = |unsure_from| redated_as(Stands::Content(pointer()), unsure_from);
    let modified = || tree.file().metadata().expect("there").modified().expect("known");
    assert_eq!(redated(0), Redated::Left, "a pointer is not the content");
    assert!(matches!(redated_as(Stands::Pointer(pointer()), 0), Redated::Done(_)));
    let other = Pointer { size: 8, ..pointer() };
    assert_eq!(redated_as(Stands::Pointer(other), 0), Redated::Left);
    tree.save(b"CONTENT");
    let saved = modified();
    assert_eq!(redated(0), Redated::Left);
    assert_eq!(modified(), saved, "what the user saved keeps its time");
    tree.save(b"content");
    assert_eq!(redated(now + 60), Redated::NotNeeded);
    assert!(modified() >= saved);
    let Redated::Done(written) = redated(0) else { panic!("it is the content") };
    assert_eq!(written.date, DATE);
    assert_eq!(modified(), UNIX_EPOCH + Duration::new(DATE.secs as u64, DATE.nanos));
    tree.save(b"content");
    let own = modified();
    let stopped = redate(&tree.top, &path(), Stands::Content(pointer()), DATE, 0, &|| false);
    assert_eq!(stopped.expect_err("stopped").kind(), io::ErrorKind::Interrupted);
    assert_eq!(modified(), own, "nobody knows what is in it");
}

#[test]
fn what_a_dead_process_left_is_cleared_up() {
    let temporary = TemporaryName::new(7);
    let aside = |tree: &Tree| tree.file().with_file_name(temporary.as_str());
    let written_at = |file: &Path| {
        let file = File::open(file).expect("there");
        set_date(&file, DATE).expect("set");
        Some(written_of(&rustix::fs::fstat(&file).expect("known")))
    };
    let recovered = |tree: &Tree, written| {
        let goal = Some(Stands::Content(pointer()));
        let entry = Entry { goal, writes: vec![(temporary.clone(), written)], reason: None };
        recover(&tree.top, &path(), &entry, &|| true).expect("recovered")
    };

    // Named, not yet complete.
    let tree = Tree::new();
    fs::write(aside(&tree), "cont").expect("written");
    assert!(recovered(&tree, None).is_pointer);
    assert_eq!(tree.names(), 1);

    // Complete, not yet exchanged.
    let tree = Tree::new();
    fs::write(aside(&tree), "content").expect("written");
    let written = written_at(&aside(&tree));
    let found = recovered(&tree, written);
    assert!(found.is_pointer && found.in_place.is_none());
    assert_eq!(tree.names(), 1);

    // Exchanged.
    let tree = Tree::new();
    tree.save("content");
    fs::write(aside(&tree), pointer().to_string()).expect("written");
    let written = written_at(&tree.file());
    assert_eq!(recovered(&tree, written), Recovered { in_place: written, ..Recovered::default() });
    assert_eq!(tree.names(), 1);

    // The same date and inode, but not the length.
    tree.save("longer content");
    let written = written_at(&tree.file());
    assert_eq!(recovered(&tree, written), Recovered::default());

    // What is under the name is neither, and neither is what is in the place.
    fs::write(aside(&tree), "saved by the user").expect("written");
    // No inode that the file system could give to the next file.
    let other = written.map(|written| Written { inode: !written.inode, ..written });
    assert_eq!(recovered(&tree, other).kept, [aside(&tree)]);
    assert_eq!(fs::read(aside(&tree)).expect("there"), b"saved by the user");
}

#[test]
fn content_that_gave_way_to_its_pointer_goes_back_unless_the_path_has_something_else() {
    let temporary = TemporaryName::new(7);
    let aside = |tree: &Tree| tree.file().with_file_name(temporary.as_str());
    let written = |file: &Path| {
        let file = File::open(file).expect("there");
        Some(written_of(&rustix::fs::fstat(&file).expect("known")))
    };
    let recovered = |tree: &Tree, written| {
        let goal = Some(Stands::Pointer(pointer()));
        let entry = Entry { goal, writes: vec![(temporary.clone(), written)], reason: None };
        recover(&tree.top, &path(), &entry, &|| true).expect("recovered")
    };
    let holds = |tree: &Tree, content: &str| {
        tree.holds(content);
        assert_eq!(tree.names(), 1);
    };

    // Named, not yet exchanged; on a file system without unnamed files not yet written either.
    let text = pointer().to_string();
    for (at, is_known) in [(text.len(), true), (text.len(), false), (3, false), (0, false)] {
        let tree = Tree::new();
        tree.save("content");
        fs::write(aside(&tree), &text[..at]).expect("written");
        let written = if is_known { written(&aside(&tree)) } else { None };
        assert_eq!(recovered(&tree, written), Recovered::default());
        holds(&tree, "content");
    }

    // Exchanged: with the content, or with what the user had saved by then.
    for out in ["content", "saved by the user"] {
        let tree = Tree::new();
        fs::write(aside(&tree), out).expect("written");
        assert_eq!(recovered(&tree, written(&tree.file())), Recovered::default());
        holds(&tree, out);
    }

    // The exchange was never noted: then only what is surely ours goes.
    let tree = Tree::new();
    fs::write(aside(&tree), "saved by the user").expect("written");
    assert_eq!(recovered(&tree, None).kept, [aside(&tree)]);
    assert_eq!(fs::read(aside(&tree)).expect("there"), b"saved by the user");

    // Done; then something else was put there.
    let tree = Tree::new();
    let at = written(&tree.file());
    assert_eq!(recovered(&tree, at), Recovered { in_place: at, ..Recovered::default() });
    fs::write(aside(&tree), "content").expect("written");
    fs::rename(tree.file(), tree.top.join("moved")).expect("moved");
    tree.save("saved by the user");
    assert_eq!(recovered(&tree, at), Recovered::default());
    holds(&tree, "saved by the user");
}

#[test]
fn what_is_saved_while_a_file_is_set_aside_goes_back() {
    let tree = Tree::new();
    let (top, file) = (tree.top.clone(), tree.file());
    let seen = see(&top, path().as_bstr()).expect("looked");
    let mut save_then_move = |to: &BStr, move_away: &dyn Fn() -> Result<(), Errno>| {
        fs::write(top.join("saved"), "saved by the user").expect("written");
        fs::rename(top.join("saved"), &file).expect("saved");
        // One step, and no other way of doing it: what makes sure that the name is free takes two on some file systems.
        fs::write(place_of(&file, to), "").expect("written");
        move_away()
    };
    let mut all = Vec::new();
    let changed = set_aside_by(&top, &path(), &seen, &tree.journal, &mut all, &mut save_then_move);
    assert!(matches!(changed, Err(AsideError::Changed { .. })), "{changed:?}");
    assert!(all.is_empty(), "{all:?}");
    assert_eq!(fs::read(&file).expect("there"), b"saved by the user");
    assert_eq!(tree.names(), 1);
}

#[test]
fn nothing_is_set_aside_that_is_not_what_was_seen() {
    type Change = fn(&Tree);
    let changes: [Change; 3] = [
        |tree| tree.save("saved by the user"),
        |tree| fs::remove_file(tree.file()).expect("removed"),
        |tree| {
            fs::write(tree.top.join("new"), pointer().to_string()).expect("written");
            fs::rename(tree.top.join("new"), tree.file()).expect("renamed");
        },
    ];
    for change in changes {
        let tree = Tree::new();
        let seen = see(&tree.top, path().as_bstr()).expect("looked");
        change(&tree);
        let mut all = Vec::new();
        let changed = set_aside(&tree.top, &path(), &seen, &tree.journal, &mut all);
        assert!(matches!(changed, Err(AsideError::Changed { .. })), "{changed:?}");
        assert!(all.is_empty() && tree.noted().is_none(), "{all:?}");
    }
    let tree = Tree::new();
    fs::remove_file(tree.file()).expect("removed");
    let seen = see(&tree.top, path().as_bstr()).expect("looked");
    let mut all = Vec::new();
    set_aside(&tree.top, &path(), &seen, &tree.journal, &mut all).expect("nothing is there");
    tree.save("saved by the user");
    let changed = set_aside(&tree.top, &path(), &seen, &tree.journal, &mut all);
    assert!(matches!(changed, Err(AsideError::Changed { .. })), "{changed:?}");
    assert!(all.is_empty() && tree.noted().is_none(), "{all:?}");
    tree.holds("saved by the user");
}

#[test]
fn a_save_that_cannot_go_back_to_a_path_in_conflict_is_named_and_stays_in_the_journal() {
    let tree = Tree::new();
    let (top, file) = (tree.top.clone(), tree.file());
    let seen = see(&top, path().as_bstr()).expect("looked");
    let mut save_twice = |_: &BStr, move_away: &dyn Fn() -> Result<(), Errno>| {
        fs::write(&file, "saved by the user").expect("saved");
        move_away()?;
        fs::write(&file, "saved again").expect("saved");
        Ok(())
    };
    let mut all = Vec::new();
    let changed = set_aside_by(&top, &path(), &seen, &tree.journal, &mut all, &mut save_twice);
    assert!(matches!(changed, Err(AsideError::Changed { .. })), "{changed:?}");
    let [aside] = &all[..] else { panic!("{all:?}") };
    let error = aside.put_back().expect_err("something stands there");
    let AsideError::Kept { kept, source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), io::ErrorKind::AlreadyExists, "{error:?}");
    assert!(error.to_string().contains(&kept.display().to_string()), "{error}");
    let entry = entry(&tree, None);
    assert_eq!(recover(&top, &path(), &entry, &|| true).expect("recovered").kept, std::slice::from_ref(kept));
    assert_eq!(fs::read(kept).expect("there"), b"saved by the user");
    assert_eq!(fs::read(&file).expect("there"), b"saved again");
    // Once the path is free, it goes back.
    fs::remove_file(&file).expect("removed");
    assert!(recover(&top, &path(), &entry, &|| true).expect("recovered").is_put_back);
    assert_eq!(fs::read(&file).expect("there"), b"saved by the user");
}

#[test]
fn a_file_that_was_set_aside_and_saved_into_goes_back_once_its_process_is_gone() {
    for is_saved in [false, true] {
        let tree = Tree::new();
        let top = tree.top.clone();
        let seen = see(&top, path().as_bstr()).expect("looked");
        let mut all = Vec::new();
        set_aside(&top, &path(), &seen, &tree.journal, &mut all).expect("set aside");
        assert_eq!(all.len(), 1, "it was there");
        let entry = entry(&tree, None);
        assert!(!tree.file().exists());
        if is_saved {
            let name = entry.writes[0].0.clone();
            fs::write(place_of(&tree.file(), name.as_str().into()), "saved by the user").expect("written");
        }
        let recovered = recover(&top, &path(), &entry, &|| true).expect("recovered");
        assert_eq!(recovered, Recovered { is_put_back: true, ..Recovered::default() });
        let text = if is_saved { "saved by the user".to_owned() } else { pointer().to_string() };
        tree.holds(text);
        assert_eq!(tree.names(), 1);
    }
}

/// The file of that name beside another.
fn place_of(file: &Path, name: &BStr) -> PathBuf {
    file.with_file_name(name.to_str().expect("a temporary name"))
}
