//! Whether a folder is on a disk of this machine.
//!
//! **For:** choosing how a store is written: locks and shared memory hold only among processes of
//! one machine.
//!
//! **May touch:** nothing but the question to the system which file system a folder is on.
//!
//! **Must hold:** a file system that may be a network's counts as one.
//!
//! Limitations: only Linux is asked. Elsewhere every folder counts as this machine's, but for
//! `dits::/path`, which is a share wherever it is.

use std::path::Path;

use super::Sharing;

/// File systems that another machine may write to as well, by the number that `statfs(2)` gives.
const NETWORK: [u32; 16] = [
    0x6969,      // NFS
    0x517b,      // SMB
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB 2 and later
    0x6573_5546, // FUSE: sshfs, rclone, GlusterFS, virtiofs, and local ones that cannot be told from them
    0x0102_1997, // 9P: folders of the host of a virtual machine
    0x786f_4256, // VirtualBox shared folders
    0xbacb_acbc, // VMware shared folders
    0x00c3_6400, // Ceph
    0x0bd0_0bd0, // Lustre
    0x4750_4653, // GPFS
    0x1983_0326, // BeeGFS
    0x0116_1970, // GFS2
    0x7461_636f, // OCFS2
    0x5346_414f, // AFS
    0x7375_7245, // Coda
];

impl Sharing {
    /// Who else may use a store at `dir`, which need not be there yet.
    pub fn of(dir: &Path) -> Sharing {
        match dir.ancestors().find_map(file_system_at) {
            Some(number) => of_file_system(number),
            // What cannot be asked about cannot be used either, and whoever tries will say why.
            None => Sharing::Machine,
        }
    }
}

fn of_file_system(number: u32) -> Sharing {
    match NETWORK.contains(&number) {
        true => Sharing::Network,
        false => Sharing::Machine,
    }
}

#[cfg(target_os = "linux")]
fn file_system_at(dir: &Path) -> Option<u32> {
    // A relative path ends in the empty one.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    // The type of the field differs by machine; the numbers have 32 bits.
    rustix::fs::statfs(dir).ok().map(|found| found.f_type as u32)
}

#[cfg(not(target_os = "linux"))]
fn file_system_at(_: &Path) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_networks_are_told_from_those_of_disks() {
        for (number, name) in [(0x6969, "nfs"), (0xff53_4d42, "cifs"), (0xfe53_4d42, "smb2"), (0x6573_5546, "fuse")] {
            assert_eq!(of_file_system(number), Sharing::Network, "{name}");
        }
        for (number, name) in [
            (0xef53, "ext4"),
            (0x5846_5342, "xfs"),
            (0x9123_683e, "btrfs"),
            (0x2fc1_2fc1, "zfs"),
            (0x0102_1994, "tmpfs"),
            (0x794c_7630, "overlayfs"),
            (0xf2f5_2010, "f2fs"),
            (0xca45_1a4e, "bcachefs"),
        ] {
            assert_eq!(of_file_system(number), Sharing::Machine, "{name}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_folder_that_is_not_there_yet_is_on_the_file_system_of_the_one_above() {
        let proc = Path::new("/proc");
        assert_eq!(file_system_at(proc), Some(0x9fa0));
        assert_eq!(Path::new("/proc/no/such/folder").ancestors().find_map(file_system_at), Some(0x9fa0));
        assert!(Path::new("no/such").ancestors().find_map(file_system_at).is_some());
        assert_eq!(Sharing::of(&std::env::temp_dir().join("no/such")), Sharing::Machine);
    }
}
