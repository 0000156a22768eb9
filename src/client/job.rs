//! A job that is followed.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use futures::stream;
use tonic::Streaming;

use super::error::{Error, Failure};
use super::footage::Footage;
use super::patience::Patience;
use crate::proto::{
    Archive, ArchiveVerification, BackupRun, BackupVerification, CancelJobRequest, Clip,
    ImportSummary, Job, JobState, RestoreSummary, WatchJobRequest, WatchJobResponse, job,
    watch_job_response,
};

/// How long somebody who leaves waits for the server to be told.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// What a kind of job makes.
pub trait JobResult: Sized {
    /// The result, if it is of this kind.
    fn of(result: job::Result) -> Option<Self>;
}

impl JobResult for job::Result {
    fn of(result: job::Result) -> Option<Self> {
        Some(result)
    }
}

macro_rules! results {
    ($($variant:ident($kind:ty);)*) => {
        $(impl JobResult for $kind {
            fn of(result: job::Result) -> Option<Self> {
                match result {
                    job::Result::$variant(made) => Some(made),
                    _ => None,
                }
            }
        })*
    };
}

results! {
    Clip(Clip);
    Archive(Archive);
    Backup(BackupRun);
    ArchiveVerification(ArchiveVerification);
    BackupVerification(BackupVerification);
    Restore(RestoreSummary);
    Import(ImportSummary);
}

/// A job that the server works on, whether or not anybody follows it.
///
/// [`next`](Self::next) and [`states`](Self::states) give each state up to the last one, [`result`](Self::result) what was
/// made. A stream that breaks is resumed where it was, for as long as [`Settings::patience`](super::Settings::patience) says.
/// Nothing cancels the job unless it is asked for: [`cancel`](Self::cancel), [`cancel_on_ctrl_c`](Self::cancel_on_ctrl_c),
/// [`cancel_on_drop`](Self::cancel_on_drop).
#[derive(Debug)]
pub struct RunningJob<T> {
    following: Following,
    ctrl_c: Option<CtrlC>,
    cancels_on_drop: bool,
    makes: PhantomData<fn() -> T>,
}

impl<T: JobResult> RunningJob<T> {
    pub(super) fn new(footage: Footage, job: Job) -> Self {
        Self {
            following: Following {
                patience: footage.patience(),
                footage,
                job,
                is_told: false,
                stream: None,
            },
            ctrl_c: None,
            cancels_on_drop: false,
            makes: PhantomData,
        }
    }

    /// The job's id, for [`Footage::follow`].
    #[must_use]
    pub fn id(&self) -> &str {
        &self.job().id
    }

    /// The newest state that was seen.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.following.job
    }

    /// Cancels the job when Ctrl-C comes while it is followed, and then ends with [`Error::Interrupted`]. From the first
    /// state on, Ctrl-C no longer ends the program by itself.
    #[must_use]
    pub fn cancel_on_ctrl_c(mut self) -> Self {
        self.ctrl_c = Some(CtrlC(Box::pin(tokio::signal::ctrl_c())));
        self
    }

    /// Cancels the job when this value is dropped before its end, as it is with a task that is aborted. The call is made by
    /// a task of its own, so the runtime must live on.
    #[must_use]
    pub fn cancel_on_drop(mut self) -> Self {
        self.cancels_on_drop = true;
        self
    }

    /// The next state, the present one first; `None` after the end state. Can be dropped and called again without losing
    /// the end.
    ///
    /// # Errors
    /// [`Error::Call`] when the server stays away, [`Error::Interrupted`] on Ctrl-C.
    pub async fn next(&mut self) -> Result<Option<Job>, Error> {
        let Some(CtrlC(ctrl_c)) = &mut self.ctrl_c else {
            return self.following.advance().await;
        };
        let heard = tokio::select! {
            // Asked first, so that it is heard of also while states come faster than they are taken.
            biased;
            heard = ctrl_c => heard,
            state = self.following.advance() => return state,
        };
        self.ctrl_c = None;
        match heard {
            Ok(()) => Err(self.following.interrupted().await),
            // The system takes no handler, so Ctrl-C ends the program as ever.
            Err(_) => self.following.advance().await,
        }
    }

    /// Every state from the present one to the end state.
    pub fn states(&mut self) -> impl Stream<Item = Result<Job, Error>> + Unpin + '_ {
        Box::pin(stream::try_unfold(self, async |job| {
            Ok(job.next().await?.map(|state| (state, job)))
        }))
    }

    /// Waits for the end and returns what was made.
    ///
    /// # Errors
    /// [`Error::JobFailed`] or [`Error::JobCancelled`] when the job has no result, and those of [`next`](Self::next).
    pub async fn result(&mut self) -> Result<T, Error> {
        self.result_with(|_| {}).await
    }

    /// The same, and calls back with each state.
    ///
    /// # Errors
    /// As [`result`](Self::result).
    pub async fn result_with(&mut self, mut on_progress: impl FnMut(&Job)) -> Result<T, Error> {
        while let Some(state) = self.next().await? {
            on_progress(&state);
        }
        let job = Box::new(self.job().clone());
        match job.state() {
            JobState::Succeeded => {}
            JobState::Cancelled => return Err(Error::JobCancelled { job }),
            _ => {
                let failure = Box::new(job.error.clone().unwrap_or_default().into());
                return Err(Error::JobFailed { job, failure });
            }
        }
        let result = job.result.clone().and_then(T::of);
        result.ok_or(Error::OtherResult { job })
    }

    /// Asks the job to stop, and returns how it is then.
    ///
    /// # Errors
    /// [`Error::Call`] when it has ended otherwise, or the server cannot be reached.
    pub async fn cancel(&self) -> Result<Job, Error> {
        self.following
            .footage
            .call(self.following.cancelling())
            .await
    }
}

