//! `ditsd du`: how much room each repository's media takes.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use dits_core::operations::du::{Room, Usage};
use dits_core::store::StoreError;
use serde_json::{Value, json};

use super::{Failure, print};
use crate::blobs::Blobs;
use crate::db::{Db, DbError, RepoRow};
use crate::root::{Root, RootError};

/// Show how much room media takes, by repository; the server may be running
#[derive(Args)]
pub struct Arguments {
    /// The server root
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

/// Why it cannot be told.
#[derive(Debug, thiserror::Error)]
enum DuError {
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What one repository takes.
struct Line {
    name: String,
    /// With all that it shares with others.
    own: Room,
    /// Beyond what those before it take.
    added: Room,
}

/// Does what was asked.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    du(arguments).map_err(Failure::failed)
}

fn du(arguments: &Arguments) -> Result<(), DuError> {
    let root = Root::open(&arguments.root)?;
    let db = Arc::new(Db::open_existing(&root.meta())?);
    let Some(blobs) = Blobs::open_existing(&root, db.clone())? else { return Ok(()) };
    let store = blobs.store();
    let mut all = Usage::new(store, store.as_ref());
    let mut total = Room::default();
    let mut lines = Vec::new();
    for repo in db.repos()? {
        let line = line(&db, &blobs, &repo, &mut all)?;
        total += line.added;
        lines.push(line);
    }
    let (bytes, packs) = store.room_taken()?;
    match arguments.json {
        true => print(&as_json(&lines, &total, bytes, packs)),
        false => print(&as_text(&lines, &total, bytes, packs)),
    }
    Ok(())
}

fn line(db: &Db, blobs: &Blobs, repo: &RepoRow, all: &mut Usage<'_>) -> Result<Line, DuError> {
    let store = blobs.store();
    let mut alone = Usage::new(store, store.as_ref());
    let mut line = Line { name: repo.name.as_str().to_owned(), own: Room::default(), added: Room::default() };
    db.each_held::<DuError>(repo.key, &mut |held| {
        line.own += alone.add(&held.pointer, &[held.manifest])?;
        line.added += all.add(&held.pointer, &[held.manifest])?;
        Ok(())
    })?;
    Ok(line)
}

fn room_json(room: &Room) -> Value {
    json!({
        "files": room.files, "logical_bytes": room.logical_len, "unique_bytes": room.unique_len,
        "stored_bytes": room.stored_len, "outline_bytes": room.outline_len,
        "saved_by_sharing": room.saved_by_sharing(), "saved_by_compression": room.saved_by_compression(),
        "not_here_bytes": room.absent_len,
    })
}

fn as_json(lines: &[Line], total: &Room, bytes: u64, packs: u64) -> String {
    let repositories = lines.iter().map(|line| {
        let mut facts = room_json(&line.own);
        facts["repository"] = json!(line.name);
        facts["added_bytes"] = json!(line.added.taken());
        facts
    });
    let facts = json!({
        "repositories": repositories.collect::<Vec<Value>>(), "total": room_json(total),
        "store_bytes": bytes, "store_packs": packs,
    });
    format!("{facts:#}\n")
}

fn as_text(lines: &[Line], total: &Room, bytes: u64, packs: u64) -> String {
    let mut text = String::new();
    for line in lines {
        let (files, logical, taken, added) =
            (line.own.files, line.own.logical_len, line.own.taken(), line.added.taken());
        text.push_str(&format!(
            "{}: {files} files of {logical} bytes in {taken}; {added} beyond those above\n",
            line.name
        ));
    }
    let (files, logical, taken) = (total.files, total.logical_len, total.taken());
    text.push_str(&format!("all: {files} files of {logical} bytes in {taken}\n"));
    let (sharing, compression) = (total.saved_by_sharing(), total.saved_by_compression());
    text.push_str(&format!("what they share saves {sharing} bytes, compression {compression}\n"));
    text.push_str(&format!("the store takes {bytes} bytes in {packs} packs\n"));
    text
}
