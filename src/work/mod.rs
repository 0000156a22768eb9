//! What each kind of job does, one file per kind: resolve, produce, record. Knows nothing of queues, leases or gRPC.

pub mod archive;
pub mod backup;
pub mod clip;
pub mod ffmpeg;
pub mod follow;
pub mod housekeeping;
pub mod import;
mod indexes;
pub mod intake;
pub mod look;
pub mod output;
mod roots;
pub mod scan;
pub mod source_file;
pub mod verify;
pub mod watch_source;
mod watched_folders;

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::job::{JobResult, JobSpec, Notice, Progress};

/// One attempt at a job: what to do, whether to go on, and whom to tell how far it is.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The job.
    pub job_id: String,
    /// The claim this attempt runs under. Temporary names carry it, so that two attempts never share a file.
    pub epoch: i64,
    /// The work.
    pub spec: JobSpec,
    /// Told when the attempt must stop; work looks at it often enough to stop within a second.
    pub cancel: CancellationToken,
    progress: watch::Sender<Progress>,
    kept: Kept,
}

/// What an attempt keeps until its end is written down.
pub type Kept = Arc<Mutex<Vec<Box<dyn Any + Send>>>>;

impl Attempt {
    /// An attempt, and where its progress can be read.
    pub fn new(
        job_id: String,
        epoch: i64,
        spec: JobSpec,
        cancel: CancellationToken,
    ) -> (Self, watch::Receiver<Progress>) {
        let (progress, reader) = watch::channel(Progress::default());
        (
            Self {
                job_id,
                epoch,
                spec,
                cancel,
                progress,
                kept: Kept::default(),
            },
            reader,
        )
    }

    /// Tells how far the attempt is. Counters that would go back stay where they were.
    pub fn report(&self, newer: Progress) {
        self.progress
            .send_modify(|progress| *progress = progress.advanced_to(newer));
    }

    /// Keeps something, such as room for a result, until the end of the attempt is written down.
    pub fn keep_until_recorded(&self, thing: impl Any + Send) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(Box::new(thing));
    }

    /// What is kept, for who writes the end down.
    pub fn kept(&self) -> Kept {
        Arc::clone(&self.kept)
    }

    /// A name for an unfinished file that no other attempt has.
    pub fn temporary_name(&self) -> String {
        temporary_name(&self.job_id, self.epoch)
    }
}

/// The name of the unfinished file of an attempt.
fn temporary_name(job_id: &str, epoch: i64) -> String {
    format!(".{job_id}-{epoch}.part")
}

/// Job and epoch of the attempt whose unfinished file has this name; `None` for other names.
pub fn attempt_of_temporary_name(name: &str) -> Option<(&str, i64)> {
    let (job_id, epoch) = name
        .strip_prefix('.')?
        .strip_suffix(".part")?
        .rsplit_once('-')?;
    Some((job_id, epoch.parse().ok()?))
}

/// What an attempt made.
#[derive(Clone, Debug)]
pub struct Done {
    /// The result.
    pub result: JobResult,
    /// What it lacks.
    pub warnings: Vec<Notice>,
}

/// Why an attempt made nothing.
#[derive(Clone, Debug)]
pub enum WorkError {
    /// Doing it again would end the same way.
    Failed(Notice),
    /// Doing it again later may work.
    Retry(Notice),
    /// It is not its time before then. Nothing failed, and it costs no attempt.
    Later(DateTime<Utc>),
    /// It was told to stop, and has cleaned up.
    Stopped,
}

/// Something that can do one kind of job.
pub trait Work: Send + Sync + 'static {
    /// Does the job. Leaves nothing behind but its result, however it ends.
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, Result<Done, WorkError>>;
}
