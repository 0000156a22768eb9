//! Real folders, changed while they are followed.

use std::fs;

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;

/// Longer than any event may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A followed folder. The follower's end is awaited, so a test that leaves it running fails.
struct Followed {
    folder: TempDir,
    events: mpsc::Receiver<SourceEvent>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
    /// All that was gathered so far.
    seen: Changes,
}

impl Followed {
    async fn new(files: &[&str]) -> Self {
        let options = WatchOptions {
            debounce: Duration::from_millis(5),
            rescan_every: Duration::from_secs(3600),
            ..WatchOptions::default()
        };
        Self::with(options, files).await
    }

    /// Follows a folder with these files, from after its first look.
    async fn with(options: WatchOptions, files: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        files
            .iter()
            .for_each(|file| write(&folder.path().join(file)));
        let cancel = CancellationToken::new();
        let (sender, events) = mpsc::channel(4);
        let root = folder.path().to_owned();
        let task = tokio::spawn(watch_source(root, options, sender, cancel.clone()));
        let mut followed = Self {
            folder,
            events,
            cancel,
            task,
            seen: Changes::default(),
        };
        assert_eq!(followed.next().await, SourceEvent::LookAtAll);
        followed
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    async fn next(&mut self) -> SourceEvent {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event
            .expect("no event in time")
            .expect("the follower ended")
    }

    /// Gathers changes until `holds` of them.
    async fn until(&mut self, holds: impl Fn(&Changes) -> bool) {
        while !holds(&self.seen) {
            let SourceEvent::Changed(changes) = self.next().await else {
                panic!("the whole source was to be looked at")
            };
            self.seen.look_at_files.extend(changes.look_at_files);
            self.seen.look_at_trees.extend(changes.look_at_trees);
            self.seen.vanished_files.extend(changes.vanished_files);
            self.seen.vanished_folders.extend(changes.vanished_folders);
        }
    }

    async fn end(self) {
        self.cancel.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("did not end")
            .unwrap();
    }
}

fn write(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "footage").unwrap();
}

fn looks_at(folder: &str) -> impl Fn(&Changes) -> bool {
    let folder = PathBuf::from(folder);
    move |changes| {
        changes
            .look_at_files
            .iter()
            .any(|file| file.parent() == Some(&folder))
    }
}

fn looks_beneath(folder: &str) -> impl Fn(&Changes) -> bool {
    let folder = PathBuf::from(folder);
    move |changes| changes.look_at_trees.contains(&folder)
}

fn lost_file(file: &str) -> impl Fn(&Changes) -> bool {
    let file = PathBuf::from(file);
    move |changes| changes.vanished_files.contains(&file)
}

fn lost_folder(folder: &str) -> impl Fn(&Changes) -> bool {
    let folder = PathBuf::from(folder);
    move |changes| changes.vanished_folders.contains(&folder)
}

#[tokio::test]
async fn a_file_that_is_made_has_its_folder_looked_at() {
    let mut followed = Followed::new(&["cam/a.mp4"]).await;
    write(&followed.path("cam/b.mp4"));
    followed.until(looks_at("cam")).await;
    followed.end().await;
}

#[tokio::test]
async fn a_file_that_is_closed_has_its_folder_looked_at_again() {
    let mut followed = Followed::new(&["cam/a.mp4"]).await;
    let open = fs::OpenOptions::new()
        .append(true)
        .open(followed.path("cam/a.mp4"))
        .unwrap();
    drop(open);
    followed.until(looks_at("cam")).await;
    followed.end().await;
}

#[tokio::test]
async fn a_file_that_gets_its_final_name_has_its_folder_looked_at() {
    let mut followed = Followed::new(&["cam/a.mp4.part"]).await;
    fs::rename(followed.path("cam/a.mp4.part"), followed.path("cam/a.mp4")).unwrap();
    followed.until(looks_at("cam")).await;
    assert!(lost_file("cam/a.mp4.part")(&followed.seen));
    assert!(!lost_file("cam/a.mp4")(&followed.seen));
    followed.end().await;
}

#[tokio::test]
async fn a_file_that_is_deleted_or_moved_away_has_vanished() {
    let mut followed = Followed::new(&["cam/a.mp4", "cam/b.mp4"]).await;
    let elsewhere = tempfile::tempdir().unwrap();
    fs::remove_file(followed.path("cam/a.mp4")).unwrap();
    fs::rename(followed.path("cam/b.mp4"), elsewhere.path().join("b.mp4")).unwrap();
    followed.until(lost_file("cam/a.mp4")).await;
    followed.until(lost_file("cam/b.mp4")).await;
    followed.end().await;
}

#[tokio::test]
async fn a_folder_that_is_made_and_filled_at_once_is_looked_at_whole() {
    let mut followed = Followed::new(&[]).await;
    for day in 10..30 {
        write(&followed.path(&format!("2026-11-{day}/10/cam/00.00.mp4")));
    }
    for day in 10..30 {
        followed
            .until(looks_beneath(&format!("2026-11-{day}")))
            .await;
    }
    // The new folders are followed as well.
    write(&followed.path("2026-11-29/10/cam/00.10.mp4"));
    followed.until(looks_at("2026-11-29/10/cam")).await;
    followed.end().await;
}

#[tokio::test]
async fn a_folder_that_is_moved_in_is_looked_at_and_followed() {
    let mut followed = Followed::new(&[]).await;
    let elsewhere = tempfile::tempdir_in(followed.folder.path().parent().unwrap()).unwrap();
    write(&elsewhere.path().join("cam/day/a.mp4"));
    fs::rename(elsewhere.path().join("cam"), followed.path("cam")).unwrap();
    followed.until(looks_beneath("cam")).await;
    write(&followed.path("cam/day/b.mp4"));
    followed.until(looks_at("cam/day")).await;
    followed.end().await;
}

