//! Holding sources: every file is opened before the first byte is packed, so that one which its recorder deletes
//! meanwhile is still archived whole.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::ArchiveError;
use crate::domain::archive::{ArchiveFaultKind, ArchiveSegment};
use crate::domain::coverage::GapReason;
use crate::domain::time::to_microseconds;
use crate::work::roots::Roots;

/// Descriptors that are left to everything else: connections, the database, ffmpeg's pipes, and [`AT_THEIR_TURN`].
const DESCRIPTORS_KEPT: u64 = 512;

/// Files without a place that may be open for cuts at the same time: an hour of ten-second recordings, and a few around.
pub(super) const AT_THEIR_TURN: usize = 384;

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

/// What was found of the sources of a camera, by the number of the segment, and the files that are open.
///
/// There are hundreds of thousands: of a file that is as the catalog knows it, a descriptor and a few bytes are kept.
#[derive(Debug)]
pub(super) struct Held {
    files: Files,
    /// One place for each open file.
    places: Option<OwnedSemaphorePermit>,
    looks: Arc<Looks>,
}

/// What a look at each file showed when it was opened, by the number of the segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Looks {
    /// What a modification time has beyond the microsecond that the catalog knows, nanoseconds; `None` when there is no
    /// file that could be read.
    beyond_us: Vec<Option<u16>>,
    /// Files that are not as the catalog knows them, in order of number.
    other: Vec<(u32, Look)>,
}

/// The open files. One for which there was no place is opened at its turn.
#[derive(Debug)]
enum Files {
    /// For one reader at a time.
    Single(Vec<Option<File>>),
    /// For cuts, each of which has its own hold on its sources.
    Shared(Vec<Option<Arc<File>>>),
}

/// What a look at an open file shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) size_bytes: u64,
    pub(super) modified: DateTime<Utc>,
}

/// A file that can be read.
pub(super) enum Opened<'a> {
    Held(&'a File),
    AtItsTurn(File),
}

impl Deref for Opened<'_> {
    type Target = File;

    fn deref(&self) -> &File {
        match self {
            Self::Held(file) => file,
            Self::AtItsTurn(file) => file,
        }
    }
}

impl Held {
    /// Nothing, with room for so many sources. `is_shared`: something may be cut from them.
    pub(super) fn with_capacity(count: usize, is_shared: bool) -> Self {
        Self {
            files: if is_shared {
                Files::Shared(Vec::with_capacity(count))
            } else {
                Files::Single(Vec::with_capacity(count))
            },
            places: None,
            looks: Arc::new(Looks {
                beyond_us: Vec::with_capacity(count),
                other: Vec::new(),
            }),
        }
    }

    /// Opens the file of the next segment, and keeps it open when there is one of `places` for it. A file can be held and
    /// still not be what the catalog says.
    ///
    /// # Errors
    /// When this machine can open no more files: no finding is made of that.
    pub(super) fn add(
        &mut self,
        segment: &ArchiveSegment,
        roots: &Roots,
        places: Option<&Arc<Semaphore>>,
    ) -> io::Result<Option<Finding>> {
        let (file, finding) = match roots.look_for(&segment.source_id, &segment.path)? {
            Ok(file) => match look_at(&file) {
                Some(look) => (Some((file, look)), difference(segment, look)),
                None => (None, Some(Finding::Unreadable)),
            },
            Err(GapReason::FileMissing) => (None, Some(Finding::Gone)),
            Err(_) => (None, Some(Finding::Unopened)),
        };
        let look = file.as_ref().map(|(_, look)| *look);
        Arc::make_mut(&mut self.looks).add(segment, look);
        let file = file.and_then(|(file, _)| {
            let place = Arc::clone(places?).try_acquire_owned().ok()?;
            match &mut self.places {
                Some(places) => places.merge(place),
                none => *none = Some(place),
            }
            Some(file)
        });
        match &mut self.files {
            Files::Single(files) => files.push(file),
            Files::Shared(files) => files.push(file.map(Arc::new)),
        }
        Ok(finding)
    }

    /// Whether there is a file that can be read.
    pub(super) fn has(&self, number: usize) -> bool {
        let beyond_us = self.looks.beyond_us.get(number);
        beyond_us.is_some_and(Option::is_some)
    }

    /// What the file was when it was opened.
    pub(super) fn look(&self, number: usize, segment: &ArchiveSegment) -> Option<Look> {
        self.looks.of(number, segment)
    }

