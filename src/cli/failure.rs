//! How a command fails: what is said, and with which exit code.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::builder::styling::AnsiColor;
use tonic_types::{RpcStatusExt as _, StatusExt as _};

use super::colour;
use super::settings::SettingsError;
use super::words::plain;

/// A person pressed Ctrl-C, or the process was told to stop.
pub const EXIT_INTERRUPTED: u8 = 130;
/// An archive is not as it was made.
pub const EXIT_NOT_INTACT: u8 = 5;
const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_UNREACHABLE: u8 = 3;
const EXIT_CANCELLED: u8 = 4;

/// The exit codes in words, for `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed: the message says why
  2    wrong command line or settings
  3    the server cannot be reached
  4    the job was cancelled
  5    an archive is not intact
  130  ended by Ctrl-C";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The settings must be changed.
    #[error("wrong settings\n       {0}")]
    Settings(#[from] SettingsError),
    /// The command line must be changed.
    #[error("{0}")]
    Usage(String),
    /// The server must be started, or another one named.
    #[error("no answer from {server}")]
    Unreachable {
        /// The server's URL.
        server: String,
        /// What happened on the way.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server refused the call.
    #[error("{}", refusal(.0))]
    Refused(Box<tonic::Status>),
    /// The job ended with an error.
    #[error("{what} {id} failed: {reason}")]
    JobFailed {
        /// The kind of job.
        what: String,
        /// The job.
        id: String,
        /// What it says of itself.
        reason: String,
    },
    /// Somebody cancelled the job.
    #[error("{what} {id} was cancelled")]
    JobCancelled {
        /// The kind of job.
        what: String,
        /// The job.
        id: String,
    },
    /// Ctrl-C ended the command.
    #[error("{0}")]
    Interrupted(String),
    /// A file or another thing of this machine failed.
    #[error("{doing}")]
    Local {
        /// What was tried.
        doing: String,
        /// Why it failed.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Standard output is gone.
    #[error("standard output cannot be written")]
    Output(#[source] io::Error),
    /// Everything has been said already; only the exit code is missing.
    #[error("a check failed")]
    Told,
}

impl CliError {
    /// Standard output failed.
    pub fn output(error: io::Error) -> Self {
        Self::Output(error)
    }

    /// `doing` failed on this machine.
    pub fn local(
        doing: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Local {
            doing: doing.into(),
            source: source.into(),
        }
    }

    /// `doing` failed with a file.
    pub fn file(doing: &str, path: &Path, source: io::Error) -> Self {
        Self::local(
            format!("cannot {doing} {}", plain(&path.to_string_lossy())),
            source,
        )
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) | Self::Usage(_) => EXIT_USAGE,
            Self::Unreachable { .. } => EXIT_UNREACHABLE,
            Self::JobCancelled { .. } => EXIT_CANCELLED,
            Self::Interrupted(_) => EXIT_INTERRUPTED,
            Self::Refused(_)
            | Self::JobFailed { .. }
            | Self::Local { .. }
            | Self::Output(_)
            | Self::Told => EXIT_FAILED,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Settings(_) => {
                Some("`footage settings` lists every variable, its meaning and its default".into())
            }
            Self::Unreachable { .. } => Some(
                "is `footage serve` running? Name another server with --server or HELDAR_SERVER"
                    .into(),
            ),
            Self::JobFailed { id, .. } | Self::JobCancelled { id, .. } => {
                Some(format!("`footage jobs retry {id}` tries it again"))
            }
            Self::Refused(status) => match status.get_details_error_info()?.reason.as_str() {
                "CAMERA_NOT_FOUND" => {
                    Some("`footage cameras` lists the cameras that are known".into())
                }
                "NO_FOOTAGE" => {
                    Some("`footage timeline CAMERA` shows when the camera recorded".into())
                }
                "ARCHIVE_TOO_LARGE" => Some(
                    "ask for a shorter window or fewer cameras, or raise the server's limit".into(),
                ),
                "FILE_MISSING" | "FILE_DAMAGED"
                    if status.code() == tonic::Code::FailedPrecondition =>
                {
                    Some("without --all-or-nothing, the rest is archived".into())
                }
                "FFMPEG_UNAVAILABLE" | "RCLONE_UNAVAILABLE" | "DISK_FULL" => {
                    Some("run `footage doctor` on the server's machine".into())
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Says on standard error what failed, and returns the exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            // Whoever read the output has read enough, as `head` does.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return ExitCode::SUCCESS;
            }
            Self::Told => {}
            _ => {
                let mut line = self.to_string();
                let mut cause = self.source();
                while let Some(error) = cause {
                    // Some libraries repeat their cause in their own words.
                    let text = error.to_string();
                    if !line.ends_with(&text) {
                        let _ = write!(line, ": {text}");
                    }
                    cause = error.source();
                }
                eprintln!("{} {line}", colour::on_stderr("error:", AnsiColor::Red));
                if let Some(hint) = self.hint() {
                    eprintln!("{} {hint}", colour::on_stderr("hint:", AnsiColor::Cyan));
                }
            }
        }
        ExitCode::from(self.exit_code())
    }
}

/// A refused call for people: message, reason, and each wrong field.
fn refusal(status: &tonic::Status) -> String {
    let mut text = plain(status.message());
    if text.is_empty() {
        text = status.code().description().to_owned();
    }
    if let Some(info) = status.get_details_error_info() {
        let _ = write!(text, " ({})", plain(&info.reason));
    }
    for violation in status
        .get_details_bad_request()
        .map(|bad| bad.field_violations)
        .unwrap_or_default()
    {
        let _ = write!(
            text,
            "\n       {}: {}",
            plain(&violation.field),
            plain(&violation.description)
        );
    }
    if let Some(request) = status.get_details_request_info() {
        let _ = write!(
            text,
            "\n       request {} in the server's log",
            plain(&request.request_id)
        );
    }
    text
}

/// An error or warning of a job for people: message and reason.
pub fn notice(status: &tonic_types::Status) -> String {
    match status.get_details_error_info() {
        Some(info) => format!("{} ({})", plain(&status.message), plain(&info.reason)),
        None => plain(&status.message),
    }
}

#[cfg(test)]
mod tests {
    use super::{CliError, refusal};
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};

    fn refused() -> Status {
        let mut details = ErrorDetails::new();
        details
            .set_error_info(
                "WINDOW_REVERSED",
                "footage.heldar",
                std::collections::HashMap::new(),
            )
            .add_bad_request_violation("end_time", "must be after start_time");
        Status::with_error_details(Code::InvalidArgument, "`to` must be after `from`", details)
    }

    #[test]
    fn a_refusal_shows_message_reason_and_fields() {
        assert_eq!(
            refusal(&refused()),
            "`to` must be after `from` (WINDOW_REVERSED)\n       end_time: must be after start_time"
        );
    }

    #[test]
    fn a_server_cannot_write_to_the_terminal_through_a_message() {
        assert_eq!(refusal(&Status::internal("a\u{1b}[2Jb")), "a\\u{1b}[2Jb");
    }

    #[test]
    fn each_kind_of_failure_has_its_exit_code() {
        let source = || Box::from("refused");
        let codes = [
            CliError::Refused(Box::new(refused())),
            CliError::Usage(String::new()),
            CliError::Unreachable {
                server: String::new(),
                source: source(),
            },
            CliError::JobCancelled {
                what: String::new(),
                id: String::new(),
            },
            CliError::Interrupted(String::new()),
        ]
        .map(|error| error.exit_code());
        assert_eq!(codes, [1, 2, 3, 4, 130]);
    }
}
