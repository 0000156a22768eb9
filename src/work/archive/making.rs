//! Making an archive: from what was asked for to a file and its description.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::contents::Contents;
use super::cuts::Cutter;
use super::outline::{Part, Role};
use super::pack::{self, OnBroken, Step};
use super::{ArchiveError, ArchiveWork, blocking, selection};
use crate::clock;
use crate::disk::take_room;
use crate::domain::archive::{Archive, ArchiveContent, ArchiveFaultKind, ArchiveSpec};
use crate::domain::job::{JobResult, JobSpec, Notice, Progress, Reason};
use crate::media::CutError;
use crate::packing::{DiskFile, Packed, hex};
use crate::work::output::{Draft, FinalName, remove_if_there};
use crate::work::roots::Roots;
use crate::work::{Attempt, Done, Work, WorkError};

/// Share of an archive's progress that cutting its clips is taken for.
const CUTTING_SHARE: f64 = 0.5;

/// What becomes of files that are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// They stay open until they have been read.
    Open,
    /// They are looked at and closed again.
    Closed,
}

/// Lets the API and the runner share one [`ArchiveWork`].
impl Work for Arc<ArchiveWork> {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, Result<Done, WorkError>> {
        async move {
            let JobSpec::Archive(spec) = &attempt.spec else {
                return Err(WorkError::Failed(Notice::new(
                    Reason::Internal,
                    "not an archive",
                )));
            };
            // What is stopped by the clock must not pass for stopped by a person.
            let cancel = attempt.cancel.child_token();
            let making = self.make(&attempt, spec, &cancel);
            tokio::pin!(making);
            let made = tokio::select! {
                made = &mut making => made,
                () = tokio::time::sleep(self.settings.timeout) => {
                    cancel.cancel();
                    match making.await {
                        Err(ArchiveError::Cancelled | ArchiveError::Cut(CutError::Cancelled))
                            if !attempt.cancel.is_cancelled() => Err(ArchiveError::TimedOut),
                        made => made,
                    }
                }
            };
            made.map_err(work_error)
        }
        .boxed()
    }
}

impl ArchiveWork {
    async fn make(
        self: &Arc<Self>,
        attempt: &Attempt,
        spec: &ArchiveSpec,
        cancel: &CancellationToken,
    ) -> Result<Done, ArchiveError> {
        let has_clips = spec.content.layout.has_clips();
        attempt.report(phase("opening"));
        let contents = self
            .prepare(&spec.content, cancel, |done, total| {
                attempt.report(cutting(done, total, has_clips));
            })
            .await?;
        let (contents, zip_bytes) = self.size(contents, cancel).await?;
        attempt.keep_until_recorded(self.reserve(zip_bytes).await?);
        self.check_disks(zip_bytes, 0)?;

        let (work, name) = (Arc::clone(self), attempt.temporary_name());
        let (attempt_here, cancel) = (attempt.clone(), cancel.clone());
        let on_broken = if spec.content.all_or_nothing {
            OnBroken::Fail
        } else {
            OnBroken::Note
        };
        let final_name = FinalName::of(attempt, &spec.archive_id, "zip");
        let part = self.settings.folder.join(&name);
        let syncing = cancel.clone();
        let (contents, packed, sink, draft) = blocking(move || {
            let mut contents = contents;
            let folder = &work.settings.folder;
            let (draft, file) = Draft::create(folder, &name).map_err(ArchiveError::written)?;
            take_room(&file, zip_bytes).map_err(ArchiveError::written)?;
            let files_total = contents.entry_count() as u64;
            let on_step = |step: Step<'_>| {
                let done = step.bytes_done as f64 / zip_bytes.max(1) as f64;
                attempt_here.report(Progress {
                    files_done: step.files_done,
                    files_total,
                    bytes_done: step.bytes_done,
                    bytes_total: zip_bytes,
                    fraction: Some(if has_clips {
                        CUTTING_SHARE + done * (1.0 - CUTTING_SHARE)
                    } else {
                        done
                    }),
                    current_item: step.entry.to_owned(),
                    ..phase("packing")
                });
            };
            let sink = DiskFile::new(file);
            let (sink, packed) = pack::pack(
                &mut contents,
                work.signer.seal(),
                sink,
                on_broken,
                &cancel,
                on_step,
            )?;
            attempt_here.report(Progress {
                files_done: files_total,
                files_total,
                bytes_done: packed.size_bytes,
                bytes_total: packed.size_bytes,
                fraction: Some(1.0),
                ..phase("writing to the disk")
            });
            Ok((contents, packed, sink, draft))
        })
        .await?;
        // The disk may take long, and cannot be told to stop: who cancels does not wait for it.
        let synced = tokio::select! {
            biased;
            () = syncing.cancelled() => {
                blocking(move || remove_if_there(&part).map_err(ArchiveError::Folder)).await?;
                return Err(ArchiveError::Cancelled);
            }
            // A source that broke makes the zip shorter than the room that was taken for it.
            synced = blocking(move || sink.finish().map_err(ArchiveError::written).map(|()| draft)) => synced,
        };
        let draft = synced?;
        let file_name =
            blocking(move || draft.publish(final_name).map_err(ArchiveError::Folder)).await?;

