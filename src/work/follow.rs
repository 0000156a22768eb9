//! Following a source while its recorder writes: takes in files as they are closed, notes those that vanish.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::intake::{Intake, SourceRules};
use super::look::{self, Found, LookError, Scope};
use super::watch_source::{Changes, SourceEvent, WatchOptions, watch_source};
use crate::clock;

/// Events that may wait while a look is under way.
const EVENTS_AHEAD: usize = 16;
/// How soon to look again after a look that failed.
const RETRY: Duration = Duration::from_secs(15);

/// Follows one source until `cancel`.
///
/// `first_look` is called once the folder is watched: nothing can change unseen between its look at the whole source
/// and the events that follow here.
pub async fn follow<F: Future<Output = ()>>(
    intake: Arc<Intake>,
    rules: SourceRules,
    first_look: impl FnOnce() -> F,
    cancel: CancellationToken,
) {
    let (sender, mut events) = mpsc::channel(EVENTS_AHEAD);
    let watch = watch_source(
        rules.scan.root.clone(),
        WatchOptions::default(),
        sender,
        cancel.clone(),
    );
    let mut first_look = Some(first_look);
    let mut follower = Follower {
        intake,
        rules,
        cancel: cancel.clone(),
        still_written: BTreeMap::new(),
        look_at_all_at: None,
    };
    let handle = async {
        loop {
            let next_look = follower.next_look();
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                event = events.recv() => match event {
                    None => return,
                    Some(SourceEvent::LookAtAll) => match first_look.take() {
                        Some(first_look) => {
                            first_look().await;
                            // Files that it found still written are to be closed yet; the others are known now.
                            follower.look_at_all().await;
                        }
                        None => follower.look_at_all().await,
                    },
                    Some(SourceEvent::Changed(changes)) => follower.handle(changes).await,
                },
                () = sleep_until(next_look.unwrap_or_else(Instant::now)), if next_look.is_some() => {
                    follower.look_where_due().await;
                }
            }
        }
    };
    tokio::join!(watch, handle);
}

struct Follower {
    intake: Arc<Intake>,
    rules: SourceRules,
    cancel: CancellationToken,
    /// Files that were still written, and when to look again. A later file of the same folder is a reason to look
    /// sooner: many recorders show by it that they have closed the one before.
    still_written: BTreeMap<PathBuf, Instant>,
    /// When to look at the whole source again, after a look that failed.
    look_at_all_at: Option<Instant>,
}

impl Follower {
    fn next_look(&self) -> Option<Instant> {
        self.still_written
            .values()
            .copied()
            .chain(self.look_at_all_at)
            .min()
    }

    async fn handle(&mut self, changes: Changes) {
        // An event is a hint where to look: a file may have come back since.
        let gone = |path: &PathBuf| text(path).filter(|path| look::is_gone(&self.rules, path));
        let files: Vec<String> = changes.vanished_files.iter().filter_map(gone).collect();
        if !files.is_empty() {
            let marked = self
                .intake
                .store()
                .mark_missing(&self.rules.source_id, &files, clock::now())
                .await;
            self.log_vanished(marked.map_err(LookError::from));
        }
        for folder in changes
            .vanished_folders
            .iter()
            .filter_map(|path| text(path))
        {
            let marked = look::note_vanished_beneath(&self.intake, &self.rules, &folder).await;
            self.log_vanished(marked.map_err(LookError::from));
        }
        for folder in changes.look_at_trees {
            self.look(Scope::Tree(folder)).await;
        }
        if !changes.look_at_files.is_empty() {
            let mut files = changes.look_at_files;
            let beside = |path: &PathBuf| files.iter().any(|file| file.parent() == path.parent());
            let waiting: Vec<PathBuf> = self
                .still_written
                .keys()
                .filter(|path| beside(path))
                .cloned()
                .collect();
            files.extend(waiting);
            self.look(Scope::Files(files)).await;
        }
    }

    async fn look_where_due(&mut self) {
        let now = Instant::now();
        if self.look_at_all_at.is_some_and(|at| at <= now) {
            self.look_at_all().await;
            return;
        }
        let due = self
            .still_written
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(file, _)| file.clone())
            .collect();
        self.look(Scope::Files(due)).await;
    }

    async fn look_at_all(&mut self) {
        self.look_at_all_at = None;
        if let Some(mut found) = self.look(Scope::All).await {
            let noted =
                look::note_vanished(&self.intake, &self.rules, &mut found, &self.cancel).await;
            self.log_vanished(noted.map(|()| found.summary.segments_missing));
        }
    }

    /// Looks at a part of the source; remembers which files to look at again.
    async fn look(&mut self, scope: Scope) -> Option<Found> {
        match look::look(
            &self.intake,
            &self.rules,
            scope.clone(),
            &self.cancel,
            |_| {},
        )
        .await
        {
            Ok(found) => {
                match &scope {
                    Scope::Files(files) => {
                        self.still_written.retain(|file, _| !files.contains(file))
                    }
                    Scope::Tree(folder) => self
                        .still_written
                        .retain(|file, _| !file.starts_with(folder)),
                    Scope::All => self.still_written.clear(),
                }
                let now = Instant::now();
                self.still_written.extend(
                    found
                        .still_written
                        .iter()
                        .map(|(file, after)| (file.clone(), now + *after)),
                );
                let summary = &found.summary;
                if summary.segments_added + summary.segments_updated > 0 {
                    debug!(
                        source_id = summary.source_id,
                        added = summary.segments_added,
                        updated = summary.segments_updated,
                        "took in new segments"
                    );
                }
                Some(found)
            }
            Err(LookError::Stopped) => None,
            Err(error) => {
                warn!(source_id = self.rules.source_id, %error, "looking at a source failed; trying again");
                self.look_at_all_at = Some(Instant::now() + RETRY);
                if let Scope::Files(files) = &scope {
                    self.still_written.retain(|file, _| !files.contains(file));
                }
                None
            }
        }
    }

    fn log_vanished(&self, marked: Result<u64, LookError>) {
        match marked {
            Ok(0) | Err(LookError::Stopped) => {}
            Ok(vanished) => info!(
                source_id = self.rules.source_id,
                vanished, "files have vanished"
            ),
            Err(error) => {
                warn!(source_id = self.rules.source_id, %error, "noting vanished files failed")
            }
        }
    }
}

fn text(path: &Path) -> Option<String> {
    // The catalog knows only paths that are text; nothing else can have been in it.
    path.to_str().map(str::to_owned)
}
