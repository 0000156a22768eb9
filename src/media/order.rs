//! What is asked of [`cut`](super::cut()), and what comes of it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::ffmpeg::Format;
use super::mp4::SourceIndex;
use super::plan::{CutWarning, PlanError, Wanted};
use crate::domain::catalog::{AudioFormat, VideoFormat};
use crate::domain::coverage::{Gap, GapReason};
use crate::domain::time::TimeRange;
use crate::hashing::Sha256;

/// One recorded file of the window, opened by the caller so that it stays whole even if it is deleted
/// before the cut ends.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its id in the catalog.
    pub id: String,
    /// What messages call it.
    pub name: String,
    /// Wall-clock time of its first frame.
    pub start: DateTime<Utc>,
    /// The true start lies in `[start, start + start_accuracy)`.
    pub start_accuracy: TimeDelta,
    /// Where the catalog says that it ends.
    pub expected_end: Option<DateTime<Utc>>,
    /// The open file, or why there is none.
    pub file: Result<Arc<File>, GapReason>,
    /// The samples of the open file where they are known already, so that its tables need not be read.
    pub index: Option<Arc<SourceIndex>>,
}

/// What copies the samples of a clip into its file. The clips show the same; their bytes differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// This service itself where it can, else ffmpeg. It can for MP4 sources, fragmented or not, whose picture is H.264
    /// or H.265 and whose sound is AAC or G.711, or that have none.
    Auto,
    /// This service itself, or [`CutError::Unsuitable`].
    Native,
    /// ffmpeg.
    Ffmpeg,
}

/// A clip to be cut.
#[derive(Debug)]
pub struct CutOrder {
    /// The files of the window in order of start, and the one before the window where there is one.
    pub sources: Vec<Source>,
    /// The window, and what becomes of its gaps.
    pub wanted: Wanted,
    /// Where the clip is written. The file must not exist; it is removed again if the cut fails. The caller
    /// gives it its final name.
    pub output: PathBuf,
    /// What the clip is called inside the file, such as the camera's name.
    pub title: String,
    /// What copies the samples.
    pub engine: EngineChoice,
    /// How long copying may take.
    pub deadline: Duration,
    /// Whether the clip must survive a loss of power. One that is only made to be packed need not.
    pub is_durable: bool,
    /// Whether the SHA-256 is wanted, which takes longer than all else.
    pub hashes: bool,
}

/// How far a cut is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutProgress {
    /// Footage written.
    pub media_done: TimeDelta,
    /// Footage the clip will have.
    pub media_total: TimeDelta,
    /// Bytes written.
    pub bytes_done: u64,
    /// Bytes the clip will have, but for its header.
    pub bytes_total: u64,
}

/// A finished clip, as measured from its file.
#[derive(Clone, Debug)]
pub struct CutOutcome {
    /// The window that was asked for.
    pub requested: TimeRange,
    /// From the first frame shown to the end of the last.
    pub delivered: TimeRange,
    /// Requested time less the gaps.
    pub covered: TimeDelta,
    /// What is missing.
    pub gaps: Vec<Gap>,
    /// What else to know.
    pub warnings: Vec<CutWarning>,
    /// Size of the file.
    pub size_bytes: u64,
    /// SHA-256 of the file, if it was asked for.
    pub sha256: Option<Sha256>,
    /// MP4, or QuickTime where the codecs ask for it.
    pub format: Format,
    /// How long the clip plays.
    pub duration_shown: TimeDelta,
    /// How much of that is footage: all, but for gaps that are kept.
    pub footage_shown: TimeDelta,
    /// Footage in front of the first frame that players do not show.
    pub hidden_lead: TimeDelta,
    /// Ids of the segments that contribute, in order.
    pub segment_ids: Vec<String>,
    /// The picture.
    pub video: VideoFormat,
    /// The sound, if any.
    pub audio: Option<AudioFormat>,
    /// How ffmpeg was called, with OUTPUT for the path; or this program and its version, where ffmpeg was not.
    pub engine: String,
    /// How many of the open sources could not be used. What of them is in the window is a gap.
    pub damaged_sources: usize,
    /// Whether this program copied the samples by itself.
    pub is_native: bool,
    /// Why [`EngineChoice::Auto`] did not.
    pub not_native: Option<String>,
}

/// Why there is no clip.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// Nothing of the window can be shown.
    #[error(transparent)]
    NoFootage(#[from] PlanError),
    /// [`EngineChoice::Native`] cannot cut this footage.
    #[error("the footage cannot be cut without ffmpeg: {reason}")]
    Unsuitable {
        /// What of it is in the way.
        reason: String,
    },
    /// ffmpeg is not installed.
    #[error("ffmpeg binary `{program}` is not available; install ffmpeg or set HELDAR_FFMPEG_BIN")]
    FfmpegMissing {
        /// The name or path that was configured.
        program: String,
    },
    /// ffmpeg failed.
    #[error("ffmpeg clip export failed: {reason}")]
    FfmpegFailed {
        /// Exit code and the end of what ffmpeg wrote, without paths of the server.
        reason: String,
    },
    /// The deadline passed, or ffmpeg hung.
    #[error("clip export timed out")]
    TimedOut,
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The disk is full.
    #[error("no space left for the clip")]
    DiskFull,
    /// Writing or finishing the file failed.
    #[error("the clip cannot be written")]
    Write(#[source] io::Error),
    /// The file does not hold what it should: a defect here or in ffmpeg.
    #[error("the finished clip does not match its plan: {reason}")]
    Mismatch {
        /// What differs.
        reason: String,
    },
}

impl CutError {
    /// Whether the same cut may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::TimedOut | Self::DiskFull | Self::Write(_) | Self::FfmpegFailed { .. }
        )
    }
}