#[tokio::test]
async fn a_tree_that_is_deleted_has_vanished_from_its_top() {
    let mut followed = Followed::new(&["a/b/c/1.mp4", "a/b/2.mp4", "other/3.mp4"]).await;
    fs::remove_dir_all(followed.path("a")).unwrap();
    followed.until(lost_folder("a")).await;
    assert!(!lost_folder("other")(&followed.seen));
    // A tree of the same name is followed anew.
    write(&followed.path("a/b/c/1.mp4"));
    followed.until(looks_beneath("a")).await;
    followed.end().await;
}

#[tokio::test]
async fn a_folder_that_is_renamed_is_followed_under_its_new_name_only() {
    let mut followed = Followed::new(&["old/deep/1.mp4"]).await;
    fs::rename(followed.path("old"), followed.path("new")).unwrap();
    followed.until(lost_folder("old")).await;
    followed.until(looks_beneath("new")).await;
    write(&followed.path("new/deep/2.mp4"));
    followed.until(looks_at("new/deep")).await;
    assert!(
        !followed
            .seen
            .look_at_files
            .iter()
            .any(|folder| folder.starts_with("old"))
    );
    followed.end().await;
}

#[tokio::test]
async fn hidden_folders_and_links_are_not_followed() {
    let elsewhere = tempfile::tempdir().unwrap();
    let mut followed = Followed::new(&[".trash/a.mp4", "cam/a.mp4"]).await;
    std::os::unix::fs::symlink(elsewhere.path(), followed.path("link")).unwrap();
    write(&followed.path(".trash/b.mp4"));
    write(&followed.path("link/b.mp4"));
    fs::create_dir(followed.path(".hidden")).unwrap();
    write(&followed.path("cam/b.mp4"));
    followed.until(looks_at("cam")).await;
    let looked: Vec<_> = followed
        .seen
        .look_at_files
        .union(&followed.seen.look_at_trees)
        .cloned()
        .collect();
    // The link itself is looked at, and the walk then reports it.
    assert_eq!(looked, [PathBuf::from("cam/b.mp4"), PathBuf::from("link")]);
    followed.end().await;
}

#[tokio::test]
async fn folders_beyond_the_limit_of_watches_are_found_by_rescans() {
    let options = WatchOptions {
        debounce: Duration::from_millis(5),
        rescan_every: Duration::from_millis(20),
        max_watches: 1,
    };
    let mut followed = Followed::with(options, &["cam/a.mp4"]).await;
    write(&followed.path("cam/b.mp4"));
    for _ in 0..3 {
        assert_eq!(followed.next().await, SourceEvent::LookAtAll);
    }
    followed.end().await;
}

#[tokio::test]
async fn a_root_that_is_missing_at_first_is_followed_once_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("rec");
    let options = WatchOptions {
        debounce: Duration::from_millis(5),
        rescan_every: Duration::from_millis(20),
        ..WatchOptions::default()
    };
    let cancel = CancellationToken::new();
    let (sender, mut events) = mpsc::channel(4);
    let task = tokio::spawn(watch_source(root.clone(), options, sender, cancel.clone()));
    assert_eq!(events.recv().await, Some(SourceEvent::LookAtAll));
    fs::create_dir(&root).unwrap();
    let change = async {
        // Each round makes a file, and a rescan between two rounds puts the watch in place.
        for number in 0.. {
            write(&root.join(format!("{number}.mp4")));
            match events.recv().await.unwrap() {
                SourceEvent::Changed(changes) => return changes,
                SourceEvent::LookAtAll => {}
            }
        }
        unreachable!("the rounds have no end")
    };
    let changes = tokio::time::timeout(PATIENCE, change)
        .await
        .expect("never followed");
    assert!(!changes.look_at_files.is_empty());
    cancel.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_root_that_is_deleted_has_the_whole_source_looked_at() {
    let mut followed = Followed::new(&["cam/a.mp4"]).await;
    fs::remove_dir_all(followed.folder.path()).unwrap();
    let end = async { while followed.next().await != SourceEvent::LookAtAll {} };
    tokio::time::timeout(PATIENCE, end)
        .await
        .expect("the loss of the root went unseen");
    followed.end().await;
}

#[tokio::test]
async fn a_receiver_that_does_not_keep_up_is_told_to_look_at_all() {
    let mut followed = Followed::new(&["cam/a.mp4"]).await;
    // Nobody takes events, so the changes are gathered and pass the limit.
    for number in 0..=MAX_GATHERED * 2 {
        let path = followed.path(&format!("cam/{number}.mp4"));
        fs::write(&path, "").unwrap();
        fs::remove_file(&path).unwrap();
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let end = async { while followed.next().await != SourceEvent::LookAtAll {} };
    tokio::time::timeout(PATIENCE, end)
        .await
        .expect("changes went missing");
    followed.end().await;
}

#[tokio::test]
async fn following_ends_when_the_receiver_is_gone() {
    let Followed {
        folder,
        events,
        task,
        ..
    } = Followed::new(&["cam/a.mp4"]).await;
    drop(events);
    tokio::time::timeout(PATIENCE, task)
        .await
        .expect("did not end")
        .unwrap();
    drop(folder);
}

#[tokio::test]
async fn following_ends_at_once_when_cancelled_also_with_a_full_channel() {
    let followed = Followed::new(&["cam/a.mp4"]).await;
    for number in 0..10 {
        write(&followed.path(&format!("cam{number}/a.mp4")));
        tokio::task::yield_now().await;
    }
    followed.end().await;
}
