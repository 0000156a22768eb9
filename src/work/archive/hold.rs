//! Holding sources: every file is opened before the first byte is packed, so that one which its recorder deletes
//! meanwhile is still archived whole.

use std::fs::File;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use chrono::{DateTime, Utc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::ArchiveError;
use crate::domain::archive::{ArchiveFaultKind, ArchiveSegment};
use crate::domain::coverage::GapReason;
use crate::domain::time::to_microseconds;
use crate::work::roots::Roots;

/// Descriptors that are left to everything else: connections, the database, ffmpeg's pipes.
const DESCRIPTORS_KEPT: u64 = 512;

/// How many files may be held open at the same time by all archives together: all that the process may open but for a
/// reserve. A file for which there is no place is opened at its turn.
pub(super) fn places() -> Arc<Semaphore> {
    let allowed = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(1 << 20);
    let places = allowed.saturating_sub(DESCRIPTORS_KEPT);
    Arc::new(Semaphore::new(
        usize::try_from(places)
            .unwrap_or(Semaphore::MAX_PERMITS)
            .min(Semaphore::MAX_PERMITS),
    ))
}

/// A source that can be read.
#[derive(Debug)]
pub(super) struct Held {
    /// `None`: it is opened at its turn.
    open: Option<(Arc<File>, OwnedSemaphorePermit)>,
    /// Its size when it was opened.
    pub(super) size_bytes: u64,
    /// Its modification time then.
    pub(super) modified: DateTime<Utc>,
}

impl Held {
    /// The open file.
    pub(super) fn file(
        &self,
        roots: &Roots,
        segment: &ArchiveSegment,
    ) -> Result<Arc<File>, GapReason> {
        match &self.open {
            Some((file, _)) => Ok(Arc::clone(file)),
            None => roots.open(&segment.source_id, &segment.path).map(Arc::new),
        }
    }

    /// Gives the open file back.
    pub(super) fn release(&mut self) {
        self.open = None;
    }

    /// Whether the file has been written to since it was opened.
    pub(super) fn has_changed(&self, file: &File) -> bool {
        look_at(file).is_none_or(|(size_bytes, modified)| {
            size_bytes != self.size_bytes || modified != self.modified
        })
    }
}

/// Why a source cannot be archived as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: ArchiveFaultKind,
    pub(super) message: String,
}

/// Opens the file of a segment. A file can be held and still not be what the catalog says.
pub(super) fn hold(
    segment: &ArchiveSegment,
    roots: &Roots,
    places: &Arc<Semaphore>,
) -> (Option<Held>, Option<Box<Finding>>) {
    let fault = |kind, message: String| Some(Box::new(Finding { kind, message }));
    let file = match roots.open(&segment.source_id, &segment.path) {
        Ok(file) => file,
        Err(GapReason::FileMissing) => {
            let message = "the recording's file is gone".to_owned();
            return (None, fault(ArchiveFaultKind::Missing, message));
        }
        Err(_) => {
            let message = "the recording's file cannot be opened".to_owned();
            return (None, fault(ArchiveFaultKind::Unreadable, message));
        }
    };
    let Some((size_bytes, modified)) = look_at(&file) else {
        let message = "the recording's file cannot be read".to_owned();
        return (None, fault(ArchiveFaultKind::Unreadable, message));
    };
    let finding = if size_bytes != segment.size_bytes {
        let known = segment.size_bytes;
        let message = format!("the file has {size_bytes} bytes, the catalog knows it with {known}");
        fault(ArchiveFaultKind::Changed, message)
    } else if to_microseconds(modified) != segment.modified_time {
        let message = "the file was written to after the catalog took it in".to_owned();
        fault(ArchiveFaultKind::Changed, message)
    } else if segment.truncated {
        let message = "the recording ends before its own tables say".to_owned();
        fault(ArchiveFaultKind::Damaged, message)
    } else {
        None
    };
    let place = Arc::clone(places).try_acquire_owned().ok();
    let held = Held {
        open: place.map(|place| (Arc::new(file), place)),
        size_bytes,
        modified,
    };
    (Some(held), finding)
}

/// Size and modification time.
fn look_at(file: &File) -> Option<(u64, DateTime<Utc>)> {
    let metadata = file.metadata().ok()?;
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
    Some((metadata.len(), modified.into()))
}

/// Stops a long row of openings when somebody wants it to.
pub(super) fn go_on(cancel: &CancellationToken) -> Result<(), ArchiveError> {
    if cancel.is_cancelled() {
        Err(ArchiveError::Cancelled)
    } else {
        Ok(())
    }
}
