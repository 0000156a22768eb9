//! The contract as Rust types, generated from `proto/` at build time, for the server and for Rust callers.

#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
#![allow(
    rustdoc::all,
    reason = "the comments are written for readers of the proto files"
)]

tonic::include_proto!("heldar.footage.v1");

/// Every file of the contract with its comments, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/footage.bin"));
