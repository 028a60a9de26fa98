//! What a container says about itself: its atoms and tracks.
//!
//! **For:** the first half of `inspect`.
//!
//! **May touch:** nothing but the reader it is given.
//!
//! **Must hold:** damaged and hostile containers give what can be told, quietly.

use bstr::ByteSlice;
use dits_core::limits::MOOV_READ_MAX;
use dits_core::media::metadata::{self, Metadata};
use dits_core::media::sample_tables;
use dits_core::media::tree::{self, AtomTree};
use dits_core::operations::outline::{ContentReader, OutlineError};
use serde::Serialize;

use crate::sizes::Bytes;

/// The structure of a container.
#[derive(Serialize)]
pub struct Structure {
    /// The outermost atoms.
    pub atoms: Vec<Atom>,
    /// From here on the file is no container.
    junk_from: Option<u64>,
    /// There are more atoms than are listed.
    truncated: bool,
    /// How long it plays.
    pub duration_ms: Option<u64>,
    /// Its tracks.
    pub tracks: Vec<Track>,
}

/// An atom.
#[derive(Serialize)]
pub struct Atom {
    /// Its type.
    #[serde(rename = "type")]
    pub atom_type: String,
    offset: u64,
    size: u64,
    cut_short: bool,
    children: Vec<Atom>,
}

/// A track.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Track {
    id: u32,
    /// `video`, `audio`, `subtitle`, or the container's own word.
    kind: String,
    /// Type of its sample entry: `avc1`, `apch`, `mp4a`, ….
    format: String,
    /// The codec's name, where it is known.
    codec: Option<String>,
    width: Option<u16>,
    height: Option<u16>,
    language: Option<String>,
    duration_ms: Option<u64>,
    samples: u32,
    /// Samples that can be decoded by themselves, where the tables tell.
    key_frames: Option<u64>,
}

/// Reads the structure of a file of `len` bytes; `None` for one that is no container.
pub fn read(len: u64, content: &mut ContentReader<'_>) -> Result<Option<Structure>, OutlineError> {
    let tree = tree::read(len, |at, buffer| content.read_at(at, buffer))?;
    if tree.atoms.is_empty() {
        return Ok(None);
    }
    let moov = moov(&tree, content)?.unwrap_or_default();
    let metadata = quietly(|| metadata::read(&moov));
    let tracks = sample_tables::read_moov(&moov).into_iter().map(|tables| track(tables, metadata.as_ref()));
    Ok(Some(Structure {
        tracks: tracks.collect(),
        duration_ms: metadata.as_ref().map(|metadata| metadata.duration_ms),
        atoms: tree.atoms.iter().map(atom).collect(),
        junk_from: tree.junk_from,
        truncated: tree.is_truncated,
    }))
}

fn moov(tree: &AtomTree, content: &mut ContentReader<'_>) -> Result<Option<Vec<u8>>, OutlineError> {
    let Some(moov) = tree.atoms.iter().find(|atom| &atom.atom_type == b"moov") else { return Ok(None) };
    if moov.extent.len() > MOOV_READ_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; moov.extent.len() as usize];
    content.read_at(moov.extent.start(), &mut bytes)?;
    Ok(Some(bytes))
}

/// The reader of metadata panics on some files, which is caught; nobody has to read about it.
fn quietly<T>(read: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = read();
    std::panic::set_hook(hook);
    result
}

fn atom(atom: &tree::Atom) -> Atom {
    Atom {
        atom_type: printable(&atom.atom_type),
        offset: atom.extent.start(),
        size: atom.extent.len(),
        cut_short: atom.is_cut_short,
        children: atom.children.iter().map(self::atom).collect(),
    }
}

fn track(tables: sample_tables::Track, metadata: Option<&Metadata>) -> Track {
    let told = metadata.and_then(|known| known.tracks.iter().find(|track| track.track_id == tables.track_id));
    let kind = match &tables.handler {
        b"vide" => "video".to_owned(),
        b"soun" => "audio".to_owned(),
        b"sbtl" | b"subt" => "subtitle".to_owned(),
        other => printable(other),
    };
    Track {
        id: tables.track_id,
        kind,
        format: printable(&tables.format),
        codec: told.and_then(|told| told.codec.clone()),
        width: told.map(|told| told.width).filter(|width| *width > 0),
        height: told.map(|told| told.height).filter(|height| *height > 0),
        language: told.map(|told| told.language.clone()),
        duration_ms: told.map(|told| told.duration_ms),
        samples: tables.sample_count,
        key_frames: tables.sync_offsets.map(|offsets| offsets.len() as u64),
    }
}

/// A type of four bytes as text that a terminal takes well.
fn printable(name: &[u8]) -> String {
    match name.is_ascii() && !name.iter().any(u8::is_ascii_control) {
        true => name.to_str_lossy().into_owned(),
        false => name.escape_bytes().to_string(),
    }
}

impl Structure {
    /// The structure as lines for people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(duration) = self.duration_ms {
            lines.push(format!("duration  {}", seconds(duration)));
        }
        lines.extend(self.tracks.iter().map(Track::line));
        lines.push("atoms".to_owned());
        self.atoms.iter().for_each(|atom| atom.push_lines(1, &mut lines));
        if self.truncated {
            lines.push("  … and more".to_owned());
        }
        lines.extend(self.junk_from.map(|at| format!("  no atoms from byte {at} on")));
        lines
    }
}

impl Track {
    /// The track as one line for people.
    pub fn line(&self) -> String {
        let mut line = format!("track {}   {} {}", self.id, self.kind, self.format);
        line.extend(self.codec.iter().map(|codec| format!(" ({codec})")));
        if let (Some(width), Some(height)) = (self.width, self.height) {
            line.push_str(&format!(", {width}x{height}"));
        }
        line.extend(self.duration_ms.map(|duration| format!(", {}", seconds(duration))));
        line.extend(self.language.iter().map(|language| format!(", {language}")));
        line.push_str(&format!(", {} samples", self.samples));
        line.extend(self.key_frames.map(|count| format!(", {count} key frames")));
        line
    }
}

impl Atom {
    fn push_lines(&self, depth: usize, lines: &mut Vec<String>) {
        let short = if self.cut_short { ", cut short" } else { "" };
        let (name, offset) = (&self.atom_type, self.offset);
        lines.push(format!("{:depth$}{name} at {offset}, {}{short}", "", Bytes(self.size), depth = depth * 2));
        self.children.iter().for_each(|child| child.push_lines(depth + 1, lines));
    }
}

/// A duration as people read it.
pub fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03} s", milliseconds / 1000, milliseconds % 1000)
}
