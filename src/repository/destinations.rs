//! Destinations: kept with their secrets sealed, paused, counted.
//!
//! There are two ways to read one. As it is shown, [`MASK`](crate::domain::backup::destination::MASK) stands for each
//! secret, and no key is needed. For work, its secrets are opened.

use chrono::{DateTime, Utc};

use super::database::Area;
use super::destination_rows::{
    DestinationRow, SELECT, StoredSettings, TABLE, secrets_error, stored_settings,
};
use super::error::{inconsistent, stored, to_json, us};
use super::sealing::{SealError, SealedRow, SecretKey};
use super::statement::sql;
use super::{Page, Store, StoreError};
use crate::domain::backup::destination::{
    Destination, DestinationKind, DestinationSettings, HostKeyCheck, Pause,
};
use crate::domain::job::RequestKey;

const INSERT: &str = "
    INSERT INTO destinations (id, kind, display_name, enabled, transfers, bandwidth_limit, settings, sealed, labels,
        create_time_us, update_time_us, request_id, request_digest)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11, $12)";
const UPDATE: &str = "
    UPDATE destinations SET display_name = $2, enabled = $3, transfers = $4, bandwidth_limit = $5, settings = $6,
        sealed = $7, labels = $8, update_time_us = $9, revision = revision + 1 WHERE id = $1";
const END_PAUSE: &str = "
    UPDATE destinations SET pause_reason = NULL, pause_message = '', pause_time_us = NULL WHERE id = $1";
/// What a run with older settings found says nothing about the present ones.
const SET_PAUSE: &str = "
    UPDATE destinations SET pause_reason = $3, pause_message = $4, pause_time_us = $5
    WHERE id = $1 AND revision = $2";
const NOTE_SUCCESS: &str = "
    UPDATE destinations SET last_success_us = $2, free_bytes = COALESCE($3, free_bytes)
    WHERE id = $1 AND COALESCE(last_success_us, $2) <= $2";
const SET_SETTINGS: &str =
    "UPDATE destinations SET settings = $2, update_time_us = $3 WHERE id = $1";
const USED_BY_POLICIES: &str = "SELECT id FROM policies WHERE destination_id = $1 ORDER BY id";
const USED_BY_JOBS: &str = "
    SELECT id FROM jobs
    WHERE destination_id = $1 AND destination_id <> '' AND state IN ('QUEUED', 'RUNNING', 'CANCELLING') ORDER BY id";
const DELETE_OBJECTS: &str = "DELETE FROM backup_objects WHERE destination_id = $1";
const DELETE: &str = "DELETE FROM destinations WHERE id = $1";
const SEALED: &str = "SELECT id, kind, sealed FROM destinations WHERE sealed IS NOT NULL";
const SET_SEALED: &str = "UPDATE destinations SET sealed = $2 WHERE id = $1";

/// How writing a new destination ended. Destinations are as they are shown.
#[derive(Clone, Debug)]
pub enum InsertedDestination {
    /// Written.
    New(Box<Destination>),
    /// The same request made this destination before.
    Existing(Box<Destination>),
    /// The request id came with another request before.
    RequestIdReused,
    /// The id is taken.
    IdTaken,
}

/// How a change of a destination ended.
#[derive(Clone, Debug)]
pub enum UpdatedDestination {
    /// The destination as it is now, as it is shown.
    Updated(Box<Destination>),
    /// No such destination.
    NotFound,
    /// It has changed since it was read: read it again.
    Stale,
    /// The new settings are of another kind than the present ones.
    OtherKind,
}

/// How the deletion of a destination ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeletedDestination {
    /// Gone, with its ledger.
    Deleted,
    /// No such destination.
    NotFound,
    /// Somebody else was first.
    Stale,
    /// These policies name it, or these jobs work on it.
    InUse {
        /// Policies, by id.
        policy_ids: Vec<String>,
        /// Jobs that have not ended, by id.
        job_ids: Vec<String>,
    },
}

