//! Walking the folders of a source: which files are segments, and why the others are not.
//!
//! The walk opens no file and follows no symbolic link. It holds the names of one folder at a
//! time and one candidate per camera, so its memory does not grow with the age of the footage.
//! `work::watch_source` says when to walk again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use walkdir::{DirEntry, WalkDir};

use crate::domain::camera::{CameraId, RecorderNameError};
use crate::domain::layout::{
    FileNameKind, PathTemplate, SourceZone, TimeError, UnsafePath, WhyNot, check_relative_path,
};

/// A folder that a recorder writes, and how its paths are to be read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The folder. It may itself be a symbolic link.
    pub root: PathBuf,
    /// How paths beneath the root are built.
    pub template: PathTemplate,
    /// The zone of local times in names; needed when [`PathTemplate::needs_zone`] says so.
    pub zone: Option<SourceZone>,
    /// The camera of every file whose path names none.
    pub camera: Option<CameraId>,
}

/// A file that looks like a segment. Nothing inside it was read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The path relative to the root: the key of the segment.
    pub relative_path: String,
    /// The camera the file belongs to.
    pub camera: CameraId,
    /// The recorder's own name for the camera, when the path states it.
    pub camera_name: Option<String>,
    /// Start of the segment as its name gives it.
    pub start_time: DateTime<Utc>,
    /// How far the true start may lie after `start_time`, in microseconds.
    pub accuracy_us: i64,
    /// Length of the segment as its name gives it, in milliseconds.
    pub duration_in_name_ms: Option<u64>,
    /// Size of the file.
    pub size_bytes: u64,
    /// When the file was last written.
    pub mtime: DateTime<Utc>,
    /// Whether the walk saw a file of the same camera that starts later. A walk of a part of the
    /// source sees only that part.
    pub later_file_exists: bool,
}

/// A file or folder that is no segment, with the reason.
#[derive(Debug)]
pub struct LeftOut {
    /// The path relative to the root, with characters that are no text replaced.
    pub relative_path: String,
    /// Why it is left out.
    pub reason: LeftOutReason,
}

