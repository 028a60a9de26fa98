//! What is told of one changed file.
//!
//! **For:** `git dits diff`.
//!
//! **May touch:** stores, read only; a temporary one for a file that no store has.
//!
//! **Must hold:** what is not here is said to be not here, and is no failure.

use std::collections::HashSet;

use dits_core::operations::outline::ContentReader;
use serde::Serialize;

use super::sides::{Changed, Side};
use crate::changes::Kind;
use crate::commands::inspect::structure::{self, Structure, Track, seconds};
use crate::commands::inspect::subject::Subject;
use crate::here::Here;
use crate::report::Failure;
use crate::sizes::Bytes;

/// A changed file.
#[derive(Serialize)]
pub struct FileFacts {
    path: String,
    kind: Kind,
    before: Option<SideFacts>,
    after: Option<SideFacts>,
    /// What the two have in common; `null` where that cannot be told here.
    chunks: Option<Chunks>,
}

/// One state of it.
#[derive(Serialize)]
struct SideFacts {
    /// `null` for content that Git holds itself.
    oid: Option<String>,
    /// `null` for content that Git holds itself.
    size: Option<u64>,
    /// Why nothing more is known here.
    unknown: Option<String>,
    duration_ms: Option<u64>,
    tracks: Vec<Track>,
    /// The outermost atoms of a container.
    atoms: Vec<String>,
}

#[derive(Serialize)]
struct Chunks {
    shared: u64,
    shared_bytes: u64,
    new: u64,
    new_bytes: u64,
}

/// Looks at both sides; `None` for a file that only looked modified.
pub fn gather(here: &Here, changed: &Changed) -> Result<Option<FileFacts>, Failure> {
    let (before, before_facts) = side(here, &changed.before)?;
    let (after, after_facts) = side(here, &changed.after)?;
    let oid = |facts: &Option<SideFacts>| facts.as_ref().and_then(|facts| facts.oid.clone());
    if oid(&before_facts).is_some() && oid(&before_facts) == oid(&after_facts) {
        return Ok(None);
    }
    Ok(Some(FileFacts {
        path: changed.path.to_string(),
        kind: if after_facts.is_none() { Kind::Deleted } else { changed.kind },
        before: before_facts,
        after: after_facts,
        chunks: before.zip(after).map(|(before, after)| chunks(&before, &after)),
    }))
}

fn side(here: &Here, side: &Side) -> Result<(Option<Subject>, Option<SideFacts>), Failure> {
    let none = |unknown: &str| SideFacts {
        oid: None,
        size: None,
        unknown: Some(unknown.to_owned()),
        duration_ms: None,
        tracks: Vec::new(),
        atoms: Vec::new(),
    };
    let subject = match side {
        Side::Absent => return Ok((None, None)),
        Side::Plain => return Ok((None, Some(none("Git holds it as plain content")))),
        Side::File(path) if path.metadata().is_ok_and(|meta| meta.len() == 0) => {
            return Ok((None, Some(SideFacts { size: Some(0), ..none("it is empty") })));
        }
        Side::File(path) => Subject::of_file(here, path.clone())?,
        Side::Pointer(pointer) => {
            // One whose spans are damaged or not here is as unknown as one without a manifest.
            match Subject::of_oid(here, pointer.oid).ok().flatten() {
                Some(subject) => subject,
                None => {
                    let (oid, size) = (Some(pointer.oid.to_string()), Some(pointer.size));
                    return Ok((None, Some(SideFacts { oid, size, ..none("not here: get it with `git dits fetch`") })));
                }
            }
        }
    };
    let pointer = subject.outline.manifest.pointer();
    let mut facts = SideFacts { oid: Some(pointer.oid.to_string()), size: Some(pointer.size), ..none("") };
    match structure::read(pointer.size, &mut ContentReader::new(&subject.sources, &subject.outline)) {
        Ok(structure) => {
            facts.unknown = None;
            facts.take(structure);
        }
        Err(error) => facts.unknown = Some(error.to_string()),
    }
    Ok((Some(subject), Some(facts)))
}

impl SideFacts {
    fn take(&mut self, structure: Option<Structure>) {
        let Some(structure) = structure else { return };
        self.duration_ms = structure.duration_ms;
        self.atoms = structure.atoms.iter().map(|atom| atom.atom_type.clone()).collect();
        self.tracks = structure.tracks;
    }
}

fn chunks(before: &Subject, after: &Subject) -> Chunks {
    let known: HashSet<_> = before.outline.chunks.iter().map(|placed| placed.entry.hash).collect();
    let mut chunks = Chunks { shared: 0, shared_bytes: 0, new: 0, new_bytes: 0 };
    for placed in &after.outline.chunks {
        let (count, bytes) = match known.contains(&placed.entry.hash) {
            true => (&mut chunks.shared, &mut chunks.shared_bytes),
            false => (&mut chunks.new, &mut chunks.new_bytes),
        };
        *count += 1;
        *bytes += u64::from(placed.entry.len);
    }
    chunks
}

impl FileFacts {
    /// The change as lines for people.
    pub fn lines(&self) -> Vec<String> {
        let size = |side: &Option<SideFacts>| match side.as_ref().and_then(|side| side.size) {
            Some(size) => Bytes(size).to_string(),
            None => "plain".to_owned(),
        };
        let path = &self.path;
        let mut lines = vec![match self.kind {
            Kind::Added => format!("new      {path} ({})", size(&self.after)),
            Kind::Modified => format!("modified {path} ({} -> {})", size(&self.before), size(&self.after)),
            Kind::Deleted => format!("deleted  {path} ({})", size(&self.before)),
        }];
        if let (Some(before), Some(after)) = (&self.before, &self.after) {
            lines.extend(structure_lines(before, after));
        }
        for (name, side) in [("before", &self.before), ("after", &self.after)] {
            let unknown = side.as_ref().and_then(|side| side.unknown.as_ref());
            lines.extend(unknown.map(|unknown| format!("    {name:<8} {unknown}")));
        }
        if let Some(Chunks { shared, shared_bytes, new, new_bytes }) = &self.chunks {
            let (shared_bytes, new_bytes) = (Bytes(*shared_bytes), Bytes(*new_bytes));
            lines.push(format!("    chunks   {shared} shared ({shared_bytes}), {new} new ({new_bytes})"));
        }
        lines
    }
}

/// What differs in the structure.
fn structure_lines(before: &SideFacts, after: &SideFacts) -> Vec<String> {
    let mut lines = Vec::new();
    if before.unknown.is_some() || after.unknown.is_some() {
        return lines;
    }
    let duration = |side: &SideFacts| side.duration_ms.map_or_else(|| "none".to_owned(), seconds);
    if before.duration_ms != after.duration_ms {
        lines.push(format!("    duration {} -> {}", duration(before), duration(after)));
    }
    let gone = before.tracks.iter().filter(|track| !after.tracks.contains(track));
    lines.extend(gone.map(|track| format!("    - {}", track.line())));
    let new = after.tracks.iter().filter(|track| !before.tracks.contains(track));
    lines.extend(new.map(|track| format!("    + {}", track.line())));
    if before.atoms != after.atoms {
        let atoms = |side: &SideFacts| match side.atoms.is_empty() {
            true => "no container".to_owned(),
            false => side.atoms.join(" "),
        };
        lines.push(format!("    atoms    {} -> {}", atoms(before), atoms(after)));
    }
    lines
}
