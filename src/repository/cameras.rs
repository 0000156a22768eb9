//! Cameras, with what the catalog holds of each.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::database::{Area, Connection};
use super::error::{count, inconsistent, json, time, to_json, us};
use super::statement::sql;
use super::{Page, Store, StoreError};
use crate::domain::camera::CameraId;
use crate::domain::catalog::Camera;
use crate::domain::time::TimeRange;

const TABLE: &str = "cameras";

/// The span that starts last also ends last, because spans never overlap; to ask for the greatest end would read them
/// all.
const SELECT: &str = "
    SELECT id, display_name, labels, revision, segment_count, size_bytes, create_time_us, update_time_us,
           (SELECT MIN(start_us) FROM segments WHERE camera_id = cameras.id) AS first_us,
           (SELECT end_us FROM spans WHERE camera_id = cameras.id ORDER BY start_us DESC LIMIT 1) AS last_us
    FROM cameras ";
const CREATE: &str = "
    INSERT INTO cameras (id, create_time_us, update_time_us) VALUES ($1, $2, $2) ON CONFLICT (id) DO NOTHING";
const CHANGE: &str = "
    UPDATE cameras SET display_name = $2, labels = $3, update_time_us = $4, revision = revision + 1 WHERE id = $1";
const COUNT_LOCKED: &str = "SELECT COUNT(*) FROM evidence_locks WHERE camera_id = $1";

#[derive(sqlx::FromRow)]
struct CameraRow {
    id: String,
    display_name: String,
    labels: String,
    revision: i64,
    segment_count: i64,
    size_bytes: i64,
    create_time_us: i64,
    update_time_us: i64,
    first_us: Option<i64>,
    last_us: Option<i64>,
}

impl TryFrom<CameraRow> for Camera {
    type Error = StoreError;

    fn try_from(row: CameraRow) -> Result<Self, StoreError> {
        let id = row.id.as_str();
        let recorded = match (row.first_us, row.last_us) {
            (Some(first), Some(last)) => {
                TimeRange::new(time(TABLE, id, first)?, time(TABLE, id, last)?)
            }
            _ => None,
        };
        Ok(Self {
            id: CameraId::parse(id).map_err(|error| inconsistent(TABLE, id, error.to_string()))?,
            labels: json(TABLE, id, &row.labels)?,
            segment_count: count(TABLE, id, row.segment_count)?,
            size_bytes: count(TABLE, id, row.size_bytes)?,
            recorded,
            create_time: time(TABLE, id, row.create_time_us)?,
            update_time: time(TABLE, id, row.update_time_us)?,
            revision: count(TABLE, id, row.revision)?,
            display_name: row.display_name,
        })
    }
}

/// What a caller changes of a camera; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct CameraChange {
    /// Name for people.
    pub display_name: Option<String>,
    /// Free pairs.
    pub labels: Option<BTreeMap<String, String>>,
    /// The revision the caller has seen; `None` changes whatever is there.
    pub expected_revision: Option<u64>,
}

/// How a change ended.
#[derive(Clone, Debug)]
pub enum CameraUpdate {
    /// The camera as it is now.
    Changed(Camera),
    /// Somebody else was first.
    Stale,
}

/// How a deletion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletedCamera {
    /// Gone, with this many segments.
    Deleted(u64),
    /// No such camera.
    NotFound,
    /// Somebody else was first.
    Stale,
    /// It has this many segments, and was not to be forced.
    InUse(u64),
    /// This many of its segments are held as evidence.
    Locked(u64),
}

impl Store {
    /// Makes the camera where it is missing and changes what `change` names.
    pub async fn put_camera(
        &self,
        id: &CameraId,
        change: CameraChange,
        now: DateTime<Utc>,
    ) -> Result<CameraUpdate, StoreError> {
        let mut transaction = self.write(Area::Catalog).await?;
        ensure(&mut transaction, id, now).await?;
        let present = get(&mut transaction, id)
            .await?
            .ok_or_else(|| vanished(id))?;
        if change
            .expected_revision
            .is_some_and(|expected| expected != present.revision)
        {
            return Ok(CameraUpdate::Stale);
        }
        if change.display_name.is_some() || change.labels.is_some() {
            sql(CHANGE)
                .bind(id.as_str())
                .bind(change.display_name.unwrap_or(present.display_name))
                .bind(to_json(&change.labels.unwrap_or(present.labels)))
                .bind(us(now))
                .execute(&mut transaction)
                .await?;
        }
        let changed = get(&mut transaction, id)
            .await?
            .ok_or_else(|| vanished(id))?;
        transaction.commit().await?;
        Ok(CameraUpdate::Changed(changed))
    }

    /// The camera with this id.
    pub async fn camera(&self, id: &CameraId) -> Result<Option<Camera>, StoreError> {
        get(&mut self.read().await?, id).await
    }

    /// A page of cameras, the most recently created first, and where the next page begins.
    pub async fn cameras(
        &self,
        page: &Page,
    ) -> Result<(Vec<Camera>, Option<(i64, String)>), StoreError> {
        let mut query = sql(SELECT);
        query.push("WHERE 1 = 1");
        page.end(&mut query, "create_time_us");
        let mut rows: Vec<CameraRow> = query.fetch_all(&mut self.read().await?).await?;
        let next = page.cut(&mut rows, |row| (row.create_time_us, row.id.clone()));
        Ok((
            rows.into_iter()
                .map(Camera::try_from)
                .collect::<Result<_, _>>()?,
            next,
        ))
    }

    /// Forgets a camera, and its segments when forced; never one that is held as evidence.
    pub async fn delete_camera(
        &self,
        id: &CameraId,
        force: bool,
        expected_revision: Option<u64>,
    ) -> Result<DeletedCamera, StoreError> {
        let mut transaction = self.write(Area::Catalog).await?;
        let Some(camera) = get(&mut transaction, id).await? else {
            return Ok(DeletedCamera::NotFound);
        };
        if expected_revision.is_some_and(|expected| expected != camera.revision) {
            return Ok(DeletedCamera::Stale);
        }
        if camera.segment_count > 0 && !force {
            return Ok(DeletedCamera::InUse(camera.segment_count));
        }
        let locked: i64 = sql(COUNT_LOCKED)
            .bind(id.as_str())
            .fetch_value(&mut transaction)
            .await?;
        if locked > 0 {
            return Ok(DeletedCamera::Locked(count(TABLE, id.as_str(), locked)?));
        }
        for statement in [
            "DELETE FROM segments WHERE camera_id = $1",
            "DELETE FROM spans WHERE camera_id = $1",
            "DELETE FROM cameras WHERE id = $1",
        ] {
            sql(statement)
                .bind(id.as_str())
                .execute(&mut transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(DeletedCamera::Deleted(camera.segment_count))
    }
}

/// Makes the camera where it is missing.
pub(super) async fn ensure(
    connection: &mut Connection,
    id: &CameraId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sql(CREATE)
        .bind(id.as_str())
        .bind(us(now))
        .execute(connection)
        .await?;
    Ok(())
}

async fn get(connection: &mut Connection, id: &CameraId) -> Result<Option<Camera>, StoreError> {
    let row: Option<CameraRow> = sql(SELECT)
        .push("WHERE id = ")
        .push_bind(id.as_str())
        .fetch_optional(connection)
        .await?;
    row.map(Camera::try_from).transpose()
}

fn vanished(id: &CameraId) -> StoreError {
    inconsistent(
        TABLE,
        id.as_str(),
        "gone within the transaction that made it",
    )
}
