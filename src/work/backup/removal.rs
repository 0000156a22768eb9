//! What a policy no longer keeps at its destination.

use super::{BackupError, ledger_copy};
use crate::clock;
use crate::domain::backup::ledger::{LINES_MAX, LedgerLine};
use crate::domain::backup::object::BackupObject;
use crate::domain::backup::policy::{Policy, Retention};
use crate::repository::{Backlog, Store};
use crate::transfer::Place;
use crate::work::Attempt;

/// Removes what the retention of `policy` does not keep: first at the destination, then from the ledger, so that a file
/// which is there is never unknown. Answers what went.
pub(super) async fn remove(
    store: &Store,
    place: &Place,
    policy: &Policy,
    retention: &Retention,
    attempt: &Attempt,
) -> Result<Backlog, BackupError> {
    let mut removed = Backlog::default();
    for number in 1.. {
        let going = store
            .objects_to_remove(policy, retention, clock::now(), LINES_MAX)
            .await?;
        if going.is_empty() {
            break;
        }
        let paths: Vec<String> = going
            .iter()
            .map(|object| object.remote_path.clone())
            .collect();
        let gone: Vec<BackupObject> = place
            .remove(&paths, &attempt.cancel)
            .await?
            .into_iter()
            .zip(going)
            .filter_map(|(outcome, object)| match outcome {
                Ok(()) => Some(object),
                Err(fault) => {
                    tracing::warn!(path = object.remote_path, fault.message, "an object stays");
                    None
                }
            })
            .collect();
        if gone.is_empty() {
            break;
        }
        let now = clock::now();
        let lines: Vec<LedgerLine> = gone
            .iter()
            .map(|object| LedgerLine::of(object, Some(now)))
            .collect();
        ledger_copy::put(place, &format!("{}_removed", attempt.job_id), number, &lines, &attempt.cancel)
            .await?;
        let ids: Vec<String> = gone.iter().map(|object| object.segment_id.clone()).collect();
        store.remove_objects(&policy.destination_id, &ids).await?;
        removed.files += gone.len() as u64;
        removed.bytes += gone.iter().map(|object| object.size_bytes).sum::<u64>();
    }
    Ok(removed)
}
