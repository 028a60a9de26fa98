//! Whole trees: where they hold pointers, each tree object being read once.
//!
//! **For:** commits that change attributes, since a path that becomes ours may hold an older
//! pointer; and for listing a tree.
//!
//! **May touch:** one `git cat-file`.
//!
//! **Must hold:**
//! - the work grows with the number of different trees and of pointers, not with the number of
//!   paths that trees of trees expand to;
//! - what is remembered between trees is bounded.

use std::collections::HashMap;

use bstr::{BStr, BString, ByteSlice, ByteVec};

use super::budget::Budget;
use super::evaluate::{Content, Evaluator};
use super::objects::{ObjectInfo, ObjectKind};
use super::{GitId, WalkError};
use crate::limits;

/// The trees that were read.
#[derive(Default)]
pub(super) struct Trees {
    known: HashMap<GitId, Below>,
    /// Entries kept, in all trees.
    weight: usize,
}

/// What a tree leads to that is a pointer.
#[derive(Default)]
struct Below {
    files: Vec<Entry>,
    /// Once `count` is known, those alone that lead to some.
    folders: Vec<Entry>,
    /// Pointers in the tree and in all folders below it; `None` until they were counted.
    count: Option<u64>,
}

struct Entry {
    name: BString,
    id: GitId,
}

/// Entries that are remembered when the next tree is asked for.
const WEIGHT_MAX: usize = 1 << 19;
/// Bytes of tree objects that are looked at together.
const GROUP_LEN: u64 = 4 * 1024 * 1024;
/// Pointers after which the clock is looked at.
const TIME_CHECK_EVERY: u64 = 4096;

impl Trees {
    /// Reads these trees and all below them, many at a time. What was read before is forgotten once it is much.
    pub fn prepare(&mut self, evaluator: &mut Evaluator, roots: &[GitId], budget: &Budget) -> Result<(), WalkError> {
        if self.weight > WEIGHT_MAX {
            *self = Trees::default();
        }
        self.read(evaluator, roots, budget)
    }

    /// Hands every pointer of the tree `root`, which was prepared, to `take`: its path, and its blob.
    pub fn pointers<E: From<WalkError>>(
        &mut self,
        evaluator: &mut Evaluator,
        root: GitId,
        budget: &Budget,
        take: &mut dyn FnMut(&mut Evaluator, &BStr, GitId) -> Result<(), E>,
    ) -> Result<(), E> {
        self.count(root);
        budget.check_paths(self.known[&root].count.unwrap_or_default())?;
        let mut path = BString::default();
        let mut open = vec![(&self.known[&root], 0, 0)];
        let mut taken = 0_u64;
        while let Some((below, next_folder, prefix_len)) = open.last_mut() {
            path.truncate(*prefix_len);
            if *next_folder == 0 {
                for file in &below.files {
                    taken += 1;
                    if taken.is_multiple_of(TIME_CHECK_EVERY) {
                        budget.check_time()?;
                    }
                    path.push_str(&file.name);
                    take(evaluator, path.as_bstr(), file.id)?;
                    path.truncate(*prefix_len);
                }
            }
            let Some(folder) = below.folders.get(*next_folder) else {
                open.pop();
                continue;
            };
            *next_folder += 1;
            path.push_str(&folder.name);
            path.push(b'/');
            open.push((&self.known[&folder.id], 0, path.len()));
        }
        Ok(())
    }

    fn read(&mut self, evaluator: &mut Evaluator, roots: &[GitId], budget: &Budget) -> Result<(), WalkError> {
        let mut level = roots.to_vec();
        for _ in 0..limits::TREE_DEPTH_MAX {
            level.sort_unstable();
            level.dedup();
            level.retain(|id| !self.known.contains_key(id));
            if level.is_empty() {
                return Ok(());
            }
            let mut next = Vec::new();
            let names: Vec<BString> = level.iter().map(|id| id.to_string().into()).collect();
            let infos = evaluator.objects().info(&names)?;
            let mut group = Vec::new();
            let mut group_len = 0;
            for (id, info) in level.iter().zip(infos) {
                match info {
                    Some(ObjectInfo { kind: ObjectKind::Tree, len, .. }) if len > limits::TREE_LEN_MAX => {
                        return Err(WalkError::TreeLen { tree: *id, len });
                    }
                    Some(ObjectInfo { kind: ObjectKind::Tree, len, .. }) => {
                        group.push(*id);
                        group_len += len;
                    }
                    // It was promised by a remote, so that remote has it and what it names.
                    _ => drop(self.known.insert(*id, Below { count: Some(0), ..Below::default() })),
                }
                if group_len >= GROUP_LEN {
                    self.read_group(evaluator, &std::mem::take(&mut group), &mut next)?;
                    group_len = 0;
                    budget.check_time()?;
                }
            }
            self.read_group(evaluator, &group, &mut next)?;
            budget.check_time()?;
            level = next;
        }
        Err(WalkError::TreeDepth { tree: level[0] })
    }

