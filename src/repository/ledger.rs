//! The ledger of what is at destinations: its changes. Each keeps the destination's sums in the same transaction.

use std::collections::BTreeMap;

use super::database::{Area, Connection};
use super::error::{count, duration_us, inconsistent, stored, to_json, us};
use super::objects::{TABLE, paths_taken};
use super::statement::sql;
use super::{Store, StoreError};
use crate::domain::backup::object::{BackupObject, ObjectState};
use crate::domain::catalog::NewSegment;

const INSERT: &str = "
    INSERT INTO backup_objects (destination_id, segment_id, camera_id, start_us, end_us, remote_path, size_bytes, sha256,
        state, check_kind, check_time_us, create_time_us, job_id, policy_id, source_modified_us, locked_until_us,
        start_accuracy_us) VALUES ";
const OR_REPLACE: &str = "
    ON CONFLICT (destination_id, segment_id) DO UPDATE SET camera_id = excluded.camera_id, start_us = excluded.start_us,
        end_us = excluded.end_us, remote_path = excluded.remote_path, size_bytes = excluded.size_bytes,
        sha256 = excluded.sha256, state = excluded.state, check_kind = excluded.check_kind,
        check_time_us = excluded.check_time_us, create_time_us = excluded.create_time_us, job_id = excluded.job_id,
        policy_id = excluded.policy_id, source_modified_us = excluded.source_modified_us,
        locked_until_us = excluded.locked_until_us, start_accuracy_us = excluded.start_accuracy_us, ledger_path = ''";
/// Objects that one statement writes: each statement costs about as much as several rows of it.
const ROWS_AT_ONCE: usize = 50;
const SIZES: &str = "
    SELECT segment_id, size_bytes FROM backup_objects
    WHERE destination_id = $1 AND segment_id IN (SELECT value FROM json_each($2))";
const COUNT: &str = "
    UPDATE destinations SET object_count = object_count + $2, stored_bytes = stored_bytes + $3,
        longest_object_us = CASE WHEN longest_object_us < $4 THEN $4 ELSE longest_object_us END WHERE id = $1";
const SELECTED: &str = "
    SELECT COUNT(*), CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM backup_objects
    WHERE destination_id = $1 AND segment_id IN (SELECT value FROM json_each($2))";
const NOTE_REMOVED: &str = "
    INSERT INTO removed_footage (policy_id, camera_id, removed_until_us)
    SELECT $3, camera_id, MAX(end_us) FROM backup_objects
    WHERE destination_id = $1 AND segment_id IN (SELECT value FROM json_each($2)) GROUP BY camera_id
    ON CONFLICT (policy_id, camera_id) DO UPDATE SET removed_until_us = excluded.removed_until_us
        WHERE excluded.removed_until_us > removed_footage.removed_until_us";
const REMOVE: &str = "
    DELETE FROM backup_objects
    WHERE destination_id = $1 AND segment_id IN (SELECT value FROM json_each($2))";
/// An object that was sent again since it was looked at is another one.
const SET_PRESENT: &str = "
    UPDATE backup_objects SET state = $4, check_kind = $5, check_time_us = $6
    WHERE destination_id = $1 AND segment_id = $2 AND create_time_us = $3";
const SET_LOST: &str = "
    UPDATE backup_objects SET state = $4
    WHERE destination_id = $1 AND segment_id = $2 AND create_time_us = $3";
/// The ids find the rows; the states say whether each is still as it was read.
const MARK_WRITTEN: &str = "
    UPDATE backup_objects SET ledger_path = $4
    WHERE destination_id = $1 AND segment_id IN (SELECT value FROM json_each($2))
        AND segment_id || ' ' || create_time_us || ' ' || start_us IN (SELECT value FROM json_each($3))";
const FORGET_WRITTEN: &str = "
    UPDATE backup_objects SET ledger_path = ''
    WHERE destination_id = $1 AND segment_id IN (SELECT value FROM json_each($2))";
/// Only what is still a copy of the file moves with it: the other objects show what they are copies of.
const MOVE: &str = "
    UPDATE backup_objects SET camera_id = $2, start_us = $3, end_us = $4, start_accuracy_us = $7, ledger_path = ''
    WHERE destination_id IN (SELECT id FROM destinations) AND segment_id = $1 AND size_bytes = $5
        AND source_modified_us = $6";
const LENGTHEN: &str = "
    UPDATE destinations SET longest_object_us = CASE WHEN longest_object_us < $2 THEN $2 ELSE longest_object_us END
    WHERE id IN (SELECT destination_id FROM backup_objects
        WHERE destination_id IN (SELECT id FROM destinations) AND segment_id = $1)";

