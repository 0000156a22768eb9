//! heldar-footage: clips, archives and backups of recorded footage over gRPC.
//!
//! Callers need the feature `client` alone: [`client`] is the helper, [`proto`] the contract.
//!
//! The server is behind the feature `server`, with one direction through its rooms:
//! `main → api → jobs → work → {media, packing, transfer, repository} → domain`. `ARCHITECTURE.md` is the map.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(feature = "server")]
pub mod disk;
#[cfg(feature = "server")]
pub mod domain;
#[cfg(feature = "server")]
pub mod hashing;
#[cfg(feature = "server")]
pub mod jobs;
#[cfg(feature = "server")]
pub mod media;
#[cfg(feature = "server")]
pub mod packing;
#[cfg(feature = "server")]
pub mod process;
#[cfg(feature = "client")]
pub mod proto;
#[cfg(feature = "server")]
pub mod repository;
#[cfg(feature = "server")]
pub mod transfer;
#[cfg(feature = "server")]
pub mod work;
