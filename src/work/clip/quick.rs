//! Quick clips: nobody waits for their files to be on the disk. They are put there later, and those that a loss of power may
//! have taken are deleted.
//!
//! Their rows name the run of the machine in which they were made, for as long as their files may be in memory only. The rows
//! themselves are on the disk at once, so that no such clip is forgotten.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::LazyLock;

use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{ClipError, ClipWork, blocking};
use crate::domain::clip::{Clip, ClipSpec};
use crate::work::source_file::open_beneath;

/// Names this run of the machine (random(4)); `None` where the system does not tell.
static RUN: LazyLock<Option<String>> = LazyLock::new(|| {
    let told = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let run = told.trim();
    (!run.is_empty()).then(|| run.to_owned())
});

impl ClipWork {
    /// The run of the machine in which a clip's file may stay in memory for now; `None` where it must be on the disk before
    /// the clip is told of. Another machine that has the clip could not know when this one loses its power.
    pub(super) fn may_stay_in_memory(&self, spec: &ClipSpec) -> Option<&'static str> {
        if !spec.quick || self.store.is_shared() {
            return None;
        }
        RUN.as_deref()
    }

    /// Puts the files of quick clips on the disk; how many. A clip whose file the disk did not take goes. Ends early, between
    /// two clips, with `stop`.
    ///
    /// # Errors
    /// When the database does not answer, or the last file that could not be tried could not.
    pub async fn sync_quick(&self, stop: &CancellationToken) -> Result<u64, ClipError> {
        let mut synced = Ok(0);
        for clip in self.store.unsynced_clips().await? {
            if stop.is_cancelled() {
                break;
            }
            match self.put_on_disk(&clip).await {
                Ok(()) => self.store.note_synced(&clip).await?,
                Err(ClipError::Corrupted(_)) => continue,
                // The others may do better.
                Err(error) => {
                    synced = Err(error);
                    continue;
                }
            }
            synced = synced.map(|count| count + 1);
        }
        synced
    }

    /// Puts a clip's file on the disk, with its name.
    ///
    /// # Errors
    /// [`ClipError::Corrupted`] when the disk did not take it, and the clip is deleted: the system tells that only once, so
    /// that another try would find all well (fsync(2)).
    pub(super) async fn put_on_disk(&self, clip: &Clip) -> Result<(), ClipError> {
        let (folder, name) = (self.settings.folder.clone(), clip.file_name.clone());
        let lasts = blocking(move || sync(&folder, &name).map_err(ClipError::Folder)).await?;
        if lasts {
            return Ok(());
        }
        warn!(
            clip = clip.id,
            "a quick clip is deleted: the disk did not take its file"
        );
        self.delete(clip).await?;
        Err(ClipError::Corrupted("could not be put on the disk"))
    }

    /// Deletes the quick clips of earlier runs of the machine whose files were not known to be on the disk; how many. Only
    /// before clips are served.
    ///
    /// # Errors
    /// When the database or the folder does not answer.
    pub async fn delete_lost(&self) -> Result<u64, ClipError> {
        let mut deleted = 0;
        for clip in self.store.unsynced_clips().await? {
            if Some(clip.unsynced_in.as_str()) != RUN.as_deref() {
                self.delete(&clip).await?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}

/// Whether the disk took the file. One that is gone is missed by whoever fetches it.
fn sync(folder: &Path, name: &str) -> io::Result<bool> {
    let file = match open_beneath(folder, Path::new(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    if let Err(cause) = file.sync_all() {
        error!(name, %cause, "a file could not be put on the disk");
        return Ok(false);
    }
    File::open(folder)?.sync_all()?;
    Ok(true)
}
