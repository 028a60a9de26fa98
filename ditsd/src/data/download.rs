//! Downloads: items out, of one repository and no other.
//!
//! **For:** the streams of a connection that downloads.
//!
//! **May touch:** the store, to read.
//!
//! **Must hold:**
//! - an item of another repository and an item of none get the same answer, after the same
//!   work;
//! - a stream holds at most two groups of items: one being read, one being sent.
//!
//! **Format:** `docs/protocols/data-v1.md`.

use std::sync::Arc;

use dits_core::item::ItemId;
use dits_core::pack_format::Domain;
use dits_core::remote::server::link::LinkError;
use dits_core::store::ReadError;
use dits_core::wire::frame::{Frame, ItemFrame};

use super::refusal::Refusal;
use super::{DataPlane, Frames};

/// A group is read until it has this many bytes.
const GROUP_LEN: usize = 1024 * 1024;

/// Items that were read, and the names that come after them.
struct Group {
    frames: Vec<Frame>,
    rest: Vec<ItemId>,
}

/// Serves one download stream.
pub async fn serve(plane: &Arc<DataPlane>, domain: Domain, frames: &mut Frames) -> Result<(), Refusal> {
    let mut answers: Vec<Frame> = Vec::new();
    while let Some(frame) = frames.arriving.next().await? {
        let Frame::Get(mut wanted) = frame else { return Err(Refusal::out_of_place(&frame)) };
        while !wanted.is_empty() {
            let reader = Arc::clone(plane);
            let reading = tokio::task::spawn_blocking(move || read_group(&reader, domain, wanted));
            // The disk reads the next group while the network takes this one.
            send(plane, frames, std::mem::take(&mut answers)).await?;
            let group = reading.await.map_err(|_| Refusal::WriterGone)??;
            answers = group.frames;
            wanted = group.rest;
        }
        send(plane, frames, std::mem::take(&mut answers)).await?;
        frames.leaving.flush().await?;
    }
    Ok(())
}

async fn send(plane: &DataPlane, frames: &mut Frames, answers: Vec<Frame>) -> Result<(), Refusal> {
    for answer in &answers {
        let idle_max = plane.limits.idle_max;
        let sent = tokio::time::timeout(idle_max, frames.leaving.send(answer)).await;
        sent.map_err(|_| LinkError::Silent(idle_max))??;
    }
    Ok(())
}

fn read_group(plane: &DataPlane, domain: Domain, mut wanted: Vec<ItemId>) -> Result<Group, Refusal> {
    let mut frames = Vec::new();
    let mut len = 0;
    let mut done = 0;
    while done < wanted.len() && len < GROUP_LEN {
        let id = wanted[done];
        let frame = read_one(plane, domain, id)?;
        len += frame.held_len();
        frames.push(frame);
        done += 1;
    }
    Ok(Group { frames, rest: wanted.split_off(done) })
}

fn read_one(plane: &DataPlane, domain: Domain, id: ItemId) -> Result<Frame, Refusal> {
    // What a reader once found damaged may be good: the disk had a bad moment, or the pack was mended.
    let is_there = plane.is_present(domain, &id).and_then(|is_present| match is_present {
        true => Ok(true),
        false => plane.is_present_after_all(domain, &id),
    });
    if !is_there.map_err(Refusal::Presence)? {
        return Ok(Frame::Absent(id));
    }
    match plane.store.read_stored(&id) {
        Ok(item) => Ok(Frame::Item(ItemFrame {
            id: item.id,
            codec: item.codec,
            plain_len: item.plain_len,
            bytes: item.bytes.into(),
        })),
        Err(ReadError::Missing(_)) => Ok(Frame::Absent(id)),
        Err(error @ (ReadError::Damaged { .. } | ReadError::Unreadable { .. })) => {
            // The client can find it elsewhere; the administrator must hear of it.
            tracing::error!(%error, "a stored item cannot be read");
            Ok(Frame::Absent(id))
        }
        Err(error) => Err(Refusal::Read(error)),
    }
}
