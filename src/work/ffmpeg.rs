//! Whether ffmpeg can be started, and which one it is.

use std::collections::HashSet;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::media::Part;
use crate::process::{Job, ProcessError};

/// How long an answer holds. Installing another ffmpeg while the service runs is rare, and asking costs a process.
const HOLDS: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(10);
const OUTPUT_MAX_BYTES: usize = 256 << 10;

/// ffmpeg cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FfmpegError {
    /// It is not installed, or not where the settings say.
    #[error("ffmpeg binary `{program}` is not available; install ffmpeg or set HELDAR_FFMPEG_BIN")]
    Missing {
        /// The name or path that was configured.
        program: String,
    },
    /// It is there and does not say its version.
    #[error("ffmpeg binary `{program}` does not work: {fault}")]
    Broken {
        /// The name or path that was configured.
        program: String,
        /// What happened.
        fault: String,
    },
    /// It was built without something that is needed.
    #[error(
        "ffmpeg binary `{program}` has no {part}, which this clip needs; install an ffmpeg that has it or set \
         HELDAR_FFMPEG_BIN"
    )]
    Lacks {
        /// The name or path that was configured.
        program: String,
        /// What it has not.
        part: Part,
    },
}

/// The ffmpeg of the settings.
pub struct Ffmpeg {
    program: OsString,
    known: Mutex<Option<(Instant, String)>>,
    known_parts: Mutex<Option<(Instant, Arc<Parts>)>>,
}

/// The names of what an ffmpeg has.
struct Parts {
    encoders: HashSet<String>,
    filters: HashSet<String>,
}

impl Parts {
    fn has(&self, part: Part) -> bool {
        match part {
            Part::Encoder(name) => self.encoders.contains(name),
            Part::Filter(name) => self.filters.contains(name),
        }
    }
}

impl Ffmpeg {
    /// The program with this name or path.
    pub fn new(program: OsString) -> Self {
        Self {
            program,
            known: Mutex::new(None),
            known_parts: Mutex::new(None),
        }
    }

    /// Name and version, for example `ffmpeg 5.1.6`.
    pub async fn version(&self) -> Result<String, FfmpegError> {
        if let Some(version) = still_holds(&self.known) {
            return Ok(version);
        }
        let version = self.ask().await?;
        *lock(&self.known) = Some((Instant::now(), version.clone()));
        Ok(version)
    }

    /// Refuses an ffmpeg that has not all of these.
    pub async fn check_parts(&self, needed: &[Part]) -> Result<(), FfmpegError> {
        let parts = match still_holds(&self.known_parts) {
            Some(parts) => parts,
            None => {
                let parts = Arc::new(Parts {
                    encoders: names_in(&self.output("-encoders").await?),
                    filters: names_in(&self.output("-filters").await?),
                });
                *lock(&self.known_parts) = Some((Instant::now(), Arc::clone(&parts)));
                parts
            }
        };
        match needed.iter().find(|part| !parts.has(**part)) {
            None => Ok(()),
            Some(part) => Err(FfmpegError::Lacks {
                program: self.program.to_string_lossy().into_owned(),
                part: *part,
            }),
        }
    }

    async fn ask(&self) -> Result<String, FfmpegError> {
        let output = self.output("-version").await?;
        version_in(&output).ok_or_else(|| FfmpegError::Broken {
            program: self.program.to_string_lossy().into_owned(),
            fault: "it does not say its version".to_owned(),
        })
    }

    /// What ffmpeg answers to a question about itself.
    async fn output(&self, question: &str) -> Result<String, FfmpegError> {
        let program = self.program.to_string_lossy().into_owned();
        let asked = Job::new(self.program.clone(), PATIENCE)
            .arguments(["-hide_banner", question])
            .output(&CancellationToken::new(), OUTPUT_MAX_BYTES)
            .await;
        match asked {
            Ok(output) => Ok(String::from_utf8_lossy(&output).into_owned()),
            Err(ProcessError::NotFound { .. }) => Err(FfmpegError::Missing { program }),
            Err(error) => Err(FfmpegError::Broken {
                program,
                fault: error.to_string(),
            }),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn still_holds<T: Clone>(known: &Mutex<Option<(Instant, T)>>) -> Option<T> {
    let known = lock(known);
    let (since, answer) = known.as_ref()?;
    (since.elapsed() < HOLDS).then(|| answer.clone())
}

/// The names in a list of encoders or filters: the second word of each line.
fn names_in(output: &str) -> HashSet<String> {
    let second = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    output.lines().filter_map(second).collect()
}

/// The version in the first line, `ffmpeg version 5.1.6-0+deb12u1 Copyright …`.
fn version_in(output: &str) -> Option<String> {
    let version = output
        .lines()
        .next()?
        .strip_prefix("ffmpeg version ")?
        .split_whitespace()
        .next()?;
    Some(format!("ffmpeg {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_first_line() {
        let output = "ffmpeg version 5.1.6-0+deb12u1 Copyright (c) 2000-2024 the FFmpeg developers\nbuilt with gcc";
        assert_eq!(
            version_in(output).as_deref(),
            Some("ffmpeg 5.1.6-0+deb12u1")
        );
        assert_eq!(version_in("hello"), None);
    }
}
