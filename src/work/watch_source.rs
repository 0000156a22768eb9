//! Following a source: which of its folders to look at again, and what went away.
//!
//! Events of the kernel (inotify(7)) say quickly what changed; a look at the whole source at a
//! fixed interval finds what they cannot tell: network file systems give no events for the writes
//! of other machines, and watches can run out. Whoever takes the events walks the folders with
//! `work::scan`; an event is a hint where to look, never a fact to record.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use inotify::{EventMask, EventOwned, EventStream, Inotify};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::watched_folders::{AddOutcome, WatchedFolders};

/// What to do about a change in a source. Paths are relative to its root; the root itself is the
/// empty path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// Look at the whole source: at the start, at each rescan, and after changes were missed.
    LookAtAll,
    /// Something in the source changed. All its sets may be filled; the files and folders that
    /// vanished are to be handled first.
    Changed(Changes),
}

/// Changes of one moment, gathered so that a burst is one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Files that were made, closed or renamed into place.
    pub look_at_files: BTreeSet<PathBuf>,
    /// Folders that are new or were moved in. Look at each with all beneath it.
    pub look_at_trees: BTreeSet<PathBuf>,
    /// Files that were deleted or moved away, and had not come back when this was sent.
    pub vanished_files: BTreeSet<PathBuf>,
    /// Folders that were deleted or moved away with all beneath them. One that came back is in
    /// `look_at_trees` as well: first all its files are gone, then those that are there are found.
    pub vanished_folders: BTreeSet<PathBuf>,
}

/// How a source is followed.
#[derive(Clone, Copy, Debug)]
pub struct WatchOptions {
    /// How long changes are gathered before they are sent.
    pub debounce: Duration,
    /// How often the whole source is looked at.
    pub rescan_every: Duration,
    /// How many folders may be watched. Folders beyond are found by the rescans, so that one
    /// source with very many folders does not take the watches of all others.
    pub max_watches: usize,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(250),
            rescan_every: Duration::from_secs(300),
            max_watches: 16_384,
        }
    }
}

/// How many changes are gathered singly. More become one look at the whole source, so that a
/// receiver that does not keep up costs no memory.
const MAX_GATHERED: usize = 4096;

/// Room for the events of one read from the kernel.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// Follows `root` and sends what to look at, until `cancel` is cancelled or the receiver is gone.
///
/// The first event is always [`SourceEvent::LookAtAll`], sent when the watches are in place:
/// nothing can change unseen between that look and the events after it. Nothing is left running
/// when the future ends or is dropped, but for a listing of folders, which ends at its next entry.
///
/// A root that is missing is tried again at each rescan; the walk of the receiver reports it.
pub async fn watch_source(
    root: PathBuf,
    options: WatchOptions,
    events: mpsc::Sender<SourceEvent>,
    cancel: CancellationToken,
) {
    // Dropping the future must stop a listing too, not only the token of the caller.
    let cancel = cancel.child_token();
    let _stop_listing = cancel.clone().drop_guard();
    let follow = Follower::new(root, options, cancel.clone()).run(events);
    cancel.run_until_cancelled(follow).await;
}

type KernelEvents = EventStream<Vec<u8>>;

struct Follower {
    root: PathBuf,
    options: WatchOptions,
    cancel: CancellationToken,
    /// `None` when the kernel gives no inotify instance; then there are only rescans.
    kernel_events: Option<KernelEvents>,
    folders: WatchedFolders,
    gathered: Changes,
    look_at_all: bool,
    /// When the gathered changes are to be sent; `None` while there are none.
    due: Option<Instant>,
    /// Whether it was logged that not all folders are watched. It is said once, not each rescan.
    said_incomplete: bool,
}

impl Follower {
    fn new(root: PathBuf, options: WatchOptions, cancel: CancellationToken) -> Self {
        let opened = Inotify::init()
            .and_then(|inotify| inotify.into_event_stream(vec![0; READ_BUFFER_BYTES]));
        let kernel_events = match opened {
            Ok(kernel_events) => Some(kernel_events),
            Err(error) => {
                tracing::warn!(
                    root = %root.display(), %error, rescan_every_s = options.rescan_every.as_secs(),
                    "no inotify instance (fs.inotify.max_user_instances); changes are found by rescans only"
                );
                None
            }
        };
        let watches = kernel_events.as_ref().map(EventStream::watches);
        Self {
            folders: WatchedFolders::new(root.clone(), watches, options.max_watches),
            root,
            options,
            cancel,
            kernel_events,
            gathered: Changes::default(),
            look_at_all: false,
            due: None,
            said_incomplete: false,
        }
    }

