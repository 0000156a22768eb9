//! Clips that a loss of power does not take although nobody waits for the disk: until it has the file, the recordings are
//! held from which the file is made again.
//!
//! Recordings are on the disk long before anybody asks for a clip of them. To sync what of them is not, and links to them,
//! takes a few milliseconds, beside the cut; to sync the clip takes what its bytes take. The recipe in the clip's row says how
//! they were cut, the SHA-256 whether they come out the same. What does not is kept, and tried again now and then: a recording
//! that cannot be read may be readable later.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::cut::wanted;
use super::engine::known_obstacle;
use super::held_sources::Hold;
use super::virtual_clip::{found_in, held_files, recipe_of, version_of};
use super::virtual_content::other_bytes;
use super::{ClipError, ClipWork, blocking};
use crate::disk;
use crate::domain::catalog::Segment;
use crate::domain::clip::{Clip, ClipEngine, ClipSpec};
use crate::domain::clip_recipe::{ClipRecipe, Found};
use crate::domain::time::TimeRange;
use crate::media::{self, CutError, CutOrder, CutOutcome, EngineChoice};
use crate::packing::hex;
use crate::work::output::{Draft, remove_if_there};
use crate::work::{Attempt, indexes, temporary_name};

/// How long the housekeeping leaves a clip alone whose file it could not make again.
const RETRY: Duration = Duration::from_secs(3600);

/// When clips could not be made again, by id.
#[derive(Debug, Default)]
pub(super) struct Tries(Mutex<HashMap<String, Instant>>);

impl Tries {
    pub(super) fn is_too_early(&self, clip_id: &str) -> bool {
        self.of(|tried| tried.get(clip_id).is_some_and(|at| at.elapsed() < RETRY))
    }

    fn note(&self, clip_id: &str) {
        self.of(|tried| tried.insert(clip_id.to_owned(), Instant::now()));
    }

    pub(super) fn forget(&self, clip_id: &str) {
        self.of(|tried| tried.remove(clip_id));
    }

