//! There and back, for every kind of destination and with every check.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use heldar_footage::domain::backup::destination::{
    DestinationSettings, FtpTls, LocalSettings, PauseReason, RcloneSettings,
};
use heldar_footage::domain::backup::network::AllowedNetworks;
use heldar_footage::domain::backup::object::{BackupCheck, BackupFaultKind};
use heldar_footage::transfer::{Outgoing, Place, TransferError, check_host, host_keys, host_of};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::servers::{OpenSsh, ProFtpd, RcloneS3, RcloneSftp, has_ipv6};
use crate::{Content, Site, noise, options, sha256, tree};

/// Sends, checks, lists, brings back and removes. `at`: where the destination keeps its files on this machine.
async fn there_and_back(site: &Site, place: &Place, at: &Path) {
    let cancel = CancellationToken::new();
    for check in BackupCheck::ALL {
        site.send_whole(place, check, at).await;
        let checked = place
            .check(&site.expected(), check, &cancel, |_| {})
            .await
            .unwrap();
        for (checked, path) in checked.iter().zip(site.files.keys()) {
            let passed = checked
                .as_ref()
                .unwrap_or_else(|fault| panic!("{path}: {fault:?}"));
            assert!(*passed >= check, "{path}: {passed:?}");
        }
    }
    let mut listed = BTreeMap::new();
    place
        .list("", &cancel, |file| {
            listed.insert(file.path, file.size_bytes);
            Ok(())
        })
        .await
        .unwrap();
    let sizes: BTreeMap<_, _> = site
        .files
        .iter()
        .map(|(path, bytes)| (path.clone(), bytes.len() as u64))
        .collect();
    assert_eq!(listed, sizes);
    what_is_there_already_stays(site, place, at).await;
    faults_are_found(site, place, at).await;
    small_files(place, &cancel).await;
    let paths: Vec<_> = site
        .files
        .keys()
        .cloned()
        .chain(["none/none".to_owned()])
        .collect();
    let removed = place.remove(&paths, &cancel).await.unwrap();
    assert!(removed.iter().all(Result::is_ok), "{removed:?}");
    assert_eq!(tree(at), BTreeMap::new());
    let trial = place.trial(&cancel).await;
    assert!(trial.error.is_none(), "{trial:?}");
    assert!(trial.is_listed && trial.is_written && trial.is_read_back && trial.is_deleted);
    assert_eq!(tree(at), BTreeMap::new());
    site.check_left();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "sends a GiB, which takes a minute"]
