//! Spans: what each camera has recorded, merged, kept in step with the segments.
//!
//! Invariant: the spans of a camera are the maximal runs of its available segments in order of start, where a segment
//! belongs to the run before it when it starts no more than the gap tolerance after that run's end. So a timeline
//! reads as many rows as it shows, however many segments lie behind them.

use super::StoreError;
use super::database::Connection;
use super::statement::sql;
use crate::domain::coverage::GAP_TOLERANCE;

const TOUCHING: &str = "
    SELECT start_us, end_us FROM spans
    WHERE camera_id = $1 AND start_us <= $2 AND end_us >= $3
      AND start_us >= COALESCE((SELECT MAX(start_us) FROM spans WHERE camera_id = $1 AND start_us <= $3), $3)
    ORDER BY start_us";
const CONTAINING: &str = "
    SELECT start_us, end_us FROM spans WHERE camera_id = $1 AND start_us <= $2 ORDER BY start_us DESC LIMIT 1";
const DELETE: &str = "DELETE FROM spans WHERE camera_id = $1 AND start_us = $2";
const INSERT: &str = "INSERT INTO spans (camera_id, start_us, end_us) VALUES ($1, $2, $3)";
const NEIGHBOURS: &str = "
    SELECT start_us, end_us FROM segments
    WHERE camera_id = $1 AND state = 'AVAILABLE' AND start_us >= $2 AND start_us <= $3 ORDER BY start_us";

/// A run of footage: start and end in microseconds.
pub(super) type Run = (i64, i64);

fn tolerance_us() -> i64 {
    GAP_TOLERANCE.num_microseconds().unwrap_or(i64::MAX)
}

/// Merges `runs`, ordered by start, by the rule of the invariant.
pub(super) fn merge(runs: impl IntoIterator<Item = Run>) -> Vec<Run> {
    let mut merged: Vec<Run> = Vec::new();
    for (start, end) in runs {
        match merged.last_mut() {
            Some(last) if start <= last.1.saturating_add(tolerance_us()) => {
                last.1 = last.1.max(end)
            }
            _ => merged.push((start, end)),
        }
    }
    merged
}

/// Adds a run of new footage of a camera.
pub(super) async fn add(
    connection: &mut Connection,
    camera_id: &str,
    run: Run,
) -> Result<(), StoreError> {
    let touching: Vec<Run> = sql(TOUCHING)
        .bind(camera_id)
        .bind(run.1.saturating_add(tolerance_us()))
        .bind(run.0.saturating_sub(tolerance_us()))
        .fetch_all(connection)
        .await?;
    let mut whole = run;
    for (start, end) in touching {
        whole = (whole.0.min(start), whole.1.max(end));
        sql(DELETE)
            .bind(camera_id)
            .bind(start)
            .execute(connection)
            .await?;
    }
    insert(connection, camera_id, whole).await
}

/// Takes a segment's time out of its camera's spans. The segment itself must already be gone, or not available.
///
/// Only the neighbourhood is read: segments that start before the removed one and reach it start no more than the
/// longest segment (and a seam) before it, and everything that starts after it and a seam is still connected to
/// something that starts before that.
pub(super) async fn remove(
    connection: &mut Connection,
    camera_id: &str,
    removed: Run,
    longest_segment_us: i64,
) -> Result<(), StoreError> {
    let containing: Option<Run> = sql(CONTAINING)
        .bind(camera_id)
        .bind(removed.0)
        .fetch_optional(connection)
        .await?;
    let Some(old) = containing else { return Ok(()) };
    let neighbours: Vec<Run> = sql(NEIGHBOURS)
        .bind(camera_id)
        .bind(
            removed
                .0
                .saturating_sub(longest_segment_us)
                .saturating_sub(tolerance_us())
                .max(old.0),
        )
        .bind(removed.1.saturating_add(tolerance_us()).min(old.1))
        .fetch_all(connection)
        .await?;
    sql(DELETE)
        .bind(camera_id)
        .bind(old.0)
        .execute(connection)
        .await?;
    for run in without(old, removed, &neighbours) {
        insert(connection, camera_id, run).await?;
    }
    Ok(())
}

/// What is left of the span `old` without `removed`, when `neighbours` are the segments around it.
///
/// What starts before the removed segment never depended on it, so it is one run from the start of the old span.
fn without(old: Run, removed: Run, neighbours: &[Run]) -> Vec<Run> {
    let earlier = neighbours
        .iter()
        .filter(|run| run.0 < removed.0)
        .map(|run| run.1)
        .max();
    let later = neighbours.iter().copied().filter(|run| run.0 >= removed.0);
    let mut left = merge(earlier.map(|end| (old.0, end)).into_iter().chain(later));
    if let Some(last) = left.last_mut()
        && last.1 > removed.1
    {
        last.1 = old.1;
    }
    left
}

async fn insert(connection: &mut Connection, camera_id: &str, run: Run) -> Result<(), StoreError> {
    sql(INSERT)
        .bind(camera_id)
        .bind(run.0)
        .bind(run.1)
        .execute(connection)
        .await?;
    Ok(())
}
