//! Several nodes on one database: what one of them does for all, who watches, and hints that something has changed.
//!
//! A hint says only where to look sooner than the next poll: one that is lost delays, and nothing else. On SQLite, which
//! one server has to itself, every duty is its own and nobody has to be told.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::{PgListener, PgPoolOptions};

use super::database::Database;
use super::error::us;
use super::statement::sql;
use super::{Store, StoreError};

const CHANNEL: &str = "heldar_jobs";
const ANNOUNCE: &str = "SELECT pg_notify($1, $2)";
const HOLD: &str = "
    INSERT INTO duties (name, owner, until_us) VALUES ($1, $2, $3)
    ON CONFLICT (name) DO UPDATE SET owner = $2, until_us = $3 WHERE duties.owner = $2 OR duties.until_us < $4
    RETURNING TRUE";
const LEAVE: &str = "DELETE FROM duties WHERE name = $1 AND owner = $2";
const WATCH: &str = "
    INSERT INTO watching_nodes (owner, until_us) VALUES ($1, $2) ON CONFLICT (owner) DO UPDATE SET until_us = $2";
const FORGET_WATCHES: &str = "DELETE FROM watching_nodes WHERE until_us < $1";
const IS_WATCHED: &str =
    "SELECT EXISTS (SELECT 1 FROM watching_nodes WHERE owner <> $1 AND until_us >= $2)";

/// What has changed on another node, so that it is worth looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A job waits to be claimed.
    Queued,
    /// A job has changed.
    Changed,
    /// Somebody has begun to watch.
    Watched,
}

impl Hint {
    const ALL: [Self; 3] = [Self::Queued, Self::Changed, Self::Watched];

    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Changed => "changed",
            Self::Watched => "watched",
        }
    }
}

/// Hints of all nodes, this one's own among them.
pub struct Hints(PgListener);

impl Hints {
    /// The next hint. Those that came while there was no connection are lost.
    pub async fn next(&mut self) -> Result<Hint, StoreError> {
        let notification = self.0.recv().await?;
        let known = Hint::ALL
            .into_iter()
            .find(|hint| hint.as_str() == notification.payload());
        // A newer version may have more to say; whatever it is, a job is concerned.
        Ok(known.unwrap_or(Hint::Changed))
    }
}

impl Store {
    /// Takes or keeps a duty that one node at a time has, for `period` by the database's clock; whether it is `owner`'s.
    pub async fn hold_duty(
        &self,
        name: &str,
        owner: &str,
        period: Duration,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        if !self.is_shared() {
            return Ok(true);
        }
        let mut connection = self.database.writer_within(period / 4).await?;
        let now = connection.present(now).await?;
        let held: Option<bool> = sql(HOLD)
            .bind(name)
            .bind(owner)
            .bind(us(now + period))
            .bind(us(now))
            .fetch_optional_value(&mut connection)
            .await?;
        Ok(held.is_some())
    }

    /// Gives a duty up, so that another node need not wait for the end of its period.
    pub async fn leave_duty(&self, name: &str, owner: &str) -> Result<(), StoreError> {
        if self.is_shared() {
            sql(LEAVE)
                .bind(name)
                .bind(owner)
                .execute(&mut self.writer().await?)
                .await?;
        }
        Ok(())
    }

    /// Lets other nodes know for `period` that somebody watches jobs on this one.
    pub async fn mark_watching(
        &self,
        owner: &str,
        period: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        if !self.is_shared() {
            return Ok(());
        }
        let mut connection = self.writer().await?;
        let now = connection.present(now).await?;
        sql(WATCH)
            .bind(owner)
            .bind(us(now + period))
            .execute(&mut connection)
            .await?;
        sql(FORGET_WATCHES)
            .bind(us(now - period))
            .execute(&mut connection)
            .await?;
        Ok(())
    }

    /// Whether somebody watches jobs on another node.
    pub async fn is_watched_elsewhere(
        &self,
        owner: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        if !self.is_shared() {
            return Ok(false);
        }
        let mut connection = self.read().await?;
        let now = connection.present(now).await?;
        sql(IS_WATCHED)
            .bind(owner)
            .bind(us(now))
            .fetch_value(&mut connection)
            .await
    }

    /// Tells all nodes. Each costs a lock of the whole server at its commit: it is for callers to do it seldom.
    pub async fn announce(&self, hint: Hint) -> Result<(), StoreError> {
        if self.is_shared() {
            sql(ANNOUNCE)
                .bind(CHANNEL)
                .bind(hint.as_str())
                .execute(&mut self.writer().await?)
                .await?;
        }
        Ok(())
    }

    /// Listens to the hints of all nodes on a connection of its own; `None` where there is only one.
    pub async fn listen(&self) -> Result<Option<Hints>, StoreError> {
        let Database::Postgres(pool, _) = &self.database else {
            return Ok(None);
        };
        let own = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(pool.connect_options().as_ref().clone());
        let mut listener = PgListener::connect_with(&own).await?;
        listener.listen(CHANNEL).await?;
        Ok(Some(Hints(listener)))
    }
}
