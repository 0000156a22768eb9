//! Housekeeping: what has expired goes, and so do files that no row knows.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::archive::{ArchiveError, ArchiveWork};
use super::attempt_of_temporary_name;
use super::clip::{ClipError, ClipWork};
use super::output::{remove_if_there, stem_of};
use crate::clock;
use crate::domain::id;
use crate::repository::{Store, StoreError};
use crate::transfer;

const EVERY: Duration = Duration::from_secs(60);
/// How often the database is tended.
const TEND_EVERY: Duration = Duration::from_secs(3600);
/// Rows handled in one go.
const AT_ONCE: u32 = 500;
/// A file without a row may be about to get one; after this long it will not.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);
/// How long the catalog remembers a segment whose file is gone.
const REMEMBER_MISSING: TimeDelta = TimeDelta::days(30);

/// Keeps the folders and the catalog tidy until it is told to stop.
pub struct Housekeeping {
    /// The catalog.
    pub store: Store,
    /// Deletes clips.
    pub clips: Arc<ClipWork>,
    /// Where finished clips lie.
    pub clips_folder: PathBuf,
    /// Deletes archives.
    pub archives: Arc<ArchiveWork>,
    /// Where finished archives lie.
    pub archive_folder: PathBuf,
    /// Where restored footage lies.
    pub restore_folder: PathBuf,
}

/// Names of files that were there before any job of this process ran, and whose rows were not seen yet. One without a row
/// was left by a process that died between naming it and writing the row.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    clips: Vec<String>,
    archives: Vec<String>,
}

