//! Clips that are told of before their files are on the disk. They are put there later.
//!
//! Their rows name the run of the machine in which they were made, for as long as their files may be in memory only. The rows
//! themselves are on the disk at once, so that no such clip is forgotten. A file that the disk may not have after all is made
//! again (`remake`); a quick clip, for which nothing is held, is deleted then. Until that is done, such a file is not served.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::remake::Remake;
use super::{ClipError, ClipWork, blocking};
use crate::domain::clip::Clip;
use crate::hashing::hash_of;
use crate::packing::hex;
use crate::work::source_file::open_beneath;
use crate::work::temporary_name;

/// How long a start looks at files before it serves. Those that are left are not served until the housekeeping has.
const START_TIME: Duration = Duration::from_secs(20);
/// Stands in a row where the run of the machine does: the disk does not have the file, whatever is in memory of it.
const REFUSED: &str = "refused";

/// Names this run of the machine (random(4)); `None` where the system does not tell.
static RUN: LazyLock<Option<String>> = LazyLock::new(|| {
    let told = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let run = told.trim();
    (!run.is_empty()).then(|| run.to_owned())
});

/// Ids of clips whose files the disk did not take. The system tells that only once, so that another try would find all well
/// (fsync(2)), and whoever hears of it may be cancelled before it is in the row.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused(Arc<Mutex<HashSet<String>>>);

impl Refused {
    fn note(&self, clip_id: &str) {
        self.of(|ids| ids.insert(clip_id.to_owned()));
    }

    fn forget(&self, clip_id: &str) {
        self.of(|ids| ids.remove(clip_id));
    }

    fn has(&self, clip_id: &str) -> bool {
        self.of(|ids| ids.contains(clip_id))
    }

    fn of<T>(&self, what: impl FnOnce(&mut HashSet<String>) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What became of a file that was to be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Synced {
    /// It is there, with its name.
    Taken,
    /// The disk did not take it.
    Refused,
    /// There is no such file.
    Gone,
}

impl ClipWork {
    /// The run of the machine in which a clip's file may stay in memory for now; `None` where it must be on the disk before
    /// the clip is told of. Another machine that has the clip could not know when this one loses its power.
    pub(super) fn run_of_the_machine(&self) -> Option<&'static str> {
        if self.store.is_shared() {
            return None;
        }
        RUN.as_deref()
    }

    /// Puts the files of clips on the disk that are not there yet; how many. With `makes_again` also those that have to be
    /// made again. Ends early with `stop`.
    ///
    /// # Errors
    /// When the database does not answer, or the last file that could not be tried could not.
    pub async fn sync_files(
        &self,
        makes_again: bool,
        stop: &CancellationToken,
    ) -> Result<u64, ClipError> {
        let mut synced = Ok(0);
        for clip in self.store.unsynced_clips().await? {
            if stop.is_cancelled() {
                break;
            }
            if makes_again && self.tries.is_too_early(&clip.id) {
                continue;
            }
            let remake = makes_again.then(|| Remake {
                // That of an attempt which never is, as epochs begin with 1: the next of this name is no other's.
                part_name: temporary_name(&clip.job_id, 0),
                stop: stop.clone(),
            });
            match self.secure(&clip, remake).await {
                Ok(true) => synced = synced.map(|count| count + 1),
                // The others may do better.
                Ok(false) | Err(ClipError::Corrupted(_)) => {}
                Err(error) => synced = Err(error),
            }
        }
        synced
    }

    /// Looks at the clips whose files were not known to be on the disk when the server before ended, before any is served: what
    /// is whole stays, what is not is made again, and a quick clip of another run of the machine is deleted. How many are.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn look_at_start(&self) -> Result<u64, ClipError> {
        let mut deleted = 0;
        let unsynced = self.store.unsynced_clips().await?;
        let looking = async {
            for clip in unsynced {
                match self.look_at_one(&clip).await {
                    Ok(()) => {}
                    Err(ClipError::Corrupted(_)) => deleted += 1,
                    Err(error) => {
                        error!(clip = clip.id, cause = ?error, "a clip's file is not as it was");
                    }
                }
            }
        };
        if tokio::time::timeout(START_TIME, looking).await.is_err() {
            warn!("files of clips that may not be whole are left to the housekeeping");
        }
        Ok(deleted)
    }

    async fn look_at_one(&self, clip: &Clip) -> Result<(), ClipError> {
        if !self.is_in_doubt(clip) {
            // The server before was killed. Its files are in memory, unless their disk was taken away and put back.
            if clip.sha256.is_empty() || self.is_whole(clip).await? {
                return Ok(());
            }
            self.store.note_unsynced(clip, REFUSED).await?;
        }
        let remake = Remake {
            part_name: temporary_name(&clip.job_id, 0),
            stop: CancellationToken::new(),
        };
        self.secure(clip, Some(remake)).await.map(drop)
    }

