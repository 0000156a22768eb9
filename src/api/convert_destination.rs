//! Destinations as the contract's messages: no secret leaves the service.

use std::time::Duration;

use super::convert::{int64, revision_etag, timestamp};
use crate::domain::backup::destination::{
    Destination, DestinationKind, DestinationSettings, DestinationStatus, FtpSettings, FtpTls,
    HostKeyCheck, LocalSettings, MASK, Pause, PauseReason, RcloneSettings, S3Encryption,
    S3ObjectLock, S3ObjectLockMode, S3Provider, S3Settings, Secret, SftpSettings,
};
use crate::proto;
use crate::proto::destination::Settings;

/// The kind that a filter asks for; `None` is any. Fails for one that is not in the contract.
pub(super) fn kind_filter(kind: i32) -> Result<Option<DestinationKind>, prost::UnknownEnumValue> {
    Ok(match proto::DestinationKind::try_from(kind)? {
        proto::DestinationKind::Unspecified => None,
        proto::DestinationKind::Local => Some(DestinationKind::Local),
        proto::DestinationKind::Sftp => Some(DestinationKind::Sftp),
        proto::DestinationKind::Ftp => Some(DestinationKind::Ftp),
        proto::DestinationKind::S3 => Some(DestinationKind::S3),
        proto::DestinationKind::Rclone => Some(DestinationKind::Rclone),
    })
}

/// A secret as it is shown: whether there is one.
fn masked(secret: &Secret) -> String {
    if secret.is_empty() {
        String::new()
    } else {
        MASK.to_owned()
    }
}

/// A whole duration on the wire.
pub(super) fn std_duration(duration: Duration) -> prost_types::Duration {
    // Below 10⁹, so they fit.
    prost_types::Duration {
        seconds: int64(duration.as_secs()),
        nanos: duration.subsec_nanos() as i32,
    }
}

impl From<Destination> for proto::Destination {
    fn from(destination: Destination) -> Self {
        Self {
            id: destination.id,
            display_name: destination.display_name,
            enabled: Some(destination.enabled),
            transfers: destination
                .transfers
                .map(|transfers| i32::try_from(transfers).unwrap_or(i32::MAX)),
            bandwidth_limit_bytes_per_second: int64(destination.bandwidth_limit_bytes_per_second),
            settings: Some(destination.settings.into()),
            labels: destination.labels,
            status: Some(destination.status.into()),
            create_time: Some(timestamp(destination.create_time)),
            update_time: Some(timestamp(destination.update_time)),
            etag: revision_etag(destination.revision),
        }
    }
}

impl From<DestinationStatus> for proto::DestinationStatus {
    fn from(status: DestinationStatus) -> Self {
        Self {
            pause: status.pause.map(proto::DestinationPause::from),
            last_success_time: status.last_success_time.map(timestamp),
            object_count: int64(status.object_count),
            stored_bytes: int64(status.stored_bytes),
            free_bytes: status.free_bytes.map(int64),
        }
    }
}

impl From<Pause> for proto::DestinationPause {
    fn from(pause: Pause) -> Self {
        Self {
            reason: match pause.reason {
                PauseReason::LoginRefused => proto::DestinationPauseReason::LoginRefused,
                PauseReason::HostChanged => proto::DestinationPauseReason::HostChanged,
                PauseReason::Full => proto::DestinationPauseReason::Full,
                PauseReason::ReadOnly => proto::DestinationPauseReason::ReadOnly,
            }
            .into(),
            message: pause.message,
            start_time: Some(timestamp(pause.start_time)),
        }
    }
}

impl From<DestinationSettings> for Settings {
    fn from(settings: DestinationSettings) -> Self {
        match settings {
            DestinationSettings::Local(local) => Self::Local(local.into()),
            DestinationSettings::Sftp(sftp) => Self::Sftp(sftp.into()),
            DestinationSettings::Ftp(ftp) => Self::Ftp(ftp.into()),
            DestinationSettings::S3(s3) => Self::S3(s3.into()),
            DestinationSettings::Rclone(rclone) => Self::Rclone(rclone.into()),
        }
    }
}