/// Which destinations.
#[derive(Clone, Debug, Default)]
pub struct DestinationFilter {
    /// Of this kind.
    pub kind: Option<DestinationKind>,
    /// That are paused.
    pub paused_only: bool,
}

impl Store {
    /// Writes a destination, unless its request made one before or its id is taken. Revision and status begin anew.
    ///
    /// # Errors
    /// [`StoreError::Secrets`] when it has secrets and there is no key; nothing was written then.
    pub async fn insert_destination(
        &self,
        new: &Destination,
        request: Option<&RequestKey>,
    ) -> Result<InsertedDestination, StoreError> {
        let digest = request
            .map(|request| self.digest_of(new, request))
            .transpose()?
            .unwrap_or_default();
        let mut transaction = self.write(Area::Backups).await?;
        if let Some(request) = request {
            let earlier: Option<DestinationRow> = sql(SELECT)
                .push("WHERE request_id = ")
                .push_bind(&request.request_id)
                .fetch_optional(&mut transaction)
                .await?;
            if let Some(earlier) = earlier {
                let same = earlier.request_digest == digest;
                return Ok(if same {
                    InsertedDestination::Existing(Box::new(earlier.try_into()?))
                } else {
                    InsertedDestination::RequestIdReused
                });
            }
        }
        if DestinationRow::get(&mut transaction, &new.id)
            .await?
            .is_some()
        {
            return Ok(InsertedDestination::IdTaken);
        }
        let StoredSettings {
            settings, sealed, ..
        } = stored_settings(new, None, self.secret_key.as_ref())?;
        sql(INSERT)
            .bind(&new.id)
            .bind(new.settings.kind().as_str())
            .bind(&new.display_name)
            .bind(new.enabled)
            .bind(new.transfers.map(i64::from))
            .bind(stored(new.bandwidth_limit_bytes_per_second))
            .bind(settings)
            .bind(sealed)
            .bind(to_json(&new.labels))
            .bind(us(new.create_time))
            .bind(request.map(|request| request.request_id.clone()))
            .bind(digest)
            .execute(&mut transaction)
            .await?;
        let written = present(DestinationRow::get(&mut transaction, &new.id).await?, new)?;
        transaction.commit().await?;
        Ok(InsertedDestination::New(Box::new(written.try_into()?)))
    }

    /// The digest of a request for a destination, as it is stored.
    fn digest_of(&self, new: &Destination, request: &RequestKey) -> Result<String, StoreError> {
        if !new.settings.has_secrets() {
            return Ok(request.digest.clone());
        }
        match &self.secret_key {
            Some(key) => Ok(key.keyed_digest(&request.digest)),
            None => Err(secrets_error(&new.id, SealError::SecretKeyMissing)),
        }
    }

    /// The destination with this id, as it is shown.
    pub async fn destination(&self, id: &str) -> Result<Option<Destination>, StoreError> {
        let row = DestinationRow::get(&mut self.read().await?, id).await?;
        row.map(Destination::try_from).transpose()
    }

    /// The destination with this id, its secrets in clear.
    ///
    /// # Errors
    /// [`StoreError::Secrets`] when it has secrets that cannot be opened.
    pub async fn destination_with_secrets(
        &self,
        id: &str,
    ) -> Result<Option<Destination>, StoreError> {
        let row = DestinationRow::get(&mut self.read().await?, id).await?;
        row.map(|row| row.open(self.secret_key.as_ref()))
            .transpose()
    }