    /// Whether the disk may not have the file, whatever is to be read of it.
    pub(super) fn is_in_doubt(&self, clip: &Clip) -> bool {
        !clip.unsynced_in.is_empty() && Some(clip.unsynced_in.as_str()) != RUN.as_deref()
    }

    /// Sees to it that the disk has a clip's file, with its name, and notes that it does; whether it has. A file that it does not
    /// take is made again as `remake` says, where that can be done and is wanted. One at a time.
    ///
    /// # Errors
    /// [`ClipError::Corrupted`] when the file is lost and the clip deleted. Others may be over when it is tried again.
    pub(super) async fn secure(
        &self,
        clip: &Clip,
        remake: Option<Remake>,
    ) -> Result<bool, ClipError> {
        let _alone = self.securing.lock().await;
        let found = self.store.clip(&clip.id).await?;
        let is_to_do =
            |found: &Clip| found.create_time == clip.create_time && !found.unsynced_in.is_empty();
        let Some(clip) = found.filter(is_to_do) else {
            // It was done meanwhile, or the clip is gone.
            return Ok(true);
        };
        let (recipe, held_in) = self.store.clip_remake(&clip.id).await?.unzip();
        if !self.put_on_disk(&clip, recipe.is_some()).await? {
            let (Some(recipe), Some(held_in)) = (recipe, &held_in) else {
                warn!(
                    clip = clip.id,
                    "a clip is deleted: the disk may not have its file"
                );
                self.delete(&clip).await?;
                return Err(ClipError::Corrupted("could not be put on the disk"));
            };
            let Some(remake) = remake else {
                return Ok(false);
            };
            self.make_again(&clip, recipe, held_in, remake).await?;
        }
        self.store.note_synced(&clip).await?;
        self.refused.forget(&clip.id);
        if let Some(held_in) = held_in {
            self.release_sources(&held_in).await?;
        }
        Ok(true)
    }

    /// Puts a clip's file on the disk as it is; `false` when that is not enough.
    async fn put_on_disk(&self, clip: &Clip, can_be_made_again: bool) -> Result<bool, ClipError> {
        if clip.unsynced_in == REFUSED || self.refused.has(&clip.id) {
            return Ok(false);
        }
        if self.is_in_doubt(clip) {
            if !can_be_made_again {
                return Ok(false);
            }
            if !self.is_whole(clip).await? {
                info!(
                    clip = clip.id,
                    "the machine was started anew before the clip's file was on the disk"
                );
                return Ok(false);
            }
        }
        match self.sync(clip).await? {
            Synced::Taken => Ok(true),
            // Where it cannot be made again, it is missed by whoever fetches it.
            Synced::Gone => Ok(!can_be_made_again),
            Synced::Refused => {
                self.store.note_unsynced(clip, REFUSED).await?;
                Ok(false)
            }
        }
    }

    async fn sync(&self, clip: &Clip) -> Result<Synced, ClipError> {
        let (folder, name) = (self.settings.folder.clone(), clip.file_name.clone());
        let (refused, clip_id) = (self.refused.clone(), clip.id.clone());
        blocking(move || {
            let synced = sync(&folder, &name).map_err(ClipError::Folder)?;
            if synced == Synced::Refused {
                refused.note(&clip_id);
            }
            Ok(synced)
        })
        .await
    }

    /// Whether the file has the bytes that were hashed.
    async fn is_whole(&self, clip: &Clip) -> Result<bool, ClipError> {
        let (folder, name) = (self.settings.folder.clone(), clip.file_name.clone());
        let (size_bytes, sha256) = (clip.size_bytes, clip.sha256.clone());
        blocking(move || {
            let hashed = open_beneath(&folder, Path::new(&name)).and_then(|file| {
                let is_as_long = file.metadata()?.len() == size_bytes;
                is_as_long.then(|| hash_of(file)).transpose()
            });
            Ok(matches!(hashed, Ok(Some(hashed)) if hex(&hashed) == sha256))
        })
        .await
    }
}

fn sync(folder: &Path, name: &str) -> io::Result<Synced> {
    let file = match open_beneath(folder, Path::new(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Synced::Gone),
        Err(error) => return Err(error),
    };
    if let Err(cause) = file.sync_all() {
        error!(name, %cause, "a file could not be put on the disk");
        return Ok(Synced::Refused);
    }
    File::open(folder)?.sync_all()?;
    Ok(Synced::Taken)
}
