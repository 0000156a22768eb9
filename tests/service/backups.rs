//! Backups from end to end: what is at a destination, what the ledger says, and what comes back.

mod alerts;
pub mod asking;
mod copies;
pub mod policies;
mod remotes;
mod resources;
mod restores;
mod retentions;
mod runs;
mod shown;
mod verifications;
