//! Destinations: where backups go, and what is needed to get there.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What stands for a secret wherever one is read back; written, it keeps the stored value.
pub const MASK: &str = "***";

/// Files sent at the same time unless the destination says otherwise.
pub const DEFAULT_TRANSFERS: u32 = 8;

/// A password, key or token. It shows itself to nobody by accident: its debug form is [`MASK`].
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes the text of a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.is_empty() { "none" } else { MASK })
    }
}

/// The kinds of destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DestinationKind {
    /// A folder on this machine.
    Local,
    /// An SSH server with SFTP.
    Sftp,
    /// An FTP server.
    Ftp,
    /// S3 or what speaks its protocol.
    S3,
    /// A remote of the operator's rclone configuration.
    Rclone,
}

impl DestinationKind {
    /// Every kind, in the order of the contract.
    pub const ALL: [Self; 5] = [Self::Local, Self::Sftp, Self::Ftp, Self::S3, Self::Rclone];

    /// The kind's name in the database and, in lower case, in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "LOCAL",
            Self::Sftp => "SFTP",
            Self::Ftp => "FTP",
            Self::S3 => "S3",
            Self::Rclone => "RCLONE",
        }
    }

    /// The kind with this name in the database.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// How to get to a destination, by kind. As JSON it holds its secrets in clear: only the sealed form is ever stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationSettings {
    /// A folder on this machine.
    Local(LocalSettings),
    /// An SSH server with SFTP.
    Sftp(SftpSettings),
    /// An FTP server.
    Ftp(FtpSettings),
    /// S3 or what speaks its protocol.
    S3(S3Settings),
    /// A remote of the operator's rclone configuration.
    Rclone(RcloneSettings),
}

impl DestinationSettings {
    /// The kind.
    pub fn kind(&self) -> DestinationKind {
        match self {
            Self::Local(_) => DestinationKind::Local,
            Self::Sftp(_) => DestinationKind::Sftp,
            Self::Ftp(_) => DestinationKind::Ftp,
            Self::S3(_) => DestinationKind::S3,
            Self::Rclone(_) => DestinationKind::Rclone,
        }
    }

    /// All secrets in it, empty ones included, in an order that depends only on the kind.
    pub fn secrets(&self) -> Vec<&Secret> {
        match self {
            Self::Local(_) | Self::Rclone(_) => Vec::new(),
            Self::Sftp(sftp) => vec![
                &sftp.password,
                &sftp.private_key,
                &sftp.private_key_passphrase,
            ],
            Self::Ftp(ftp) => vec![&ftp.password],
            Self::S3(s3) => vec![&s3.secret_key, &s3.session_token],
        }
    }

    /// The same secrets, to be replaced.
    pub fn secrets_mut(&mut self) -> Vec<&mut Secret> {
        match self {
            Self::Local(_) | Self::Rclone(_) => Vec::new(),
            Self::Sftp(sftp) => vec![
                &mut sftp.password,
                &mut sftp.private_key,
                &mut sftp.private_key_passphrase,
            ],
            Self::Ftp(ftp) => vec![&mut ftp.password],
            Self::S3(s3) => vec![&mut s3.secret_key, &mut s3.session_token],
        }
    }

    /// How long the destination refuses to delete a new object, where it does.
    pub fn lock_duration(&self) -> Option<Duration> {
        match self {
            Self::S3(s3) => s3.object_lock.map(|lock| lock.duration),
            _ => None,
        }
    }

    /// Whether anything in it must be sealed.
    pub fn has_secrets(&self) -> bool {
        self.secrets().iter().any(|secret| !secret.is_empty())
    }
}

/// A folder on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "backup_destination.proto documents every field, and the names are the same"
)]
pub struct LocalSettings {
    pub path: String,
    pub require_mount: bool,
}

/// An SSH server with SFTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "backup_destination.proto documents every field, and the names are the same"
)]
pub struct SftpSettings {
    pub host: String,
    /// Never 0: the default is filled in.
    pub port: u16,
    pub user: String,
    pub password: Secret,
    pub private_key: Secret,
    pub private_key_passphrase: Secret,
    pub host_key_check: HostKeyCheck,
    pub host_keys: Vec<String>,
    pub path: String,
}

/// How the host key of an SSH server is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostKeyCheck {
    /// The key of the first connection is kept.
    #[default]
    AcceptFirst,
    /// Only the keys that are listed are accepted.
    Pinned,
}

