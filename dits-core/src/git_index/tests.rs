//! Walks over indexes that are right, cut off and broken. Those that git makes are in `repo/index_stat/tests`.

use super::*;
use proptest::prelude::*;

/// What an index of these tests is made of.
#[derive(Debug, Clone)]
struct Made {
    version: u32,
    format: ObjectFormat,
    /// Path, mode, stage, second flags.
    entries: Vec<(Vec<u8>, u32, u16, u16)>,
    extensions: Vec<([u8; 4], Vec<u8>)>,
}

impl Made {
    fn new(version: u32, paths: &[&str]) -> Made {
        let entries = paths.iter().map(|path| (path.as_bytes().to_vec(), 0o100_644, 0, 0)).collect();
        Made { version, format: ObjectFormat::Sha1, entries, extensions: Vec::new() }
    }

    fn blob(&self, entry_index: usize) -> Vec<u8> {
        vec![entry_index as u8 + 1; self.format.name_len()]
    }

    /// The index, and where each entry begins.
    fn bytes(&self) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = b"DIRC".to_vec();
        bytes.extend(self.version.to_be_bytes());
        bytes.extend((self.entries.len() as u32).to_be_bytes());
        let mut offsets = Vec::new();
        let mut before: &[u8] = &[];
        for (entry_index, (path, mode, stage, more)) in self.entries.iter().enumerate() {
            offsets.push(bytes.len());
            bytes.extend([0xaa; 24]);
            bytes.extend(mode.to_be_bytes());
            bytes.extend([0xbb; 12]);
            bytes.extend(self.blob(entry_index));
            let extended = if *more == 0 { 0 } else { 0x4000 };
            bytes.extend((path.len().min(0xfff) as u16 | stage << 12 | extended).to_be_bytes());
            if extended != 0 {
                bytes.extend(more.to_be_bytes());
            }
            if self.version == 4 {
                let same = path.iter().zip(before).take_while(|(ours, theirs)| ours == theirs).count();
                bytes.extend(varint(before.len() - same));
                bytes.extend(&path[same..]);
                bytes.push(0);
            } else {
                bytes.extend(path);
                let len = bytes.len() - offsets[entry_index];
                bytes.resize(offsets[entry_index] + (len + 8) / 8 * 8, 0);
            }
            before = path;
        }
        for (name, data) in &self.extensions {
            bytes.extend(name);
            bytes.extend((data.len() as u32).to_be_bytes());
            bytes.extend(data);
        }
        bytes.extend(vec![0xcc; self.format.name_len()]);
        (bytes, offsets)
    }
}

/// Git's `encode_varint`.
fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = vec![value as u8 & 0x7f];
    while value > 0x7f {
        value = (value >> 7) - 1;
        bytes.insert(0, 0x80 | value as u8 & 0x7f);
    }
    bytes
}

fn any_index() -> impl Strategy<Value = Made> {
    let path = prop_oneof!["[ab]{1,3}(/[ab]{1,3}){0,3}", "a{300,310}b", "[a-c]{4090,4100}"];
    let mode = prop_oneof![4 => Just(0o100_644), 1 => Just(0o100_755), 1 => Just(0o120_000), 1 => Just(0o160_000)];
    let more = prop_oneof![3 => Just(0), 1 => Just(0x4000), 1 => Just(0x2000)];
    let paths = prop::collection::btree_map(path, (mode, more, 0..5_usize), 0..12);
    let extension =
        (prop_oneof![Just(*b"TREE"), Just(*b"sdir"), Just(*b"ZZZZ")], prop::collection::vec(0..255_u8, 0..9));
    (2..=4_u32, any::<bool>(), paths, prop::collection::vec(extension, 0..3)).prop_map(
        |(version, is_sha1, paths, extensions)| {
            let mut entries = Vec::new();
            for (path, (mode, more, conflict)) in paths {
                let stages: &[u16] = [&[0][..], &[0], &[1, 2, 3], &[2, 3], &[1]][conflict];
                let more = if version == 2 { 0 } else { more };
                entries.extend(stages.iter().map(|stage| (path.clone().into_bytes(), mode, *stage, more)));
            }
            let format = if is_sha1 { ObjectFormat::Sha1 } else { ObjectFormat::Sha256 };
            Made { version, format, entries, extensions }
        },
    )
}

