//! Why a clip cannot be made, and what that means for its job.

use std::io;

use super::super::ffmpeg::FfmpegError;
use crate::domain::camera::CameraId;
use crate::domain::job::{Notice, Reason};
use crate::media::CutError;
use crate::media::plan::{CutWarning, WarningKind};
use crate::repository::StoreError;
use crate::work::WorkError;

/// Why a clip cannot be made, or its file not be had.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// No such camera.
    #[error("camera {0} not found")]
    CameraNotFound(CameraId),
    /// The catalog has nothing in the window that could be read.
    #[error("no recorded footage in the requested range")]
    NoFootage,
    /// ffmpeg cannot be started.
    #[error(transparent)]
    Ffmpeg(#[from] FfmpegError),
    /// The disk has too little room.
    #[error("not enough free disk for this export: need ~{need_bytes} bytes, {free_bytes} free")]
    DiskFull {
        /// What the clip needs, with headroom.
        need_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// A finished file is gone or has another size.
    #[error("the clip's file {0}")]
    Corrupted(&'static str),
    /// Recordings of a virtual clip are gone, or were changed.
    #[error("{0}")]
    SourcesGone(String),
    /// The recordings of a virtual clip cannot be kept for it.
    #[error("the recordings cannot be held: {0}")]
    HoldUnsupported(&'static str),
    /// The footage could not be opened.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// This machine can open no more files at present. Nothing is said of a recording for that reason.
    #[error(
        "the server cannot open as many files as the clip needs; try again later, or raise its limit (`ulimit -n`, \
         LimitNOFILE of systemd)"
    )]
    Machine(#[source] io::Error),
    /// The clips folder cannot be used.
    #[error("the clips folder cannot be used")]
    Folder(#[source] io::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) fn internal(what: &str) -> WorkError {
    WorkError::Failed(Notice::new(Reason::Internal, what))
}

pub(super) fn notice(warning: CutWarning) -> Notice {
    let reason = match warning.kind {
        WarningKind::FileMissing => Reason::FileMissing,
        WarningKind::FileDamaged => Reason::FileDamaged,
        WarningKind::CodecChange => Reason::CodecChange,
        WarningKind::NoKeyFrame => Reason::NoKeyFrame,
        WarningKind::SoundPartlyMissing | WarningKind::SoundLeftOut => Reason::AudioIncomplete,
    };
    let notice = Notice::new(reason, warning.message);
    match warning.range {
        None => notice,
        Some(range) => notice
            .with("start_time", range.start().to_rfc3339())
            .with("end_time", range.end().to_rfc3339()),
    }
}

/// What a failure means for the job.
pub(super) fn work_error(error: ClipError) -> WorkError {
    let message = error.to_string();
    match error {
        ClipError::CameraNotFound(_)
        | ClipError::NoFootage
        | ClipError::Cut(CutError::NoFootage(_)) => {
            WorkError::Failed(Notice::new(Reason::NoFootage, message))
        }
        ClipError::Ffmpeg(_) | ClipError::Cut(CutError::FfmpegMissing { .. }) => {
            WorkError::Failed(Notice::new(Reason::FfmpegUnavailable, message))
        }
        ClipError::Cut(CutError::Unsuitable { .. }) => {
            WorkError::Failed(Notice::new(Reason::EngineUnsuitable, message))
        }
        ClipError::DiskFull { .. } | ClipError::Cut(CutError::DiskFull) => {
            WorkError::Failed(Notice::new(Reason::DiskFull, message))
        }
        ClipError::SourcesGone(_) => WorkError::Failed(Notice::new(Reason::SourcesGone, message)),
        ClipError::HoldUnsupported(_) => {
            WorkError::Failed(Notice::new(Reason::HoldUnsupported, message))
        }
        ClipError::Cut(CutError::Cancelled) => WorkError::Stopped,
        ClipError::Cut(CutError::TimedOut) => {
            WorkError::Failed(Notice::new(Reason::TimedOut, message))
        }
        ClipError::Cut(error @ CutError::FfmpegFailed { .. }) => WorkError::Failed(
            Notice::new(Reason::FfmpegFailed, error.to_string()).with("retryable", "true"),
        ),
        ClipError::Corrupted(_) => WorkError::Failed(Notice::new(Reason::FileCorrupted, message)),
        ClipError::Cut(_) | ClipError::Folder(_) => {
            tracing::error!(error = %message, cause = ?error, "a clip cannot be made");
            WorkError::Failed(Notice::new(Reason::Internal, message))
        }
        ClipError::Store(_) | ClipError::Machine(_) => {
            WorkError::Retry(Notice::new(Reason::Internal, message))
        }
    }
}
