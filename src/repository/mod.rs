//! All SQL. One file per entity, rows private to it; nothing here decides anything about footage.
//!
//! The database is SQLite, in a file of its own, or PostgreSQL, which several nodes share. Statements have one text for
//! both wherever the dialects allow; where they do not, both texts stand side by side.

mod admission;
mod archives;
mod attempt_ends;
mod attempts;
mod cameras;
mod care;
mod claims;
mod clips;
mod database;
mod destination_rows;
mod destinations;
mod error;
mod evidence;
mod exports;
mod indexes;
mod intake;
mod job_list;
mod job_rows;
mod jobs;
mod ledger;
mod nodes;
mod objects;
mod open;
mod page;
mod policies;
mod policy_rows;
mod sealing;
mod segment_rows;
mod segments;
mod selection;
mod sources;
mod spans;
mod statement;
mod timelines;

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use database::{Area, Connection, Database, Transaction};
use error::to_json;
use statement::sql;

use crate::domain::job::LEASE;

pub use admission::{AdmittedJobs, InsertedJob};
pub use archives::{ArchiveFilter, ArchiveTotals};
pub use attempt_ends::Finish;
pub use attempts::Fence;
pub use cameras::{CameraChange, CameraUpdate, DeletedCamera};
pub use care::{CopyError, copy_database};
pub use clips::ClipFilter;
pub use destinations::{
    DeletedDestination, DestinationFilter, InsertedDestination, UpdatedDestination,
};
pub use error::{OpenError, StoreError};
pub use evidence::{LockChange, LockSelection};
pub use indexes::StoredIndex;
pub use job_list::JobFilter;
pub use jobs::{CancelledJob, JobMark};
pub use ledger::RemovedObjects;
pub use nodes::{Hint, Hints};
pub use objects::{ObjectFilter, ObjectTotals};
pub use page::Page;
pub use policies::{DeletedPolicy, InsertedPolicy, NextRun, PolicyFilter, RunEnd, UpdatedPolicy};
pub use sealing::{SealError, SecretKey, SecretKeyError};
pub use segments::{KnownFile, SegmentFilter};
pub use selection::{SelectionTotals, UnsentSegment};

/// The database, migrated.
#[derive(Clone, Debug)]
pub struct Store {
    database: Database,
    /// Opens the secrets of destinations; without it they can be neither stored nor read.
    secret_key: Option<SecretKey>,
    lease: TimeDelta,
}

impl Store {
    /// Opens the database at `url` and brings its schema up to date: `sqlite://PATH`, made where it is missing, or
    /// `postgres://USER:PASSWORD@HOST/DATABASE`, which has to be there.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        Ok(Self {
            database: Database::open(url).await?,
            secret_key: None,
            lease: LEASE,
        })
    }

    /// The same database with the key that seals the secrets of destinations.
    #[must_use]
    pub fn with_secret_key(self, secret_key: Option<SecretKey>) -> Self {
        Self { secret_key, ..self }
    }

    /// The same database with another time for which a claim of a job holds unless it is renewed.
    #[must_use]
    pub fn with_lease(self, lease: TimeDelta) -> Self {
        Self { lease, ..self }
    }

    /// How long a claim of a job holds unless it is renewed.
    pub fn lease(&self) -> TimeDelta {
        self.lease
    }

    /// Whether the database answers: a row can be read, and, where it is a file, the right to write is to be had.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sql("SELECT id FROM jobs LIMIT 1")
            .execute(&mut self.read().await?)
            .await?;
        if self.is_shared() {
            return Ok(());
        }
        self.database.begin().await?.rollback().await
    }

    /// Asks SQLite whether the file is sound, its indexes with it; the answer is `ok`, or the first faults it found. It reads
    /// all of the file. PostgreSQL looks after
    /// its files itself: there the answer is `ok` when it answers at all.
    pub async fn check_integrity(&self) -> Result<String, StoreError> {
        if self.is_shared() {
            return self.ping().await.map(|()| "ok".to_owned());
        }
        let found: Vec<String> = sql("PRAGMA integrity_check(10)")
            .fetch_values(&mut self.read().await?)
            .await?;
        Ok(found.join("; "))
    }

    /// Ends all connections; what was committed stays.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// Whether other nodes may use the same database.
    pub fn is_shared(&self) -> bool {
        matches!(self.database, Database::Postgres(..))
    }

    /// The present moment by the clock that decides between nodes; `own` is that of this machine.
    pub async fn present(&self, own: DateTime<Utc>) -> Result<DateTime<Utc>, StoreError> {
        if self.is_shared() {
            self.read().await?.present(own).await
        } else {
            Ok(own)
        }
    }

    /// The same database with the times that callers give, also where another clock decides.
    #[cfg(test)]
    fn with_callers_clock(mut self) -> Self {
        if let Database::Postgres(_, clock) = &mut self.database {
            *clock = database::Clock::Caller;
        }
        self
    }

    async fn read(&self) -> Result<Connection, StoreError> {
        self.database.read().await
    }

    /// Those of these names that a statement finds which is given them as an array in JSON.
    async fn among(
        &self,
        find: &'static str,
        names: &[String],
    ) -> Result<HashSet<String>, StoreError> {
        let found: Vec<String> = sql(find)
            .bind(to_json(&names))
            .fetch_values(&mut self.read().await?)
            .await?;
        Ok(found.into_iter().collect())
    }

    async fn writer(&self) -> Result<Connection, StoreError> {
        self.database.writer().await
    }

    /// Begins a transaction that is the only one of its area, so that nothing it has read changes before it writes.
    async fn write(&self, area: Area) -> Result<Transaction, StoreError> {
        let mut transaction = self.database.begin().await?;
        transaction.lock(area).await?;
        Ok(transaction)
    }
}

#[cfg(test)]
mod tests;
