//! Plain types and pure rules. Nothing here waits, reads a clock, touches a disk or knows a wire format.

pub mod archive;
pub mod backup;
pub mod camera;
pub mod catalog;
pub mod clip;
pub mod clip_recipe;
pub mod coverage;
pub mod entry_name;
pub mod export_record;
pub mod id;
pub mod job;
pub mod layout;
pub mod series;
pub mod source;
mod stored;
pub mod time;
pub mod timeline;
