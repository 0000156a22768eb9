//! The server's settings, read from the environment.
//!
//! Every variable is looked at before anything is refused, so that one start names all that is wrong. What the
//! variables mean for people stands in `variables`; sources have their own syntax, in `sources`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use heldar_footage::repository::SecretKey;

use super::backup_settings::BackupSettings;
use super::database_url::DatabaseUrl;
use super::sources::{self, SourceSetting};
use super::variables;

const SECONDS_PER_HOUR: u64 = 3600;
/// A hundred years: longer times cannot be meant.
const LONGEST_HOURS: u64 = 876_000;
const LONGEST_S: u64 = 86_400;
/// Thirty days: what a restore of everything may take over a thin line.
const LONGEST_JOB_S: u64 = 30 * 86_400;
const MOST_JOBS: u64 = 256;
/// A waiting job is a row; more than a million of them are a mistake of who sends them.
const LONGEST_QUEUE: u64 = 1_000_000;
const MOST_WATCHES: u64 = 1_000_000;
/// What the database can hold as a size.
const MOST_BYTES: u64 = i64::MAX as u64;
/// A verification takes no zip with twice as many records for one of ours.
const MOST_SEGMENTS: u64 = 1_000_000;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything that the environment decides. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the server listens.
    pub listen: SocketAddr,
    /// Folder of everything that the service keeps.
    pub data_dir: PathBuf,
    /// Where the database is.
    pub database_url: DatabaseUrl,
    /// How long a claim of a job holds unless it is renewed.
    pub lease: Duration,
    /// Root of the source `recordings`.
    pub recordings_dir: PathBuf,
    /// Whether the recordings folder was named; if not, it is made where it is missing.
    pub recordings_dir_given: bool,
    /// Where finished clips lie.
    pub clips_dir: PathBuf,
    /// Name or path of ffmpeg.
    pub ffmpeg_bin: PathBuf,
    /// Name or path of ffprobe.
    pub ffprobe_bin: PathBuf,
    /// Name or path of rclone.
    pub rclone_bin: PathBuf,
    /// Jobs that run at the same time, at least 1.
    pub media_job_concurrency: usize,
    /// Jobs that may wait before more are refused, at least 1.
    pub job_queue_limit: u64,
    /// Watches that may be open before more are refused, at least 1.
    pub watch_limit: usize,
    /// How long a clip is kept unless the request says otherwise; `None`: until it is deleted.
    pub clip_retention: Option<Duration>,
    /// How long a clip may take to be cut.
    pub clip_timeout: Duration,
    /// Where finished archives lie.
    pub archive_dir: PathBuf,
    /// How long an archive is kept unless the request says otherwise; `None`: until it is deleted.
    pub archive_retention: Option<Duration>,
    /// Most bytes that the segments selected for one archive may have.
    pub archive_max_bytes: u64,
    /// Most segments that may be selected for one archive.
    pub archive_max_segments: u64,
    /// Most bytes that the archive folder may hold.
    pub archive_dir_max_bytes: u64,
    /// How long making an archive may take.
    pub archive_timeout: Duration,
    /// The private key that signs archives; `None`: the one in the data folder, made where it is missing.
    pub signing_key: Option<PathBuf>,
    /// Folders that are imported at start and followed, the recordings folder first.
    pub sources: Vec<SourceSetting>,
    /// The key that seals the secrets of destinations; `None`: they can be neither stored nor read.
    pub secret_key: Option<SecretKey>,
    /// Everything about backups.
    pub backup: BackupSettings,
    /// The longest that a recorder writes to one file.
    pub segment_length: Duration,
    /// How long an import, a verification or a restore may take.
    pub job_timeout: Duration,
    /// How long running calls and jobs may take to end after the first signal.
    pub shutdown_grace: Duration,
    /// Web origins that may call from a browser.
    pub cors_origins: Vec<String>,
    /// Filter of log lines, as `tracing-subscriber` reads it.
    pub log: String,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// The server that client commands call.
    pub server: String,
}

/// A variable that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongVariable {
    /// Its name.
    pub name: &'static str,
    /// Why its value cannot be used.
    pub reason: String,
}

/// The settings cannot be used: the operator must change every variable that is named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .wrong.iter().map(|wrong| format!("{}: {}", wrong.name, wrong.reason)).collect::<Vec<_>>().join("\n       "))]
pub struct SettingsError {
    /// At least one.
    pub wrong: Vec<WrongVariable>,
}

