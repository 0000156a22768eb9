//! Settings that cannot be used, each refused for its field.

use super::*;

#[test]
fn local_destinations_lie_in_a_folder_that_the_operator_allows() {
    let at = |path: &str| {
        Settings::Local(Local {
            path: path.to_owned(),
            require_mount: true,
        })
    };
    let expected = LocalSettings {
        path: "/mnt/nas".to_owned(),
        require_mount: true,
    };
    assert_eq!(
        settings(at("/mnt/nas/")),
        DestinationSettings::Local(expected)
    );
    for bad in ["/etc", "mnt", "/mnt/../etc"] {
        refused(at(bad), "local.path");
    }
}

#[test]
fn sftp_settings_that_cannot_be_used_are_refused() {
    let cases: Vec<(&str, Sftp)> = vec![
        (
            "host",
            Sftp {
                host: "nas,key_file=/etc/shadow".to_owned(),
                ..sftp()
            },
        ),
        (
            "host",
            Sftp {
                host: "nas:22".to_owned(),
                ..sftp()
            },
        ),
        (
            "user",
            Sftp {
                user: String::new(),
                ..sftp()
            },
        ),
        (
            "user",
            Sftp {
                user: "a\nb".to_owned(),
                ..sftp()
            },
        ),
        ("port", Sftp { port: -1, ..sftp() }),
        (
            "password",
            Sftp {
                password: String::new(),
                ..sftp()
            },
        ),
        (
            "password",
            Sftp {
                password: "a\nb".to_owned(),
                ..sftp()
            },
        ),
        (
            "password",
            Sftp {
                password: MASK.to_owned(),
                ..sftp()
            },
        ),
        (
            "private_key",
            Sftp {
                private_key: "not a key".to_owned(),
                ..sftp()
            },
        ),
        (
            "private_key",
            Sftp {
                private_key: MASK.to_owned(),
                ..sftp()
            },
        ),
        (
            "private_key_passphrase",
            Sftp {
                private_key_passphrase: "x".to_owned(),
                ..sftp()
            },
        ),
        (
            "host_keys",
            Sftp {
                host_key_check: proto::HostKeyCheck::Pinned.into(),
                ..sftp()
            },
        ),
        (
            "host_keys[1]",
            Sftp {
                host_keys: vec![HOST_KEY.to_owned(), "x".to_owned()],
                ..sftp()
            },
        ),
        (
            "host_keys",
            Sftp {
                host_keys: vec![HOST_KEY.to_owned(); 33],
                ..sftp()
            },
        ),
        (
            "host_key_check",
            Sftp {
                host_key_check: 3,
                ..sftp()
            },
        ),
        (
            "path",
            Sftp {
                path: "a\nb".to_owned(),
                ..sftp()
            },
        ),
    ];
    for (field, asked) in cases {
        refused(Settings::Sftp(asked), &format!("sftp.{field}"));
    }
    let pinned = Sftp {
        password: String::new(),
        private_key: PRIVATE_KEY.to_owned(),
        private_key_passphrase: "x".to_owned(),
        host_key_check: proto::HostKeyCheck::Pinned.into(),
        host_keys: vec![format!("{HOST_KEY} root@nas")],
        ..sftp()
    };
    let DestinationSettings::Sftp(pinned) = settings(Settings::Sftp(pinned)) else {
        panic!("another kind");
    };
    assert_eq!(pinned.host_keys, [HOST_KEY]);
    assert_eq!(pinned.private_key.reveal(), PRIVATE_KEY);
}

#[test]
fn ftp_settings_that_cannot_be_used_are_refused() {
    let cases: Vec<(&str, Ftp)> = vec![
        (
            "host",
            Ftp {
                host: String::new(),
                ..ftp()
            },
        ),
        (
            "host",
            Ftp {
                host: "a b".to_owned(),
                ..ftp()
            },
        ),
        (
            "user",
            Ftp {
                user: String::new(),
                ..ftp()
            },
        ),
        (
            "port",
            Ftp {
                port: 65_536,
                ..ftp()
            },
        ),
        (
            "password",
            Ftp {
                password: MASK.to_owned(),
                ..ftp()
            },
        ),
        ("tls", Ftp { tls: 4, ..ftp() }),
        (
            "ca_certificates",
            Ftp {
                ca_certificates: "x".to_owned(),
                ..ftp()
            },
        ),
        (
            "path",
            Ftp {
                path: "a\r".to_owned(),
                ..ftp()
            },
        ),
    ];
    for (field, asked) in cases {
        refused(Settings::Ftp(asked), &format!("ftp.{field}"));
    }
    // Some servers want `anonymous` without a password.
    settings(Settings::Ftp(Ftp {
        user: "anonymous".to_owned(),
        password: String::new(),
        ca_certificates: CERTIFICATE.to_owned(),
        ..ftp()
    }));
}

