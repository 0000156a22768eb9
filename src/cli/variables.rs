//! What each variable means, for people: the text of `footage settings`, and which names are known.

use std::io::Write;

use super::failure::CliError;
use super::settings::Settings;

/// A variable of the environment.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What holds when it is unset.
    pub default: &'static str,
    /// What it decides.
    pub meaning: &'static str,
    /// Whether its value is never shown.
    pub is_secret: bool,
}

const fn variable(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable {
        name,
        default,
        meaning,
        is_secret: false,
    }
}

const fn secret(name: &'static str, meaning: &'static str) -> Variable {
    Variable {
        name,
        default: "none",
        meaning,
        is_secret: true,
    }
}

/// Every variable that this version reads.
pub static ALL: [Variable; 41] = [
    variable(
        "HELDAR_LISTEN",
        "127.0.0.1:50051",
        "address and port of gRPC, gRPC-Web and media over HTTP",
    ),
    variable(
        "HELDAR_DATA_DIR",
        "./data",
        "folder of everything that the service keeps",
    ),
    variable(
        "HELDAR_DATABASE_URL",
        "sqlite://<data>/heldar.db",
        "the database: sqlite:// and the path of a file, or postgres://user:password@host/database, which several servers may share",
    ),
    variable(
        "HELDAR_RECORDINGS_DIR",
        "<data>/recordings",
        "recordings in the Heldar layout, source `recordings`",
    ),
    variable(
        "HELDAR_SOURCES",
        "none",
        "further folders of recordings, separated by `;`, each [id=]LAYOUT[@ZONE]:/absolute/path",
    ),
    variable(
        "HELDAR_SEGMENT_LENGTH_S",
        "60",
        "longest that a recorder writes to one file, in seconds (1 to 86400)",
    ),
    variable(
        "HELDAR_CLIPS_DIR",
        "<data>/clips",
        "folder of finished clips",
    ),
    variable(
        "HELDAR_CLIP_RETENTION_HOURS",
        "168",
        "how long a clip is kept, in hours (0 to 876000); 0 keeps it until it is deleted",
    ),
    variable(
        "HELDAR_CLIP_TIMEOUT_S",
        "180",
        "longest that cutting a clip may take, in seconds (5 to 86400)",
    ),
    variable(
        "HELDAR_ARCHIVE_DIR",
        "<data>/archives",
        "folder of finished archives",
    ),
    variable(
        "HELDAR_ARCHIVE_MAX_BYTES",
        "10737418240",
        "most bytes that the recordings selected for one archive may have",
    ),
    variable(
        "HELDAR_ARCHIVE_MAX_SEGMENTS",
        "200000",
        "most recordings that may be selected for one archive (1 to 1000000); memory grows with them",
    ),
    variable(
        "HELDAR_ARCHIVE_DIR_MAX_BYTES",
        "53687091200",
        "most bytes that the archive folder may hold",
    ),
    variable(
        "HELDAR_ARCHIVE_RETENTION_HOURS",
        "48",
        "how long an archive is kept, in hours (0 to 876000); 0 keeps it until it is deleted",
    ),
    variable(
        "HELDAR_ARCHIVE_TIMEOUT_S",
        "21600",
        "longest that making an archive may take, in seconds (5 to 86400)",
    ),
    variable(
        "HELDAR_SIGNING_KEY",
        "<data>/signing_key",
        "Ed25519 key in OpenSSH's format that signs archives; the one in the data folder is made at the first start",
    ),
    variable(
        "HELDAR_MEDIA_JOB_CONCURRENCY",
        "3",
        "jobs that run at the same time (1 to 256)",
    ),
    variable(
        "HELDAR_JOB_QUEUE_LIMIT",
        "1000",
        "jobs that may wait; more are refused with QUEUE_FULL, but for a tenth more that is kept for callers of whom none waits",
    ),
    variable(
        "HELDAR_WATCH_LIMIT",
        "20000",
        "watches of jobs that may be open at the same time; more are refused with TOO_MANY_WATCHERS",
    ),
    variable(
        "HELDAR_LEASE_S",
        "60",
        "how long a job stays with a server that is not heard of any more, in seconds (2 to 86400); the same on all servers",
    ),
    variable("HELDAR_FFMPEG_BIN", "ffmpeg", "name or path of ffmpeg"),
    variable("HELDAR_FFPROBE_BIN", "ffprobe", "name or path of ffprobe"),
    variable(
        "HELDAR_RCLONE_BIN",
        "rclone",
        "name or path of rclone; only backups to other machines need it",
    ),
    variable(
        "HELDAR_RCLONE_CONFIG",
        "none",
        "rclone's configuration file with the remotes that destinations of kind rclone may name",
    ),
    secret(
        "HELDAR_SECRET_KEY",
        "key that seals the secrets of backup destinations, base64 of 32 bytes; `footage secret-key new` makes one",
    ),
    secret(
        "HELDAR_SECRET_KEY_NEW",
        "the key that `footage secret-key change` changes to",
    ),
    variable(
        "HELDAR_BACKUP_ENABLED",
        "true",
        "true: the scheduler starts the runs of policies; false: only RunPolicy and CreateBackup do",
    ),
    variable(
        "HELDAR_BACKUP_SCHEDULER_INTERVAL_S",
        "60",
        "how often the scheduler looks for runs that are due, in seconds (5 to 300)",
    ),
    variable(
        "HELDAR_BACKUP_JOB_TIMEOUT_S",
        "3600",
        "longest that a run may take unless its policy says otherwise, in seconds (30 to 2592000)",
    ),
    variable(
        "HELDAR_BACKUP_STALL_S",
        "120",
        "how long nothing may move before a transfer is given up, in seconds (5 to 86400)",
    ),
    variable(
        "HELDAR_BACKUP_MAX_CONCURRENT_JOBS",
        "2",
        "runs at the same time (1 to 64)",
    ),
    variable(
        "HELDAR_BACKUP_LOCAL_ROOTS",
        "/mnt:/media:/srv:/backup",
        "folders that local destinations may lie in, absolute, separated by `:`",
    ),
    variable(
        "HELDAR_BACKUP_NETWORKS",
        "all",
        "networks that destinations may be in, CIDR separated by commas; link-local and metadata addresses never are",
    ),
    secret(
        "HELDAR_BACKUP_WEBHOOK_URL",
        "URL that overdue policies, paused destinations and footage at risk are reported to",
    ),
    variable(
        "HELDAR_RESTORE_DIR",
        "<data>/restores",
        "folder below which footage is restored",
    ),
    variable(
        "HELDAR_JOB_TIMEOUT_S",
        "86400",
        "how long an import, a verification or a restore may take, in seconds (5 to 2592000)",
    ),
    variable(
        "HELDAR_SHUTDOWN_GRACE_S",
        "10",
        "how long calls and jobs may take to end after SIGTERM or Ctrl-C, in seconds (0 to 86400)",
    ),
    variable(
        "HELDAR_CORS_ORIGINS",
        "none",
        "web origins that may call from a browser, separated by commas",
    ),
    variable(
        "HELDAR_LOG",
        "info",
        "which log lines are written: error, warn, info, debug, or a tracing filter",
    ),
    variable(
        "HELDAR_LOG_FORMAT",
        "text",
        "how log lines are written: text or json",
    ),
    variable(
        "HELDAR_SERVER",
        "http://127.0.0.1:50051",
        "server that clip, jobs, watch, cameras and timeline call; https:// for one behind a proxy with TLS that this machine trusts",
    ),
];

