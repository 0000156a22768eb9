//! A run of rclone on its way, and what it says.

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::super::TransferError;
use super::Remote;
use super::command::Limit;
use super::ended::{Complaint, Ended};
use super::log::{Said, read};
use super::workspace::Workspace;
use crate::process::{Heard, Job, ProcessError, Started, Stream};

/// More failures of one run are not kept; a batch has fewer files.
const COMPLAINTS_MAX: usize = 4096;

/// What rclone says and gives while it runs.
pub(super) enum Event<'a> {
    /// A line of its output.
    Line(&'a str),
    /// A file is whole at the other side.
    Copied(&'a str),
    /// How far it is.
    Stats { bytes: u64, current: &'a [String] },
}

/// An rclone that was started. It takes longer to load itself than to send many a file, so it is worth starting before all is
/// known that it needs. Dropped, it is killed.
pub(super) struct Running {
    starting: AbortOnDropHandle<Result<Started, ProcessError>>,
    list: Option<oneshot::Sender<String>>,
    /// Bytes per second; 0 is no limit.
    limit_bytes: u64,
    // Dropped last: what runs may still write into it.
    workspace: Workspace,
}

impl Running {
    pub(super) fn new(
        workspace: Workspace,
        job: Job,
        list: Option<oneshot::Sender<String>>,
    ) -> Self {
        Self {
            starting: AbortOnDropHandle::new(tokio::spawn(job.start())),
            list,
            limit_bytes: 0,
            workspace,
        }
    }

    /// Says which limit it was started with.
    pub(super) fn limited_to(mut self, limit_bytes: u64) -> Self {
        self.limit_bytes = limit_bytes;
        self
    }

    /// The limit that it was started with, bytes per second.
    pub(super) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Gives it the list that it waits for.
    pub(super) fn give(mut self, list: String) -> Self {
        if let Some(sender) = self.list.take() {
            // One that has ended already does not read it.
            let _ = sender.send(list);
        }
        self
    }

    /// What is listened to. The folder must stay as long as that runs.
    async fn started(self, remote: &Remote) -> Result<(Started, Workspace), TransferError> {
        let started = self.starting.await.map_err(std::io::Error::other)?;
        match started {
            Ok(started) => Ok((started, self.workspace)),
            Err(error) => Err(remote.error(error)),
        }
    }

    /// Runs rclone to its end. A failure of rclone is no error here: [`Ended`] has it.
    pub(super) async fn run(
        self,
        remote: &Remote,
        cancel: &CancellationToken,
        mut on_event: impl FnMut(Event<'_>) -> Heard,
    ) -> Result<Ended, TransferError> {
        let mut complaints: Vec<Complaint> = Vec::new();
        let mut moved_bytes = 0;
        let (started, _workspace) = self.started(remote).await?;
        let ended = started
            .run_hearing_both(cancel, |stream, line| match stream {
                Stream::Output => on_event(Event::Line(line)),
                Stream::Error => match read(line) {
                    Said::Copied(path) => {
                        on_event(Event::Copied(&path));
                        Heard::Progress
                    }
                    Said::Stats { bytes, current } => {
                        on_event(Event::Stats {
                            bytes,
                            current: &current,
                        });
                        if bytes > moved_bytes {
                            moved_bytes = bytes;
                            Heard::Progress
                        } else {
                            Heard::Nothing
                        }
                    }
                    Said::Complaint { path, message } => {
                        if complaints.len() < COMPLAINTS_MAX {
                            complaints.push(remote.complaint(path, &message));
                        }
                        Heard::Nothing
                    }
                    Said::Nothing => Heard::Nothing,
                },
            })
            .await;
        let failure = match ended {
            Ok(()) => None,
            Err(ProcessError::Failed { status, .. }) => Some(status.to_string()),
            Err(error) => return Err(remote.error(error)),
        };
        Ok(Ended {
            failure,
            complaints,
            limit_changed: false,
        })
    }

    /// Runs rclone to its end and answers its output, at most `max_bytes` of it.
    pub(super) async fn output(
        self,
        remote: &Remote,
        max_bytes: usize,
        cancel: &CancellationToken,
    ) -> Result<Vec<u8>, TransferError> {
        let (started, _workspace) = self.started(remote).await?;
        match started.output(cancel, max_bytes).await {
            Ok(bytes) => Ok(bytes),
            Err(ProcessError::Failed { status, stderr, .. }) => {
                let complaints = stderr.lines().filter_map(|line| match read(line) {
                    Said::Complaint { path, message } => Some(remote.complaint(path, &message)),
                    _ => None,
                });
                let ended = Ended {
                    failure: Some(status.to_string()),
                    complaints: complaints.collect(),
                    limit_changed: false,
                };
                Err(ended.into_error(false))
            }
            Err(error) => Err(remote.error(error)),
        }
    }

    /// As [`Running::run`], and stops when the limit of bytes per second is no longer the one that it was started with: what
    /// is outstanding goes on under the new one.
    pub(super) async fn run_within(
        self,
        remote: &Remote,
        limit: &mut Limit,
        cancel: &CancellationToken,
        on_event: impl FnMut(Event<'_>) -> Heard,
    ) -> Result<Ended, TransferError> {
        let limit_bytes = self.limit_bytes;
        let stop = cancel.child_token();
        let mut running = std::pin::pin!(self.run(remote, &stop, on_event));
        tokio::select! {
            biased;
            ended = &mut running => return ended,
            () = limit.changed_from(limit_bytes) => stop.cancel(),
        }
        match running.await {
            Err(TransferError::Cancelled) if !cancel.is_cancelled() => Ok(Ended {
                limit_changed: true,
                ..Ended::success()
            }),
            // It ended in this very moment.
            ended => ended,
        }
    }
}
