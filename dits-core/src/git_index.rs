//! Git's index file: where the entries of wanted files are in it, and what their stat data looks like.
//!
//! **For:** patching the stat data of files that were hydrated, and nothing else of an index.
//!
//! **May touch:** nothing.
//!
//! **Must hold:**
//! - an index is walked to its last byte before a place in it is handed out: what git would not read as it is
//!   read here is refused by name;
//! - no bytes make it panic, and memory follows the wanted files and the longest path, not the entries.
//!
//! **Format:** git's `gitformat-index(5)`, versions 2 to 4; `docs/formats/hydration-v1.md` says what is changed.

mod walk;

use walk::Walk;

/// What a repository's objects are named by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectFormat {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl ObjectFormat {
    /// What git calls it.
    pub const fn name(self) -> &'static str {
        match self {
            ObjectFormat::Sha1 => "sha1",
            ObjectFormat::Sha256 => "sha256",
        }
    }

    /// Reads what git calls it.
    pub fn parse(name: &str) -> Option<ObjectFormat> {
        [ObjectFormat::Sha1, ObjectFormat::Sha256].into_iter().find(|format| format.name() == name)
    }

    /// Length of an object's name, and of an index's checksum, in bytes.
    pub const fn name_len(self) -> usize {
        match self {
            ObjectFormat::Sha1 => 20,
            ObjectFormat::Sha256 => 32,
        }
    }
}

/// An entry that is looked for: a regular file of stage 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Its path, as git writes it.
    pub path: &'a [u8],
    /// The name of its blob.
    pub blob: &'a [u8],
}

/// An entry that was looked for and is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its position among those wanted.
    pub wanted_index: usize,
    /// Where its stat data begins, in bytes from the start of the index.
    pub offset: usize,
}

/// An index that is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Its version is none of 2, 3 and 4.
    #[error("its version {version} is not known")]
    UnknownVersion {
        /// The version.
        version: u32,
    },
    /// Most of its entries are in another file.
    #[error("it is split")]
    Split,
    /// It has an extension that nobody may pass over who does not know it.
    #[error("its extension {:?} is not known", bstr::BStr::new(.name))]
    UnknownExtension {
        /// The extension's signature.
        name: [u8; 4],
    },
    /// It is not what git writes.
    #[error("it is damaged at byte {offset}: {what}")]
    Malformed {
        /// Where, in bytes from its start.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
}

/// Finds wanted entries.
///
/// Shape: entries in the index's order. One that is not there, is in conflict, is no regular file or
/// names another blob is left out.
///
/// # Errors
///
/// [`IndexError`]: then nothing is known of any entry. The checksum at the end is not looked at.
pub fn find(index: &[u8], format: ObjectFormat, wanted: &[Wanted<'_>]) -> Result<Vec<Found>, IndexError> {
    let mut by_path: Vec<usize> = (0..wanted.len()).collect();
    by_path.sort_by_key(|&wanted_index| wanted[wanted_index].path);
    let mut rest = by_path.as_slice();
    let mut found = Vec::new();
    let mut walk = Walk::begin(index, format)?;
    while let Some(entry) = walk.next_entry()? {
        let path = walk.path();
        while let Some((&first, others)) = rest.split_first()
            && wanted[first].path < path
        {
            rest = others;
        }
        // The entries of one path in conflict follow one another, so those wanted are kept until the next path.
        let same = rest.iter().take_while(|&&wanted_index| wanted[wanted_index].path == path);
        let named = same.filter(|&&wanted_index| entry.is_merged_file() && wanted[wanted_index].blob == entry.blob);
        found.extend(named.map(|&wanted_index| Found { wanted_index, offset: entry.offset }));
    }
    walk.finish()?;
    Ok(found)
}

/// The checksum at the end of an index, and all before it; `None` if it is too short to have one.
pub fn split_checksum(index: &[u8], format: ObjectFormat) -> Option<(&[u8], &[u8])> {
    index.len().checked_sub(format.name_len()).map(|at| index.split_at(at))
}

/// Stat data of a file, as an index has it: whatever is longer is cut off at 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatData {
    /// When its inode changed: seconds and nanoseconds.
    pub changed: [u32; 2],
    /// When its content changed: seconds and nanoseconds.
    pub modified: [u32; 2],
    /// Its device.
    pub device: u32,
    /// Its inode.
    pub inode: u32,
    /// Its owner.
    pub user: u32,
    /// Its group.
    pub group: u32,
    /// Its size as [`size_in_index`] gives it.
    pub size: u32,
}

impl StatData {
    /// Length of the part of an entry that has stat data, the mode in it included.
    pub const LEN: usize = 40;

    /// Writes it where an entry's stat data begins; the mode, which stands in between, stays.
    /// Returns false if all of it was there already.
    ///
    /// # Panics
    ///
    /// If `offset` is none that [`find`] gave for this index.
    pub fn write(&self, index: &mut [u8], offset: usize) -> bool {
        let [changed, modified] = [self.changed, self.modified];
        let before_mode = [changed[0], changed[1], modified[0], modified[1], self.device, self.inode];
        let behind_mode = [self.user, self.group, self.size];
        let entry = &mut index[offset..offset + Self::LEN];
        let mut is_new = false;
        let mut put = |field: &mut [u8], value: u32| {
            is_new |= field != value.to_be_bytes();
            field.copy_from_slice(&value.to_be_bytes());
        };
        let (before, behind) = entry.split_at_mut(24);
        before.chunks_exact_mut(4).zip(before_mode).for_each(|(field, value)| put(field, value));
        behind[4..].chunks_exact_mut(4).zip(behind_mode).for_each(|(field, value)| put(field, value));
        is_new
    }
}

/// How a git writes the size of a file of 4 GiB, or a multiple of it, of which the lowest 32 bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullSizes {
    /// As 0, which says that the content must be looked at: git before 2.43.
    Zero,
    /// As 2 GiB: git from 2.43 on (`munge_st_size`).
    HighBit,
}

/// The size of a file as an index has it.
pub fn size_in_index(size: u64, full_sizes: FullSizes) -> u32 {
    match (size as u32, full_sizes) {
        (0, FullSizes::HighBit) if size > 0 => 1 << 31,
        (low, _) => low,
    }
}

#[cfg(test)]
mod tests;
