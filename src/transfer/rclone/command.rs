//! One run of rclone: what every one of them gets, and what it says while it runs.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::TransferError;
use super::Remote;
use super::classify::{Cause, cause};
use super::log::{Said, read};
use super::workspace::Workspace;
use crate::domain::backup::destination::PauseReason;
use crate::process::{Heard, Job, ProcessError, Stream};

/// rclone gets that long to take away what it has begun at the destination.
pub(super) const GRACE: Duration = Duration::from_millis(1500);
/// More failures of one run are not kept; a batch has fewer files.
const COMPLAINTS_MAX: usize = 4096;

/// How long a run may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// When it must have ended.
    pub(super) ends_at: Instant,
    /// How long nothing may move.
    pub(super) stall_limit: Duration,
}

impl Patience {
    pub(super) fn new(deadline: Duration, stall_limit: Duration) -> Self {
        let now = Instant::now();
        Self {
            ends_at: now.checked_add(deadline).unwrap_or(now),
            stall_limit,
        }
    }
}

/// What rclone says and gives while it runs.
pub(super) enum Event<'a> {
    /// A line of its output.
    Line(&'a str),
    /// A file is whole at the other side.
    Copied(&'a str),
    /// How far it is.
    Stats { bytes: u64, current: &'a [String] },
}

/// Something that failed, in rclone's words without secrets.
#[derive(Clone, Debug)]
pub(super) struct Complaint {
    pub(super) path: Option<String>,
    pub(super) cause: Cause,
    pub(super) message: String,
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Exit code or signal; `None` for success.
    pub(super) failure: Option<String>,
    pub(super) complaints: Vec<Complaint>,
    /// The caller's limit of bytes per second changed, and the run was stopped for it.
    pub(super) limit_changed: bool,
}

impl Ended {
    /// The end of a run in which nothing failed.
    pub(super) fn success() -> Self {
        Self {
            failure: None,
            complaints: Vec::new(),
            limit_changed: false,
        }
    }

    /// Adds the end of another run for other files.
    pub(super) fn add(&mut self, other: Self) {
        self.failure = self.failure.take().or(other.failure);
        self.complaints.extend(other.complaints);
    }

    /// Whether rclone said this of the destination or of any file.
    pub(super) fn has(&self, wanted: Cause) -> bool {
        self.complaints
            .iter()
            .any(|complaint| complaint.cause == wanted)
    }

    /// Whether a bucket refused an object that came without its MD5 (`PutObject` of Amazon S3, `Content-MD5`).
    pub(super) fn wants_checksums(&self) -> bool {
        self.complaints
            .iter()
            .any(|said| said.message.contains("Content-MD5"))
    }

    /// Paths of files that it began to copy and could not.
    pub(super) fn broken_off(&self) -> impl Iterator<Item = &str> {
        self.complaints
            .iter()
            .filter(|said| said.message.starts_with("Failed to copy"))
            .filter_map(|said| said.path.as_deref())
    }

    /// What it said of one file, else of all.
    pub(super) fn of(&self, path: &str) -> Option<&Complaint> {
        let named = self
            .complaints
            .iter()
            .find(|complaint| complaint.path.as_deref() == Some(path));
        named.or_else(|| {
            self.complaints
                .iter()
                .find(|complaint| complaint.path.is_none())
        })
    }

    /// The error that concerns the destination as a whole, if there is one. `is_write`: whether a refusal for want of
    /// permission means that the destination is read-only, rather than that the login is not allowed to see it.
    pub(super) fn error(&self, is_write: bool) -> Option<TransferError> {
        self.failure.as_ref()?;
        for wanted in [
            Cause::HostChanged,
            Cause::LoginRefused,
            Cause::Full,
            Cause::Settings,
        ] {
            if let Some(found) = self.complaints.iter().find(|said| said.cause == wanted) {
                return Some(error_of(found, is_write));
            }
        }
        None
    }

    /// The error of a run that could not do the one thing that it was for.
    pub(super) fn into_error(self, is_write: bool) -> TransferError {
        if let Some(error) = self.error(is_write) {
            return error;
        }
        match self.complaints.first() {
            Some(first) if first.cause != Cause::Other => error_of(first, is_write),
            first => TransferError::Failed {
                status: self
                    .failure
                    .unwrap_or_else(|| "no failure reported".to_owned()),
                message: first.map_or_else(String::new, |first| first.message.clone()),
            },
        }
    }
}

/// The error that a complaint about the destination is.
pub(super) fn error_of(complaint: &Complaint, is_write: bool) -> TransferError {
    let message = complaint.message.clone();
    let paused = |reason, message| TransferError::Paused { reason, message };
    match complaint.cause {
        Cause::LoginRefused => paused(PauseReason::LoginRefused, message),
        Cause::HostChanged => paused(PauseReason::HostChanged, message),
        Cause::Full => paused(PauseReason::Full, message),
        Cause::ReadOnly if is_write => paused(PauseReason::ReadOnly, message),
        Cause::ReadOnly => paused(PauseReason::LoginRefused, message),
        Cause::Settings => TransferError::Settings(message),
        Cause::Unreachable => TransferError::unreachable_by_rclone(&message),
        Cause::WriteRefused | Cause::Missing | Cause::Other => TransferError::Failed {
            status: "refused".to_owned(),
            message,
        },
    }
}

/// A run to be made.
pub(super) struct Run<'a> {
    remote: &'a Remote,
    workspace: &'a Workspace,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, String)>,
    patience: Patience,
    file_max_bytes: Option<u64>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        remote: &'a Remote,
        workspace: &'a Workspace,
        command: &str,
        patience: Patience,
    ) -> Self {
        Self {
            remote,
            workspace,
            arguments: vec![command.into()],
            variables: Vec::new(),
            patience,
            file_max_bytes: None,
        }
    }

    /// Adds arguments. They are paths and flags, which every user of the machine may read.
    #[must_use]
    pub(super) fn arguments<A: AsRef<OsStr>>(
        mut self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|one| one.as_ref().to_owned()));
        self
    }

    /// Adds variables of the environment.
    #[must_use]
    pub(super) fn variables(mut self, variables: &[(&'static str, String)]) -> Self {
        self.variables.extend_from_slice(variables);
        self
    }

    /// Files that rclone writes on this machine end here, whatever the destination sends.
    #[must_use]
    pub(super) fn file_max_bytes(mut self, most: u64) -> Self {
        self.file_max_bytes = Some(most);
        self
    }

    fn job(self) -> Result<Job, TransferError> {
        let left = self
            .patience
            .ends_at
            .saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(TransferError::TimedOut);
        }
        let prepared = &self.remote.prepared;
        let stall_s = self.patience.stall_limit.as_secs().max(1);
        let mut job = Job::new(&self.remote.engine.rclone, left)
            .idle_limit(self.patience.stall_limit)
            .grace(GRACE)
            .arguments(self.arguments)
            .arguments([
                "--use-json-log",
                "--stats=500ms",
                "--stats-log-level=NOTICE",
                "--retries=1",
                "--low-level-retries=3",
                "--ask-password=false",
                "--contimeout=15s",
            ])
            // rclone's own limit only ends single reads and writes; ours ends everything that stands still.
            .arguments([format!("--timeout={stall_s}s")])
            .variable("HOME", self.workspace.home())
            // Most runs end before their memory is worth collecting. Above the limit it is collected as ever (GOGC and
            // GOMEMLIMIT of Go's package `runtime`).
            .variable("GOGC", "400")
            .variable("GOMEMLIMIT", "128MiB");
        let config = prepared.config.as_deref().unwrap_or(Path::new("/dev/null"));
        job = job.variable("RCLONE_CONFIG", config);
        if let Some(most) = self.file_max_bytes {
            job = job.limits(crate::process::Limits {
                file_bytes: Some(most),
                ..crate::process::Limits::default()
            });
        }
        if let Some(lines) = &prepared.known_hosts {
            let file = self.workspace.write("known_hosts", lines.as_bytes())?;
            job = job.variable("RCLONE_CONFIG_DEST_KNOWN_HOSTS_FILE", file);
        }
        if let Some(pem) = &prepared.ca_certificates {
            let file = self.workspace.write("ca.pem", pem.as_bytes())?;
            job = job.variable("RCLONE_CA_CERT", file);
        }
        for (name, value) in prepared.variables.iter().chain(&self.variables) {
            job = job.variable(name, value);
        }
        Ok(job)
    }

    /// Runs rclone to its end. A failure of rclone is no error here: [`Ended`] has it.
    pub(super) async fn run(
        self,
        cancel: &CancellationToken,
        mut on_event: impl FnMut(Event<'_>) -> Heard,
    ) -> Result<Ended, TransferError> {
        let remote = self.remote;
        let mut complaints: Vec<Complaint> = Vec::new();
        let mut moved_bytes = 0;
        let job = self.job()?;
        let ended = job
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
        max_bytes: usize,
        cancel: &CancellationToken,
    ) -> Result<Vec<u8>, TransferError> {
        let remote = self.remote;
        match self.job()?.output(cancel, max_bytes).await {
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

    /// As [`Run::run`], and stops when the limit of bytes per second changes: what is outstanding goes on under the new
    /// one.
    pub(super) async fn run_within(
        self,
        limit: &mut Limit,
        cancel: &CancellationToken,
        on_event: impl FnMut(Event<'_>) -> Heard,
    ) -> Result<Ended, TransferError> {
        let bytes = limit.now();
        let run = match bytes {
            0 => self,
            _ => self.arguments([format!("--bwlimit={bytes}B")]),
        };
        let stop = cancel.child_token();
        let mut running = std::pin::pin!(run.run(&stop, on_event));
        tokio::select! {
            biased;
            ended = &mut running => return ended,
            () = limit.changed_from(bytes) => stop.cancel(),
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

/// The limit of bytes per second as it changes. 0 is none.
pub(super) struct Limit {
    watched: Option<watch::Receiver<u64>>,
}

impl Limit {
    pub(super) fn none() -> Self {
        Self { watched: None }
    }

    pub(super) fn watching(watched: watch::Receiver<u64>) -> Self {
        Self {
            watched: Some(watched),
        }
    }

    fn now(&mut self) -> u64 {
        self.watched
            .as_mut()
            .map_or(0, |watched| *watched.borrow_and_update())
    }

    /// Waits until it is another one.
    async fn changed_from(&mut self, before: u64) {
        if let Some(watched) = &mut self.watched
            && watched.wait_for(|bytes| *bytes != before).await.is_ok()
        {
            return;
        }
        // Nobody is left who could change it.
        std::future::pending().await
    }
}

impl Remote {
    fn complaint(&self, path: Option<String>, message: &str) -> Complaint {
        let prepared = &self.prepared;
        let mut ours = vec![prepared.path.as_str(), prepared.host.as_str()];
        ours.extend(path.as_deref());
        // The longest first, for one may be part of another.
        ours.sort_by_key(|name| std::cmp::Reverse(name.len()));
        Complaint {
            cause: cause(message, &ours),
            message: prepared.scrubber.clean(message),
            path,
        }
    }

    fn error(&self, error: ProcessError) -> TransferError {
        match error {
            ProcessError::NotFound { program } => TransferError::RcloneMissing { program },
            ProcessError::TimedOut { .. } => TransferError::TimedOut,
            ProcessError::Stalled { idle_s, .. } => TransferError::Stalled(idle_s),
            ProcessError::Cancelled => TransferError::Cancelled,
            ProcessError::Spawn { source, .. } => TransferError::Io(source),
            error @ (ProcessError::Failed { .. } | ProcessError::Output { .. }) => {
                TransferError::Failed {
                    status: "broken".to_owned(),
                    message: self.prepared.scrubber.clean(&error.to_string()),
                }
            }
        }
    }
}
