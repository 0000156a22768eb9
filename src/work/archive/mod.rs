//! Archives: what is checked before a job is accepted, the job itself, the zip without a job, and the files.
//!
//! An archive goes through these steps: `selection` finds the segments, `outline` decides what becomes of each, `hold`
//! opens them, `cuts` makes what has to be cut, `contents` puts everything in order, with an `account` of each camera,
//! `pack` writes the zip. Nothing of the archive is on the disk before its sources are open and its size is known, and
//! nothing stays when it fails.

mod account;
mod contents;
mod cuts;
mod delivery;
mod hold;
mod making;
mod outline;
mod pack;
mod preview;
mod selection;
mod verify;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::ffmpeg::{Ffmpeg, FfmpegError};
use super::output::{free_bytes, remove_if_there};
use super::source_file::open_beneath;
use crate::clock;
use crate::domain::archive::{Archive, ArchiveContent, ArchiveFaultKind, ArchiveSegment};
use crate::domain::camera::CameraId;
use crate::domain::export_record::{ExportAction, ExportRecord};
use crate::media::{CutError, Engine, picture_obstacle, sound_obstacle};
use crate::packing::{KeyError, KnownKeys, SigningKey};
use crate::repository::{Store, StoreError};

use outline::Part;

pub use delivery::{Delivery, Parcel};
pub use preview::{Preview, PreviewSource};
pub use verify::ArchiveVerificationWork;

/// Disk that must stay free beside an archive.
const HEADROOM_BYTES: u64 = 1 << 30;
/// Expired archives deleted in one go.
const AT_ONCE: u32 = 500;

/// What the operator decides about archives.
#[derive(Clone, Debug)]
pub struct ArchiveSettings {
    /// Where finished archives lie.
    pub folder: PathBuf,
    /// How long an archive is kept unless its request says otherwise; `None` is until it is deleted.
    pub keep_for: Option<Duration>,
    /// Most bytes that the selected segments may have in all.
    pub max_bytes: u64,
    /// Most segments that may be selected: memory grows with them.
    pub max_segments: u64,
    /// Most bytes that the folder may hold.
    pub folder_max_bytes: u64,
    /// How long making one archive may take.
    pub timeout: Duration,
    /// How long cutting may take, for each started hour of footage.
    pub cut_timeout: Duration,
}

/// Who signs, and what else this machine is to an archive.
#[derive(Debug)]
pub struct Signer {
    /// The key.
    pub key: SigningKey,
    /// Keys that this service has ever signed with.
    pub known: KnownKeys,
    /// Name of the machine.
    pub host: String,
}

