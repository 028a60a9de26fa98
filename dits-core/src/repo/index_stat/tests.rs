//! Patching indexes that git itself made, and asking git what it thinks of them.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::hash::FileHash;
use crate::repo::environment::Environment;
use crate::repo::git_program::GitProgram;

/// A repository whose media files are pointers, committed without any filter: what git then calls
/// clean it knows from stat data alone.
struct Tree {
    dir: tempfile::TempDir,
    git: GitProgram,
    vars: Vec<(OsString, OsString)>,
}

fn content(path: &str) -> Vec<u8> {
    format!("the content of {path}, which is not as long as its pointer").into_bytes()
}

fn pointer(path: &str) -> Pointer {
    let content = content(path);
    Pointer { oid: FileHash::of(&content), size: content.len() as u64 }
}

impl Tree {
    fn new(init: &[&str]) -> Tree {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = dir.path().join("home");
        fs::create_dir(&home).expect("a home");
        let path = std::env::var_os("PATH").expect("PATH is set");
        let vars: Vec<(OsString, OsString)> = vec![
            ("HOME".into(), home.into_os_string()),
            ("PATH".into(), path),
            ("GIT_CONFIG_NOSYSTEM".into(), "1".into()),
        ];
        let found = GitProgram::find(&Environment::new(vars.clone())).expect("git is installed");
        let git = found.with_only_env(vars.clone());
        let tree = Tree { git: git.clone().in_dir(dir.path().join("repo")), dir, vars };
        let args = [&["init", "--quiet", "-b", "main"], init, &["repo"]].concat();
        git.in_dir(tree.dir.path()).run(args).expect("made");
        tree.git(&["config", "user.name", "t"]);
        tree.git(&["config", "user.email", "t@t"]);
        tree
    }

    /// With these files committed, as pointers.
    fn with(init: &[&str], paths: &[&str]) -> Tree {
        let tree = Tree::new(init);
        tree.add(paths);
        tree.git(&["commit", "--quiet", "-m", "pointers"]);
        tree
    }

    fn add(&self, paths: &[&str]) {
        for path in paths {
            let at = self.path(path);
            fs::create_dir_all(at.parent().expect("below the top")).expect("folders");
            fs::write(at, pointer(path).to_string()).expect("written");
        }
        self.git(&[&["add", "--"], paths].concat());
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("repo").join(path)
    }

    fn git(&self, args: &[&str]) -> String {
        let said = self.git.capture(args).expect("git does it");
        String::from_utf8(said).expect("text")
    }

    fn repo(&self) -> Repository {
        self.repo_with(&[])
    }

    fn repo_with(&self, more: &[(&str, &Path)]) -> Repository {
        let more = more.iter().map(|(name, value)| (name.into(), value.into()));
        let env = Environment::new(self.vars.iter().cloned().chain(more));
        Repository::discover(&self.path(""), env).expect("a repository")
    }

    fn index(&self) -> PathBuf {
        self.path(".git/index")
    }

    /// Two seconds before the time of the index, as hydration dates files.
    fn date(&self) -> FileTime {
        let modified = modified(&self.index()).expect("read").expect("there");
        FileTime { seconds: modified.seconds - 2, ..modified }
    }

    /// Puts `content` in the place of the pointer.
    fn hydrate_as(&self, path: &str, content: &[u8]) -> Restat {
        let temporary = self.path("temporary");
        fs::write(&temporary, content).expect("written");
        set_modified(&temporary, self.date());
        fs::rename(&temporary, self.path(path)).expect("in place");
        self.restat(path)
    }

    fn hydrate(&self, path: &str) -> Restat {
        self.hydrate_as(path, &content(path))
    }

    /// What a file looks like now.
    fn restat(&self, path: &str) -> Restat {
        let meta = self.path(path).symlink_metadata().expect("there");
        let modified = FileTime { seconds: meta.mtime(), nanoseconds: meta.mtime_nsec() as u32 };
        Restat { path: path.into(), pointer: pointer(path), size: meta.len(), inode: meta.ino(), modified }
    }

