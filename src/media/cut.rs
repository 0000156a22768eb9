//! Cutting a clip: open what is there, plan, let ffmpeg copy, measure and finish.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;

use super::feed::{Feed, FeedOutcome};
use super::ffmpeg::{Format, Progress, copy_arguments};
use super::finish::{FinishError, Sealed, hash, seal};
use super::follow::Follower;
use super::movie::{self, Label, Times};
use super::open::{Engine, FFMPEG_MEMORY_BYTES, OpenError, open_footage};
use super::order::{CutError, CutOrder, CutOutcome, CutProgress, Source};
use super::plan::{CutWarning, Footage, OutputTrack, Plan, PlanError, Segment, WarningKind, plan};
use crate::domain::catalog::{AudioFormat, VideoFormat};
use crate::domain::coverage::GapReason;
use crate::domain::time::TimeRange;
use crate::process::{Feeder, Heard, Job, Limits, ProcessError};

/// ffmpeg reports ten times a second; silence this long means that it hangs.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// Footage opened and placed in time.
pub struct Prepared {
    segments: Vec<Segment>,
    files: Vec<Option<Arc<File>>>,
}

impl Prepared {
    /// Opens and indexes the sources. A file that cannot be used becomes a gap, not an error.
    ///
    /// # Errors
    /// [`CutError`] when ffmpeg is needed to open a file and cannot be run, or on cancellation.
    pub async fn open(
        engine: &Engine,
        sources: Vec<Source>,
        cancel: &CancellationToken,
    ) -> Result<Self, CutError> {
        let mut prepared = Self {
            segments: Vec::with_capacity(sources.len()),
            files: Vec::with_capacity(sources.len()),
        };
        for source in sources {
            if cancel.is_cancelled() {
                return Err(CutError::Cancelled);
            }
            let (file, footage) = match source.file {
                Err(reason) => (None, Footage::Unusable(reason)),
                Ok(file) => match open_footage(engine, file, cancel).await {
                    Ok(open) => (Some(open.file), Footage::Indexed(open.index)),
                    Err(OpenError::Repack(error))
                        if !matches!(error, ProcessError::Failed { .. }) =>
                    {
                        return Err(process_error(error, Path::new("")));
                    }
                    Err(OpenError::Scratch(error)) => return Err(write_error(error)),
                    Err(error) => {
                        tracing::info!(source = source.name, %error, "a file is left out of a clip");
                        (None, Footage::Unusable(GapReason::FileDamaged))
                    }
                },
            };
            prepared.files.push(file);
            prepared.segments.push(Segment {
                id: source.id,
                name: source.name,
                start: source.start,
                start_accuracy: source.start_accuracy,
                expected_end: source.expected_end,
                footage,
            });
        }
        Ok(prepared)
    }

    /// The ids of the sources, in order.
    pub fn segment_ids(&self) -> Vec<String> {
        self.segments
            .iter()
            .map(|segment| segment.id.clone())
            .collect()
    }

    /// The plan for a window, without cutting anything.
    ///
    /// # Errors
    /// [`PlanError::NoFootage`].
    pub fn plan(&self, requested: TimeRange, gap_tolerance: TimeDelta) -> Result<Plan, PlanError> {
        plan(&self.segments, requested, gap_tolerance)
    }
}

