//! Log lines on standard error.

use tracing_subscriber::EnvFilter;

use super::colour;
use super::failure::CliError;
use super::settings::{LogFormat, Settings};

/// What a server logs unless it is told otherwise.
pub const DEFAULT_FILTER: &str = "info";

/// Begins to write log lines as the settings say. To be called once in a process.
///
/// # Errors
/// When the process writes logs already, or the filter cannot be read.
pub fn start(settings: &Settings) -> Result<(), CliError> {
    start_with(settings, &settings.log)
}

/// The same for a command that a person watches: warnings only, unless the settings ask for something else than usual.
///
/// # Errors
/// As [`start`].
pub fn start_for_command(settings: &Settings) -> Result<(), CliError> {
    let is_usual = settings.log == DEFAULT_FILTER;
    start_with(settings, if is_usual { "warn" } else { &settings.log })
}

fn start_with(settings: &Settings, filter: &str) -> Result<(), CliError> {
    let filter = filter
        .parse::<EnvFilter>()
        .map_err(|error| CliError::local("cannot read HELDAR_LOG", error))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match settings.log_format {
        LogFormat::Text => lines.with_ansi(colour::is_wanted_on_stderr()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| CliError::local("cannot write log lines", error))
}
