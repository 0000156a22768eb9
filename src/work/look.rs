//! Looking at a source or a part of it: walk, read what is new, take it in, report what is left out.
//!
//! Three things go on at the same time. The walk, on a thread of its own, hands over what it finds through a bounded
//! channel. Files are read a few at a time. What was read meanwhile goes into the catalog in one transaction, while the
//! next files are read: the slower the disk is with transactions, the more each holds.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::intake::{Intake, Looked, SourceRules};
use super::scan::{Candidate, LeftOut, ScanError, ScanScope, ScanSummary, ScanVisitor, scan};
use crate::clock;
use crate::domain::catalog::{ImportSummary, NewSegment};
use crate::repository::StoreError;

/// Found files that may wait to be looked at.
const FOUND_AHEAD: usize = 256;
/// Threads that read files at the same time: enough to keep a disk busy, few enough to leave the machine to others.
const READ_AT_ONCE: usize = 4;
/// Files that one thread reads in one go, so that handing them over costs little beside reading them.
const READ_IN_ONE_GO: usize = 16;
/// Segments in one transaction at the most.
const BATCH: usize = 512;
/// What was read and waits for its transaction may take this much, in KiB: a batch of ten-second segments takes a tenth.
const WAITING_KIB: usize = 16 << 10;
/// Rows read at a time when vanished files are looked for.
const ROWS_AT_ONCE: u32 = 1000;

/// Which part of a source to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    All,
    /// A folder and all beneath it.
    Tree(PathBuf),
    /// These files.
    Files(BTreeSet<PathBuf>),
}

/// Why looking ended early.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The source's folder cannot be read; nothing of it may be taken for gone.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
    /// The thread of the walk, or one that reads, died.
    #[error("a thread of the walk ended abnormally")]
    Thread(#[source] tokio::task::JoinError),
}

/// What one look found.
#[derive(Debug, Default)]
pub struct Found {
    /// What was taken in and left out.
    pub summary: ImportSummary,
    /// Files that are still written, and when to look at each again at the earliest.
    pub still_written: Vec<(PathBuf, Duration)>,
    /// Digests of the paths that are there.
    seen: HashSet<u64>,
    /// Folders that could not be read: what lies beneath is unknown, not gone.
    unreadable_folders: Vec<PathBuf>,
}

/// How far a look is.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Files looked at.
    pub files_done: u64,
    /// Bytes of the files looked at.
    pub bytes_done: u64,
    /// The file looked at last.
    pub current_item: String,
}

/// Files and bytes that a source has, by a walk that reads nothing.
pub async fn count(
    rules: &SourceRules,
    cancel: &CancellationToken,
) -> Result<(u64, u64), LookError> {
    let (source, cancel) = (rules.scan.clone(), cancel.clone());
    let walk = move || scan(&source, ScanScope::All, &cancel, &mut Counter);
    let summary = tokio::task::spawn_blocking(walk)
        .await
        .map_err(LookError::Thread)??;
    if summary.stopped {
        Err(LookError::Stopped)
    } else {
        Ok((summary.candidates, summary.candidate_bytes))
    }
}

struct Counter;

impl ScanVisitor for Counter {
    fn candidate(&mut self, _: Candidate) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn left_out(&mut self, _: LeftOut) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn time_inside(&mut self, _: &str) -> Option<DateTime<Utc>> {
        // Any time settles the question, and a count has no use for the right one.
        Some(DateTime::UNIX_EPOCH)
    }
}

enum Seen {
    File(Candidate),
    LeftOut(LeftOut),
}

struct Sender {
    found: mpsc::Sender<Seen>,
    intake: Arc<Intake>,
    rules: SourceRules,
}