impl From<LocalSettings> for proto::LocalSettings {
    fn from(local: LocalSettings) -> Self {
        Self {
            path: local.path,
            require_mount: local.require_mount,
        }
    }
}

impl From<SftpSettings> for proto::SftpSettings {
    fn from(sftp: SftpSettings) -> Self {
        Self {
            password: masked(&sftp.password),
            private_key: masked(&sftp.private_key),
            private_key_passphrase: masked(&sftp.private_key_passphrase),
            host: sftp.host,
            port: sftp.port.into(),
            user: sftp.user,
            host_key_check: match sftp.host_key_check {
                HostKeyCheck::AcceptFirst => proto::HostKeyCheck::AcceptFirst,
                HostKeyCheck::Pinned => proto::HostKeyCheck::Pinned,
            }
            .into(),
            host_keys: sftp.host_keys,
            path: sftp.path,
        }
    }
}

impl From<FtpSettings> for proto::FtpSettings {
    fn from(ftp: FtpSettings) -> Self {
        Self {
            password: masked(&ftp.password),
            host: ftp.host,
            port: ftp.port.into(),
            user: ftp.user,
            tls: match ftp.tls {
                FtpTls::Explicit => proto::FtpTls::Explicit,
                FtpTls::Implicit => proto::FtpTls::Implicit,
                FtpTls::None => proto::FtpTls::None,
            }
            .into(),
            ca_certificates: ftp.ca_certificates,
            path: ftp.path,
        }
    }
}

impl From<S3Settings> for proto::S3Settings {
    fn from(s3: S3Settings) -> Self {
        Self {
            secret_key: masked(&s3.secret_key),
            session_token: masked(&s3.session_token),
            bucket: s3.bucket,
            prefix: s3.prefix,
            provider: match s3.provider {
                S3Provider::Other => proto::S3Provider::Other,
                S3Provider::Aws => proto::S3Provider::Aws,
                S3Provider::Minio => proto::S3Provider::Minio,
                S3Provider::Ceph => proto::S3Provider::Ceph,
                S3Provider::Backblaze => proto::S3Provider::Backblaze,
                S3Provider::Cloudflare => proto::S3Provider::Cloudflare,
                S3Provider::Wasabi => proto::S3Provider::Wasabi,
                S3Provider::Gcs => proto::S3Provider::Gcs,
            }
            .into(),
            endpoint: s3.endpoint,
            region: s3.region,
            access_key: s3.access_key,
            storage_class: s3.storage_class,
            path_style: s3.path_style,
            object_lock: s3.object_lock.map(proto::S3ObjectLock::from),
            encryption: match s3.encryption {
                S3Encryption::Bucket => proto::S3Encryption::Unspecified,
                S3Encryption::Aes256 => proto::S3Encryption::Aes256,
                S3Encryption::Kms => proto::S3Encryption::Kms,
            }
            .into(),
            kms_key_id: s3.kms_key_id,
            ca_certificates: s3.ca_certificates,
        }
    }
}

impl From<S3ObjectLock> for proto::S3ObjectLock {
    fn from(lock: S3ObjectLock) -> Self {
        Self {
            mode: match lock.mode {
                S3ObjectLockMode::Governance => proto::S3ObjectLockMode::Governance,
                S3ObjectLockMode::Compliance => proto::S3ObjectLockMode::Compliance,
            }
            .into(),
            duration: Some(std_duration(lock.duration)),
            legal_hold_evidence: lock.legal_hold_evidence,
        }
    }
}

impl From<RcloneSettings> for proto::RcloneSettings {
    fn from(rclone: RcloneSettings) -> Self {
        Self {
            remote: rclone.remote,
            path: rclone.path,
        }
    }
}