    fn patch(&self, files: &[Restat]) -> Result<usize, NotPatched> {
        patch(&self.repo(), files)
    }

    /// What git status says, without writing the index.
    fn status(&self) -> String {
        self.git(&["--no-optional-locks", "status", "--porcelain"])
    }

    fn has_only_the_index(&self) -> bool {
        let names = fs::read_dir(self.path(".git")).expect("listed").map(|entry| entry.expect("listed").file_name());
        names.filter(|name| name.to_string_lossy().starts_with("index")).count() == 1
    }
}

fn set_modified(path: &Path, time: FileTime) {
    let time = std::time::UNIX_EPOCH + Duration::new(time.seconds as u64, time.nanoseconds);
    fs::File::options().write(true).open(path).expect("opened").set_modified(time).expect("set");
}

#[test]
fn git_calls_hydrated_files_clean_in_every_kind_of_index() {
    let formats = ["sha1", "sha256"];
    let versions = ["2", "3", "4"];
    let knows_skip_hash = version_of(Tree::new(&[]).git(&["version"]).as_bytes()).is_some_and(|git| git >= (2, 40));
    for (format, version, skip) in formats
        .iter()
        .flat_map(|format| versions.iter().flat_map(move |version| [false, true].map(|skip| (*format, *version, skip))))
    {
        let kind = format!("{format}, version {version}, skipHash {skip}");
        let paths = ["a.bin", "b/c/d.bin", "b/c/e.bin", "b/f.bin", "with space \u{e4}.bin", "z.bin"];
        let tree = Tree::with(&["--object-format", format], &paths);
        tree.git(&["config", "index.skipHash", if skip { "true" } else { "false" }]);
        if version == "3" {
            // Only second flags of an entry make an index one of version 3.
            tree.git(&["update-index", "--skip-worktree", "z.bin"]);
        }
        tree.git(&["update-index", "--index-version", version]);
        tree.git(&["update-index", "--force-write-index"]);
        let before = fs::read(tree.index()).expect("read");
        assert_eq!(before[7..8], [version.parse::<u8>().expect("a number")], "{kind}");
        let modified = modified(&tree.index()).expect("read");
        fs::set_permissions(tree.index(), fs::Permissions::from_mode(0o640)).expect("set");

        let files: Vec<_> = paths[..5].iter().map(|path| tree.hydrate(path)).collect();
        assert_eq!(tree.status().lines().count(), 5, "{kind}");
        assert_eq!(tree.patch(&files).expect("patched"), 5, "{kind}");
        assert_eq!(tree.status(), "", "{kind}");
        tree.git(&["fsck", "--strict"]);

        let after = fs::read(tree.index()).expect("read");
        assert_eq!(after.len(), before.len());
        let checksum_len = tree.repo().object_format().expect("known").name_len();
        let is_zero = after[after.len() - checksum_len..].iter().all(|byte| *byte == 0);
        assert_eq!(is_zero, skip && knows_skip_hash, "{kind}");
        assert_eq!(super::modified(&tree.index()).expect("read"), modified, "{kind}");
        assert_eq!(tree.index().metadata().expect("there").permissions().mode() & 0o777, 0o640);
        assert!(tree.has_only_the_index());

        let inode = tree.index().metadata().expect("there").ino();
        assert_eq!(tree.patch(&files).expect("nothing to do"), 5, "{kind}");
        assert_eq!(tree.index().metadata().expect("there").ino(), inode, "an index that is right was written again");
    }
}

#[test]
fn an_entry_in_conflict_stays_as_it_is() {
    let tree = Tree::with(&[], &["a.bin", "b.bin"]);
    for branch in ["ours", "theirs"] {
        tree.git(&["checkout", "--quiet", "-b", branch, "main"]);
        fs::write(tree.path("a.bin"), format!("changed by {branch}")).expect("written");
        tree.git(&["commit", "--quiet", "-a", "-m", branch]);
    }
    tree.git.capture(["merge", "ours"]).expect_err("a conflict");
    let files = [tree.hydrate("a.bin"), tree.hydrate("b.bin")];
    assert_eq!(tree.patch(&files).expect("patched"), 1);
    assert_eq!(tree.status(), "UU a.bin\n");
    assert_eq!(tree.git(&["ls-files", "--unmerged"]).lines().count(), 3);
}

