//! heldar-footage: clips, archives and backups of recorded footage over gRPC.
//!
//! One direction through the rooms: `main → api → jobs → work → {media, packing, transfer, repository} → domain`.
//! `ARCHITECTURE.md` is the map.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod api;
pub mod clock;
pub mod domain;
pub mod jobs;
pub mod media;
pub mod packing;
pub mod process;
pub mod proto;
pub mod repository;
pub mod transfer;
pub mod work;
