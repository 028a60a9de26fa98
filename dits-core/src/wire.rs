//! Bytes on the wire: how messages are told apart in a stream.
//!
//! **For:** both ends of every connection, and git's own streams.
//!
//! **May touch:** nothing: pure functions from bytes to values and back.
//!
//! **Must hold:** a length from outside is bounded before it sizes anything.

pub mod frame;
pub mod packet_line;
