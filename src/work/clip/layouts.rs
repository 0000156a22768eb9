//! Layouts of virtual clips that were needed lately, so that a player which asks for one range after another does not have
//! the recordings read each time. `kept_layouts` has all of them on disk.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::domain::clip_recipe::ClipRecipe;
use crate::media::Layout;

/// Memory of all layouts that are kept. That of an hour takes a little more than one megabyte.
const KEPT_BYTES: usize = 64 << 20;
/// How many clips are laid out anew at the same time, for those who fetch them, and of how many the kept layout is read.
const AT_ONCE: usize = 2;

/// A virtual clip whose bytes can be found.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) recipe: ClipRecipe,
    pub(super) layout: Arc<Layout>,
    /// Names the bytes.
    pub(super) digest: String,
}

/// The layouts that were used last.
#[derive(Debug)]
pub(super) struct Layouts {
    /// The least recently used first.
    kept: Mutex<VecDeque<(String, Arc<Known>)>>,
    /// A place for each that is being made.
    pub(super) places: Semaphore,
    /// A place for each that is being read, so that these few milliseconds need not wait for one that is being made.
    pub(super) reading: Semaphore,
}

impl Default for Layouts {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
            reading: Semaphore::new(AT_ONCE),
        }
    }
}

impl Layouts {
    /// The layout of a clip with these bytes. An id may name another clip by now.
    pub(super) fn get(&self, clip_id: &str, digest: &str) -> Option<Arc<Known>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept
            .iter()
            .position(|(id, known)| id == clip_id && known.digest == digest)?;
        let entry = kept.remove(at)?;
        let known = Arc::clone(&entry.1);
        kept.push_back(entry);
        Some(known)
    }

    /// Keeps a layout, and lets go of those that were not used for longest.
    pub(super) fn put(&self, clip_id: &str, known: Arc<Known>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(id, _)| id != clip_id);
        kept.push_back((clip_id.to_owned(), known));
        let mut held_bytes: usize = kept.iter().map(|(_, known)| known.memory_bytes()).sum();
        while held_bytes > KEPT_BYTES
            && let Some((_, known)) = kept.pop_front()
        {
            held_bytes -= known.memory_bytes();
        }
    }

    /// Lets go of the layout of a clip that is no more.
    pub(super) fn forget(&self, clip_id: &str) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(id, _)| id != clip_id);
    }
}

impl Known {
    fn memory_bytes(&self) -> usize {
        let sources = self.recipe.sources.iter();
        let recipe_bytes: usize = sources
            .map(|source| {
                size_of_val(source)
                    + source.segment_id.len()
                    + source.source_id.len()
                    + source.path.len()
            })
            .sum();
        self.layout.memory_bytes() + recipe_bytes
    }
}
