//! From a job to a child.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::mpsc;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::{Job, ProcessError, Started};

impl Job {
    /// Starts the child before anybody listens to it. What it says waits in its pipes, which hold little: it should be one
    /// that says nothing before it has got its input.
    ///
    /// # Errors
    /// [`ProcessError::NotFound`] and [`ProcessError::Spawn`].
    pub async fn start(mut self) -> Result<Started, ProcessError> {
        let program = find_program(&self.program).ok_or_else(|| ProcessError::NotFound {
            program: self.program.to_string_lossy().into_owned(),
        })?;
        let name = self.name();
        let refused = |source| ProcessError::Spawn {
            program: name.clone(),
            source,
        };
        let feeder = self.input.take();
        let command = self.command(&program, feeder.is_some());
        let mut child = spawn_from_lasting_thread(command).await.map_err(refused)?;
        self.apply_limits(&child);
        let feeding = match (feeder, child.stdin.take()) {
            (Some(feeder), Some(stdin)) => {
                let pipe = blocking_pipe(stdin).map_err(refused)?;
                Some(tokio::task::spawn_blocking(move || feeder(pipe)))
            }
            _ => None,
        };
        Ok(Started::new(child, feeding, &self))
    }

    pub(super) fn name(&self) -> String {
        Path::new(&self.program)
            .file_name()
            .unwrap_or(&self.program)
            .to_string_lossy()
            .into_owned()
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

pub(super) fn process_id(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

/// The write end of a child's input, for a thread that may wait.
fn blocking_pipe(stdin: tokio::process::ChildStdin) -> io::Result<OwnedFd> {
    let pipe = stdin.into_owned_fd()?;
    let flags = rustix::fs::fcntl_getfl(&pipe)?;
    rustix::fs::fcntl_setfl(&pipe, flags - rustix::fs::OFlags::NONBLOCK)?;
    Ok(pipe)
}
