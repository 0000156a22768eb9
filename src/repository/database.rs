//! The two databases behind one face: connections, transactions, and how long to wait for them.
//!
//! SQLite in WAL mode: readers come from a pool, writers queue on a single connection, because a second writer would
//! only wait for the first one's lock and could starve (`busy` errors). A commit is on disk before it is reported
//! (`synchronous = FULL`).
//!
//! PostgreSQL: one pool for all, at its own isolation READ COMMITTED. What has to be alone between reading and writing
//! takes the lock of its [`Area`], which ends with the transaction.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::sqlite::SqlitePool;
use sqlx::{Executor as _, Postgres, Sqlite};
use tokio::time::error::Elapsed;

use super::StoreError;
use super::error::time;
use super::statement::sql;

/// The longest that a statement may take on another machine's database. A connection on which nothing comes back is
/// given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait for the end of a transaction that is given up, before its connection is.
const ROLLBACK_PATIENCE: Duration = Duration::from_secs(5);

/// First half of the keys of our advisory locks, so that they are nobody else's: "hlda".
const LOCKS: i64 = 0x686c_6461;
const LOCK: &str = "SELECT pg_advisory_xact_lock(CAST($1 AS INT), CAST($2 AS INT))";

const NOW: &str = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)";

/// What transactions that read and then write are about. On PostgreSQL one at a time of each area runs; on SQLite there
/// is only ever one. A transaction that needs several takes them in the order that they have here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    /// Cameras, sources, segments, spans, evidence.
    Catalog = 1,
    /// Destinations, policies, the ledger.
    Backups = 2,
    /// Which jobs are let in.
    Admission = 3,
}

/// Where connections come from.
#[derive(Clone, Debug)]
pub(super) enum Database {
    Sqlite {
        readers: SqlitePool,
        writer: SqlitePool,
    },
    Postgres(PgPool, Clock),
}

/// Whose time decides between nodes about leases and due moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// The database's: the clocks of nodes may differ.
    Database,
    /// The caller's, for tests that make time go by.
    #[cfg(test)]
    Caller,
}

impl Database {
    /// A connection for statements that only read.
    pub(super) async fn read(&self) -> Result<Connection, StoreError> {
        Ok(match self {
            Self::Sqlite { readers, .. } => Connection::Sqlite(readers.acquire().await?),
            Self::Postgres(pool, clock) => {
                Connection::Postgres(Link::of(pool, *clock, PATIENCE).await?)
            }
        })
    }

    /// A connection for single statements that write.
    pub(super) async fn writer(&self) -> Result<Connection, StoreError> {
        self.writer_within(PATIENCE).await
    }

    /// The same, which waits no longer than `patience` for another machine's database: for the connection, and for each
    /// statement.
    pub(super) async fn writer_within(&self, patience: Duration) -> Result<Connection, StoreError> {
        Ok(match self {
            Self::Sqlite { writer, .. } => Connection::Sqlite(writer.acquire().await?),
            Self::Postgres(pool, clock) => {
                Connection::Postgres(Link::of(pool, *clock, patience).await?)
            }
        })
    }

    /// Begins a transaction that writes. On SQLite it holds the write lock from the start, so that reading and then
    /// writing cannot fail half-way; on PostgreSQL it has to lock the rows that it reads, or an area.
    pub(super) async fn begin(&self) -> Result<Transaction, StoreError> {
        self.begin_within(PATIENCE).await
    }

    /// The same, which waits no longer than `patience` for another machine's database: for the connection, and for each
    /// statement, its own beginning and end among them.
    pub(super) async fn begin_within(&self, patience: Duration) -> Result<Transaction, StoreError> {
        Ok(Transaction(match self {
            Self::Sqlite { writer, .. } => {
                Connection::SqliteTransaction(writer.begin_with("BEGIN IMMEDIATE").await?)
            }
            Self::Postgres(pool, clock) => {
                let link = Link::of(pool, *clock, patience).await?;
                Connection::Postgres(link.begin("BEGIN").await?)
            }
        }))
    }

    /// Begins a transaction that only reads, all of it of one moment.
    pub(super) async fn moment(&self) -> Result<Transaction, StoreError> {
        Ok(Transaction(match self {
            Self::Sqlite { readers, .. } => Connection::SqliteTransaction(readers.begin().await?),
            Self::Postgres(pool, clock) => Connection::Postgres(
                Link::of(pool, *clock, PATIENCE)
                    .await?
                    .begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                    .await?,
            ),
        }))
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { readers, writer } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres(pool, _) => pool.close().await,
        }
    }
}

