//! What an archive would be, found without reading any footage; and what is checked before a job is accepted.

use tokio_util::sync::CancellationToken;

use super::contents::{Contents, From};
use super::cuts::clip_windows;
use super::making::{Keep, expected_cut_bytes};
use super::outline::{Part, Role, clip_name, role_in};
use super::{ArchiveError, ArchiveWork, blocking, pack, selection};
use crate::domain::archive::{
    ArchiveCamera, ArchiveContent, ArchiveFault, ArchiveSegment, LISTED_MAX,
};
use crate::domain::camera::CameraId;
use crate::domain::time::TimeRange;

/// A selection of up to this many segments is looked at file by file before its job is accepted. Of a larger one the
/// catalog's sums have to do, so that the answer does not take seconds; the job looks at all of it in any case.
const EXACT_MAX: u64 = 5000;

/// About what an entry adds to a zip besides its data: records, and its lines in the manifest and in SHA256SUMS.
const ENTRY_BYTES: u64 = 800;

/// One source of a planned archive.
#[derive(Clone, Debug)]
#[allow(
    missing_docs,
    reason = "archive_resources.proto documents every field, and the names are the same"
)]
pub struct PreviewSource {
    pub segment_id: String,
    pub camera_id: CameraId,
    pub window: TimeRange,
    pub size_bytes: u64,
    pub entry_name: String,
}

/// What an archive would be.
#[derive(Clone, Debug)]
#[allow(
    missing_docs,
    reason = "archive_resources.proto documents every field, and the names are the same"
)]
pub struct Preview {
    pub content: ArchiveContent,
    pub delivered: Option<TimeRange>,
    pub cameras: Vec<ArchiveCamera>,
    pub faults: Vec<ArchiveFault>,
    pub fault_count: u64,
    pub sources: Vec<PreviewSource>,
    pub source_count: u64,
    pub source_bytes: u64,
    pub entry_count: u64,
    pub size_bytes: u64,
    pub size_exact: bool,
}

impl ArchiveWork {
    /// Checks what can be known before the work: cameras, footage, limits, ffmpeg, room on the disk; every source, when
    /// all of them are wanted.
    pub async fn admit(&self, content: &ArchiveContent) -> Result<(), ArchiveError> {
        let totals = selection::totals(&self.store, content).await?;
        self.check_limits(&totals)?;
        let must_look = content.all_or_nothing || Self::needs_cutting(content);
        if must_look || totals.available <= EXACT_MAX {
            return self.preview(content).await.map(|_| ());
        }
        let zip_bytes = totals
            .bytes
            .saturating_add(totals.available.saturating_mul(ENTRY_BYTES));
        self.check_disks(zip_bytes, 0)?;
        drop(self.reserve(zip_bytes).await?);
        Ok(())
    }

    /// What an archive of `content` would be. The checks of [`ArchiveWork::admit`] are made.
    pub async fn preview(&self, content: &ArchiveContent) -> Result<Preview, ArchiveError> {
        let (parts, roots) = self
            .open_sources(content, Keep::Closed, &CancellationToken::new())
            .await?;
        let wanted = content.clone();
        let (parts, planned, cut_bytes) = blocking(move || {
            let first_fault = || parts.iter().find_map(Part::first_fault);
            if let Some((kind, message)) = wanted.all_or_nothing.then(first_fault).flatten() {
                return Err(ArchiveError::Incomplete { kind, message });
            }
            let planned = planned(&parts, &wanted);
            let cut_bytes = if Self::needs_cutting(&wanted) {
                expected_cut_bytes(&parts, &wanted)
            } else {
                0
            };
            Ok((parts, planned, cut_bytes))
        })
        .await?;
        self.check_ffmpeg(content, &parts).await?;
        let cut_entries = planned.cut_entries;
        let contents = Contents::assemble(&self.store, content.clone(), parts, None, roots).await?;
        if contents.source_bytes == 0 {
            return Err(ArchiveError::NothingMatches);
        }
        let (contents, zip_bytes) = self.size(contents, &CancellationToken::new()).await?;
        let zip_bytes = zip_bytes.saturating_add(cut_bytes);
        self.check_disks(zip_bytes, cut_bytes)?;
        drop(self.reserve(zip_bytes).await?);
        Ok(Preview {
            entry_count: pack::entry_count(&contents) + cut_entries,
            size_exact: cut_entries == 0 && !planned.may_cut_others,
            sources: planned.sources,
            source_count: planned.source_count,
            ..Preview::of_ready(&contents, zip_bytes)
        })
    }
}

