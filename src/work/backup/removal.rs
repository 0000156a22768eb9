//! What a policy no longer keeps at its destination.

use chrono::{DateTime, Utc};

use super::{BackupError, ledger_copy};
use crate::clock;
use crate::domain::backup::ledger::LedgerLine;
use crate::domain::backup::object::BackupObject;
use crate::domain::backup::policy::{Policy, Retention};
use crate::domain::backup::retention::{RetentionCandidate, Sweep};
use crate::domain::camera::CameraId;
use crate::repository::{RemovedObjects, Store};
use crate::transfer::Place;
use crate::work::Attempt;

/// Objects that are looked at in one go.
const AT_ONCE: u32 = 1000;

/// Removes what the retention of `policy` does not keep, and answers what went. First the ledger's copy says so, then
/// the file goes, then the row: whatever is interrupted in between, nothing that is gone is believed to be there.
pub(super) async fn remove(
    store: &Store,
    place: &Place,
    policy: &Policy,
    retention: &Retention,
    attempt: &Attempt,
) -> Result<RemovedObjects, BackupError> {
    let now = clock::now();
    let cameras: Vec<CameraId> = store
        .camera_names()
        .await?
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    let newest = store
        .newest_footage(&policy.destination_id, &cameras)
        .await?;
    let mut others = store.policies_of(&policy.destination_id).await?;
    others.retain(|other| other.id != policy.id);
    let total_bytes = store.policy_stored_bytes(policy).await?;
    let mut sweep = Sweep::new(*retention, total_bytes, &newest, &others, now);
    let mut removed = RemovedObjects::default();
    let mut after: Option<(DateTime<Utc>, String)> = None;
    for number in 1.. {
        let page = store
            .retention_candidates(
                policy,
                None,
                now,
                after.as_ref().map(|(start, id)| (*start, id.as_str())),
                AT_ONCE,
            )
            .await?;
        let Some(last) = page.last() else {
            break;
        };
        let is_over = sweep.is_over_at(page[0].window.start());
        after = Some((last.window.start(), last.segment_id.clone()));
        if is_over {
            break;
        }
        let going: Vec<BackupObject> = page
            .into_iter()
            .filter(|object| sweep.removes(&candidate(object)))
            .collect();
        if going.is_empty() {
            continue;
        }
        let gone = remove_some(store, place, policy, going, number, attempt).await?;
        removed.objects += gone.objects;
        removed.bytes += gone.bytes;
    }
    Ok(removed)
}

async fn remove_some(
    store: &Store,
    place: &Place,
    policy: &Policy,
    going: Vec<BackupObject>,
    number: usize,
    attempt: &Attempt,
) -> Result<RemovedObjects, BackupError> {
    let now = clock::now();
    let lines: Vec<LedgerLine> = going
        .iter()
        .map(|object| LedgerLine::of(object, Some(now)))
        .collect();
    let writer = format!("{}_removed", attempt.job_id);
    ledger_copy::put(place, &writer, number, &lines, &attempt.cancel).await?;
    let paths: Vec<String> = going
        .iter()
        .map(|object| object.remote_path.clone())
        .collect();
    let outcomes = place.remove(&paths, &attempt.cancel).await?;
    let mut gone = Vec::with_capacity(going.len());
    let mut stay = Vec::new();
    for (object, outcome) in going.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => gone.push(object.segment_id),
            Err(fault) => {
                tracing::warn!(
                    path = object.remote_path,
                    fault = fault.message,
                    "an object stays"
                );
                stay.push(object);
            }
        }
    }
    if !stay.is_empty() {
        // The ledger's copy said that they went; a later line about them holds.
        let lines: Vec<LedgerLine> = stay
            .iter()
            .map(|object| LedgerLine {
                time: clock::now(),
                ..LedgerLine::of(object, None)
            })
            .collect();
        let writer = format!("{}_kept", attempt.job_id);
        ledger_copy::put(place, &writer, number, &lines, &attempt.cancel).await?;
    }
    Ok(store
        .remove_objects(&policy.destination_id, &policy.id, &gone)
        .await?)
}

fn candidate(object: &BackupObject) -> RetentionCandidate {
    RetentionCandidate {
        camera_id: object.camera_id.clone(),
        window: object.window,
        size_bytes: object.size_bytes,
        evidence: object.evidence,
        locked_until_time: object.locked_until_time,
    }
}
