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
    env: Environment,
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
        let env = Environment::new(vars.clone());
        let git = GitProgram::find(&env).expect("git is installed").with_only_env(vars);
        let tree = Tree { git: git.clone().in_dir(dir.path().join("repo")), dir, env };
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
        Repository::discover(&self.path(""), self.env.clone()).expect("a repository")
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
        assert_eq!(is_zero, skip, "{kind}");
        assert_eq!(super::modified(&tree.index()).expect("read"), modified, "{kind}");
        assert_eq!(tree.index().metadata().expect("there").permissions().mode() & 0o777, 0o640);
        assert!(tree.has_only_the_index());

        let inode = tree.index().metadata().expect("there").ino();
        assert_eq!(tree.patch(&files).expect("nothing to do"), 5, "{kind}");
        assert_eq!(tree.index().metadata().expect("there").ino(), inode, "an index that is right was written again");
    }
}
