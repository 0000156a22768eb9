//! What the zip will look like: which segment becomes which entry, what has to be cut, and what everything is called.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::ArchiveError;
use super::hold::{Finding, Held, Look, go_on};
use super::selection::SelectedCamera;
use crate::domain::archive::{ArchiveContent, ArchiveFault, ArchiveFaultKind, ArchiveSegment};
use crate::domain::camera::CameraId;
use crate::domain::coverage::Gap;
use crate::domain::entry_name::EntryNames;
use crate::domain::series::Series;
use crate::domain::time::TimeRange;
use crate::work::roots::Roots;

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

/// A camera on its way into the archive. There are hundreds of thousands of segments: what is known of each is in lists
/// beside them, by its number.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) camera_id: CameraId,
    pub(super) display_name: String,
    /// In order of start.
    pub(super) segments: Arc<Series<ArchiveSegment>>,
    /// What becomes of each segment.
    pub(super) roles: Vec<Role>,
    /// What is wrong with each segment.
    pub(super) findings: Vec<Option<Finding>>,
    /// Their files.
    pub(super) held: Held,
    /// The window that segments are trimmed to, if they are.
    trim_to: Option<TimeRange>,
    /// The window of its clips, if it gets any.
    pub(super) clip: Option<TimeRange>,
    /// Why there is no clip, where one was wanted and nothing could be shown.
    pub(super) without_clip: Vec<Gap>,
}

impl Part {
    /// What is to become of the segments of a camera, as far as the catalog knows. None of them is opened yet.
    pub(super) fn of(camera: SelectedCamera, content: &ArchiveContent) -> Self {
        let segments = camera.segments;
        let mut roles = Vec::with_capacity(segments.len());
        let mut whole: Option<(DateTime<Utc>, DateTime<Utc>)> = None;
        for segment in &segments {
            roles.push(role_of(&segment, content));
            if segment.is_available {
                let (start, end) = whole.unwrap_or((segment.start_time, segment.end_time));
                whole = Some((start.min(segment.start_time), end.max(segment.end_time)));
            }
        }
        let delivered = whole.and_then(|(start, end)| TimeRange::new(start, end));
        let clip = delivered
            .filter(|_| content.layout.has_clips())
            .and_then(
                |delivered| match content.window().filter(|_| content.trim) {
                    Some(window) => window.intersect(&delivered).map(|_| window),
                    None => Some(delivered),
                },
            );
        let is_cut_from = content.layout.has_clips() || content.trims_segments();
        Self {
            camera_id: camera.id,
            display_name: camera.display_name,
            held: Held::with_capacity(segments.len(), is_cut_from),
            findings: Vec::with_capacity(segments.len()),
            segments: Arc::new(segments),
            roles,
            trim_to: content.window().filter(|_| content.trims_segments()),
            clip,
            without_clip: Vec::new(),
        }
    }

    /// Opens every file, and keeps those open for which there are `places`; without any, it is only a look at each.
    pub(super) fn open(
        &mut self,
        content: &ArchiveContent,
        roots: &Roots,
        places: Option<&Arc<Semaphore>>,
        cancel: &CancellationToken,
    ) -> Result<(), ArchiveError> {
        let trim_to = content.window().filter(|_| content.trim);
        let segments = Arc::clone(&self.segments);
        for (number, mut segment) in segments.iter().enumerate() {
            go_on(cancel)?;
            let mut finding = self
                .held
                .add(&segment, roots, places)
                .map_err(ArchiveError::Machine)?;
            if !self.held.has(number) {
                self.roles[number] = Role::Absent;
                // What may only reach into the window by the inexactness of its name is not missed.
                let is_wanted = trim_to.is_none_or(|window| {
                    role_in(window, segment.start_time, segment.end_time) != Role::Absent
                });
                finding = finding.filter(|_| is_wanted);
            } else if !segment.is_available {
                // It had vanished and is there again.
                segment.is_available = true;
                self.roles[number] = role_of(&segment, content);
            }
            self.findings.push(finding);
        }
        Ok(())
    }

    /// The first fault, if there is any: its kind, and what is wrong in words.
    pub(super) fn first_fault(&self) -> Option<(ArchiveFaultKind, String)> {
        let number = self.findings.iter().position(Option::is_some)?;
        let (finding, segment) = (self.findings[number]?, self.segments.get(number)?);
        let look = self.held.look(number, &segment);
        Some((finding.kind(), finding.message(&segment, look)))
    }

    /// Names for the entries of the camera: one for each segment, absent ones included, and behind them one for each of
    /// the clips, of which the start and the extension are given. `extension_of` says what a trimmed segment ends in.
    pub(super) fn names(
        &self,
        extension_of: impl Fn(usize) -> Option<&'static str>,
        clips: &[(DateTime<Utc>, &'static str)],
    ) -> EntryNames {
        let extension_of = &extension_of;
        let recorded = self.segments.iter().enumerate().map(|(number, segment)| {
            let name = self.recorded_name(number, &segment, extension_of(number));
            (name.into(), segment.start_time)
        });
        let clips = clips
            .iter()
            .map(|(start, extension)| (clip_name(*start, extension).into(), *start));
        EntryNames::new(&self.camera_id, recorded.chain(clips))
    }

    /// What the entry of a segment would be called if no other were called so. `trimmed` is what it ends in when it is
    /// trimmed.
    pub(super) fn recorded_name(
        &self,
        number: usize,
        segment: &ArchiveSegment,
        trimmed: Option<&str>,
    ) -> String {
        let is_trimmed = match self.roles[number] {
            Role::Trimmed => true,
            // What is missing is called what its entry would have been.
            Role::Absent => self.trim_to.is_some_and(|window| {
                role_in(window, segment.start_time, segment.end_time) == Role::Trimmed
            }),
            Role::Whole | Role::InClip => false,
        };
        if is_trimmed {
            trimmed_name(segment.file_name(), trimmed.unwrap_or("mp4"))
        } else {
            segment.file_name().to_owned()
        }
    }
}

/// What a clip would be called if no other entry were called so.
pub(super) fn clip_name(start: DateTime<Utc>, extension: &str) -> String {
    format!("clip_{}.{extension}", start.format("%Y%m%dT%H%M%SZ"))
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

/// A fault of a segment, for the archive's record. `look` is what its file was when it was opened.
pub(super) fn fault(
    camera_id: &CameraId,
    segment: &ArchiveSegment,
    finding: Finding,
    look: Option<Look>,
    entry: String,
) -> Option<ArchiveFault> {
    Some(ArchiveFault {
        kind: finding.kind(),
        segment_id: segment.id.clone(),
        camera_id: camera_id.clone(),
        window: segment.range()?,
        entry_name: entry,
        message: finding.message(segment, look),
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