#[test]
fn s3_settings_that_cannot_be_used_are_refused() {
    let lock = |mode: proto::S3ObjectLockMode, seconds: i64| Lock {
        mode: mode.into(),
        duration: Some(prost_types::Duration { seconds, nanos: 0 }),
        legal_hold_evidence: true,
    };
    let compliance = proto::S3ObjectLockMode::Compliance;
    let cases: Vec<(&str, S3)> = vec![
        (
            "bucket",
            S3 {
                bucket: "A_B".to_owned(),
                ..s3()
            },
        ),
        (
            "prefix",
            S3 {
                prefix: "/a".to_owned(),
                ..s3()
            },
        ),
        (
            "provider",
            S3 {
                provider: 9,
                ..s3()
            },
        ),
        (
            "endpoint",
            S3 {
                endpoint: "minio:9000".to_owned(),
                ..s3()
            },
        ),
        (
            "endpoint",
            S3 {
                provider: proto::S3Provider::Minio.into(),
                ..s3()
            },
        ),
        (
            "region",
            S3 {
                region: String::new(),
                ..s3()
            },
        ),
        (
            "region",
            S3 {
                region: "eu,x=y".to_owned(),
                ..s3()
            },
        ),
        (
            "access_key",
            S3 {
                access_key: String::new(),
                ..s3()
            },
        ),
        (
            "access_key",
            S3 {
                access_key: "a\nb".to_owned(),
                ..s3()
            },
        ),
        (
            "secret_key",
            S3 {
                secret_key: String::new(),
                ..s3()
            },
        ),
        (
            "secret_key",
            S3 {
                secret_key: MASK.to_owned(),
                ..s3()
            },
        ),
        (
            "session_token",
            S3 {
                session_token: "a\0".to_owned(),
                ..s3()
            },
        ),
        (
            "storage_class",
            S3 {
                storage_class: "A B".to_owned(),
                ..s3()
            },
        ),
        (
            "encryption",
            S3 {
                encryption: 3,
                ..s3()
            },
        ),
        (
            "kms_key_id",
            S3 {
                kms_key_id: "alias/x".to_owned(),
                ..s3()
            },
        ),
        (
            "kms_key_id",
            S3 {
                kms_key_id: "a b".to_owned(),
                encryption: proto::S3Encryption::Kms.into(),
                ..s3()
            },
        ),
        (
            "ca_certificates",
            S3 {
                ca_certificates: PRIVATE_KEY.to_owned(),
                ..s3()
            },
        ),
        (
            "object_lock.duration",
            S3 {
                object_lock: Some(lock(compliance, 86_399)),
                ..s3()
            },
        ),
        (
            "object_lock.duration",
            S3 {
                object_lock: Some(Lock {
                    duration: None,
                    ..lock(compliance, 0)
                }),
                ..s3()
            },
        ),
        (
            "object_lock.mode",
            S3 {
                object_lock: Some(lock(proto::S3ObjectLockMode::Unspecified, 86_400)),
                ..s3()
            },
        ),
    ];
    for (field, asked) in cases {
        refused(Settings::S3(asked), &format!("s3.{field}"));
    }
    let locked = S3 {
        object_lock: Some(lock(compliance, 86_400)),
        ..s3()
    };
    let DestinationSettings::S3(locked) = settings(Settings::S3(locked)) else {
        panic!("another kind");
    };
    assert_eq!(
        locked.object_lock,
        Some(S3ObjectLock {
            mode: S3ObjectLockMode::Compliance,
            duration: DAY,
            legal_hold_evidence: true,
        })
    );
}

#[test]
fn rclone_settings_name_a_remote_and_nothing_more() {
    let remote = |remote: &str| {
        Settings::Rclone(Rclone {
            remote: remote.to_owned(),
            path: "a/b".to_owned(),
        })
    };
    settings(remote("drive-2"));
    for bad in ["", "drive:", ":local:/etc", "a b"] {
        refused(remote(bad), "rclone.remote");
    }
}
