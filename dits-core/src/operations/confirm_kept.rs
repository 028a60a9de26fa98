//! Confirming: that a remote has what is about to be freed here, and keeps it.
//!
//! **For:** `git dits prune`.
//!
//! **May touch:** one remote; stores, read only; the receipts.
//!
//! **Must hold:** a file counts as kept only if all that the remote says of it now agrees with what it said when it proved the file; where it
//! is to be looked at again, only if the remote has hashed all of it anew and hands out parts of it that are what they should be.

use crate::codec::Decoder;
use crate::item::{ItemId, ItemKind};
use crate::limits;
use crate::manifest::Manifest;
use crate::manifest::span::Span;
use crate::operations::verify;
use crate::pack_format::Domain;
use crate::pointer::Pointer;
use crate::remote::receipts::{Receipts, ReceiptsError};
use crate::remote::{Holding, ProveOutcome, Receipt, Remote, RemoteError};
use crate::repo::git_program::GitProgram;
use crate::store::Sources;

/// Chunks of a file that are fetched and looked at.
const SAMPLES: usize = 3;

/// How closely it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The word of a server is taken, which has proven each file. A share has proven nothing: it is read.
    Word,
    /// The remote reads everything again, and hands out a few chunks of each file.
    Content,
}

/// Why a file is not taken for kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotKept {
    /// No receipt of this remote is known here.
    NoReceipt,
    /// The remote does not hold it, or no ref of it names it now.
    NotNamed,
    /// What the remote says now is not what its receipt says.
    OtherReceipt,
    /// The remote does not come to the file when it reads it again, or hands out something else.
    Damaged,
}

impl NotKept {
    /// The reason in a few words.
    pub fn text(self) -> &'static str {
        match self {
            NotKept::NoReceipt => "no receipt of the remote is known here",
            NotKept::NotNamed => "no ref of the remote keeps it",
            NotKept::OtherReceipt => "the remote says something else than its receipt",
            NotKept::Damaged => "the remote cannot show it whole",
        }
    }
}