    /// A page of destinations as they are shown, newest first, and where the next page begins.
    pub async fn destinations(
        &self,
        filter: &DestinationFilter,
        page: &Page,
    ) -> Result<(Vec<Destination>, Option<(i64, String)>), StoreError> {
        let mut query = sql(SELECT);
        query.push("WHERE 1 = 1");
        if let Some(kind) = filter.kind {
            query.push(" AND kind = ").push_bind(kind.as_str());
        }
        if filter.paused_only {
            query.push(" AND pause_reason IS NOT NULL");
        }
        page.end(&mut query, "create_time_us");
        let mut rows: Vec<DestinationRow> = query.fetch_all(&mut self.read().await?).await?;
        let next = page.cut(&mut rows, |row| (row.create_time_us, row.id.clone()));
        Ok((
            rows.into_iter()
                .map(Destination::try_from)
                .collect::<Result<_, _>>()?,
            next,
        ))
    }

    /// Writes what callers can set of `new`, if the row is still as `new` was read (its revision and update time).
    /// [`MASK`](crate::domain::backup::destination::MASK) keeps a secret; a change of the settings ends a pause.
    ///
    /// # Errors
    /// [`StoreError::Secrets`] when secrets are written and there is no key, or when the others cannot be opened.
    pub async fn update_destination(
        &self,
        new: &Destination,
        now: DateTime<Utc>,
    ) -> Result<UpdatedDestination, StoreError> {
        let mut transaction = self.write(Area::Backups).await?;
        let Some(row) = DestinationRow::get(&mut transaction, &new.id).await? else {
            return Ok(UpdatedDestination::NotFound);
        };
        let sealed = row.sealed.clone();
        let before = Destination::try_from(row)?;
        // The update time tells of host keys that came in, which change no revision.
        if before.revision != new.revision || before.update_time != new.update_time {
            return Ok(UpdatedDestination::Stale);
        }
        if before.settings.kind() != new.settings.kind() {
            return Ok(UpdatedDestination::OtherKind);
        }
        let after = stored_settings(
            new,
            Some((&before, sealed.as_deref())),
            self.secret_key.as_ref(),
        )?;
        let has_new_settings = after.has_new_secrets || after.settings != to_json(&before.settings);
        sql(UPDATE)
            .bind(&new.id)
            .bind(&new.display_name)
            .bind(new.enabled)
            .bind(new.transfers.map(i64::from))
            .bind(stored(new.bandwidth_limit_bytes_per_second))
            .bind(after.settings)
            .bind(after.sealed)
            .bind(to_json(&new.labels))
            .bind(us(now))
            .execute(&mut transaction)
            .await?;
        if has_new_settings {
            sql(END_PAUSE)
                .bind(&new.id)
                .execute(&mut transaction)
                .await?;
        }
        let written = present(DestinationRow::get(&mut transaction, &new.id).await?, new)?;
        transaction.commit().await?;
        Ok(UpdatedDestination::Updated(Box::new(written.try_into()?)))
    }

