//! What a policy no longer keeps at its destination.

use chrono::{DateTime, Utc};

use super::verification::expected;
use super::{BackupError, ledger_copy};
use crate::clock;
use crate::domain::backup::ledger::LedgerLine;
use crate::domain::backup::object::{BackupCheck, BackupFaultKind, BackupObject};
use crate::domain::backup::policy::{Policy, Retention};
use crate::domain::backup::retention::{RetentionCandidate, Sweep};
use crate::domain::camera::CameraId;
use crate::repository::{RemovedObjects, Store};
use crate::transfer::{FileFault, Place, TransferError};
use crate::work::Attempt;

/// Objects that are removed in one go.
pub(super) const MANY_AT_ONCE: u32 = 1000;

/// The same at a full destination, where what the ledger's copy says of them must find room before they go.
pub(super) const FEW_AT_ONCE: u32 = 25;

/// Objects that are removed between two looks at what is held as evidence.
const BETWEEN_LOOKS: usize = 100;

/// Removes what the retention of `policy` does not keep, `at_once` objects at a time, and answers what went. First the
/// ledger's copy says so, then the files go, then the rows. When that is cut short by a failure of the destination, it is
/// asked what went; when it does not answer, or this process is killed, rows of files that are gone stay until the next
/// run of the policy, which removes them again, or a verification, which finds them missing.
pub(super) async fn remove(
    store: &Store,
    place: &Place,
    policy: &Policy,
    retention: &Retention,
    at_once: u32,
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
                at_once,
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
    // Should this be cut short, the next run says again of those that stay that they are there.
    store.forget_written(&going).await?;
    let lines: Vec<LedgerLine> = going
        .iter()
        .map(|object| LedgerLine::removed(object, now))
        .collect();
    let writer = format!("{}_removed", attempt.job_id);
    ledger_copy::put(place, None, &writer, number, &lines, &attempt.cancel).await?;
    let mut left = going.into_iter();
    let (mut stay, mut gone, mut failure) = (Vec::new(), Vec::new(), None);
    while failure.is_none() && left.len() > 0 {
        let some: Vec<BackupObject> = left.by_ref().take(BETWEEN_LOOKS).collect();
        // Somebody may have taken hold of one of them since they were chosen; a destination takes its time.
        let ids: Vec<&str> = some
            .iter()
            .map(|object| object.segment_id.as_str())
            .collect();
        let held = store.held(&ids).await?;
        let (some_stay, some): (Vec<_>, Vec<_>) = some
            .into_iter()
            .partition(|object| held.contains(&object.segment_id));
        stay.extend(some_stay);
        let paths: Vec<String> = some
            .iter()
            .map(|object| object.remote_path.clone())
            .collect();
        let went = match place.remove(&paths, &attempt.cancel).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let went = match error {
                    TransferError::Cancelled => Ok(Vec::new()),
                    _ => what_went(place, &some, attempt).await,
                };
                failure = Some(error);
                // What went before these is known all the same.
                went.unwrap_or_else(|error| {
                    tracing::warn!(%error, "nobody knows which objects are still there");
                    Vec::new()
                })
            }
        };
        for (object, went) in some.into_iter().zip(went) {
            match went {
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
    }
    let removed = store
        .remove_objects(&policy.destination_id, &policy.id, &gone)
        .await?;
    if let Some(error @ TransferError::Cancelled) = failure {
        return Err(error.into());
    }
    stay.extend(left);
    if !stay.is_empty() {
        // The ledger's copy said that they went; a later line about them holds.
        let now = clock::now();
        let lines: Vec<LedgerLine> = stay
            .iter()
            .map(|object| LedgerLine::stored(object, now))
            .collect();
        let writer = format!("{}_kept", attempt.job_id);
        ledger_copy::put(place, None, &writer, number, &lines, &attempt.cancel).await?;
    }
    match failure {
        None => Ok(removed),
        Some(error) => Err(error.into()),
    }
}

/// Asks a place which objects are no longer there, after it failed to remove them all.
async fn what_went(
    place: &Place,
    objects: &[BackupObject],
    attempt: &Attempt,
) -> Result<Vec<Result<(), FileFault>>, BackupError> {
    let expected = objects
        .iter()
        .map(expected)
        .collect::<Result<Vec<_>, _>>()?;
    let found = place
        .check(&expected, BackupCheck::Size, &attempt.cancel, |_| {})
        .await?;
    Ok(found
        .into_iter()
        .map(|found| match found {
            Err(fault) if fault.kind == BackupFaultKind::ObjectMissing => Ok(()),
            Err(fault) => Err(fault),
            Ok(_) => Err(FileFault {
                kind: BackupFaultKind::TransferFailed,
                found_size_bytes: None,
                found_sha256: None,
                message: "it was not removed".to_owned(),
            }),
        })
        .collect())
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
