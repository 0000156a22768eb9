//! Recordings of virtual clips that stay open for a moment after they were read, so that a player which asks for one range
//! after another need not have all of them opened each time.
//!
//! They are not kept for long: what a recorder deletes takes room on its disk for as long as it is open.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long they stay open after they were last used.
const KEPT_FOR: Duration = Duration::from_secs(2);
/// This part of what the process may have open is used for them,
const SHARE: u64 = 8;
/// but no more than some clips of an hour need.
const FILES_MAX: usize = 4096;

/// The open recordings that a clip is read from, in the order of its layout.
pub(super) type Opened = Arc<[Arc<File>]>;

/// What is open, by the id of the clip.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenRecordings(Arc<Mutex<HashMap<String, Kept>>>);

#[derive(Debug)]
struct Kept {
    /// Names the clip's bytes: an id may name another clip by now.
    digest: String,
    files: Opened,
    used: Instant,
}

impl OpenRecordings {
    /// The recordings of a clip with these bytes, if they are open. They may have been deleted or changed since.
    pub(super) fn get(&self, clip_id: &str, digest: &str) -> Option<Opened> {
        self.of(|kept| {
            let kept = kept.get_mut(clip_id).filter(|kept| kept.digest == digest)?;
            kept.used = Instant::now();
            Some(Arc::clone(&kept.files))
        })
    }

    /// Keeps them open for a while. Not where that would be too many.
    pub(super) fn put(&self, clip_id: &str, digest: &str, files: &Opened) {
        let new = Kept {
            digest: digest.to_owned(),
            files: Arc::clone(files),
            used: Instant::now(),
        };
        let replaced = self.of(|kept| {
            let others = kept.iter().filter(|(id, _)| *id != clip_id);
            let open: usize = others.map(|(_, kept)| kept.files.len()).sum();
            if open + files.len() > files_max() {
                return kept.remove(clip_id);
            }
            kept.insert(clip_id.to_owned(), new)
        });
        // Whoever put those there closes them.
        if replaced.is_none() {
            self.close_later(clip_id.to_owned());
        }
    }

    /// Closes those of a clip that is no more, or whose recordings are others by now.
    pub(super) fn forget(&self, clip_id: &str) {
        drop(self.of(|kept| kept.remove(clip_id)));
    }

    fn close_later(&self, clip_id: String) {
        let all = self.clone();
        tokio::spawn(async move {
            while all.are_open(&clip_id, Instant::now()) {
                tokio::time::sleep(KEPT_FOR).await;
            }
        });
    }

    /// Closes those of a clip that were not used for a while by `now`; whether there are others.
    fn are_open(&self, clip_id: &str, now: Instant) -> bool {
        let unused = self.of(|kept| {
            let found = kept.get(clip_id)?;
            let is_used = now.saturating_duration_since(found.used) < KEPT_FOR;
            (!is_used).then(|| kept.remove(clip_id)).flatten()
        });
        // Closed without the lock.
        drop(unused);
        self.of(|kept| kept.contains_key(clip_id))
    }

    fn of<T>(&self, what: impl FnOnce(&mut HashMap<String, Kept>) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn files_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let share = limit.map_or(FILES_MAX as u64, |limit| limit / SHARE);
    usize::try_from(share).map_or(FILES_MAX, |share| share.min(FILES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(count: usize) -> Opened {
        (0..count)
            .map(|_| Arc::new(tempfile::tempfile().unwrap()))
            .collect()
    }

    #[tokio::test]
    async fn recordings_are_closed_when_they_were_not_used_for_a_while() {
        let open = OpenRecordings::default();
        let files = some(2);
        open.put("clip_1", "bytes", &files);
        open.put("clip_1", "bytes", &files);
        assert!(open.get("clip_1", "other bytes").is_none());
        assert!(open.get("clip_2", "bytes").is_none());
        let now = Instant::now();
        assert!(open.are_open("clip_1", now + KEPT_FOR / 2));
        assert!(open.get("clip_1", "bytes").is_some());
        assert!(!open.are_open("clip_1", now + 2 * KEPT_FOR));
        assert!(open.get("clip_1", "bytes").is_none());
        assert_eq!(Arc::strong_count(&files), 1, "they are closed");
    }

    #[tokio::test]
    async fn no_more_are_kept_than_a_part_of_what_the_process_may_have_open() {
        let open = OpenRecordings::default();
        let file = Arc::new(tempfile::tempfile().unwrap());
        let many: Opened = (0..files_max()).map(|_| Arc::clone(&file)).collect();
        open.put("clip_1", "bytes", &many);
        open.put("clip_2", "bytes", &some(1));
        assert!(open.get("clip_1", "bytes").is_some());
        assert!(open.get("clip_2", "bytes").is_none());
        open.forget("clip_1");
        open.put("clip_2", "bytes", &some(1));
        assert!(open.get("clip_2", "bytes").is_some());
    }
}
