//! Which files are pointers that count.
//!
//! **For:** the walk, which hands in files of many commits at a time.
//!
//! **May touch:** one `git cat-file`.
//!
//! **Must hold:** what is remembered between batches is bounded; git is asked a few questions
//! a batch, however many commits it is of.

use std::collections::{HashMap, HashSet};

use bstr::{BStr, BString, ByteSlice};

use super::budget::Budget;
use super::objects::{ObjectInfo, ObjectKind, Objects};
use super::{ATTRIBUTES_LEN_MAX, GitId, WalkError};
use crate::hash::FileHash;
use crate::limits;
use crate::pointer::Pointer;
use crate::repo::attributes::{ATTRIBUTES_FILE, AttributeCase, AttributesFile, TreeAttributes, folders_above};

/// A file that may hold a pointer.
pub(super) struct Candidate {
    /// The commit or tree it is in; `None` is the index.
    pub tree: Option<GitId>,
    pub path: BString,
    pub blob: GitId,
    pub before: Option<GitId>,
    /// It was added by the commit, so that a large blob is that commit's doing.
    pub is_own: bool,
}

/// A pointer that counts.
pub(super) struct FoundAt {
    pub tree: Option<GitId>,
    pub path: BString,
    pub pointer: Pointer,
    pub replaces: Option<FileHash>,
}

/// A large blob that is none.
pub(super) struct RawAt {
    pub tree: Option<GitId>,
    pub path: BString,
    pub blob: GitId,
    pub len: u64,
}

#[derive(Default)]
pub(super) struct Evaluated {
    pub pointers: Vec<FoundAt>,
    pub raw_blobs: Vec<RawAt>,
    /// Pointers that do not count, since the tree does not say that their path is media.
    pub strays: Vec<FoundAt>,
}

/// What a blob is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Pointer(Pointer),
    Large(u64),
    Other,
}

/// Judges files, and remembers what it learnt about blobs and attributes.
pub(super) struct Evaluator {
    objects: Objects,
    case: AttributeCase,
    contents: HashMap<GitId, Content>,
    attributes: HashMap<AttributesKey, TreeAttributes>,
    attributes_len: u64,
}

/// The attributes files that bear on some paths, by folder.
type AttributesKey = Vec<(BString, GitId)>;

/// Blobs whose nature is remembered; beyond that it is asked again.
const CONTENTS_MAX: usize = 1 << 18;
/// Sets of attributes that are remembered, and the bytes of their files in all.
const ATTRIBUTES_MAX: usize = 256;
const ATTRIBUTES_KEPT_MAX: u64 = ATTRIBUTES_LEN_MAX;

impl Evaluator {
    pub fn new(objects: Objects, case: AttributeCase) -> Evaluator {
        let (contents, attributes) = (HashMap::new(), HashMap::new());
        Evaluator { objects, case, contents, attributes, attributes_len: 0 }
    }

    /// Git, to be asked about objects.
    pub fn objects(&mut self) -> &mut Objects {
        &mut self.objects
    }

    /// What a blob is, as far as it is remembered.
    pub fn content(&self, blob: &GitId) -> Option<Content> {
        self.contents.get(blob).copied()
    }

    /// Finds the pointers and the large blobs on our paths among `candidates`.
    pub fn judge(&mut self, mut candidates: Vec<Candidate>, budget: &Budget) -> Result<Evaluated, WalkError> {
        self.learn(candidates.iter().map(|candidate| candidate.blob))?;
        candidates.retain(|candidate| match self.contents.get(&candidate.blob) {
            Some(Content::Pointer(_)) => true,
            Some(Content::Large(_)) => candidate.is_own,
            Some(Content::Other) | None => false,
        });
        let mut evaluated = Evaluated::default();
        if candidates.is_empty() {
            return Ok(evaluated);
        }
        let candidates = self.only_ours(candidates, &mut evaluated.strays, budget)?;
        // Learning may forget what was learnt, so what these are is kept aside first.
        let contents: Vec<_> = candidates.iter().map(|candidate| self.contents[&candidate.blob]).collect();
        self.learn(candidates.iter().filter_map(|candidate| candidate.before))?;
        for (candidate, content) in candidates.into_iter().zip(contents) {
            let Candidate { tree, path, blob, before, .. } = candidate;
            match content {
                Content::Pointer(pointer) => {
                    let replaces = before.and_then(|before| match self.contents.get(&before) {
                        Some(Content::Pointer(before)) => Some(before.oid),
                        _ => None,
                    });
                    evaluated.pointers.push(FoundAt { tree, path, pointer, replaces });
                }
                Content::Large(len) => evaluated.raw_blobs.push(RawAt { tree, path, blob, len }),
                Content::Other => {}
            }
        }
        Ok(evaluated)
    }