    async fn run(mut self, events: mpsc::Sender<SourceEvent>) {
        let mut rescan = tokio::time::interval(self.options.rescan_every);
        // After a long pause one look is enough, not one for each interval that passed.
        rescan.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.due;
            tokio::select! {
                // The first tick comes at once.
                _ = rescan.tick() => {
                    self.add_folders(PathBuf::new()).await;
                    self.look_at_everything();
                    self.due = Some(Instant::now());
                }
                change = next_change(&mut self.kernel_events), if self.kernel_events.is_some() => {
                    match change {
                        Ok(change) => self.take(change).await,
                        Err(error) => self.give_up_events(&error),
                    }
                }
                permit = permit_when_due(&events, due), if due.is_some() => {
                    let Ok(permit) = permit else { return };
                    permit.send(self.gathered_event());
                }
                () = events.closed() => return,
            }
        }
    }

    async fn take(&mut self, change: EventOwned) {
        self.gather(change).await;
        let gathered = &self.gathered;
        let count = gathered.look_at_files.len()
            + gathered.look_at_trees.len()
            + gathered.vanished_files.len()
            + gathered.vanished_folders.len();
        if count > MAX_GATHERED {
            self.look_at_everything();
        }
        if self.due.is_none() && (self.look_at_all || count > 0) {
            self.due = Some(Instant::now() + self.options.debounce);
        }
    }

    async fn gather(&mut self, change: EventOwned) {
        if change.mask.contains(EventMask::Q_OVERFLOW) {
            tracing::info!(root = %self.root.display(), "the kernel dropped events; looking at the whole source");
            self.add_folders(PathBuf::new()).await;
            self.look_at_everything();
            return;
        }
        // Events of a watch that was removed meanwhile may still be in the queue.
        let Some(folder) = self.folders.folder_of(&change.wd) else {
            return;
        };
        if change.mask.contains(EventMask::IGNORED) {
            self.folders.forget(&change.wd);
            return;
        }
        let Some(name) = change.name else {
            // The watched folder itself went. Its parent tells of all but the root, and of a
            // root that went, the walk that follows tells.
            if folder.as_os_str().is_empty() {
                self.folders.remove_beneath(Path::new(""));
                self.look_at_everything();
            }
            return;
        };
        let path = folder.join(name);
        let is_folder = change.mask.contains(EventMask::ISDIR);
        let gone = change
            .mask
            .intersects(EventMask::DELETE | EventMask::MOVED_FROM);
        match (is_folder, gone) {
            (true, _) if super::scan::is_hidden(&path) => {}
            (true, true) => {
                // A folder that was moved keeps its watches, which would tell of the old path.
                self.folders.remove_beneath(&path);
                let beneath = |other: &PathBuf| other.starts_with(&path);
                self.gathered.look_at_files.retain(|file| !beneath(file));
                self.gathered
                    .look_at_trees
                    .retain(|folder| !beneath(folder));
                self.gathered.vanished_files.retain(|file| !beneath(file));
                self.gathered.vanished_folders.insert(path);
            }
            (true, false) => {
                // Files may be in the new folder before its watch is: it is looked at after the
                // watch is in place, so each file is seen by the one or the other.
                self.add_folders(path.clone()).await;
                self.gathered.look_at_trees.insert(path);
            }
            (false, true) => {
                self.gathered.look_at_files.remove(&path);
                self.gathered.vanished_files.insert(path);
            }
            (false, false) => {
                self.gathered.vanished_files.remove(&path);
                self.gathered.look_at_files.insert(path);
            }
        }
    }

    /// Watches `folder` and all folders beneath it, and says so once when some cannot be watched.
    async fn add_folders(&mut self, folder: PathBuf) {
        let mut folders = std::mem::take(&mut self.folders);
        let cancel = self.cancel.clone();
        let listing = tokio::task::spawn_blocking(move || {
            let outcome = folders.add_beneath(&folder, &cancel);
            (folders, outcome)
        });
        let Ok((folders, outcome)) = listing.await else {
            // The listing panicked or the runtime ends; without folders no event has a meaning.
            self.kernel_events = None;
            return;
        };
        self.folders = folders;
        match outcome {
            AddOutcome::Complete => self.said_incomplete = false,
            AddOutcome::RanOut { limit } if !self.said_incomplete => {
                self.said_incomplete = true;
                tracing::warn!(
                    root = %self.root.display(), watched_folders = self.folders.len(),
                    rescan_every_s = self.options.rescan_every.as_secs(),
                    "inotify watches ran out ({limit}); changes in the other folders are found by rescans only"
                );
            }
            AddOutcome::RanOut { .. } => {}
        }
    }

    fn give_up_events(&mut self, error: &io::Error) {
        tracing::warn!(root = %self.root.display(), %error, "inotify cannot be read; changes are found by rescans only");
        self.kernel_events = None;
        self.look_at_everything();
        self.due = Some(Instant::now());
    }

    fn look_at_everything(&mut self) {
        self.look_at_all = true;
        self.gathered = Changes::default();
    }

    /// The event to send, and a clean slate.
    fn gathered_event(&mut self) -> SourceEvent {
        self.due = None;
        let mut changes = std::mem::take(&mut self.gathered);
        if std::mem::take(&mut self.look_at_all) {
            return SourceEvent::LookAtAll;
        }
        // What lies beneath a tree is looked at with it.
        let trees = changes.look_at_trees.clone();
        changes
            .look_at_trees
            .retain(|tree| !tree.ancestors().skip(1).any(|up| trees.contains(up)));
        changes
            .look_at_files
            .retain(|file| !file.ancestors().any(|up| trees.contains(up)));
        SourceEvent::Changed(changes)
    }
}

/// The next change. Losing the race against another branch of a `select!` loses none, because
/// the stream keeps what it has read.
async fn next_change(kernel_events: &mut Option<KernelEvents>) -> io::Result<EventOwned> {
    let next = match kernel_events {
        Some(kernel_events) => kernel_events.next().await,
        None => None,
    };
    next.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
}

/// A place in the channel, not before `due`.
async fn permit_when_due(
    events: &mpsc::Sender<SourceEvent>,
    due: Option<Instant>,
) -> Result<mpsc::Permit<'_, SourceEvent>, mpsc::error::SendError<()>> {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
    events.reserve().await
}

#[cfg(test)]
#[path = "watch_source_tests.rs"]
mod tests;