/// Why a file or folder is no segment.
#[derive(Debug, thiserror::Error)]
pub enum LeftOutReason {
    /// The path is no UTF-8, so it cannot be a key.
    #[error("the path is not UTF-8")]
    NotUtf8,
    /// The path cannot be used whatever the template.
    #[error(transparent)]
    UnsafePath(#[from] UnsafePath),
    /// The recorder or a copy has not finished the file.
    #[error("the name is that of an unfinished file")]
    Unfinished,
    /// The name begins with a dot.
    #[error("the name is that of a hidden file or folder")]
    Hidden,
    /// A fragment that cannot be played without another file.
    #[error("a fragment that needs its init segment cannot be played alone")]
    NeedsInitSegment,
    /// The name is not that of a video.
    #[error("the name is not that of a video")]
    NotVideo,
    /// The path does not state what the template promises.
    #[error(transparent)]
    Name(WhyNot),
    /// The path states a time that is no moment in UTC.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// No camera id can be made of the recorder's name for the camera.
    #[error(transparent)]
    CameraName(#[from] RecorderNameError),
    /// Neither the path nor the source names a camera.
    #[error("neither the path nor the source names a camera")]
    NoCamera,
    /// A symbolic link that leads out of the root, or nowhere.
    #[error("a symbolic link that leads out of the source; make its target a source of its own")]
    LinkOutOfRoot,
    /// A symbolic link to a place beneath the root, where the walk finds the target itself.
    #[error("a symbolic link within the source; its target is found at its own path")]
    LinkWithinRoot,
    /// A pipe, socket or device.
    #[error("not a regular file")]
    NotRegular,
    /// The file or folder could not be read.
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
}

/// What one walk found, and where it could not look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanSummary {
    /// Files given as candidates.
    pub candidates: u64,
    /// Sum of the sizes of all candidates.
    pub candidate_bytes: u64,
    /// Files and folders left out, listed or only counted.
    pub left_out: u64,
    /// Of `left_out`, the ordinary files that are no videos. Only the first
    /// [`NOT_VIDEO_LISTED`] of them are listed.
    pub not_video: u64,
    /// Folders that could not be read, relative to the root. Files beneath them are unknown, not
    /// gone.
    pub unreadable_folders: Vec<PathBuf>,
    /// Whether the walk was stopped before its end. Files it did not show are unknown, not gone.
    pub stopped: bool,
}

/// How many files that are no videos are listed one by one; more are only counted.
pub const NOT_VIDEO_LISTED: u64 = 20;

/// Which part of a source is walked. Paths are relative to its root; the root itself is the empty
/// path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanScope<'a> {
    /// All of it.
    All,
    /// A folder and all beneath it.
    Tree(&'a Path),
    /// These files.
    Files(&'a BTreeSet<PathBuf>),
}

/// Takes what a walk finds.
pub trait ScanVisitor {
    /// Takes a file that looks like a segment. `Break` ends the walk.
    fn candidate(&mut self, candidate: Candidate) -> ControlFlow<()>;

    /// Takes a file or folder that is left out. `Break` ends the walk.
    fn left_out(&mut self, left_out: LeftOut) -> ControlFlow<()>;

    /// A time from inside the file. It is asked for only when the name states a local time that
    /// happened twice.
    fn time_inside(&mut self, relative_path: &str) -> Option<DateTime<Utc>>;
}

/// Why a source could not be walked at all. None of its files may be taken for gone.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The root is missing, no folder, or not readable. Perhaps a disk is not mounted.
    #[error("the source folder {root} cannot be read", root = .root.display())]
    Root {
        /// The root of the source.
        root: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The folder to walk is not a plain path beneath the root.
    #[error("the folder {folder} is not beneath the source", folder = .folder.display())]
    NotBeneathRoot {
        /// The folder that was asked for.
        folder: PathBuf,
    },
}

/// Walks the part of `source` that `scope` says and shows `visitor` each file. It blocks: call it
/// where blocking is allowed.
///
/// Folders come in the order of their names. The candidates of one folder come by camera and
/// time, except that the newest of each camera is held back until a newer one is seen or the walk
/// ends, because only then it is known whether a later file exists.
///
/// A folder of `scope` that is no longer there is an empty one, because it may go while a change in it is
/// being handled; a root that is not there is an error.
pub fn scan(
    source: &Source,
    scope: ScanScope<'_>,
    cancel: &CancellationToken,
    visitor: &mut dyn ScanVisitor,
) -> Result<ScanSummary, ScanError> {
    // Files are walked from the root as well, one step each; a folder is where its own walk begins.
    let folder = match scope {
        ScanScope::All | ScanScope::Files(_) => Path::new(""),
        ScanScope::Tree(folder) => folder,
    };
    let root_error = |error| ScanError::Root {
        root: source.root.clone(),
        source: error,
    };
    let root = source.root.canonicalize().map_err(root_error)?;
    std::fs::read_dir(&root).map_err(root_error)?;
    let is_plain = |folder: &str| folder.is_empty() || check_relative_path(folder).is_ok();
    if !folder.to_str().is_some_and(is_plain) {
        return Err(ScanError::NotBeneathRoot {
            folder: folder.to_owned(),
        });
    }

    let start = root.join(folder);
    let mut walk = Walk {
        source,
        visitor,
        summary: ScanSummary::default(),
        folder: PathBuf::new(),
        in_folder: Vec::new(),
        newest: BTreeMap::new(),
    };
    let ended = match start.canonicalize() {
        Ok(real) if real == start => match scope {
            ScanScope::Files(files) => walk.files(&root, files, cancel),
            ScanScope::All | ScanScope::Tree(_) => walk.folders(&root, &start, cancel),
        },
        // The folder turned into a link, or lies beneath one, and would lead the walk elsewhere.
        Ok(real) if real.starts_with(&root) => {
            walk.leave_out(folder, LeftOutReason::LinkWithinRoot)
        }
        Ok(_) => walk.leave_out(folder, LeftOutReason::LinkOutOfRoot),
        Err(error) => walk.unreadable(folder, error),
    };
    walk.summary.stopped = ended.is_break();
    Ok(walk.summary)
}

struct Walk<'a> {
    source: &'a Source,
    visitor: &'a mut dyn ScanVisitor,
    summary: ScanSummary,
    /// The folder whose candidates are in `in_folder`.
    folder: PathBuf,
    in_folder: Vec<Candidate>,
    /// The newest candidate of each camera, held back.
    newest: BTreeMap<CameraId, Candidate>,
}

impl Walk<'_> {
    fn folders(
        &mut self,
        root: &Path,
        start: &Path,
        cancel: &CancellationToken,
    ) -> ControlFlow<()> {
        // Files before folders, so that the candidates of a folder are in one piece.
        let mut entries = WalkDir::new(start)
            .min_depth(1)
            .follow_links(false)
            .sort_by(|a, b| {
                let key = |e: &DirEntry| e.file_type().is_dir();
                key(a)
                    .cmp(&key(b))
                    .then_with(|| a.file_name().cmp(b.file_name()))
            })
            .into_iter();
        while let Some(entry) = entries.next() {
            if cancel.is_cancelled() {
                return ControlFlow::Break(());
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(root);
                    let path = path.strip_prefix(root).unwrap_or(path).to_owned();
                    self.unreadable(&path, error.into())?;
                    continue;
                }
            };
            let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
            if entry.file_type().is_dir() {
                if is_hidden(path) {
                    entries.skip_current_dir();
                    self.leave_out(path, LeftOutReason::Hidden)?;
                }
                continue;
            }
            let parent = path.parent().unwrap_or(Path::new(""));
            if parent != self.folder {
                self.end_folder()?;
                self.folder = parent.to_owned();
            }
            match self.examine(root, path, &entry) {
                Ok(Some(candidate)) => self.in_folder.push(candidate),
                Ok(None) => {}
                Err(reason) => self.leave_out(path, reason)?,
            }
        }
        self.end_walk()
    }

    fn files(
        &mut self,
        root: &Path,
        files: &BTreeSet<PathBuf>,
        cancel: &CancellationToken,
    ) -> ControlFlow<()> {
        for path in files {
            if cancel.is_cancelled() {
                return ControlFlow::Break(());
            }
            let folder = root.join(path.parent().unwrap_or(Path::new("")));
            // A step that is a link would lead elsewhere; one that is gone took the file with it.
            if folder.canonicalize().is_ok_and(|real| real != folder) {
                self.leave_out(path, LeftOutReason::LinkWithinRoot)?;
                continue;
            }
            let mut entry = WalkDir::new(root.join(path))
                .max_depth(0)
                .follow_links(false)
                .follow_root_links(false)
                .into_iter();
            match entry.next() {
                Some(Ok(entry)) if entry.file_type().is_dir() => {}
                Some(Ok(entry)) => match self.examine(root, path, &entry) {
                    Ok(Some(candidate)) => self.in_folder.push(candidate),
                    Ok(None) => {}
                    Err(reason) => self.leave_out(path, reason)?,
                },
                Some(Err(error)) => match io::Error::from(error) {
                    gone if gone.kind() == io::ErrorKind::NotFound => {}
                    error => self.leave_out(path, LeftOutReason::Unreadable(error))?,
                },
                None => {}
            }
        }
        self.end_walk()
    }

    fn end_walk(&mut self) -> ControlFlow<()> {
        self.end_folder()?;
        std::mem::take(&mut self.newest)
            .into_values()
            .try_for_each(|candidate| self.give(candidate, false))
    }

    /// The candidate at `path`, or `None` when the file went away meanwhile.
    fn examine(
        &mut self,
        root: &Path,
        path: &Path,
        entry: &DirEntry,
    ) -> Result<Option<Candidate>, LeftOutReason> {
        let relative = path.to_str().ok_or(LeftOutReason::NotUtf8)?;
        check_relative_path(relative)?;
        let file_type = entry.file_type();
        if file_type.is_symlink() {
            let target = entry.path().canonicalize();
            return Err(match target {
                Ok(target) if target.starts_with(root) => LeftOutReason::LinkWithinRoot,
                _ => LeftOutReason::LinkOutOfRoot,
            });
        }
        if !file_type.is_file() {
            return Err(LeftOutReason::NotRegular);
        }
        match FileNameKind::of(&entry.file_name().to_string_lossy()) {
            FileNameKind::Video => {}
            FileNameKind::Unfinished => return Err(LeftOutReason::Unfinished),
            FileNameKind::Hidden => return Err(LeftOutReason::Hidden),
            FileNameKind::NeedsInitSegment => return Err(LeftOutReason::NeedsInitSegment),
            FileNameKind::NotVideo => return Err(LeftOutReason::NotVideo),
        }

        let found = self
            .source
            .template
            .match_path(relative)
            .map_err(LeftOutReason::Name)?;
        let camera = match (&found.camera_name, &self.source.camera) {
            (Some(name), _) => CameraId::from_recorder_name(name)?,
            (None, Some(camera)) => camera.clone(),
            (None, None) => return Err(LeftOutReason::NoCamera),
        };
        let time = match found.time.resolve(self.source.zone, None) {
            Err(TimeError::Ambiguous { .. }) => {
                let inside = self.visitor.time_inside(relative);
                found.time.resolve(self.source.zone, inside)?
            }
            other => other?,
        };
        let metadata = match entry.metadata().map_err(io::Error::from) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LeftOutReason::Unreadable(error)),
        };
        let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
        Ok(Some(Candidate {
            relative_path: relative.to_owned(),
            camera,
            camera_name: found.camera_name,
            start_time: time.start_time,
            accuracy_us: time.accuracy_us,
            duration_in_name_ms: found.duration_ms,
            size_bytes: metadata.len(),
            // A time beyond the calendar can only come of a damaged file system; as the oldest
            // possible time it holds no file open.
            mtime: DateTime::from_timestamp(metadata.mtime(), nanoseconds)
                .unwrap_or(DateTime::UNIX_EPOCH),
            later_file_exists: false,
        }))
    }

    /// Gives the candidates of the folder that was walked, but holds back the newest per camera.
    fn end_folder(&mut self) -> ControlFlow<()> {
        let mut candidates = std::mem::take(&mut self.in_folder);
        candidates.sort_by(|a, b| {
            let key = |c: &Candidate| (c.camera.clone(), c.start_time, c.relative_path.clone());
            key(a).cmp(&key(b))
        });
        for candidate in candidates {
            let older = match self.newest.remove(&candidate.camera) {
                Some(held) if held.start_time > candidate.start_time => {
                    self.newest.insert(held.camera.clone(), held);
                    Some(candidate)
                }
                held => {
                    self.newest.insert(candidate.camera.clone(), candidate);
                    held
                }
            };
            if let Some(older) = older {
                let newest = self.newest.get(&older.camera);
                let later = newest.is_some_and(|newest| newest.start_time > older.start_time);
                self.give(older, later)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn give(&mut self, candidate: Candidate, later_file_exists: bool) -> ControlFlow<()> {
        self.summary.candidates += 1;
        self.summary.candidate_bytes += candidate.size_bytes;
        self.visitor.candidate(Candidate {
            later_file_exists,
            ..candidate
        })
    }

    fn leave_out(&mut self, path: &Path, reason: LeftOutReason) -> ControlFlow<()> {
        self.summary.left_out += 1;
        if matches!(reason, LeftOutReason::NotVideo) {
            self.summary.not_video += 1;
            if self.summary.not_video > NOT_VIDEO_LISTED {
                return ControlFlow::Continue(());
            }
        }
        let relative_path = path.to_string_lossy().into_owned();
        self.visitor.left_out(LeftOut {
            relative_path,
            reason,
        })
    }

    fn unreadable(&mut self, path: &Path, error: io::Error) -> ControlFlow<()> {
        // What went away during the walk is not there any more, which is no fault.
        if error.kind() == io::ErrorKind::NotFound {
            return ControlFlow::Continue(());
        }
        self.summary.unreadable_folders.push(path.to_owned());
        self.leave_out(path, LeftOutReason::Unreadable(error))
    }
}

/// Whether the last step of `path` begins with a dot.
pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

#[cfg(test)]
mod tests;