/// Cuts a clip.
///
/// `on_progress` is called from this task, several times a second while ffmpeg copies. A source that breaks
/// on the way is left out as [`GapReason::FileDamaged`] and the cut begins anew.
///
/// # Errors
/// [`CutError`]; nothing is left at `order.output` then.
pub async fn cut(
    engine: &Engine,
    order: CutOrder,
    cancel: &CancellationToken,
    mut on_progress: impl FnMut(CutProgress) + Send,
) -> Result<CutOutcome, CutError> {
    let output = std::path::absolute(&order.output).map_err(CutError::Write)?;
    let mut prepared = Prepared::open(engine, order.sources, cancel).await?;
    let mut draft = Draft::create(output)?;
    let mut with_sound = true;
    let mut header_room = None;
    loop {
        let plan = Arc::new(prepared.plan(order.requested, order.gap_tolerance)?);
        let attempt = Attempt {
            engine,
            prepared: &prepared,
            plan: &plan,
            with_sound: with_sound && plan.sound.is_some(),
            header_room,
            draft: &draft.path,
            title: &order.title,
            deadline: order.deadline,
            is_durable: order.is_durable,
        };
        match attempt.run(cancel, &mut on_progress).await {
            Ok(finished) => {
                draft.keep = true;
                return Ok(outcome(&prepared, &plan, with_sound, finished));
            }
            Err(Failure::BrokenSource { segment }) => {
                prepared.segments[segment].footage = Footage::Unusable(GapReason::FileDamaged);
            }
            Err(Failure::HeaderTooLarge { needed_bytes }) if header_room.is_none() => {
                header_room = Some(needed_bytes * 2);
            }
            Err(Failure::HeaderTooLarge { needed_bytes }) => {
                let reason = format!("its header needs {needed_bytes} bytes");
                return Err(CutError::Mismatch { reason });
            }
            // A codec that ffmpeg cannot put into the file is almost always that of the sound.
            Err(Failure::Refused(error)) if attempt.with_sound => {
                tracing::info!(%error, "a clip is cut again without sound");
                with_sound = false;
            }
            Err(Failure::Refused(error) | Failure::Final(error)) => return Err(error),
        }
    }
}

/// The file being written, removed unless it is finished.
struct Draft {
    path: PathBuf,
    keep: bool,
}

impl Draft {
    fn create(path: PathBuf) -> Result<Self, CutError> {
        File::create_new(&path).map_err(write_error)?;
        Ok(Self { path, keep: false })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished clip stays behind");
        }
    }
}

struct Attempt<'a> {
    engine: &'a Engine,
    prepared: &'a Prepared,
    plan: &'a Arc<Plan>,
    with_sound: bool,
    header_room: Option<usize>,
    draft: &'a Path,
    title: &'a str,
    deadline: Duration,
    is_durable: bool,
}

/// Why an attempt failed, by what to do next.
enum Failure {
    BrokenSource {
        segment: usize,
    },
    HeaderTooLarge {
        needed_bytes: usize,
    },
    /// ffmpeg ended before it wrote any media.
    Refused(CutError),
    Final(CutError),
}

/// A clip complete on disk.
struct Finished {
    size_bytes: u64,
    sha256: [u8; 32],
}

struct Made {
    finished: Finished,
    format: Format,
    engine: String,
}