/// Looks for every path with the blob of each of its entries, backwards.
fn find_all(made: &Made, bytes: &[u8]) -> Result<Vec<(usize, usize)>, IndexError> {
    let blobs: Vec<_> = (0..made.entries.len()).rev().map(|entry_index| made.blob(entry_index)).collect();
    let paths = made.entries.iter().rev().map(|entry| entry.0.as_slice());
    let wanted: Vec<_> = paths.zip(&blobs).map(|(path, blob)| Wanted { path, blob }).collect();
    let found = find(bytes, made.format, &wanted)?;
    let last = made.entries.len().saturating_sub(1);
    Ok(found.iter().map(|found| (last - found.wanted_index, found.offset)).collect())
}

proptest! {
    #[test]
    fn merged_regular_files_are_found_and_nothing_else(made in any_index()) {
        let (bytes, offsets) = made.bytes();
        let right: Vec<_> = made.entries.iter().zip(offsets).enumerate()
            .filter(|(_, ((_, mode, stage, _), _))| mode & 0o170_000 == 0o100_000 && *stage == 0)
            .map(|(entry_index, (_, offset))| (entry_index, offset))
            .collect();
        prop_assert_eq!(find_all(&made, &bytes), Ok(right));
    }

    #[test]
    fn a_changed_byte_moves_no_place_out_of_the_entries(made in any_index(), at: prop::sample::Index, to: u8) {
        let (mut bytes, _) = made.bytes();
        let at = at.index(bytes.len());
        bytes[at] = to;
        for (_, offset) in find_all(&made, &bytes).unwrap_or_default() {
            prop_assert!(offset + StatData::LEN + 2 * made.format.name_len() < bytes.len());
        }
    }

    #[test]
    fn any_bytes_are_walked_over(tail in prop::collection::vec(any::<u8>(), 0..300), version in 1..6_u32, count in 0..4_u32) {
        let mut bytes = b"DIRC".to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend(count.to_be_bytes());
        bytes.extend(&tail);
        let wanted = [Wanted { path: b"a", blob: &[0; 20] }];
        for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
            for bytes in [&bytes, &tail] {
                let found = find(bytes, format, &wanted).unwrap_or_default();
                prop_assert!(found.len() <= 1);
            }
        }
    }
}

proptest! {
    // Each case is all the places where its index can be cut.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn an_index_that_is_cut_off_is_refused_or_loses_whole_extensions(made in any_index()) {
        let (bytes, _) = made.bytes();
        let name_len = made.format.name_len();
        let mut ends = vec![bytes.len()];
        for (_, data) in made.extensions.iter().rev() {
            ends.push(ends[ends.len() - 1] - data.len() - 8);
        }
        for len in 0..bytes.len() {
            let is_whole = ends.contains(&len);
            let cut = find_all(&made, &bytes[..len]);
            prop_assert!(is_whole || cut.is_err(), "{} of {}: {:?}", len, bytes.len(), cut);
            prop_assert!(len >= name_len || cut.is_err());
        }
    }
}

fn refused(made: &Made) -> IndexError {
    find(&made.bytes().0, made.format, &[]).expect_err("refused")
}

#[test]
fn what_is_not_known_is_refused_by_its_name() {
    let mut made = Made::new(2, &["a", "b"]);
    for version in [0, 1, 5, u32::MAX] {
        assert_eq!(refused(&Made { version, ..made.clone() }), IndexError::UnknownVersion { version });
    }
    made.extensions = vec![(*b"TREE", vec![1; 5]), (*b"link", vec![0; 20])];
    assert_eq!(refused(&made), IndexError::Split);
    made.extensions[1].0 = *b"newx";
    assert_eq!(refused(&made), IndexError::UnknownExtension { name: *b"newx" });
    assert_eq!(refused(&made).to_string(), "its extension \"newx\" is not known");
}

