//! Where the files of each source are.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

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

    /// Opens a recorded file, or says what that makes of its time.
    pub(super) fn open(&self, source_id: &str, path: &str) -> Result<File, GapReason> {
        self.open_file(source_id, Path::new(path))
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => GapReason::FileMissing,
                _ => GapReason::FileDamaged,
            })
    }

    /// Opens a recorded file; of a source that is not there, none is.
    pub(super) fn open_file(&self, source_id: &str, path: &Path) -> io::Result<File> {
        match self.0.get(source_id) {
            Some(root) => open_beneath(root, path),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}
