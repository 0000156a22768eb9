//! What is sent in one go: files that were opened and have got their names at the destination.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::BackupError;
use crate::domain::backup::naming;
use crate::domain::backup::object::{BackupFault, BackupFaultKind};
use crate::domain::coverage::GapReason;
use crate::domain::time::to_microseconds;
use crate::repository::{Store, UnsentSegment};
use crate::transfer::Outgoing;
use crate::work::roots::Roots;

/// Files of a batch at most.
pub(super) const FILES_MAX: usize = 500;

/// Bytes of a batch at most, unless a single file has more.
const BYTES_MAX: u64 = 2 << 30;

/// The same of the first batch, before it is known how fast the destination is.
const FIRST_BYTES_MAX: u64 = 1 << 30;

/// The same where the destination is slow.
const SLOW_BYTES_MAX: u64 = 16 << 20;

/// How long a batch takes at about the most: only when it is over its files are in the ledger.
const LASTS: Duration = Duration::from_secs(60);

/// How many bytes the next batch may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BytesMax(u64);

impl BytesMax {
    /// Of the first one.
    pub(super) const FIRST: Self = Self(FIRST_BYTES_MAX);

    /// After one that sent `bytes` in `took`. What was over at once says nothing of how fast a destination is.
    pub(super) fn after(self, bytes: u64, took: Duration) -> Self {
        if bytes < SLOW_BYTES_MAX && took < LASTS {
            return self;
        }
        let share = LASTS.as_secs_f64() / took.as_secs_f64().max(0.001);
        Self(((bytes as f64 * share) as u64).clamp(SLOW_BYTES_MAX, BYTES_MAX))
    }
}

/// Files that are ready to be sent, each with its segment, and those that cannot be.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) segments: Vec<UnsentSegment>,
    pub(super) outgoing: Vec<Outgoing>,
    pub(super) faults: Vec<BackupFault>,
    /// Segments that were looked at: those of the page that come after them belong to the next batch.
    pub(super) taken: usize,
}

impl Batch {
    /// Opens and names files from the beginning of a page of segments. `strangers`: paths at the destination at which
    /// files stand that the ledger does not know. `bytes_max`: how many bytes it may have, unless a single file has more.
    pub(super) async fn open(
        store: &Store,
        destination_id: &str,
        roots: &Arc<Roots>,
        page: &[UnsentSegment],
        strangers: &HashSet<String>,
        BytesMax(bytes_max): BytesMax,
    ) -> Result<Self, BackupError> {
        let mut batch = Self::default();
        let mut bytes = 0;
        for segment in page.iter().take(FILES_MAX) {
            if bytes > 0 && bytes + segment.size_bytes > bytes_max {
                break;
            }
            bytes += segment.size_bytes;
            batch.taken += 1;
        }
        let names = names(store, destination_id, &page[..batch.taken], strangers).await?;
        let (roots, mut taken) = (Arc::clone(roots), page[..batch.taken].to_vec());
        // The page may be older than the batch before, and what is not held when it is sent stays so at the destination.
        let ids: Vec<&str> = taken
            .iter()
            .map(|segment| segment.segment_id.as_str())
            .collect();
        let held = store.held(&ids).await?;
        for segment in &mut taken {
            segment.evidence = held.contains(&segment.segment_id);
        }
        let opened = tokio::task::spawn_blocking(move || {
            taken
                .into_iter()
                .zip(names)
                .map(|(segment, path)| {
                    let opened = open(&roots, &segment, &path);
                    (segment, path, opened)
                })
                .collect::<Vec<_>>()
        })
        .await
        .map_err(std::io::Error::other)?;
        for (segment, path, opened) in opened {
            match opened {
                Ok(outgoing) => {
                    batch.outgoing.push(outgoing);
                    batch.segments.push(segment);
                }
                Err((kind, what)) => batch.faults.push(BackupFault {
                    kind,
                    message: format!("{}: {what}", segment.path),
                    ..fault_of(&segment, &path)
                }),
            }
        }
        Ok(batch)
    }
}