#[test]
fn an_entry_of_another_blob_stays_as_it_is() {
    let tree = Tree::with(&[], &["a.bin", "b.bin"]);
    fs::write(tree.path("a.bin"), pointer("b.bin").to_string()).expect("written");
    tree.git(&["add", "a.bin"]);
    let files = [tree.hydrate("a.bin"), tree.hydrate("b.bin")];
    assert_eq!(tree.patch(&files).expect("patched"), 1);
    assert_eq!(tree.status(), "MM a.bin\n");
}

#[test]
fn a_file_that_was_saved_since_stays_modified() {
    let paths = ["edited.bin", "longer.bin", "removed.bin", "replaced.bin", "touched.bin", "unchanged.bin"];
    let tree = Tree::with(&[], &paths);
    let files = paths.map(|path| tree.hydrate(path));
    let at = |name: &str| tree.path(name);
    fs::write(at("edited.bin"), vec![b'x'; content("edited.bin").len()]).expect("written");
    fs::write(at("longer.bin"), "longer\n".repeat(90)).expect("written");
    set_modified(&at("longer.bin"), files[1].modified);
    fs::remove_file(at("removed.bin")).expect("removed");
    fs::copy(at("replaced.bin"), at("temporary")).expect("copied");
    set_modified(&at("temporary"), files[3].modified);
    fs::rename(at("temporary"), at("replaced.bin")).expect("replaced");
    set_modified(&at("touched.bin"), FileTime { nanoseconds: 1, ..files[4].modified });
    assert_eq!(tree.patch(&files).expect("patched"), 1);
    let modified = " M edited.bin\n M longer.bin\n D removed.bin\n M replaced.bin\n M touched.bin\n";
    assert_eq!(tree.status(), modified);
}

#[test]
fn no_link_is_followed_to_a_file() {
    let tree = Tree::with(&[], &["a/b.bin", "c.bin", "d/e.bin"]);
    let files = ["a/b.bin", "c.bin", "d/e.bin"].map(|path| tree.hydrate(path));
    for path in ["a", "c.bin"] {
        fs::rename(tree.path(path), tree.dir.path().join(path)).expect("moved away");
        std::os::unix::fs::symlink(tree.dir.path().join(path), tree.path(path)).expect("linked");
    }
    assert_eq!(tree.patch(&files).expect("patched"), 1);
    let status = tree.status();
    assert!(status.contains("a/b.bin") && status.contains("c.bin") && !status.contains("d/e.bin"), "{status}");
}

#[test]
fn a_file_that_is_about_to_be_added_stays_as_it_is() {
    let tree = Tree::with(&[], &["a.bin"]);
    fs::write(tree.path("new.bin"), pointer("new.bin").to_string()).expect("written");
    tree.git(&["add", "--intent-to-add", "new.bin"]);
    assert_eq!(fs::read(tree.index()).expect("read")[7], 3);
    let files = [tree.hydrate("a.bin"), tree.hydrate("new.bin")];
    assert_eq!(tree.patch(&files).expect("patched"), 1);
    assert_eq!(tree.status(), " A new.bin\n");
}

#[test]
fn an_index_with_whole_folders_left_out_is_patched() {
    let tree = Tree::with(&[], &["in/a.bin", "left/out/b.bin", "left/out/c.bin", "z.bin"]);
    tree.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "in"]);
    assert!(tree.git(&["ls-files", "--sparse"]).contains("left/\n"), "not a sparse index");
    let files = [tree.hydrate("in/a.bin"), tree.hydrate("z.bin")];
    assert_eq!(tree.patch(&files).expect("patched"), 2);
    assert_eq!(tree.status(), "");
    assert!(tree.git(&["ls-files", "--sparse"]).contains("left/\n"));
    tree.git(&["fsck", "--strict"]);
}

