//! The bytes of a clip, whether they lie in a file or are put together from the recordings.
//!
//! A virtual clip is fetched in three steps: its layout is found in memory or on disk, or made again by its recipe; every
//! recording is opened, or still open, and must be the version that the recipe knows; then bytes are read from what is open.
//! After each read the versions are looked at once more, so that a recording which is written over meanwhile ends the download,
//! and never changes it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::finder::{gone, is_as_known};
use super::layouts::Known;
use super::open_recordings::Opened;
use super::virtual_clip::{Drawn, digest};
use super::{ClipError, ClipWork, blocking};
use crate::domain::clip::Clip;
use crate::domain::clip_recipe::{ClipRecipe, RecipeSource};
use crate::media::CutError;
use crate::work::indexes;

/// What a clip's bytes are read from.
#[derive(Debug)]
pub enum Content {
    /// A file of its own.
    File(File),
    /// The recordings.
    Virtual(VirtualContent),
}

/// The open recordings of a virtual clip. What is deleted from now on can still be read.
#[derive(Debug)]
pub struct VirtualContent {
    known: Arc<Known>,
    /// For each source that the layout reads.
    files: Opened,
}

impl Content {
    /// Fills `buffer` with the bytes from `position` on, all of which must lie in the clip. Blocks.
    ///
    /// # Errors
    /// [`ClipError::SourcesGone`] when a recording was changed or cannot be read; of a file its fault.
    pub fn read(&self, position: u64, buffer: &mut [u8]) -> Result<(), ClipError> {
        match self {
            Self::File(file) => file
                .read_exact_at(buffer, position)
                .map_err(ClipError::Folder),
            Self::Virtual(content) => content.read(position, buffer),
        }
    }
}

impl VirtualContent {
    /// Fills `buffer` with the bytes from `position` on, all of which must lie in the clip. Blocks.
    ///
    /// # Errors
    /// [`ClipError::SourcesGone`] when a recording was changed or cannot be read.
    pub fn read(&self, position: u64, buffer: &mut [u8]) -> Result<(), ClipError> {
        let layout = &self.known.layout;
        layout
            .read(position, buffer, |piece| &self.files[piece])
            .map_err(|unreadable| {
                tracing::warn!(error = ?unreadable.error, "a recording of a virtual clip cannot be read");
                self.source_of(unreadable.piece)
                    .map_or_else(defect, |source| gone(source, "cannot be read any more"))
            })?;
        // Only now: what was written before a byte was read has changed the version by now.
        for piece in layout.pieces_in(position..position + buffer.len() as u64) {
            let source = self.source_of(piece).ok_or_else(defect)?;
            let present = self.files[piece].metadata();
            if !is_as_known(source, &present.map_err(ClipError::Folder)?) {
                return Err(gone(source, "was changed"));
            }
        }
        Ok(())
    }

    fn source_of(&self, piece: usize) -> Option<&RecipeSource> {
        let at = self.known.layout.sources().get(piece)?;
        self.known.recipe.sources.get(*at)
    }
}

impl ClipWork {
    /// Opens what a clip's bytes are read from, after a look at whether all of it is there.
    ///
    /// # Errors
    /// [`ClipError::Corrupted`] of a clip with a file, [`ClipError::SourcesGone`] of a virtual one.
    pub async fn content(&self, clip: &Clip) -> Result<Content, ClipError> {
        if !clip.is_virtual {
            return Ok(Content::File(self.open(clip).await?));
        }
        let known = self.layouts.get(&clip.id, &clip.bytes_tag);
        let content = match known {
            Some(known) => self.open_known(clip, known).await?,
            None => match self.store.clip_recipe(&clip.id).await? {
                Some(recipe) => self.find_again(clip, recipe).await?,
                // The clip was given a file since its row was read, or was deleted.
                None => return Ok(Content::File(self.open(clip).await?)),
            },
        };
        Ok(Content::Virtual(content))
    }

    /// Finds the layout of a clip on disk, or makes it anew.
    async fn find_again(
        &self,
        clip: &Clip,
        recipe: ClipRecipe,
    ) -> Result<VirtualContent, ClipError> {
        let place = self.layouts.reading.acquire().await;
        // Another request for the same clip may have had the place before.
        let known = match self.layouts.get(&clip.id, &clip.bytes_tag) {
            Some(known) => known,
            None => match self.kept_layout(clip, recipe).await? {
                (recipe, Some(layout)) => {
                    let known = Arc::new(Known {
                        recipe,
                        layout: Arc::new(layout),
                        digest: clip.bytes_tag.clone(),
                    });
                    self.layouts.put(&clip.id, Arc::clone(&known));
                    known
                }
                (recipe, None) => {
                    drop(place);
                    return self.lay_out_again(clip, recipe).await;
                }
            },
        };
        drop(place);
        self.open_known(clip, known).await
    }

