//! Disks that fill, keys that change, sources that are others than they were: what failed is told, and nothing half is believed whole.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use heldar_footage::domain::backup::destination::{
    DestinationSettings, FtpTls, LocalSettings, PauseReason, Secret, SftpSettings,
};
use heldar_footage::domain::backup::object::{BackupCheck, BackupFaultKind};
use heldar_footage::transfer::{Place, TransferError, host_keys, rclone_version};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::servers::{OpenSsh, ProFtpd, RcloneS3, certificate, text};
use crate::small_disk::SmallDisk;
use crate::{Site, options, outgoing, sha256, tree};

fn reason(error: TransferError) -> PauseReason {
    match error {
        TransferError::Paused { reason, .. } => reason,
        error => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_key_pauses() {
    let site = Site::usual();
    let mut server = OpenSsh::start();
    let settings = DestinationSettings::Sftp(server.settings());
    let place = site.place(&settings);
    site.send_whole(&place, BackupCheck::Size, &server.files)
        .await;
    server.restart(true);
    let error = site.send(&place, BackupCheck::Size).await.unwrap_err();
    assert_eq!(reason(error), PauseReason::HostChanged);
    let keys = host_keys(
        "127.0.0.1",
        server.port,
        Duration::from_secs(5),
        &CancellationToken::new(),
    )
    .await
    .unwrap();
    let mut known = server.settings().host_keys;
    known.sort();
    assert_eq!(keys, known);
    let trial = place.trial(&CancellationToken::new()).await;
    assert_eq!(trial.host_keys, known);
    assert_eq!(reason(trial.error.unwrap()), PauseReason::HostChanged);
    let refused = host_keys(
        "127.0.0.1",
        1,
        Duration::from_secs(2),
        &CancellationToken::new(),
    )
    .await;
    assert!(
        matches!(refused, Err(TransferError::Unreachable(_))),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_certificate_pauses_and_a_server_without_tls_is_refused() {
    let site = Site::with(&[("cam/a.mp4", 1000)]);
    let server = ProFtpd::start("secret", FtpTls::Explicit);
    let other = tempfile::tempdir().unwrap();
    let mut settings = server.settings();
    settings.ca_certificates = text(&certificate(other.path()).1);
    let place = site.place(&DestinationSettings::Ftp(settings));
    let error = site.send(&place, BackupCheck::Size).await.unwrap_err();
    assert_eq!(reason(error), PauseReason::HostChanged);
    let plain = ProFtpd::start("secret", FtpTls::None);
    let mut settings = plain.settings();
    settings.tls = FtpTls::Explicit;
    let place = site.place(&DestinationSettings::Ftp(settings));
    let sent = site.send(&place, BackupCheck::Size).await;
    assert!(sent.is_err(), "{sent:?}");
    assert!(tree(&plain.files).is_empty());
}

/// Places that write into a folder of this machine, by OpenSSH, FTP and directly.
fn places_at(site: &Site, at: &Path, ssh: &OpenSsh, ftp: &ProFtpd) -> [Place; 3] {
    let sftp = SftpSettings {
        path: at.display().to_string(),
        ..ssh.settings()
    };
    let mut to_ftp = ftp.settings();
    to_ftp.path = at.strip_prefix(&ftp.files).unwrap().display().to_string();
    [
        site.place(&DestinationSettings::Sftp(sftp)),
        site.place(&DestinationSettings::Ftp(to_ftp)),
        site.place(&DestinationSettings::Local(LocalSettings {
            path: at.display().to_string(),
            require_mount: false,
        })),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_destination_pauses_and_keeps_what_is_whole_and_nothing_half() {
    let (ssh, ftp) = (OpenSsh::start(), ProFtpd::start("secret", FtpTls::Explicit));
    let disk = SmallDisk::mount(ftp.files.join("disk"), 2 << 20);
    let site = Site::with(&[("cam/a.mp4", 100), ("cam/b.mp4", 5 << 20)]);
    for place in places_at(&site, &disk.at, &ssh, &ftp) {
        // One after the other, so that the first is whole when the second has no room.
        let mut one_by_one = options(BackupCheck::Hash);
        one_by_one.transfers = 1;
        let cancel = CancellationToken::new();
        let broken = place
            .send(site.outgoing(), &one_by_one, &cancel, |_| {})
            .await
            .unwrap_err();
        assert_eq!(reason(broken.cause), PauseReason::Full);
        let kept = broken.outcomes[0].as_ref().expect("it is known");
        assert_eq!(
            kept.as_ref().unwrap().sha256,
            sha256(&site.files["cam/a.mp4"])
        );
        assert!(!matches!(broken.outcomes[1], Some(Ok(_))));
        let left = tree(&disk.at);
        assert!(left.keys().eq(["cam/a.mp4"]), "{:?}", left.keys());
        site.check_left();
        let _ = std::fs::remove_dir_all(disk.at.join("cam"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_turned_read_only_pauses() {
    let (ssh, ftp) = (OpenSsh::start(), ProFtpd::start("secret", FtpTls::Explicit));
    let at = ftp.files.join("disk");
    let disk = SmallDisk::mount(at.clone(), 20 << 20);
    let mut mount = Command::new("mount");
    mount.args(["-o", "remount,ro"]).arg(&at);
    assert!(mount.status().unwrap().success());
    let site = Site::with(&[("a.mp4", 100), ("cam/b.mp4", 200)]);
    for place in places_at(&site, &at, &ssh, &ftp) {
        let error = site.send(&place, BackupCheck::Size).await.unwrap_err();
        assert_eq!(reason(error), PauseReason::ReadOnly);
        site.check_left();
    }
    drop(disk);
}

/// This server of S3 says only that something is wrong inside of it when its disk is full or read-only.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_full_or_read_only_keeps_nothing_half_and_takes_all_when_there_is_room() {
    let site = Site::with(&[("cam/a.mp4", 100), ("cam/b.mp4", 5 << 20)]);
    let server = RcloneS3::start("secret");
    let disk = SmallDisk::mount(server.files.clone(), 2 << 20);
    let place = site.place(&DestinationSettings::S3(server.settings()));
    let at = server.files.join("cameras/all");
    let is_nothing_half = || {
        for (path, bytes) in tree(&at) {
            assert_eq!(bytes, site.files[&path], "{path}");
        }
    };
    let sent = site.send(&place, BackupCheck::Hash).await;
    assert!(!sent.is_ok_and(|sent| sent.iter().all(Result::is_ok)));
    is_nothing_half();
    disk.resize(20 << 20);
    let remount = |how: &str| {
        let mut mount = Command::new("mount");
        mount.args(["-o", how]).arg(&disk.at);
        assert!(mount.status().unwrap().success());
    };
    remount("remount,ro");
    let sent = site.send(&place, BackupCheck::Hash).await;
    assert!(!sent.is_ok_and(|sent| sent.iter().all(Result::is_ok)));
    is_nothing_half();
    remount("remount,rw");
    site.send_whole(&place, BackupCheck::Hash, &at).await;
}

/// A disk of this machine that fills while files are brought back.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_when_files_come_back_is_this_machines_and_not_the_destinations() {
    let (ssh, ftp) = (OpenSsh::start(), ProFtpd::start("secret", FtpTls::Explicit));
    let at = ftp.files.join("disk");
    std::fs::create_dir(&at).unwrap();
    let site = Site::with(&[("cam/a.mp4", 5 << 20)]);
    let _disk = SmallDisk::mount(site.path("back"), 2 << 20);
    for place in places_at(&site, &at, &ssh, &ftp) {
        site.send_whole(&place, BackupCheck::Size, &at).await;
        let (_limit, bandwidth) = watch::channel(0);
        let cancel = CancellationToken::new();
        let fetched = place
            .fetch(&site.wanted(), 1, bandwidth, &cancel, |_| {})
            .await;
        assert!(
            matches!(&fetched, Err(TransferError::Io(error)) if error.kind() == std::io::ErrorKind::StorageFull),
            "{fetched:?}"
        );
        assert!(tree(&site.path("back")).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_not_what_it_was_is_a_fault_of_its_own() {
    let site = Site::with(&[("cam/a.mp4", 1000), ("cam/b.mp4", 2000)]);
    let server = OpenSsh::start();
    let local = site.path("disk");
    std::fs::create_dir(&local).unwrap();
    for settings in [
        DestinationSettings::Sftp(server.settings()),
        DestinationSettings::Local(LocalSettings {
            path: local.display().to_string(),
            require_mount: false,
        }),
    ] {
        let place = site.place(&settings);
        let mut batch = site.outgoing();
        batch[1].size_bytes += 1;
        batch.push(outgoing(site.folder.path(), "cam/a.mp4", b"again"));
        batch.push(outgoing(site.folder.path(), "cam/../../x", b"out"));
        let cancel = CancellationToken::new();
        let sent = place
            .send(batch, &options(BackupCheck::Hash), &cancel, |_| {})
            .await
            .unwrap();
        let kinds: Vec<_> = sent
            .iter()
            .map(|sent| sent.as_ref().err().map(|fault| fault.kind))
            .collect();
        let expected = [
            None,
            Some(BackupFaultKind::SourceUnreadable),
            Some(BackupFaultKind::NameTaken),
            Some(BackupFaultKind::NameUnsafe),
        ];
        assert_eq!(kinds, expected, "{settings:?}");
    }
    for at in [&server.files, &local] {
        let names: Vec<_> = tree(at).into_keys().collect();
        assert_eq!(names, ["cam/a.mp4"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rclone_that_is_missing_or_too_old_is_told_and_local_folders_never_ask() {
    let site = Site::with(&[("a.mp4", 10)]);
    let old = site.path("old-rclone");
    std::fs::write(&old, "#!/bin/sh\necho 'rclone v1.60.1-DEV'\n").unwrap();
    assert!(
        Command::new("chmod")
            .arg("755")
            .arg(&old)
            .status()
            .unwrap()
            .success()
    );
    let cancel = CancellationToken::new();
    let found = rclone_version(old.as_os_str(), &cancel).await;
    assert!(
        matches!(&found, Err(TransferError::RcloneTooOld { found, .. }) if found == "1.60.1-DEV"),
        "{found:?}"
    );
    let server = OpenSsh::start();
    let mut engine = site.engine();
    engine.rclone = site.path("no-rclone").into();
    let settings = DestinationSettings::Sftp(server.settings());
    let place = Place::open(&settings, &engine).unwrap();
    let sent = site.send(&place, BackupCheck::Size).await;
    assert!(
        matches!(sent, Err(TransferError::RcloneMissing { .. })),
        "{sent:?}"
    );
    let local = site.path("disk");
    std::fs::create_dir(&local).unwrap();
    let settings = DestinationSettings::Local(LocalSettings {
        path: local.display().to_string(),
        require_mount: false,
    });
    let place = Place::open(&settings, &engine).unwrap();
    site.send_whole(&place, BackupCheck::ReadBack, &local).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_lack_something_are_refused_before_anything_is_done() {
    let site = Site::usual();
    let server = OpenSsh::start();
    let refused = |settings: SftpSettings| {
        let opened = Place::open(&DestinationSettings::Sftp(settings), &site.engine());
        assert!(matches!(opened, Err(TransferError::Settings(_))));
    };
    refused(SftpSettings {
        host: String::new(),
        ..server.settings()
    });
    refused(SftpSettings {
        private_key: Secret::default(),
        ..server.settings()
    });
    assert!(!site.path("scratch").exists());
}