#[test]
fn a_split_index_is_left_alone() {
    let tree = Tree::with(&[], &["a.bin"]);
    tree.git(&["update-index", "--split-index"]);
    let before = fs::read(tree.index()).expect("read");
    let refused = tree.patch(&[tree.hydrate("a.bin")]);
    assert!(matches!(refused, Err(NotPatched::Refused { source: IndexError::Split, .. })), "{refused:?}");
    assert_eq!(fs::read(tree.index()).expect("read"), before);
    assert_eq!(tree.status(), " M a.bin\n");
}

/// The bytes of an extension.
fn extension(index: &[u8], name: &[u8; 4]) -> Option<Vec<u8>> {
    let at = index.windows(4).rposition(|bytes| bytes == name)?;
    let len = u32::from_be_bytes(index[at + 4..at + 8].try_into().expect("4 bytes")) as usize;
    Some(index[at + 8..at + 8 + len].to_vec())
}

#[test]
fn what_git_remembers_of_folders_and_of_a_watcher_stays() {
    let tree = Tree::with(&[], &["a/b.bin", "c.bin"]);
    let watcher = tree.path(".git/watcher");
    fs::write(&watcher, "#!/bin/sh\nprintf 'token\\0/\\0'\n").expect("written");
    fs::set_permissions(&watcher, fs::Permissions::from_mode(0o755)).expect("set");
    tree.git(&["config", "core.fsmonitor", ".git/watcher"]);
    tree.git(&["config", "core.untrackedCache", "true"]);
    tree.git(&["update-index", "--fsmonitor", "--untracked-cache"]);
    fs::write(tree.path("untracked"), "untracked").expect("written");
    tree.git(&["status"]);
    let before = fs::read(tree.index()).expect("read");
    assert!(extension(&before, b"FSMN").is_some() && extension(&before, b"UNTR").is_some());
    let files = [tree.hydrate("a/b.bin"), tree.hydrate("c.bin")];
    assert_eq!(tree.patch(&files).expect("patched"), 2);
    let after = fs::read(tree.index()).expect("read");
    for name in [b"FSMN", b"UNTR", b"TREE"] {
        assert_eq!(extension(&after, name), extension(&before, name));
    }
    assert_eq!(tree.status(), "?? untracked\n");
    assert_eq!(tree.git(&["status", "--porcelain"]), "?? untracked\n");
}

#[test]
fn an_edit_of_another_file_in_the_same_second_is_still_seen() {
    let tree = Tree::with(&[], &["a.bin", "b.bin"]);
    // Git cannot tell this edit by stat data: size and second are those of the index, as is the inode.
    let [before, index] = [tree.restat("b.bin").modified, modified(&tree.index()).expect("read").expect("there")];
    fs::write(tree.path("b.bin"), pointer("c.bin").to_string()).expect("written");
    assert_eq!(tree.restat("b.bin").size, tree.restat("a.bin").size);
    set_modified(&tree.path("b.bin"), before);
    tree.git(&["config", "core.trustctime", "false"]);
    set_modified(&tree.index(), FileTime { seconds: before.seconds, ..index });
    assert_eq!(tree.status(), " M b.bin\n");

    let file = tree.hydrate("a.bin");
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(tree.patch(&[file]).expect("patched"), 1);
    assert_eq!(tree.status(), " M b.bin\n");
}

