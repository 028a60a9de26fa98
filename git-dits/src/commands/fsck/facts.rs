//! What `git dits fsck` prints.
//!
//! **For:** people, a line for each finding; programs, JSON.
//!
//! **May touch:** standard output.
//!
//! **Must hold:** every finding names file, commit, pack and item as far as they are known.

use dits_core::operations::fsck::Broken;
use dits_core::operations::needed_media::counted;
use dits_core::store::{Finding, Severity};
use serde::Serialize;

use super::files::BrokenFile;
use super::repair::Repaired;
use super::{FINDINGS_MAX, Looked};
use crate::out::Out;
use crate::report::Failure;
use crate::sizes::Bytes;

#[derive(Serialize)]
pub struct Facts {
    whole: bool,
    packs: u64,
    items: u64,
    bytes: u64,
    files: u64,
    /// Files that are not here, and that a remote has.
    elsewhere: u64,
    findings: Vec<FindingFacts>,
    /// Findings beyond those that are listed.
    more_findings: u64,
    broken: Vec<BrokenFacts>,
    work_tree: Vec<WorkTreeFacts>,
    repaired: Option<RepairedFacts>,
}

#[derive(Serialize)]
struct FindingFacts {
    path: String,
    entry: Option<u32>,
    item: Option<String>,
    kind: &'static str,
    problem: String,
    damage: bool,
}

#[derive(Serialize)]
struct BrokenFacts {
    path: Option<String>,
    commit: Option<String>,
    oid: String,
    size: u64,
    reason: String,
    part_count: u64,
    parts: Vec<PartFacts>,
}

#[derive(Serialize)]
struct PartFacts {
    item: String,
    copies: Vec<CopyFacts>,
}

#[derive(Serialize)]
struct CopyFacts {
    pack: String,
    entry: Option<u32>,
}

#[derive(Serialize)]
struct WorkTreeFacts {
    path: String,
    /// What the index names, if that is a pointer.
    oid: Option<String>,
    kind: &'static str,
    damage: bool,
}

#[derive(Serialize)]
struct RepairedFacts {
    index: bool,
    saved_items: u64,
    from_stores: u64,
    from_work_tree: Vec<String>,
    fetched: Vec<String>,
    failed: Vec<FailedFacts>,
    renamed: Vec<String>,
    set_aside: Vec<String>,
}

#[derive(Serialize)]
struct FailedFacts {
    oid: String,
    reason: String,
}

/// The facts for programs.
pub fn of(looked: &Looked, repaired: Option<&Repaired>) -> Facts {
    let checked = &looked.store.checked;
    Facts {
        whole: looked.damage_count() == 0,
        packs: checked.packs,
        items: checked.items,
        bytes: checked.bytes,
        files: looked.files.whole,
        elsewhere: looked.files.elsewhere,
        findings: looked.store.findings.iter().map(finding).collect(),
        more_findings: (checked.damage + checked.odd).saturating_sub(FINDINGS_MAX as u64),
        broken: looked.files.broken.iter().map(broken).collect(),
        work_tree: looked
            .work_tree
            .iter()
            .map(|found| WorkTreeFacts {
                path: found.path.clone(),
                oid: found.pointer.map(|pointer| pointer.oid.to_string()),
                kind: found.word(),
                damage: found.is_damage(),
            })
            .collect(),
        repaired: repaired.map(repaired_facts),
    }
}

fn finding(finding: &Finding) -> FindingFacts {
    FindingFacts {
        path: finding.path.display().to_string(),
        entry: finding.entry_no,
        item: finding.item.map(|item| item.to_string()),
        kind: finding.problem.word(),
        problem: finding.problem.to_string(),
        damage: finding.problem.severity() == Severity::Damage,
    }
}

fn broken(file: &BrokenFile) -> BrokenFacts {
    let (part_count, parts) = match &file.why {
        Broken::Parts { parts, count, .. } => (*count, parts.as_slice()),
        _ => (0, &[][..]),
    };
    let copy = |(pack, entry): &(std::path::PathBuf, Option<u32>)| CopyFacts {
        pack: pack.display().to_string(),
        entry: *entry,
    };
    BrokenFacts {
        path: file.path.clone(),
        commit: file.commit.map(|commit| commit.to_string()),
        oid: file.pointer.oid.to_string(),
        size: file.pointer.size,
        reason: file.reason(),
        part_count,
        parts: parts
            .iter()
            .map(|part| PartFacts { item: part.id.to_string(), copies: part.copies.iter().map(copy).collect() })
            .collect(),
    }
}

