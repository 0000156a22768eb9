//! Where the files of each source are.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::source_file::open_beneath;
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
        match self.open_file(source_id, Path::new(path)) {
            Err(error) if is_of_the_machine(&error) => Err(error),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Err(GapReason::FileMissing))
            }
            opened => Ok(opened.map_err(|_| GapReason::FileDamaged)),
        }
    }

    /// Opens a recorded file; of a source that is not there, none is.
    pub(super) fn open_file(&self, source_id: &str, path: &Path) -> io::Result<File> {
        match self.0.get(source_id) {
            Some(root) => open_beneath(root, path),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Whether a file could not be opened for want of descriptors or of memory, whatever file it is.
pub(super) fn is_of_the_machine(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM)
    )
}
