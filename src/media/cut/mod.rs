//! Cutting a clip: open what is there, plan, have the samples copied, measure and finish.
//!
//! The samples are copied by ffmpeg (`by_ffmpeg`) or without it (`by_copy`); what they are and how they are shown is in
//! the plan, so that both give clips which show the same.

mod by_copy;
mod by_ffmpeg;
mod by_layout;
mod unfit;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use tokio_util::sync::CancellationToken;

use self::unfit::unfit;
use super::feed::BrokenSource;
use super::ffmpeg::Format;
use super::movie::Label;
use super::open::{Engine, OpenError, OpenFootage, open_footage};
use super::order::{CutError, CutOrder, CutOutcome, CutProgress, EngineChoice, Source};
use super::plan::{
    CutWarning, Footage, Parameters, Plan, PlanError, Segment, Wanted, WarningKind, plan,
};
use super::suitable;
use crate::domain::catalog::{AudioFormat, VideoFormat};
use crate::domain::coverage::GapReason;
use crate::hashing::Sha256;
use crate::process::ProcessError;

pub use by_layout::LaidOut;

/// Footage opened and placed in time.
pub struct Prepared {
    segments: Vec<Segment>,
    /// What was opened of each segment.
    opened: Vec<Option<OpenFootage>>,
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
            opened: Vec::with_capacity(sources.len()),
        };
        for source in sources {
            if cancel.is_cancelled() {
                return Err(CutError::Cancelled);
            }
            let (opened, footage) = match source.file {
                Err(reason) => (None, Footage::Unusable(reason)),
                Ok(file) => match open_footage(engine, file, source.index, cancel).await {
                    Ok(open) => {
                        let index = Arc::clone(&open.index);
                        (Some(open), Footage::Indexed(index))
                    }
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
            prepared.opened.push(opened);
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

    /// What each piece of the plan was opened as. A piece has samples, so its segment was opened.
    fn opened_of(&self, plan: &Plan) -> impl Iterator<Item = &OpenFootage> {
        let pieces = plan.pieces.iter();
        pieces.filter_map(|piece| self.opened[piece.segment].as_ref())
    }

    /// The plan for a window, without cutting anything.
    ///
    /// # Errors
    /// [`PlanError::NoFootage`].
    pub fn plan(&self, wanted: &Wanted) -> Result<Plan, PlanError> {
        plan(&self.segments, wanted)
    }

    /// The plan for an engine, and what keeps it from being cut without ffmpeg. ffmpeg is given one set of codec
    /// parameters, whatever is wanted.
    ///
    /// # Errors
    /// [`PlanError::NoFootage`].
    pub fn plan_for(
        &self,
        engine: EngineChoice,
        wanted: &Wanted,
        with_sound: bool,
    ) -> Result<(Plan, Option<String>), PlanError> {
        let for_ffmpeg = Wanted {
            parameters: Parameters::One,
            ..*wanted
        };
        if engine == EngineChoice::Ffmpeg {
            return Ok((self.plan(&for_ffmpeg)?, None));
        }
        let plan = self.plan(wanted)?;
        let obstacle = suitable::obstacle(&plan, with_sound, self.opened_of(&plan));
        match (engine, &obstacle) {
            (EngineChoice::Auto, Some(_)) => Ok((self.plan(&for_ffmpeg)?, obstacle)),
            _ => Ok((plan, obstacle)),
        }
    }
}

/// Cuts a clip.
///
/// `on_progress` is called from this task, several times a second while the samples are copied. A source that breaks
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
        let (plan, obstacle) = prepared.plan_for(order.engine, &order.wanted, with_sound)?;
        let plan = Arc::new(plan);
        let attempt = Attempt {
            engine,
            prepared: &prepared,
            plan: &plan,
            with_sound: with_sound && plan.sound.is_some(),
            header_room,
            draft: &draft,
            title: &order.title,
            deadline: order.deadline,
            is_durable: order.is_durable,
            hashes: order.hashes,
        };
        let made = if let Some(segment) = unfit(&prepared, &plan) {
            Err(Failure::BrokenSource { segment })
        } else {
            match (order.engine, &obstacle) {
                (EngineChoice::Auto | EngineChoice::Native, None) => {
                    attempt.by_copy(cancel, &mut on_progress).await
                }
                (EngineChoice::Native, Some(reason)) => {
                    return Err(CutError::Unsuitable {
                        reason: reason.clone(),
                    });
                }
                (EngineChoice::Auto, Some(_)) | (EngineChoice::Ffmpeg, _) => {
                    attempt.by_ffmpeg(cancel, &mut on_progress).await
                }
            }
        };
        match made {
            Ok(finished) => {
                draft.keep = true;
                let not_native = match order.engine {
                    EngineChoice::Auto => obstacle,
                    EngineChoice::Native | EngineChoice::Ffmpeg => None,
                };
                return Ok(outcome(&prepared, &plan, with_sound, finished, not_native));
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
    file: Arc<File>,
    keep: bool,
}

impl Draft {
    fn create(path: PathBuf) -> Result<Self, CutError> {
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(&path);
        Ok(Self {
            path,
            file: Arc::new(file.map_err(write_error)?),
            keep: false,
        })
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
    draft: &'a Draft,
    title: &'a str,
    deadline: Duration,
    is_durable: bool,
    hashes: bool,
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
    /// If it was asked for.
    sha256: Option<Sha256>,
}

struct Made {
    finished: Finished,
    format: Format,
    engine: String,
    is_native: bool,
}

impl Attempt<'_> {
    /// The file of each piece.
    fn files(&self) -> Vec<Arc<File>> {
        let opened = self.prepared.opened_of(self.plan);
        opened.map(|opened| Arc::clone(&opened.file)).collect()
    }

    fn broken(&self, broken: &BrokenSource) -> Failure {
        let segment = self.plan.pieces[broken.piece].segment;
        let name = &self.prepared.segments[segment].name;
        tracing::warn!(source = name, error = %broken.error, "a source broke while it was cut");
        Failure::BrokenSource { segment }
    }

    /// The progress of a cut that is complete.
    fn all_done(&self) -> CutProgress {
        CutProgress {
            media_done: self.plan.duration_shown,
            media_total: self.plan.duration_shown,
            bytes_done: self.plan.expected_bytes,
            bytes_total: self.plan.expected_bytes,
        }
    }

    fn label(&self) -> Label {
        label(self.plan, self.title)
    }
}

/// What the clip says of itself inside its file.
fn label(plan: &Plan, title: &str) -> Label {
    let requested = &plan.requested;
    let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
    Label {
        start: plan.delivered.start(),
        title: title.to_owned(),
        comment: format!(
            "footage of {title} from {} to {}",
            text(requested.start()),
            text(requested.end())
        ),
    }
}

fn mismatch(error: impl std::fmt::Display) -> Failure {
    Failure::Final(CutError::Mismatch {
        reason: error.to_string(),
    })
}

pub(super) fn write_error(error: io::Error) -> CutError {
    if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
        CutError::DiskFull
    } else {
        CutError::Write(error)
    }
}

pub(super) fn process_error(error: ProcessError, output: &Path) -> CutError {
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

fn outcome(
    prepared: &Prepared,
    plan: &Plan,
    with_sound: bool,
    made: Made,
    not_native: Option<String>,
) -> CutOutcome {
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
    let damaged = prepared
        .segments
        .iter()
        .filter(|segment| matches!(segment.footage, Footage::Unusable(GapReason::FileDamaged)));
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
        footage_shown: plan.footage_shown,
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
        damaged_sources: damaged.count(),
        engine: made.engine,
        is_native: made.is_native,
        not_native,
    }
}
