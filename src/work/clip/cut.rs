//! The job of a clip with a file: cuts or renders it under a name that nobody looks for, then names it and describes it.

use std::fs::File;
use std::path::PathBuf;

use chrono::TimeDelta;

use super::ask::{bytes_needed, expected_bytes};
use super::error::{notice, work_error};
use super::remake::Backing;
use super::{ClipError, ClipWork, begin, blocking, microseconds};
use crate::clock;
use crate::domain::clip::{Clip, ClipEngine, ClipSpec, GapMode};
use crate::domain::coverage::GAP_TOLERANCE;
use crate::domain::job::{JobResult, Progress};
use crate::domain::time::TimeRange;
use crate::media::plan::{Parameters, Wanted};
use crate::media::{self, CutOrder, CutOutcome, CutProgress, EngineChoice};
use crate::packing::hex;
use crate::work::output::{self, FinalName, remove_if_there};
use crate::work::{Attempt, Done, WorkError};

impl ClipWork {
    /// Cuts or renders a clip.
    pub(super) async fn cut(&self, attempt: &Attempt, spec: &ClipSpec) -> Result<Done, WorkError> {
        let window = begin(attempt, spec)?;
        let ((touching, around), roots) =
            tokio::try_join!(self.footage_around(&spec.camera_id, window), self.roots())
                .map_err(work_error)?;
        self.admit_engine(spec.engine, &touching, spec.render.as_ref())
            .await
            .map_err(work_error)?;
        self.check_room(bytes_needed(&touching, window, spec.render.as_ref()))
            .map_err(work_error)?;
        let sources = self
            .open_sources(roots, &around)
            .await
            .map_err(work_error)?;

        let backing = self.back(attempt, spec, window, &around, &sources).await;
        let may_be_lost = self.this_run().filter(|_| spec.quick);
        let is_synced = backing.is_none() && may_be_lost.is_none();
        let part = self.settings.folder.join(attempt.temporary_name());
        remove_if_there(&part).map_err(|error| work_error(ClipError::Folder(error)))?;
        let order = CutOrder {
            sources,
            wanted: wanted(window, spec.gap_mode),
            output: part.clone(),
            title: spec.camera_id.to_string(),
            engine: copying_engine(spec.engine),
            deadline: self.settings.timeout,
            is_durable: is_synced,
            hashes: !spec.quick,
        };
        let making = async {
            match &spec.render {
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
            }
        };
        let syncing = backing.map(Backing::sync);
        let outcome = making.await.map_err(work_error)?;
        let backing = match syncing {
            Some(syncing) => tokio::select! {
                // The disk may take its time.
                () = attempt.cancel.cancelled() => return self.stopped(part).await,
                synced = syncing => synced.unwrap_or_default(),
            },
            None => None,
        };
        let backing = backing.filter(|backing| backing.gives_again(&outcome));
        // The outcome has ffmpeg's whole command line; a clip names the program.
        let engine = if outcome.is_native {
            outcome.engine.clone()
        } else {
            let version = self.ffmpeg.version().await;
            version.unwrap_or_else(|_| "ffmpeg".to_owned())
        };
        let mut clip = describe(&attempt.job_id, spec, window, &outcome, engine);
        let name = FinalName::like(attempt, &clip.file_name);
        let in_memory = backing.as_ref().map(|backing| backing.run).or(may_be_lost);
        clip.unsynced_in = in_memory.unwrap_or_default().to_owned();
        let may_wait = in_memory.is_some();
        if !may_wait && !is_synced {
            let written = part.clone();
            let syncing = blocking(move || {
                let synced = File::open(&written).and_then(|file| file.sync_data());
                synced.map_err(ClipError::Folder)
            });
            tokio::select! {
                () = attempt.cancel.cancelled() => return self.stopped(part).await,
                synced = syncing => synced.map_err(work_error)?,
            }
        }
        let give_name = match may_wait {
            true => output::publish_unsynced,
            false => output::publish,
        };
        let giving_name = blocking(move || give_name(&part, name).map_err(ClipError::Folder));
        clip.file_name = giving_name.await.map_err(work_error)?;
        if let Some(backing) = backing {
            let (recipe, held_in) = backing.keep(&outcome.segment_ids);
            clip.recipe = Some(Box::new(recipe));
            clip.held_in = held_in;
        }
        Ok(Done {
            result: JobResult::Clip(Box::new(clip)),
            warnings: outcome.warnings.into_iter().map(notice).collect(),
        })
    }

    /// The end of an attempt that was cancelled when its file was written.
    async fn stopped(&self, part: PathBuf) -> Result<Done, WorkError> {
        let removing = blocking(move || remove_if_there(&part).map_err(ClipError::Folder));
        removing.await.map_err(work_error)?;
        Err(WorkError::Stopped)
    }
}

/// The row of a clip that was cut. `engine` is what did it, unless we did.
pub(super) fn describe(
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
            .map(|digest| hex(&digest))
            .unwrap_or_default(),
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
        // No two clips come from one job.
        bytes_tag: match outcome.sha256 {
            Some(_) => String::new(),
            None => job_id.to_owned(),
        },
        recipe: None,
        held_in: String::new(),
        unsynced_in: String::new(),
        job_id: job_id.to_owned(),
        created_by: spec.created_by.clone(),
        labels: spec.labels.clone(),
        create_time,
        expire_time: keep_for
            .filter(|keep| !keep.is_zero())
            .and_then(|keep| create_time.checked_add_signed(keep)),
    }
}

/// What copies the samples of a clip, or of the footage that is encoded for it.
pub(super) fn copying_engine(engine: ClipEngine) -> EngineChoice {
    match engine {
        ClipEngine::Auto | ClipEngine::Render => EngineChoice::Auto,
        ClipEngine::Native => EngineChoice::Native,
        ClipEngine::Ffmpeg => EngineChoice::Ffmpeg,
    }
}

/// The footage of a window.
pub(super) fn wanted(requested: TimeRange, gap_mode: GapMode) -> Wanted {
    Wanted {
        requested,
        gap_tolerance: GAP_TOLERANCE,
        gap_mode,
        parameters: Parameters::Several,
    }
}

pub(super) fn cutting(progress: CutProgress) -> Progress {
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
