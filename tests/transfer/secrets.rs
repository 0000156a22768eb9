//! Secrets get where they are needed and nowhere else, whatever characters they have.

use std::path::Path;

use heldar_footage::domain::backup::destination::{
    DestinationSettings, FtpTls, PauseReason, Secret,
};
use heldar_footage::domain::backup::object::BackupCheck;
use heldar_footage::transfer::{Place, TransferError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::servers::{OpenSsh, ProFtpd, RcloneS3, RcloneSftp, descendants, every_printable};
use crate::{Site, command_lines, options};

/// A word that stands nowhere else.
const CANARY: &str = "canary'5Xq\"7,:[k]";

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_every_printable_character_works_everywhere() {
    let site = Site::with(&[("cam/a.mp4", 1000)]);
    let password = every_printable();
    let sftp = RcloneSftp::start("camera", &password);
    let place = site.place(&DestinationSettings::Sftp(sftp.settings()));
    site.send_whole(&place, BackupCheck::ReadBack, &sftp.files)
        .await;
    let ftp = ProFtpd::start(&password, FtpTls::Explicit);
    let place = site.place(&DestinationSettings::Ftp(ftp.settings()));
    site.send_whole(&place, BackupCheck::ReadBack, &ftp.files)
        .await;
    // This server cannot be told a key with a comma.
    let s3 = RcloneS3::start(&password.replace(',', ""));
    let place = site.place(&DestinationSettings::S3(s3.settings()));
    let at = s3.files.join("cameras/all");
    site.send_whole(&place, BackupCheck::ReadBack, &at).await;
}

/// Settings whose secret is refused, for each kind that has one.
fn refused() -> Vec<(DestinationSettings, Box<dyn std::any::Any>)> {
    let (sftp, ftp, s3) = (
        RcloneSftp::start("camera", "right"),
        ProFtpd::start("right", FtpTls::Explicit),
        RcloneS3::start("right"),
    );
    let (mut to_sftp, mut to_ftp, mut to_s3) = (sftp.settings(), ftp.settings(), s3.settings());
    to_sftp.password = Secret::new(CANARY);
    to_ftp.password = Secret::new(CANARY);
    to_s3.secret_key = Secret::new(CANARY);
    vec![
        (DestinationSettings::Sftp(to_sftp), Box::new(sftp)),
        (DestinationSettings::Ftp(to_ftp), Box::new(ftp)),
        (DestinationSettings::S3(to_s3), Box::new(s3)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_password_pauses_and_is_not_repeated() {
    let site = Site::with(&[("cam/a.mp4", 1000)]);
    let cancel = CancellationToken::new();
    for (settings, _server) in refused() {
        let place = site.place(&settings);
        let trial = place.trial(&cancel).await;
        let listed = place.list("", &cancel, |_| Ok(())).await;
        let sent = site.send(&place, BackupCheck::Hash).await.map(|_| ());
        for error in [Err(trial.error.unwrap()), listed, sent] {
            let error = error.unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(!text.contains("canary"), "{text}");
            let TransferError::Paused { reason, .. } = error else {
                panic!("{settings:?}: {error:?}");
            };
            assert_eq!(reason, PauseReason::LoginRefused, "{settings:?}: {text}");
        }
        site.check_left();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_line_shows_a_secret_while_files_are_sent() {
    // So large for the limit that rclone says several times how far it is.
    let site = Site::with(&[("cam/a.mp4", 3 << 20)]);
    let (sftp, ftp, s3) = (
        RcloneSftp::start("camera", CANARY),
        ProFtpd::start(CANARY, FtpTls::Explicit),
        RcloneS3::start("canary5Xq7"),
    );
    let ssh = OpenSsh::start();
    for settings in [
        DestinationSettings::Sftp(sftp.settings()),
        DestinationSettings::Sftp(ssh.settings_with_passphrase()),
        DestinationSettings::Ftp(ftp.settings()),
        DestinationSettings::S3(s3.settings()),
    ] {
        let place = site.place(&settings);
        let scratch = site.path("scratch").display().to_string();
        let mut looks = 0;
        let (_limit, bandwidth) = watch::channel(1 << 20);
        let mut slow = options(BackupCheck::Size);
        slow.bandwidth = bandwidth;
        let sent = place
            .send(site.outgoing(), &slow, &CancellationToken::new(), |_| {
                let lines = command_lines();
                let ours = lines.iter().find(|(pid, line)| {
                    line.contains(&scratch) && descendants(std::process::id()).contains(pid)
                });
                let Some((pid, _)) = ours else { return };
                looks += 1;
                // What rclone needs is in its environment, which only its user can read.
                let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                let environment = String::from_utf8_lossy(&environment).into_owned();
                for variable in environment.split('\0') {
                    let (name, value) = variable.split_once('=').unwrap_or_default();
                    let is_secret = ["PASS", "KEY_PEM", "SECRET_ACCESS_KEY"]
                        .iter()
                        .any(|end| name.ends_with(end));
                    if is_secret {
                        assert!(
                            lines.iter().all(|(_, line)| !line.contains(value)),
                            "{name}"
                        );
                    }
                }
                let canary = lines.iter().find(|(_, line)| line.contains("canary"));
                assert_eq!(canary, None);
            })
            .await
            .unwrap();
        assert!(sent.iter().all(Result::is_ok), "{sent:?}");
        assert!(looks > 0, "rclone was never seen");
    }
}

/// Texts that mean something to a shell, to rclone's connection strings, or to its configuration.
fn tricks(mark: &Path) -> Vec<String> {
    let injected = format!(",ssh=touch \"{}\"", mark.display());
    let fixed = [
        ":local:/",
        ",type=local",
        "[x]",
        "\"quoted\"",
        "it's",
        "a,key_file=/etc/passwd",
        ":9000,env_auth=true",
        "--config=/x",
        "\ntype = local",
        "\r",
    ];
    [injected]
        .into_iter()
        .chain(fixed.map(str::to_owned))
        .collect()
}

/// Sends with settings of which one field has a trick in it. Where the field is a path, all arrives under that very name
/// at `at`; otherwise the settings or the server refuse it. Either way nothing of it is taken for an option.
async fn is_taken_literally(site: &Site, settings: &DestinationSettings, at: Option<&Path>) {
    let cancel = CancellationToken::new();
    let sent = match Place::open(settings, &site.engine()) {
        Ok(place) => {
            let options = options(BackupCheck::Size);
            place.send(site.outgoing(), &options, &cancel, |_| {}).await
        }
        Err(TransferError::Settings(_)) => return,
        Err(error) => panic!("{settings:?}: {error:?}"),
    };
    match at {
        Some(at) => {
            let sent = sent.unwrap_or_else(|broken| panic!("{at:?}: {broken:?}"));
            assert!(sent.iter().all(Result::is_ok), "{at:?}: {sent:?}");
            assert!(at.join("cam/a.mp4").is_file(), "{at:?}");
        }
        None => assert!(
            sent.is_err()
                || sent
                    .as_ref()
                    .is_ok_and(|sent| sent.iter().all(Result::is_err)),
            "{settings:?}: {sent:?}"
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_field_of_sftp_can_set_an_option_of_rclone() {
    let site = Site::with(&[("cam/a.mp4", 1000)]);
    let mark = site.path("mark");
    let server = RcloneSftp::start("camera", "right");
    for trick in tricks(&mark) {
        for field in 0..4 {
            let mut settings = server.settings();
            match field {
                0 => settings.host = format!("127.0.0.1{trick}"),
                1 => settings.user = format!("camera{trick}"),
                2 => settings.password = Secret::new(format!("right{trick}")),
                _ => settings.path = format!("folder{trick}"),
            }
            let at = (field == 3).then(|| server.files.join(&settings.path));
            let settings = DestinationSettings::Sftp(settings);
            is_taken_literally(&site, &settings, at.as_deref()).await;
            assert!(!mark.exists(), "{trick} in field {field} ran a command");
        }
    }
    site.check_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_field_of_ftp_can_set_an_option_of_rclone() {
    let site = Site::with(&[("cam/a.mp4", 1000)]);
    let mark = site.path("mark");
    let server = ProFtpd::start("right", FtpTls::Explicit);
    for trick in tricks(&mark) {
        for field in 0..4 {
            let mut settings = server.settings();
            match field {
                0 => settings.host = format!("127.0.0.1{trick}"),
                1 => settings.user = format!("camera{trick}"),
                2 => settings.password = Secret::new(format!("right{trick}")),
                _ => settings.path = format!("folder{trick}"),
            }
            let at = (field == 3).then(|| server.files.join(&settings.path));
            let settings = DestinationSettings::Ftp(settings);
            is_taken_literally(&site, &settings, at.as_deref()).await;
            assert!(!mark.exists(), "{trick} in field {field} ran a command");
        }
    }
    site.check_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_field_of_s3_can_set_an_option_of_rclone() {
    let site = Site::with(&[("cam/a.mp4", 1000)]);
    let mark = site.path("mark");
    let server = RcloneS3::start("right");
    for trick in tricks(&mark) {
        for field in 0..6 {
            let mut settings = server.settings();
            match field {
                0 => settings.endpoint.push_str(&trick),
                1 => settings.bucket.push_str(&trick),
                2 => settings.access_key.push_str(&trick),
                3 => settings.secret_key = Secret::new(format!("right{trick}")),
                4 => settings.region.push_str(&trick),
                _ => settings.prefix = format!("folder{trick}"),
            }
            let at = (field == 5).then(|| server.files.join(&settings.prefix));
            let settings = DestinationSettings::S3(settings);
            is_taken_literally(&site, &settings, at.as_deref()).await;
            assert!(!mark.exists(), "{trick} in field {field} ran a command");
        }
    }
    site.check_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_in_any_field_are_refused() {
    let site = Site::usual();
    let ssh = OpenSsh::start();
    type Change = fn(&mut heldar_footage::domain::backup::destination::SftpSettings);
    let changes: [Change; 5] = [
        |sftp| sftp.host.push('\n'),
        |sftp| sftp.user.push('\0'),
        |sftp| sftp.password = Secret::new("a\nssh = x"),
        |sftp| sftp.path.push('\r'),
        |sftp| sftp.host_keys[0].push_str("\n* ssh-ed25519 AAAA"),
    ];
    for change in &changes[..4] {
        let mut settings = ssh.settings();
        change(&mut settings);
        let opened = Place::open(&DestinationSettings::Sftp(settings), &site.engine());
        assert!(matches!(opened, Err(TransferError::Settings(_))));
    }
    // Of a key only its kind and its bytes are taken.
    let mut settings = ssh.settings();
    changes[4](&mut settings);
    let place = site.place(&DestinationSettings::Sftp(settings));
    site.send_whole(&place, BackupCheck::Size, &ssh.files).await;
    for keys in [
        vec![],
        vec!["ssh-ed25519 AAAA".to_owned()],
        vec!["x".to_owned()],
    ] {
        let mut settings = ssh.settings();
        settings.host_keys = keys;
        let opened = Place::open(&DestinationSettings::Sftp(settings), &site.engine());
        assert!(matches!(opened, Err(TransferError::Settings(_))));
    }
}
