//! Receipts: the server's word that it held a file, content proven.
//!
//! **For:** clients, which keep them to spare a question; and for telling later whether a
//! receipt that a client shows was given by this server.
//!
//! **Must hold:** the same facts give the same receipt, so none has to be kept.
//!
//! **Format:** `docs/protocols/control-v1.md`.

use crate::db::{Held, RepoId};
use crate::root::Identity;

/// Computes a receipt's code over all that it says.
pub fn mac(identity: &Identity, repo: RepoId, held: &Held) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(&identity.receipt_key);
    hasher
        .update(&identity.server_id)
        .update(&repo.0)
        .update(held.pointer.oid.as_bytes())
        .update(held.manifest.as_bytes())
        .update(&held.proven_at.to_le_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dits_core::hash::{FileHash, ManifestHash};
    use dits_core::pointer::Pointer;

    #[test]
    fn a_receipt_depends_on_all_that_it_says() {
        let identity = Identity { server_id: [1; 16], receipt_key: [2; 32] };
        let pointer = Pointer { oid: FileHash::from_bytes([3; 32]), size: 1 };
        let held = Held { pointer, manifest: ManifestHash::from_bytes([4; 32]), proven_at: 5 };
        let repo = RepoId([6; 16]);
        let good = mac(&identity, repo, &held);
        assert_eq!(mac(&identity, repo, &held), good);
        let other_oid = Pointer { oid: FileHash::from_bytes([9; 32]), size: 1 };
        for wrong in [
            mac(&Identity { server_id: [9; 16], ..identity.clone() }, repo, &held),
            mac(&Identity { receipt_key: [9; 32], ..identity.clone() }, repo, &held),
            mac(&identity, RepoId([9; 16]), &held),
            mac(&identity, repo, &Held { pointer: other_oid, ..held }),
            mac(&identity, repo, &Held { manifest: ManifestHash::from_bytes([9; 32]), ..held }),
            mac(&identity, repo, &Held { proven_at: 9, ..held }),
        ] {
            assert_ne!(wrong, good);
        }
    }
}
