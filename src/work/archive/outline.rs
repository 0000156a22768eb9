//! What the zip will look like: which segment becomes which entry, what has to be cut, and what everything is called.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::hold::{Finding, Held};
use super::selection::SelectedCamera;
use crate::domain::archive::{ArchiveContent, ArchiveFault, ArchiveSegment};
use crate::domain::camera::CameraId;
use crate::domain::coverage::Gap;
use crate::domain::entry_name;
use crate::domain::time::TimeRange;

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An entry, byte for byte.
    Whole,
    /// An entry, cut to the window.
    Trimmed,
    /// No entry of its own: it is only shown in a clip.
    InClip,
    /// Nothing: its file cannot be used, or all of it lies outside of the window.
    Absent,
}

/// A segment on its way into the archive.
#[derive(Debug)]
pub(super) struct Piece {
    /// Not by value: tens of thousands are handed on from the selection to the entries.
    pub(super) segment: Arc<ArchiveSegment>,
    pub(super) role: Role,
    /// The open file; `None` before it was opened, and when it cannot be.
    pub(super) held: Option<Held>,
    pub(super) finding: Option<Box<Finding>>,
}

/// A camera on its way into the archive.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) camera_id: CameraId,
    pub(super) display_name: String,
    pub(super) pieces: Vec<Piece>,
    /// The window of its clip, if it gets one.
    pub(super) clip: Option<TimeRange>,
    /// Why there is no clip, where one was wanted and nothing could be shown.
    pub(super) without_clip: Vec<Gap>,
}

impl Part {
    /// What is to become of the segments of a camera, as far as the catalog knows.
    pub(super) fn of(camera: SelectedCamera, content: &ArchiveContent) -> Self {
        let pieces: Vec<Piece> = camera
            .segments
            .into_iter()
            .map(|segment| Piece {
                role: role_of(&segment, content),
                segment,
                held: None,
                finding: None,
            })
            .collect();
        let delivered = whole_range(pieces.iter().map(|piece| piece.segment.as_ref()));
        let clip = delivered
            .filter(|_| content.layout.has_clips())
            .and_then(
                |delivered| match content.window().filter(|_| content.trim) {
                    Some(window) => window.intersect(&delivered).map(|_| window),
                    None => Some(delivered),
                },
            );
        Self {
            camera_id: camera.id,
            display_name: camera.display_name,
            pieces,
            clip,
            without_clip: Vec::new(),
        }
    }

    /// Names for the entries of the camera: one for each piece, absent ones included, and one for each of the clips,
    /// of which the start and the extension are given. `extension_of` says what a trimmed piece ends in.
    pub(super) fn names(
        &self,
        extension_of: impl Fn(usize) -> Option<&'static str>,
        clips: &[(DateTime<Utc>, &'static str)],
    ) -> (Vec<String>, Vec<String>) {
        let recorded: Vec<(Cow<'_, str>, DateTime<Utc>)> = (0..)
            .zip(&self.pieces)
            .map(|(at, piece)| {
                let name = piece.segment.file_name();
                let name = match piece.role {
                    Role::Trimmed => trimmed_name(name, extension_of(at).unwrap_or("mp4")).into(),
                    _ => name.into(),
                };
                (name, piece.segment.start_time)
            })
            .chain(clips.iter().map(|(start, extension)| {
                let name = format!("clip_{}.{extension}", start.format("%Y%m%dT%H%M%SZ"));
                (name.into(), *start)
            }))
            .collect();
        let mut names = entry_name::entry_names(&self.camera_id, &recorded);
        let clips = names.split_off(self.pieces.len());
        (names, clips)
    }
}

/// What becomes of a segment, as far as the catalog knows.
pub(super) fn role_of(segment: &ArchiveSegment, content: &ArchiveContent) -> Role {
    if !segment.is_available {
        return Role::Absent;
    }
    let trim_to = content.window().filter(|_| content.trim);
    match trim_to {
        _ if !content.layout.has_segments() => Role::InClip,
        Some(window) if content.trims_segments() => {
            role_in(window, segment.start_time, segment.end_time)
        }
        // One that may reach into the window by the inexactness of its name serves the clip only.
        Some(window) if role_in(window, segment.start_time, segment.end_time) == Role::Absent => {
            Role::InClip
        }
        _ => Role::Whole,
    }
}

/// What trimming makes of a recording from `start` to `end`.
pub(super) fn role_in(window: TimeRange, start: DateTime<Utc>, end: DateTime<Utc>) -> Role {
    if window.start() <= start && end <= window.end() {
        Role::Whole
    } else if end <= window.start() || window.end() <= start {
        Role::Absent
    } else {
        Role::Trimmed
    }
}

/// From the first to the last instant of segments.
fn whole_range<'a>(segments: impl Iterator<Item = &'a ArchiveSegment>) -> Option<TimeRange> {
    let mut whole: Option<(DateTime<Utc>, DateTime<Utc>)> = None;
    for segment in segments.filter(|segment| segment.is_available) {
        let (start, end) = whole.unwrap_or((segment.start_time, segment.end_time));
        whole = Some((start.min(segment.start_time), end.max(segment.end_time)));
    }
    whole.and_then(|(start, end)| TimeRange::new(start, end))
}

/// A fault of a segment, for the archive's record.
pub(super) fn fault(
    camera_id: &CameraId,
    segment: &ArchiveSegment,
    finding: &Finding,
    entry: &str,
) -> Option<ArchiveFault> {
    Some(ArchiveFault {
        kind: finding.kind,
        segment_id: segment.id.clone(),
        camera_id: camera_id.clone(),
        window: segment.range()?,
        entry_name: entry.to_owned(),
        message: format!("{}: {}", segment.path, finding.message),
    })
}

/// `name` with the mark of what was cut, before the extension that it now has.
fn trimmed_name(name: &str, extension: &str) -> String {
    let stem = match name.rfind('.') {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    };
    format!("{stem}_trimmed.{extension}")
}