/// Housekeeping could not be done.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TidyError {
    #[error(transparent)]
    Clip(#[from] ClipError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a folder cannot be tidied")]
    Folder(#[from] std::io::Error),
}

impl Housekeeping {
    /// Removes what attempts left unfinished whose worker is gone: the row of an attempt that goes on is its job's, with
    /// its epoch, from before it makes a file.
    pub async fn sweep_unfinished(&self) -> Result<u64, TidyError> {
        let mut swept = 0;
        for folder in [&self.clips_folder, &self.archive_folder] {
            let is_unfinished = |name: &str| attempt_of_temporary_name(name).is_some();
            for name in listed(folder, is_unfinished, Duration::ZERO).await? {
                let Some((job_id, epoch)) = attempt_of_temporary_name(&name) else {
                    continue;
                };
                let goes_on = self.store.job(job_id).await?.is_some_and(|job| {
                    job.epoch == epoch && !job.owner.is_empty() && !job.state.is_terminal()
                });
                if goes_on {
                    continue;
                }
                match std::fs::remove_file(folder.join(&name)) {
                    Ok(()) => swept += 1,
                    // Its attempt has just ended, here or on another node.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(swept)
    }

    /// Removes what a process that is gone left unfinished. Only before jobs run.
    pub async fn sweep_at_start(&self) -> Result<u64, TidyError> {
        let swept = self.sweep_unfinished().await?;
        let lost = self.clips.look_at_start().await;
        if lost > 0 {
            warn!(
                clips = lost,
                "quick clips deleted: the machine was started anew before they were on the disk"
            );
        }
        // The names of restores do not tell whose they are: another node may be at work on them.
        if self.store.is_shared() {
            return Ok(swept);
        }
        Ok(swept + transfer::sweep_restored(&self.restore_folder)?)
    }

    /// The finished files that are there now. Only before jobs run.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn inherited(&self) -> std::io::Result<Inherited> {
        Ok(Inherited {
            clips: files(
                &self.clips_folder,
                |name| clip_id(name).is_some(),
                Duration::ZERO,
            )?,
            archives: files(
                &self.archive_folder,
                |name| archive_id(name).is_some(),
                Duration::ZERO,
            )?,
        })
    }

    /// Runs until `cancel`.
    pub async fn run(&self, mut inherited: Inherited, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        let mut tends = tokio::time::interval(TEND_EVERY);
        for ticks in [&mut ticks, &mut tends] {
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = tends.tick() => self.tend().await,
                _ = ticks.tick() => self.tidy(&mut inherited, &cancel).await,
            }
        }
    }

    /// Leaves nothing in memory that a loss of power would take, and holds nothing that no clip needs; once no job runs any
    /// more.
    pub async fn finish(&self) {
        let synced = self
            .clips
            .sync_files(false, &CancellationToken::new())
            .await;
        log("clips put on the disk", synced);
        self.sweep_held().await;
    }

    async fn sweep_held(&self) {
        log(
            "links to recordings deleted that no clip holds",
            self.clips.sweep_held().await,
        );
    }

    async fn tend(&self) {
        if let Err(error) = self.store.tend().await {
            warn!(%error, "tending the database failed");
        }
    }

    async fn tidy(&self, inherited: &mut Inherited, cancel: &CancellationToken) {
        log("expired clips deleted", self.delete_expired_clips().await);
        let synced = self.clips.sync_files(true, cancel).await;
        log("clips put on the disk", synced);
        log(
            "expired archives deleted",
            self.archives.delete_expired().await,
        );
        log("vanished segments forgotten", self.forget_missing().await);
        log(
            "files of a server that died deleted",
            self.delete_inherited(inherited).await,
        );
        log("files without a row deleted", self.delete_orphans().await);
        log("unfinished files deleted", self.sweep_unfinished().await);
        self.sweep_held().await;
        log(
            "layouts deleted that no virtual clip has",
            self.clips.sweep_layouts().await,
        );
    }

    async fn delete_inherited(&self, inherited: &mut Inherited) -> Result<u64, TidyError> {
        let clips = self.delete_left(&mut inherited.clips, &self.clips_folder, clip_id);
        let deleted = clips.await?;
        let archives = self.delete_left(&mut inherited.archives, &self.archive_folder, archive_id);
        Ok(deleted + archives.await?)
    }

    /// Deletes those of `names` whose jobs have ended without them. Only those whose jobs are live stay on the list: nobody
    /// knows yet whether a job ends with its file. One of which no job is known is not a matter of a crash.
    async fn delete_left(
        &self,
        names: &mut Vec<String>,
        folder: &Path,
        id_of: IdOf,
    ) -> Result<u64, TidyError> {
        let mut deleted = 0;
        let mut open = Vec::new();
        for name in self.without_row(names).await? {
            match self.fate(name, id_of).await? {
                Fate::Open => open.push(name.clone()),
                Fate::Forgotten => {
                    remove_if_there(&folder.join(name))?;
                    deleted += 1;
                }
                Fate::Kept => {}
            }
        }
        *names = open;
        Ok(deleted)
    }

    async fn delete_expired_clips(&self) -> Result<u64, ClipError> {
        let mut deleted = 0;
        let now = self.store.present(clock::now()).await?;
        for clip in self.store.expired_clips(now, AT_ONCE).await? {
            self.clips.delete(&clip).await?;
            deleted += 1;
        }
        Ok(deleted)
    }

    async fn forget_missing(&self) -> Result<u64, StoreError> {
        let now = self.store.present(clock::now()).await?;
        self.store
            .forget_missing(now - REMEMBER_MISSING, AT_ONCE)
            .await
    }

    /// A process can die between naming a file and writing its row; the job is then done again, perhaps not here. Or it
    /// was frozen there, and another attempt delivered meanwhile.
    async fn delete_orphans(&self) -> Result<u64, TidyError> {
        let mut deleted = 0;
        let (clips, archives) = (&self.clips_folder, &self.archive_folder);
        for (folder, id_of) in [(clips, clip_id as IdOf), (archives, archive_id)] {
            let is_ours = move |name: &str| id_of(name).is_some();
            let old = listed(folder, is_ours, ORPHAN_AGE).await?;
            for name in self.without_row(&old).await? {
                if self.fate(name, id_of).await? == Fate::Forgotten {
                    remove_if_there(&folder.join(name))?;
                    deleted += 1;
                }
            }
        }
        Ok(deleted)
    }

    /// Those of these files that no row knows. Nearly all are known, and there may be as many as there are clips.
    async fn without_row<'a>(&self, names: &'a [String]) -> Result<Vec<&'a String>, StoreError> {
        let mut without = Vec::new();
        for some in names.chunks(AT_ONCE as usize) {
            let known = self.known(some).await?;
            without.extend(some.iter().filter(|name| !known.contains(*name)));
        }
        Ok(without)
    }

    async fn known(&self, names: &[String]) -> Result<HashSet<String>, StoreError> {
        let mut known = self.store.clip_files_among(names).await?;
        known.extend(self.store.archive_files_among(names).await?);
        Ok(known)
    }

    /// What becomes of a file that no row knew a moment ago.
    async fn fate(&self, name: &String, id_of: IdOf) -> Result<Fate, StoreError> {
        let id = id_of(name).unwrap_or_default();
        if self.store.is_output_of_live_job(id).await? {
            return Ok(Fate::Open);
        }
        // A job that has ended since the first look has written its row. A file of which not even a job is known stays: the
        // database may be an older copy of itself, or a new one.
        let has_row = !self.known(std::slice::from_ref(name)).await?.is_empty();
        let is_kept = has_row || !self.store.is_output_of_ended_job(id).await?;
        Ok(if is_kept { Fate::Kept } else { Fate::Forgotten })
    }
}

