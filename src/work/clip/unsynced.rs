//! Clips that are told of before their files are on the disk. They are put there later.
//!
//! Their rows name the run of the machine and of the server in which they were made, for as long as their files may be in memory
//! only. The rows themselves are on the disk at once, so that no such clip is forgotten. Nobody knows what the disk has of a file
//! of another run: it is compared with its SHA-256, and made again if it is not whole (`remake`); a quick clip, which has neither
//! hash nor anything held for it, is deleted when the machine was started anew. Until that is done, such a file is not served.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

use super::remake::Remake;
use super::{ClipError, ClipWork, blocking};
use crate::domain::clip::Clip;
use crate::hashing::hash_of;
use crate::media::CutError;
use crate::packing::hex;
use crate::work::source_file::open_beneath;

/// How long a start looks at files before it serves. Those that are left are not served until the housekeeping has.
const START_TIME: Duration = Duration::from_secs(20);

/// What names this run of the machine and of the server.
struct Run {
    /// Of the machine (random(4)).
    boot: String,
    /// Of both, for the rows of clips.
    name: String,
    /// Stands in a row instead: the disk does not have the file, whatever this run of the machine reads of it.
    refused: String,
}

/// `None` where the system does not tell.
static RUN: LazyLock<Option<Run>> = LazyLock::new(|| {
    let told = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let boot = told.trim();
    (!boot.is_empty()).then(|| Run {
        boot: boot.to_owned(),
        name: format!("{boot}/{}", Uuid::now_v7().simple()),
        refused: format!("{boot}/refused"),
    })
});

/// Ids of clips whose files the disk did not take. The system tells that only once, so that another try would find all well
/// (fsync(2)), and whoever hears of it may be cancelled before it is in the row.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused(Arc<Mutex<HashSet<String>>>);

impl Refused {
    fn note(&self, clip_id: &str) {
        self.of(|ids| ids.insert(clip_id.to_owned()));
    }

    pub(super) fn forget(&self, clip_id: &str) {
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
    /// Names the run in which a clip's file may stay in memory for now; `None` where it must be on the disk before the clip is
    /// told of. Another machine that has the clip could not know when this one loses its power.
    pub(super) fn this_run(&self) -> Option<&'static str> {
        if self.store.is_shared() {
            return None;
        }
        RUN.as_ref().map(|run| run.name.as_str())
    }

    /// Puts the files of clips on the disk that are not there yet; how many. With `makes_again` also those that have to be
    /// made again. Ends early with `stop`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sync_files(
        &self,
        makes_again: bool,
        stop: &CancellationToken,
    ) -> Result<u64, ClipError> {
        let mut synced = 0;
        for clip in self.store.unsynced_clips().await? {
            if stop.is_cancelled() {
                break;
            }
            let is_left = match makes_again {
                true => self.tries.is_too_early(&clip.id),
                false => self.is_in_doubt(&clip),
            };
            if is_left {
                continue;
            }
            let remake = makes_again.then(|| Remake::of(&clip, stop));
            match self.secure(&clip, remake).await {
                Ok(is_synced) => synced += u64::from(is_synced),
                Err(ClipError::Corrupted(_) | ClipError::Cut(CutError::Cancelled)) => {}
                // The others may do better.
                Err(cause) => warn!(clip = clip.id, ?cause, "a clip is not on the disk yet"),
            }
        }
        Ok(synced)
    }

    /// Looks at the clips of which nobody knows what the disk has, before any is served: what is whole stays, what is not is
    /// made again, and quick clips of another run of the machine are deleted. How many are.
    pub async fn look_at_start(&self) -> u64 {
        let unsynced = match self.store.unsynced_clips().await {
            Ok(unsynced) => unsynced,
            Err(error) => {
                error!(%error, "it is not known which clips the disk may not have");
                return 0;
            }
        };
        let mut deleted = 0;
        let looking = async {
            for clip in unsynced.iter().filter(|clip| self.is_in_doubt(clip)) {
                let remake = Remake::of(clip, &CancellationToken::new());
                match self.secure(clip, Some(remake)).await {
                    Ok(_) => {}
                    Err(ClipError::Corrupted(_)) => deleted += 1,
                    Err(cause) => warn!(clip = clip.id, ?cause, "a clip is not on the disk yet"),
                }
            }
        };
        if tokio::time::timeout(START_TIME, looking).await.is_err() {
            warn!(
                "clips that the disk may not have are left to the housekeeping, and not served until then"
            );
        }
        deleted
    }

    /// Whether nobody knows what the disk has of a clip's file, or it is known not to have it. What another run of the server
    /// wrote may be gone with a disk that was taken away; a quick clip has no hash to find that by.
    pub(super) fn is_in_doubt(&self, clip: &Clip) -> bool {
        let made_in = clip.unsynced_in.as_str();
        let is_known = RUN.as_ref().is_some_and(|run| {
            let is_quick = clip.sha256.is_empty();
            made_in == run.name
                || (is_quick && made_in != run.refused && made_in.starts_with(&run.boot))
        });
        !made_in.is_empty() && !is_known
    }

    /// Sees to it that the disk has a clip's file, with its name, and notes that it does; whether it was noted now. A file that
    /// it does not take is made again as `remake` says, where that can be done and is wanted. One at a time.
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
            return Ok(false);
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
        if !self.store.note_synced(&clip).await? {
            return Ok(false);
        }
        self.refused.forget(&clip.id);
        if let Some(held_in) = held_in {
            self.release_sources(&held_in).await?;
        }
        Ok(true)
    }

    /// Puts a clip's file on the disk as it is; `false` when that is not enough.
    async fn put_on_disk(&self, clip: &Clip, can_be_made_again: bool) -> Result<bool, ClipError> {
        let run = RUN.as_ref();
        let is_refused = run.is_some_and(|run| clip.unsynced_in == run.refused);
        if is_refused || self.refused.has(&clip.id) {
            return Ok(false);
        }
        if self.is_in_doubt(clip) && !(can_be_made_again && self.is_whole(clip).await?) {
            return Ok(false);
        }
        match self.sync(clip).await? {
            Synced::Taken => Ok(true),
            // Where it cannot be made again, it is missed by whoever fetches it.
            Synced::Gone => Ok(!can_be_made_again),
            Synced::Refused => {
                if let Some(run) = run {
                    self.store.note_unsynced(clip, &run.refused).await?;
                }
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
    let folder = File::open(folder)?;
    if let Err(cause) = file.sync_all().and_then(|()| folder.sync_all()) {
        error!(name, %cause, "a file could not be put on the disk");
        return Ok(Synced::Refused);
    }
    Ok(Synced::Taken)
}
