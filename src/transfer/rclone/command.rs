//! One run of rclone: what every one of them gets.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::super::TransferError;
use super::Remote;
use super::ended::Ended;
use super::running::{Event, Running};
use super::workspace::Workspace;
use crate::process::{Heard, Job};

/// rclone gets that long to take away what it has begun at the destination.
pub(super) const GRACE: Duration = Duration::from_millis(1500);
/// The flag of a list of files.
pub(super) const FILES: &str = "--files-from-raw";
/// The flag of a list of rules that say which files are meant.
pub(super) const RULES: &str = "--include-from";

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

/// A run to be made, in a private folder of its own.
pub(super) struct Run<'a> {
    remote: &'a Remote,
    workspace: Workspace,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, String)>,
    patience: Patience,
    file_max_bytes: Option<u64>,
    input: Input,
}

/// What rclone reads before it does anything.
enum Input {
    Nothing,
    List(String),
    /// A list that is given when rclone has loaded itself; see [`Running::give`].
    ListLater,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        remote: &'a Remote,
        command: &str,
        patience: Patience,
    ) -> Result<Self, TransferError> {
        Ok(Self {
            remote,
            workspace: Workspace::new(&remote.engine.scratch)?,
            arguments: vec![command.into()],
            variables: Vec::new(),
            patience,
            file_max_bytes: None,
            input: Input::Nothing,
        })
    }

    /// The folder of this run, which goes with it.
    pub(super) fn workspace(&self) -> &Workspace {
        &self.workspace
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

    /// Restricts the run to the files of a list.
    #[must_use]
    pub(super) fn files<'b>(mut self, paths: impl IntoIterator<Item = &'b str>) -> Self {
        self.input = Input::List(lines(paths));
        self.arguments([FILES, "-"])
    }

    /// Restricts the run to a list that is given later. `flag` says what is in it: [`FILES`] or [`RULES`].
    #[must_use]
    pub(super) fn list_later(mut self, flag: &str) -> Self {
        self.input = Input::ListLater;
        self.arguments([flag, "-"])
    }

    /// Starts rclone.
    pub(super) fn start(self) -> Result<Running, TransferError> {
        let mut job = self.job()?;
        let (give, given) = oneshot::channel::<String>();
        let list = match self.input {
            Input::Nothing => None,
            Input::List(_) | Input::ListLater => {
                job = job.input(Box::new(move |pipe| {
                    // A run that is given up gets no list, and one that ended by itself reads none.
                    if let Ok(list) = given.blocking_recv() {
                        let _: io::Result<()> = File::from(pipe).write_all(list.as_bytes());
                    }
                }));
                Some(give)
            }
        };
        let running = Running::new(self.workspace, job, list);
        Ok(match self.input {
            Input::List(list) => running.give(list),
            Input::Nothing | Input::ListLater => running,
        })
    }

    /// As [`Run::start`], with a limit of bytes per second; 0 is none.
    pub(super) fn start_within(self, limit_bytes: u64) -> Result<Running, TransferError> {
        let run = match limit_bytes {
            0 => self,
            _ => self.arguments([format!("--bwlimit={limit_bytes}B")]),
        };
        Ok(run.start()?.limited_to(limit_bytes))
    }

    /// See [`Running::run`].
    pub(super) async fn run(
        self,
        cancel: &CancellationToken,
        on_event: impl FnMut(Event<'_>) -> Heard,
    ) -> Result<Ended, TransferError> {
        refuse_if_cancelled(cancel)?;
        let remote = self.remote;
        self.start()?.run(remote, cancel, on_event).await
    }

    /// See [`Running::run_within`].
    pub(super) async fn run_within(
        self,
        limit: &mut Limit,
        cancel: &CancellationToken,
        on_event: impl FnMut(Event<'_>) -> Heard,
    ) -> Result<Ended, TransferError> {
        refuse_if_cancelled(cancel)?;
        let remote = self.remote;
        let running = self.start_within(limit.now())?;
        running.run_within(remote, limit, cancel, on_event).await
    }

    /// See [`Running::output`].
    pub(super) async fn output(
        self,
        max_bytes: usize,
        cancel: &CancellationToken,
    ) -> Result<Vec<u8>, TransferError> {
        refuse_if_cancelled(cancel)?;
        let remote = self.remote;
        self.start()?.output(remote, max_bytes, cancel).await
    }

    fn job(&self) -> Result<Job, TransferError> {
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
            .arguments(&self.arguments)
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
}

/// What was cancelled before is not begun.
fn refuse_if_cancelled(cancel: &CancellationToken) -> Result<(), TransferError> {
    if cancel.is_cancelled() {
        Err(TransferError::Cancelled)
    } else {
        Ok(())
    }
}

/// A list as rclone reads it.
pub(super) fn lines<'a>(of: impl IntoIterator<Item = &'a str>) -> String {
    of.into_iter().fold(String::new(), |mut text, line| {
        text.push_str(line);
        text.push('\n');
        text
    })
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

    pub(super) fn now(&mut self) -> u64 {
        self.watched
            .as_mut()
            .map_or(0, |watched| *watched.borrow_and_update())
    }

    /// Waits until it is another one.
    pub(super) async fn changed_from(&mut self, before: u64) {
        if let Some(watched) = &mut self.watched
            && watched.wait_for(|bytes| *bytes != before).await.is_ok()
        {
            return;
        }
        // Nobody is left who could change it.
        std::future::pending().await
    }
}