    fn read_group(&mut self, evaluator: &mut Evaluator, ids: &[GitId], next: &mut Vec<GitId>) -> Result<(), WalkError> {
        let names: Vec<BString> = ids.iter().map(|id| id.to_string().into()).collect();
        let id_len = ids.first().map_or(0, |id| id.0.as_bytes().len());
        let mut read = Vec::with_capacity(ids.len());
        evaluator.objects().contents(&names, |content| {
            read.push(content.map_or(Some(Below::default()), |content| parse(content, id_len)))
        })?;
        let mut trees = Vec::with_capacity(ids.len());
        for (id, below) in ids.iter().zip(read) {
            trees.push((*id, below.ok_or(WalkError::Tree { tree: *id })?));
        }
        evaluator.learn(trees.iter().flat_map(|(_, below)| below.files.iter().map(|file| file.id)))?;
        for (id, mut below) in trees {
            below.files.retain(|file| matches!(evaluator.content(&file.id), Some(Content::Pointer(_))));
            below.files.shrink_to_fit();
            next.extend(below.folders.iter().map(|folder| folder.id));
            self.weight += 1 + below.files.len() + below.folders.len();
            self.known.insert(id, below);
        }
        Ok(())
    }

    /// Counts the pointers below `root`, and forgets the folders that lead to none. A tree may be
    /// nested as deep as git allows, so that this does not call itself.
    fn count(&mut self, root: GitId) {
        let mut open = vec![root];
        while let Some(id) = open.last().copied() {
            let uncounted = |below: &Below| below.count.is_none();
            let Some(below) = self.known.get(&id).filter(|below| uncounted(below)) else {
                open.pop();
                continue;
            };
            let waits_for: Vec<GitId> = below.folders.iter().map(|folder| folder.id).collect();
            let waits_for = waits_for.into_iter().filter(|id| self.known.get(id).is_some_and(uncounted));
            let before = open.len();
            open.extend(waits_for);
            if open.len() > before {
                continue;
            }
            open.pop();
            let mut below = self.known.remove(&id).unwrap_or_default();
            let count_of = |id: &GitId| self.known.get(id).and_then(|below| below.count).unwrap_or_default();
            self.weight -= below.folders.len();
            below.folders.retain(|folder| count_of(&folder.id) > 0);
            below.folders.shrink_to_fit();
            self.weight += below.folders.len();
            let files = below.files.len() as u64;
            below.count =
                Some(below.folders.iter().map(|folder| count_of(&folder.id)).fold(files, u64::saturating_add));
            self.known.insert(id, below);
        }
    }
}

/// Reads a tree object whose ids have `id_len` bytes: its files and folders; `None` for what is no tree.
fn parse(mut content: &[u8], id_len: usize) -> Option<Below> {
    let mut below = Below::default();
    while !content.is_empty() {
        let (mode, rest) = content.split_once_str(" ")?;
        let (name, rest) = rest.split_once_str("\0")?;
        let (id, rest) = rest.split_at_checked(id_len)?;
        content = rest;
        let mode = u32::from_str_radix(mode.to_str().ok()?, 8).ok()?;
        let entry = || Some(Entry { name: name.into(), id: GitId(gix::ObjectId::try_from(id).ok()?) });
        match mode & 0o170_000 {
            0o100_000 => below.files.push(entry()?),
            0o040_000 => below.folders.push(entry()?),
            _ => {}
        }
    }
    Some(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_and_what_is_none_is_not() {
        let id = [7_u8; 20];
        let tree = |mode: &str, name: &str| [mode.as_bytes(), b" ", name.as_bytes(), b"\0", &id].concat();
        let whole = [tree("100644", "a b"), tree("120000", "link"), tree("160000", "sub"), tree("40000", "d")].concat();
        let below = parse(&whole, 20).expect("a tree");
        let names = |entries: &[Entry]| entries.iter().map(|entry| entry.name.to_string()).collect::<Vec<_>>();
        assert_eq!((names(&below.files), names(&below.folders)), (vec!["a b".to_owned()], vec!["d".to_owned()]));
        assert!(parse(&whole[..whole.len() - 1], 20).is_none());
        assert!(parse(&tree("what", "a"), 20).is_none());
        assert!(parse(b"100644", 20).is_none());
    }
}
