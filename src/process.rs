//! Child processes: the only place that starts one.
//!
//! Every child gets a clean environment, its own process group, limits, a deadline and a sure end: it is
//! killed with its whole group when it is cancelled, too slow or silent, when the future that runs it is
//! dropped, and when this process dies by whatever means.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process_group, prlimit, waitid,
};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What is kept of a child's error output: its end, where the reason stands.
const KEPT_STDERR_BYTES: usize = 8 << 10;
/// Longer lines of output are cut here.
const LONGEST_LINE_BYTES: usize = 64 << 10;

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

/// Writes a child's input on a thread of its own. It must end when the pipe breaks.
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
        mut on_line: impl FnMut(Stream, &str) -> Heard,
    ) -> Result<(), ProcessError> {
        let (mut output, mut errors) = (Lines::default(), Lines::default());
        self.run_with(cancel, |stream, bytes| {
            let lines = match stream {
                Stream::Output => &mut output,
                Stream::Error => &mut errors,
            };
            let mut heard = Heard::Nothing;
            lines.push(bytes, |line| {
                if on_line(stream, line) == Heard::Progress {
                    heard = Heard::Progress;
                }
            });
            Ok(heard)
        })
        .await
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
        let mut output = Vec::new();
        self.run_with(cancel, |stream, bytes| {
            if stream == Stream::Error {
                return Ok(Heard::Nothing);
            }
            if output.len() + bytes.len() > most_bytes {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    "too much output",
                ));
            }
            output.extend_from_slice(bytes);
            Ok(Heard::Progress)
        })
        .await?;
        Ok(output)
    }

    async fn run_with(
        mut self,
        cancel: &CancellationToken,
        mut on_output: impl FnMut(Stream, &[u8]) -> io::Result<Heard>,
    ) -> Result<(), ProcessError> {
        let name = self.name();
        if cancel.is_cancelled() {
            return Err(ProcessError::Cancelled);
        }
        let feeder = self.input.take();
        let (deadline, idle_limit, grace) = (self.deadline, self.idle_limit, self.grace);
        let mut child = self.start(feeder.is_some()).await?;
        let mut group = Group::of(&child);
        let feeding = match (feeder, child.stdin.take()) {
            (Some(feeder), Some(stdin)) => {
                let pipe = blocking_pipe(stdin).map_err(|source| ProcessError::Spawn {
                    program: name.clone(),
                    source,
                })?;
                Some(tokio::task::spawn_blocking(move || feeder(pipe)))
            }
            _ => None,
        };
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        let ends_at = Instant::now() + deadline;
        let mut silent_since = Instant::now();
        let listening = async {
            let (Some(stdout), Some(stderr)) = (&mut stdout, &mut stderr) else {
                return Ok((child.wait().await, String::new()));
            };
            let mut kept = KeptEnd::default();
            let (mut output, mut errors) = (vec![0; 16 << 10], vec![0; 16 << 10]);
            let (mut output_open, mut errors_open) = (true, true);
            while output_open || errors_open {
                let idle_at = idle_limit.map_or(ends_at, |limit| silent_since + limit);
                let (stream, read) = tokio::select! {
                    read = stdout.read(&mut output), if output_open => (Stream::Output, read),
                    read = stderr.read(&mut errors), if errors_open => (Stream::Error, read),
                    () = tokio::time::sleep_until(idle_at), if idle_limit.is_some() => {
                        return Err(ProcessError::Stalled {
                            program: name.clone(),
                            idle_s: idle_limit.unwrap_or_default().as_secs(),
                        });
                    }
                };
                let heard = read.and_then(|count| match (stream, count) {
                    (Stream::Output, 0) => {
                        output_open = false;
                        Ok(Heard::Nothing)
                    }
                    (Stream::Error, 0) => {
                        errors_open = false;
                        Ok(Heard::Nothing)
                    }
                    (Stream::Output, count) => on_output(stream, &output[..count]),
                    (Stream::Error, count) => {
                        kept.push(&errors[..count]);
                        on_output(stream, &errors[..count])
                    }
                });
                match heard {
                    Ok(Heard::Progress) => silent_since = Instant::now(),
                    Ok(Heard::Nothing) => {}
                    Err(source) => {
                        return Err(ProcessError::Output {
                            program: name.clone(),
                            source,
                        });
                    }
                }
            }
            Ok((child.wait().await, kept.text()))
        };
        let ended = tokio::select! {
            ended = listening => ended,
            () = cancel.cancelled() => Err(ProcessError::Cancelled),
            () = tokio::time::sleep_until(ends_at) => Err(ProcessError::TimedOut { program: name.clone() }),
        };
        let ended = match ended {
            Ok((status, text)) => {
                group.ended();
                status
                    .map(|status| (status, text))
                    .map_err(|source| ProcessError::Output {
                        program: name.clone(),
                        source,
                    })
            }
            Err(error) => {
                if !grace.is_zero() {
                    group.ask_to_end();
                    // One that does not end in time is killed. Its outputs are read until then: closed ones would end
                    // many a program before it has tidied up.
                    tokio::select! {
                        () = group.leader_ended() => {}
                        () = discard(stdout, stderr) => {}
                        () = tokio::time::sleep(grace) => {}
                    }
                }
                group.kill();
                // Reaping the child frees its process id and closes its pipes.
                let _ = child.wait().await;
                group.ended();
                Err(error)
            }
        };
        if let Some(feeding) = feeding {
            // The child is gone, so that the feeder's next write fails and it ends.
            let _ = feeding.await;
        }
        let (status, stderr) = ended?;
        if status.success() {
            Ok(())
        } else {
            Err(ProcessError::Failed {
                program: name,
                status,
                stderr,
            })
        }
    }

    fn name(&self) -> String {
        Path::new(&self.program)
            .file_name()
            .unwrap_or(&self.program)
            .to_string_lossy()
            .into_owned()
    }

    async fn start(&self, with_input: bool) -> Result<Child, ProcessError> {
        let program = find_program(&self.program).ok_or_else(|| ProcessError::NotFound {
            program: self.program.to_string_lossy().into_owned(),
        })?;
        let command = self.command(&program, with_input);
        let child =
            spawn_from_lasting_thread(command)
                .await
                .map_err(|source| ProcessError::Spawn {
                    program: self.name(),
                    source,
                })?;
        self.apply_limits(&child);
        Ok(child)
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "this is the place where children are started"
    )]
    fn command(&self, program: &Path, with_input: bool) -> Command {
        // `setpriv` asks the kernel to kill the child when the thread that started it dies, then becomes
        // the program; asking for ourselves would need unsafe code between fork and exec.
        let mut command = match death_signal_wrapper() {
            Some(wrapper) => {
                let mut command = Command::new(wrapper);
                command.args(["--pdeathsig", "KILL", "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args(&self.arguments)
            .env_clear()
            .env("LANG", "C")
            .env(
                "PATH",
                std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into()),
            )
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(if with_input {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// The limits are set from outside right after the start: what a child does in its first moments is
    /// loading itself.
    fn apply_limits(&self, child: &Child) {
        let Some(pid) = process_id(child) else { return };
        let limits = [
            (Resource::As, self.limits.memory_bytes),
            (Resource::Cpu, self.limits.cpu_s),
            (Resource::Fsize, self.limits.file_bytes),
            (Resource::Core, Some(0)),
        ];
        for (resource, limit) in limits {
            if let Some(limit) = limit {
                let limit = Rlimit {
                    current: Some(limit),
                    maximum: Some(limit),
                };
                if let Err(error) = prlimit(Some(pid), resource, limit) {
                    tracing::debug!(?resource, %error, "a child's limit could not be set");
                }
            }
        }
    }
}

const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Where a program is: the path itself, or the first file of that name in `PATH` that can be executed.
pub fn find_program(program: &OsStr) -> Option<PathBuf> {
    let runs = |path: &Path| {
        path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    };
    if program.as_encoded_bytes().contains(&b'/') {
        let path = PathBuf::from(program);
        return runs(&path).then_some(path);
    }
    let search = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    std::env::split_paths(&search)
        .map(|folder| folder.join(program))
        .find(|path| runs(path))
}

/// `setpriv` of util-linux, which Debian and Ubuntu always have. Where it is missing children still end
/// with us in every way but our own SIGKILL.
fn death_signal_wrapper() -> Option<&'static Path> {
    static WRAPPER: OnceLock<Option<PathBuf>> = OnceLock::new();
    WRAPPER
        .get_or_init(|| find_program(OsStr::new("setpriv")))
        .as_deref()
}

struct Start {
    command: Command,
    runtime: tokio::runtime::Handle,
    answer: oneshot::Sender<io::Result<Child>>,
}

/// Starts a child from the one thread that lives as long as the process: the kernel ties the death signal
/// to the thread that forked, and the runtime's threads come and go.
async fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Option<mpsc::Sender<Start>>> = OnceLock::new();
    let gone = || io::Error::other("the thread that starts children is gone");
    let starter = STARTER
        .get_or_init(|| {
            let (sender, receiver) = mpsc::channel::<Start>();
            std::thread::Builder::new()
                .name("start-children".to_owned())
                .spawn(move || {
                    for Start {
                        mut command,
                        runtime,
                        answer,
                    } in receiver
                    {
                        let _inside = runtime.enter();
                        // A caller that is gone drops the child here, which kills it.
                        let _ = answer.send(command.spawn());
                    }
                })
                .ok()
                .map(|_| sender)
        })
        .as_ref()
        .ok_or_else(gone)?;
    let (answer, started) = oneshot::channel();
    let start = Start {
        command,
        runtime: tokio::runtime::Handle::current(),
        answer,
    };
    starter.send(start).map_err(|_| gone())?;
    started.await.map_err(|_| gone())?
}

fn process_id(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

/// Kills a process group unless it has ended.
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn of(child: &Child) -> Self {
        Self {
            leader: process_id(child),
        }
    }

    /// The leader was reaped; its id may soon be another's.
    fn ended(&mut self) {
        self.leader = None;
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Waits for the leader's end and does not reap it, so that its id still names the group that is killed next.
    async fn leader_ended(&self) {
        let Some(leader) = self.leader else { return };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while let Ok(None) = waitid(WaitId::Pid(leader), look) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // It may have ended by itself in this moment.
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The write end of a child's input, for a thread that may wait.
fn blocking_pipe(stdin: tokio::process::ChildStdin) -> io::Result<OwnedFd> {
    let pipe = stdin.into_owned_fd()?;
    let flags = rustix::fs::fcntl_getfl(&pipe)?;
    rustix::fs::fcntl_setfl(&pipe, flags - rustix::fs::OFlags::NONBLOCK)?;
    Ok(pipe)
}

/// Reads what a child still says, and never ends.
async fn discard(stdout: Option<ChildStdout>, stderr: Option<ChildStderr>) {
    let (mut nowhere, mut also_nowhere) = (tokio::io::sink(), tokio::io::sink());
    let output = async {
        if let Some(mut stdout) = stdout {
            // An output that breaks has nothing more to say.
            let _ = tokio::io::copy(&mut stdout, &mut nowhere).await;
        }
    };
    let errors = async {
        if let Some(mut stderr) = stderr {
            let _ = tokio::io::copy(&mut stderr, &mut also_nowhere).await;
        }
    };
    tokio::join!(output, errors);
    std::future::pending().await
}

/// The last bytes of an output, so that a child which floods it does not fill memory.
#[derive(Default)]
struct KeptEnd {
    bytes: VecDeque<u8>,
}

impl KeptEnd {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let surplus = self.bytes.len().saturating_sub(KEPT_STDERR_BYTES);
        self.bytes.drain(..surplus);
    }

    fn text(self) -> String {
        let bytes: Vec<u8> = self.bytes.into();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

/// Cuts output into lines.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], mut on_line: impl FnMut(&str)) {
        for byte in bytes {
            match byte {
                b'\n' => {
                    on_line(String::from_utf8_lossy(&self.begun).trim_end_matches('\r'));
                    self.begun.clear();
                }
                _ if self.begun.len() < LONGEST_LINE_BYTES => self.begun.push(*byte),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "process/tests.rs"]
mod tests;