impl Preview {
    /// What is about to be packed.
    pub(super) fn of_ready(contents: &Contents, zip_bytes: u64) -> Self {
        let whole = contents
            .entries()
            .filter_map(|(camera, entry)| match entry.from {
                From::Recording(segment) => Some((camera, *segment, entry.name)),
                From::Cut(_) => None,
            });
        let cut_from = contents
            .cut_sources()
            .map(|(camera, source)| (camera, source.segment, String::new()));
        let sources = whole
            .chain(cut_from)
            .filter_map(|(camera, segment, name)| {
                let camera_id = &contents.cameras[camera].part.camera_id;
                let taken = segment.range();
                source(camera_id, segment, taken, name)
            })
            .take(LISTED_MAX);
        Self {
            source_count: contents
                .cameras
                .iter()
                .map(|camera| camera.segment_count)
                .sum(),
            sources: sources.collect(),
            entry_count: pack::entry_count(contents),
            size_bytes: zip_bytes,
            size_exact: true,
            content: contents.content.clone(),
            delivered: contents.delivered,
            cameras: contents.listed_cameras(),
            faults: contents.listed_faults(),
            fault_count: contents.fault_count(),
            source_bytes: contents.source_bytes,
        }
    }
}

struct Planned {
    sources: Vec<PreviewSource>,
    source_count: u64,
    cut_entries: u64,
    /// Whether segments that need no cut by the catalog may turn out to need one.
    may_cut_others: bool,
}

/// Whether what trimming makes of a segment depends on when it really starts: its name gives only the second.
fn is_open(window: TimeRange, segment: &ArchiveSegment) -> bool {
    let (start, end) = (segment.start_time, segment.end_time);
    let late = segment.start_accuracy;
    role_in(window, start, end) != role_in(window, start + late, end + late)
}

fn planned(parts: &[Part], content: &ArchiveContent) -> Planned {
    let mut planned = Planned {
        sources: Vec::new(),
        source_count: 0,
        cut_entries: 0,
        may_cut_others: false,
    };
    let trim_to = content.window().filter(|_| content.trim);
    for part in parts {
        let windows = clip_windows(part);
        let clips: Vec<_> = windows
            .iter()
            .map(|window| (window.start(), "mp4"))
            .collect();
        planned.cut_entries += clips.len() as u64;
        let names = part.names(|_| None, &clips);
        let clip_names: Vec<String> = (part.segments.len()..)
            .zip(&clips)
            .map(|(at, (start, extension))| names.name(at, &clip_name(*start, extension), *start))
            .collect();
        for (number, segment) in part.segments.iter().enumerate() {
            if content.trims_segments() && part.held.has(number) {
                planned.may_cut_others |= trim_to.is_some_and(|window| is_open(window, &segment));
            }
            let role = part.roles[number];
            if role == Role::Absent {
                continue;
            }
            if role == Role::Trimmed {
                planned.cut_entries += 1;
            }
            planned.source_count += 1;
            if planned.sources.len() == LISTED_MAX {
                continue;
            }
            let name = if role == Role::InClip {
                let at = windows.partition_point(|window| window.end() <= segment.start_time);
                clip_names.get(at).cloned().unwrap_or_default()
            } else {
                let recorded = part.recorded_name(number, &segment, None);
                names.name(number, &recorded, segment.start_time)
            };
            let whole = segment.range();
            let taken = match trim_to {
                Some(window) => whole.and_then(|whole| whole.intersect(&window)),
                None => whole,
            };
            planned
                .sources
                .extend(source(&part.camera_id, segment, taken, name));
        }
    }
    planned
}

fn source(
    camera_id: &CameraId,
    segment: ArchiveSegment,
    taken: Option<TimeRange>,
    entry_name: String,
) -> Option<PreviewSource> {
    Some(PreviewSource {
        segment_id: segment.id,
        camera_id: camera_id.clone(),
        window: taken?,
        size_bytes: segment.size_bytes,
        entry_name,
    })
}
