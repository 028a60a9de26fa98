//! How a file is stored, and what it shares with another version.
//!
//! **For:** the facts of `inspect`.
//!
//! **May touch:** stores, read only.
//!
//! **Must hold:** a chunk that is not here is counted as such, and is no failure.

use std::collections::HashSet;

use dits_core::codec::Codec;
use dits_core::item::ItemId;
use dits_core::manifest::Layout;
use dits_core::operations::outline::{ContentReader, Outline};
use dits_core::store::Sources;
use serde::Serialize;

use super::structure::{self, Structure};
use super::subject::Subject;
use crate::report::Failure;
use crate::sizes::Bytes;

/// Everything `inspect` tells.
#[derive(Serialize)]
pub struct Facts {
    what: String,
    oid: String,
    size: u64,
    manifest: String,
    chunker: u16,
    spans: u64,
    pages: u64,
    chunks: Chunks,
    /// `null` for a file that is no container.
    structure: Option<Structure>,
    /// Why the structure cannot be told.
    structure_missing: Option<String>,
    /// `null` where there is no other version here.
    shared: Option<Shared>,
}

#[derive(Serialize, Default)]
struct Chunks {
    count: u64,
    distinct: u64,
    /// Distinct chunks whose content is here.
    here: u64,
    /// Bytes of those, as they are in the file.
    plain_bytes: u64,
    /// Bytes of those, as they are stored.
    stored_bytes: u64,
    raw: u64,
    zstd: u64,
}

#[derive(Serialize)]
struct Shared {
    with: String,
    oid: String,
    chunks: u64,
    bytes: u64,
    new_chunks: u64,
    new_bytes: u64,
}

/// Looks at `subject`, and at `other` beside it.
pub fn gather(what: &str, subject: &Subject, other: Option<(&str, &Subject)>) -> Result<Facts, Failure> {
    let Subject { sources, outline, .. } = subject;
    let pointer = outline.manifest.pointer();
    let (structure, structure_missing) = match structure::read(pointer.size, &mut ContentReader::new(sources, outline))
    {
        Ok(structure) => (structure, None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(Facts {
        what: what.to_owned(),
        oid: pointer.oid.to_string(),
        size: pointer.size,
        manifest: outline.hash.to_string(),
        chunker: outline.manifest.chunker().0,
        spans: match outline.manifest.layout() {
            Layout::Inline(_) => 0,
            Layout::Spans(spans) => spans.len() as u64,
        },
        pages: outline.manifest.pages().len() as u64,
        chunks: chunks(sources, outline)?,
        structure,
        structure_missing,
        shared: other.map(|(name, other)| shared(name, outline, &other.outline)),
    })
}

fn chunks(sources: &Sources, outline: &Outline) -> Result<Chunks, Failure> {
    let mut chunks = Chunks { count: outline.chunks.len() as u64, ..Chunks::default() };
    let mut seen = HashSet::new();
    for placed in outline.chunks.iter().filter(|placed| seen.insert(placed.entry.hash)) {
        chunks.distinct += 1;
        let Some(form) = sources.stored_form(&ItemId::from(placed.entry.hash))? else { continue };
        chunks.here += 1;
        chunks.plain_bytes += u64::from(placed.entry.len);
        chunks.stored_bytes += u64::from(form.stored_len);
        match form.codec {
            Codec::Raw => chunks.raw += 1,
            Codec::Zstd => chunks.zstd += 1,
        }
    }
    Ok(chunks)
}

fn shared(with: &str, outline: &Outline, other: &Outline) -> Shared {
    let known: HashSet<_> = other.chunks.iter().map(|placed| placed.entry.hash).collect();
    let mut shared = Shared {
        with: with.to_owned(),
        oid: other.manifest.pointer().oid.to_string(),
        chunks: 0,
        bytes: 0,
        new_chunks: 0,
        new_bytes: 0,
    };
    for placed in &outline.chunks {
        let (count, bytes) = match known.contains(&placed.entry.hash) {
            true => (&mut shared.chunks, &mut shared.bytes),
            false => (&mut shared.new_chunks, &mut shared.new_bytes),
        };
        *count += 1;
        *bytes += u64::from(placed.entry.len);
    }
    shared
}

impl Facts {
    /// The facts as lines for people.
    pub fn lines(&self) -> Vec<String> {
        let Chunks { count, distinct, here, plain_bytes, stored_bytes, raw, zstd } = &self.chunks;
        let mut lines = vec![
            self.what.clone(),
            format!("oid       {}", self.oid),
            format!("size      {} ({} bytes)", Bytes(self.size), self.size),
            format!("chunks    {count}, {distinct} different, {here} here; {} spans, {} pages", self.spans, self.pages),
            format!(
                "stored    {} of {}: {raw} chunks as they are, {zstd} compressed",
                Bytes(*stored_bytes),
                Bytes(*plain_bytes)
            ),
        ];
        if let Some(Shared { with, chunks, bytes, new_chunks, new_bytes, .. }) = &self.shared {
            let (bytes, new_bytes) = (Bytes(*bytes), Bytes(*new_bytes));
            lines.push(format!("shared    {chunks} chunks ({bytes}) with {with}; {new_chunks} new ({new_bytes})"));
        }
        lines.extend(self.structure.iter().flat_map(Structure::lines));
        lines.extend(self.structure_missing.iter().map(|why| format!("structure not known: {why}")));
        lines
    }
}