    /// Opens the recordings of a clip whose layout is known.
    async fn open_known(
        &self,
        clip: &Clip,
        known: Arc<Known>,
    ) -> Result<VirtualContent, ClipError> {
        if let Some(content) = self.still_open(clip, &known).await? {
            return Ok(content);
        }
        let finder = self.finder(holder(clip)).await?;
        let content = blocking(move || {
            let files = known
                .layout
                .sources()
                .iter()
                .map(|at| match known.recipe.sources.get(*at) {
                    Some(source) => finder.open_read(*at, source),
                    None => Err(defect()),
                })
                .collect::<Result<_, _>>()?;
            Ok(VirtualContent { known, files })
        })
        .await?;
        self.keep_open(clip, &content);
        Ok(content)
    }

    /// What was open of a clip's recordings a moment ago, while it is what the recipe knows. One that was deleted since is not.
    async fn still_open(
        &self,
        clip: &Clip,
        known: &Arc<Known>,
    ) -> Result<Option<VirtualContent>, ClipError> {
        let Some(files) = self.open_recordings.get(&clip.id, &clip.bytes_tag) else {
            return Ok(None);
        };
        let content = VirtualContent {
            known: Arc::clone(known),
            files,
        };
        let unchanged = blocking(move || {
            let mut files = content.files.iter().enumerate();
            let is_unchanged = files.all(|(piece, file)| {
                let source = content.source_of(piece);
                let present = file.metadata();
                source.zip(present.ok()).is_some_and(|(source, present)| {
                    present.nlink() > 0 && is_as_known(source, &present)
                })
            });
            Ok(is_unchanged.then_some(content))
        });
        let unchanged = unchanged.await?;
        if unchanged.is_none() {
            self.open_recordings.forget(&clip.id);
        }
        Ok(unchanged)
    }

    fn keep_open(&self, clip: &Clip, content: &VirtualContent) {
        self.open_recordings
            .put(&clip.id, &clip.bytes_tag, &content.files);
    }

    /// Makes the layout of a clip anew.
    async fn lay_out_again(
        &self,
        clip: &Clip,
        recipe: ClipRecipe,
    ) -> Result<VirtualContent, ClipError> {
        let _place = self.layouts.places.acquire().await;
        // Another request for the same clip may have had the place before.
        if let Some(known) = self.layouts.get(&clip.id, &clip.bytes_tag) {
            return self.open_known(clip, known).await;
        }
        let finder = self.finder(holder(clip)).await?;
        let (recipe, mut sources) =
            blocking(move || finder.open_all(&recipe).map(|sources| (recipe, sources))).await?;
        indexes::attach(&self.store, &mut sources).await?;
        let files: Vec<_> = sources
            .iter()
            .map(|source| source.file.as_ref().ok().map(Arc::clone))
            .collect();
        let drawn = self.draw(&recipe, sources, &CancellationToken::new()).await;
        let Drawn { laid_out, .. } = drawn.map_err(|error| match error {
            ClipError::Cut(CutError::NoFootage(_) | CutError::Unsuitable { .. }) => other_bytes(),
            error => error,
        })?;
        let layout = Arc::new(laid_out.layout);
        let digest = digest(&layout, &recipe);
        if digest != clip.bytes_tag || layout.size_bytes() != clip.size_bytes {
            return Err(other_bytes());
        }
        let files = layout
            .sources()
            .iter()
            .map(|at| files.get(*at).and_then(Option::clone).ok_or_else(defect))
            .collect::<Result<_, _>>()?;
        let known = Arc::new(Known {
            recipe,
            layout,
            digest,
        });
        self.layouts.put(&clip.id, Arc::clone(&known));
        self.keep_layout(&clip.id, &known.layout).await;
        let content = VirtualContent { known, files };
        self.keep_open(clip, &content);
        Ok(content)
    }
}

/// A recording around the window that only told times is gone, or this version of the service plans in another way.
pub(super) fn other_bytes() -> ClipError {
    ClipError::SourcesGone(
        "what is left of the clip's recordings gives other bytes than those that it had".to_owned(),
    )
}

/// The folder that a virtual clip's recordings are held in.
fn holder(clip: &Clip) -> Option<&str> {
    clip.holds_sources.then_some(clip.id.as_str())
}

fn defect() -> ClipError {
    ClipError::Folder(io::Error::other(
        "a layout names a source that its recipe does not have",
    ))
}
