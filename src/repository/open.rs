//! Opening the database, and bringing its schema up to date.

use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions,
    SqliteSynchronous,
};

use super::OpenError;
use super::database::{Clock, Database};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// How long a statement waits for another process's write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const READERS: u32 = 4;

/// Connections of one node to PostgreSQL, those that listen not counted.
const CONNECTIONS: u32 = 10;
/// How long a call waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// The server's half of what keeps a node that froze or was cut off from holding up the others: its locks end with its
/// session. In milliseconds; `tcp_user_timeout` and keepalives work on TCP only.
const SESSION: [(&str, &str); 6] = [
    ("client_min_messages", "warning"),
    ("lock_timeout", "15000"),
    ("idle_in_transaction_session_timeout", "10000"),
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_user_timeout", "30000"),
];

impl Database {
    /// Opens the database at `url`. A password in it is in no error.
    pub(super) async fn open(url: &str) -> Result<Self, OpenError> {
        if url.starts_with("sqlite:") {
            open_sqlite(url).await
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            open_postgres(url).await
        } else {
            Err(OpenError::Unsupported)
        }
    }
}

async fn open_sqlite(url: &str) -> Result<Database, OpenError> {
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
        .pragma("cache_size", "-2048")
        // Rows come from the connection's thread. Up to as many as an hour has segments, it need not wait for the reader.
        .row_buffer_size(400);
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
    // The writer's connection and the readers' are tried when they are given back, and those of a file do not go stale while
    // they wait: to try them again for every call would only be one more switch of threads.
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false)
        // SQLite ends a transaction by itself when the disk is full; sqlx then counts one that is no more, and the
        // connection can begin none ever after.
        .before_acquire(|connection, _| {
            Box::pin(async move { Ok(!connection.is_in_transaction()) })
        })
        .connect_with(options.clone())
        .await
        .map_err(cannot_open)?;
    SQLITE
        .run(&writer)
        .await
        .map_err(|source| OpenError::Migrate {
            path: path.clone(),
            source,
        })?;
    // SQLite opens a file that it may not write without a word; the first write would be a caller's.
    sqlx::raw_sql("BEGIN IMMEDIATE; UPDATE cameras SET revision = revision WHERE id = ''; COMMIT")
        .execute(&writer)
        .await
        .map_err(|source| OpenError::NotWritable {
            path: path.clone(),
            source,
        })?;
    // The plan of a statement follows from its text and the indexes alone, and the tests of this room look at it. With
    // statistics it would follow how large the tables were when they were counted, and SQLite counts some of them never
    // again: one that was small then is read whole for every clip when it has a million rows.
    sqlx::raw_sql("DROP TABLE IF EXISTS sqlite_stat1; DROP TABLE IF EXISTS sqlite_stat4")
        .execute(&writer)
        .await
        .map_err(cannot_open)?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .map_err(cannot_open)?;
    Ok(Database::Sqlite { readers, writer })
}

async fn open_postgres(url: &str) -> Result<Database, OpenError> {
    // The URL's own fault may show a part of it, and with that of a password.
    let options = PgConnectOptions::from_str(url).map_err(|_| OpenError::PostgresUrl)?;
    let server = format!(
        "{} at {}:{}",
        options.get_database().unwrap_or(options.get_username()),
        options.get_socket().map_or_else(
            || options.get_host().to_owned(),
            |folder| folder.display().to_string()
        ),
        options.get_port()
    );
    let options = options.application_name("heldar-footage").options(SESSION);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await
        .map_err(|source| OpenError::Connect {
            server: server.clone(),
            source,
        })?;
    // Nodes that start together wait for each other here: the migrator takes a lock.
    POSTGRES
        .run(&pool)
        .await
        .map_err(|source| OpenError::MigrateServer { server, source })?;
    Ok(Database::Postgres(pool, Clock::Database))
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