/// An FTP server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "backup_destination.proto documents every field, and the names are the same"
)]
pub struct FtpSettings {
    pub host: String,
    /// Never 0: the default is filled in.
    pub port: u16,
    pub user: String,
    pub password: Secret,
    pub tls: FtpTls,
    pub ca_certificates: String,
    pub path: String,
}

/// How an FTP connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FtpTls {
    /// TLS by command on the ordinary port.
    #[default]
    Explicit,
    /// TLS from the first byte on.
    Implicit,
    /// In clear.
    None,
}

/// S3 or what speaks its protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "backup_destination.proto documents every field, and the names are the same"
)]
pub struct S3Settings {
    pub bucket: String,
    pub prefix: String,
    pub provider: S3Provider,
    pub endpoint: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: Secret,
    pub session_token: Secret,
    pub storage_class: String,
    pub path_style: Option<bool>,
    pub object_lock: Option<S3ObjectLock>,
    pub encryption: S3Encryption,
    pub kms_key_id: String,
    pub ca_certificates: String,
}

/// Whose S3 service it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    missing_docs,
    reason = "backup_destination.proto documents every provider, and the names are the same"
)]
pub enum S3Provider {
    #[default]
    Other,
    Aws,
    Minio,
    Ceph,
    Backblaze,
    Cloudflare,
    Wasabi,
    Gcs,
}

/// Encryption of stored objects by the S3 service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum S3Encryption {
    /// As the bucket is set.
    #[default]
    Bucket,
    /// SSE-S3.
    Aes256,
    /// SSE-KMS.
    Kms,
}

/// Lock that S3 puts on new objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3ObjectLock {
    /// Who can lift it.
    pub mode: S3ObjectLockMode,
    /// How long it holds from the moment of upload.
    pub duration: Duration,
    /// Whether footage held as evidence gets a legal hold.
    pub legal_hold_evidence: bool,
}

/// Who can lift an object lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum S3ObjectLockMode {
    /// Users with a special permission.
    Governance,
    /// Nobody before its end.
    Compliance,
}

/// A remote of the operator's rclone configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "backup_destination.proto documents every field, and the names are the same"
)]
pub struct RcloneSettings {
    pub remote: String,
    pub path: String,
}

/// What paused a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PauseReason {
    /// It refused user, password or key.
    LoginRefused,
    /// Its SSH host key or TLS certificate is not the one expected.
    HostChanged,
    /// No space is left.
    Full,
    /// It can be read but not written.
    ReadOnly,
}

impl PauseReason {
    /// Every reason, in the order of the contract.
    pub const ALL: [Self; 4] = [
        Self::LoginRefused,
        Self::HostChanged,
        Self::Full,
        Self::ReadOnly,
    ];

    /// The reason's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoginRefused => "LOGIN_REFUSED",
            Self::HostChanged => "HOST_CHANGED",
            Self::Full => "FULL",
            Self::ReadOnly => "READ_ONLY",
        }
    }

    /// What a person does about it; a trial that passes ends the pause.
    pub fn advice(self) -> &'static str {
        match self {
            Self::LoginRefused => "put its user, password or key right, then test it",
            Self::HostChanged => {
                "ask its operator whether its key or certificate was changed; if so set the new one, then test it"
            }
            Self::Full => "make room there, then test it",
            Self::ReadOnly => "let it be written to, then test it",
        }
    }

    /// The reason with this name in the database.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

/// Why nothing is sent to a destination at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The cause.
    pub reason: PauseReason,
    /// The same for people, without secrets.
    pub message: String,
    /// Since when.
    pub start_time: DateTime<Utc>,
}

/// A destination as it stands. Its secrets are in clear where it is worked with, and [`MASK`] where it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "backup_destination.proto documents every field, and the names are the same"
)]
pub struct Destination {
    pub id: String,
    pub display_name: String,
    pub enabled: bool,
    /// `None`: [`DEFAULT_TRANSFERS`].
    pub transfers: Option<u32>,
    /// Bytes per second; 0: no limit.
    pub bandwidth_limit_bytes_per_second: u64,
    pub settings: DestinationSettings,
    pub labels: BTreeMap<String, String>,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
    /// Grows with each change of what callers can set; the etag is made of it.
    pub revision: u64,
    pub status: DestinationStatus,
}

/// How a destination fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "backup_destination.proto documents every field, and the names are the same"
)]
pub struct DestinationStatus {
    pub pause: Option<Pause>,
    pub last_success_time: Option<DateTime<Utc>>,
    pub object_count: u64,
    pub stored_bytes: u64,
    pub free_bytes: Option<u64>,
}
