//! Destinations that are taken, and how each of their fields is read.

mod refused;

use super::*;
use crate::api::status::ApiError;
use crate::proto::{
    FtpSettings as Ftp, LocalSettings as Local, RcloneSettings as Rclone, S3ObjectLock as Lock,
    S3Settings as S3, SftpSettings as Sftp,
};

const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
const PRIVATE_KEY: &str =
    "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

fn sftp() -> Sftp {
    Sftp {
        host: "nas.example".to_owned(),
        user: "footage".to_owned(),
        password: "p,:'\" x".to_owned(),
        ..Sftp::default()
    }
}

fn ftp() -> Ftp {
    Ftp {
        host: "nas.example".to_owned(),
        user: "footage".to_owned(),
        password: "hush-hush".to_owned(),
        ..Ftp::default()
    }
}

fn s3() -> S3 {
    S3 {
        bucket: "footage".to_owned(),
        region: "eu-central-1".to_owned(),
        access_key: "AKIA".to_owned(),
        secret_key: "hush-hush".to_owned(),
        ..S3::default()
    }
}

fn with(settings: Settings) -> proto::Destination {
    proto::Destination {
        settings: Some(settings),
        ..proto::Destination::default()
    }
}

/// The destination, or the faults as their paths and what is wrong.
fn read(
    mut asked: proto::Destination,
    stored: Option<&DestinationSettings>,
) -> Result<Destination, Vec<(String, String)>> {
    let mut fields = Fields::default();
    let roots = [PathBuf::from("/mnt")];
    let settings = super::settings(&mut fields, asked.settings.take(), stored, &roots);
    let read = destination(
        &mut fields,
        "bkd_a".to_owned(),
        asked,
        settings,
        DateTime::UNIX_EPOCH,
    );
    match fields.check() {
        Ok(()) => Ok(read.unwrap()),
        Err(ApiError::Invalid { violations, .. }) => Err(violations),
        Err(other) => panic!("{other:?}"),
    }
}

fn settings(asked: Settings) -> DestinationSettings {
    read(with(asked), None).unwrap().settings
}

/// Checks that these settings are refused for just this field.
fn refused(asked: Settings, field: &str) {
    let faults = read(with(asked), None).unwrap_err();
    let named: Vec<_> = faults.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(named, [format!("destination.{field}")], "{faults:?}");
}

#[test]
fn the_words_of_the_predecessor_are_kept() {
    for (asked, words) in [
        (
            Settings::Local(Local::default()),
            "local destination has no `path` configured",
        ),
        (
            Settings::Sftp(Sftp {
                host: String::new(),
                ..sftp()
            }),
            "sftp destination requires `host`",
        ),
        (
            Settings::S3(S3 {
                bucket: String::new(),
                ..s3()
            }),
            "s3 destination requires `bucket`",
        ),
    ] {
        let faults = read(with(asked), None).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].1, words);
    }
}

#[test]
fn what_is_not_said_has_its_default() {
    let read = read(with(Settings::Sftp(sftp())), None).unwrap();
    assert!(read.enabled);
    assert_eq!(read.transfers, None);
    let DestinationSettings::Sftp(found) = read.settings else {
        panic!("another kind");
    };
    assert_eq!(
        (found.port, found.host_key_check),
        (22, HostKeyCheck::AcceptFirst)
    );
    assert_eq!(found.password.reveal(), "p,:'\" x");

    for (tls, port) in [
        (proto::FtpTls::Unspecified, 21),
        (proto::FtpTls::Explicit, 21),
        (proto::FtpTls::None, 21),
        (proto::FtpTls::Implicit, 990),
    ] {
        let asked = Ftp {
            tls: tls.into(),
            ..ftp()
        };
        let DestinationSettings::Ftp(found) = settings(Settings::Ftp(asked)) else {
            panic!("another kind");
        };
        assert_eq!(found.port, port, "{tls:?}");
    }

    for (endpoint, provider) in [
        ("", S3Provider::Aws),
        ("https://minio:9000", S3Provider::Other),
    ] {
        let asked = S3 {
            endpoint: endpoint.to_owned(),
            ..s3()
        };
        let DestinationSettings::S3(found) = settings(Settings::S3(asked)) else {
            panic!("another kind");
        };
        assert_eq!(found.provider, provider);
    }
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let asked = proto::Destination {
        display_name: "a\nb".to_owned(),
        transfers: Some(33),
        bandwidth_limit_bytes_per_second: -1,
        settings: Some(Settings::Sftp(Sftp {
            port: 70_000,
            path: "a\0".to_owned(),
            host_key_check: 9,
            ..Sftp::default()
        })),
        ..proto::Destination::default()
    };
    let faults = read(asked, None).unwrap_err();
    let named: Vec<_> = faults.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(
        named,
        [
            "destination.sftp.user",
            "destination.sftp.password",
            "destination.sftp.host_key_check",
            "destination.sftp.host",
            "destination.sftp.port",
            "destination.sftp.path",
            "destination.display_name",
            "destination.transfers",
            "destination.bandwidth_limit_bytes_per_second",
        ]
    );
}