impl Settings {
    /// Reads the settings from `get`, which gives the value of a variable. A blank value counts as unset.
    ///
    /// # Errors
    /// [`SettingsError`] with every variable whose value cannot be used.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let mut reader = Reader {
            get,
            wrong: Vec::new(),
        };
        let settings = reader.settings();
        if reader.wrong.is_empty() {
            Ok(settings)
        } else {
            Err(SettingsError {
                wrong: reader.wrong,
            })
        }
    }

    /// Reads the settings from the environment of this process, in which `overrides` (from the command line) replace
    /// variables. Returns them with the `HELDAR_` variables that have no meaning, which are likely typing errors.
    ///
    /// # Errors
    /// As [`Settings::from_env`]; also for values that are not UTF-8.
    pub fn of_process(
        overrides: &[(&str, Option<String>)],
    ) -> Result<(Self, Vec<String>), SettingsError> {
        let wrong: Vec<WrongVariable> = variables::ALL
            .iter()
            .filter(|variable| {
                std::env::var_os(variable.name).is_some_and(|value| value.to_str().is_none())
            })
            .map(|variable| WrongVariable {
                name: variable.name,
                reason: "is not UTF-8".to_owned(),
            })
            .collect();
        if !wrong.is_empty() {
            return Err(SettingsError { wrong });
        }
        let settings = Self::from_env(|name| {
            let overriding = overrides.iter().find(|(overridden, _)| *overridden == name);
            overriding
                .and_then(|(_, value)| value.clone())
                .or_else(|| std::env::var(name).ok())
        })?;
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        Ok((settings, variables::unknown(names)))
    }

    /// The file of the key that signs archives.
    pub fn signing_key_path(&self) -> PathBuf {
        self.signing_key
            .clone()
            .unwrap_or_else(|| self.data_dir.join("signing_key"))
    }
}

pub(super) struct Reader<F> {
    get: F,
    wrong: Vec<WrongVariable>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    fn settings(&mut self) -> Settings {
        let data_dir = self
            .path("HELDAR_DATA_DIR")
            .unwrap_or_else(|| absolute(Path::new("data")));
        let recordings_dir = self.path("HELDAR_RECORDINGS_DIR");
        let recordings_dir_given = recordings_dir.is_some();
        let recordings_dir = recordings_dir.unwrap_or_else(|| data_dir.join("recordings"));
        let clip_hours = self.number("HELDAR_CLIP_RETENTION_HOURS", 168, 0..=LONGEST_HOURS);
        let archive_hours = self.number("HELDAR_ARCHIVE_RETENTION_HOURS", 48, 0..=LONGEST_HOURS);
        Settings {
            listen: self.parsed("HELDAR_LISTEN", "127.0.0.1:50051", |text| {
                text.parse().map_err(|_| {
                    format!("`{text}` is no address and port; write, for example, 127.0.0.1:50051 or [::1]:50051")
                })
            }),
            database_url: self.database_url(&data_dir),
            lease: self.seconds("HELDAR_LEASE_S", 60, 2),
            sources: self.sources(&recordings_dir),
            recordings_dir,
            recordings_dir_given,
            clips_dir: self.path("HELDAR_CLIPS_DIR").unwrap_or_else(|| data_dir.join("clips")),
            ffmpeg_bin: self.program("HELDAR_FFMPEG_BIN", "ffmpeg"),
            ffprobe_bin: self.program("HELDAR_FFPROBE_BIN", "ffprobe"),
            rclone_bin: self.program("HELDAR_RCLONE_BIN", "rclone"),
            media_job_concurrency: usize::try_from(self.number("HELDAR_MEDIA_JOB_CONCURRENCY", 3, 1..=MOST_JOBS))
                .unwrap_or(1),
            job_queue_limit: self.number("HELDAR_JOB_QUEUE_LIMIT", 1000, 1..=LONGEST_QUEUE),
            watch_limit: usize::try_from(self.number("HELDAR_WATCH_LIMIT", 20_000, 1..=MOST_WATCHES))
                .unwrap_or(1),
            clip_retention: hours(clip_hours),
            clip_timeout: self.seconds("HELDAR_CLIP_TIMEOUT_S", 180, 5),
            archive_dir: self
                .path("HELDAR_ARCHIVE_DIR")
                .unwrap_or_else(|| data_dir.join("archives")),
            archive_retention: hours(archive_hours),
            archive_max_bytes: self.number("HELDAR_ARCHIVE_MAX_BYTES", 10 << 30, 1..=MOST_BYTES),
            archive_max_segments: self.number("HELDAR_ARCHIVE_MAX_SEGMENTS", 200_000, 1..=MOST_SEGMENTS),
            archive_dir_max_bytes: self.number("HELDAR_ARCHIVE_DIR_MAX_BYTES", 50 << 30, 1..=MOST_BYTES),
            archive_timeout: self.seconds("HELDAR_ARCHIVE_TIMEOUT_S", 21_600, 5),
            signing_key: self.path("HELDAR_SIGNING_KEY"),
            secret_key: self.secret_key("HELDAR_SECRET_KEY"),
            backup: self.backup(&data_dir),
            segment_length: self.seconds("HELDAR_SEGMENT_LENGTH_S", 60, 1),
            job_timeout: Duration::from_secs(self.number("HELDAR_JOB_TIMEOUT_S", LONGEST_S, 5..=LONGEST_JOB_S)),
            shutdown_grace: self.seconds("HELDAR_SHUTDOWN_GRACE_S", 10, 0),
            cors_origins: self.cors_origins(),
            log: self.parsed("HELDAR_LOG", super::logging::DEFAULT_FILTER, |text| {
                text.parse::<tracing_subscriber::EnvFilter>()
                    .map(|_| text.to_owned())
                    .map_err(|error| format!("`{text}` is no log filter ({error}); write, for example, info or debug"))
            }),
            log_format: self.parsed("HELDAR_LOG_FORMAT", "text", |text| match text {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err(format!("`{text}` is neither `text` nor `json`")),
            }),
            server: self.parsed("HELDAR_SERVER", super::connection::DEFAULT_SERVER, |text| {
                super::connection::server_url(text)
            }),
            data_dir,
        }
    }