fn repaired_facts(repaired: &Repaired) -> RepairedFacts {
    let paths = |paths: &[std::path::PathBuf]| paths.iter().map(|path| path.display().to_string()).collect();
    RepairedFacts {
        index: repaired.index,
        saved_items: repaired.packs.saved_items,
        from_stores: repaired.from_stores,
        from_work_tree: repaired.from_work_tree.clone(),
        fetched: repaired.fetched.iter().map(ToString::to_string).collect(),
        failed: repaired
            .failed
            .iter()
            .map(|(oid, reason)| FailedFacts { oid: oid.to_string(), reason: reason.clone() })
            .collect(),
        renamed: paths(&repaired.packs.renamed),
        set_aside: paths(&repaired.packs.set_aside),
    }
}

/// The same for people.
pub fn print(out: &mut Out, looked: &Looked, repaired: Option<&Repaired>, with_store: bool) -> Result<(), Failure> {
    for found in &looked.store.findings {
        let entry = found.entry_no.map(|entry_no| format!(", entry {entry_no}")).unwrap_or_default();
        let item = found.item.map(|item| format!(", {item}")).unwrap_or_default();
        let how = if found.problem.severity() == Severity::Damage { "damaged" } else { "odd" };
        out.line(format_args!("{how}: {}{entry}{item}: {}", found.path.display(), found.problem))?;
    }
    for file in &looked.files.broken {
        out.line(format_args!("broken: {}", file.line()))?;
        let Broken::Parts { parts, count, .. } = &file.why else { continue };
        for part in parts {
            match part.copies.as_slice() {
                [] => out.line(format_args!("    {} is missing", part.id))?,
                copies => copies.iter().try_for_each(|(pack, entry_no)| {
                    let entry = entry_no.map(|entry_no| format!(", entry {entry_no}")).unwrap_or_default();
                    out.line(format_args!("    {} is damaged in {}{entry}", part.id, pack.display()))
                })?,
            }
        }
        if *count > parts.len() as u64 {
            out.line(format_args!("    … and {} more", count - parts.len() as u64))?;
        }
    }
    for found in &looked.work_tree {
        let how = if found.is_damage() { "changed" } else { "odd" };
        out.line(format_args!("{how}: {}", found.line()))?;
    }
    if let Some(repaired) = repaired {
        print_repaired(out, repaired)?;
    }
    if !with_store {
        return Ok(());
    }
    let checked = &looked.store.checked;
    let elsewhere = match looked.files.elsewhere {
        0 => String::new(),
        count => format!(", {count} not here but on a remote"),
    };
    let (packs, items, bytes) = (checked.packs, checked.items, Bytes(checked.bytes));
    let files = counted(looked.files.whole as usize);
    let packs = if packs == 1 { "1 pack".to_owned() } else { format!("{packs} packs") };
    out.line(format_args!("{packs} with {items} items ({bytes}) read; {files} whole{elsewhere}"))
}

fn print_repaired(out: &mut Out, repaired: &Repaired) -> Result<(), Failure> {
    if repaired.index {
        out.line("mended: the index was made anew")?;
    }
    let saved = [(repaired.packs.saved_items, "from damaged packs"), (repaired.from_stores, "from other stores")];
    for (count, from) in saved.into_iter().filter(|(count, _)| *count > 0) {
        out.line(format_args!("mended: {count} items {from}"))?;
    }
    for path in &repaired.from_work_tree {
        out.line(format_args!("mended: {path}, from the work tree"))?;
    }
    if !repaired.fetched.is_empty() {
        out.line(format_args!("mended: {}, from a remote", counted(repaired.fetched.len())))?;
    }
    for (oid, reason) in &repaired.failed {
        out.line(format_args!("not mended: {}: {reason}", &oid.to_string()[..10]))?;
    }
    for path in &repaired.packs.renamed {
        out.line(format_args!("mended: {} has its name again", path.display()))?;
    }
    repaired.packs.set_aside.iter().try_for_each(|path| out.line(format_args!("set aside: {}", path.display())))
}
