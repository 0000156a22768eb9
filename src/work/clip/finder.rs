//! The recordings that a recipe names, found again: where they are held for the clip, or else where they were recorded.

use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::held_sources::held_path;
use super::virtual_clip::version_of;
use super::{ClipError, ClipWork};
use crate::domain::clip_recipe::{ClipRecipe, Found, RecipeSource};
use crate::domain::coverage::GapReason;
use crate::media;
use crate::work::roots::{OpenRoots, is_of_the_machine};
use crate::work::source_file::open_seen;

/// Where the recordings of a recipe are.
pub(super) struct Finder {
    roots: OpenRoots,
    clips: PathBuf,
    /// The folder of links to them, where they are held.
    held_in: Option<String>,
    takes_any_version: bool,
}

impl ClipWork {
    /// Finds the recordings of a clip; with `held_in`, first those that are held in this folder.
    pub(super) async fn finder(&self, held_in: Option<&str>) -> Result<Finder, ClipError> {
        Ok(Finder {
            roots: OpenRoots::new(self.roots().await?),
            clips: self.settings.folder.clone(),
            held_in: held_in.map(str::to_owned),
            takes_any_version: false,
        })
    }
}

impl Finder {
    /// Takes recordings that were written to since the clip was made: for whoever compares what comes of them.
    pub(super) fn of_any_version(self) -> Self {
        Self {
            takes_any_version: true,
            ..self
        }
    }

    /// Opens what a recipe was planned with. Blocks.
    ///
    /// # Errors
    /// [`ClipError::SourcesGone`] when a recording of which bytes are in the clip is gone or was changed.
    pub(super) fn open_all(&self, recipe: &ClipRecipe) -> Result<Vec<media::Source>, ClipError> {
        let sources = recipe.sources.iter().enumerate();
        sources
            .map(|(at, source)| {
                Ok(media::Source {
                    id: source.segment_id.clone(),
                    name: source.path.clone(),
                    start: source.start,
                    start_accuracy: source.start_accuracy,
                    expected_end: source.expected_end,
                    file: match source.found {
                        Found::Unusable(reason) => Err(reason),
                        Found::File { is_read: true, .. } => Ok(self.open_read(at, source)?),
                        // It only told times; whether they mattered shows in what comes of it.
                        Found::File { is_read: false, .. } => match self.open_read(at, source) {
                            Err(ClipError::SourcesGone(_)) => Err(GapReason::FileMissing),
                            opened => Ok(opened?),
                        },
                    },
                    index: None,
                })
            })
            .collect()
    }

    /// Opens a source, which must be as the recipe knows it: where it is held, or else where it was recorded.
    pub(super) fn open_read(
        &self,
        at: usize,
        source: &RecipeSource,
    ) -> Result<Arc<File>, ClipError> {
        let held = self
            .held_in
            .as_ref()
            .map(|held_in| open_seen(&self.clips, &held_path(held_in, at)));
        let opened = match held {
            Some(Ok(seen)) => Ok(seen),
            Some(Err(_)) | None => self
                .roots
                .open_seen(&source.source_id, Path::new(&source.path)),
        };
        let (file, seen) = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => gone(source, "is gone"),
            _ if is_of_the_machine(&error) => ClipError::Machine(error),
            _ => gone(source, "cannot be opened any more"),
        })?;
        if self.takes_any_version || is_as_known(source, &seen) {
            Ok(Arc::new(file))
        } else {
            Err(gone(source, "was changed"))
        }
    }
}

pub(super) fn is_as_known(source: &RecipeSource, present: &Metadata) -> bool {
    matches!(&source.found, Found::File { version, .. } if *version == version_of(present))
}

pub(super) fn gone(source: &RecipeSource, what: &str) -> ClipError {
    ClipError::SourcesGone(format!(
        "the recording {} of source {} {what}, from which the clip's bytes come",
        source.path, source.source_id
    ))
}
