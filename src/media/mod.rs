//! Footage: reading MP4, planning a cut, cutting with ffmpeg or without, measuring what was made.
//!
//! [`cut`] is the way through: [`open_footage`] indexes each file, [`plan`] decides sample by sample what
//! is shown, ffmpeg or `splice` copies those samples into a new file, and the file is measured against the plan and has
//! the movie header that shows exactly the window. [`Prepared::lay_out`] stops short of a file: what it would hold is read from
//! the sources when it is asked for. This room knows nothing of the catalog's rows or of gRPC.

mod cut;
mod facts;
mod feed;
mod ffmpeg;
mod finish;
mod follow;
mod hashed;
mod interleave;
mod movie;
pub mod mp4;
mod open;
mod order;
mod pace;
pub mod plan;
mod portion;
mod render;
mod splice;
mod suitable;
mod virtual_file;

pub use cut::{LaidOut, Prepared, cut};
pub use facts::{FileFacts, facts_of_open, read_facts};
pub use ffmpeg::Format;
pub use hashed::{BlockFile, hashed_beside};
pub use mp4::ReadError;
pub use open::{CUT_PREFIX, Engine, OpenError, OpenFootage, open_footage, sweep_scratch};
pub use order::{CutError, CutOrder, CutOutcome, CutProgress, EngineChoice, Source};
pub use pace::Pace;
pub use portion::Portion;
pub use render::{Part, RenderOrder, RenderProgress, needed_parts, picture_size, render};
pub use suitable::{container_obstacle, picture_obstacle, sound_obstacle};
pub use virtual_file::{Layout, UnreadableLayout, UnreadableSource};