#[test]
fn settings_are_required() {
    let faults = read(proto::Destination::default(), None).unwrap_err();
    assert_eq!(faults[0].0, "destination.settings");
}

#[test]
fn transfers_are_between_1_and_32() {
    for (transfers, is_right) in [(1, true), (32, true), (0, false), (33, false), (-1, false)] {
        let asked = proto::Destination {
            transfers: Some(transfers),
            ..with(Settings::Sftp(sftp()))
        };
        assert_eq!(read(asked, None).is_ok(), is_right, "{transfers}");
    }
}

#[test]
fn a_mask_keeps_a_secret_that_is_stored_and_only_such_a_one() {
    let stored = settings(Settings::Sftp(sftp()));
    let asked = |password: &str, private_key: &str| {
        with(Settings::Sftp(Sftp {
            password: password.to_owned(),
            private_key: private_key.to_owned(),
            ..sftp()
        }))
    };
    let kept = read(asked(MASK, ""), Some(&stored)).unwrap();
    assert_eq!(kept.settings.secrets()[0].reveal(), MASK);
    let faults = read(asked(MASK, MASK), Some(&stored)).unwrap_err();
    assert_eq!(faults[0].0, "destination.sftp.private_key");
    // The secret of one kind does not stand for that of another.
    let faults = read(
        with(Settings::Ftp(Ftp {
            password: MASK.to_owned(),
            ..ftp()
        })),
        Some(&stored),
    )
    .unwrap_err();
    let named: Vec<_> = faults.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(named, ["destination.ftp.password", "destination.settings"]);
}

#[test]
fn what_is_read_back_can_be_written_again_and_shows_no_secret() {
    let all = [
        Settings::Local(Local {
            path: "/mnt/a".to_owned(),
            require_mount: true,
        }),
        Settings::Sftp(Sftp {
            private_key: PRIVATE_KEY.to_owned(),
            private_key_passphrase: "hush-hush".to_owned(),
            host_key_check: proto::HostKeyCheck::Pinned.into(),
            host_keys: vec![HOST_KEY.to_owned()],
            path: "x".to_owned(),
            ..sftp()
        }),
        Settings::Ftp(Ftp {
            tls: proto::FtpTls::Implicit.into(),
            ca_certificates: CERTIFICATE.to_owned(),
            ..ftp()
        }),
        Settings::S3(S3 {
            prefix: "a/b".to_owned(),
            provider: proto::S3Provider::Wasabi.into(),
            endpoint: "https://s3.example".to_owned(),
            session_token: "hush-hush".to_owned(),
            storage_class: "COLD".to_owned(),
            path_style: Some(false),
            object_lock: Some(Lock {
                mode: proto::S3ObjectLockMode::Governance.into(),
                duration: Some(prost_types::Duration {
                    seconds: 90_000,
                    nanos: 0,
                }),
                legal_hold_evidence: false,
            }),
            encryption: proto::S3Encryption::Kms.into(),
            kms_key_id: "alias/x".to_owned(),
            ca_certificates: CERTIFICATE.to_owned(),
            ..s3()
        }),
        Settings::Rclone(Rclone {
            remote: "drive".to_owned(),
            path: "x".to_owned(),
        }),
    ];
    for asked in all {
        let mut written = read(with(asked), None).unwrap();
        written.transfers = Some(3);
        written.enabled = false;
        let shown = proto::Destination::from(written.clone());
        let text = format!("{shown:?}");
        for secret in written.settings.secrets() {
            assert!(
                secret.is_empty() || !text.contains(secret.reveal()),
                "{text}"
            );
        }
        let mut again = read(shown, Some(&written.settings)).unwrap();
        let kept = written
            .settings
            .secrets()
            .into_iter()
            .cloned()
            .collect::<Vec<_>>();
        for (secret, kept) in again.settings.secrets_mut().into_iter().zip(kept) {
            assert_eq!(secret.is_empty(), kept.is_empty());
            *secret = kept;
        }
        assert_eq!(again, written);
    }
}