async fn an_object_that_s3_gets_in_several_parts_is_believed_only_after_it_was_read_back() {
    let (site, s3) = (Site::with(&[]), RcloneS3::start("only-for-this-run"));
    let place = site.place(&DestinationSettings::S3(s3.settings()));
    let size_bytes = (1 << 30) + 1;
    let file = tempfile::tempfile_in(site.path("")).unwrap();
    file.set_len(size_bytes).unwrap();
    let batch = vec![Outgoing {
        file: Arc::new(file),
        path: "gate/large.mp4".to_owned(),
        size_bytes,
        is_evidence: false,
        replaces: false,
    }];
    let cancel = CancellationToken::new();
    let sent = place
        .send(batch, &options(BackupCheck::Hash), &cancel, |_| {})
        .await
        .unwrap();
    // The ETag of such an object is no MD5 of its bytes.
    let check = sent[0].as_ref().map(|stored| stored.check);
    assert_eq!(check, Ok(BackupCheck::ReadBack));
    let at = s3.files.join("cameras/all/gate/large.mp4");
    assert_eq!(at.metadata().unwrap().len(), size_bytes);
    site.check_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_may_be_an_address_of_ipv6() {
    if !has_ipv6() {
        eprintln!("this machine has no ::1, so that nothing can be tried there");
        return;
    }
    let site = Site::with(&[]);
    let cancel = CancellationToken::new();
    let (ssh, ftp, s3) = (
        OpenSsh::start(),
        ProFtpd::start("secret", FtpTls::None),
        RcloneS3::start("only-for-this-run"),
    );
    let mut s3_settings = s3.settings();
    s3_settings.endpoint = format!("http://[::1]:{}", s3.port);
    let mut all = vec![DestinationSettings::S3(s3_settings)];
    for host in ["::1", "[::1]"] {
        let mut ssh = ssh.settings();
        host.clone_into(&mut ssh.host);
        let keys = host_keys(host, ssh.port, Duration::from_secs(20), &cancel).await;
        assert_eq!(keys.unwrap().len(), ssh.host_keys.len(), "{host}");
        all.push(DestinationSettings::Sftp(ssh));
    }
    let mut ftp_settings = ftp.settings();
    ftp_settings.host = "::1".to_owned();
    all.push(DestinationSettings::Ftp(ftp_settings));
    for settings in all {
        let (host, port) = host_of(&settings).unwrap().unwrap();
        let loopback = AllowedNetworks::parse("::1/128").unwrap();
        check_host(&loopback, &host, port).await.unwrap();
        let trial = site.place(&settings).trial(&cancel).await;
        assert!(trial.error.is_none(), "{host}: {trial:?}");
        assert!(trial.is_deleted, "{host}: {trial:?}");
    }
    site.check_left();
}

/// A file that is not to be replaced counts as sent when the same bytes stand there, and else is left as it is.
async fn what_is_there_already_stays(site: &Site, place: &Place, at: &Path) {
    let names: Vec<&String> = site
        .files
        .keys()
        .filter(|path| site.files[*path].len() > 10)
        .collect();
    let (others, longer) = (names[0], names[1]);
    let mut bytes = site.files[others].to_vec();
    bytes[7] ^= 1;
    std::fs::write(at.join(others), &bytes).unwrap();
    std::fs::write(at.join(longer), [&site.files[longer][..], b"more"].concat()).unwrap();
    let before = tree(at);
    for check in BackupCheck::ALL {
        let batch = site.outgoing().into_iter().map(|file| Outgoing {
            replaces: false,
            ..file
        });
        let sent = place
            .send(
                batch.collect(),
                &options(check),
                &CancellationToken::new(),
                |_| {},
            )
            .await
            .unwrap();
        for (sent, path) in sent.iter().zip(site.files.keys()) {
            let kind = sent.as_ref().err().map(|fault| fault.kind);
            let is_taken = [others, longer].contains(&path);
            assert_eq!(
                kind,
                is_taken.then_some(BackupFaultKind::NameTaken),
                "{path} by {check:?}"
            );
        }
        assert!(tree(at) == before, "something was written by {check:?}");
    }
    for path in [others, longer] {
        std::fs::write(at.join(path), &site.files[path][..]).unwrap();
    }
}

/// A file that is gone, one that is shorter and one of which a bit differs are told apart, and none of them comes back.
async fn faults_are_found(site: &Site, place: &Place, at: &Path) {
    let cancel = CancellationToken::new();
    let names: Vec<&String> = site
        .files
        .keys()
        .filter(|path| site.files[*path].len() > 10)
        .collect();
    let (gone, shorter, rotten) = (names[0], names[1], names[2]);
    std::fs::remove_file(at.join(gone)).unwrap();
    std::fs::write(at.join(shorter), &site.files[shorter][1..]).unwrap();
    let mut bytes = site.files[rotten].to_vec();
    bytes[7] ^= 1;
    std::fs::write(at.join(rotten), &bytes).unwrap();
    for check in BackupCheck::ALL {
        let checked = place
            .check(&site.expected(), check, &cancel, |_| {})
            .await
            .unwrap();
        for (checked, path) in checked.iter().zip(site.files.keys()) {
            let kind = checked.as_ref().err().map(|fault| fault.kind);
            let expected = match path {
                path if path == gone => Some(BackupFaultKind::ObjectMissing),
                path if path == shorter => Some(BackupFaultKind::ObjectChanged),
                path if path == rotten && check > BackupCheck::Size => {
                    Some(BackupFaultKind::ObjectChanged)
                }
                _ => None,
            };
            assert_eq!(kind, expected, "{path} by {check:?}");
            if path == rotten
                && let Err(fault) = checked
            {
                assert_eq!(fault.found_sha256, Some(sha256(&bytes)));
            }
        }
    }
    let wanted = site.wanted();
    let (_bandwidth, limit) = watch::channel(0);
    let fetched = place
        .fetch(&wanted, 4, limit, &cancel, |_| {})
        .await
        .unwrap();
    for ((fetched, wanted), (path, bytes)) in fetched.iter().zip(&wanted).zip(&site.files) {
        if [gone, shorter, rotten].contains(&path) {
            assert!(fetched.is_err(), "{path}");
            assert!(!wanted.target.exists(), "{path}");
        } else {
            assert_eq!(fetched, &Ok(()), "{path}");
            assert!(std::fs::read(&wanted.target).unwrap() == bytes.0, "{path}");
        }
    }
    let back = site.path("back");
    assert_eq!(
        std::fs::read_dir(&back).unwrap().count(),
        site.files.len() - 3
    );
    std::fs::remove_dir_all(back).unwrap();
}

/// What a fetch left that was killed goes with the next one into the same folder; one that is under way is left alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_fetch_left_goes_with_the_next_one() {
    let site = Site::usual();
    let server = OpenSsh::start();
    let place = site.place(&DestinationSettings::Sftp(server.settings()));
    site.send_whole(&place, BackupCheck::Size, &server.files)
        .await;
    let wanted = site.wanted();
    let [left, used] = ["0123456789abcdef", "fedcba9876543210"].map(|random| {
        let folder = site.path("back").join(format!(".fetch.{random}.part"));
        std::fs::create_dir_all(folder.join("cam")).unwrap();
        std::fs::write(folder.join("cam/half.mp4"), "half").unwrap();
        folder
    });
    let lock = File::open(&used).unwrap();
    lock.lock().unwrap();
    let (_bandwidth, limit) = watch::channel(0);
    let fetched = place
        .fetch(&wanted, 4, limit, &CancellationToken::new(), |_| {})
        .await
        .unwrap();
    assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
    assert!(!left.exists() && used.join("cam/half.mp4").exists());
}

