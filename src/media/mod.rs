//! Footage: reading MP4, planning a cut, cutting with ffmpeg, measuring what was made.
pub mod mp4;
pub mod plan;
