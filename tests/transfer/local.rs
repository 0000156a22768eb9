//! What only local folders have.

use std::time::{Duration, Instant};

use heldar_footage::domain::backup::destination::{DestinationSettings, LocalSettings};
use heldar_footage::domain::backup::object::BackupCheck;
use heldar_footage::transfer::TransferError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::small_disk::SmallDisk;
use crate::{Site, options, tree};

fn settings(path: &std::path::Path, require_mount: bool) -> DestinationSettings {
    DestinationSettings::Local(LocalSettings {
        path: path.display().to_string(),
        require_mount,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_not_mounted_gets_nothing() {
    let site = Site::usual();
    let at = site.path("disk");
    std::fs::create_dir(&at).unwrap();
    let place = site.place(&settings(&at, true));
    let sent = site.send(&place, BackupCheck::Size).await;
    assert!(
        matches!(sent, Err(TransferError::Unreachable(_))),
        "{sent:?}"
    );
    assert!(tree(&at).is_empty());
    let disk = SmallDisk::mount(at.clone(), 20 << 20);
    site.send_whole(&place, BackupCheck::ReadBack, &disk.at)
        .await;
    drop(disk);
    let gone = site.place(&settings(&site.path("none"), false));
    let sent = site.send(&gone, BackupCheck::Size).await;
    assert!(
        matches!(sent, Err(TransferError::Unreachable(_))),
        "{sent:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_bytes_per_second_holds_and_a_change_of_it_holds_at_once() {
    let site = Site::with(&[("a.mp4", 3 << 20), ("b.mp4", 3 << 20)]);
    let at = site.path("disk");
    std::fs::create_dir(&at).unwrap();
    let place = site.place(&settings(&at, false));
    let (limit, bandwidth) = watch::channel(4 << 20);
    let mut slow = options(BackupCheck::Size);
    slow.bandwidth = bandwidth;
    let started = Instant::now();
    let cancel = CancellationToken::new();
    let sent = place.send(site.outgoing(), &slow, &cancel, |_| {}).await;
    assert!(sent.unwrap().iter().all(Result::is_ok));
    assert!(
        started.elapsed() > Duration::from_millis(1300),
        "{:?}",
        started.elapsed()
    );
    // At a byte a second it would never end.
    limit.send_replace(1);
    let sent = place
        .send(site.outgoing(), &slow, &cancel, |progress| {
            if progress.bytes_moved > 0 {
                limit.send_replace(0);
            }
        })
        .await;
    assert!(sent.unwrap().iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_become_empty_go_with_their_last_file() {
    let site = Site::with(&[("cam/day/a.mp4", 10), ("cam/b.mp4", 10)]);
    let at = site.path("disk");
    std::fs::create_dir(&at).unwrap();
    let place = site.place(&settings(&at, false));
    site.send_whole(&place, BackupCheck::Size, &at).await;
    let cancel = CancellationToken::new();
    place
        .remove(&["cam/day/a.mp4".to_owned()], &cancel)
        .await
        .unwrap();
    assert!(!at.join("cam/day").exists());
    assert!(at.join("cam/b.mp4").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_fetch_left_goes_with_the_next_one_and_what_another_writes_stays() {
    let site = Site::with(&[("cam/a.mp4", 10)]);
    let at = site.path("disk");
    std::fs::create_dir(&at).unwrap();
    let place = site.place(&settings(&at, false));
    site.send_whole(&place, BackupCheck::Size, &at).await;
    let wanted = site.wanted();
    let back = site.path("back");
    let (left, held) = (
        back.join(".0.mp4.0123456789abcdef.part"),
        back.join(".1.mp4.0123456789abcdef.part"),
    );
    std::fs::write(&left, "half").unwrap();
    std::fs::write(&held, "half").unwrap();
    let lock = std::fs::File::open(&held).unwrap();
    lock.lock().unwrap();
    let (_limit, bandwidth) = watch::channel(0);
    let cancel = CancellationToken::new();
    let fetched = place
        .fetch(&wanted, 1, bandwidth, &cancel, |_| {})
        .await
        .unwrap();
    assert!(fetched[0].is_ok(), "{fetched:?}");
    assert!(!left.exists() && held.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_whole_when_the_time_is_over_or_the_caller_cancels_stays_and_is_told() {
    for ends_by_cancel in [false, true] {
        let site = Site::with(&[("a.mp4", 1 << 20), ("b.mp4", 1 << 20), ("c.mp4", 100 << 20)]);
        let at = site.path("disk");
        std::fs::create_dir(&at).unwrap();
        let place = site.place(&settings(&at, false));
        let (_limit, bandwidth) = watch::channel(4 << 20);
        let mut slow = options(BackupCheck::Size);
        (slow.bandwidth, slow.transfers) = (bandwidth, 1);
        if !ends_by_cancel {
            slow.deadline = Duration::from_secs(2);
        }
        let cancel = CancellationToken::new();
        let mut cancelled_at = None;
        let sent = place
            .send(site.outgoing(), &slow, &cancel, |progress| {
                if ends_by_cancel && progress.files_done == 2 {
                    cancelled_at.get_or_insert_with(Instant::now);
                    cancel.cancel();
                }
            })
            .await;
        let broken = sent.unwrap_err();
        assert!(
            match broken.cause {
                TransferError::Cancelled => ends_by_cancel,
                TransferError::TimedOut => !ends_by_cancel,
                _ => false,
            },
            "{broken:?}"
        );
        let took = cancelled_at.map(|at| at.elapsed()).unwrap_or_default();
        assert!(took < Duration::from_secs(2), "{took:?}");
        let told: Vec<bool> = broken
            .outcomes
            .iter()
            .map(|outcome| matches!(outcome, Some(Ok(_))))
            .collect();
        assert_eq!(told, [true, true, false], "{broken:?}");
        assert!(tree(&at).keys().eq(["a.mp4", "b.mp4"]));
        site.check_left();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_is_cancelled_removes_nothing_more() {
    const FILES: usize = 3_000;
    let site = Site::with(&[]);
    let at = site.path("disk");
    std::fs::create_dir(&at).unwrap();
    let paths: Vec<String> = (0..FILES).map(|number| format!("{number}.mp4")).collect();
    for path in &paths {
        std::fs::write(at.join(path), b"").unwrap();
    }
    let place = site.place(&settings(&at, false));
    let left = || std::fs::read_dir(&at).unwrap().count();
    let cancel = CancellationToken::new();
    let removed = tokio::join!(place.remove(&paths, &cancel), async {
        while left() == FILES {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    })
    .0;
    let at_return = left();
    assert!(
        matches!(removed, Err(TransferError::Cancelled)),
        "{removed:?}"
    );
    // The file that it was at may still go.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(left() > 0 && at_return - left() <= 1);
}
