//! The paths whose content git was told to wait for.
//!
//! **For:** remembering what each was to become, since git asks again by path alone.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** a path that was delayed is answered with what its last delayed request held.

use std::collections::{HashMap, HashSet};

use dits_core::pointer::Pointer;

use dits_core::repo::helper_program::Missing;

/// Paths that wait, in the order they came.
#[derive(Debug, Default)]
pub struct Delayed {
    pointers: HashMap<Vec<u8>, Pointer>,
    unlisted: Vec<Vec<u8>>,
    missing: Missing,
}

impl Delayed {
    /// Remembers what a path is to become.
    pub fn remember(&mut self, path: Vec<u8>, pointer: Pointer) {
        if self.pointers.insert(path.clone(), pointer).is_none() {
            self.unlisted.push(path);
        }
    }

    /// The media of the paths that were not listed yet, each once.
    pub fn wanted(&self) -> Vec<Pointer> {
        let mut seen = HashSet::new();
        let pointers = self.unlisted.iter().filter_map(|path| self.pointers.get(path));
        pointers.copied().filter(|pointer| seen.insert(pointer.oid)).collect()
    }

    /// Takes what a fetch could not get.
    pub fn note_missing(&mut self, missing: Missing) {
        self.missing.extend(missing);
    }

    /// Why the fetch did not get this media, if it did not.
    pub fn reason(&self, pointer: &Pointer) -> Option<&str> {
        self.missing.get(&pointer.oid).map(String::as_str)
    }

    /// Takes the paths that were not listed yet.
    pub fn take_unlisted(&mut self) -> Vec<(Vec<u8>, Pointer)> {
        let paths = std::mem::take(&mut self.unlisted);
        let with_pointer = |path: Vec<u8>| self.pointers.get(&path).copied().map(|pointer| (path, pointer));
        paths.into_iter().filter_map(with_pointer).collect()
    }

    /// Takes what a path that git asks for again is to become.
    pub fn take(&mut self, path: &[u8]) -> Option<Pointer> {
        self.pointers.remove(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dits_core::hash::FileHash;

    #[test]
    fn the_same_media_at_many_paths_is_wanted_once() {
        let pointer = |text: &[u8]| Pointer { oid: FileHash::of(text), size: 1 };
        let mut delayed = Delayed::default();
        delayed.remember(b"a".to_vec(), pointer(b"1"));
        delayed.remember(b"b".to_vec(), pointer(b"1"));
        delayed.remember(b"a".to_vec(), pointer(b"2"));
        delayed.remember(b"c".to_vec(), pointer(b"1"));
        assert_eq!(delayed.wanted(), [pointer(b"2"), pointer(b"1")]);
        assert_eq!(delayed.take_unlisted().len(), 3);
        assert!(delayed.take_unlisted().is_empty() && delayed.wanted().is_empty());
        assert_eq!(delayed.take(b"a"), Some(pointer(b"2")));
        assert_eq!(delayed.take(b"a"), None);
    }
}
