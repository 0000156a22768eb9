//! Following one job to its end, through restarts of the server.

use heldar_footage::proto::{
    CancelJobRequest, Job, JobKind, JobState, WatchJobRequest, watch_job_response,
};
use tonic::{Code, Status};

use super::connection::{Patience, Server, asking};
use super::failure::{self, CliError};
use super::progress::{ProgressView, has_ended};
use super::signals::Signals;

/// What Ctrl-C does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnInterrupt {
    /// The job is cancelled and followed until it has stopped; a second Ctrl-C leaves at once.
    CancelJob,
    /// Only the watching ends.
    Leave,
}

/// Follows `job` until it has ended, and returns its end state, whatever that is. `each` sees every state that came.
///
/// # Errors
/// [`CliError::Interrupted`] after Ctrl-C, [`CliError::Unreachable`] when the server stays away, or the server's
/// refusal. Without any of them the job has ended.
pub async fn to_end(
    server: &Server,
    job: Job,
    view: &mut ProgressView,
    signals: &mut Signals,
    on_interrupt: OnInterrupt,
    mut each: impl FnMut(&Job) -> Result<(), CliError>,
) -> Result<Job, CliError> {
    let mut newest = job;
    let mut patience = Patience::new();
    let mut is_interrupted = false;
    view.show(&newest);
    each(&newest)?;
    'connect: while !has_ended(newest.state()) {
        let request = WatchJobRequest {
            job_id: newest.id.clone(),
            after_revision: newest.revision,
        };
        let mut jobs = server.jobs();
        // A stream of a server that does not answer must not hold up Ctrl-C.
        let opened = tokio::select! {
            opened = jobs.watch_job(request) => Some(opened),
            _ = signals.next() => None,
        };
        let mut stream = match opened {
            Some(Ok(answer)) => answer.into_inner(),
            Some(Err(status)) => {
                wait_or_give_up(server, status, &mut patience, view, signals, &newest.id).await?;
                continue;
            }
            None => {
                interrupt(server, &newest, view, on_interrupt, &mut is_interrupted).await?;
                continue;
            }
        };
        loop {
            let message = tokio::select! {
                message = stream.message() => message,
                _ = signals.next() => {
                    interrupt(server, &newest, view, on_interrupt, &mut is_interrupted).await?;
                    continue;
                }
            };
            match message {
                Ok(Some(message)) => {
                    patience.renew();
                    if let Some(watch_job_response::Event::Job(job)) = message.event {
                        newest = job;
                        view.show(&newest);
                        each(&newest)?;
                    }
                }
                Ok(None) if has_ended(newest.state()) => break 'connect,
                // A stream that ends before the job does was cut off.
                Ok(None) => {
                    let status = Status::unavailable("the watch ended before the job");
                    wait_or_give_up(server, status, &mut patience, view, signals, &newest.id)
                        .await?;
                    continue 'connect;
                }
                Err(status) => {
                    wait_or_give_up(server, status, &mut patience, view, signals, &newest.id)
                        .await?;
                    continue 'connect;
                }
            }
        }
    }
    if is_interrupted && newest.state() == JobState::Cancelled {
        return Err(CliError::Interrupted(format!(
            "interrupted; {} {} was cancelled",
            kind_word(newest.kind()),
            newest.id
        )));
    }
    Ok(newest)
}

async fn wait_or_give_up(
    server: &Server,
    status: Status,
    patience: &mut Patience,
    view: &ProgressView,
    signals: &mut Signals,
    job_id: &str,
) -> Result<(), CliError> {
    let Some(wait) = patience.after(&status) else {
        return Err(server.failure(status));
    };
    view.say("the server is away; trying again");
    tokio::select! {
        () = tokio::time::sleep(wait) => Ok(()),
        // The server cannot be told to cancel anything now.
        _ = signals.next() => Err(left(job_id)),
    }
}

fn left(job_id: &str) -> CliError {
    CliError::Interrupted(format!(
        "interrupted; job {job_id} goes on: `footage watch {job_id}` follows it, `footage jobs cancel {job_id}` stops it"
    ))
}

async fn interrupt(
    server: &Server,
    job: &Job,
    view: &ProgressView,
    on_interrupt: OnInterrupt,
    is_interrupted: &mut bool,
) -> Result<(), CliError> {
    if *is_interrupted || on_interrupt == OnInterrupt::Leave {
        return Err(left(&job.id));
    }
    *is_interrupted = true;
    view.say(&format!(
        "interrupted; cancelling {} {} (Ctrl-C again leaves at once)",
        kind_word(job.kind()),
        job.id
    ));
    match server
        .jobs()
        .cancel_job(asking(CancelJobRequest {
            job_id: job.id.clone(),
        }))
        .await
    {
        Ok(_) => Ok(()),
        // It ended in this very moment, and the watch tells how.
        Err(status) if status.code() == Code::FailedPrecondition => Ok(()),
        Err(status) => Err(server.failure(status)),
    }
}

/// The job when it succeeded, or else its failure.
///
/// # Errors
/// [`CliError::JobFailed`] or [`CliError::JobCancelled`].
pub fn succeeded(job: Job) -> Result<Job, CliError> {
    let what = kind_word(job.kind()).to_owned();
    match job.state() {
        JobState::Failed => {
            let reason = job
                .error
                .as_ref()
                .map_or_else(|| "no reason was given".to_owned(), failure::notice);
            Err(CliError::JobFailed {
                what,
                id: job.id,
                reason,
            })
        }
        JobState::Cancelled => Err(CliError::JobCancelled { what, id: job.id }),
        _ => Ok(job),
    }
}

/// What a job is called in sentences.
pub fn kind_word(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Unspecified => "job",
        JobKind::Clip => "clip job",
        JobKind::Archive => "archive job",
        JobKind::Backup => "backup job",
        JobKind::Verify => "verify job",
        JobKind::Restore => "restore job",
        JobKind::Import => "import job",
    }
}
