//! Timelines: what a camera has recorded in a window, what of it has vanished, what is held as evidence.
//!
//! The runs of each come as one text, not as a row each: a row costs allocations and the way from the database's
//! thread to the caller's, which for a month of hourly gaps takes longer than all the rest of the call.

use super::database::Connection;
use super::error::{inconsistent, time, us};
use super::spans::{self, Run};
use super::statement::sql;
use super::{Store, StoreError};
use crate::domain::camera::CameraId;
use crate::domain::catalog::Timeline;
use crate::domain::coverage::GAP_TOLERANCE;
use crate::domain::time::TimeRange;

/// One statement, so that spans and vanished segments are of the same moment.
const RECORDED: &str = "
    SELECT
        (SELECT string_agg(start_us || ' ' || end_us, ',') FROM spans
         WHERE camera_id = $1 AND start_us < $3
           AND start_us >= COALESCE((SELECT MAX(start_us) FROM spans WHERE camera_id = $1 AND start_us <= $2), $2)),
        (SELECT string_agg(start_us || ' ' || end_us, ',') FROM segments
         WHERE camera_id = $1 AND state = 'MISSING' AND start_us < $3 AND end_us > $2
           AND start_us >= $2 - COALESCE((SELECT longest_segment_us FROM cameras WHERE id = $1), 0))";
const HELD: &str = "
    SELECT incident_id, string_agg(start_us || ' ' || end_us, ',') FROM evidence_locks
    WHERE camera_id = $1 AND start_us < $3 AND end_us > $2
      AND start_us >= $2 - COALESCE((SELECT longest_segment_us FROM cameras WHERE id = $1), 0)
    GROUP BY incident_id ORDER BY incident_id";

impl Store {
    /// What a camera has recorded in `window`, without closing more than seams.
    pub async fn timeline(
        &self,
        camera_id: &CameraId,
        window: TimeRange,
    ) -> Result<Timeline, StoreError> {
        let mut connection = self.read().await?;
        let (recorded, missing) = recorded(&mut connection, camera_id, window).await?;
        let mut locks = Vec::new();
        for (incident_id, runs) in held(&mut connection, camera_id, window).await? {
            let ranges = within(window, camera_id, spans::merge(runs))?;
            locks.extend(ranges.into_iter().map(|range| (range, incident_id.clone())));
        }
        locks.sort_by_key(|(range, _)| range.start());
        Ok(Timeline {
            camera_id: camera_id.clone(),
            window,
            spans: within(window, camera_id, recorded)?,
            missing: within(window, camera_id, spans::merge(missing))?,
            locks,
            resolution: GAP_TOLERANCE,
        })
    }
}

/// The camera's spans and its vanished segments that reach into `window`, each in order of start.
async fn recorded(
    connection: &mut Connection,
    camera_id: &CameraId,
    window: TimeRange,
) -> Result<(Vec<Run>, Vec<Run>), StoreError> {
    let (recorded, missing): (Option<String>, Option<String>) = sql(RECORDED)
        .bind(camera_id.as_str())
        .bind(us(window.start()))
        .bind(us(window.end()))
        .fetch_one(connection)
        .await?;
    let unpack = |table, runs: Option<String>| {
        runs.map_or_else(|| Ok(Vec::new()), |runs| unpacked(table, camera_id, &runs))
    };
    Ok((unpack("spans", recorded)?, unpack("segments", missing)?))
}

/// The locked segments of the camera that reach into `window`, in order of start, by incident.
async fn held(
    connection: &mut Connection,
    camera_id: &CameraId,
    window: TimeRange,
) -> Result<Vec<(String, Vec<Run>)>, StoreError> {
    let rows: Vec<(String, String)> = sql(HELD)
        .bind(camera_id.as_str())
        .bind(us(window.start()))
        .bind(us(window.end()))
        .fetch_all(connection)
        .await?;
    rows.into_iter()
        .map(|(incident_id, runs)| Ok((incident_id, unpacked("evidence_locks", camera_id, &runs)?)))
        .collect()
}

/// The runs that a statement put into one text, in order of start.
fn unpacked(
    table: &'static str,
    camera_id: &CameraId,
    packed: &str,
) -> Result<Vec<Run>, StoreError> {
    let mut runs = packed
        .split(',')
        .map(|run| {
            let (start, end) = run.split_once(' ')?;
            Some((start.parse().ok()?, end.parse().ok()?))
        })
        .collect::<Option<Vec<Run>>>()
        .ok_or_else(|| inconsistent(table, camera_id.as_str(), "a time is not a number"))?;
    // The order in which an aggregate meets its rows is the database's choice.
    runs.sort_unstable();
    Ok(runs)
}

/// What `window` shows of the runs.
fn within(
    window: TimeRange,
    camera_id: &CameraId,
    runs: Vec<Run>,
) -> Result<Vec<TimeRange>, StoreError> {
    let mut ranges = Vec::with_capacity(runs.len());
    for (start, end) in runs {
        let whole = TimeRange::new(
            time("spans", camera_id.as_str(), start)?,
            time("spans", camera_id.as_str(), end)?,
        );
        ranges.extend(whole.and_then(|whole| whole.intersect(&window)));
    }
    Ok(ranges)
}