        let create_time = clock::now();
        let keep_for = TimeDelta::try_seconds(i64::try_from(spec.keep_for_s).unwrap_or(i64::MAX));
        let archive = Archive {
            id: spec.archive_id.clone(),
            job_id: attempt.job_id.clone(),
            file_name,
            expire_time: keep_for
                .filter(|keep| !keep.is_zero())
                .and_then(|keep| create_time.checked_add_signed(keep)),
            labels: spec.labels.clone(),
            created_by: spec.created_by.clone(),
            ..self.describe(&contents, packed, create_time)
        };
        Ok(Done {
            warnings: warnings(&contents),
            result: JobResult::Archive(Box::new(archive)),
        })
    }

    /// Finds, opens and cuts what goes into an archive. `on_cut` hears how much footage is cut, and of how much.
    pub(super) async fn prepare(
        &self,
        content: &ArchiveContent,
        cancel: &CancellationToken,
        on_cut: impl FnMut(TimeDelta, TimeDelta) + Send,
    ) -> Result<Contents, ArchiveError> {
        let (mut parts, roots) = self.open_sources(content, Keep::Open, cancel).await?;
        let mut cuts = Vec::new();
        if Self::needs_cutting(content) {
            self.check_ffmpeg(content, &parts).await?;
            self.check_disks(0, expected_cut_bytes(&parts, content))?;
            let cutter = Cutter {
                store: &self.store,
                engine: &self.engine,
                roots: &roots,
                turns: &self.turns,
                content,
                timeout: self.settings.cut_timeout,
                cancel,
            };
            cuts = cutter.cut_all(&mut parts, on_cut).await?;
        }
        let contents =
            Contents::assemble(&self.store, content.clone(), parts, Some(cuts), roots).await?;
        let first_fault = || contents.faults().next();
        if let Some(fault) = content.all_or_nothing.then(first_fault).flatten() {
            return Err(ArchiveError::Incomplete {
                kind: fault.kind,
                message: fault.message,
            });
        }
        if contents.entry_count() == 0 {
            return Err(ArchiveError::NothingMatches);
        }
        Ok(contents)
    }

    /// The segments of an archive, opened.
    pub(super) async fn open_sources(
        &self,
        content: &ArchiveContent,
        keep: Keep,
        cancel: &CancellationToken,
    ) -> Result<(Vec<Part>, Arc<Roots>), ArchiveError> {
        let totals = selection::totals(&self.store, content).await?;
        self.check_limits(&totals)?;
        let selected = selection::select(&self.store, content).await?;
        let roots = Arc::new(Roots::read(&self.store).await?);
        let (content, cancel) = (content.clone(), cancel.clone());
        let places = (keep == Keep::Open).then(|| Arc::clone(&self.places));
        let opening = Arc::clone(&roots);
        let parts = blocking(move || {
            let mut parts = Vec::with_capacity(selected.len());
            for camera in selected {
                let mut part = Part::of(camera, &content);
                part.open(&content, &opening, places.as_ref(), &cancel)?;
                parts.push(part);
            }
            Ok(parts)
        })
        .await?;
        Ok((parts, roots))
    }

    /// The archive as it was packed; what concerns its file and its job is empty.
    pub(super) fn describe(
        &self,
        contents: &Contents,
        packed: Packed,
        create_time: DateTime<Utc>,
    ) -> Archive {
        Archive {
            id: String::new(),
            job_id: String::new(),
            content: contents.content.clone(),
            delivered_window: contents.delivered,
            cameras: contents.listed_cameras(),
            faults: contents.listed_faults(),
            fault_count: contents.fault_count(),
            entry_count: pack::entry_count(contents),
            source_bytes: contents.source_bytes,
            size_bytes: packed.size_bytes,
            sha256: hex(&packed.sha256),
            file_name: String::new(),
            signing_key_fingerprint: self.signer.key.fingerprint().to_owned(),
            create_time,
            expire_time: None,
            labels: Default::default(),
            created_by: String::new(),
        }
    }
}