    /// What all files were when they were opened.
    pub(super) fn looks(&self) -> Arc<Looks> {
        Arc::clone(&self.looks)
    }
    /// The file.
    ///
    /// # Errors
    /// When this machine can open no more files.
    pub(super) fn file(
        &self,
        number: usize,
        segment: &ArchiveSegment,
        roots: &Roots,
    ) -> io::Result<Result<Opened<'_>, GapReason>> {
        let held = match &self.files {
            Files::Single(files) => files.get(number).and_then(Option::as_ref),
            Files::Shared(files) => files.get(number).and_then(Option::as_deref),
        };
        match held {
            Some(file) => Ok(Ok(Opened::Held(file))),
            None => Ok(roots
                .look_for(&segment.source_id, &segment.path)?
                .map(Opened::AtItsTurn)),
        }
    }

    /// The open file, to be held by somebody else as well; `None` when it is opened at its turn.
    pub(super) fn shared(&self, number: usize) -> Option<Arc<File>> {
        match &self.files {
            Files::Shared(files) => files.get(number)?.clone(),
            Files::Single(_) => None,
        }
    }

    /// Gives an open file and its place back.
    pub(super) fn release(&mut self, number: usize) {
        let was_open = match &mut self.files {
            Files::Single(files) => files.get_mut(number).and_then(Option::take).is_some(),
            Files::Shared(files) => files.get_mut(number).and_then(Option::take).is_some(),
        };
        if was_open && let Some(places) = &mut self.places {
            drop(places.split(1));
        }
    }
}

impl Looks {
    fn add(&mut self, segment: &ArchiveSegment, look: Option<Look>) {
        let beyond_us = look.map(|look| {
            if is_as_known(segment, look) {
                (look.modified.timestamp_subsec_nanos() % 1000) as u16
            } else {
                let number = u32::try_from(self.beyond_us.len()).unwrap_or(u32::MAX);
                self.other.push((number, look));
                0
            }
        });
        self.beyond_us.push(beyond_us);
    }

    /// What the file of a segment was when it was opened.
    pub(super) fn of(&self, number: usize, segment: &ArchiveSegment) -> Option<Look> {
        let beyond_us = (*self.beyond_us.get(number)?)?;
        let found = self
            .other
            .binary_search_by_key(&number, |(number, _)| *number as usize);
        Some(match found {
            Ok(found) => self.other[found].1,
            Err(_) => Look {
                size_bytes: segment.size_bytes,
                modified: segment.modified_time + TimeDelta::nanoseconds(beyond_us.into()),
            },
        })
    }
}

/// Whether a file has been written to since `look`.
pub(super) fn has_changed(file: &File, look: Look) -> bool {
    look_at(file) != Some(look)
}

/// Why a source cannot be archived as the catalog knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Gone,
    Unopened,
    Unreadable,
    OtherSize,
    WrittenTo,
    Truncated,
    /// Found by a cut.
    NothingDecodable,
    /// Found by a cut.
    PartlyUndecodable,
    /// Found while it was packed.
    NotToItsEnd,
    /// Found while it was packed.
    ChangedMeanwhile,
}

impl Finding {
    pub(super) fn kind(self) -> ArchiveFaultKind {
        match self {
            Self::Gone => ArchiveFaultKind::Missing,
            Self::Unopened | Self::Unreadable | Self::NotToItsEnd => ArchiveFaultKind::Unreadable,
            Self::OtherSize | Self::WrittenTo | Self::ChangedMeanwhile => ArchiveFaultKind::Changed,
            Self::Truncated | Self::NothingDecodable | Self::PartlyUndecodable => {
                ArchiveFaultKind::Damaged
            }
        }
    }

    /// In words, after the path of the segment. `look` is what the file was when it was opened.
    pub(super) fn message(self, segment: &ArchiveSegment, look: Option<Look>) -> String {
        let words = match self {
            Self::Gone => "the recording's file is gone",
            Self::Unopened => "the recording's file cannot be opened",
            Self::Unreadable => "the recording's file cannot be read",
            Self::OtherSize => {
                let found = look.map_or(0, |look| look.size_bytes);
                let known = segment.size_bytes;
                return format!(
                    "{}: the file has {found} bytes, the catalog knows it with {known}",
                    segment.path
                );
            }
            Self::WrittenTo => "the file was written to after the catalog took it in",
            Self::Truncated => "the recording ends before its own tables say",
            Self::NothingDecodable => "no picture of the window can be decoded",
            Self::PartlyUndecodable => "part of the recording cannot be decoded",
            Self::NotToItsEnd => "the recording's file could not be read to its end",
            Self::ChangedMeanwhile => "the recording's file was changed while it was read",
        };
        format!("{}: {words}", segment.path)
    }
}

/// What is wrong with an open file, by the catalog.
fn difference(segment: &ArchiveSegment, look: Look) -> Option<Finding> {
    if look.size_bytes != segment.size_bytes {
        Some(Finding::OtherSize)
    } else if !is_as_known(segment, look) {
        Some(Finding::WrittenTo)
    } else if segment.truncated {
        Some(Finding::Truncated)
    } else {
        None
    }
}

/// Whether size and modification time are those that the catalog has.
fn is_as_known(segment: &ArchiveSegment, look: Look) -> bool {
    look.size_bytes == segment.size_bytes && to_microseconds(look.modified) == segment.modified_time
}

fn look_at(file: &File) -> Option<Look> {
    let metadata = file.metadata().ok()?;
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
    Some(Look {
        size_bytes: metadata.len(),
        modified: modified.into(),
    })
}

/// Stops a long row of openings when somebody wants it to.
pub(super) fn go_on(cancel: &CancellationToken) -> Result<(), ArchiveError> {
    if cancel.is_cancelled() {
        Err(ArchiveError::Cancelled)
    } else {
        Ok(())
    }
}