#[test]
fn a_damaged_index_is_left_alone() {
    let tree = Tree::with(&[], &["a.bin"]);
    let file = [tree.hydrate("a.bin")];
    let good = fs::read(tree.index()).expect("read");
    let tree_at = good.windows(4).rposition(|bytes| bytes == b"TREE").expect("git writes one");
    let mut wrong = Vec::new();
    for at in [0, 7, 11, 20, tree_at, tree_at + 5, tree_at + 9, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x20;
        wrong.push(bytes);
    }
    wrong.extend([0, 1, 40, tree_at + 6, good.len() - 1].map(|len| good[..len].to_vec()));
    for bytes in wrong {
        fs::write(tree.index(), &bytes).expect("written");
        let refused = tree.patch(&file);
        assert!(matches!(refused, Err(NotPatched::Refused { .. })), "{refused:?}");
        assert_eq!(fs::read(tree.index()).expect("read"), bytes);
        assert!(tree.has_only_the_index());
    }
    fs::write(tree.index(), &good).expect("written");
    assert_eq!(tree.patch(&file).expect("patched"), 1);
}

#[test]
fn a_lock_of_somebody_else_is_waited_for_and_stays() {
    let tree = Tree::with(&[], &["a.bin"]);
    let file = [tree.hydrate("a.bin")];
    let before = fs::read(tree.index()).expect("read");
    let lock = tree.path(".git/index.lock");
    fs::write(&lock, "half an ind").expect("written");
    let begun = Instant::now();
    let held = tree.patch(&file);
    assert!(matches!(held, Err(NotPatched::Held { .. })), "{held:?}");
    assert!(begun.elapsed() > Duration::from_millis(1500) && begun.elapsed() < Duration::from_secs(4));
    assert_eq!(fs::read(&lock).expect("read"), b"half an ind");
    assert_eq!(fs::read(tree.index()).expect("read"), before);

    let released = std::thread::scope(|scope| {
        let patching = scope.spawn(|| tree.patch(&file));
        std::thread::sleep(Duration::from_millis(300));
        fs::remove_file(&lock).expect("released");
        patching.join().expect("no panic")
    });
    assert_eq!(released.expect("patched"), 1);
    assert_eq!(tree.status(), "");
}

fn target<'a>(tree: &Tree, top: &'a Path) -> Target<'a> {
    let index = fs::canonicalize(tree.index()).expect("there");
    Target { index, top, format: ObjectFormat::Sha1, full_sizes: FullSizes::HighBit }
}

#[test]
fn an_index_that_was_written_meanwhile_is_read_again() {
    let tree = Tree::with(&[], &["a.bin", "b.bin"]);
    let top = tree.path("");
    let target = target(&tree, &top);
    let index = target.index.clone();
    let patched = Patched::read(&index, &target, &[tree.hydrate("a.bin")]).expect("read");
    assert!(patched.is_new && patched.is_of(&index));
    let lock = lock::path_of(&index);
    tree.git(&["update-index", "--chmod=+x", "b.bin"]);
    let Ok(Taken::Ours(ours)) = Lock::take(&lock, &patched) else { panic!("the lock is free") };
    assert!(!replace(ours, &patched, &index).expect("looked at"));
    assert!(tree.has_only_the_index());
    assert!(tree.git(&["ls-files", "--stage", "b.bin"]).starts_with("100755"));
}

#[test]
fn a_lock_is_made_as_git_makes_it_where_no_file_is_without_a_name() {
    let tree = Tree::with(&[], &["a.bin"]);
    let top = tree.path("");
    let target = target(&tree, &top);
    let index = target.index.clone();
    let patched = Patched::read(&index, &target, &[tree.hydrate("a.bin")]).expect("read");
    let path = lock::path_of(&index);
    let Ok(Taken::Ours(ours)) = lock::take_named(&path, &patched) else { panic!("the lock is free") };
    assert!(matches!(lock::take_named(&path, &patched), Ok(Taken::Held)));
    assert!(matches!(Lock::take(&path, &patched), Ok(Taken::Held)));
    assert!(replace(ours, &patched, &index).expect("replaced"));
    assert_eq!(tree.status(), "");
    assert_eq!(modified(&index).expect("read"), Some(patched.modified()));
    assert!(tree.has_only_the_index());
}