async fn small_files(place: &Place, cancel: &CancellationToken) {
    let path = "ledger/0001.jsonl";
    assert_eq!(place.get(path, 100, cancel).await.unwrap(), None);
    place.put(path, b"{}\n", None, cancel).await.unwrap();
    assert_eq!(place.get(path, 3, cancel).await.unwrap().unwrap(), b"{}\n");
    // Started before it is known what is written; and once for nothing.
    let second = "ledger/0002.jsonl";
    let early = place.start_put(cancel).await;
    place.put(second, b"[]\n", early, cancel).await.unwrap();
    drop(place.start_put(cancel).await);
    let read = place.get(second, 3, cancel).await.unwrap();
    assert_eq!(read.unwrap(), b"[]\n");
    let refused = place.get(path, 2, cancel).await;
    assert!(
        matches!(refused, Err(TransferError::Failed { .. })),
        "{refused:?}"
    );
    let both = [path.to_owned(), second.to_owned()];
    let removed = place.remove(&both, cancel).await.unwrap();
    assert_eq!(removed, [Ok(()), Ok(())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_folder_gets_all_and_gives_all_back() {
    let site = Site::usual();
    let at = site.path("disk");
    std::fs::create_dir(&at).unwrap();
    let place = site.place(&DestinationSettings::Local(LocalSettings {
        path: at.display().to_string(),
        require_mount: false,
    }));
    there_and_back(&site, &place, &at).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_openssh_server_gets_all_and_gives_all_back() {
    let site = Site::usual();
    let server = OpenSsh::start();
    let place = site.place(&DestinationSettings::Sftp(server.settings()));
    there_and_back(&site, &place, &server.files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_a_passphrase_and_a_single_pinned_host_key_of_any_kind_are_enough() {
    let site = Site::usual();
    let server = OpenSsh::start();
    for index in 0..3 {
        let mut settings = server.settings_with_passphrase();
        settings.host_keys = vec![settings.host_keys[index].clone()];
        let place = site.place(&DestinationSettings::Sftp(settings));
        site.send_whole(&place, BackupCheck::Size, &server.files)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sftp_server_gets_all_and_gives_all_back() {
    let site = Site::usual();
    let server = RcloneSftp::start("camera", "secret");
    let place = site.place(&DestinationSettings::Sftp(server.settings()));
    there_and_back(&site, &place, &server.files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_server_gets_all_and_gives_all_back() {
    let site = Site::usual();
    let server = RcloneS3::start("secret");
    let place = site.place(&DestinationSettings::S3(server.settings()));
    let at = server.files.join("cameras/all");
    std::fs::create_dir_all(&at).unwrap();
    there_and_back(&site, &place, &at).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_server_behind_tls_is_spoken_to_only_with_a_certificate_that_is_trusted() {
    let site = Site::usual();
    let server = RcloneS3::start_with_tls("secret");
    let mut settings = server.settings();
    let place = site.place(&DestinationSettings::S3(settings.clone()));
    there_and_back(&site, &place, &server.files.join(&settings.prefix)).await;
    settings.ca_certificates = String::new();
    let place = site.place(&DestinationSettings::S3(settings));
    let refused = site.send(&place, BackupCheck::Size).await;
    assert!(
        matches!(
            refused,
            Err(TransferError::Paused {
                reason: PauseReason::HostChanged,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ftp_server_gets_all_and_gives_all_back_with_tls_of_both_kinds_and_without() {
    for tls in [FtpTls::Explicit, FtpTls::Implicit, FtpTls::None] {
        let site = Site::usual();
        let server = ProFtpd::start("secret", tls);
        let place = site.place(&DestinationSettings::Ftp(server.settings()));
        there_and_back(&site, &place, &server.files).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_of_the_operators_configuration_gets_all_and_gives_all_back() {
    let site = Site::usual();
    let at = site.path("disk");
    std::fs::create_dir(&at).unwrap();
    let config = site.path("rclone.conf");
    std::fs::write(&config, "[nas]\ntype = alias\nremote = /\n").unwrap();
    let mut engine = site.engine();
    engine.rclone_config = Some(config);
    let settings = DestinationSettings::Rclone(RcloneSettings {
        remote: "nas".to_owned(),
        path: at.display().to_string(),
    });
    let place = Place::open(&settings, &engine).unwrap();
    there_and_back(&site, &place, &at).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_files_in_many_new_folders_arrive_together() {
    let mut site = Site::with(&[]);
    for index in 0..300_u64 {
        let path = format!("cam_{}/2026-11-{:02}/{index}.mp4", index % 5, index % 28);
        site.files.insert(path, Content(noise(index, 2000)));
    }
    let server = ProFtpd::start("secret", FtpTls::Explicit);
    let place = site.place(&DestinationSettings::Ftp(server.settings()));
    site.send_whole(&place, BackupCheck::Size, &server.files)
        .await;
    let server = OpenSsh::start();
    let place = site.place(&DestinationSettings::Sftp(server.settings()));
    site.send_whole(&place, BackupCheck::Hash, &server.files)
        .await;
}

/// Many files of one folder are looked for by a listing of it, few by asking for each.
#[tokio::test(flavor = "multi_thread")]
async fn among_many_new_files_what_stands_there_stays_and_all_else_arrives() {
    let mut site = Site::with(&[]);
    let path = |index: u64| format!("cam/2026-11-22/{index:03}.mp4");
    for index in 0..150 {
        let length = if index == 2 { 0 } else { 3000 };
        site.files
            .insert(path(index), Content(noise(index, length)));
    }
    let (ssh, s3) = (OpenSsh::start(), RcloneS3::start("secret"));
    let in_bucket = s3.files.join("cameras/all");
    for (settings, at) in [
        (DestinationSettings::Sftp(ssh.settings()), ssh.files.clone()),
        (DestinationSettings::S3(s3.settings()), in_bucket),
    ] {
        let place = site.place(&settings);
        let others = [(path(0), 3000), (path(1), 7), (path(2), 1)];
        std::fs::create_dir_all(at.join("cam/2026-11-22")).unwrap();
        for (path, length) in &others {
            std::fs::write(at.join(path), noise(1000, *length)).unwrap();
        }
        // One that is there already, as after a run that was killed, and one that the ledger knows.
        std::fs::write(at.join(path(3)), &site.files[&path(3)][..]).unwrap();
        std::fs::write(at.join(path(4)), "an earlier state").unwrap();
        for check in BackupCheck::ALL {
            let batch = site.outgoing().into_iter().map(|file| Outgoing {
                replaces: file.path == path(4),
                ..file
            });
            let (batch, cancel) = (batch.collect(), CancellationToken::new());
            let sent = place.send(batch, &options(check), &cancel, |_| {}).await;
            for (sent, name) in sent.unwrap().iter().zip(site.files.keys()) {
                let kind = sent.as_ref().err().map(|fault| fault.kind);
                let is_taken = others.iter().any(|(path, _)| path == name);
                let wanted = is_taken.then_some(BackupFaultKind::NameTaken);
                assert_eq!(kind, wanted, "{name} by {check:?}");
            }
            let mut wanted = site.files.clone();
            for (path, length) in &others {
                wanted.insert(path.clone(), Content(noise(1000, *length)));
            }
            assert!(tree(&at) == wanted, "other files by {check:?}");
        }
    }
    site.check_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_written_over() {
    let mut site = Site::usual();
    let server = OpenSsh::start();
    let place = site.place(&DestinationSettings::Sftp(server.settings()));
    site.send_whole(&place, BackupCheck::Hash, &server.files)
        .await;
    for (seed, bytes) in site.files.values_mut().enumerate() {
        *bytes = Content(noise(seed as u64 + 100, bytes.len() / 2));
    }
    site.send_whole(&place, BackupCheck::Hash, &server.files)
        .await;
}
