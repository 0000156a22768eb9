//! Clips that a loss of power does not take although nobody waits for the disk: until it has the file, the recordings are
//! held from which the file is made again.
//!
//! Recordings are on the disk long before anybody asks for a clip of them. To sync what of them is not, and links to them,
//! takes a few milliseconds, beside the cut; to sync the clip takes what its bytes take. The recipe in the clip's row says how
//! they were cut, the SHA-256 whether they come out the same.

use std::fs::File;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::cut::wanted;
use super::engine::known_obstacle;
use super::held_sources::Hold;
use super::unsynced::Synced;
use super::virtual_clip::{found_in, held_files, recipe_of};
use super::virtual_content::other_bytes;
use super::{ClipError, ClipWork, blocking};
use crate::domain::catalog::Segment;
use crate::domain::clip::{Clip, ClipEngine, ClipSpec};
use crate::domain::clip_recipe::{ClipRecipe, Found};
use crate::domain::time::TimeRange;
use crate::media::{self, CutError, CutOrder, EngineChoice};
use crate::packing::hex;
use crate::work::output::{Draft, remove_if_there};
use crate::work::{Attempt, indexes, temporary_name};

/// What a clip can be made from again, for as long as the machine runs.
pub(super) struct Backing {
    run: &'static str,
    recipe: ClipRecipe,
    files: Vec<Arc<File>>,
    hold: Hold,
}

/// The same once it is on the disk.
pub(super) struct Kept {
    /// The run of the machine in which the clip is made.
    pub(super) run: &'static str,
    recipe: ClipRecipe,
}

impl ClipWork {
    /// Holds the recordings `around` the window of a clip, of which `sources` are open, so that its file can be made again.
    /// `None` where it cannot be or they cannot be held: then the clip's file has to be waited for.
    pub(super) async fn back(
        &self,
        attempt: &Attempt,
        spec: &ClipSpec,
        window: TimeRange,
        around: &[Segment],
        sources: &[media::Source],
    ) -> Option<Backing> {
        let run = self.run_of_the_machine()?;
        let is_native = matches!(spec.engine, ClipEngine::Auto | ClipEngine::Native);
        if spec.quick || !is_native || known_obstacle(around).is_some() {
            return None;
        }
        let (clips, name) = (self.settings.folder.clone(), attempt.temporary_name());
        let (spec, around, sources) = (spec.clone(), around.to_vec(), sources.to_vec());
        let held = blocking(move || {
            let recipe = recipe_of(&spec, window, around, found_in(&sources)?);
            let to_hold = held_files(&recipe, &sources);
            let hold = Hold::make(&clips, &name, &to_hold)?;
            let files = to_hold.into_iter().map(|(_, file)| file).collect();
            Ok(Backing {
                run,
                recipe,
                files,
                hold,
            })
        });
        match held.await {
            Ok(backing) => Some(backing),
            Err(cause @ ClipError::HoldUnsupported(_)) => {
                debug!(%cause, "a clip is waited for until it is on the disk");
                None
            }
            Err(cause) => {
                warn!(?cause, "a clip is waited for until it is on the disk");
                None
            }
        }
    }

    /// Puts what a clip can be made from again on the disk, under the clip's id; `None` where the disk does not take it, or there
    /// is nothing.
    pub(super) async fn keep(&self, backing: Option<Backing>, clip_id: &str) -> Option<Kept> {
        let (backing, clip_id) = (backing?, clip_id.to_owned());
        let kept = blocking(move || backing.keep_for(&clip_id)).await;
        kept.inspect_err(|cause| {
            warn!(?cause, "a clip is waited for until it is on the disk");
        })
        .ok()
    }

    /// Makes the file of a clip again, unless it is there. Whoever asks for it meanwhile is told that it is gone.
    ///
    /// # Errors
    /// [`ClipError::Corrupted`] when it is lost for good, which is noted. Others may be over when it is tried again.
    pub(super) async fn make_again(&self, clip: &Clip) -> Result<(), ClipError> {
        let _alone = self.remaking.lock().await;
        if self.sync(clip).await? == Synced::Taken {
            return Ok(());
        }
        let Some(recipe) = self.store.clip_remake(&clip.id).await? else {
            // It was deleted, or settled by whoever made it.
            return Ok(());
        };
        match self.cut_again(clip, recipe).await {
            Ok(()) => Ok(()),
            Err(cause) if is_for_good(&cause) => {
                error!(clip = clip.id, %cause, "the file of a clip is lost: it cannot be made again");
                self.settle(clip).await?;
                Err(ClipError::Corrupted(
                    "is lost, and its recordings do not give it again",
                ))
            }
            Err(error) => Err(error),
        }
    }

    async fn cut_again(&self, clip: &Clip, recipe: ClipRecipe) -> Result<(), ClipError> {
        let finder = self.finder(Some(&clip.id)).await?;
        let (recipe, mut sources) =
            blocking(move || finder.open_all(&recipe).map(|sources| (recipe, sources))).await?;
        indexes::attach(&self.store, &mut sources).await?;
        // That of an attempt which never is: epochs begin with 1. Left behind, it is swept as one of an attempt that died.
        let part = self.settings.folder.join(temporary_name(&clip.job_id, 0));
        remove_if_there(&part).map_err(ClipError::Folder)?;
        let order = CutOrder {
            sources,
            wanted: wanted(recipe.window, recipe.gap_mode),
            output: part.clone(),
            title: recipe.title,
            engine: EngineChoice::Native,
            deadline: self.settings.timeout,
            is_durable: true,
            hashes: true,
        };
        let outcome = media::cut(&self.engine, order, &CancellationToken::new(), |_| {}).await?;
        let draft = Draft::of(part);
        if outcome.sha256.map(|digest| hex(&digest)).as_ref() != Some(&clip.sha256) {
            return Err(other_bytes());
        }
        // One that was deleted meanwhile needs no file.
        self.put_in_place(draft, clip).await.map(drop)
    }
}

impl Backing {
    fn keep_for(self, clip_id: &str) -> Result<Kept, ClipError> {
        for file in &self.files {
            file.sync_data().map_err(ClipError::Folder)?;
        }
        self.hold.keep_for(clip_id)?;
        let Self { run, recipe, .. } = self;
        Ok(Kept { run, recipe })
    }
}

impl Kept {
    /// How a clip is made again that has pictures of these segments.
    pub(super) fn recipe_of(self, segment_ids: &[String]) -> ClipRecipe {
        let mut recipe = self.recipe;
        for source in &mut recipe.sources {
            if let Found::File { is_read, .. } = &mut source.found {
                *is_read = segment_ids.contains(&source.segment_id);
            }
        }
        recipe
    }
}

/// Whether another try would end alike.
fn is_for_good(error: &ClipError) -> bool {
    match error {
        ClipError::SourcesGone(_) => true,
        ClipError::Cut(error) => matches!(
            error,
            CutError::NoFootage(_) | CutError::Unsuitable { .. } | CutError::Mismatch { .. }
        ),
        _ => false,
    }
}
