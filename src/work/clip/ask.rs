//! What is asked of footage before a clip of it is made: whether it can be, with what, and what it would be.

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::cut::{copying_engine, wanted};
use super::{ClipError, ClipWork, engine, render};
use crate::domain::camera::CameraId;
use crate::domain::catalog::Segment;
use crate::domain::clip::{ClipEngine, GapMode, RenderOptions};
use crate::domain::coverage::Gap;
use crate::domain::time::TimeRange;
use crate::media::plan::PlanError;
use crate::media::{self, CutError, Prepared};
use crate::work::output::free_bytes;

/// Disk that must stay free beside a clip, so that the database and the recorder have room.
pub(super) const HEADROOM_BYTES: u64 = 64 << 20;

/// What a clip would be.
#[derive(Debug)]
pub struct Preview {
    /// The window that would be delivered; `None` when nothing would.
    pub delivered: Option<TimeRange>,
    /// Requested time for which there is footage.
    pub covered: TimeDelta,
    /// What would be missing.
    pub gaps: Vec<Gap>,
    /// Segments that would be read.
    pub segments: Vec<Segment>,
    /// Expected size of the file.
    pub expected_bytes: u64,
    /// What would make it.
    pub engine: ClipEngine,
    /// Why [`ClipEngine::Auto`] would not cut natively; empty when it would, or was not asked for.
    pub engine_reason: String,
}

impl ClipWork {
    /// Checks what can be known before the work: camera, footage, whether the engine suits, ffmpeg where it is needed,
    /// room on the disk.
    pub async fn admit(
        &self,
        camera_id: &CameraId,
        window: TimeRange,
        engine: ClipEngine,
        render: Option<&RenderOptions>,
    ) -> Result<(), ClipError> {
        let segments = self.footage(camera_id, window).await?;
        self.admit_engine(engine, &segments, render).await?;
        self.check_room(bytes_needed(&segments, window, render))
    }

    /// Refuses an engine that is known not to suit these segments, or to need an ffmpeg that is not there or cannot do it.
    pub(super) async fn admit_engine(
        &self,
        engine: ClipEngine,
        segments: &[Segment],
        render: Option<&RenderOptions>,
    ) -> Result<(), ClipError> {
        if let Some(options) = render {
            let has_sound = |segment: &Segment| segment.file.facts.audio.is_some();
            let parts = media::needed_parts(options, segments.iter().any(has_sound));
            self.ffmpeg.version().await?;
            self.ffmpeg.check_parts(&parts).await?;
        }
        match (engine, engine::known_obstacle(segments)) {
            (ClipEngine::Auto | ClipEngine::Native, None) => Ok(()),
            (ClipEngine::Native, Some(reason)) => Err(CutError::Unsuitable { reason }.into()),
            (ClipEngine::Auto, Some(_)) | (ClipEngine::Ffmpeg | ClipEngine::Render, _) => {
                self.ffmpeg.version().await?;
                Ok(())
            }
        }
    }

    /// What a clip of the window would be, read from the files' own tables.
    pub async fn preview(
        &self,
        camera_id: &CameraId,
        window: TimeRange,
        engine: ClipEngine,
        gap_mode: GapMode,
        render: Option<&RenderOptions>,
    ) -> Result<Preview, ClipError> {
        let (touching, around) = self.footage_around(camera_id, window).await?;
        self.admit_engine(engine, &touching, render).await?;
        let sources = self.open_sources(self.roots().await?, &around).await?;
        let prepared = Prepared::open(&self.engine, sources, &CancellationToken::new()).await?;
        let choice = copying_engine(engine);
        let preview = match prepared.plan_for(choice, &wanted(window, gap_mode), true) {
            Ok((plan, obstacle)) => {
                let (engine, engine_reason) = match (engine, obstacle) {
                    (ClipEngine::Native, Some(reason)) => {
                        return Err(CutError::Unsuitable { reason }.into());
                    }
                    (ClipEngine::Auto, Some(reason)) => {
                        self.ffmpeg.version().await?;
                        (ClipEngine::Ffmpeg, reason)
                    }
                    (ClipEngine::Auto, None) => (ClipEngine::Native, String::new()),
                    (asked, _) => (asked, String::new()),
                };
                Preview {
                    delivered: Some(plan.delivered),
                    covered: plan.footage_shown,
                    gaps: plan.gaps,
                    expected_bytes: match render {
                        Some(options) => render::expected_bytes(&touching, window, 0, options),
                        None => plan.expected_bytes,
                    },
                    segments: touching,
                    engine,
                    engine_reason,
                }
            }
            Err(PlanError::NoFootage { gaps, .. }) => Preview {
                delivered: None,
                covered: TimeDelta::zero(),
                gaps,
                segments: touching,
                expected_bytes: 0,
                engine,
                engine_reason: String::new(),
            },
        };
        self.check_room(preview.expected_bytes)?;
        Ok(preview)
    }

    pub(super) fn check_room(&self, clip_bytes: u64) -> Result<(), ClipError> {
        let need_bytes = clip_bytes + HEADROOM_BYTES;
        let free_bytes = free_bytes(&self.settings.folder).map_err(ClipError::Folder)?;
        if free_bytes < need_bytes {
            Err(ClipError::DiskFull {
                need_bytes,
                free_bytes,
            })
        } else {
            Ok(())
        }
    }
}

/// What a clip takes of the disk while it is made.
pub(super) fn bytes_needed(
    segments: &[Segment],
    window: TimeRange,
    render: Option<&RenderOptions>,
) -> u64 {
    let footage_bytes = expected_bytes(segments, window);
    match render {
        Some(options) => render::expected_bytes(segments, window, footage_bytes, options),
        None => footage_bytes,
    }
}

/// The share of each segment that lies in the window, by time.
pub(super) fn expected_bytes(segments: &[Segment], window: TimeRange) -> u64 {
    segments
        .iter()
        .filter_map(|segment| {
            let whole = TimeRange::new(segment.file.start_time, segment.file.end_time())?;
            let part = whole.intersect(&window)?;
            let share = part.duration().as_seconds_f64() / whole.duration().as_seconds_f64();
            Some((segment.file.size_bytes as f64 * share) as u64)
        })
        .sum()
}
