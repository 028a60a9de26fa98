//! A remote that is a server: `dits://host/repository`.
//!
//! **For:** the remote helper, in blocking calls.
//!
//! **May touch:** sockets, and the file of pinned certificates that it is given. Only this
//! module and those below it know gRPC and QUIC.
//!
//! **Must hold:**
//! - nothing is said to a server whose certificate is not pinned, a credential least of all;
//! - an item that comes out of here is what its name says.
//!
//! **Format:** `docs/protocols/control-v1.md`, `docs/protocols/data-v1.md`.

pub mod link;
pub mod quic;
