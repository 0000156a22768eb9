//! Layouts of virtual clips on disk, so that the first who fetches a clip after a start need not wait until it is laid out
//! anew, and so that a version of this service which plans in another way can still serve it.
//!
//! They lie in `.layouts/<clip id>`, a name that nothing serves or lists, and go with the clip. One that is missing, or does
//! not give the bytes that the clip has always had, is made again by a version that still plans alike.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ask::HEADROOM_BYTES;
use super::held_sources::{ORPHAN_AGE, names_in, remove_if_empty};
use super::virtual_clip::digest;
use super::{ClipError, ClipWork, blocking};
use crate::domain::clip::Clip;
use crate::domain::clip_recipe::{ClipRecipe, Found};
use crate::domain::id;
use crate::media::{Layout, UnreadableLayout};
use crate::work::output::{Draft, free_bytes, remove_if_there};
use crate::work::roots::is_of_the_machine;
use crate::work::source_file::open_beneath;

/// The folder of all layouts, in the clips folder.
const FOLDER: &str = ".layouts";
/// What is longer is none of ours: an hour of sixty pictures a second takes some 15 MB when no two samples lie side by side.
const LONGEST_BYTES: u64 = 64 << 20;
/// Layouts whose clips are looked for at the same time.
const NAMES_AT_ONCE: usize = 500;
/// How often to make the folder again that another clip's end took away.
const TRIES: usize = 5;

