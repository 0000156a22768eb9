//! ISO base media files: reading sample tables and writing a movie header.
//!
//! The boxes this room knows, with their sections in ISO/IEC 14496-12:
//!
//! ```text
//! moov 8.2.1
//! ├ mvhd 8.2.2            movie clock, creation time
//! ├ trak 8.3.1
//! │ ├ tkhd 8.3.2          track id
//! │ ├ edts/elst 8.6.6     which media is shown, and when
//! │ └ mdia 8.4.1
//! │   ├ mdhd 8.4.2        media clock
//! │   ├ hdlr 8.4.3        video or sound
//! │   └ minf/stbl 8.5.1
//! │     ├ stsd 8.5.2      codec parameters
//! │     ├ stts, ctts 8.6.1   decode and composition times
//! │     ├ stss 8.6.2      sync samples (key frames)
//! │     ├ stsz 8.7.3      sizes
//! │     ├ stsc 8.7.4      samples to chunks
//! │     └ stco, co64 8.7.5   chunk positions
//! ├ mvex/trex 8.8.3       defaults of fragments
//! └ mtxi                  MediaMTX: stream id, segment number, clock
//! moof 8.8.4
//! └ traf 8.8.6: tfhd 8.8.7, tfdt 8.8.12, trun 8.8.8
//! mdat 8.1.1              never read here
//! ```
//!
//! A file is hostile until read: every size is checked against the box around it and the file, nothing
//! is allocated that the bytes present do not justify, and all arithmetic is checked.

mod bytes;
mod edits;
mod entry;
mod fragments;
mod index;
mod stored;
mod tables;
#[cfg(test)]
mod tests;
pub(crate) mod top_level;

pub use edits::EditList;
pub use entry::{Fingerprint, SampleEntry};
pub use index::{Display, MtxInfo, Sample, SourceIndex, Track};
pub use stored::DecodeError;
pub use top_level::{ReadError, sniff};
