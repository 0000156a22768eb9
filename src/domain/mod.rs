//! Plain types and pure rules. Nothing here waits, reads a clock, touches a disk or knows a wire format.

pub mod camera;
pub mod catalog;
pub mod clip;
pub mod coverage;
pub mod id;
pub mod job;
pub mod layout;
pub mod source;
pub mod time;
pub mod timeline;
