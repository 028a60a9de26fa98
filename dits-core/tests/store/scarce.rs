//! Places that cannot be written to, and disks without room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dits_core::operations::clean::{CleanError, CleanOptions, Cleaner, Outcome};
use dits_core::operations::hydrate::write_to;
use dits_core::pack_format::Domain;
use dits_core::pointer::Pointer;
use dits_core::store::{Sharing, Sources, Store, StoreError, StoreOptions, WriteError};

use super::{chunk_id, noise, open, options, put, read};

const MIB: usize = 1024 * 1024;

/// Something mounted for one test.
struct Mount(PathBuf);

impl Mount {
    /// Mounts at `dir`, which is made; `None`, aloud, where that is not possible.
    fn new(dir: &Path, arguments: &[&str]) -> Option<Mount> {
        fs::create_dir_all(dir).unwrap();
        let done = Command::new("mount").args(arguments).arg(dir).output();
        if done.is_ok_and(|done| done.status.success()) {
            return Some(Mount(dir.to_owned()));
        }
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "not run: nothing can be mounted");
        eprintln!("not run: nothing can be mounted");
        None
    }

    fn tmpfs(dir: &Path, bytes: usize) -> Option<Mount> {
        Mount::new(dir, &["-t", "tmpfs", "-o", &format!("size={bytes}"), "dits-test"])
    }

    fn resize(&self, bytes: usize) {
        let size = format!("remount,size={bytes}");
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[allow(clippy::result_large_err, reason = "what the program sees is what the test looks at")]
fn clean(sources: &Sources, content: &[u8]) -> Result<Pointer, CleanError> {
    let mut writer = sources.own().writer(Domain::LOCAL);
    let mut cleaner = Cleaner::new(sources, &mut writer, CleanOptions::default());
    for block in content.chunks(MIB) {
        cleaner.push(block.to_vec())?;
    }
    match cleaner.finish()?.outcome {
        Outcome::Stored(pointer) => Ok(pointer),
        other => panic!("{other:?}"),
    }
}

fn hydrated(sources: &Sources, pointer: &Pointer) -> Vec<u8> {
    let mut out = Vec::new();
    write_to(sources, pointer, &mut out).unwrap();
    out
}

fn sources(dir: &Path) -> Sources {
    Sources::new(open(dir, Sharing::Machine), vec![])
}

/// Every file below `dir`, with its length and time.
fn listing(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let metadata = entry.metadata().unwrap();
        found.push(format!("{:?} {} {:?}", entry.path(), metadata.len(), metadata.modified().unwrap()));
        if metadata.is_dir() {
            found.extend(listing(&entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_store_that_cannot_be_written_to_is_read_and_adds_what_it_knows() {
    let dir = tempfile::tempdir().unwrap();
    let (real, read_only) = (dir.path().join("real"), dir.path().join("read-only"));
    let content = noise(1, 3 * MIB);
    let pointer = clean(&sources(&real), &content).unwrap();
    for has_index in [true, false] {
        if !has_index {
            fs::remove_file(real.join("index.sqlite")).unwrap();
        }
        let before = listing(&real);
        let Some(mount) = Mount::new(&read_only, &["--bind", "-o", "ro", real.to_str().unwrap()]) else { return };
        let here = sources(&read_only);
        assert!(hydrated(&here, &pointer) == content);
        assert_eq!(clean(&here, &content).unwrap(), pointer);
        let error = clean(&here, &noise(2, MIB)).unwrap_err();
        let CleanError::Write { source, .. } = &error else { panic!("{error:?}") };
        let text = format!("the store {} cannot be written to", read_only.join("store").display());
        assert!(matches!(source, WriteError::ReadOnly { .. }), "{error:?}");
        assert_eq!(source.to_string(), text);
        assert!(hydrated(&here, &pointer) == content);
        drop((here, mount));
        assert_eq!(listing(&real), before);
    }
}

#[test]
fn where_no_store_can_be_made_reading_finds_nothing_and_adding_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real");
    fs::create_dir(&real).unwrap();
    let Some(_mount) = Mount::new(&dir.path().join("ro"), &["--bind", "-o", "ro", real.to_str().unwrap()]) else {
        return;
    };
    let here = sources(&dir.path().join("ro"));
    assert!(!here.has(&chunk_id(b"x")).unwrap());
    assert!(matches!(clean(&here, b"x"), Err(CleanError::Write { source: WriteError::ReadOnly { .. }, .. })));
}

fn is_full(error: &WriteError) -> bool {
    match error {
        WriteError::Full { .. } => true,
        WriteError::Store(StoreError::Index { source, .. }) => source.to_string().contains("full"),
        _ => false,
    }
}

#[test]
fn a_full_disk_fails_an_add_cleanly_and_with_room_it_succeeds() {
    for (sharing, index_is_elsewhere) in
        [(Sharing::Machine, false), (Sharing::Machine, true), (Sharing::Network, true), (Sharing::Network, false)]
    {
        let dir = tempfile::tempdir().unwrap();
        let Some(mount) = Mount::tmpfs(&dir.path().join("small"), 4 * MIB) else { return };
        let mut options = options(&mount.0, sharing);
        if index_is_elsewhere {
            options.index = dir.path().join("index.sqlite");
        }
        let open = || Sources::new(Store::open(options.clone()).unwrap(), vec![]);
        let (first, second) = (noise(1, 2 * MIB), noise(2, 5 * MIB));
        let pointer = clean(&open(), &first).unwrap();
        for _ in 0..3 {
            let here = open();
            let error = clean(&here, &second).unwrap_err();
            match &error {
                CleanError::Write { source, .. } | CleanError::Commit(source) => assert!(is_full(source), "{error:?}"),
                _ => panic!("{error:?}"),
            }
            assert!(hydrated(&here, &pointer) == first, "the same process");
            assert!(hydrated(&open(), &pointer) == first, "the next process");
        }
        mount.resize(16 * MIB);
        let here = open();
        let pointer = clean(&here, &second).unwrap();
        assert!(hydrated(&here, &pointer) == second && hydrated(&open(), &pointer) == second);
    }
}

#[test]
fn a_disk_that_is_full_to_the_last_byte_is_still_read_from() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(&dir.path().join("small"), 4 * MIB) else { return };
    let content = noise(1, 2 * MIB);
    let pointer = clean(&sources(&mount.0), &content).unwrap();
    let fill = || fs::write(mount.0.join("filler"), vec![0; 4 * MIB]).unwrap_err();
    fill();
    for has_index in [true, false] {
        if !has_index {
            fs::remove_file(mount.0.join("index.sqlite")).unwrap();
            fill();
        }
        let here = sources(&mount.0);
        assert!(hydrated(&here, &pointer) == content);
        assert_eq!(clean(&here, &content).unwrap(), pointer, "nothing is new");
        assert!(clean(&here, &noise(2, MIB)).is_err());
    }
    fs::remove_file(mount.0.join("filler")).unwrap();
    let here = sources(&mount.0);
    let pointer = clean(&here, &noise(2, MIB)).unwrap();
    assert!(hydrated(&here, &pointer) == noise(2, MIB));
}

#[test]
fn a_disk_that_fills_up_while_a_pack_is_sealed_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(&dir.path().join("small"), 80 * MIB) else { return };
    let items: Vec<_> = (0..325).map(|n| noise(n, 200_000)).collect();
    let (committed, rest) = items.split_at(300);
    let mut filler = 0;
    for room in [0, 1, 4, 8, 16, 64] {
        let store = open(&mount.0, Sharing::Machine);
        let mut writer = store.writer(Domain::LOCAL);
        for plain in committed.iter().filter(|plain| !store.has(&chunk_id(plain)).unwrap()) {
            put(&mut writer, chunk_id(plain), plain).unwrap();
        }
        writer.commit().unwrap();
        filler += 1;
        let _ = fs::write(mount.0.join(format!("filler{filler}")), vec![0; 80 * MIB]);
        let kept = fs::metadata(mount.0.join(format!("filler{filler}"))).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(mount.0.join(format!("filler{filler}"))).unwrap();
        file.set_len(kept.saturating_sub(room * 4096)).unwrap();
        let result = rest.iter().try_for_each(|plain| put(&mut writer, chunk_id(plain), plain));
        let result = result.and_then(|()| writer.commit());
        assert!(is_full(&result.unwrap_err()), "{room} pages of room");
        drop(writer);
        for store in [&store, &open(&mount.0, Sharing::Machine)] {
            committed.iter().for_each(|plain| assert!(read(store, &chunk_id(plain)).unwrap() == *plain));
        }
        fs::remove_file(mount.0.join(format!("filler{filler}"))).unwrap();
    }
    let store = open(&mount.0, Sharing::Machine);
    let mut writer = store.writer(Domain::LOCAL);
    rest.iter().for_each(|plain| put(&mut writer, chunk_id(plain), plain).unwrap());
    writer.commit().unwrap();
    items.iter().for_each(|plain| assert!(read(&store, &chunk_id(plain)).unwrap() == *plain));
}

#[test]
fn a_hydrate_into_a_full_disk_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(&dir.path().join("small"), MIB) else { return };
    let here = sources(dir.path());
    let pointer = clean(&here, &noise(1, 3 * MIB)).unwrap();
    let mut file = fs::File::create(mount.0.join("out")).unwrap();
    let error = write_to(&here, &pointer, &mut file).unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.to_string().contains("No space left"), "{error:?}");
}

#[test]
fn an_index_elsewhere_that_has_no_room_fails_an_add_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(&dir.path().join("small"), MIB / 4) else { return };
    let options =
        StoreOptions { dir: dir.path().join("store"), index: mount.0.join("index"), sharing: Sharing::Machine };
    let open = || Sources::new(Store::open(options.clone()).unwrap(), vec![]);
    let content = noise(1, MIB);
    let pointer = clean(&open(), &content).unwrap();
    let _ = fs::write(mount.0.join("filler"), vec![0; MIB]);
    let here = open();
    let failed = (2..40).find_map(|n| clean(&here, &noise(n, 2 * MIB)).err());
    assert!(failed.is_some(), "the index never filled up");
    assert!(hydrated(&open(), &pointer) == content);
    fs::remove_file(mount.0.join("filler")).unwrap();
    mount.resize(8 * MIB);
    let here = open();
    for n in 2..6 {
        let pointer = clean(&here, &noise(n, 2 * MIB)).unwrap();
        assert!(hydrated(&here, &pointer) == noise(n, 2 * MIB));
    }
}