impl Attempt<'_> {
    async fn run(
        &self,
        cancel: &CancellationToken,
        on_progress: &mut (impl FnMut(CutProgress) + Send),
    ) -> Result<Made, Failure> {
        let format = format_of(self.plan, self.with_sound);
        let header_bytes = match self.header_room {
            Some(bytes) => bytes,
            None => self.header_bytes()?,
        };
        let files = self
            .plan
            .pieces
            .iter()
            .filter_map(|piece| self.prepared.files[piece.segment].clone())
            .collect();
        let quicktime = format == Format::QuickTime;
        let feed = Feed::new(self.plan, self.with_sound, quicktime, files).map_err(mismatch)?;
        let fed = FeedOutcome::default();
        let feeder: Feeder = {
            let fed = fed.clone();
            Box::new(move |pipe| feed.write(pipe, &fed))
        };
        let arguments = copy_arguments(format, header_bytes, self.draft);
        let engine = command_line(&self.engine.ffmpeg, &arguments);
        let follower = Follower::start(
            self.draft,
            self.plan,
            self.with_sound,
            self.label(),
            header_bytes,
            self.is_durable,
        )
        .ok();
        let media_total = self.plan.duration_shown;
        let mut progress = Progress::default();
        let ran = Job::new(self.engine.ffmpeg.clone(), self.deadline)
            .arguments(arguments)
            .idle_limit(IDLE_LIMIT)
            .limits(Limits {
                memory_bytes: Some(FFMPEG_MEMORY_BYTES),
                cpu_s: Some(self.deadline.as_secs() + 1),
                file_bytes: Some(self.plan.expected_bytes + 2 * header_bytes as u64 + (1 << 20)),
            })
            .input(feeder)
            .run(cancel, |line| {
                if !progress.hear(line) {
                    return Heard::Nothing;
                }
                let media = TimeDelta::from_std(progress.media).unwrap_or(media_total);
                on_progress(CutProgress {
                    media_done: media.min(media_total),
                    media_total,
                    bytes_done: progress
                        .bytes
                        .saturating_sub(header_bytes as u64)
                        .min(self.plan.expected_bytes),
                    bytes_total: self.plan.expected_bytes,
                });
                Heard::Progress
            })
            .await;
        if let Some(broken) = fed.broken() {
            let segment = self.plan.pieces[broken.piece].segment;
            let name = &self.prepared.segments[segment].name;
            tracing::warn!(source = name, error = %broken.error, "a source broke while it was cut");
            return Err(Failure::BrokenSource { segment });
        }
        ran.map_err(|error| self.ffmpeg_failure(error, progress))?;
        let finished = self.finish(follower).await?;
        on_progress(CutProgress {
            media_done: media_total,
            media_total,
            bytes_done: self.plan.expected_bytes,
            bytes_total: self.plan.expected_bytes,
        });
        Ok(Made {
            finished,
            format,
            engine,
        })
    }

    /// Room for the larger of ffmpeg's header and ours.
    fn header_bytes(&self) -> Result<usize, Failure> {
        let sizes = |track: Option<&OutputTrack>| -> Vec<u64> {
            // Far apart, so that every sample is a chunk of its own: the longest that the tables can be.
            let count = track.map_or(0, |track| track.samples.len() as u64);
            (0..count).map(|at| at * (1 << 33)).collect()
        };
        let (video, sound) = (
            sizes(Some(&self.plan.video)),
            sizes(self.plan.sound.as_ref()),
        );
        let tracks = super::feed::placed(self.plan, self.with_sound, &video, &sound);
        let longest =
            movie::encode(&tracks, Times::Shown, Some(&self.label())).map_err(mismatch)?;
        Ok(longest.len() + 4096)
    }

    fn label(&self) -> Label {
        let requested = &self.plan.requested;
        let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
        Label {
            start: self.plan.delivered.start(),
            title: self.title.to_owned(),
            comment: format!(
                "footage of {} from {} to {}",
                self.title,
                text(requested.start()),
                text(requested.end())
            ),
        }
    }

    /// Seals the file while the rest of it is hashed.
    async fn finish(&self, follower: Option<Follower>) -> Result<Finished, Failure> {
        let (path, plan, label) = (self.draft.to_owned(), Arc::clone(self.plan), self.label());
        let (with_sound, is_durable) = (self.with_sound, self.is_durable);
        let sealing =
            tokio::task::spawn_blocking(move || seal(&path, &plan, with_sound, &label, is_durable));
        let following = async {
            match follower {
                Some(follower) => follower.finish().await,
                None => None,
            }
        };
        let (sealed, foreseen) = tokio::join!(sealing, following);
        let stopped = |_| Failure::Final(CutError::Cancelled);
        let Sealed { size_bytes, head } =
            sealed.map_err(stopped)?.map_err(|error| match error {
                FinishError::HeaderTooLarge { needed_bytes } => {
                    Failure::HeaderTooLarge { needed_bytes }
                }
                FinishError::Io(error) => Failure::Final(write_error(error)),
                error => mismatch(error),
            })?;
        let sha256 = match foreseen {
            Some(foreseen) if foreseen.head == head && foreseen.size_bytes == size_bytes => {
                foreseen.sha256
            }
            _ => {
                tracing::debug!("the clip is not as foreseen; it is hashed again");
                let path = self.draft.to_owned();
                tokio::task::spawn_blocking(move || hash(&path))
                    .await
                    .map_err(stopped)?
                    .map_err(|error| Failure::Final(write_error(error)))?
            }
        };
        Ok(Finished { size_bytes, sha256 })
    }

    fn ffmpeg_failure(&self, error: ProcessError, progress: Progress) -> Failure {
        // One that was killed refused nothing.
        let exited =
            matches!(&error, ProcessError::Failed { status, .. } if status.code().is_some());
        let refused = exited && progress.media.is_zero();
        match process_error(error, self.draft) {
            error @ CutError::FfmpegFailed { .. } if refused => Failure::Refused(error),
            error => Failure::Final(error),
        }
    }
}

