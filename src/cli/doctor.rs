//! `footage doctor`: looks at everything that the server needs, and says how to mend what is wrong.

use std::io::Write as _;

use clap::builder::styling::AnsiColor;
use serde::Serialize;

use super::failure::CliError;
use super::settings::Settings;
use super::{colour, doctor_checks, json, warn_of_unknown};

/// Check folders, database, secret key, programs and port, and say how to mend what is wrong
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Run it as the user and with the environment of the server. It makes and changes nothing, except that \
an existing database is brought up to date. The exit code is 1 when a check fails; warnings do not \
count.")]
pub struct DoctorArgs {
    /// Folder of everything that the service keeps, instead of HELDAR_DATA_DIR
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Print the checks as JSON
    #[arg(long)]
    json: bool,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// The server runs, but something is missing or will be.
    Warn,
    /// The server does not start, or cannot do its work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// How to mend it; empty when all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mend: String,
}

impl Check {
    /// All is well.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Ok,
            found: found.into(),
            mend: String::new(),
        }
    }

    /// Something to look after.
    pub fn warn(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Warn,
            found: found.into(),
            mend: mend.into(),
        }
    }

    /// Something that must be mended.
    pub fn fail(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Fail,
            found: found.into(),
            mend: mend.into(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// [`CliError::Told`] when a check failed, after all were printed.
pub async fn run(args: &DoctorArgs) -> Result<(), CliError> {
    let checks = match Settings::of_process(&[("HELDAR_DATA_DIR", args.data_dir.clone())]) {
        Ok((settings, unknown)) => {
            warn_of_unknown(&unknown);
            doctor_checks::all(&settings).await
        }
        Err(error) => {
            let wrong = error.wrong.into_iter();
            wrong
                .map(|wrong| {
                    let mend = "`footage settings` lists every variable and what it may hold";
                    Check::fail(
                        "settings",
                        format!("{}: {}", wrong.name, wrong.reason),
                        mend,
                    )
                })
                .collect()
        }
    };
    if args.json {
        json::print_plain(&checks)?;
    } else {
        print(&checks)?;
    }
    if checks.iter().any(|check| check.verdict == Verdict::Fail) {
        Err(CliError::Told)
    } else {
        Ok(())
    }
}

fn print(checks: &[Check]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let width = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Ok => colour::on_stdout("ok  ", AnsiColor::Green),
            Verdict::Warn => colour::on_stdout("warn", AnsiColor::Yellow),
            Verdict::Fail => colour::on_stdout("fail", AnsiColor::Red),
        };
        writeln!(out, "{verdict}  {:<width$}  {}", check.name, check.found)
            .map_err(CliError::output)?;
        if !check.mend.is_empty() {
            let label = if check.verdict == Verdict::Fail {
                "to mend"
            } else {
                "note"
            };
            writeln!(out, "      {:<width$}  {label}: {}", "", check.mend)
                .map_err(CliError::output)?;
        }
    }
    let count = |verdict| {
        checks
            .iter()
            .filter(|check| check.verdict == verdict)
            .count()
    };
    let (warnings, failures) = (count(Verdict::Warn), count(Verdict::Fail));
    let summary = match (failures, warnings) {
        (0, 0) => "All is well.".to_owned(),
        (0, warnings) => format!("The server can run; {warnings} to look after."),
        (failures, warnings) => format!("{failures} to mend, {warnings} to look after."),
    };
    writeln!(out, "{summary}").map_err(CliError::output)
}