#[test]
fn entries_that_git_would_not_have_written_are_refused() {
    let what = |made: &Made| match refused(made) {
        IndexError::Malformed { what, .. } => what,
        other => panic!("{other}"),
    };
    for version in 2..=4 {
        for paths in [&["b", "a"][..], &["a", "a"], &["a/b", "a/a"], &[""], &["ab", "a"]] {
            assert_eq!(what(&Made::new(version, paths)), "entries are not in order", "{version} {paths:?}");
        }
        let mut stages = Made::new(version, &["a", "a"]);
        for (first, second, is_good) in [(1, 2, true), (0, 1, false), (2, 1, false), (2, 2, false)] {
            (stages.entries[0].2, stages.entries[1].2) = (first, second);
            assert_eq!(find(&stages.bytes().0, stages.format, &[]).is_ok(), is_good, "{first} {second}");
        }
        let mut flags = Made::new(version, &["a"]);
        for more in [0x8000, 0x0001, 0x2001] {
            flags.entries[0].3 = more;
            assert_eq!(what(&flags), "an entry has flags that are not known");
        }
    }
    let mut early = Made::new(2, &["a"]);
    early.entries[0].3 = 0x4000;
    assert_eq!(what(&early), "an entry has flags that are not known", "version 2 has no second flags");
    let nul = Made { entries: vec![(b"a\0b".to_vec(), 0o100_644, 0, 0)], ..Made::new(2, &[]) };
    assert_eq!(what(&nul), "the length of a path is wrong");
}

#[test]
fn a_prefix_longer_than_the_path_before_is_refused() {
    let (bytes, offsets) = Made::new(4, &["abc", "abd"]).bytes();
    let prefix_at = offsets[1] + 62;
    assert_eq!(bytes[prefix_at], 1);
    for (dropped, what) in [
        (varint(4), "a path drops more than the one before it has"),
        (varint(1 << 35), "a number is too long"),
        (vec![0xff; 9], "a number is too long"),
    ] {
        let mut bytes = bytes.clone();
        bytes.splice(prefix_at..=prefix_at, dropped);
        let refused = find(&bytes, ObjectFormat::Sha1, &[]);
        assert!(matches!(refused, Err(IndexError::Malformed { what: said, .. }) if said == what), "{refused:?}");
    }
}

#[test]
fn an_entry_of_another_blob_is_not_found() {
    let made = Made::new(2, &["a"]);
    let (bytes, _) = made.bytes();
    for (path, blob, count) in [(&b"a"[..], &[1; 20][..], 1), (b"a", &[2; 20], 0), (b"a", &[], 0), (b"a/", &[1; 20], 0)]
    {
        let twice = [Wanted { path, blob }; 2];
        assert_eq!(find(&bytes, made.format, &twice).expect("walked over").len(), 2 * count);
    }
}

#[test]
fn stat_data_is_written_around_the_mode() {
    let made = Made::new(2, &["a"]);
    let (before, offsets) = made.bytes();
    let stat = StatData { changed: [1, 2], modified: [3, 4], device: 5, inode: 6, user: 7, group: 8, size: 9 };
    let mut after = before.clone();
    assert!(stat.write(&mut after, offsets[0]));
    let fields: Vec<u32> =
        after[offsets[0]..][..40].chunks(4).map(|field| u32::from_be_bytes(field.try_into().expect("4"))).collect();
    assert_eq!(fields, [1, 2, 3, 4, 5, 6, 0o100_644, 7, 8, 9]);
    assert_eq!(after[..offsets[0]], before[..offsets[0]]);
    assert_eq!(after[offsets[0] + 40..], before[offsets[0] + 40..]);
    assert!(!stat.write(&mut after, offsets[0]), "it was there already");
}

#[test]
fn sizes_are_cut_off_as_git_does() {
    let gib = 1 << 30;
    for (size, zero, high_bit) in [
        (0, 0, 0),
        (7, 7, 7),
        (4 * gib - 1, u32::MAX, u32::MAX),
        (4 * gib, 0, 1 << 31),
        (8 * gib, 0, 1 << 31),
        (4 * gib + 1, 1, 1),
    ] {
        assert_eq!(size_in_index(size, FullSizes::Zero), zero);
        assert_eq!(size_in_index(size, FullSizes::HighBit), high_bit);
    }
}