/// Bytes that cutting will write before they are packed.
pub(super) fn expected_cut_bytes(parts: &[Part], content: &ArchiveContent) -> u64 {
    let mut bytes = 0;
    for part in parts {
        let windows = [
            content.window().filter(|_| content.trims_segments()),
            part.clip,
        ];
        for window in windows.into_iter().flatten() {
            for (number, segment) in part.segments.iter().enumerate() {
                let is_cut = part.clip.is_some() || part.roles[number] == Role::Trimmed;
                let whole = segment.range().filter(|_| is_cut && part.held.has(number));
                let share = whole.and_then(|whole| {
                    let shown = whole.intersect(&window)?.duration().as_seconds_f64();
                    Some(shown / whole.duration().as_seconds_f64())
                });
                bytes += (segment.size_bytes as f64 * share.unwrap_or(0.0)) as u64;
            }
        }
    }
    bytes
}

fn phase(name: &str) -> Progress {
    Progress {
        phase: name.to_owned(),
        ..Progress::default()
    }
}

fn cutting(done: TimeDelta, total: TimeDelta, has_clips: bool) -> Progress {
    let us = |duration: TimeDelta| duration.num_microseconds().unwrap_or(i64::MAX);
    let share = us(done) as f64 / us(total).max(1) as f64;
    Progress {
        media_done_us: us(done),
        media_total_us: us(total),
        fraction: has_clips.then_some(share * CUTTING_SHARE),
        ..phase("cutting")
    }
}

/// What a job says of sources that are absent or not whole: how many, and where they are listed.
fn warnings(contents: &Contents) -> Vec<Notice> {
    let mut kinds = contents.fault_kinds();
    [
        (Reason::FileMissing, ArchiveFaultKind::Missing, "missing"),
        (
            Reason::FileDamaged,
            ArchiveFaultKind::Unreadable,
            "unreadable",
        ),
        (Reason::FileDamaged, ArchiveFaultKind::Damaged, "damaged"),
        (
            Reason::FileDamaged,
            ArchiveFaultKind::Changed,
            "not as the catalog knows them",
        ),
    ]
    .into_iter()
    .filter_map(|(reason, kind, what)| {
        let count = kinds.remove(&kind).unwrap_or(0);
        let words = match count {
            0 => return None,
            1 => format!("1 recording is {what}"),
            _ => format!("{count} recordings are {what}"),
        };
        let message = format!("{words}; `faults` and the manifest say which");
        Some(Notice::new(reason, message).with("fault_count", count.to_string()))
    })
    .collect()
}

/// What a failure means for the job.
pub(super) fn work_error(error: ArchiveError) -> WorkError {
    let message = error.to_string();
    let failed = |reason| WorkError::Failed(Notice::new(reason, message.clone()));
    match &error {
        ArchiveError::CameraNotFound(_)
        | ArchiveError::NothingMatches
        | ArchiveError::Cut(CutError::NoFootage(_)) => failed(Reason::NoFootage),
        ArchiveError::TooLarge { .. } | ArchiveError::TooMany { .. } => {
            failed(Reason::ArchiveTooLarge)
        }
        ArchiveError::Incomplete { kind, .. } => failed(match kind {
            ArchiveFaultKind::Missing => Reason::FileMissing,
            _ => Reason::FileDamaged,
        }),
        ArchiveError::Ffmpeg(_) | ArchiveError::Cut(CutError::FfmpegMissing { .. }) => {
            failed(Reason::FfmpegUnavailable)
        }
        ArchiveError::DiskFull { .. }
        | ArchiveError::FolderFull { .. }
        | ArchiveError::NoSpace
        | ArchiveError::Cut(CutError::DiskFull) => failed(Reason::DiskFull),
        ArchiveError::Cancelled | ArchiveError::Cut(CutError::Cancelled) => WorkError::Stopped,
        ArchiveError::TimedOut | ArchiveError::Cut(CutError::TimedOut) => {
            WorkError::Failed(Notice::new(Reason::TimedOut, "archive export timed out"))
        }
        ArchiveError::Cut(CutError::FfmpegFailed { .. }) => WorkError::Failed(
            Notice::new(Reason::FfmpegFailed, message.clone()).with("retryable", "true"),
        ),
        ArchiveError::Corrupted(_) => failed(Reason::FileCorrupted),
        ArchiveError::Store(_) | ArchiveError::Machine(_) => {
            WorkError::Retry(Notice::new(Reason::Internal, message))
        }
        ArchiveError::Cut(_)
        | ArchiveError::Sign(_)
        | ArchiveError::Folder(_)
        | ArchiveError::Untaken
        | ArchiveError::TooManyStreams(_) => {
            tracing::error!(error = %message, cause = ?error, "an archive cannot be made");
            failed(Reason::Internal)
        }
    }
}