/// It cannot be told what the remote keeps.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// The remote cannot be asked.
    #[error("cannot ask what the remote keeps")]
    Remote(#[from] RemoteError),
    /// The receipts cannot be read.
    #[error(transparent)]
    Receipts(#[from] ReceiptsError),
}

/// Says of each of `files` whether the remote keeps it. A server's `receipts` have to agree; a share gives none. `git` is for the
/// repository of a share.
///
/// # Errors
///
/// [`ConfirmError`].
pub fn confirm_kept(
    remote: &Remote,
    receipts: Option<&Receipts>,
    sources: &Sources,
    git: &dyn Fn() -> GitProgram,
    files: &[Pointer],
    look: Look,
) -> Result<Vec<Result<(), NotKept>>, ConfirmError> {
    let mut answers = Vec::with_capacity(files.len());
    for batch in files.chunks(limits::IDS_PER_MESSAGE_MAX) {
        let known = match (remote, receipts) {
            (Remote::Local(_), _) => None,
            (Remote::Server(_), Some(receipts)) => Some(receipts.of(batch)?),
            (Remote::Server(_), None) => Some(vec![None; batch.len()]),
        };
        let mut kept = remote.kept(batch, git)?;
        for (number, (holding, file)) in kept.drain(..).zip(batch).enumerate() {
            let known = known.as_ref().map(|known| known[number].as_ref());
            answers.push(match (agrees(known, holding, file), look) {
                (Err(why), _) => Err(why),
                // A share says only that the parts are there: nobody has read them since they were written.
                (Ok(_), Look::Word) if matches!(remote, Remote::Server(_)) => Ok(()),
                (Ok(receipt), _) => looks_whole(remote, sources, &receipt)?,
            });
        }
    }
    Ok(answers)
}

/// Compares what a remote says with what it said. `known` is `None` for a remote that gives no receipts.
fn agrees(known: Option<Option<&Receipt>>, holding: Holding, file: &Pointer) -> Result<Receipt, NotKept> {
    let said = match holding {
        Holding::Held(said) => said,
        Holding::No => return Err(NotKept::NotNamed),
        Holding::OtherSize(_) => return Err(NotKept::OtherReceipt),
    };
    let is_of_file = said.oid == file.oid && said.size == file.size;
    match known {
        Some(None) => Err(NotKept::NoReceipt),
        // The same facts have the same code, and a server that would change one cannot change the other to fit.
        Some(Some(known)) if *known != said || !is_of_file => Err(NotKept::OtherReceipt),
        None if !is_of_file => Err(NotKept::OtherReceipt),
        _ => Ok(said),
    }
}

/// Has the remote read the file again, and looks at a few chunks of it.
fn looks_whole(remote: &Remote, sources: &Sources, receipt: &Receipt) -> Result<Result<(), NotKept>, ConfirmError> {
    let is_whole = match remote {
        Remote::Server(server) => {
            let outcomes = server.prove_again(&[receipt.manifest], &mut |_| {}).map_err(RemoteError::from)?;
            let same = |again: &Receipt| Receipt { size: receipt.size, ..again.clone() } == *receipt;
            matches!(&outcomes[..], [ProveOutcome::Held(again)] if same(again))
        }
        Remote::Local(share) => {
            let proven = verify::prove(share.store(), Domain::LOCAL, &receipt.manifest, None, &|_| false);
            proven.is_ok_and(|pointer| (pointer.oid, pointer.size) == (receipt.oid, receipt.size))
        }
    };
    if !is_whole {
        return Ok(Err(NotKept::Damaged));
    }
    Ok(match samples(remote, sources, receipt)? {
        Some(wanted) if has_all(remote, &wanted)? => Ok(()),
        _ => Err(NotKept::Damaged),
    })
}

/// Chooses chunks of a file at random; `None` where the remote does not hand out what leads to them.
fn samples(remote: &Remote, sources: &Sources, receipt: &Receipt) -> Result<Option<Vec<ItemId>>, RemoteError> {
    let Some(plain) = read(remote, sources, &ItemId::from(receipt.manifest))? else { return Ok(None) };
    let Ok(manifest) = Manifest::decode(&plain) else { return Ok(None) };
    let pointer = manifest.pointer();
    if (pointer.oid, pointer.size) != (receipt.oid, receipt.size) {
        return Ok(None);
    }
    let parts = manifest.parts();
    let parts: Vec<&ItemId> =
        parts.iter().map(|part| &part.id).filter(|id| matches!(id.kind, ItemKind::Chunk | ItemKind::Span)).collect();
    let mut chosen = Vec::new();
    for _ in 0..SAMPLES.min(parts.len()) {
        let part = *parts[rand::random_range(0..parts.len())];
        if part.kind == ItemKind::Chunk {
            chosen.push(part);
            continue;
        }
        let Some(plain) = read(remote, sources, &part)? else { return Ok(None) };
        let Ok(span) = Span::decode(&plain) else { return Ok(None) };
        let entries = span.entries();
        chosen.push(entries[rand::random_range(0..entries.len())].hash.into());
    }
    chosen.sort_unstable();
    chosen.dedup();
    Ok(Some(chosen))
}

/// Reads an item here, or has the remote hand it out.
fn read(remote: &Remote, sources: &Sources, id: &ItemId) -> Result<Option<Vec<u8>>, RemoteError> {
    let mut plain = Vec::new();
    if sources.read(id, &mut plain).is_ok() {
        return Ok(Some(plain));
    }
    let mut is_read = false;
    remote.download(
        &[*id],
        &mut |item| {
            let decoded = Decoder::new().decode(item.codec, &item.bytes, item.plain_len as usize, &mut plain);
            is_read = decoded.is_ok() && id.names(&plain);
            Ok(())
        },
        &|_| {},
    )?;
    Ok(is_read.then_some(plain))
}

/// Fetches these items from the remote, which checks each against its name.
fn has_all(remote: &Remote, wanted: &[ItemId]) -> Result<bool, RemoteError> {
    let mut arrived = 0;
    let absent = remote.download(
        wanted,
        &mut |_| {
            arrived += 1;
            Ok(())
        },
        &|_| {},
    );
    match absent {
        Ok(absent) => Ok(absent.is_empty() && arrived == wanted.len()),
        Err(RemoteError::WrongContent { .. } | RemoteError::Read(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{FileHash, ManifestHash};

    #[test]
    fn a_remote_that_says_anything_else_than_its_receipt_keeps_nothing() {
        let file = Pointer { oid: FileHash::of(b"a"), size: 7 };
        let manifest = ManifestHash::from_bytes([3; 32]);
        let receipt = Receipt { oid: file.oid, size: 7, manifest, proven_at: 5, mac: vec![4; 32] };
        let held = |said: Receipt| Holding::Held(said);
        assert_eq!(agrees(Some(Some(&receipt)), held(receipt.clone()), &file), Ok(receipt.clone()));
        assert_eq!(agrees(Some(None), held(receipt.clone()), &file), Err(NotKept::NoReceipt));
        assert_eq!(agrees(Some(Some(&receipt)), Holding::No, &file), Err(NotKept::NotNamed));
        assert_eq!(agrees(Some(Some(&receipt)), Holding::OtherSize(8), &file), Err(NotKept::OtherReceipt));
        let lies = [
            Receipt { oid: FileHash::of(b"b"), ..receipt.clone() },
            Receipt { size: 8, ..receipt.clone() },
            Receipt { size: 0, ..receipt.clone() },
            Receipt { manifest: ManifestHash::from_bytes([9; 32]), ..receipt.clone() },
            Receipt { proven_at: 6, ..receipt.clone() },
            Receipt { mac: vec![5; 32], ..receipt.clone() },
            Receipt { mac: Vec::new(), ..receipt.clone() },
        ];
        for lie in lies {
            assert_eq!(agrees(Some(Some(&receipt)), held(lie.clone()), &file), Err(NotKept::OtherReceipt), "{lie:?}");
            assert_eq!(agrees(Some(Some(&lie)), held(receipt.clone()), &file), Err(NotKept::OtherReceipt), "{lie:?}");
        }
        // A share has none to compare with.
        assert!(agrees(None, held(receipt.clone()), &file).is_ok());
        assert!(agrees(None, held(Receipt { size: 8, ..receipt }), &file).is_err());
    }
}
