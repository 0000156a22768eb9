//! Recordings that are kept for a clip: hard links beside the clips. Those of a virtual clip go with it, those of one with a
//! file when that is on the disk (`remake`).
//!
//! They lie in `.held/<clip id>/`, or `.held/<name of the attempt>/`, names that nothing serves or lists. A recorder that deletes its file leaves the link;
//! one that writes its file anew in place writes to the link as well, which the version in the recipe shows, or the clip's SHA-256.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, linkat};
use rustix::io::Errno;

use super::{ClipError, ClipWork, blocking};
use crate::domain::clip::Clip;
use crate::domain::id;
use crate::work::attempt_of_temporary_name;

/// The folder of all links, in the clips folder.
const FOLDER: &str = ".held";
/// A folder without a row may be about to get one; after this long it will not.
pub(super) const ORPHAN_AGE: Duration = Duration::from_secs(3600);
/// How often to make a folder again that another clip's end took away.
const TRIES: usize = 5;

/// Where the link to the source at this place of the recipe is, below the clips folder.
pub(super) fn held_path(held_in: &str, at: usize) -> PathBuf {
    Path::new(FOLDER).join(held_in).join(format!("{at}.mp4"))
}

/// Refuses a file that lies on another file system than the clips folder.
pub(super) fn may_hold(clips: &Path, file: &File) -> Result<(), ClipError> {
    let file_on = file.metadata().map_err(ClipError::Folder)?.dev();
    let clips_on = std::fs::metadata(clips).map_err(ClipError::Folder)?.dev();
    if file_on == clips_on {
        Ok(())
    } else {
        Err(ClipError::HoldUnsupported(
            "they lie on another file system than HELDAR_CLIPS_DIR",
        ))
    }
}

/// Links that are being made; gone again unless they are kept.
#[derive(Debug)]
pub(super) struct Hold {
    clips: PathBuf,
    folder: PathBuf,
    is_kept: bool,
}

impl Hold {
    /// Links each file under its number in a folder `name`, which no other attempt uses. Blocks.
    pub(super) fn make(
        clips: &Path,
        name: &str,
        files: &[(usize, Arc<File>)],
    ) -> Result<Self, ClipError> {
        let folder = clips.join(FOLDER).join(name);
        remove_folder(&folder).map_err(ClipError::Folder)?;
        make_folder(&folder).map_err(ClipError::Folder)?;
        let hold = Self {
            clips: clips.to_owned(),
            folder,
            is_kept: false,
        };
        for (at, file) in files {
            // By the descriptor: a path could name another file by now.
            let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
            let link = hold.folder.join(format!("{at}.mp4"));
            linkat(CWD, opened, CWD, link, AtFlags::SYMLINK_FOLLOW).map_err(refusal)?;
        }
        Ok(hold)
    }

    /// Puts the links on the disk. Blocks.
    pub(super) fn sync(&self) -> Result<(), ClipError> {
        sync_folder(&self.folder)
            .and_then(|()| sync_folder(&self.clips.join(FOLDER)))
            .and_then(|()| sync_folder(&self.clips))
            .map_err(ClipError::Folder)
    }

    /// Keeps the links: the name of the folder that they are in.
    pub(super) fn keep(mut self) -> String {
        self.is_kept = true;
        let name = self.folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Gives the folder the id of a virtual clip, by which that finds it, in place of one of an attempt that came to nothing, and
    /// puts it on the disk.
    pub(super) fn keep_for(mut self, clip_id: &str) -> Result<(), ClipError> {
        let named = self.clips.join(FOLDER).join(clip_id);
        remove_folder(&named)
            .and_then(|()| std::fs::rename(&self.folder, &named))
            .map_err(ClipError::Folder)?;
        self.folder = named;
        self.sync()?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = release(&self.clips, &self.folder)
        {
            tracing::warn!(%error, "links to recordings stay behind");
        }
    }
}

/// What the kernel's refusal of a link means.
fn refusal(errno: Errno) -> ClipError {
    match errno {
        Errno::XDEV => {
            ClipError::HoldUnsupported("they lie on another file system than HELDAR_CLIPS_DIR")
        }
        Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP => ClipError::HoldUnsupported(
            "their file system has no hard links, or allows none to files of another owner",
        ),
        Errno::MLINK => ClipError::HoldUnsupported("a recording has as many links as it can have"),
        // It was deleted between being opened and being linked.
        Errno::NOENT => ClipError::SourcesGone("a recording was deleted just now".to_owned()),
        errno => ClipError::Folder(errno.into()),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut tries = TRIES;
    loop {
        match std::fs::create_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries > 0 => tries -= 1,
            made => return made,
        }
    }
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes links, and the folder of all links when it is empty then.
fn release(clips: &Path, folder: &Path) -> io::Result<()> {
    remove_folder(folder)?;
    remove_if_empty(&clips.join(FOLDER))
}

pub(super) fn remove_if_empty(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir(folder) {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

impl ClipWork {
    /// Lets go of what is held in a folder.
    pub(super) async fn release_sources(&self, held_in: &str) -> Result<(), ClipError> {
        let clips = self.settings.folder.clone();
        let folder = clips.join(FOLDER).join(held_in);
        blocking(move || release(&clips, &folder).map_err(ClipError::Folder)).await
    }

    /// Removes links that no clip holds and no job is about to: of attempts that died, of clips that have a file by now;
    /// how many clips' and attempts' there were.
    ///
    /// # Errors
    /// A folder that cannot be read, or the database.
    pub async fn sweep_held(&self) -> Result<u64, ClipError> {
        let clips = self.settings.folder.clone();
        let names = blocking(move || names_in(&clips.join(FOLDER)).map_err(ClipError::Folder));
        let mut swept = 0;
        for (name, age) in names.await? {
            if self.is_held(&name, age).await? {
                continue;
            }
            self.release_sources(&name).await?;
            swept += 1;
        }
        Ok(swept)
    }

    async fn is_held(&self, name: &str, age: Duration) -> Result<bool, ClipError> {
        if let Some((job_id, epoch)) = attempt_of_temporary_name(name) {
            let job = self.store.job(job_id).await?;
            let goes_on = job.is_some_and(|job| {
                job.epoch == epoch && !job.owner.is_empty() && !job.state.is_terminal()
            });
            // Asked afterwards: the clip's row is written together with the end of its job.
            return Ok(goes_on || self.store.is_held_in(name).await?);
        }
        self.is_of_a_clip(name, age, |clip| clip.holds_sources)
            .await
    }

    /// Whether what lies under this name, the id of a clip, is to stay: it is its clip's by what the row says, or a job
    /// may be about to write the row.
    pub(super) async fn is_of_a_clip(
        &self,
        name: &str,
        age: Duration,
        is_its: fn(&Clip) -> bool,
    ) -> Result<bool, ClipError> {
        if !id::is_valid(id::CLIP, name) {
            // Not ours.
            return Ok(true);
        }
        if let Some(clip) = self.store.clip(name).await? {
            return Ok(is_its(&clip));
        }
        if self.store.is_output_taken(name).await? {
            return Ok(true);
        }
        Ok(age < ORPHAN_AGE && !self.store.is_output_of_ended_job(name).await?)
    }
}

/// The names in a folder, and how long ago each was changed.
pub(super) fn names_in(folder: &Path) -> io::Result<Vec<(String, Duration)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let now = SystemTime::now();
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified
            .ok()
            .and_then(|time| now.duration_since(time).ok())
            .unwrap_or_default();
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, age));
        }
    }
    Ok(names)
}
