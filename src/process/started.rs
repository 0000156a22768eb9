//! A child on its way to its end.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::starting::process_id;
use super::{Heard, Job, ProcessError, Stream};

/// What is kept of a child's error output: its end, where the reason stands.
pub(super) const KEPT_STDERR_BYTES: usize = 8 << 10;
/// Longer lines of output are cut here.
const LONGEST_LINE_BYTES: usize = 64 << 10;

/// A child that runs. Dropped, it is killed.
pub struct Started {
    // The group is killed before the child itself is let go of, which frees the id that names both.
    group: Group,
    child: Child,
    name: String,
    feeding: Option<JoinHandle<()>>,
    ends_at: Instant,
    idle_limit: Option<Duration>,
    grace: Duration,
}

impl Started {
    pub(super) fn new(child: Child, feeding: Option<JoinHandle<()>>, job: &Job) -> Self {
        Self {
            group: Group::of(&child),
            child,
            name: job.name(),
            feeding,
            ends_at: Instant::now() + job.deadline,
            idle_limit: job.idle_limit,
            grace: job.grace,
        }
    }

    /// See [`Job::run_hearing_both`]. How long nothing happens is counted from here on.
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

    /// See [`Job::output`].
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
        self,
        cancel: &CancellationToken,
        mut on_output: impl FnMut(Stream, &[u8]) -> io::Result<Heard>,
    ) -> Result<(), ProcessError> {
        // What is bound last is dropped first: the group before the child, as above.
        let Self {
            mut child,
            mut group,
            name,
            feeding,
            ends_at,
            idle_limit,
            grace,
        } = self;
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
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
