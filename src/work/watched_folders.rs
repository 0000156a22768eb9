//! The folders of a source that the kernel watches, and their paths.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use inotify::{WatchDescriptor, WatchMask, Watches};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

/// Which folder each watch is of. Paths are relative to the root of the source.
///
/// Invariant: the two maps hold the same pairs.
#[derive(Default)]
pub(super) struct WatchedFolders {
    root: PathBuf,
    watches: Option<Watches>,
    max_watches: usize,
    by_watch: HashMap<WatchDescriptor, PathBuf>,
    by_folder: BTreeMap<PathBuf, WatchDescriptor>,
}

/// Whether all folders are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddOutcome {
    /// All folders that can be read are watched, or nothing can be watched at all.
    Complete,
    /// The number of watches reached a limit.
    RanOut {
        /// The limit, in words for an operator.
        limit: &'static str,
    },
}

impl WatchedFolders {
    /// No folder is watched yet. Without `watches` none ever will be.
    pub(super) fn new(root: PathBuf, watches: Option<Watches>, max_watches: usize) -> Self {
        Self {
            root,
            watches,
            max_watches,
            ..Self::default()
        }
    }

    /// How many folders are watched.
    pub(super) fn len(&self) -> usize {
        self.by_watch.len()
    }

    /// The folder that `watch` is of.
    pub(super) fn folder_of(&self, watch: &WatchDescriptor) -> Option<PathBuf> {
        self.by_watch.get(watch).cloned()
    }

    /// Drops a watch that the kernel has removed.
    pub(super) fn forget(&mut self, watch: &WatchDescriptor) {
        if let Some(folder) = self.by_watch.remove(watch) {
            self.by_folder.remove(&folder);
        }
    }

    /// Stops watching `folder` and all folders beneath it.
    pub(super) fn remove_beneath(&mut self, folder: &Path) {
        // Paths are ordered step by step, so all that begin with `folder` stand together.
        let gone: Vec<PathBuf> = self
            .by_folder
            .range::<Path, _>((Bound::Included(folder), Bound::Unbounded))
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(folder))
            .cloned()
            .collect();
        for path in gone {
            if let Some(watch) = self.by_folder.remove(&path) {
                self.by_watch.remove(&watch);
                if let Some(watches) = &mut self.watches {
                    // The kernel has removed it already when the folder was deleted.
                    let _ = watches.remove(watch);
                }
            }
        }
    }

    /// Watches `folder` and all folders beneath it but hidden ones. Links are not followed.
    ///
    /// Each folder is watched before it is listed, so a folder made meanwhile is either listed or
    /// reported. A folder that cannot be watched or read is passed over: the walk of the source
    /// reports it.
    pub(super) fn add_beneath(&mut self, folder: &Path, cancel: &CancellationToken) -> AddOutcome {
        let mut pending = vec![folder.to_owned()];
        while let Some(folder) = pending.pop() {
            match self.add(&folder) {
                Ok(None) => {}
                Ok(Some(limit)) => return AddOutcome::RanOut { limit },
                Err(_) => continue,
            }
            let Ok(entries) = std::fs::read_dir(self.root.join(&folder)) else {
                continue;
            };
            for entry in entries.flatten() {
                if cancel.is_cancelled() {
                    return AddOutcome::Complete;
                }
                let path = folder.join(entry.file_name());
                if entry.file_type().is_ok_and(|kind| kind.is_dir())
                    && !super::scan::is_hidden(&path)
                {
                    pending.push(path);
                }
            }
        }
        AddOutcome::Complete
    }

    /// Watches one folder. Gives the limit when there are no watches left.
    fn add(&mut self, folder: &Path) -> io::Result<Option<&'static str>> {
        let Some(watches) = &mut self.watches else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        if !self.by_folder.contains_key(folder) && self.by_watch.len() >= self.max_watches {
            return Ok(Some("the limit of this source"));
        }
        let mut mask = WatchMask::CREATE
            | WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR
            | WatchMask::EXCL_UNLINK;
        // Only the root may be reached through a link.
        if !folder.as_os_str().is_empty() {
            mask |= WatchMask::DONT_FOLLOW;
        }
        let watch = match watches.add(self.root.join(folder), mask) {
            Ok(watch) => watch,
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOSPC) => {
                return Ok(Some("fs.inotify.max_user_watches"));
            }
            Err(error) => return Err(error),
        };
        // The kernel gives the same watch for the same folder; after a move or a new mount it may
        // be known under another path, or the path under another watch.
        if let Some(old_path) = self.by_watch.insert(watch.clone(), folder.to_owned())
            && old_path != folder
        {
            self.by_folder.remove(&old_path);
        }
        if let Some(old_watch) = self.by_folder.insert(folder.to_owned(), watch.clone())
            && old_watch != watch
        {
            self.by_watch.remove(&old_watch);
        }
        Ok(None)
    }
}