impl<T> Drop for RunningJob<T> {
    fn drop(&mut self) {
        if !self.cancels_on_drop || has_ended(&self.following.job) {
            return;
        }
        // Without a runtime there is nobody left to make the call.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let footage = self.following.footage.clone();
            let request = self.following.cancelling();
            runtime.spawn(async move { footage.call_within(CANCEL_TIMEOUT, request).await });
        }
    }
}

/// Waits for Ctrl-C from its first poll on, and keeps one that comes between two polls.
struct CtrlC(Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>);

impl fmt::Debug for CtrlC {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CtrlC")
    }
}

/// Where the following of a job stands.
#[derive(Debug)]
struct Following {
    footage: Footage,
    job: Job,
    /// The present state was given out.
    is_told: bool,
    stream: Option<Streaming<WatchJobResponse>>,
    patience: Patience,
}

impl Following {
    async fn advance(&mut self) -> Result<Option<Job>, Error> {
        if !self.is_told {
            self.is_told = true;
            return Ok(Some(self.job.clone()));
        }
        while !has_ended(&self.job) {
            let failure = match self.receive().await {
                Ok(true) => return Ok(Some(self.job.clone())),
                Ok(false) => None,
                Err(failure) => Some(failure),
            };
            self.stream = None;
            tokio::time::sleep(self.patience.pause_after(failure)?).await;
        }
        Ok(None)
    }

    /// Waits for a state that was not seen before; false when the stream ended.
    async fn receive(&mut self) -> Result<bool, Failure> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let request = WatchJobRequest {
                    job_id: self.job.id.clone(),
                    after_revision: self.job.revision,
                };
                let answer = self.footage.jobs().watch_job(request).await?;
                none.insert(answer.into_inner())
            }
        };
        while let Some(response) = stream.message().await? {
            self.patience.renew();
            if let Some(watch_job_response::Event::Job(job)) = response.event
                && job.revision > self.job.revision
            {
                self.job = job;
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn interrupted(&self) -> Error {
        let told = self
            .footage
            .call_within(CANCEL_TIMEOUT, self.cancelling())
            .await;
        Error::Interrupted {
            job_id: self.job.id.clone(),
            not_cancelled: match told {
                Err(Error::Call(failure)) => Some(failure),
                _ => None,
            },
        }
    }

    fn cancelling(&self) -> CancelJobRequest {
        CancelJobRequest {
            job_id: self.job.id.clone(),
        }
    }
}

/// Whether the job is in one of the three states that never change.
fn has_ended(job: &Job) -> bool {
    matches!(
        job.state(),
        JobState::Succeeded | JobState::Failed | JobState::Cancelled
    )
}
