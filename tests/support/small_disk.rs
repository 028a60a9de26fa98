//! File systems of a test's own: one that is soon full, and one whose files share blocks.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system; it is gone when dropped.
pub struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    /// Mounts a `tmpfs` at `dir`, which is made. [`needs_root`](crate::needs::needs_root) comes first.
    ///
    /// # Panics
    ///
    /// If root may not mount either, and `CI=true`; elsewhere it returns `None`.
    pub fn mount(dir: &Path, bytes: u64) -> Option<SmallDisk> {
        std::fs::create_dir_all(dir).expect("the folder is ours");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "dits-test"])
            .arg(dir)
            .output()
            .expect("mount can be started");
        let is_mounted = crate::needs::needs(done.status.success(), "this root may not mount a tmpfs");
        is_mounted.then(|| SmallDisk { dir: dir.to_owned() })
    }

    /// Mounts an XFS whose files may share blocks at `dir`, which is made; its image lies beside it.
    /// [`needs_root`](crate::needs::needs_root) comes first.
    ///
    /// # Panics
    ///
    /// If there is no `mkfs.xfs` or no loop device, and `CI=true`; elsewhere it returns `None`.
    pub fn sharing_blocks(dir: &Path, bytes: u64) -> Option<SmallDisk> {
        std::fs::create_dir_all(dir).expect("the folder is ours");
        let image = dir.with_extension("image");
        std::fs::File::create(&image).and_then(|file| file.set_len(bytes)).expect("the folder is ours");
        let made = Command::new("mkfs.xfs").args(["-q", "-m", "reflink=1"]).arg(&image).output();
        let is_made = made.is_ok_and(|made| made.status.success());
        if !crate::needs::needs(is_made, "there is no mkfs.xfs that makes a small file system") {
            return None;
        }
        let done = Command::new("mount").args(["-o", "loop"]).args([&image, dir]).output();
        let is_mounted = done.expect("mount can be started").status.success();
        let is_mounted = crate::needs::needs(is_mounted, "this root may not mount an XFS on a loop device");
        is_mounted.then(|| SmallDisk { dir: dir.to_owned() })
    }

    /// Gives it another size, as an admin does who makes room.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn resize(&self, bytes: u64) {
        let done = Command::new("mount").args(["-o", &format!("remount,size={bytes}")]).arg(&self.dir).status();
        assert!(done.expect("mount can be started").success());
    }

    /// Lets nobody write there any more.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn only_read(&self) {
        let done = Command::new("mount").args(["-o", "remount,ro"]).arg(&self.dir).status();
        assert!(done.expect("mount can be started").success());
    }

    /// Where it is mounted.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a program that is still ending must not keep it mounted for good.
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}
