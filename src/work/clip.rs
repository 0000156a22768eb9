//! Clips: what is checked before a job is accepted, the job itself, and the files it leaves.
//!
//! A clip's file gets its final name only when it is whole; its row is written together with the end of its job. A virtual
//! clip has no file: `virtual_clip` makes it, `virtual_content` reads it, `materialize` gives it a file after all.

mod engine;
mod error;
mod held_sources;
mod kept_layouts;
mod layouts;
mod materialize;
mod render;
mod virtual_clip;
mod virtual_content;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use self::error::{internal, notice, work_error};
use self::layouts::Layouts;
use super::ffmpeg::Ffmpeg;
use super::indexes;
use super::output::{self, FinalName, free_bytes, remove_if_there};
use super::roots::{OpenRoots, Roots};
use super::source_file::open_beneath;
use super::{Attempt, Done, Work, WorkError};
use crate::clock;
use crate::domain::camera::CameraId;
use crate::domain::catalog::{Segment, SegmentState};
use crate::domain::clip::{Clip, ClipEngine, ClipSpec, GapMode, RenderOptions};
use crate::domain::coverage::{GAP_TOLERANCE, Gap};
use crate::domain::job::{JobResult, JobSpec, Progress};
use crate::domain::time::TimeRange;
use crate::media::plan::{Parameters, PlanError, Wanted};
use crate::media::{
    self, CutError, CutOrder, CutOutcome, CutProgress, Engine, EngineChoice, Prepared,
};
use crate::repository::Store;

pub use error::ClipError;
pub use virtual_content::{Content, VirtualContent};

/// Disk that must stay free beside a clip, so that the database and the recorder have room.
const HEADROOM_BYTES: u64 = 64 << 20;

/// How far around a window segments are looked for: the start of one may be later than its name says, and the key
/// frame that the window needs may be in the segment before.
pub(super) const LOOK_AROUND: TimeDelta = TimeDelta::seconds(5);

/// What the operator decides about clips.
#[derive(Clone, Debug)]
pub struct ClipSettings {
    /// Where finished clips lie.
    pub folder: PathBuf,
    /// How long a clip is kept unless its request says otherwise; `None` is until it is deleted.
    pub keep_for: Option<Duration>,
    /// How long one cut may take.
    pub timeout: Duration,
}

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

/// Everything about clips but their queue.
pub struct ClipWork {
    store: Store,
    settings: ClipSettings,
    engine: Engine,
    ffmpeg: Ffmpeg,
    layouts: Layouts,
}

impl ClipWork {
    /// Cuts with `engine` into the folder of `settings`.
    pub fn new(store: Store, settings: ClipSettings, engine: Engine) -> Self {
        let ffmpeg = Ffmpeg::new(engine.ffmpeg.clone());
        Self {
            store,
            settings,
            engine,
            ffmpeg,
            layouts: Layouts::default(),
        }
    }

    /// How long a clip is kept unless its request says otherwise, seconds; 0 is until it is deleted.
    pub fn default_keep_for_s(&self) -> u64 {
        self.settings
            .keep_for
            .map_or(0, |keep_for| keep_for.as_secs())
    }

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
    async fn admit_engine(
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
        let sources = self.open_sources(&around).await?;
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

    /// Opens a finished clip's file, after a look at its size.
    pub async fn open(&self, clip: &Clip) -> Result<File, ClipError> {
        let (folder, name, size_bytes) = (
            self.settings.folder.clone(),
            clip.file_name.clone(),
            clip.size_bytes,
        );
        blocking(move || {
            let file = match open_beneath(&folder, Path::new(&name)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(ClipError::Corrupted("is gone"));
                }
                Err(error) => return Err(ClipError::Folder(error)),
            };
            if file.metadata().map_err(ClipError::Folder)?.len() != size_bytes {
                return Err(ClipError::Corrupted("no longer has its size"));
            }
            Ok(file)
        })
        .await
    }

    /// Deletes a clip with its file; whether it was there.
    pub async fn delete(&self, clip: &Clip) -> Result<bool, ClipError> {
        let was_there = self.store.delete_clip(&clip.id).await?;
        let path = self.settings.folder.join(&clip.file_name);
        blocking(move || remove_if_there(&path).map_err(ClipError::Folder)).await?;
        if clip.is_virtual {
            self.layouts.forget(&clip.id);
            self.discard_layout(&clip.id).await;
            self.release_sources(&clip.id).await?;
        }
        Ok(was_there)
    }

    /// The segments that overlap the window, when at least one of them can be read.
    async fn footage(
        &self,
        camera_id: &CameraId,
        window: TimeRange,
    ) -> Result<Vec<Segment>, ClipError> {
        let segments = self.store.segments_in(camera_id, window).await?;
        self.check_footage(camera_id, &segments).await?;
        Ok(segments)
    }

