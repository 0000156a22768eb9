//! Clips that are told of before their files are on the disk. They are put there later.
//!
//! Their rows name the run of the machine in which they were made, for as long as their files may be in memory only. The rows
//! themselves are on the disk at once, so that no such clip is forgotten: after a loss of power it is made again (`remake`), or
//! deleted when it is one that may go, a quick one.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::LazyLock;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{ClipError, ClipWork, blocking};
use crate::domain::clip::Clip;
use crate::hashing::Hasher;
use crate::packing::hex;
use crate::work::output::remove_if_there;
use crate::work::source_file::open_beneath;

/// Bytes that are read and hashed at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Names this run of the machine (random(4)); `None` where the system does not tell.
static RUN: LazyLock<Option<String>> = LazyLock::new(|| {
    let told = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let run = told.trim();
    (!run.is_empty()).then(|| run.to_owned())
});

/// What became of a file that was to be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synced {
    /// It is there, with its name.
    Taken,
    /// The disk did not take it. The system tells that only once, so that another try would find all well (fsync(2)).
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

    /// Puts the files of clips on the disk that are not there yet; how many. Ends early, between two clips, with `stop`.
    ///
    /// # Errors
    /// When the database does not answer, or the last file that could not be tried could not.
    pub async fn sync_files(&self, stop: &CancellationToken) -> Result<u64, ClipError> {
        let mut synced = Ok(0);
        for clip in self.store.unsynced_clips().await? {
            if stop.is_cancelled() {
                break;
            }
            match self.put_on_disk(&clip).await {
                Ok(()) => self.settle(&clip).await?,
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

    /// Puts a clip's file on the disk, with its name. One that the disk did not take is made again where that can be done.
    ///
    /// # Errors
    /// [`ClipError::Corrupted`] when the file is lost, with the clip if it is one that may go. Others may be over when it is
    /// tried again.
    pub(super) async fn put_on_disk(&self, clip: &Clip) -> Result<(), ClipError> {
        let synced = self.sync(clip).await?;
        if synced == Synced::Taken {
            return Ok(());
        }
        if self.store.clip_remake(&clip.id).await?.is_some() {
            // It would be found well the next time.
            self.remove_file(clip).await?;
            return self.make_again(clip).await;
        }
        if synced == Synced::Gone {
            // It is missed by whoever fetches it.
            return Ok(());
        }
        warn!(
            clip = clip.id,
            "a clip is deleted: the disk did not take its file"
        );
        self.delete(clip).await?;
        Err(ClipError::Corrupted("could not be put on the disk"))
    }

    pub(super) async fn sync(&self, clip: &Clip) -> Result<Synced, ClipError> {
        let (folder, name) = (self.settings.folder.clone(), clip.file_name.clone());
        blocking(move || sync(&folder, &name).map_err(ClipError::Folder)).await
    }

    /// Notes that a clip's file is on the disk, or lost for good, and lets go of what it would have been made from again.
    pub(super) async fn settle(&self, clip: &Clip) -> Result<(), ClipError> {
        if self.store.note_synced(clip).await? {
            self.release_sources(&clip.id).await?;
        }
        Ok(())
    }

    /// Looks at the clips of earlier runs of the machine whose files were not known to be on the disk. What is whole stays,
    /// what is not is made again; one that cannot be is deleted if it is a quick one, else it has lost its file. Only before
    /// clips are served. How many are deleted.
    ///
    /// # Errors
    /// When the database or the folder does not answer.
    pub async fn look_after_restart(&self) -> Result<u64, ClipError> {
        let mut deleted = 0;
        for clip in self.store.unsynced_clips().await? {
            if Some(clip.unsynced_in.as_str()) == RUN.as_deref() {
                continue;
            }
            if self.store.clip_remake(&clip.id).await?.is_none() {
                self.delete(&clip).await?;
                deleted += 1;
                continue;
            }
            if !self.is_whole(&clip).await? {
                info!(
                    clip = clip.id,
                    "the machine was started anew before the clip's file was on the disk; it is made again"
                );
                self.remove_file(&clip).await?;
            }
            match self.put_on_disk(&clip).await {
                Ok(()) => self.settle(&clip).await?,
                Err(ClipError::Corrupted(_)) => {}
                // The clip has no file for now; the housekeeping tries again.
                Err(error) => {
                    error!(clip = clip.id, cause = ?error, "a clip is not made again yet")
                }
            }
        }
        Ok(deleted)
    }

    /// Whether the file has the bytes that were hashed.
    async fn is_whole(&self, clip: &Clip) -> Result<bool, ClipError> {
        let (folder, name) = (self.settings.folder.clone(), clip.file_name.clone());
        let (size_bytes, sha256) = (clip.size_bytes, clip.sha256.clone());
        blocking(move || {
            let Ok(mut file) = open_beneath(&folder, Path::new(&name)) else {
                return Ok(false);
            };
            let hashed = hash(&mut file, size_bytes);
            Ok(hashed.is_ok_and(|hashed| hashed == sha256))
        })
        .await
    }

    async fn remove_file(&self, clip: &Clip) -> Result<(), ClipError> {
        let path = self.settings.folder.join(&clip.file_name);
        blocking(move || remove_if_there(&path).map_err(ClipError::Folder)).await
    }
}

/// The SHA-256 of a file, with which one of another size cannot agree.
fn hash(file: &mut File, size_bytes: u64) -> io::Result<String> {
    if file.metadata()?.len() != size_bytes {
        return Ok(String::new());
    }
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finish())),
            count => hasher.update(&buffer[..count]),
        }
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
