//! Care for the database's file: copies of it, and room that is given back.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::statement::sql;
use super::{Store, StoreError};

/// Free pages that are given back in one go: 16 MiB in pages of 4 KiB, so that no writer waits long.
const GIVE_BACK: &str = "PRAGMA incremental_vacuum(4096)";

/// Why a database could not be copied.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum CopyError {
    #[error("only SQLite databases are copied this way")]
    Unsupported,
    #[error("the database {} cannot be opened", path.display())]
    Open { path: PathBuf, source: sqlx::Error },
    #[error("the database cannot be copied")]
    Copy(#[source] sqlx::Error),
    #[error("the copy cannot be read back")]
    ReadBack(#[source] sqlx::Error),
    #[error("the copy is damaged, which the database may be too: {0}")]
    Damaged(String),
}

/// Writes the database at `url` as it is at this moment into the file `to`, which must be empty, and checks the copy. May
/// run beside servers, which go on meanwhile; what they write later is not in the copy. The caller makes it last on the
/// disk.
///
/// # Errors
/// [`CopyError`]; `to` is of no use then.
pub async fn copy_database(url: &str, to: &Path) -> Result<(), CopyError> {
    if !url.starts_with("sqlite:") {
        return Err(CopyError::Unsupported);
    }
    let from = SqliteConnectOptions::from_str(url)
        .map_err(CopyError::Copy)?
        .create_if_missing(false);
    let path = from.get_filename().to_path_buf();
    let mut database = from
        .connect()
        .await
        .map_err(|source| CopyError::Open { path, source })?;
    // A transaction that only reads: writers go on.
    let copied = sqlx::query("VACUUM INTO $1")
        .bind(to.to_string_lossy())
        .execute(&mut database)
        .await;
    database.close().await.map_err(CopyError::Copy)?;
    copied.map_err(CopyError::Copy)?;
    check(to).await
}

async fn check(path: &Path) -> Result<(), CopyError> {
    let mut copy: SqliteConnection = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .connect()
        .await
        .map_err(CopyError::ReadBack)?;
    let faults: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(10)")
        .fetch_all(&mut copy)
        .await
        .map_err(CopyError::ReadBack)?;
    copy.close().await.map_err(CopyError::ReadBack)?;
    match faults.as_slice() {
        [only] if only == "ok" => Ok(()),
        faults => Err(CopyError::Damaged(faults.join("; "))),
    }
}

impl Store {
    /// What a database wants from time to time: gives pages that deleted rows left back to the disk, some at a time.
    /// PostgreSQL does so by itself.
    pub async fn tend(&self) -> Result<(), StoreError> {
        if self.is_shared() {
            return Ok(());
        }
        sql(GIVE_BACK).execute(&mut self.writer().await?).await?;
        Ok(())
    }
}
