//! Whether ffmpeg can be started, and which one it is.

use std::ffi::OsString;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::process::{Job, ProcessError};

/// How long an answer holds. Installing another ffmpeg while the service runs is rare, and asking costs a process.
const HOLDS: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(10);
const OUTPUT_MAX_BYTES: usize = 64 << 10;

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
}

/// The ffmpeg of the settings.
pub struct Ffmpeg {
    program: OsString,
    known: Mutex<Option<(Instant, String)>>,
}

impl Ffmpeg {
    /// The program with this name or path.
    pub fn new(program: OsString) -> Self {
        Self {
            program,
            known: Mutex::new(None),
        }
    }

    /// Name and version, for example `ffmpeg 5.1.6`.
    pub async fn version(&self) -> Result<String, FfmpegError> {
        let known = self
            .known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        if let Some((since, version)) = known
            && since.elapsed() < HOLDS
        {
            return Ok(version);
        }
        let version = self.ask().await?;
        *self
            .known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some((Instant::now(), version.clone()));
        Ok(version)
    }

    async fn ask(&self) -> Result<String, FfmpegError> {
        let program = self.program.to_string_lossy().into_owned();
        let asked = Job::new(self.program.clone(), PATIENCE)
            .arguments(["-hide_banner", "-version"])
            .output(&CancellationToken::new(), OUTPUT_MAX_BYTES)
            .await;
        match asked {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output);
                version_in(&text).ok_or_else(|| FfmpegError::Broken {
                    program,
                    fault: "it does not say its version".to_owned(),
                })
            }
            Err(ProcessError::NotFound { .. }) => Err(FfmpegError::Missing { program }),
            Err(error) => Err(FfmpegError::Broken {
                program,
                fault: error.to_string(),
            }),
        }
    }
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