impl Sender {
    fn send(&self, seen: Seen) -> ControlFlow<()> {
        match self.found.blocking_send(seen) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

impl ScanVisitor for Sender {
    fn candidate(&mut self, candidate: Candidate) -> ControlFlow<()> {
        self.send(Seen::File(candidate))
    }

    fn left_out(&mut self, left_out: LeftOut) -> ControlFlow<()> {
        self.send(Seen::LeftOut(left_out))
    }

    fn time_inside(&mut self, relative_path: &str) -> Option<DateTime<Utc>> {
        self.intake.time_inside(&self.rules, relative_path)
    }
}

/// Looks at a part of a source and takes in what is new; `report` hears how far it is with every batch.
pub async fn look(
    intake: &Arc<Intake>,
    rules: &SourceRules,
    scope: Scope,
    cancel: &CancellationToken,
    mut report: impl FnMut(Step),
) -> Result<Found, LookError> {
    let (found, seen) = mpsc::channel(FOUND_AHEAD);
    let mut visitor = Sender {
        found,
        intake: Arc::clone(intake),
        rules: rules.clone(),
    };
    // The walk ends with this function, however it ends: then nobody takes what it finds.
    let stop = cancel.child_token();
    let _stop_walk = stop.clone().drop_guard();
    let (source, walk_stop) = (rules.scan.clone(), stop.clone());
    let walk = tokio::task::spawn_blocking(move || {
        let scope = match &scope {
            Scope::All => ScanScope::All,
            Scope::Tree(folder) => ScanScope::Tree(folder),
            Scope::Files(files) => ScanScope::Files(files),
        };
        scan(&source, scope, &walk_stop, &mut visitor)
    });

    let mut result = Found::default();
    result.summary.source_id.clone_from(&rules.source_id);
    let (read, mut to_take) = mpsc::channel(BATCH);
    let rules = Arc::new(rules.clone());
    let room = Arc::new(Semaphore::new(WAITING_KIB));
    let reading = async {
        let looked = ReceiverStream::new(seen)
            .ready_chunks(READ_IN_ONE_GO)
            .map(|seen| look_at(intake, &rules, seen, &stop))
            .buffered(READ_AT_ONCE);
        tokio::pin!(looked);
        while let Some(outcomes) = looked.next().await {
            for outcome in outcomes? {
                // Neither the channel nor the semaphore is closed while this runs.
                let place = Arc::clone(&room).acquire_many_owned(outcome.kib()).await;
                if read.send((outcome, place)).await.is_err() {
                    return Ok(());
                }
            }
        }
        drop(read);
        Ok::<_, LookError>(())
    };
    let taking = async {
        let mut step = Step::default();
        let mut batch = Vec::with_capacity(BATCH);
        while to_take.recv_many(&mut batch, BATCH).await > 0 {
            let mut new = Vec::new();
            let mut places = Vec::with_capacity(batch.len());
            for (outcome, place) in batch.drain(..) {
                places.push(place);
                result.summary.files_seen += 1;
                if let Some(size_bytes) = outcome.size_bytes {
                    result.seen.insert(digest(&outcome.path));
                    step.files_done += 1;
                    step.bytes_done += size_bytes;
                    step.current_item.clone_from(&outcome.path);
                }
                result.note(outcome.looked, outcome.path, &mut new);
            }
            take_in(intake, &mut result.summary, &new).await?;
            report(step.clone());
            if cancel.is_cancelled() {
                return Err(LookError::Stopped);
            }
        }
        Ok(())
    };
    tokio::try_join!(reading, taking)?;
    // What was told to stop may have left out files without a word.
    if cancel.is_cancelled() {
        return Err(LookError::Stopped);
    }
    let walked: ScanSummary = walk.await.map_err(LookError::Thread)??;
    if walked.stopped {
        return Err(LookError::Stopped);
    }
    // Files that are no videos are listed only up to a number; the walk has counted them all.
    let unlisted = walked
        .left_out
        .saturating_sub(result.summary.files_left_out);
    result.summary.files_left_out += unlisted.min(walked.not_video);
    result.unreadable_folders = walked.unreadable_folders;
    Ok(result)
}

/// What came of a file or folder that the walk found.
struct Outcome {
    path: String,
    /// Of a file that may be a segment.
    size_bytes: Option<u64>,
    looked: Looked,
}

impl Outcome {
    /// What it takes in memory while it waits, in KiB.
    fn kib(&self) -> u32 {
        let index_bytes = match &self.looked {
            Looked::Segment(segment) => segment.facts.sample_index.as_ref().map_or(0, Vec::len),
            _ => 0,
        };
        u32::try_from(1 + index_bytes / 1024)
            .unwrap_or(u32::MAX)
            .min(WAITING_KIB as u32)
    }
}

/// What came of things that the walk found one after another, in the same order.
async fn look_at(
    intake: &Intake,
    rules: &Arc<SourceRules>,
    seen: Vec<Seen>,
    cancel: &CancellationToken,
) -> Result<Vec<Outcome>, LookError> {
    let mut found = Vec::with_capacity(seen.len());
    let mut left_out = Vec::with_capacity(seen.len());
    for seen in seen {
        match seen {
            Seen::File(candidate) => {
                found.push(candidate);
                left_out.push(None);
            }
            Seen::LeftOut(what) => left_out.push(Some(what)),
        }
    }
    let mut looked = intake.look_at(rules, found, cancel).await?.into_iter();
    Ok(left_out
        .into_iter()
        .map_while(|left_out| {
            Some(match left_out {
                Some(left_out) => Outcome {
                    size_bytes: None,
                    looked: Looked::LeftOut(left_out.reason.to_string()),
                    path: left_out.relative_path,
                },
                None => {
                    let (candidate, looked) = looked.next()?;
                    Outcome {
                        path: candidate.relative_path,
                        size_bytes: Some(candidate.size_bytes),
                        looked,
                    }
                }
            })
        })
        .collect())
}

impl Found {
    fn note(&mut self, looked: Looked, path: String, new: &mut Vec<NewSegment>) {
        match looked {
            Looked::Known => self.summary.segments_unchanged += 1,
            Looked::Segment(segment) => new.push(*segment),
            Looked::LeftOut(reason) => self.summary.leave_out(path, reason),
            Looked::StillWritten(retry_after) => {
                self.still_written.push((path.clone().into(), retry_after));
                self.summary.leave_out(path, "still being written");
            }
        }
    }
}

async fn take_in(
    intake: &Intake,
    summary: &mut ImportSummary,
    new: &[NewSegment],
) -> Result<(), StoreError> {
    if new.is_empty() {
        return Ok(());
    }
    for taken in intake.store().take_in(new, clock::now()).await? {
        summary.count(taken);
    }
    Ok(())
}

/// Marks as vanished what the catalog takes for present and a look at all of the source did not see.
pub async fn note_vanished(
    intake: &Intake,
    rules: &SourceRules,
    found: &mut Found,
    cancel: &CancellationToken,
) -> Result<(), LookError> {
    let unknown = |path: &str| {
        found
            .unreadable_folders
            .iter()
            .any(|folder| std::path::Path::new(path).starts_with(folder))
    };
    let mut after = String::new();
    let mut vanished_in_all = 0;
    loop {
        let paths = intake
            .store()
            .present_paths(&rules.source_id, &after, ROWS_AT_ONCE)
            .await?;
        let Some(last) = paths.last() else { break };
        after.clone_from(last);
        let gone: Vec<String> = paths
            .into_iter()
            .filter(|path| !found.seen.contains(&digest(path)) && !unknown(path))
            .filter(|path| is_gone(rules, path))
            .collect();
        vanished_in_all += intake
            .store()
            .mark_missing(&rules.source_id, &gone, clock::now())
            .await?;
        if cancel.is_cancelled() {
            return Err(LookError::Stopped);
        }
    }
    found.summary.segments_missing += vanished_in_all;
    Ok(())
}

/// Marks as vanished what the catalog takes for present beneath a folder, where it is not there.
pub async fn note_vanished_beneath(
    intake: &Intake,
    rules: &SourceRules,
    folder: &str,
) -> Result<u64, StoreError> {
    let prefix = format!("{folder}/");
    let mut after = prefix.clone();
    let mut marked = 0;
    loop {
        let paths = intake
            .store()
            .present_paths(&rules.source_id, &after, ROWS_AT_ONCE)
            .await?;
        let beneath: Vec<String> = paths
            .into_iter()
            .take_while(|path| path.starts_with(&prefix))
            .collect();
        let Some(last) = beneath.last() else { break };
        after.clone_from(last);
        let gone: Vec<String> = beneath
            .into_iter()
            .filter(|path| is_gone(rules, path))
            .collect();
        marked += intake
            .store()
            .mark_missing(&rules.source_id, &gone, clock::now())
            .await?;
    }
    Ok(marked)
}

/// Whether there is no file at a path, as far as can be told. A walk can miss a file that is renamed meanwhile.
pub(super) fn is_gone(rules: &SourceRules, path: &str) -> bool {
    matches!(
        std::fs::symlink_metadata(rules.scan.root.join(path)),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
    )
}

fn digest(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}
