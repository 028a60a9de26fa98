//! Which of a tree's files are pointers that count.
//!
//! **For:** the walk, which hands in the files of one commit at a time.
//!
//! **May touch:** one `git cat-file`.
//!
//! **Must hold:** what is remembered between commits is bounded.

use std::collections::{HashMap, HashSet};

use bstr::{BStr, BString, ByteSlice};

use super::objects::{ObjectKind, Objects};
use super::{ATTRIBUTES_LEN_MAX, GitId, PointerAt, WalkError, usable};
use crate::hash::FileHash;
use crate::limits;
use crate::pointer::Pointer;
use crate::repo::attributes::{ATTRIBUTES_FILE, AttributeCase, AttributesFile, TreeAttributes, folders_above};

/// A file that may hold a pointer.
pub(super) struct Candidate {
    pub path: BString,
    pub blob: GitId,
    pub before: Option<GitId>,
    pub is_own: bool,
}

/// A pointer that counts.
pub(super) struct FoundAt {
    pub path: BString,
    pub pointer: Pointer,
    pub replaces: Option<FileHash>,
}

impl FoundAt {
    pub fn at(self, tree: &str) -> Result<PointerAt, WalkError> {
        Ok(PointerAt { path: usable(self.path, tree)?, pointer: self.pointer })
    }
}

/// A large blob that is none.
pub(super) struct RawAt {
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
#[derive(Clone, Copy)]
enum Content {
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
}

/// The attributes files that bear on some paths, by folder.
type AttributesKey = Vec<(BString, GitId)>;

/// Blobs whose nature is remembered; beyond that it is asked again.
const CONTENTS_MAX: usize = 1 << 20;
/// Sets of attributes that are remembered.
const ATTRIBUTES_MAX: usize = 64;

impl Evaluator {
    pub fn new(objects: Objects, case: AttributeCase) -> Evaluator {
        Evaluator { objects, case, contents: HashMap::new(), attributes: HashMap::new() }
    }

    /// Finds the pointers among `candidates`, files of the tree that `tree` names for git
    /// (the empty name is the index); raw blobs and strays only where `with_raw`.
    pub fn pointers(
        &mut self,
        tree: &str,
        mut candidates: Vec<Candidate>,
        with_raw: bool,
    ) -> Result<Evaluated, WalkError> {
        self.learn(candidates.iter().map(|candidate| candidate.blob))?;
        candidates.retain(|candidate| match self.contents.get(&candidate.blob) {
            Some(Content::Pointer(_)) => true,
            Some(Content::Large(_)) => with_raw && candidate.is_own,
            Some(Content::Other) | None => false,
        });
        let mut evaluated = Evaluated::default();
        if candidates.is_empty() {
            return Ok(evaluated);
        }
        let key = self.attributes_of(tree, &candidates)?;
        candidates.retain(|candidate| {
            let attributes = self.attributes.get_mut(&key);
            let is_ours = attributes.is_some_and(|attributes| attributes.is_ours(candidate.path.as_bstr()));
            if let (false, true, Some(Content::Pointer(pointer))) =
                (is_ours, with_raw && candidate.is_own, self.contents.get(&candidate.blob))
            {
                evaluated.strays.push(FoundAt { path: candidate.path.clone(), pointer: *pointer, replaces: None });
            }
            is_ours
        });
        let before = candidates.iter().filter_map(|candidate| candidate.before).collect::<Vec<_>>();
        // Learning may forget what was learnt, so what these are is kept aside first.
        let contents: Vec<_> = candidates.iter().map(|candidate| self.contents[&candidate.blob]).collect();
        self.learn(before)?;
        for (candidate, content) in candidates.into_iter().zip(contents) {
            let Candidate { path, blob, before, .. } = candidate;
            match content {
                Content::Pointer(pointer) => {
                    let replaces = before.and_then(|before| match self.contents.get(&before) {
                        Some(Content::Pointer(before)) => Some(before.oid),
                        _ => None,
                    });
                    evaluated.pointers.push(FoundAt { path, pointer, replaces });
                }
                Content::Large(len) => evaluated.raw_blobs.push(RawAt { path, blob, len }),
                Content::Other => {}
            }
        }
        Ok(evaluated)
    }

    /// Learns what each blob is. One that is not here was promised by a remote, so that
    /// remote has it and what it names.
    fn learn(&mut self, blobs: impl IntoIterator<Item = GitId>) -> Result<(), WalkError> {
        if self.contents.len() > CONTENTS_MAX {
            self.contents.clear();
        }
        let unknown: HashSet<GitId> = blobs.into_iter().filter(|blob| !self.contents.contains_key(blob)).collect();
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

    /// Makes sure that the attributes bearing on the candidates are loaded, and says which they are.
    fn attributes_of(&mut self, tree: &str, candidates: &[Candidate]) -> Result<AttributesKey, WalkError> {
        let folders: HashSet<&BStr> = candidates.iter().flat_map(|one| folders_above(one.path.as_bstr())).collect();
        let mut folders: Vec<&BStr> = folders.into_iter().collect();
        folders.sort_unstable();
        let path_in = |folder: &BStr| match folder.is_empty() {
            true => BString::from(ATTRIBUTES_FILE),
            false => BString::from([folder.as_bytes(), b"/", ATTRIBUTES_FILE.as_bytes()].concat()),
        };
        let name_of = |folder: &&BStr| BString::from([tree.as_bytes(), b":", path_in(folder).as_slice()].concat());
        let names: Vec<BString> = folders.iter().map(name_of).collect();
        let mut key = Vec::new();
        for (folder, info) in folders.iter().zip(self.objects.info(&names)?) {
            let Some(info) = info.filter(|info| info.kind == ObjectKind::Blob) else { continue };
            if info.len > ATTRIBUTES_LEN_MAX {
                return Err(WalkError::AttributesLen { path: path_in(folder), tree: tree.to_owned(), len: info.len });
            }
            key.push((BString::from(*folder), info.id));
        }
        if !self.attributes.contains_key(&key) {
            if self.attributes.len() >= ATTRIBUTES_MAX {
                self.attributes.clear();
            }
            let attributes = self.load(&key)?;
            self.attributes.insert(key.clone(), attributes);
        }
        Ok(key)
    }

    fn load(&mut self, key: &AttributesKey) -> Result<TreeAttributes, WalkError> {
        let names: Vec<BString> = key.iter().map(|(_, blob)| blob.to_string().into()).collect();
        let mut files = Vec::new();
        let mut folders = key.iter();
        self.objects.contents(&names, |content| {
            let (folder, _) = folders.next().expect("one answer for each name");
            if let Some(content) = content {
                files.push(AttributesFile { folder: folder.clone(), content: content.to_owned() });
            }
        })?;
        Ok(TreeAttributes::new(self.case, files))
    }
}