fn mismatch(error: impl std::fmt::Display) -> Failure {
    Failure::Final(CutError::Mismatch {
        reason: error.to_string(),
    })
}

fn write_error(error: io::Error) -> CutError {
    if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
        CutError::DiskFull
    } else {
        CutError::Write(error)
    }
}

fn process_error(error: ProcessError, output: &Path) -> CutError {
    match error {
        ProcessError::NotFound { program } => CutError::FfmpegMissing { program },
        ProcessError::TimedOut { .. } | ProcessError::Stalled { .. } => CutError::TimedOut,
        ProcessError::Cancelled => CutError::Cancelled,
        ProcessError::Failed { status, stderr, .. } => {
            if stderr.contains("No space left on device") {
                return CutError::DiskFull;
            }
            let told = match output.to_str() {
                Some(path) if !path.is_empty() => stderr.replace(path, "the clip"),
                _ => stderr,
            };
            CutError::FfmpegFailed {
                reason: format!("{status}: {told}"),
            }
        }
        ProcessError::Spawn { source, .. } | ProcessError::Output { source, .. } => {
            CutError::Write(source)
        }
    }
}

/// For the record of how a clip was made; the output path is the server's own business.
fn command_line(program: &OsString, arguments: &[OsString]) -> String {
    let shown = arguments.split_last().map_or(&[][..], |(_, rest)| rest);
    std::iter::once(program)
        .chain(shown)
        .map(|part| part.to_string_lossy().into_owned())
        .chain(std::iter::once("OUTPUT".to_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// MP4 wherever its registry (mp4ra.org) has the codecs.
fn format_of(plan: &Plan, with_sound: bool) -> Format {
    const VIDEO: [&[u8; 4]; 9] = [
        b"avc1", b"avc3", b"hvc1", b"hev1", b"av01", b"vp08", b"vp09", b"mp4v", b"dvh1",
    ];
    const SOUND: [&[u8; 4]; 5] = [b"mp4a", b"Opus", b"fLaC", b"ac-3", b"ec-3"];
    let sound = plan.sound.as_ref().filter(|_| with_sound);
    let fits = VIDEO.contains(&&plan.video.entry.four_cc)
        && sound.is_none_or(|track| {
            SOUND.contains(&&track.entry.four_cc) && !track.entry.quicktime_sound
        });
    if fits { Format::Mp4 } else { Format::QuickTime }
}

fn outcome(prepared: &Prepared, plan: &Plan, with_sound: bool, made: Made) -> CutOutcome {
    let mut warnings = plan.warnings.clone();
    if !with_sound && plan.sound.is_some() {
        warnings.push(CutWarning {
            kind: WarningKind::SoundLeftOut,
            range: None,
            message: "the clip has no sound: ffmpeg cannot put that of the footage into the file"
                .to_owned(),
        });
    }
    let entry = &plan.video.entry;
    CutOutcome {
        requested: plan.requested,
        delivered: plan.delivered,
        covered: plan.covered,
        gaps: plan.gaps.clone(),
        warnings,
        size_bytes: made.finished.size_bytes,
        sha256: made.finished.sha256,
        format: made.format,
        duration_shown: plan.duration_shown,
        hidden_lead: plan.hidden_lead,
        segment_ids: plan
            .pieces
            .iter()
            .map(|piece| prepared.segments[piece.segment].id.clone())
            .collect(),
        video: VideoFormat {
            codec: entry.codec.clone(),
            width: u32::from(entry.width),
            height: u32::from(entry.height),
            frame_count: plan.frame_count,
        },
        audio: plan
            .sound
            .as_ref()
            .filter(|_| with_sound)
            .map(|track| AudioFormat {
                codec: track.entry.codec.clone(),
                sample_rate_hz: track.entry.sample_rate_hz,
                channels: u32::from(track.entry.channels),
            }),
        engine: made.engine,
    }
}