/// Why an archive cannot be made, or its file not be had.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// No such camera.
    #[error("camera {0} not found")]
    CameraNotFound(CameraId),
    /// Nothing that could be read is selected.
    #[error("no recorded footage matches the requested archive selection")]
    NothingMatches,
    /// The selected segments are too many bytes.
    #[error(
        "archive selection is {bytes} bytes; exceeds the limit of {limit_bytes} bytes (HELDAR_ARCHIVE_MAX_BYTES)"
    )]
    TooLarge {
        /// Their bytes.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The selected segments are too many.
    #[error(
        "archive selection is {segments} segments; exceeds the limit of {limit} segments (HELDAR_ARCHIVE_MAX_SEGMENTS)"
    )]
    TooMany {
        /// How many, vanished ones included.
        segments: u64,
        /// The limit.
        limit: u64,
    },
    /// A source is missing or broken, and the caller wanted all of them.
    #[error("{message}")]
    Incomplete {
        /// What is wrong with it.
        kind: ArchiveFaultKind,
        /// The source, and what is wrong with it, in words.
        message: String,
    },
    /// ffmpeg cannot be started, and something has to be cut.
    #[error(transparent)]
    Ffmpeg(#[from] FfmpegError),
    /// The disk has too little room.
    #[error("not enough free disk for this export: need ~{need_bytes} bytes, {free_bytes} free")]
    DiskFull {
        /// What the archive needs, with headroom.
        need_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// The archive folder may not hold as much.
    #[error(
        "not enough free disk for this export: need ~{need_bytes} bytes, {free_bytes} free (HELDAR_ARCHIVE_DIR_MAX_BYTES)"
    )]
    FolderFull {
        /// What the archive needs.
        need_bytes: u64,
        /// What the folder may still take.
        free_bytes: u64,
    },
    /// The disk became full on the way.
    #[error("no space left for the archive")]
    NoSpace,
    /// A finished file is gone or has another size.
    #[error("the archive's file {0}")]
    Corrupted(&'static str),
    /// Cutting failed.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// Making it took too long.
    #[error("archive export timed out")]
    TimedOut,
    /// A caller to whom it was streamed took nothing for so long that others come first.
    #[error("the caller took nothing of the archive for a minute")]
    Untaken,
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The archive cannot be signed.
    #[error("the archive cannot be signed")]
    Sign(#[source] KeyError),
    /// The archive folder or the scratch folder cannot be used.
    #[error("the archive folder cannot be used")]
    Folder(#[source] io::Error),
    /// This machine can open no more files at present, which says nothing of the recordings.
    #[error(
        "the server cannot open as many files as the archive needs; try again later, or raise its limit"
    )]
    Machine(#[source] io::Error),
    /// Too many archives are being streamed.
    #[error("{0} archives are being streamed already; try again later")]
    TooManyStreams(usize),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ArchiveError {
    /// A failure to write the zip.
    fn written(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            // Whom it was for is gone.
            io::ErrorKind::BrokenPipe => Self::Cancelled,
            io::ErrorKind::TimedOut => Self::Untaken,
            _ => Self::Folder(error),
        }
    }
}

/// Everything about archives but their queue.
pub struct ArchiveWork {
    store: Store,
    settings: ArchiveSettings,
    engine: Engine,
    ffmpeg: Ffmpeg,
    signer: Arc<Signer>,
    /// Places for files that are held open.
    places: Arc<Semaphore>,
    /// Files that cuts may open at their turn.
    turns: Semaphore,
    /// Bytes that archives which are being written will have in the folder.
    reserved_bytes: Arc<Mutex<u64>>,
    streams: Arc<Semaphore>,
}

impl ArchiveWork {
    /// Makes archives with `engine` in the folder of `settings`.
    pub fn new(store: Store, settings: ArchiveSettings, engine: Engine, signer: Signer) -> Self {
        let ffmpeg = Ffmpeg::new(engine.ffmpeg.clone());
        Self {
            store,
            settings,
            engine,
            ffmpeg,
            signer: Arc::new(signer),
            places: hold::places(),
            turns: Semaphore::new(hold::AT_THEIR_TURN),
            reserved_bytes: Arc::default(),
            streams: Arc::new(Semaphore::new(delivery::AT_ONCE)),
        }
    }

    /// How long an archive is kept unless its request says otherwise, seconds; 0 is until it is deleted.
    pub fn default_keep_for_s(&self) -> u64 {
        self.settings
            .keep_for
            .map_or(0, |keep_for| keep_for.as_secs())
    }

    /// Opens a finished archive's file, after a look at its size.
    pub async fn open(&self, archive: &Archive) -> Result<File, ArchiveError> {
        let file = self.open_as_it_is(archive).await?;
        let metadata = file.metadata().map_err(ArchiveError::Folder)?;
        if metadata.len() != archive.size_bytes {
            return Err(ArchiveError::Corrupted("no longer has its size"));
        }
        Ok(file)
    }

    /// Opens the file of an archive, whatever has become of it.
    async fn open_as_it_is(&self, archive: &Archive) -> Result<File, ArchiveError> {
        let (folder, name) = (self.settings.folder.clone(), archive.file_name.clone());
        blocking(move || {
            open_beneath(&folder, Path::new(&name)).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => ArchiveError::Corrupted("is gone"),
                _ => ArchiveError::Folder(error),
            })
        })
        .await
    }

    /// Deletes an archive with its file; whether it was there. That it was made, and that it went, stays on record.
    pub async fn delete(&self, archive: &Archive, peer: &str) -> Result<bool, ArchiveError> {
        let record = ExportRecord::of(archive, ExportAction::Deleted, clock::now()).by(peer, "");
        self.remove(archive, &record).await
    }

    /// Writes down that a caller took an archive or parts of it.
    pub async fn note_download(
        &self,
        archive: &Archive,
        peer: &str,
        parts: &[Range<u64>],
    ) -> Result<(), ArchiveError> {
        let note = if parts.contains(&(0..archive.size_bytes)) {
            "whole".to_owned()
        } else {
            let each = parts
                .iter()
                .map(|part| format!("{} to {}", part.start, part.end));
            format!("bytes {}", each.collect::<Vec<_>>().join(", "))
        };
        let record = ExportRecord::of(archive, ExportAction::Downloaded, clock::now());
        Ok(self.store.record_export(&record.by(peer, note)).await?)
    }

    /// Deletes archives whose time is over; how many.
    pub async fn delete_expired(&self) -> Result<u64, ArchiveError> {
        let now = self.store.present(clock::now()).await?;
        let mut deleted = 0;
        for archive in self.store.expired_archives(now, AT_ONCE).await? {
            let record = ExportRecord::of(&archive, ExportAction::Expired, now);
            self.remove(&archive, &record).await?;
            deleted += 1;
        }
        Ok(deleted)
    }

    async fn remove(&self, archive: &Archive, record: &ExportRecord) -> Result<bool, ArchiveError> {
        let was_there = self.store.delete_archive(archive, record).await?;
        // The file of one that was not there may be that of a new archive with the same id.
        if was_there {
            let path = self.settings.folder.join(&archive.file_name);
            blocking(move || remove_if_there(&path).map_err(ArchiveError::Folder)).await?;
        }
        Ok(was_there)
    }

    /// Checks that the selection is not too large. Of what is too many, nothing is read.
    fn check_limits(&self, totals: &selection::Totals) -> Result<(), ArchiveError> {
        let limit_bytes = self.settings.max_bytes;
        if totals.bytes > limit_bytes {
            return Err(ArchiveError::TooLarge {
                bytes: totals.bytes,
                limit_bytes,
            });
        }
        let limit = self.settings.max_segments;
        if totals.segments > limit {
            return Err(ArchiveError::TooMany {
                segments: totals.segments,
                limit,
            });
        }
        Ok(())
    }

    /// Checks that there is room for a zip in the archive folder and for what is cut on the way in the scratch folder,
    /// which may be on another disk.
    fn check_disks(&self, zip_bytes: u64, cut_bytes: u64) -> Result<(), ArchiveError> {
        let (folder, scratch) = (&self.settings.folder, &self.engine.scratch);
        if cut_bytes == 0 {
            return check_room(folder, zip_bytes);
        }
        std::fs::create_dir_all(scratch).map_err(ArchiveError::Folder)?;
        let disk = |folder: &Path| folder.metadata().map(|metadata| metadata.dev());
        let is_one = disk(folder).map_err(ArchiveError::Folder)?
            == disk(scratch).map_err(ArchiveError::Folder)?;
        if is_one {
            return check_room(folder, zip_bytes.saturating_add(cut_bytes));
        }
        if zip_bytes > 0 {
            check_room(folder, zip_bytes)?;
        }
        check_room(scratch, cut_bytes)
    }

    /// Takes room in the archive folder for a zip. Archives whose time is over make room first.
    async fn reserve(&self, zip_bytes: u64) -> Result<Reservation, ArchiveError> {
        // What is taken counts before anything is read: an archive that is finished meanwhile counts twice for a moment,
        // and never not at all.
        let (reservation, others_bytes) = Reservation::take(&self.reserved_bytes, zip_bytes);
        let mut held_bytes = self.store.archived_bytes().await?;
        let limit_bytes = self.settings.folder_max_bytes;
        if held_bytes.saturating_add(zip_bytes) > limit_bytes {
            self.delete_expired().await?;
            held_bytes = self.store.archived_bytes().await?;
        }
        let free_bytes = limit_bytes.saturating_sub(held_bytes.saturating_add(others_bytes));
        if zip_bytes > free_bytes {
            return Err(ArchiveError::FolderFull {
                need_bytes: zip_bytes,
                free_bytes,
            });
        }
        Ok(reservation)
    }

    /// The size of the zip. To find it takes a while, in which nothing else could run on a thread that serves calls.
    async fn size(
        &self,
        contents: contents::Contents,
        cancel: &CancellationToken,
    ) -> Result<Measured, ArchiveError> {
        let (signer, cancel) = (Arc::clone(&self.signer), cancel.clone());
        blocking(move || {
            let zip_bytes = pack::size(&contents, signer.seal(), &cancel)?;
            Ok((contents, zip_bytes))
        })
        .await
    }

    /// Refuses what is known to need an ffmpeg that is not there: cutting of footage with these codecs.
    async fn check_ffmpeg(
        &self,
        content: &ArchiveContent,
        parts: &[Part],
    ) -> Result<(), ArchiveError> {
        let is_copied = |segment: ArchiveSegment| match segment.codec.split_once('+') {
            Some((picture, sound)) => picture_obstacle(picture)
                .or_else(|| sound_obstacle(sound))
                .is_none(),
            None => picture_obstacle(&segment.codec).is_none(),
        };
        let mut segments = parts.iter().flat_map(|part| part.segments.iter());
        if Self::needs_cutting(content) && !segments.all(is_copied) {
            self.ffmpeg.version().await?;
        }
        Ok(())
    }

    /// Whether something has to be cut for this.
    fn needs_cutting(content: &ArchiveContent) -> bool {
        content.layout.has_clips() || content.trims_segments()
    }
}

