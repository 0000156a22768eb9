//! The copy of the ledger at the destination: written after what it tells of, read when the database is lost.

use tokio_util::sync::CancellationToken;

use super::BackupError;
use crate::clock;
use crate::domain::backup::ledger::{self, FILE_BYTES_MAX, LINES_MAX, LedgerCopy, LedgerLine};
use crate::repository::Store;
use crate::transfer::{EarlyPut, Place, TransferError};

/// Files of a ledger's copy that are read at most: some hundred million objects, and an end to a listing that has none.
const FILES_READ_MAX: usize = 100_000;

/// Writes what the destination's copy does not have yet; the path of the last file, empty when there was nothing.
pub(super) async fn write(
    store: &Store,
    place: &Place,
    mut early: Option<EarlyPut>,
    destination_id: &str,
    job_id: &str,
    cancel: &CancellationToken,
) -> Result<String, BackupError> {
    let mut last = String::new();
    for number in 1.. {
        let objects = store
            .unwritten_objects(destination_id, LINES_MAX as u32)
            .await?;
        if objects.is_empty() {
            break;
        }
        // Some may have a line already that is no longer right: what is said now holds.
        let now = clock::now();
        let lines: Vec<LedgerLine> = objects
            .iter()
            .map(|object| LedgerLine::stored(object, now))
            .collect();
        last = put(place, early.take(), job_id, number, &lines, cancel).await?;
        store.mark_written(&objects, &last).await?;
    }
    Ok(last)
}

/// Writes one file of the copy; its path.
pub(super) async fn put(
    place: &Place,
    early: Option<EarlyPut>,
    job_id: &str,
    number: usize,
    lines: &[LedgerLine],
    cancel: &CancellationToken,
) -> Result<String, BackupError> {
    let now = clock::now();
    let path = ledger::path(now, job_id, number);
    place
        .put(&path, &ledger::write(job_id, now, lines), early, cancel)
        .await?;
    Ok(path)
}

/// Reads the whole copy. A file that cannot be read is named in the log and left out: the others still hold.
pub(super) async fn read(
    place: &Place,
    cancel: &CancellationToken,
) -> Result<LedgerCopy, BackupError> {
    let mut paths = Vec::new();
    place
        .list(&ledger::folder(), cancel, |listed| {
            if paths.len() == FILES_READ_MAX {
                return Err(TransferError::Settings(
                    "the ledger at the destination has too many files".to_owned(),
                ));
            }
            if listed.path.ends_with(".jsonl") {
                paths.push(listed.path);
            }
            Ok(())
        })
        .await?;
    let mut copy = LedgerCopy::default();
    for path in paths {
        let Some(bytes) = place.get(&path, FILE_BYTES_MAX, cancel).await? else {
            continue;
        };
        match ledger::read(&bytes) {
            Ok(lines) => copy.add(lines),
            Err(error) => {
                copy.files_left_out += 1;
                tracing::warn!(path, %error, "a file of the ledger is left out");
            }
        }
    }
    Ok(copy)
}