    pub(super) fn value(&self, name: &str) -> Option<String> {
        (self.get)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    pub(super) fn refuse(&mut self, name: &'static str, reason: impl Into<String>) {
        self.wrong.push(WrongVariable {
            name,
            reason: reason.into(),
        });
    }

    /// The value as `parse` reads it. When it cannot be read the default stands in, and the start is refused later.
    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let given = self.value(name).map(|text| parse(&text));
        match given {
            Some(Ok(value)) => return value,
            Some(Err(reason)) => self.refuse(name, reason),
            None => {}
        }
        parse(default).unwrap_or_else(|reason| {
            unreachable!("the default of {name} is sound, as a test shows: {reason}")
        })
    }

    pub(super) fn number(
        &mut self,
        name: &'static str,
        default: u64,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> u64 {
        self.parsed(name, &default.to_string(), |text| {
            match u64::from_str(text) {
                Ok(number) if bounds.contains(&number) => Ok(number),
                Ok(_) => Err(format!(
                    "{text} is not between {} and {}",
                    bounds.start(),
                    bounds.end()
                )),
                Err(_) => Err(format!(
                    "`{text}` is not a whole number between {} and {}",
                    bounds.start(),
                    bounds.end()
                )),
            }
        })
    }

    pub(super) fn seconds(&mut self, name: &'static str, default: u64, least: u64) -> Duration {
        Duration::from_secs(self.number(name, default, least..=LONGEST_S))
    }

    pub(super) fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        let value = self.value(name)?;
        if value.contains('\0') {
            self.refuse(name, "holds a NUL byte");
            return None;
        }
        Some(absolute(Path::new(&value)))
    }

    /// A bare name is looked for in `PATH` when it is needed; anything with a slash is a path.
    fn program(&mut self, name: &'static str, default: &str) -> PathBuf {
        match self.value(name) {
            Some(value) if value.contains('/') => absolute(Path::new(&value)),
            Some(value) => PathBuf::from(value),
            None => PathBuf::from(default),
        }
    }

    fn database_url(&mut self, data_dir: &Path) -> DatabaseUrl {
        const NAME: &str = "HELDAR_DATABASE_URL";
        let default = DatabaseUrl::of_file(&data_dir.join("heldar.db"));
        let Some(url) = self.value(NAME) else {
            return default;
        };
        DatabaseUrl::parse(&url).unwrap_or_else(|reason| {
            self.refuse(NAME, reason);
            default
        })
    }

    /// A key is refused without being shown.
    fn secret_key(&mut self, name: &'static str) -> Option<SecretKey> {
        match SecretKey::parse(&self.value(name)?) {
            Ok(key) => Some(key),
            Err(error) => {
                self.refuse(name, error.to_string());
                None
            }
        }
    }

    fn sources(&mut self, recordings_dir: &Path) -> Vec<SourceSetting> {
        let mut all = vec![SourceSetting::recordings(recordings_dir)];
        match sources::parse(&self.value("HELDAR_SOURCES").unwrap_or_default()) {
            Ok(more) => all.extend(more),
            Err(error) => self.refuse("HELDAR_SOURCES", error.to_string()),
        }
        all
    }

    fn cors_origins(&mut self) -> Vec<String> {
        const NAME: &str = "HELDAR_CORS_ORIGINS";
        let value = self.value(NAME).unwrap_or_default();
        let origins: Vec<String> = value
            .split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty())
            .map(str::to_owned)
            .collect();
        for origin in &origins {
            if origin != "*" && !is_origin(origin) {
                self.refuse(
                    NAME,
                    format!(
                        "`{origin}` is no web origin; write, for example, https://video.example.org"
                    ),
                );
            }
        }
        origins
    }
}

/// A time of keeping; none is for ever.
fn hours(hours: u64) -> Option<Duration> {
    (hours > 0).then(|| Duration::from_secs(hours * SECONDS_PER_HOUR))
}

/// Scheme, host and port, as a browser sends it (RFC 6454, section 7).
fn is_origin(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|host| {
        !host.is_empty()
            && host.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
            })
    })
}

/// `path` made absolute by the present folder, without `.` steps. Links and `..` are left as they are.
pub fn absolute(path: &Path) -> PathBuf {
    // It fails only for an empty path or when the present folder is gone; the path then fails where it is used.
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
