//! Which addresses may be served to whom.
//!
//! **For:** `ditsd serve`, before it opens a port.

use std::net::SocketAddr;

/// An address that other machines reach, with nothing that keeps strangers out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is reachable from other machines, and no token protects it")]
pub struct Unprotected(pub SocketAddr);

/// Allows any address with a token, and loopback without one.
///
/// # Errors
///
/// [`Unprotected`].
pub fn may_listen(address: SocketAddr, is_protected: bool) -> Result<(), Unprotected> {
    match is_protected || address.ip().is_loopback() {
        true => Ok(()),
        false => Err(Unprotected(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_not_served_without_a_token() {
        for address in ["0.0.0.0:9031", "192.168.1.5:9031", "[::]:9031"] {
            let address = address.parse().unwrap();
            assert_eq!(may_listen(address, false), Err(Unprotected(address)));
            assert_eq!(may_listen(address, true), Ok(()));
        }
        for address in ["127.0.0.1:0", "[::1]:9031", "127.8.8.8:1"] {
            assert_eq!(may_listen(address.parse().unwrap(), false), Ok(()));
        }
    }
}
