//! Child processes: the only place that starts one.
//!
//! Every child gets a clean environment, its own process group, limits, a deadline and a sure end: it is
//! killed with its whole group when it is cancelled, too slow or silent, when the future that runs it is
//! dropped, and when this process dies by whatever means.
//!
//! A [`Job`] is what is to be run; `starting` makes a child of it, and `started` listens to that to its end.

mod started;
mod starting;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use self::started::Started;
pub use self::starting::find_program;

/// Why a child did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is no such program: it must be installed or configured.
    #[error("{program} is not available")]
    NotFound {
        /// The name or path that was asked for.
        program: String,
    },
    /// It could not be started.
    #[error("{program} cannot be started")]
    Spawn {
        /// The program's name.
        program: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It ended with a failure. Trying again helps only if the reason in `stderr` passes.
    #[error("{program} failed ({status}): {stderr}")]
    Failed {
        /// The program's name.
        program: String,
        /// Exit code or signal.
        status: ExitStatus,
        /// The end of its error output.
        stderr: String,
    },
    /// It was killed at its deadline.
    #[error("{program} did not end in time")]
    TimedOut {
        /// The program's name.
        program: String,
    },
    /// It was killed because it made no progress.
    #[error("{program} made no progress for {idle_s} s")]
    Stalled {
        /// The program's name.
        program: String,
        /// How long nothing happened, in seconds.
        idle_s: u64,
    },
    /// It was killed because the caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// Its output could not be read, or was more than the caller allows.
    #[error("the output of {program} cannot be read")]
    Output {
        /// The program's name.
        program: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

/// Limits the kernel holds a child to. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Address space, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time, in seconds.
    pub cpu_s: Option<u64>,
    /// Largest file it may write, in bytes.
    pub file_bytes: Option<u64>,
}

/// Writes a child's input on a thread of its own. It must end when the pipe breaks, and one that waits for what it is to
/// write must have got that, or know that nothing comes, before anybody listens to the child.
pub type Feeder = Box<dyn FnOnce(OwnedFd) + Send + Sync>;

/// What an output line meant to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The child got further.
    Progress,
    /// It said something, which does not show that it got further.
    Nothing,
}

/// Which of its two outputs a child wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Its standard output.
    Output,
    /// Its error output.
    Error,
}

/// A child to be run once.
pub struct Job {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    limits: Limits,
    deadline: Duration,
    idle_limit: Option<Duration>,
    grace: Duration,
    input: Option<Feeder>,
}

impl Job {
    /// A child that runs `program`: a path, or a name to be looked for in `PATH`. It is killed after
    /// `deadline`.
    pub fn new(program: impl Into<OsString>, deadline: Duration) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            limits: Limits::default(),
            deadline,
            idle_limit: None,
            grace: Duration::ZERO,
            input: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a variable to the child's environment, which else holds only `PATH` and `LANG=C`.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Kills the child when no line counted as [`Heard::Progress`] for that long.
    #[must_use]
    pub fn idle_limit(mut self, limit: Duration) -> Self {
        self.idle_limit = Some(limit);
        self
    }

    /// Asks the child to end (SIGTERM) before it is killed for whatever reason, and gives it that long to tidy up.
    /// A future that is dropped kills at once.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Gives the child input. Without a feeder its input is empty.
    #[must_use]
    pub fn input(mut self, feeder: Feeder) -> Self {
        self.input = Some(feeder);
        self
    }

    /// Runs the child to its end; `on_line` hears each line of its output.
    ///
    /// Dropping the future kills the child.
    ///
    /// # Errors
    /// [`ProcessError`], see there.
    pub async fn run(
        self,
        cancel: &CancellationToken,
        mut on_line: impl FnMut(&str) -> Heard,
    ) -> Result<(), ProcessError> {
        self.run_hearing_both(cancel, |stream, line| match stream {
            Stream::Output => on_line(line),
            Stream::Error => Heard::Nothing,
        })
        .await
    }

    /// As [`Job::run`]; `on_line` hears the lines of the error output too, in which some programs write their log.
    ///
    /// # Errors
    /// [`ProcessError`], see there.
    pub async fn run_hearing_both(
        self,
        cancel: &CancellationToken,
        on_line: impl FnMut(Stream, &str) -> Heard,
    ) -> Result<(), ProcessError> {
        let started = self.start_unless(cancel).await?;
        started.run_hearing_both(cancel, on_line).await
    }

    /// Runs the child to its end and answers its output, at most `most_bytes` of it.
    ///
    /// # Errors
    /// [`ProcessError`]; output beyond the limit is [`ProcessError::Output`].
    pub async fn output(
        self,
        cancel: &CancellationToken,
        most_bytes: usize,
    ) -> Result<Vec<u8>, ProcessError> {
        let started = self.start_unless(cancel).await?;
        started.output(cancel, most_bytes).await
    }

    async fn start_unless(self, cancel: &CancellationToken) -> Result<Started, ProcessError> {
        if cancel.is_cancelled() {
            return Err(ProcessError::Cancelled);
        }
        self.start().await
    }
}

#[cfg(test)]
mod tests;