    fn of<T>(&self, what: impl FnOnce(&mut HashMap<String, Instant>) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How a file is made again.
#[derive(Debug)]
pub(super) struct Remake {
    /// The name of the file until it is whole, which nobody else gives.
    pub(super) part_name: String,
    pub(super) stop: CancellationToken,
}

impl Remake {
    /// By nobody's attempt: the next of a job with the same name is no other's, as epochs begin with 1.
    pub(super) fn of(clip: &Clip, stop: &CancellationToken) -> Self {
        Self {
            part_name: temporary_name(&clip.job_id, 0),
            stop: stop.clone(),
        }
    }
}

/// What a clip can be made from again: recordings that are held until it is dropped, unless it is kept.
pub(super) struct Backing {
    /// Names the run in which the clip is made.
    pub(super) run: &'static str,
    recipe: ClipRecipe,
    sources: Vec<media::Source>,
    hold: Hold,
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
        let run = self.this_run()?;
        let is_native = matches!(spec.engine, ClipEngine::Auto | ClipEngine::Native);
        if spec.quick || !is_native || known_obstacle(around).is_some() {
            return None;
        }
        let (clips, name) = (self.settings.folder.clone(), attempt.temporary_name());
        let (spec, around, sources) = (spec.clone(), around.to_vec(), sources.to_vec());
        let held = blocking(move || {
            if !disk::takes_what_is_written(&clips) {
                return Err(ClipError::HoldUnsupported(
                    "the file system of HELDAR_CLIPS_DIR may have no room for a file that was written",
                ));
            }
            let recipe = recipe_of(&spec, window, around, found_in(&sources)?);
            let hold = Hold::make(&clips, &name, &held_files(&recipe, &sources))?;
            Ok(Backing {
                run,
                recipe,
                sources,
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

    /// Makes the file of a clip again and puts it on the disk, in place of what is there of it.
    ///
    /// # Errors
    /// All of them may be over when it is tried again; what is held stays.
    pub(super) async fn make_again(
        &self,
        clip: &Clip,
        recipe: ClipRecipe,
        held_in: &str,
        remake: Remake,
    ) -> Result<(), ClipError> {
        match self.cut_again(clip, recipe, held_in, remake).await {
            Ok(is_there) => {
                if is_there {
                    info!(clip = clip.id, "the file of a clip was made again");
                }
                self.tries.forget(&clip.id);
                Ok(())
            }
            Err(stopped @ ClipError::Cut(CutError::Cancelled)) => Err(stopped),
            Err(cause) => {
                error!(
                    clip = clip.id,
                    ?cause,
                    "the file of a clip cannot be made again"
                );
                self.tries.note(&clip.id);
                Err(cause)
            }
        }
    }

    async fn cut_again(
        &self,
        clip: &Clip,
        recipe: ClipRecipe,
        held_in: &str,
        remake: Remake,
    ) -> Result<bool, ClipError> {
        // The SHA-256 decides. A recorder may have added to the last recording since.
        let finder = self.finder(Some(held_in)).await?.of_any_version();
        let part = self.settings.folder.join(remake.part_name);
        let (recipe, mut sources, part) = blocking(move || {
            remove_if_there(&part).map_err(ClipError::Folder)?;
            let sources = finder.open_all(&recipe)?;
            Ok((recipe, sources, part))
        })
        .await?;
        indexes::attach(&self.store, &mut sources).await?;
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
        let outcome = media::cut(&self.engine, order, &remake.stop, |_| {}).await?;
        if outcome.sha256.map(|digest| hex(&digest)).as_ref() != Some(&clip.sha256) {
            // It may be large.
            blocking(move || remove_if_there(&part).map_err(ClipError::Folder)).await?;
            return Err(other_bytes());
        }
        // One that was deleted meanwhile needs no file.
        self.put_in_place(Draft::of(part), clip).await
    }
}

impl Backing {
    /// Puts all of it on the disk. `None` where the disk does not take it; nothing is held then.
    pub(super) fn sync(self) -> JoinHandle<Option<Self>> {
        let put_on_disk = |backing: &Self| {
            for source in &backing.sources {
                if let Ok(file) = &source.file {
                    file.sync_data().map_err(ClipError::Folder)?;
                }
            }
            backing.hold.sync()
        };
        tokio::task::spawn_blocking(move || match put_on_disk(&self) {
            Ok(()) => Some(self),
            Err(cause) => {
                warn!(?cause, "a clip is waited for until it is on the disk");
                None
            }
        })
    }

    /// Whether the same can be cut again: it was cut without ffmpeg, from all that was open, and that is as it was when it was
    /// synced. A recording that is damaged now may be whole a moment later.
    pub(super) fn gives_again(&self, outcome: &CutOutcome) -> bool {
        let is_as_it_was = |source: &media::Source, found: &Found| match (&source.file, found) {
            (Ok(file), Found::File { version, .. }) => file
                .metadata()
                .is_ok_and(|present| version_of(&present) == *version),
            _ => true,
        };
        let mut sources = self.sources.iter().zip(&self.recipe.sources);
        outcome.is_native
            && outcome.damaged_sources == 0
            && sources.all(|(source, named)| is_as_it_was(source, &named.found))
    }

    /// Holds the recordings for a clip of these segments from now on: the recipe, and the folder that they are held in.
    pub(super) fn keep(self, segment_ids: &[String]) -> (ClipRecipe, String) {
        let mut recipe = self.recipe;
        for source in &mut recipe.sources {
            if let Found::File { is_read, .. } = &mut source.found {
                *is_read = segment_ids.contains(&source.segment_id);
            }
        }
        (recipe, self.hold.keep())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_that_could_not_be_made_again_is_left_alone_for_a_while() {
        let tries = Tries::default();
        assert!(!tries.is_too_early("clip_1"));
        tries.note("clip_1");
        assert!(tries.is_too_early("clip_1") && !tries.is_too_early("clip_2"));
        tries.forget("clip_1");
        assert!(!tries.is_too_early("clip_1"));
    }
}
