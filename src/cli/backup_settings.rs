//! The settings of backups, read from the environment.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use heldar_footage::domain::backup::destination::Secret;
use heldar_footage::domain::backup::network::AllowedNetworks;
use heldar_footage::domain::backup::schedule::OVERDUE_GRACE;

use super::settings::Reader;

/// A month: a first run sends all that there is.
const LONGEST_RUN_S: u64 = 2_592_000;
const MOST_RUNS: u64 = 64;
/// Half of the grace after which a run that was not started is overdue, at most: one that waits for the next look of the
/// scheduler is not.
const SCHEDULER_INTERVALS_S: RangeInclusive<u64> = 5..=OVERDUE_GRACE.as_secs() / 2;

/// Everything about backups that the environment decides. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSettings {
    /// Whether the scheduler starts runs; by hand they start without it.
    pub enabled: bool,
    /// How often the scheduler looks for runs that are due.
    pub scheduler_interval: Duration,
    /// How long a run may take unless its policy says otherwise.
    pub job_timeout: Duration,
    /// How long nothing may move before a transfer is given up.
    pub stall_limit: Duration,
    /// Runs at the same time, at least 1.
    pub concurrency: usize,
    /// Folders that local destinations may lie in.
    pub local_roots: Vec<PathBuf>,
    /// Networks that destinations may be in.
    pub networks: AllowedNetworks,
    /// The operator's rclone configuration; without it there are no rclone destinations.
    pub rclone_config: Option<PathBuf>,
    /// Where restored footage goes.
    pub restore_dir: PathBuf,
    /// Where reports of overdue policies and paused destinations are sent.
    pub webhook_url: Option<Secret>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    pub(super) fn backup(&mut self, data_dir: &Path) -> BackupSettings {
        BackupSettings {
            enabled: self.parsed("HELDAR_BACKUP_ENABLED", "true", |text| match text {
                "true" | "1" | "yes" | "on" => Ok(true),
                "false" | "0" | "no" | "off" => Ok(false),
                _ => Err(format!("`{text}` is neither `true` nor `false`")),
            }),
            scheduler_interval: Duration::from_secs(self.number(
                "HELDAR_BACKUP_SCHEDULER_INTERVAL_S",
                60,
                SCHEDULER_INTERVALS_S,
            )),
            job_timeout: Duration::from_secs(self.number(
                "HELDAR_BACKUP_JOB_TIMEOUT_S",
                3600,
                30..=LONGEST_RUN_S,
            )),
            stall_limit: self.seconds("HELDAR_BACKUP_STALL_S", 120, 5),
            concurrency: usize::try_from(self.number(
                "HELDAR_BACKUP_MAX_CONCURRENT_JOBS",
                2,
                1..=MOST_RUNS,
            ))
            .unwrap_or(1),
            local_roots: self.parsed(
                "HELDAR_BACKUP_LOCAL_ROOTS",
                "/mnt:/media:/srv:/backup",
                folders,
            ),
            networks: self.parsed("HELDAR_BACKUP_NETWORKS", "", |text| {
                AllowedNetworks::parse(text).map_err(|error| error.to_string())
            }),
            rclone_config: self.path("HELDAR_RCLONE_CONFIG"),
            restore_dir: self
                .path("HELDAR_RESTORE_DIR")
                .unwrap_or_else(|| data_dir.join("restores")),
            webhook_url: self.webhook_url("HELDAR_BACKUP_WEBHOOK_URL"),
        }
    }

    /// Whoever has such a URL can post to it, so it is refused without being shown.
    fn webhook_url(&mut self, name: &'static str) -> Option<Secret> {
        let url = self.value(name)?;
        let is_web = url.parse::<axum::http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
        });
        if is_web {
            return Some(Secret::new(url));
        }
        self.refuse(
            name,
            "is no URL of the web; write https:// and what follows",
        );
        None
    }
}

fn folders(text: &str) -> Result<Vec<PathBuf>, String> {
    let parts = text.split(':').map(str::trim);
    parts
        .filter(|part| !part.is_empty())
        .map(|part| {
            if part.starts_with('/') && !part.contains('\0') {
                Ok(super::settings::absolute(Path::new(part)))
            } else {
                Err(format!(
                    "`{part}` is no absolute path; write folders separated by `:`"
                ))
            }
        })
        .collect()
}