    /// Learns what each blob is. One that is not here was promised by a remote, so that
    /// remote has it and what it names.
    pub fn learn(&mut self, blobs: impl IntoIterator<Item = GitId>) -> Result<(), WalkError> {
        if self.contents.len() > CONTENTS_MAX {
            self.contents.clear();
        }
        let unknown: HashSet<GitId> = blobs.into_iter().filter(|blob| !self.contents.contains_key(blob)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let unknown: Vec<GitId> = unknown.into_iter().collect();
        let names: Vec<BString> = unknown.iter().map(|blob| blob.to_string().into()).collect();
        let mut short = Vec::new();
        for (blob, info) in unknown.iter().zip(self.objects.info(&names)?) {
            match info {
                Some(info) if info.len > limits::RAW_BLOB_LEN_MAX => {
                    self.contents.insert(*blob, Content::Large(info.len));
                }
                Some(info) if info.kind == ObjectKind::Blob && info.len <= limits::POINTER_LEN_MAX as u64 => {
                    short.push(*blob);
                }
                _ => {
                    self.contents.insert(*blob, Content::Other);
                }
            }
        }
        let names: Vec<BString> = short.iter().map(|blob| blob.to_string().into()).collect();
        let mut next = short.iter();
        self.objects.contents(&names, |text| {
            let blob = next.next().expect("one answer for each name");
            let pointer = text.and_then(Pointer::parse);
            self.contents.insert(*blob, pointer.map_or(Content::Other, Content::Pointer));
        })
    }

    /// Keeps the candidates that have `filter=dits` in their own tree; pointers that a commit adds and that
    /// have it not are strays.
    fn only_ours(
        &mut self,
        candidates: Vec<Candidate>,
        strays: &mut Vec<FoundAt>,
        budget: &Budget,
    ) -> Result<Vec<Candidate>, WalkError> {
        let mut ours = Vec::new();
        let mut keys = self.attributes_of(&candidates)?;
        let mut by_tree: HashMap<Option<GitId>, Vec<Candidate>> = HashMap::new();
        // Trees are judged in the order they came in, and so are the files of each.
        let mut order = Vec::new();
        for candidate in candidates {
            let tree = candidate.tree;
            by_tree.entry(tree).or_insert_with(|| {
                order.push(tree);
                Vec::new()
            });
            by_tree.entry(tree).and_modify(|of_tree| of_tree.push(candidate));
        }
        for tree in order {
            let key = keys.remove(&tree).unwrap_or_default();
            self.load(&key)?;
            let Some(attributes) = self.attributes.get_mut(&key) else { continue };
            for candidate in by_tree.remove(&tree).into_iter().flatten() {
                // A long list of patterns takes its time for each path.
                budget.check_time()?;
                if attributes.is_ours(candidate.path.as_bstr()) {
                    ours.push(candidate);
                } else if let (true, Some(Content::Pointer(pointer))) =
                    (candidate.is_own, self.contents.get(&candidate.blob))
                {
                    let Candidate { tree, path, .. } = candidate;
                    strays.push(FoundAt { tree, path, pointer: *pointer, replaces: None });
                }
            }
        }
        Ok(ours)
    }

    /// Says which attributes files bear on the candidates of each tree, in two questions to git.
    fn attributes_of(&mut self, candidates: &[Candidate]) -> Result<HashMap<Option<GitId>, AttributesKey>, WalkError> {
        let folders =
            candidates.iter().flat_map(|one| folders_above(one.path.as_bstr()).map(|above| (one.tree, above)));
        let folders: HashSet<(Option<GitId>, &BStr)> = folders.collect();
        let mut folders: Vec<_> = folders.into_iter().collect();
        folders.sort_unstable();
        // `:path` names an entry of the index as `tree:path` names one of a tree.
        let name_of = |(tree, folder): &(Option<GitId>, &BStr)| {
            let mut name = tree.map_or_else(BString::default, |tree| tree.to_string().into());
            name.push(b':');
            name.extend_from_slice(&attributes_in(folder));
            name
        };
        let names: Vec<BString> = folders.iter().map(name_of).collect();
        let mut keys: HashMap<Option<GitId>, AttributesKey> = HashMap::new();
        let mut lens: HashMap<Option<GitId>, u64> = HashMap::new();
        for ((tree, folder), info) in folders.into_iter().zip(self.objects.info(&names)?) {
            // What a link of this name points to is its content for git too.
            let Some(ObjectInfo { id, len, .. }) = info.filter(|info| info.kind == ObjectKind::Blob) else { continue };
            let sum = lens.entry(tree).or_default();
            *sum = sum.saturating_add(len);
            if *sum > ATTRIBUTES_LEN_MAX {
                let tree = tree.map_or_else(|| "the index".to_owned(), |tree| tree.to_string());
                return Err(WalkError::AttributesLen { path: attributes_in(folder), tree, len: *sum });
            }
            keys.entry(tree).or_default().push((folder.into(), id));
        }
        Ok(keys)
    }

    /// Reads the attributes of these files unless they are remembered.
    fn load(&mut self, key: &AttributesKey) -> Result<(), WalkError> {
        if !self.attributes.contains_key(key) {
            let names: Vec<BString> = key.iter().map(|(_, blob)| blob.to_string().into()).collect();
            let mut files = Vec::new();
            let mut folders = key.iter();
            self.objects.contents(&names, |content| {
                let (folder, _) = folders.next().expect("one answer for each name");
                if let Some(content) = content {
                    files.push(AttributesFile { folder: folder.clone(), content: content.to_owned() });
                }
            })?;
            self.attributes_len += files.iter().map(|file| file.content.len() as u64).sum::<u64>();
            if self.attributes.len() >= ATTRIBUTES_MAX || self.attributes_len > ATTRIBUTES_KEPT_MAX {
                self.attributes.clear();
                self.attributes_len = files.iter().map(|file| file.content.len() as u64).sum();
            }
            self.attributes.insert(key.clone(), TreeAttributes::new(self.case, files));
        }
        Ok(())
    }
}

fn attributes_in(folder: &BStr) -> BString {
    match folder.is_empty() {
        true => BString::from(ATTRIBUTES_FILE),
        false => BString::from([folder.as_bytes(), b"/", ATTRIBUTES_FILE.as_bytes()].concat()),
    }
}
