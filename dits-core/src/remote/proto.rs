//! The control plane's messages and calls, generated from `proto/dits/v1/control.proto`.
//!
//! **For:** both ends of the control plane: the client in this module's neighbours, the
//! server in `ditsd`.
//!
//! **Format:** `docs/protocols/control-v1.md`.

#![allow(missing_docs, clippy::all)]

tonic::include_proto!("dits.v1");
