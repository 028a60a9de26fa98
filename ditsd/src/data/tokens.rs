//! One-time tokens: what the control plane hands out and a QUIC connection is opened with.
//!
//! **For:** knowing on the data plane what the control plane decided.
//!
//! **May touch:** nothing; time and randomness come in.
//!
//! **Must hold:**
//! - a token opens one connection, soon, for one repository and one direction;
//! - how long a comparison takes says nothing about a secret;
//! - the table is bounded.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dits_core::remote::server::quic;
use subtle::ConstantTimeEq;

use super::Grant;

/// Most tokens that wait to be used.
const TOKENS_MAX: usize = 4096;

/// The tokens that wait to be used.
pub struct Tokens {
    valid: Duration,
    waiting: HashMap<[u8; 16], Token>,
}

struct Token {
    secret: [u8; 32],
    grant: Grant,
    issued: Instant,
}

/// Too many tokens wait to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{TOKENS_MAX} tokens wait to be used already")]
pub struct TableFull;

/// Why a token opens nothing. For the log alone: a peer is told none of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// It was never handed out, or was used.
    #[error("the token is unknown or was used before")]
    Unknown,
    /// It came too late.
    #[error("the token has expired")]
    Expired,
    /// The proof is of another secret or another connection.
    #[error("the proof does not belong to this token and connection")]
    WrongProof,
}

impl Tokens {
    /// Makes an empty table of tokens that are valid for `valid`.
    pub fn new(valid: Duration) -> Tokens {
        Tokens { valid, waiting: HashMap::new() }
    }

    /// Adds a token.
    ///
    /// # Errors
    ///
    /// [`TableFull`].
    pub fn issue(&mut self, id: [u8; 16], secret: [u8; 32], grant: Grant, now: Instant) -> Result<(), TableFull> {
        if self.waiting.len() >= TOKENS_MAX {
            self.waiting.retain(|_, token| now.duration_since(token.issued) <= self.valid);
        }
        if self.waiting.len() >= TOKENS_MAX {
            return Err(TableFull);
        }
        self.waiting.insert(id, Token { secret, grant, issued: now });
        Ok(())
    }

    /// Uses a token up, whether or not the proof is right.
    ///
    /// # Errors
    ///
    /// [`BadToken`].
    pub fn redeem(
        &mut self,
        id: &[u8; 16],
        mac: &[u8; 32],
        exporter: &[u8; 32],
        now: Instant,
    ) -> Result<Grant, BadToken> {
        let token = self.waiting.remove(id).ok_or(BadToken::Unknown)?;
        if now.duration_since(token.issued) > self.valid {
            return Err(BadToken::Expired);
        }
        match quic::proof(&token.secret, exporter).ct_eq(mac).into() {
            true => Ok(token.grant),
            false => Err(BadToken::WrongProof),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Direction;
    use super::*;
    use dits_core::pack_format::Domain;

    const VALID: Duration = Duration::from_secs(60);
    const GRANT: Grant = Grant { domain: Domain([1; 16]), direction: Direction::Upload };

    #[test]
    fn a_token_opens_one_connection_soon_and_with_its_own_proof_only() {
        let start = Instant::now();
        let (id, secret, exporter) = ([1; 16], [2; 32], [3; 32]);
        let proof = quic::proof(&secret, &exporter);
        for (what, id, mac, exporter, after, expected) in [
            ("right", id, proof, exporter, VALID, Ok(GRANT)),
            ("another connection", id, proof, [4; 32], VALID, Err(BadToken::WrongProof)),
            ("another secret", id, quic::proof(&[9; 32], &exporter), exporter, VALID, Err(BadToken::WrongProof)),
            ("the secret itself", id, secret, exporter, VALID, Err(BadToken::WrongProof)),
            ("another token", [7; 16], proof, exporter, VALID, Err(BadToken::Unknown)),
            ("late", id, proof, exporter, VALID + Duration::from_nanos(1), Err(BadToken::Expired)),
        ] {
            let mut tokens = Tokens::new(VALID);
            tokens.issue([1; 16], secret, GRANT, start).unwrap();
            assert_eq!(tokens.redeem(&id, &mac, &exporter, start + after), expected, "{what}");
            // Whatever came of it, the token is used up.
            let again = tokens.redeem(&id, &proof, &[3; 32], start);
            assert_eq!(again, Err(BadToken::Unknown), "{what}, again");
        }
    }

    #[test]
    fn a_grant_is_the_one_that_was_decided() {
        let start = Instant::now();
        let mut tokens = Tokens::new(VALID);
        let other = Grant { domain: Domain([2; 16]), direction: Direction::Download };
        tokens.issue([1; 16], [1; 32], GRANT, start).unwrap();
        tokens.issue([2; 16], [2; 32], other, start).unwrap();
        assert_eq!(tokens.redeem(&[2; 16], &quic::proof(&[2; 32], &[0; 32]), &[0; 32], start), Ok(other));
        // The proof of one token does not open another.
        let proof = quic::proof(&[2; 32], &[0; 32]);
        assert_eq!(tokens.redeem(&[1; 16], &proof, &[0; 32], start), Err(BadToken::WrongProof));
    }

    #[test]
    fn unused_tokens_make_room_once_they_expired() {
        let start = Instant::now();
        let mut tokens = Tokens::new(VALID);
        for number in 0..TOKENS_MAX as u64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_le_bytes());
            tokens.issue(id, [0; 32], GRANT, start).unwrap();
        }
        assert_eq!(tokens.issue([255; 16], [0; 32], GRANT, start), Err(TableFull));
        tokens.issue([255; 16], [0; 32], GRANT, start + VALID + Duration::from_secs(1)).unwrap();
        assert_eq!(tokens.waiting.len(), 1);
    }
}