#[test]
fn a_lock_that_a_killed_process_left_is_known_from_one_that_is_held() {
    let tree = Tree::with(&[], &["a.bin"]);
    let file = [tree.hydrate("a.bin")];
    let top = tree.path("");
    let target = target(&tree, &top);
    let index = target.index.clone();
    let patched = Patched::read(&index, &target, &file).expect("read");
    let path = lock::path_of(&index);
    let briefly = Duration::from_millis(50);

    let Ok(Taken::Ours(living)) = Lock::take(&path, &patched) else { panic!("the lock is free") };
    let held = patch_at(&target, &file, briefly);
    assert!(matches!(held, Err(NotPatched::Held { .. })), "{held:?}");
    drop(living);

    // A copy with the time of the index, which no process has open, and what looks much like one.
    let leave = |bytes: &[u8], lock_time, index_time| {
        fs::write(&path, bytes).expect("written");
        set_modified(&path, lock_time);
        set_modified(&index, index_time);
    };
    let time = patched.modified();
    let other = FileTime { nanoseconds: time.nanoseconds ^ 1, ..time };
    let whole_second = FileTime { nanoseconds: 0, ..time };
    for (bytes, lock_time, index_time) in [
        (&patched.bytes[..], other, time),
        (&patched.bytes[1..], time, time),
        (&patched.bytes[..], whole_second, whole_second),
    ] {
        leave(bytes, lock_time, index_time);
        let held = patch_at(&target, &file, briefly);
        assert!(matches!(held, Err(NotPatched::Held { .. })), "{held:?}");
        assert_eq!(fs::read(&path).expect("still there"), bytes);
    }
    leave(&patched.bytes, time, time);
    assert_eq!(patch_at(&target, &file, briefly).expect("patched"), 1);
    assert_eq!(tree.status(), "");
    assert!(tree.has_only_the_index());
}

#[test]
fn the_index_that_a_variable_or_a_link_names_is_patched() {
    let tree = Tree::with(&[], &["a.bin"]);
    let file = [tree.hydrate("a.bin")];
    let other = tree.dir.path().join("other");
    fs::rename(tree.index(), &other).expect("moved");
    let absent = tree.patch(&file);
    assert!(matches!(absent, Err(NotPatched::Absent { .. })), "{absent:?}");

    let before = fs::read(&other).expect("read");
    let named = tree.repo_with(&[("GIT_INDEX_FILE", &other)]);
    assert_eq!(patch(&named, &file).expect("patched"), 1);
    assert!(!tree.index().exists());
    fs::write(&other, before).expect("as it was");

    std::os::unix::fs::symlink(&other, tree.index()).expect("linked");
    assert_eq!(tree.patch(&file).expect("patched"), 1);
    assert!(tree.index().symlink_metadata().expect("there").is_symlink());
    assert_eq!(tree.status(), "");
}