/// A fault of a segment that says nothing yet.
pub(super) fn fault_of(segment: &UnsentSegment, path: &str) -> BackupFault {
    BackupFault {
        kind: BackupFaultKind::TransferFailed,
        segment_id: segment.segment_id.clone(),
        camera_id: segment.camera_id.to_string(),
        remote_path: path.to_owned(),
        expected_size_bytes: Some(segment.size_bytes),
        found_size_bytes: None,
        expected_sha256: String::new(),
        found_sha256: String::new(),
        message: String::new(),
    }
}

fn open(
    roots: &Roots,
    segment: &UnsentSegment,
    path: &str,
) -> Result<Outgoing, (BackupFaultKind, String)> {
    let unreadable = |what: &str| (BackupFaultKind::SourceUnreadable, what.to_owned());
    let file = roots
        .look_for(&segment.source_id, &segment.path)
        .map_err(|_| unreadable("the server can open no more files at present"))?
        .map_err(|reason| match reason {
            GapReason::FileMissing => (
                BackupFaultKind::SourceMissing,
                "the recording's file is gone".to_owned(),
            ),
            _ => unreadable("the recording's file cannot be opened"),
        })?;
    let metadata = file
        .metadata()
        .map_err(|_| unreadable("the recording's file cannot be read"))?;
    let modified = metadata
        .modified()
        .map(|time| to_microseconds(time.into()))
        .map_err(|_| unreadable("the recording's file cannot be read"))?;
    if metadata.len() != segment.size_bytes || modified != segment.modified_time {
        return Err(unreadable(
            "the recording's file is not the one that the catalog knows",
        ));
    }
    Ok(Outgoing {
        file: Arc::new(file),
        path: path.to_owned(),
        size_bytes: segment.size_bytes,
        is_evidence: segment.evidence,
        replaces: segment.earlier_path.is_some(),
    })
}

/// A path for each segment that neither another segment nor a stranger has at the destination. One that was sent before
/// keeps its path.
async fn names(
    store: &Store,
    destination_id: &str,
    segments: &[UnsentSegment],
    strangers: &HashSet<String>,
) -> Result<Vec<String>, BackupError> {
    let mut choices: Vec<_> = segments
        .iter()
        .map(|segment| {
            let file_name = segment.path.rsplit('/').next().unwrap_or(&segment.path);
            naming::paths(&segment.camera_id, segment.window.start(), file_name)
        })
        .collect();
    let mut names: Vec<Option<String>> = segments
        .iter()
        .map(|segment| segment.earlier_path.clone())
        .collect();
    let mut used: HashSet<String> = names.iter().flatten().cloned().collect();
    loop {
        let open: Vec<usize> = (0..names.len()).filter(|at| names[*at].is_none()).collect();
        if open.is_empty() {
            return Ok(names.into_iter().flatten().collect());
        }
        let wanted: Vec<(usize, String)> = open
            .into_iter()
            .filter_map(|at| Some((at, choices[at].next()?)))
            .collect();
        let paths: Vec<String> = wanted.iter().map(|(_, path)| path.clone()).collect();
        let taken = store.paths_taken(destination_id, &paths).await?;
        for (at, path) in wanted {
            let is_free = taken
                .get(&path)
                .is_none_or(|id| *id == segments[at].segment_id);
            if is_free && !strangers.contains(&path) && used.insert(path.clone()) {
                names[at] = Some(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_what_a_destination_takes_in_a_minute_within_bounds() {
        let first = BytesMax::FIRST;
        let after = |bytes, took_s| first.after(bytes, Duration::from_secs(took_s));
        assert_eq!(after(100 << 20, 10), BytesMax(600 << 20));
        assert_eq!(after(1 << 30, 3600), BytesMax((1 << 30) / 60));
        assert_eq!(after(1 << 20, 3600), BytesMax(SLOW_BYTES_MAX));
        assert_eq!(after(1 << 30, 0), BytesMax(BYTES_MAX));
        // A few small files take as long as it takes to begin.
        assert_eq!(after(200 << 10, 1), first);
    }
}
