//! The one token that lets clients in before there are accounts.
//!
//! **For:** the control plane, on every call.
//!
//! **Must hold:** how long a comparison takes says nothing about the token.

use subtle::ConstantTimeEq;

/// Fewest characters of a token.
pub const TOKEN_LEN_MIN: usize = 16;
/// Most characters of a token.
pub const TOKEN_LEN_MAX: usize = 1024;

/// A token, kept as its hash.
#[derive(Clone)]
pub struct Token([u8; 32]);

/// Text that cannot be a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Its length is wrong.
    #[error("a token has {TOKEN_LEN_MIN} to {TOKEN_LEN_MAX} characters, not {0}")]
    Length(usize),
    /// A byte that cannot stand in a header.
    #[error("a token is made of visible ASCII characters without spaces")]
    Character,
}

impl Token {
    /// Takes a token as it stands in its file, white space around it dropped.
    ///
    /// # Errors
    ///
    /// [`BadToken`] for one that is easily guessed or cannot be sent.
    pub fn new(text: &str) -> Result<Token, BadToken> {
        let text = text.trim();
        if !(TOKEN_LEN_MIN..=TOKEN_LEN_MAX).contains(&text.len()) {
            return Err(BadToken::Length(text.len()));
        }
        match text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Token(*blake3::hash(text.as_bytes()).as_bytes())),
            false => Err(BadToken::Character),
        }
    }

    /// Returns true if an `authorization` header carries this token.
    pub fn is_in(&self, header: &[u8]) -> bool {
        let given = header.strip_prefix(b"Bearer ").unwrap_or_default();
        self.0.ct_eq(blake3::hash(given).as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_lets_in() {
        let token = Token::new("0123456789abcdef\n").unwrap();
        assert!(token.is_in(b"Bearer 0123456789abcdef"));
        for wrong in [&b""[..], b"0123456789abcdef", b"Bearer ", b"Bearer 0123456789abcdeF", b"Basic 0123456789abcdef"]
        {
            assert!(!token.is_in(wrong));
        }
    }

    #[test]
    fn weak_and_unsendable_tokens_are_refused() {
        assert_eq!(Token::new("short").err(), Some(BadToken::Length(5)));
        assert_eq!(Token::new("0123456789abc def").err(), Some(BadToken::Character));
        assert_eq!(Token::new("0123456789abcdef\n0123456789abcdef").err(), Some(BadToken::Character));
    }
}
