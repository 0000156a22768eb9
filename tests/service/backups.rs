//! Backups from end to end: what is at a destination, what the ledger says, and what comes back.

mod alerts;
pub mod asking;
pub mod policies;
mod remotes;
mod resources;
mod restores;
mod runs;
mod verifications;