    /// The same, and with them in order those just around the window.
    async fn footage_around(
        &self,
        camera_id: &CameraId,
        window: TimeRange,
    ) -> Result<(Vec<Segment>, Vec<Segment>), ClipError> {
        let wider = TimeRange::new(window.start() - LOOK_AROUND, window.end() + LOOK_AROUND)
            .unwrap_or(window);
        let around = self.store.segments_in(camera_id, wider).await?;
        let touching = around.iter().filter(|segment| touches(segment, window));
        let touching: Vec<Segment> = touching.cloned().collect();
        self.check_footage(camera_id, &touching).await?;
        Ok((touching, around))
    }

    /// Refuses a window of which nothing can be read.
    async fn check_footage(
        &self,
        camera_id: &CameraId,
        segments: &[Segment],
    ) -> Result<(), ClipError> {
        if segments
            .iter()
            .any(|segment| segment.state == SegmentState::Available)
        {
            return Ok(());
        }
        match self.store.camera(camera_id).await? {
            None => Err(ClipError::CameraNotFound(camera_id.clone())),
            Some(_) => Err(ClipError::NoFootage),
        }
    }

    fn check_room(&self, clip_bytes: u64) -> Result<(), ClipError> {
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

    /// Opens every segment, so that a file which is deleted from now on is still cut whole.
    async fn open_sources(&self, segments: &[Segment]) -> Result<Vec<media::Source>, ClipError> {
        let roots = OpenRoots::new(Roots::read(&self.store).await?);
        let segments = segments.to_vec();
        let opened = blocking(move || {
            segments
                .into_iter()
                .map(|segment| {
                    let end_time = segment.file.end_time();
                    let file = roots
                        .look_for(&segment.file.source_id, &segment.file.path)
                        .map_err(ClipError::Machine)?;
                    Ok(media::Source {
                        id: segment.id,
                        name: segment.file.path,
                        start: segment.file.start_time,
                        start_accuracy: segment.file.start_accuracy,
                        expected_end: Some(end_time),
                        file: file.map(Arc::new),
                        index: None,
                    })
                })
                .collect::<Result<Vec<_>, ClipError>>()
        });
        let mut sources = opened.await?;
        indexes::attach(&self.store, &mut sources).await?;
        Ok(sources)
    }

    async fn make(&self, attempt: Attempt) -> Result<Done, WorkError> {
        match &attempt.spec {
            JobSpec::MaterializeClip(spec) => self.materialize(&attempt, spec).await,
            JobSpec::Clip(spec) if spec.is_virtual => self.make_virtual(&attempt, spec).await,
            JobSpec::Clip(spec) => self.cut(&attempt, spec).await,
            _ => Err(internal("not a clip")),
        }
    }

    async fn cut(&self, attempt: &Attempt, spec: &ClipSpec) -> Result<Done, WorkError> {
        let window = spec
            .window()
            .ok_or_else(|| internal("the job holds no window"))?;
        attempt.report(Progress {
            phase: "opening".to_owned(),
            fraction: Some(0.0),
            ..Progress::default()
        });
        let (touching, around) = self
            .footage_around(&spec.camera_id, window)
            .await
            .map_err(work_error)?;
        self.admit_engine(spec.engine, &touching, spec.render.as_ref())
            .await
            .map_err(work_error)?;
        self.check_room(bytes_needed(&touching, window, spec.render.as_ref()))
            .map_err(work_error)?;
        let sources = self.open_sources(&around).await.map_err(work_error)?;

        let part = self.settings.folder.join(attempt.temporary_name());
        remove_if_there(&part).map_err(|error| work_error(ClipError::Folder(error)))?;
        let order = CutOrder {
            sources,
            wanted: wanted(window, spec.gap_mode),
            output: part.clone(),
            title: spec.camera_id.to_string(),
            engine: copying_engine(spec.engine),
            deadline: self.settings.timeout,
            is_durable: true,
        };
        let made = match &spec.render {
            None => {
                let report = |progress| attempt.report(cutting(progress));
                let cut = media::cut(&self.engine, order, &attempt.cancel, report);
                cut.await.map_err(ClipError::Cut)
            }
            Some(options) => {
                let footage_bytes = expected_bytes(&touching, window);
                let camera_id = &spec.camera_id;
                self.render(attempt, camera_id, order, options, footage_bytes)
                    .await
            }
        };
        let outcome = made.map_err(work_error)?;
        self.record(attempt, spec, window, &part, outcome).await
    }

    /// Gives the finished file its name and describes it.
    async fn record(
        &self,
        attempt: &Attempt,
        spec: &ClipSpec,
        window: TimeRange,
        part: &Path,
        outcome: CutOutcome,
    ) -> Result<Done, WorkError> {
        // The outcome has ffmpeg's whole command line; a clip names the program.
        let engine = if outcome.is_native {
            outcome.engine.clone()
        } else {
            let version = self.ffmpeg.version().await;
            version.unwrap_or_else(|_| "ffmpeg".to_owned())
        };
        let mut clip = describe(&attempt.job_id, spec, window, &outcome, engine);
        let name = FinalName::like(attempt, &clip.file_name);
        let part = part.to_owned();
        clip.file_name = blocking(move || output::publish(&part, name).map_err(ClipError::Folder))
            .await
            .map_err(work_error)?;
        Ok(Done {
            result: JobResult::Clip(Box::new(clip)),
            warnings: outcome.warnings.into_iter().map(notice).collect(),
        })
    }
}

/// The row of a clip that was cut. `engine` is what did it, unless we did.
fn describe(
    job_id: &str,
    spec: &ClipSpec,
    window: TimeRange,
    outcome: &CutOutcome,
    engine: String,
) -> Clip {
    let create_time = clock::now();
    let keep_for = TimeDelta::try_seconds(i64::try_from(spec.keep_for_s).unwrap_or(i64::MAX));
    Clip {
        id: spec.clip_id.clone(),
        camera_id: spec.camera_id.clone(),
        requested_window: window,
        delivered_window: outcome.delivered,
        covered_us: microseconds(outcome.footage_shown),
        duration_us: microseconds(match &spec.render {
            Some(options) => options.plays(outcome.duration_shown),
            None => outcome.duration_shown,
        }),
        gaps: outcome.gaps.clone(),
        size_bytes: outcome.size_bytes,
        sha256: outcome
            .sha256
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        media_type: outcome.format.media_type().to_owned(),
        file_name: format!(
            "{}_{}_{}.{}",
            spec.camera_id,
            outcome.delivered.start().format("%Y%m%dT%H%M%SZ"),
            spec.clip_id,
            outcome.format.extension()
        ),
        segment_count: u32::try_from(outcome.segment_ids.len()).unwrap_or(u32::MAX),
        video: outcome.video.clone(),
        audio: outcome.audio.clone(),
        hidden_lead_us: microseconds(outcome.hidden_lead),
        engine,
        engine_used: if spec.render.is_some() {
            ClipEngine::Render
        } else if outcome.is_native {
            ClipEngine::Native
        } else {
            ClipEngine::Ffmpeg
        },
        engine_reason: outcome.not_native.clone().unwrap_or_default(),
        gap_mode: spec.gap_mode,
        render: spec.render.clone(),
        is_virtual: false,
        holds_sources: false,
        layout_digest: String::new(),
        recipe: None,
        job_id: job_id.to_owned(),
        created_by: spec.created_by.clone(),
        labels: spec.labels.clone(),
        create_time,
        expire_time: keep_for
            .filter(|keep| !keep.is_zero())
            .and_then(|keep| create_time.checked_add_signed(keep)),
    }
}

/// Lets the API and the runner share one [`ClipWork`].
impl Work for Arc<ClipWork> {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, Result<Done, WorkError>> {
        self.make(attempt).boxed()
    }
}

fn touches(segment: &Segment, window: TimeRange) -> bool {
    segment.file.start_time < window.end() && window.start() < segment.file.end_time()
}

/// What copies the samples of a clip, or of the footage that is encoded for it.
fn copying_engine(engine: ClipEngine) -> EngineChoice {
    match engine {
        ClipEngine::Auto | ClipEngine::Render => EngineChoice::Auto,
        ClipEngine::Native => EngineChoice::Native,
        ClipEngine::Ffmpeg => EngineChoice::Ffmpeg,
    }
}

/// What a clip takes of the disk while it is made.
fn bytes_needed(segments: &[Segment], window: TimeRange, render: Option<&RenderOptions>) -> u64 {
    let footage_bytes = expected_bytes(segments, window);
    match render {
        Some(options) => render::expected_bytes(segments, window, footage_bytes, options),
        None => footage_bytes,
    }
}

/// The footage of a window.
fn wanted(requested: TimeRange, gap_mode: GapMode) -> Wanted {
    Wanted {
        requested,
        gap_tolerance: GAP_TOLERANCE,
        gap_mode,
        parameters: Parameters::Several,
    }
}

/// The share of each segment that lies in the window, by time.
fn expected_bytes(segments: &[Segment], window: TimeRange) -> u64 {
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

fn cutting(progress: CutProgress) -> Progress {
    Progress {
        phase: "cutting".to_owned(),
        bytes_done: progress.bytes_done,
        bytes_total: progress.bytes_total,
        media_done_us: microseconds(progress.media_done),
        media_total_us: microseconds(progress.media_total),
        fraction: Some(progress.bytes_done as f64 / progress.bytes_total.max(1) as f64),
        ..Progress::default()
    }
}

fn microseconds(duration: TimeDelta) -> i64 {
    duration.num_microseconds().unwrap_or(i64::MAX)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClipError> + Send + 'static,
) -> Result<T, ClipError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(ClipError::Folder(io::Error::other(error))))
}
