//! Backups: destinations, policies, what is at a destination, and what jobs find or leave there.

pub mod destination;
pub mod network;
pub mod object;
pub mod policy;
pub mod retention;
pub mod run;
