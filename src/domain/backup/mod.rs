//! Backups: destinations, policies, what is at a destination, and what jobs find or leave there.

pub mod alert;
pub mod destination;
pub mod hours;
pub mod ledger;
pub mod naming;
pub mod network;
pub mod object;
pub mod policy;
pub mod retention;
pub mod risk;
pub mod run;
pub mod schedule;
