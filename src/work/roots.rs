//! Where the files of each source are.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::source_file::{Root, open_beneath};
use crate::domain::coverage::GapReason;
use crate::repository::{Store, StoreError};

/// The root folder of every source.
#[derive(Clone, Debug)]
pub(super) struct Roots(HashMap<String, PathBuf>);

impl Roots {
    pub(super) async fn read(store: &Store) -> Result<Self, StoreError> {
        let sources = store.sources().await?;
        Ok(Self(
            sources
                .into_iter()
                .map(|source| (source.id, source.root))
                .collect(),
        ))
    }

    /// Opens a recorded file, or says what that makes of its time. What is said of a recording is true of the recording.
    ///
    /// # Errors
    /// When this machine can open no more files at present.
    pub(super) fn look_for(
        &self,
        source_id: &str,
        path: &str,
    ) -> io::Result<Result<File, GapReason>> {
        what_it_makes(self.open_file(source_id, Path::new(path)))
    }

    /// Opens a recorded file; of a source that is not there, none is.
    fn open_file(&self, source_id: &str, path: &Path) -> io::Result<File> {
        match self.0.get(source_id) {
            Some(root) => open_beneath(root, path),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Roots that are opened once, for many files right after one another. They are not kept for longer than that: a folder
/// that is open keeps its volume from being unmounted.
#[derive(Debug)]
pub(super) struct OpenRoots {
    roots: Roots,
    opened: RefCell<HashMap<String, Root>>,
}

impl OpenRoots {
    pub(super) fn new(roots: Roots) -> Self {
        Self {
            roots,
            opened: RefCell::default(),
        }
    }

    /// See [`Roots::look_for`].
    pub(super) fn look_for(
        &self,
        source_id: &str,
        path: &str,
    ) -> io::Result<Result<File, GapReason>> {
        let opened = self.open_seen(source_id, Path::new(path));
        what_it_makes(opened.map(|(file, _)| file))
    }

    /// See [`Roots::open_file`]; with what was seen of the file when it was open.
    pub(super) fn open_seen(&self, source_id: &str, path: &Path) -> io::Result<(File, Metadata)> {
        let mut opened = self.opened.borrow_mut();
        if let Some(root) = opened.get(source_id) {
            return root.open_seen(path);
        }
        let root = self.roots.0.get(source_id);
        let root = Root::open(root.ok_or(io::ErrorKind::NotFound)?)?;
        let seen = root.open_seen(path);
        opened.insert(source_id.to_owned(), root);
        seen
    }
}

/// What the opening of a recorded file makes of its time.
fn what_it_makes(opened: io::Result<File>) -> io::Result<Result<File, GapReason>> {
    match opened {
        Err(error) if is_of_the_machine(&error) => Err(error),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Err(GapReason::FileMissing)),
        opened => Ok(opened.map_err(|_| GapReason::FileDamaged)),
    }
}

/// Whether a file could not be opened for want of descriptors or of memory, whatever file it is.
pub(super) fn is_of_the_machine(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM)
    )
}