/// The `HELDAR_` names among `names` that have no meaning, in order.
pub fn unknown(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut unknown: Vec<String> = names
        .filter(|name| name.starts_with("HELDAR_"))
        .filter(|name| !ALL.iter().any(|variable| variable.name == name))
        .collect();
    unknown.sort();
    unknown
}

#[derive(serde::Serialize)]
struct Shown<'a> {
    name: &'a str,
    meaning: &'a str,
    default: &'a str,
    /// The value; of a secret, only whether it is set.
    value: Option<String>,
    #[serde(skip)]
    is_secret: bool,
    problem: Option<String>,
}

/// Prints every variable with its meaning, default and present value. Values of secrets are never read.
///
/// # Errors
/// When standard output cannot be written, and after printing, when a variable is wrong.
pub fn print(json: bool) -> Result<(), CliError> {
    let read = Settings::of_process(&[]);
    let problem_of = |name: &str| {
        let wrong = read
            .as_ref()
            .err()?
            .wrong
            .iter()
            .find(|wrong| wrong.name == name)?;
        Some(wrong.reason.clone())
    };
    let shown: Vec<Shown<'_>> = ALL
        .iter()
        .map(|variable| Shown {
            name: variable.name,
            meaning: variable.meaning,
            default: variable.default,
            value: present_value(variable),
            is_secret: variable.is_secret,
            problem: problem_of(variable.name),
        })
        .collect();
    let mut out = std::io::stdout().lock();
    if json {
        super::json::print_plain(&shown)?;
    } else {
        write_text(&mut out, &shown).map_err(CliError::output)?;
    }
    read.map(|(_, unknown)| super::warn_of_unknown(&unknown))
        .map_err(CliError::from)
}