/// A connection, perhaps within a transaction.
pub(super) enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    SqliteTransaction(sqlx::Transaction<'static, Sqlite>),
    Postgres(Link),
}

impl Connection {
    /// Waits until no other transaction is in this area, and keeps others out until the end of this
    /// one.
    pub(super) async fn lock(&mut self, area: Area) -> Result<(), StoreError> {
        if matches!(self, Connection::Postgres(_)) {
            sql(LOCK)
                .bind(LOCKS)
                .bind(area as i64)
                .execute(self)
                .await?;
        }
        Ok(())
    }

    /// The present moment by the clock that decides between nodes: the database's, which on SQLite is that of this
    /// machine, read by the caller as `own`.
    pub(super) async fn present(
        &mut self,
        own: DateTime<Utc>,
    ) -> Result<DateTime<Utc>, StoreError> {
        match self {
            Self::Postgres(link) if link.clock == Clock::Database => {
                let now_us = sql(NOW).fetch_value(self).await?;
                time("clock", "now", now_us)
            }
            _ => Ok(own),
        }
    }
}

/// A connection to PostgreSQL.
pub(super) struct Link {
    /// There until this is dropped.
    connection: Option<PoolConnection<Postgres>>,
    in_transaction: bool,
    clock: Clock,
    patience: Duration,
}

impl Link {
    async fn of(pool: &PgPool, clock: Clock, patience: Duration) -> Result<Self, StoreError> {
        // A connection is tried before it is given out, which on a dead one takes as long as the pool waits.
        let connection = tokio::time::timeout(patience, pool.acquire())
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)??;
        Ok(Self {
            clock,
            connection: Some(connection),
            in_transaction: false,
            patience,
        })
    }

    async fn begin(mut self, how: &'static str) -> Result<Self, StoreError> {
        // From before it is sent: whoever gives up waiting leaves a transaction behind that has to be ended.
        self.in_transaction = true;
        let patience = self.patience;
        let begun = tokio::time::timeout(patience, self.get().execute(how)).await;
        self.settle(begun)?;
        Ok(self)
    }

    async fn commit(mut self) -> Result<(), StoreError> {
        let patience = self.patience;
        let done = tokio::time::timeout(patience, self.get().execute("COMMIT")).await;
        self.settle(done)?;
        self.in_transaction = false;
        Ok(())
    }

    async fn rollback(mut self) -> Result<(), StoreError> {
        let done = tokio::time::timeout(ROLLBACK_PATIENCE, self.get().execute("ROLLBACK")).await;
        self.settle(done)?;
        self.in_transaction = false;
        Ok(())
    }

    /// How long a statement may take on this connection.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn get(&mut self) -> &mut PgConnection {
        self.connection
            .as_mut()
            .expect("only `drop` takes the connection out")
    }

    /// What came of a statement. A connection that did not answer in time may never do so again.
    pub(super) fn settle<T>(
        &mut self,
        answer: Result<Result<T, sqlx::Error>, Elapsed>,
    ) -> Result<T, StoreError> {
        match answer {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                self.in_transaction = false;
                if let Some(connection) = &mut self.connection {
                    connection.close_on_drop();
                }
                Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()).into())
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if !self.in_transaction {
            return;
        }
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    let taken_back =
                        tokio::time::timeout(ROLLBACK_PATIENCE, connection.execute("ROLLBACK"));
                    if !matches!(taken_back.await, Ok(Ok(_))) {
                        connection.close_on_drop();
                    }
                });
            }
            // The process ends, and with it the session and its transaction.
            Err(_) => connection.close_on_drop(),
        }
    }
}

/// A transaction. What it wrote is taken back unless it is committed.
pub(super) struct Transaction(Connection);

impl Transaction {
    /// Takes all of it back, and returns when nothing of it is held any more. When it is dropped instead, that comes a
    /// little later.
    pub(super) async fn rollback(self) -> Result<(), StoreError> {
        match self.0 {
            Connection::SqliteTransaction(transaction) => Ok(transaction.rollback().await?),
            Connection::Postgres(link) => link.rollback().await,
            Connection::Sqlite(_) => Ok(()),
        }
    }

    /// Makes all of it last. It is on disk when this returns.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        match self.0 {
            Connection::SqliteTransaction(transaction) => Ok(transaction.commit().await?),
            Connection::Postgres(link) => link.commit().await,
            // Transactions are made by `begin` and `moment` only, which never use this.
            Connection::Sqlite(_) => Ok(()),
        }
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}