    /// Forgets a destination and its ledger, unless something uses it. `revision` is the one the caller has seen;
    /// `None` deletes whatever is there.
    pub async fn delete_destination(
        &self,
        id: &str,
        revision: Option<u64>,
    ) -> Result<DeletedDestination, StoreError> {
        let mut transaction = self.write(Area::Backups).await?;
        let Some(row) = DestinationRow::get(&mut transaction, id).await? else {
            return Ok(DeletedDestination::NotFound);
        };
        let destination = Destination::try_from(row)?;
        if revision.is_some_and(|revision| revision != destination.revision) {
            return Ok(DeletedDestination::Stale);
        }
        let policy_ids: Vec<String> = sql(USED_BY_POLICIES)
            .bind(id)
            .fetch_values(&mut transaction)
            .await?;
        let job_ids: Vec<String> = sql(USED_BY_JOBS)
            .bind(id)
            .fetch_values(&mut transaction)
            .await?;
        if !policy_ids.is_empty() || !job_ids.is_empty() {
            return Ok(DeletedDestination::InUse {
                policy_ids,
                job_ids,
            });
        }
        for statement in [DELETE_OBJECTS, DELETE] {
            sql(statement).bind(id).execute(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(DeletedDestination::Deleted)
    }

    /// Pauses a destination, if its settings are still those of `revision`; whether they were.
    pub async fn set_pause(
        &self,
        id: &str,
        revision: u64,
        pause: &Pause,
    ) -> Result<bool, StoreError> {
        let changed = sql(SET_PAUSE)
            .bind(id)
            .bind(stored(revision))
            .bind(pause.reason.as_str())
            .bind(&pause.message)
            .bind(us(pause.start_time))
            .execute(&mut self.writer().await?)
            .await?;
        Ok(changed > 0)
    }

    /// Ends the pause of a destination; nothing happens when there is none.
    pub async fn end_pause(&self, id: &str) -> Result<(), StoreError> {
        sql(END_PAUSE)
            .bind(id)
            .execute(&mut self.writer().await?)
            .await?;
        Ok(())
    }

    /// Writes down that a file was sent and checked at `time`, and the free space where it is known.
    pub async fn note_success(
        &self,
        id: &str,
        time: DateTime<Utc>,
        free_bytes: Option<u64>,
    ) -> Result<(), StoreError> {
        sql(NOTE_SUCCESS)
            .bind(id)
            .bind(us(time))
            .bind(free_bytes.map(stored))
            .execute(&mut self.writer().await?)
            .await?;
        Ok(())
    }

    /// Keeps the host keys of the first connection. `seen` is the destination that was connected to: the keys are
    /// kept only if the row names the same host and has none yet; whether they were. The revision stays.
    pub async fn fill_in_host_keys(
        &self,
        seen: &Destination,
        host_keys: &[String],
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let DestinationSettings::Sftp(seen_settings) = &seen.settings else {
            return Ok(false);
        };
        let mut transaction = self.write(Area::Backups).await?;
        let Some(row) = DestinationRow::get(&mut transaction, &seen.id).await? else {
            return Ok(false);
        };
        let mut destination = Destination::try_from(row)?;
        let DestinationSettings::Sftp(sftp) = &mut destination.settings else {
            return Ok(false);
        };
        let is_first = sftp.host_keys.is_empty()
            && sftp.host_key_check == HostKeyCheck::AcceptFirst
            && (&sftp.host, sftp.port) == (&seen_settings.host, seen_settings.port);
        if !is_first {
            return Ok(false);
        }
        sftp.host_keys = host_keys.to_vec();
        sql(SET_SETTINGS)
            .bind(&seen.id)
            .bind(to_json(&destination.settings))
            .bind(us(now))
            .execute(&mut transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Seals all secrets with another key, all or none; how many destinations have such.
    ///
    /// # Errors
    /// [`StoreError::Secrets`] names the first destination whose secrets `old` does not open.
    pub async fn reseal(&self, old: &SecretKey, new: &SecretKey) -> Result<u64, StoreError> {
        let mut transaction = self.write(Area::Backups).await?;
        let rows: Vec<(String, String, Vec<u8>)> = sql(SEALED).fetch_all(&mut transaction).await?;
        for (id, kind, sealed) in &rows {
            let row = SealedRow {
                id,
                kind: DestinationKind::parse(kind)
                    .ok_or_else(|| inconsistent(TABLE, id, "unknown kind"))?,
            };
            let resealed = old.open(&row, sealed).and_then(|secrets| {
                new.seal(
                    &row,
                    &secrets.iter().map(String::as_str).collect::<Vec<_>>(),
                )
            });
            sql(SET_SEALED)
                .bind(id)
                .bind(resealed.map_err(|source| secrets_error(id, source))?)
                .execute(&mut transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(rows.len() as u64)
    }
}

fn present(
    row: Option<DestinationRow>,
    written: &Destination,
) -> Result<DestinationRow, StoreError> {
    row.ok_or_else(|| {
        inconsistent(
            TABLE,
            &written.id,
            "gone within the transaction that wrote it",
        )
    })
}