/// The id of what a file holds, from its name; `None` for a name that this service does not give.
type IdOf = fn(&str) -> Option<&str>;

/// What becomes of a finished file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// A job that has not ended may be about to write its row.
    Open,
    /// A row names it, or nobody knows anything of it.
    Kept,
    /// Its job has ended, and no row names it.
    Forgotten,
}

/// See [`files`]. There may be many.
async fn listed(
    folder: &Path,
    is_ours: impl Fn(&str) -> bool + Send + 'static,
    age: Duration,
) -> std::io::Result<Vec<String>> {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || files(&folder, is_ours, age))
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// Files named as this service names them that are at least this old. Anything else in the folder is not ours.
fn files(
    folder: &Path,
    is_ours: impl Fn(&str) -> bool,
    age: Duration,
) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    let now = SystemTime::now();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if !is_ours(&name) {
            continue;
        }
        let is_old = || {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            modified.is_ok_and(|time| now.duration_since(time).is_ok_and(|since| since > age))
        };
        if age.is_zero() || is_old() {
            found.push(name);
        }
    }
    Ok(found)
}

/// The id of the archive whose file has this name; `None` for a name that this service does not give.
fn archive_id(name: &str) -> Option<&str> {
    let (stem, "zip") = stem_of(name)? else {
        return None;
    };
    Some(stem).filter(|id| id::is_valid(id::EXPORT, id))
}

/// The id of the clip whose file has this name; `None` for a name that this service does not give.
fn clip_id(name: &str) -> Option<&str> {
    let (stem, "mp4" | "mov") = stem_of(name)? else {
        return None;
    };
    let at = stem.find(&format!("Z_{}", id::CLIP))?;
    Some(&stem[at + 2..]).filter(|id| id::is_valid(id::CLIP, id))
}

fn log<E: std::fmt::Display>(what: &str, done: Result<u64, E>) {
    match done {
        Ok(0) => {}
        Ok(count) => info!(count, "{what}"),
        Err(error) => warn!(%error, "{what}: failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_this_service_gives_are_taken_for_clips() {
        for name in [
            "gate_a_20261122T100000Z_clip_0198c0de.mp4",
            "gate_a_20261122T100000Z_clip_0198c0de.job_0198c0df.2.mp4",
        ] {
            assert_eq!(clip_id(name), Some("clip_0198c0de"));
        }
        assert_eq!(archive_id("bkj_1.bkj_2.3.zip"), Some("bkj_1"));
        for other in [
            "holiday.mp4",
            "gate_20261122T100000Z_clip_.mp4",
            "x_clip_1.mp4",
            "aZ_clip_1.txt",
        ] {
            assert_eq!(clip_id(other), None, "{other}");
        }
    }
}