/// Why a kept layout is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it cannot be read: {0}")]
    File(#[from] io::Error),
    #[error("it has {0} bytes, which no layout has")]
    TooLong(u64),
    #[error(transparent)]
    Form(#[from] UnreadableLayout),
    #[error("it gives other bytes than the clip has")]
    OtherBytes,
}

impl ClipWork {
    /// Keeps a layout for later. Where that fails it is made again when it is needed, so nobody is told but the log.
    pub(super) async fn keep_layout(&self, clip_id: &str, layout: &Arc<Layout>) {
        let (clips, name) = (self.settings.folder.clone(), clip_id.to_owned());
        let layout = Arc::clone(layout);
        let kept = blocking(move || write(&clips, &name, &layout).map_err(ClipError::Folder));
        if let Err(error) = kept.await {
            tracing::warn!(clip_id, cause = ?error, "the layout of a virtual clip is not kept");
        }
    }

    /// The layout that is kept of a clip, when it gives the clip's bytes; beside it the recipe that was given.
    pub(super) async fn kept_layout(
        &self,
        clip: &Clip,
        recipe: ClipRecipe,
    ) -> Result<(ClipRecipe, Option<Layout>), ClipError> {
        let clips = self.settings.folder.clone();
        let (clip_id, size_bytes) = (clip.id.clone(), clip.size_bytes);
        let expected = clip.bytes_tag.clone();
        blocking(move || {
            let layout = read(&clips, &clip_id).and_then(|layout| {
                let is_the_same = layout.size_bytes() == size_bytes
                    && reads_what_is_read(&layout, &recipe)
                    && digest(&layout, &recipe) == expected;
                is_the_same.then_some(layout).ok_or(Unusable::OtherBytes)
            });
            match layout {
                Ok(layout) => return Ok((recipe, Some(layout))),
                // Perhaps it could not be made again, and it may well be read in a moment.
                Err(Unusable::File(error)) if is_of_the_machine(&error) => {
                    return Err(ClipError::Machine(error));
                }
                Err(Unusable::File(error)) if error.kind() == io::ErrorKind::NotFound => {
                    tracing::debug!(clip_id, "no layout is kept of a virtual clip");
                }
                Err(unusable) => {
                    tracing::warn!(clip_id, %unusable, "the kept layout of a virtual clip is not used");
                }
            }
            Ok((recipe, None))
        })
        .await
    }

    /// Removes what is kept of a clip that needs no layout any more. What cannot be removed now is left to the sweep.
    pub(super) async fn discard_layout(&self, clip_id: &str) {
        if let Err(error) = self.remove_layout(clip_id).await {
            tracing::warn!(clip_id, cause = ?error, "the layout of a virtual clip that is no more stays behind");
        }
    }

    async fn remove_layout(&self, name: &str) -> Result<(), ClipError> {
        let (clips, name) = (self.settings.folder.clone(), name.to_owned());
        blocking(move || discard(&clips, &name).map_err(ClipError::Folder)).await
    }

    /// Removes layouts that no virtual clip has and no job is about to give one, and those that were not written to their
    /// end; how many there were.
    ///
    /// # Errors
    /// A folder that cannot be read, or the database.
    pub async fn sweep_layouts(&self) -> Result<u64, ClipError> {
        let clips = self.settings.folder.clone();
        let names = blocking(move || names_in(&clips.join(FOLDER)).map_err(ClipError::Folder));
        let mut swept = 0;
        for some in names.await?.chunks(NAMES_AT_ONCE) {
            let ids: Vec<String> = some.iter().map(|(name, _)| name.clone()).collect();
            // Nearly all of them are where they belong, which one question answers.
            let known = self.store.virtual_among(&ids).await?;
            for (name, age) in some.iter().filter(|(name, _)| !known.contains(name)) {
                let is_kept = if is_draft(name) {
                    *age < ORPHAN_AGE
                } else {
                    self.is_of_a_clip(name, *age, |clip| clip.is_virtual)
                        .await?
                };
                if is_kept {
                    continue;
                }
                match self.remove_layout(name).await {
                    Ok(()) => swept += 1,
                    // It must not keep the others from going.
                    Err(error) => {
                        tracing::warn!(name, cause = ?error, "a layout that no clip has stays behind");
                    }
                }
            }
        }
        Ok(swept)
    }
}

fn path_of(clip_id: &str) -> PathBuf {
    Path::new(FOLDER).join(clip_id)
}

/// A name that no other writer uses, in this process or on another node.
fn draft_name() -> String {
    format!(".{}.part", id::new(id::CLIP))
}

fn is_draft(name: &str) -> bool {
    let stem = name
        .strip_prefix('.')
        .and_then(|rest| rest.strip_suffix(".part"));
    stem.is_some_and(|stem| id::is_valid(id::CLIP, stem))
}

/// Nothing is synced: what a loss of power leaves is not used unless it is whole.
fn write(clips: &Path, clip_id: &str, layout: &Layout) -> io::Result<()> {
    let room = free_bytes(clips)?;
    if room < HEADROOM_BYTES + layout.encoded_bytes() {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let (draft, file) = create(&clips.join(FOLDER))?;
    let mut file = BufWriter::new(file);
    layout.encode(&mut file)?;
    file.flush()?;
    draft.put_in_place_unsynced(clip_id)
}

/// Begins a file in the folder, which goes with the last clip that needs it, and may do so just now.
fn create(folder: &Path) -> io::Result<(Draft, File)> {
    let mut tries = TRIES;
    loop {
        let made = std::fs::create_dir_all(folder);
        match made.and_then(|()| Draft::create(folder, &draft_name())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries > 0 => tries -= 1,
            created => return created,
        }
    }
}

fn read(clips: &Path, clip_id: &str) -> Result<Layout, Unusable> {
    let file = open_beneath(clips, &path_of(clip_id))?;
    let length = file.metadata()?.len();
    if length > LONGEST_BYTES {
        return Err(Unusable::TooLong(length));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(length).read_to_end(&mut bytes)?;
    Ok(Layout::decode(&bytes)?)
}

/// Whether a layout names the sources of which the recipe knows that bytes are in the clip. The digest does not tell of a
/// source that is named and not read.
fn reads_what_is_read(layout: &Layout, recipe: &ClipRecipe) -> bool {
    layout.sources().iter().all(|at| {
        let source = recipe.sources.get(*at);
        source.is_some_and(|source| matches!(source.found, Found::File { is_read: true, .. }))
    })
}

/// Removes a file of the folder, and the folder when it is empty then.
fn discard(clips: &Path, name: &str) -> io::Result<()> {
    remove_if_there(&clips.join(path_of(name)))?;
    remove_if_empty(&clips.join(FOLDER))
}
