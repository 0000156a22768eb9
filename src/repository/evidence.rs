//! Evidence locks: durable holds on segments.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::database::Area;
use super::error::{count, time, us};
use super::statement::{Statement, sql};
use super::{Store, StoreError};
use crate::domain::camera::CameraId;
use crate::domain::time::TimeRange;

const HELD: &str = "
    SELECT DISTINCT segment_id FROM evidence_locks WHERE segment_id IN (SELECT value FROM json_each($1))";

/// Which segments to hold or release.
#[derive(Clone, Debug)]
pub enum LockSelection {
    /// Those of a camera that overlap a window.
    Window(CameraId, TimeRange),
    /// These.
    Segments(Vec<String>),
}

/// What a change of locks did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockChange {
    /// Segments selected.
    pub segments_selected: u64,
    /// Of these, the ones whose locks were changed.
    pub segments_changed: u64,
    /// What the selection spans; `None` when it is empty.
    pub span: Option<TimeRange>,
    /// The camera, when the selection has a single one.
    pub camera_id: Option<String>,
}

impl Store {
    /// Holds the selected segments for an incident (`""` for none).
    pub async fn hold(
        &self,
        selection: &LockSelection,
        incident_id: &str,
        now: DateTime<Utc>,
    ) -> Result<LockChange, StoreError> {
        let mut query = sql(
            "INSERT INTO evidence_locks (segment_id, incident_id, camera_id, start_us, end_us, create_time_us) SELECT id, ",
        );
        query
            .push_bind(incident_id)
            .push(", camera_id, start_us, end_us, ")
            .push_bind(us(now))
            .push(" FROM segments");
        push_selection(&mut query, selection);
        query.push(" ON CONFLICT (segment_id, incident_id) DO NOTHING");
        self.change_locks(None, query, selection).await
    }

    /// Releases the locks of the selected segments that belong to `incident_id`, or all of them for `None`.
    pub async fn release(
        &self,
        selection: &LockSelection,
        incident_id: Option<&str>,
    ) -> Result<LockChange, StoreError> {
        let released = |start: &'static str| {
            let mut query = sql(start);
            query.push(" FROM evidence_locks WHERE segment_id IN (SELECT id FROM segments");
            push_selection(&mut query, selection);
            query.push(")");
            if let Some(incident_id) = incident_id {
                query
                    .push(" AND incident_id = ")
                    .push_bind(incident_id.to_owned());
            }
            query
        };
        // A segment can lose several locks at once, so the rows that go do not say how many segments change.
        let segments = released("SELECT COUNT(DISTINCT segment_id)");
        self.change_locks(Some(segments), released("DELETE"), selection)
            .await
    }

    /// Which of these segments are held at present.
    pub async fn held(&self, segment_ids: &[&str]) -> Result<BTreeSet<String>, StoreError> {
        let rows: Vec<(String,)> = sql(HELD)
            .bind(super::error::to_json(&segment_ids))
            .fetch_all(&mut self.read().await?)
            .await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    /// Makes a change. `segments` counts those that it will concern; without it each row of the change is one.
    async fn change_locks(
        &self,
        segments: Option<Statement>,
        mut change: Statement,
        selection: &LockSelection,
    ) -> Result<LockChange, StoreError> {
        let mut transaction = self.write(Area::Catalog).await?;
        let mut span = sql(
            "SELECT COUNT(*), MIN(start_us), MAX(end_us), MIN(camera_id), MAX(camera_id) FROM segments",
        );
        push_selection(&mut span, selection);
        let (selected, first, last, camera, other): (
            i64,
            Option<i64>,
            Option<i64>,
            Option<String>,
            Option<String>,
        ) = span.fetch_one(&mut transaction).await?;
        let counted: Option<i64> = match segments {
            Some(mut segments) => Some(segments.fetch_value(&mut transaction).await?),
            None => None,
        };
        let rows = change.execute(&mut transaction).await?;
        transaction.commit().await?;
        let span = match (first, last) {
            (Some(first), Some(last)) => {
                TimeRange::new(time("segments", "", first)?, time("segments", "", last)?)
            }
            _ => None,
        };
        Ok(LockChange {
            segments_selected: count("segments", "", selected)?,
            segments_changed: match counted {
                Some(counted) => count("evidence_locks", "", counted)?,
                None => rows,
            },
            span,
            camera_id: camera.filter(|camera| Some(camera) == other.as_ref()),
        })
    }
}

fn push_selection(query: &mut Statement, selection: &LockSelection) {
    match selection {
        LockSelection::Window(camera_id, window) => {
            query
                .push(" WHERE camera_id = ")
                .push_bind(camera_id.as_str().to_owned())
                .push(" AND start_us < ")
                .push_bind(us(window.end()))
                .push(" AND end_us > ")
                .push_bind(us(window.start()));
        }
        LockSelection::Segments(ids) => {
            query
                .push(" WHERE id IN (SELECT value FROM json_each(")
                .push_bind(super::error::to_json(ids))
                .push("))");
        }
    }
}
