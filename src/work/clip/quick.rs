//! Quick clips: nobody waits for their files to be on the disk. They are put there later, and those that a loss of power may
//! have taken are deleted.
//!
//! Their rows name the run of the machine in which they were made, for as long as their files may be in memory only. The rows
//! themselves are on the disk at once, so that no such clip is forgotten.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::LazyLock;

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

    /// Puts the files of quick clips on the disk; how many.
    ///
    /// # Errors
    /// When the database does not answer, or the last file that failed could not be synced.
    pub async fn sync_quick(&self) -> Result<u64, ClipError> {
        let mut synced = Ok(0);
        for clip in self.store.unsynced_clips().await? {
            match self.put_on_disk(&clip).await {
                Ok(()) => self.store.note_synced(&clip).await?,
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
    pub(super) async fn put_on_disk(&self, clip: &Clip) -> Result<(), ClipError> {
        let (folder, name) = (self.settings.folder.clone(), clip.file_name.clone());
        blocking(move || sync(&folder, &name).map_err(ClipError::Folder)).await
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

/// A file that is gone is missed by whoever fetches it.
fn sync(folder: &Path, name: &str) -> io::Result<()> {
    match open_beneath(folder, Path::new(name)) {
        Ok(file) => file.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    File::open(folder)?.sync_all()
}
