//! Batches that end in their middle: a server or rclone dies or stands still, a caller cancels, the time is over.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use heldar_footage::domain::backup::destination::{DestinationSettings, FtpTls, LocalSettings};
use heldar_footage::domain::backup::object::BackupCheck;
use heldar_footage::transfer::{BatchProgress, Outgoing, Place, TransferError, is_unfinished};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::servers::{OpenSsh, ProFtpd, RcloneS3, descendants};
use crate::{Site, command_lines, options, tree};

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([name, &pid.to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// The rclone that works for a site at this moment.
fn rclone_of(site: &Site) -> Option<u32> {
    let scratch = site.path("scratch").display().to_string();
    let ours = descendants(std::process::id());
    command_lines()
        .into_iter()
        .find(|(pid, line)| line.contains(&scratch) && ours.contains(pid))
        .map(|(pid, _)| pid)
}

/// Sends slowly, does something once bytes move, and answers how it ended.
async fn disturbed(
    batch: Vec<Outgoing>,
    place: &Place,
    stall_limit: Duration,
    cancel: &CancellationToken,
    mut disturb: impl FnMut() + Send,
) -> (Result<usize, TransferError>, BatchProgress) {
    let (_limit, bandwidth) = watch::channel(2 << 20);
    let mut slow = options(BackupCheck::Hash);
    slow.bandwidth = bandwidth;
    slow.stall_limit = stall_limit;
    let mut is_disturbed = false;
    let mut last = BatchProgress::default();
    let sent = place
        .send(batch, &slow, cancel, |progress| {
            if progress.bytes_moved > 0 && !is_disturbed {
                is_disturbed = true;
                disturb();
            }
            last = progress;
        })
        .await;
    assert!(is_disturbed, "no byte moved: {sent:?}");
    let whole = sent
        .map(|sent| sent.iter().filter(|one| one.is_ok()).count())
        .map_err(|broken| broken.cause);
    (whole, last)
}

/// Kills a server in mid-file and starts it again: nothing half is believed, and the same batch completes.
async fn dies_in_mid_file(
    site: &Site,
    settings: &DestinationSettings,
    files: &Path,
    server: u32,
    restart: impl FnOnce(),
) {
    let place = site.place(settings);
    let batch = site.outgoing();
    let (sent, _) = disturbed(
        batch.clone(),
        &place,
        Duration::from_secs(30),
        &CancellationToken::new(),
        || {
            let mut all = descendants(server);
            all.push(server);
            // Together, so that none of them can still end the connections in order.
            let mut kill = Command::new("kill");
            kill.arg("-KILL").args(all.iter().map(u32::to_string));
            assert!(kill.status().unwrap().success());
        },
    )
    .await;
    assert!(
        matches!(sent, Err(TransferError::Unreachable(_))),
        "{sent:?}"
    );
    for (path, bytes) in tree(files) {
        assert!(is_unfinished(&path) || bytes == site.files[&path], "{path}");
    }
    restart();
    let cancel = CancellationToken::new();
    let sent = place
        .send(batch, &options(BackupCheck::Hash), &cancel, |_| {})
        .await
        .unwrap();
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    // What was half there has become whole: the same source has the same unfinished name.
    assert_eq!(tree(files), site.files);
    site.check_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_sftp_that_dies_in_mid_file_leaves_nothing_that_is_believed() {
    let site = Site::with(&[("cam/a.mp4", 6 << 20), ("cam/b.mp4", 6 << 20)]);
    let mut server = OpenSsh::start();
    let settings = DestinationSettings::Sftp(server.settings());
    let (files, pid) = (server.files.clone(), server.running.pid());
    dies_in_mid_file(&site, &settings, &files, pid, || server.restart(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_ftp_that_dies_in_mid_file_leaves_nothing_that_is_believed() {
    let site = Site::with(&[("cam/a.mp4", 6 << 20), ("cam/b.mp4", 6 << 20)]);
    let mut server = ProFtpd::start("secret", FtpTls::Explicit);
    let settings = DestinationSettings::Ftp(server.settings());
    let (files, pid) = (server.files.clone(), server.running.pid());
    dies_in_mid_file(&site, &settings, &files, pid, || server.restart()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rclone_that_is_killed_is_started_again() {
    let site = Site::with(&[("cam/a.mp4", 6 << 20)]);
    let server = OpenSsh::start();
    let place = site.place(&DestinationSettings::Sftp(server.settings()));
    let (sent, progress) = disturbed(
        site.outgoing(),
        &place,
        Duration::from_secs(30),
        &CancellationToken::new(),
        || signal(rclone_of(&site).expect("rclone runs"), "-KILL"),
    )
    .await;
    assert_eq!(sent.unwrap(), 1);
    assert_eq!(progress.retries, 1);
    assert_eq!(tree(&server.files), site.files);
    site.check_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_batch_ends_within_two_seconds_and_leaves_nothing() {
    let site = Site::with(&[("cam/a.mp4", 20 << 20), ("cam/b.mp4", 20 << 20)]);
    let (ssh, ftp, s3) = (
        OpenSsh::start(),
        ProFtpd::start("secret", FtpTls::Explicit),
        RcloneS3::start("secret"),
    );
    let local = site.path("disk");
    std::fs::create_dir(&local).unwrap();
    let to_local = LocalSettings {
        path: local.display().to_string(),
        require_mount: false,
    };
    for (settings, at) in [
        (DestinationSettings::Sftp(ssh.settings()), &ssh.files),
        (DestinationSettings::Ftp(ftp.settings()), &ftp.files),
        (DestinationSettings::S3(s3.settings()), &s3.files),
        (DestinationSettings::Local(to_local), &local),
    ] {
        let place = site.place(&settings);
        let cancel = CancellationToken::new();
        let mut cancelled_at = None;
        let (sent, _) = disturbed(
            site.outgoing(),
            &place,
            Duration::from_secs(30),
            &cancel,
            || {
                cancelled_at = Some(Instant::now());
                cancel.cancel();
            },
        )
        .await;
        assert!(
            matches!(sent, Err(TransferError::Cancelled)),
            "{settings:?}: {sent:?}"
        );
        let took = cancelled_at.unwrap().elapsed();
        assert!(took < Duration::from_secs(2), "{settings:?}: {took:?}");
        site.check_left();
        let left = tree(at);
        // A server may keep a temporary file of its own until it notices that the sender went.
        assert!(
            left.keys().all(|path| path.contains(".rclone_temp_put_")),
            "{settings:?}: {:?}",
            left.keys()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_ends_the_batch() {
    let site = Site::with(&[("cam/a.mp4", 20 << 20)]);
    let server = OpenSsh::start();
    let place = site.place(&DestinationSettings::Sftp(server.settings()));
    let stopped = server.running.pid();
    let mut children = Vec::new();
    let (sent, _) = disturbed(
        site.outgoing(),
        &place,
        Duration::from_secs(3),
        &CancellationToken::new(),
        || {
            children = descendants(stopped);
            children.push(stopped);
            for pid in &children {
                signal(*pid, "-STOP");
            }
        },
    )
    .await;
    for pid in &children {
        signal(*pid, "-CONT");
    }
    assert!(
        matches!(
            sent,
            Err(TransferError::Stalled(3) | TransferError::Unreachable(_))
        ),
        "{sent:?}"
    );
    assert!(!server.files.join("cam/a.mp4").exists());
    site.check_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_takes_too_long_ends() {
    let site = Site::with(&[("cam/a.mp4", 20 << 20)]);
    let server = OpenSsh::start();
    let place = site.place(&DestinationSettings::Sftp(server.settings()));
    let mut slow = options(BackupCheck::Size);
    let (_limit, bandwidth) = watch::channel(1 << 20);
    slow.bandwidth = bandwidth;
    slow.deadline = Duration::from_secs(2);
    let sent = place
        .send(site.outgoing(), &slow, &CancellationToken::new(), |_| {})
        .await
        .map_err(|broken| broken.cause);
    assert!(matches!(sent, Err(TransferError::TimedOut)), "{sent:?}");
    assert!(tree(&server.files).is_empty());
    site.check_left();
}