/// What was taken out of the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemovedObjects {
    /// How many objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a change does to the sums of a destination.
#[derive(Default)]
struct Change {
    objects: i64,
    bytes: i64,
    longest_us: i64,
}

impl Store {
    /// Writes objects that were sent and checked, all or none. The object of a segment that was sent before is replaced.
    /// `policy_id` is the policy whose run sent them, empty for none.
    ///
    /// # Errors
    /// [`StoreError::Inconsistent`] when the path of an object is another segment's at the same destination.
    pub async fn add_objects(
        &self,
        objects: &[BackupObject],
        policy_id: &str,
    ) -> Result<(), StoreError> {
        let mut transaction = self.write(Area::Backups).await?;
        for (destination_id, objects) in by_destination(objects) {
            refuse_taken_paths(&mut transaction, destination_id, &objects).await?;
            let rows: Vec<(String, i64)> = sql(SIZES)
                .bind(destination_id)
                .bind(segment_ids(&objects))
                .fetch_all(&mut transaction)
                .await?;
            let before: BTreeMap<String, i64> = rows.into_iter().collect();
            let mut change = Change::default();
            // One statement takes no segment twice; the last object of one counts.
            let newest: BTreeMap<&str, &BackupObject> = objects
                .iter()
                .map(|object| (object.segment_id.as_str(), *object))
                .collect();
            for object in newest.values() {
                let earlier = before.get(&object.segment_id);
                change.objects += i64::from(earlier.is_none());
                change.bytes += stored(object.size_bytes) - earlier.copied().unwrap_or_default();
                change.longest_us = change
                    .longest_us
                    .max(us(object.window.end()) - us(object.window.start()));
            }
            let newest: Vec<&BackupObject> = newest.into_values().collect();
            for some in newest.chunks(ROWS_AT_ONCE) {
                upsert(&mut transaction, some, policy_id).await?;
            }
            apply(&mut transaction, destination_id, &change).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Writes down what a verification found about objects, all or none: their state and, of those that are present,
    /// the check and its time. Objects that were sent again or removed meanwhile stay as they are; how many did not.
    pub async fn set_object_states(&self, objects: &[BackupObject]) -> Result<u64, StoreError> {
        let mut transaction = self.write(Area::Backups).await?;
        let mut changed = 0;
        for object in objects {
            let query = match object.state {
                ObjectState::Present => sql(SET_PRESENT),
                ObjectState::Missing | ObjectState::Changed => sql(SET_LOST),
            };
            let query = query
                .bind(&object.destination_id)
                .bind(&object.segment_id)
                .bind(us(object.create_time))
                .bind(object.state.as_str());
            let mut query = match object.state {
                ObjectState::Present => query
                    .bind(object.check.as_str())
                    .bind(us(object.check_time)),
                ObjectState::Missing | ObjectState::Changed => query,
            };
            changed += query.execute(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(changed)
    }

    /// Takes the objects of these segments out of a destination's ledger, because `policy_id` keeps them no longer; what
    /// went. Their files must be gone before.
    pub async fn remove_objects(
        &self,
        destination_id: &str,
        policy_id: &str,
        segment_ids: &[String],
    ) -> Result<RemovedObjects, StoreError> {
        let ids = to_json(&segment_ids);
        let mut transaction = self.write(Area::Backups).await?;
        let (objects, bytes): (i64, i64) = sql(SELECTED)
            .bind(destination_id)
            .bind(&ids)
            .fetch_one(&mut transaction)
            .await?;
        sql(NOTE_REMOVED)
            .bind(destination_id)
            .bind(&ids)
            .bind(policy_id)
            .execute(&mut transaction)
            .await?;
        sql(REMOVE)
            .bind(destination_id)
            .bind(&ids)
            .execute(&mut transaction)
            .await?;
        let change = Change {
            objects: -objects,
            bytes: -bytes,
            longest_us: 0,
        };
        apply(&mut transaction, destination_id, &change).await?;
        transaction.commit().await?;
        Ok(RemovedObjects {
            objects: count(TABLE, destination_id, objects)?,
            bytes: count(TABLE, destination_id, bytes)?,
        })
    }

    /// Notes that what the ledger's copy says of these objects may not be so any more, so that it is written anew.
    pub async fn forget_written(&self, objects: &[BackupObject]) -> Result<(), StoreError> {
        let mut transaction = self.write(Area::Backups).await?;
        for (destination_id, objects) in by_destination(objects) {
            sql(FORGET_WRITTEN)
                .bind(destination_id)
                .bind(segment_ids(&objects))
                .execute(&mut transaction)
                .await?;
        }
        transaction.commit().await
    }

    /// Writes down that the file `ledger_path` at the destination has these objects as they were read, all or none; how
    /// many of them still are so.
    pub async fn mark_written(
        &self,
        objects: &[BackupObject],
        ledger_path: &str,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.write(Area::Backups).await?;
        let mut marked = 0;
        for (destination_id, objects) in by_destination(objects) {
            let states: Vec<String> = objects
                .iter()
                .map(|object| {
                    let (create_us, start_us) = (us(object.create_time), us(object.window.start()));
                    format!("{} {create_us} {start_us}", object.segment_id)
                })
                .collect();
            marked += sql(MARK_WRITTEN)
                .bind(destination_id)
                .bind(segment_ids(&objects))
                .bind(to_json(&states))
                .bind(ledger_path)
                .execute(&mut transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(marked)
    }
}

fn by_destination(objects: &[BackupObject]) -> BTreeMap<&str, Vec<&BackupObject>> {
    let mut found: BTreeMap<&str, Vec<&BackupObject>> = BTreeMap::new();
    for object in objects {
        found
            .entry(&object.destination_id)
            .or_default()
            .push(object);
    }
    found
}

/// The ids of the segments, as a list in JSON.
fn segment_ids(objects: &[&BackupObject]) -> String {
    let ids: Vec<&str> = objects
        .iter()
        .map(|object| object.segment_id.as_str())
        .collect();
    to_json(&ids)
}

/// Refuses objects of which one has the path of another segment's.
async fn refuse_taken_paths(
    connection: &mut Connection,
    destination_id: &str,
    objects: &[&BackupObject],
) -> Result<(), StoreError> {
    let paths: Vec<&str> = objects
        .iter()
        .map(|object| object.remote_path.as_str())
        .collect();
    let mut owners = paths_taken(connection, destination_id, &paths).await?;
    for object in objects {
        let owner = owners
            .entry(object.remote_path.clone())
            .or_insert_with(|| object.segment_id.clone());
        if *owner != object.segment_id {
            return Err(inconsistent(
                TABLE,
                &object.segment_id,
                format!("the path {} is another segment's", object.remote_path),
            ));
        }
    }
    Ok(())
}

async fn upsert(
    connection: &mut Connection,
    objects: &[&BackupObject],
    policy_id: &str,
) -> Result<(), StoreError> {
    let mut query = sql(INSERT);
    for (at, object) in objects.iter().enumerate() {
        query
            .push(if at == 0 { "(" } else { ", (" })
            .push_values([
                object.destination_id.as_str().into(),
                object.segment_id.as_str().into(),
                object.camera_id.as_str().into(),
                us(object.window.start()).into(),
                us(object.window.end()).into(),
                object.remote_path.as_str().into(),
                stored(object.size_bytes).into(),
                object.sha256.as_str().into(),
                object.state.as_str().into(),
                object.check.as_str().into(),
                us(object.check_time).into(),
                us(object.create_time).into(),
                object.job_id.as_str().into(),
                policy_id.into(),
                us(object.source_modified_time).into(),
                object.locked_until_time.map(us).into(),
                duration_us(object.start_accuracy).into(),
            ])
            .push(")");
    }
    query.push(OR_REPLACE).execute(connection).await?;
    Ok(())
}

async fn apply(
    connection: &mut Connection,
    destination_id: &str,
    change: &Change,
) -> Result<(), StoreError> {
    sql(COUNT)
        .bind(destination_id)
        .bind(change.objects)
        .bind(change.bytes)
        .bind(change.longest_us)
        .execute(connection)
        .await?;
    Ok(())
}

/// Gives the objects of a segment, whose file was read anew and is as it was sent, the segment's camera and time.
pub(super) async fn move_objects(
    connection: &mut Connection,
    segment_id: &str,
    file: &NewSegment,
) -> Result<(), StoreError> {
    let start_us = us(file.start_time);
    // An object has at least a microsecond.
    let end_us = us(file.end_time()).max(start_us + 1);
    connection.lock(Area::Backups).await?;
    let moved = sql(MOVE)
        .bind(segment_id)
        .bind(file.camera_id.as_str())
        .bind(start_us)
        .bind(end_us)
        .bind(stored(file.size_bytes))
        .bind(us(file.modified_time))
        .bind(duration_us(file.start_accuracy))
        .execute(connection)
        .await?;
    if moved > 0 {
        sql(LENGTHEN)
            .bind(segment_id)
            .bind(end_us - start_us)
            .execute(connection)
            .await?;
    }
    Ok(())
}