impl Signer {
    fn seal(&self) -> pack::Seal<'_> {
        pack::Seal {
            key: &self.key,
            host: &self.host,
        }
    }
}

/// What goes into a zip, and the size of the zip, bytes.
type Measured = (contents::Contents, u64);

/// Room in the archive folder, given back when it is dropped: the row of a finished archive counts from then on.
struct Reservation {
    reserved_bytes: Arc<Mutex<u64>>,
    zip_bytes: u64,
}

impl Reservation {
    /// Takes so much, and says how much others had taken.
    fn take(all: &Arc<Mutex<u64>>, zip_bytes: u64) -> (Self, u64) {
        let mut reserved = all.lock().unwrap_or_else(PoisonError::into_inner);
        let others_bytes = *reserved;
        *reserved = reserved.saturating_add(zip_bytes);
        let reservation = Self {
            reserved_bytes: Arc::clone(all),
            zip_bytes,
        };
        (reservation, others_bytes)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = self
            .reserved_bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *reserved = reserved.saturating_sub(self.zip_bytes);
    }
}

/// Checks that the disk of a folder has room for so much, and headroom.
fn check_room(folder: &Path, bytes: u64) -> Result<(), ArchiveError> {
    let need_bytes = bytes.saturating_add(HEADROOM_BYTES);
    let free_bytes = free_bytes(folder).map_err(ArchiveError::Folder)?;
    if free_bytes < need_bytes {
        return Err(ArchiveError::DiskFull {
            need_bytes,
            free_bytes,
        });
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, ArchiveError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(ArchiveError::Folder(io::Error::other(error))))
}
