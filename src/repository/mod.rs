//! All SQL. One file per entity, rows private to it; nothing here decides anything about footage.
//!
//! SQLite in WAL mode: readers come from a pool, writers queue on a single connection, because a second writer would
//! only wait for the first one's lock and could starve (`busy` errors). A commit is on disk before it is reported
//! (`synchronous = FULL`).

mod archives;
mod attempts;
mod cameras;
mod care;
mod clips;
mod destination_rows;
mod destinations;
mod error;
mod evidence;
mod exports;
mod job_rows;
mod jobs;
mod ledger;
mod objects;
mod page;
mod policies;
mod policy_rows;
mod sealing;
mod segment_rows;
mod segments;
mod selection;
mod sources;
mod spans;
mod timelines;

use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};

pub use archives::{ArchiveFilter, ArchiveTotals};
pub use attempts::{Fence, Finish};
pub use cameras::{CameraChange, CameraUpdate, DeletedCamera};
pub use care::{CopyError, copy_database};
pub use clips::ClipFilter;
pub use destinations::{
    DeletedDestination, DestinationFilter, InsertedDestination, UpdatedDestination,
};
pub use error::{OpenError, StoreError};
pub use evidence::{LockChange, LockSelection};
pub use jobs::{CancelledJob, InsertedJob, JobFilter};
pub use ledger::RemovedObjects;
pub use objects::{ObjectFilter, ObjectTotals};
pub use page::Page;
pub use policies::{DeletedPolicy, InsertedPolicy, NextRun, PolicyFilter, RunEnd, UpdatedPolicy};
pub use sealing::{SealError, SecretKey, SecretKeyError};
pub use segments::{KnownFile, SegmentFilter};
pub use selection::{SelectionTotals, UnsentSegment};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// How long a statement waits for another process's write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const READERS: u32 = 4;

/// The database, migrated.
#[derive(Clone, Debug)]
pub struct Store {
    readers: SqlitePool,
    writer: SqlitePool,
    /// Opens the secrets of destinations; without it they can be neither stored nor read.
    secret_key: Option<SecretKey>,
}

impl Store {
    /// Opens the database at `url` (`sqlite://PATH`), makes it where it is missing, and brings its schema up to date.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        if !url.starts_with("sqlite:") {
            return Err(OpenError::Unsupported);
        }
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|source| OpenError::Url { source })?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            // A log that one long read made grow does not stay large.
            .pragma("journal_size_limit", "67108864")
            // 2 MiB for each connection: what one of them has read stays in the memory of the system in any case.
            .pragma("cache_size", "-2048");
        let path = options.get_filename().to_path_buf();
        make_folder_of(&path)?;
        let cannot_open = |source| OpenError::Open {
            path: path.clone(),
            source,
        };
        if std::fs::metadata(&path).map_or(true, |metadata| metadata.len() == 0) {
            // Room that deleted rows leave is given back by `Store::tend`. A file takes this only while it holds nothing.
            let new = options.clone().auto_vacuum(SqliteAutoVacuum::Incremental);
            let made = SqliteConnection::connect_with(&new).await;
            made.map_err(cannot_open)?
                .close()
                .await
                .map_err(cannot_open)?;
        }
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            // SQLite ends a transaction by itself when the disk is full; sqlx then counts one that is no more, and
            // the connection can begin none ever after.
            .before_acquire(|connection, _| {
                Box::pin(async move { Ok(!connection.is_in_transaction()) })
            })
            .connect_with(options.clone())
            .await
            .map_err(cannot_open)?;
        MIGRATIONS
            .run(&writer)
            .await
            .map_err(|source| OpenError::Migrate {
                path: path.clone(),
                source,
            })?;
        // SQLite opens a file that it may not write without a word; the first write would be a caller's.
        sqlx::raw_sql(
            "BEGIN IMMEDIATE; UPDATE cameras SET revision = revision WHERE id = ''; COMMIT",
        )
        .execute(&writer)
        .await
        .map_err(|source| OpenError::NotWritable {
            path: path.clone(),
            source,
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            // A connection is tried when it is given back, and a file's does not go stale while it waits: to try it
            // again for every call would only be one more switch of threads.
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(cannot_open)?;
        Ok(Self {
            readers,
            writer,
            secret_key: None,
        })
    }

    /// The same database with the key that seals the secrets of destinations.
    #[must_use]
    pub fn with_secret_key(self, secret_key: Option<SecretKey>) -> Self {
        Self { secret_key, ..self }
    }

    /// Whether the database answers: a row can be read, and the right to write is to be had.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT id FROM jobs LIMIT 1")
            .execute(&self.readers)
            .await?;
        Ok(self.write().await?.rollback().await?)
    }

    /// Asks SQLite whether the file is sound; the answer is `ok`, or the first faults it found.
    pub async fn check_integrity(&self) -> Result<String, StoreError> {
        let found: Vec<String> = sqlx::query_scalar("PRAGMA quick_check(10)")
            .fetch_all(&self.readers)
            .await?;
        Ok(found.join("; "))
    }

    /// Ends all connections; what was committed stays.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Begins a transaction that holds the write lock from the start, so that reading and then writing cannot fail
    /// half-way.
    async fn write(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

fn make_folder_of(path: &Path) -> Result<(), OpenError> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => {
            std::fs::create_dir_all(folder).map_err(|source| OpenError::Folder {
                path: folder.to_path_buf(),
                source,
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
