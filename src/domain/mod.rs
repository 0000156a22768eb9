//! Plain types and pure rules. Nothing here waits, reads a clock, touches a disk or knows a wire format.

pub mod coverage;
pub mod time;
