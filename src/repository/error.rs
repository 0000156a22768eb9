//! What can go wrong with the database, named for what the caller does next.

use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};

use super::sealing::SealError;

/// The database cannot be used at all; shown to the operator.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum OpenError {
    #[error("HELDAR_DATABASE_URL: only sqlite:// and postgres:// URLs are supported")]
    Unsupported,
    #[error("HELDAR_DATABASE_URL is not a SQLite URL")]
    Url { source: sqlx::Error },
    #[error("HELDAR_DATABASE_URL is not a PostgreSQL URL")]
    PostgresUrl,
    #[error("cannot connect to the database {server}")]
    Connect { server: String, source: sqlx::Error },
    #[error("cannot bring the schema of {server} up to date")]
    MigrateServer {
        server: String,
        source: sqlx::migrate::MigrateError,
    },
    #[error("cannot make the database's folder {}", path.display())]
    Folder {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot open the database {}", path.display())]
    Open { path: PathBuf, source: sqlx::Error },
    #[error("the database {} cannot be written; check the permissions of the file and of its folder", path.display())]
    NotWritable { path: PathBuf, source: sqlx::Error },
    #[error("cannot bring the schema of {} up to date", path.display())]
    Migrate {
        path: PathBuf,
        source: sqlx::migrate::MigrateError,
    },
}

/// A statement failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk that holds the database is full: free space, then call again.
    #[error("the database's disk is full")]
    Full(#[source] sqlx::Error),
    /// The database does not answer now; calling again may help.
    #[error("the database does not answer")]
    Unavailable(#[source] sqlx::Error),
    /// The secrets of a destination can be neither sealed nor opened; the operator has to see to the key.
    #[error("destination {destination_id}")]
    Secrets {
        /// The destination.
        destination_id: String,
        /// Why.
        source: SealError,
    },
    /// A row holds what this program never writes; a person has to look.
    #[error("{table} {id}: {fault}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The row.
        id: String,
        /// What is wrong with it.
        fault: String,
    },
}

/// SQLITE_FULL of SQLite's result codes, and disk_full of PostgreSQL's.
const DISK_FULL: [&str; 2] = ["13", "53100"];

impl StoreError {
    /// Whether a unique index refused the statement.
    pub(super) fn is_unique_violation(&self) -> bool {
        let (Self::Full(error) | Self::Unavailable(error)) = self else {
            return false;
        };
        error
            .as_database_error()
            .is_some_and(|error| error.is_unique_violation())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        if code.is_some_and(|code| DISK_FULL.contains(&&*code)) {
            Self::Full(error)
        } else {
            Self::Unavailable(error)
        }
    }
}

/// Builds the error for a row that holds what this program never writes.
pub(super) fn inconsistent(table: &'static str, id: &str, fault: impl Into<String>) -> StoreError {
    StoreError::Inconsistent {
        table,
        id: id.to_owned(),
        fault: fault.into(),
    }
}

/// A time as the database holds it.
pub(super) fn us(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

/// A duration as the database holds it. Durations of footage are far below the limit of 292,000 years.
pub(super) fn duration_us(duration: TimeDelta) -> i64 {
    duration.num_microseconds().unwrap_or(i64::MAX)
}

/// A time of a row.
pub(super) fn time(table: &'static str, id: &str, us: i64) -> Result<DateTime<Utc>, StoreError> {
    DateTime::from_timestamp_micros(us)
        .ok_or_else(|| inconsistent(table, id, format!("time {us} is out of range")))
}

/// A count or size of a row.
pub(super) fn count(table: &'static str, id: &str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| inconsistent(table, id, format!("{value} is negative")))
}

/// A count or size as the database holds it; none comes near the limit.
pub(super) fn stored(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// JSON of a row.
pub(super) fn json<T: serde::de::DeserializeOwned>(
    table: &'static str,
    id: &str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| inconsistent(table, id, error.to_string()))
}

/// Something as JSON for a row. Only maps with keys that are not text can fail, and no row holds one.
pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