/// The database's URL is the one value that could hold a password, so it is shown only as far as it is understood.
fn present_value(variable: &Variable) -> Option<String> {
    let name = variable.name;
    if variable.is_secret {
        let is_set = std::env::var_os(name).is_some_and(|value| !value.is_empty());
        return Some(if is_set { "set" } else { "unset" }.to_owned());
    }
    let value = std::env::var(name)
        .ok()
        .filter(|value| !value.trim().is_empty())?;
    let is_hidden = name == "HELDAR_DATABASE_URL" && !value.starts_with("sqlite:");
    Some(if is_hidden {
        "(not shown)".to_owned()
    } else {
        super::words::plain(value.trim())
    })
}

fn write_text(out: &mut impl Write, shown: &[Shown<'_>]) -> std::io::Result<()> {
    writeln!(
        out,
        "Settings are variables of the environment; a blank one counts as unset.\n"
    )?;
    for variable in shown {
        writeln!(out, "{}   default: {}", variable.name, variable.default)?;
        writeln!(out, "    {}", variable.meaning)?;
        match &variable.value {
            Some(state) if variable.is_secret => writeln!(out, "    is {state}")?,
            Some(value) => writeln!(out, "    is set to: {value}")?,
            None => {}
        }
        if let Some(problem) = &variable.problem {
            writeln!(out, "    which is wrong: {problem}")?;
        }
    }
    writeln!(
        out,
        "\nRelative paths count from the folder in which `footage` is started; <data> is HELDAR_DATA_DIR.\n\n{}",
        super::sources::SYNTAX
    )
}

#[cfg(test)]
mod tests {
    use super::{ALL, unknown};

    #[test]
    fn a_misspelt_variable_is_reported_and_the_known_ones_are_not() {
        let names = [
            "HELDAR_CLIP_DIR",
            "HELDAR_DATA_DIR",
            "HELDAR_ARCHIVE_DIR",
            "HELDAR_BACKUP_ENABLED",
            "HOME",
        ];
        let with_key = names
            .into_iter()
            .chain(["HELDAR_SECRET_KEY"])
            .map(str::to_owned);
        assert_eq!(unknown(with_key), ["HELDAR_CLIP_DIR"]);
    }

    #[test]
    fn the_stated_defaults_are_those_in_effect() {
        let stated = |name: &str| {
            let variable = ALL.iter().find(|variable| variable.name == name)?;
            let is_value =
                !matches!(variable.default, "none" | "all") && !variable.default.contains('<');
            is_value.then(|| variable.default.to_owned())
        };
        assert_eq!(
            super::Settings::from_env(stated),
            super::Settings::from_env(|_| None)
        );
    }
}
