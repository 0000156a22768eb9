//! Indexes of segments: where the samples lie in each file. Their form is that of `media::mp4`; here they are bytes.

use chrono::{DateTime, Utc};

use super::database::Connection;
use super::error::{count, time, to_json};
use super::intake::groups;
use super::statement::sql;
use super::{Store, StoreError};
use crate::domain::catalog::NewSegment;

const SELECT: &str = "
    SELECT segments.id, size_bytes, modified_us, samples
    FROM segment_indexes JOIN segments ON segments.id = segment_id
    WHERE segment_id IN (SELECT value FROM json_each($1))";
const DELETE: &str = "DELETE FROM segment_indexes WHERE segment_id = $1";

/// What the catalog keeps of where the samples of a segment are, and which file it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredIndex {
    /// The segment's id.
    pub segment_id: String,
    /// Size of the file that was read.
    pub size_bytes: u64,
    /// Modification time of the file that was read.
    pub modified_time: DateTime<Utc>,
    /// The index, as it was handed in with the segment.
    pub samples: Vec<u8>,
}

impl Store {
    /// The indexes of these segments, of those that have one.
    pub async fn segment_indexes(&self, ids: &[String]) -> Result<Vec<StoredIndex>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<(String, i64, i64, Vec<u8>)> = sql(SELECT)
            .bind(to_json(&ids))
            .fetch_all(&mut self.read().await?)
            .await?;
        rows.into_iter()
            .map(|(segment_id, size_bytes, modified_us, samples)| {
                Ok(StoredIndex {
                    size_bytes: count("segments", &segment_id, size_bytes)?,
                    modified_time: time("segments", &segment_id, modified_us)?,
                    segment_id,
                    samples,
                })
            })
            .collect()
    }
}

/// Writes the indexes of segments whose rows are there, in place of those that they have. A file without one takes the
/// segment's away.
pub(super) async fn put(
    connection: &mut Connection,
    rows: &[(String, &NewSegment)],
) -> Result<(), StoreError> {
    let mut indexed = Vec::with_capacity(rows.len());
    for (id, file) in rows {
        match &file.facts.sample_index {
            Some(samples) => indexed.push((id, samples)),
            None => {
                sql(DELETE).bind(id).execute(connection).await?;
            }
        }
    }
    for group in groups(&indexed) {
        let mut query = sql("INSERT INTO segment_indexes (segment_id, samples) VALUES ");
        for (number, (id, samples)) in group.iter().enumerate() {
            query.push(if number == 0 { "(" } else { ", (" });
            query.push_bind(*id).push(", ");
            query.push_bind((*samples).clone()).push(")");
        }
        query
            .push(" ON CONFLICT (segment_id) DO UPDATE SET samples = excluded.samples")
            .execute(connection)
            .await?;
    }
    Ok(())
}