#[test]
fn what_is_no_index_is_an_error_with_its_path() {
    let tree = Tree::with(&[], &["a.bin"]);
    let file = [tree.hydrate("a.bin")];
    fs::remove_file(tree.index()).expect("removed");
    fs::create_dir(tree.index()).expect("a folder");
    let failed = tree.patch(&file).expect_err("a folder");
    assert!(matches!(&failed, NotPatched::Io { path, .. } if path.ends_with(".git/index")), "{failed:?}");
    fs::remove_dir(tree.index()).expect("removed");
    rustix::fs::mknodat(CWD, tree.index(), rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    let failed = tree.patch(&file).expect_err("a pipe");
    assert!(matches!(&failed, NotPatched::Io { path, .. } if path.ends_with(".git/index")), "{failed:?}");
}

#[test]
fn a_file_of_four_gib_is_clean_to_git() {
    let tree = Tree::with(&[], &["a.bin", "b.bin"]);
    let files = ["a.bin", "b.bin"].map(|path| {
        fs::File::options().write(true).open(tree.path(path)).expect("opened").set_len(4 << 30).expect("sparse");
        set_modified(&tree.path(path), tree.date());
        tree.restat(path)
    });
    assert_eq!(tree.patch(&files).expect("patched"), 2);
    let size = |path: &str| {
        let said = tree.git(&["ls-files", "--debug", path]);
        said.split("size: ").nth(1).and_then(|rest| rest.split('\t').next()).map(str::to_owned).expect("a size")
    };
    // Git before 2.43 looks at the content, which is 4 GiB of zeros here and no pointer.
    match full_sizes_of_git(&tree.repo()) {
        FullSizes::HighBit => {
            assert_eq!((size("a.bin").as_str(), tree.status().as_str()), ("2147483648", ""));
        }
        FullSizes::Zero => assert_eq!(size("a.bin"), "0"),
    }
}

#[test]
fn the_version_of_git_is_read_as_every_build_writes_it() {
    for (said, version) in [
        ("git version 2.47.3\n", Some((2, 47))),
        ("git version 2.39.5 (Apple Git-154)\n", Some((2, 39))),
        ("git version 2.43.0.windows.1\n", Some((2, 43))),
        ("git version 3.0\n", Some((3, 0))),
        ("git version next\n", None),
        ("", None),
    ] {
        assert_eq!(version_of(said.as_bytes()), version, "{said:?}");
    }
}

#[test]
fn the_name_of_a_pointers_blob_is_the_one_git_gives_it() {
    for format in ["sha1", "sha256"] {
        let tree = Tree::with(&["--object-format", format], &["a.bin"]);
        let blob = pointer_blob(&pointer("a.bin"), tree.repo().object_format().expect("known"));
        let hex: String = blob.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(tree.git(&["rev-parse", "HEAD:a.bin"]).trim(), hex);
    }
}

#[test]
fn the_index_stays_the_property_of_its_owner() {
    let tree = Tree::with(&[], &["a.bin"]);
    let file = [tree.hydrate("a.bin")];
    // Only root can give it to somebody else; whoever else runs this has it already.
    let _ = std::os::unix::fs::chown(tree.index(), Some(4321), Some(4321));
    let before = tree.index().metadata().expect("there");
    assert_eq!(tree.patch(&file).expect("patched"), 1);
    let after = tree.index().metadata().expect("there");
    assert_ne!(after.ino(), before.ino());
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
}

#[test]
fn nothing_is_lost_while_git_writes_the_index_too() {
    let paths: Vec<String> = (0..8).map(|number| format!("{number}.bin")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let tree = Tree::with(&[], &paths);
    let files: Vec<_> = paths.iter().map(|path| tree.hydrate(path)).collect();
    let added: Vec<String> = (0..30).map(|number| format!("added/{number}")).collect();
    let rounds = std::thread::scope(|scope| {
        let adding = scope.spawn(|| {
            for path in &added {
                let at = tree.path(path);
                fs::create_dir_all(at.parent().expect("below the top")).expect("folders");
                fs::write(at, path).expect("written");
                // Like any other git's, its lock may be in the way for an instant.
                assert!((0..500).any(|_| tree.git.run(["add", path]).is_ok()), "git add {path}");
            }
        });
        let mut rounds = 0;
        while !adding.is_finished() {
            for (file, seconds) in files.iter().zip(1..) {
                let modified = FileTime { seconds: file.modified.seconds - seconds - rounds, ..file.modified };
                set_modified(&tree.path(&file.path.to_string()), modified);
                let done = tree.patch(&[Restat { modified, ..file.clone() }]);
                assert!(matches!(done, Ok(1) | Err(NotPatched::Held { .. })), "{done:?}");
            }
            rounds += 1;
        }
        rounds
    });
    assert!(rounds > 0);
    let files: Vec<_> = paths.iter().map(|path| tree.restat(path)).collect();
    assert_eq!(tree.patch(&files).expect("patched"), 8);
    let right: String = tree.git(&["ls-files", "--", "added"]);
    assert_eq!(right.lines().count(), added.len());
    assert!(tree.status().lines().all(|line| line.starts_with("A  added/")), "{}", tree.status());
    tree.git(&["fsck", "--strict"]);
    assert!(tree.has_only_the_index());
}
