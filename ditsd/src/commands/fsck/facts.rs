//! What `ditsd fsck` prints: a line for each finding, or JSON.

use std::path::Path;

use dits_core::store::Severity;
use serde_json::{Value, json};

use super::{FINDINGS_MAX, Looked, Repaired};

/// The facts for programs.
pub fn json(looked: &Looked, repaired: Option<&Repaired>) -> String {
    let checked = &looked.checked;
    let findings = looked.findings.iter().map(|finding| {
        json!({
            "path": shown(&finding.path), "entry": finding.entry_no, "item": finding.item.map(|item| item.to_string()),
            "kind": finding.problem.word(), "problem": finding.problem.to_string(),
            "damage": finding.problem.severity() == Severity::Damage,
        })
    });
    let broken = looked.broken.iter().map(|broken| {
        let parts = broken.parts.iter().map(|part| {
            let copies = part.copies.iter().map(|(pack, entry)| json!({"pack": shown(pack), "entry": entry}));
            json!({"item": part.id.to_string(), "copies": copies.collect::<Vec<Value>>()})
        });
        json!({
            "repository": broken.repository, "path": broken.path, "commit": broken.commit,
            "oid": broken.pointer.oid.to_string(), "size": broken.pointer.size, "reason": broken.reason,
            "parts": parts.collect::<Vec<Value>>(),
        })
    });
    let repositories = looked.repositories.iter();
    let repositories = repositories.map(|found| json!({"repository": found.repository, "problem": found.problem}));
    let facts = json!({
        "whole": looked.damage() == 0, "packs": checked.packs, "items": checked.items, "bytes": checked.bytes,
        "files": looked.files, "findings": findings.collect::<Vec<Value>>(),
        "more_findings": (checked.damage + checked.odd).saturating_sub(FINDINGS_MAX as u64),
        "database": looked.database, "repositories": repositories.collect::<Vec<Value>>(),
        "broken": broken.collect::<Vec<Value>>(), "repaired": repaired.map(repaired_json),
    });
    format!("{facts:#}\n")
}

fn repaired_json(repaired: &Repaired) -> Value {
    let paths = |paths: &[std::path::PathBuf]| paths.iter().map(|path| shown(path)).collect::<Vec<String>>();
    let forgotten = repaired.forgotten.iter().map(|(repository, oid)| json!({"repository": repository, "oid": oid}));
    json!({
        "index": repaired.index, "saved_items": repaired.packs.saved_items,
        "renamed": paths(&repaired.packs.renamed), "set_aside": paths(&repaired.packs.set_aside),
        "forgotten": forgotten.collect::<Vec<Value>>(),
    })
}

/// The same for people.
pub fn text(looked: &Looked, repaired: Option<&Repaired>) -> String {
    let mut text = String::new();
    let mut line = |line: String| text.push_str(&format!("{line}\n"));
    for found in &looked.findings {
        let how = if found.problem.severity() == Severity::Damage { "damaged" } else { "odd" };
        let entry = found.entry_no.map(|entry_no| format!(", entry {entry_no}")).unwrap_or_default();
        let item = found.item.map(|item| format!(", {item}")).unwrap_or_default();
        line(format!("{how}: {}{entry}{item}: {}", shown(&found.path), found.problem));
    }
    looked.database.iter().for_each(|problem| line(format!("database: {problem}")));
    looked.repositories.iter().for_each(|found| line(format!("repository {}: {}", found.repository, found.problem)));
    for broken in &looked.broken {
        let path = broken.path.as_deref().unwrap_or("a file that no ref reaches");
        let commit = broken.commit.as_deref().map(|commit| format!(", in {commit}")).unwrap_or_default();
        let (repository, oid, reason) = (&broken.repository, &broken.pointer.oid, &broken.reason);
        line(format!("broken: {repository}: {path} (oid {oid}{commit}): {reason}"));
        for part in &broken.parts {
            match part.copies.as_slice() {
                [] => line(format!("    {} is missing", part.id)),
                copies => {
                    copies.iter().for_each(|(pack, _)| line(format!("    {} is damaged in {}", part.id, shown(pack))))
                }
            }
        }
    }
    if let Some(repaired) = repaired {
        if repaired.index {
            line("mended: the index was made anew".to_owned());
        }
        if repaired.packs.saved_items > 0 {
            line(format!("mended: {} items from damaged packs", repaired.packs.saved_items));
        }
        repaired.packs.renamed.iter().for_each(|path| line(format!("mended: {} has its name again", shown(path))));
        repaired.packs.set_aside.iter().for_each(|path| line(format!("set aside: {}", shown(path))));
        repaired.forgotten.iter().for_each(|(repository, oid)| line(format!("{repository}: {oid} is held no more")));
    }
    let checked = &looked.checked;
    line(format!(
        "{} packs with {} items ({} bytes) read; {} held files whole",
        checked.packs, checked.items, checked.bytes, looked.files
    ));
    text
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
