//! A destination as a caller wrote it, read by the rules in backup_destination.proto.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::form::{self, Formed};
use crate::api::fields::{DURATION_MAX, Fields};
use crate::domain::backup::destination::{
    Destination, DestinationSettings, DestinationStatus, FtpSettings, FtpTls, HostKeyCheck,
    LocalSettings, MASK, RcloneSettings, S3Encryption, S3ObjectLock, S3ObjectLockMode, S3Provider,
    S3Settings, Secret, SftpSettings,
};
use crate::proto;
use crate::proto::destination::Settings;

const SFTP_PORT: u16 = 22;
const FTP_PORT: u16 = 21;
const FTP_IMPLICIT_PORT: u16 = 990;

const TRANSFERS_MAX: i32 = 32;
const NAME_MAX_CHARS: usize = 255;
const SECRET_MAX_CHARS: usize = 4096;
const KEY_MAX_BYTES: usize = 64 << 10;
const CERTIFICATES_MAX_BYTES: usize = 256 << 10;
const HOST_KEYS_MAX: usize = 32;
const DAY: Duration = Duration::from_secs(86_400);

/// Reads all of a destination but its settings, which were read before; every fault is noted in `fields` below the path
/// `destination`. The result has `now` for its times and nothing of what only the service sets.
pub(super) fn destination(
    fields: &mut Fields,
    id: String,
    asked: proto::Destination,
    settings: Option<DestinationSettings>,
    now: DateTime<Utc>,
) -> Option<Destination> {
    let display_name = fields.text("destination.display_name", asked.display_name);
    if asked
        .transfers
        .is_some_and(|transfers| !(1..=TRANSFERS_MAX).contains(&transfers))
    {
        fields.wrong(
            "destination.transfers",
            format!("must be between 1 and {TRANSFERS_MAX}"),
        );
    }
    let bandwidth = fields.not_negative(
        "destination.bandwidth_limit_bytes_per_second",
        asked.bandwidth_limit_bytes_per_second,
    );
    let labels = fields.labels("destination.labels", asked.labels);
    Some(Destination {
        id,
        display_name,
        enabled: asked.enabled.unwrap_or(true),
        transfers: asked
            .transfers
            .and_then(|transfers| u32::try_from(transfers).ok()),
        bandwidth_limit_bytes_per_second: bandwidth,
        settings: settings?,
        labels,
        create_time: now,
        update_time: now,
        revision: 1,
        status: DestinationStatus::default(),
    })
}

/// Reads the settings of a destination; every fault is noted in `fields` below the path `destination`.
///
/// `stored` are the settings that are there already: [`MASK`] in a secret stands for the one that they have, and their
/// kind stays. `roots` are the folders that local destinations may lie in.
pub(super) fn settings(
    fields: &mut Fields,
    asked: Option<Settings>,
    stored: Option<&DestinationSettings>,
    roots: &[PathBuf],
) -> Option<DestinationSettings> {
    let Some(asked) = asked else {
        fields.wrong(
            "destination.settings",
            "one of `local`, `sftp`, `ftp`, `s3` and `rclone` is required",
        );
        return None;
    };
    let read = match asked {
        Settings::Local(asked) => {
            let mut part = Part::new(fields, "destination.local");
            DestinationSettings::Local(local(&mut part, asked, roots))
        }
        Settings::Sftp(asked) => {
            let mut part = Part::new(fields, "destination.sftp");
            let stored = match stored {
                Some(DestinationSettings::Sftp(stored)) => Some(stored),
                _ => None,
            };
            DestinationSettings::Sftp(sftp(&mut part, asked, stored))
        }
        Settings::Ftp(asked) => {
            let mut part = Part::new(fields, "destination.ftp");
            let stored = match stored {
                Some(DestinationSettings::Ftp(stored)) => Some(stored),
                _ => None,
            };
            DestinationSettings::Ftp(ftp(&mut part, asked, stored))
        }
        Settings::S3(asked) => {
            let mut part = Part::new(fields, "destination.s3");
            let stored = match stored {
                Some(DestinationSettings::S3(stored)) => Some(stored),
                _ => None,
            };
            DestinationSettings::S3(s3(&mut part, asked, stored))
        }
        Settings::Rclone(asked) => {
            let mut part = Part::new(fields, "destination.rclone");
            DestinationSettings::Rclone(RcloneSettings {
                remote: part.formed("remote", form::remote(asked.remote)),
                path: part.formed("path", form::remote_path(asked.path)),
            })
        }
    };
    if let Some(stored) = stored
        && stored.kind() != read.kind()
    {
        let kind = stored.kind().as_str().to_lowercase();
        fields.wrong(
            "destination.settings",
            format!("the kind of a destination cannot be changed; this one is {kind}"),
        );
    }
    Some(read)
}

/// The fields of one message in a request.
struct Part<'a> {
    fields: &'a mut Fields,
    prefix: &'static str,
}

impl<'a> Part<'a> {
    fn new(fields: &'a mut Fields, prefix: &'static str) -> Self {
        Self { fields, prefix }
    }

    fn path(&self, field: &str) -> String {
        format!("{}.{field}", self.prefix)
    }

    fn wrong(&mut self, field: &str, description: impl Into<String>) {
        self.fields.wrong(&self.path(field), description);
    }

    /// A value that has its form; the default in the place of one that does not.
    fn formed<T: Default>(&mut self, field: &str, formed: Formed<T>) -> T {
        formed.unwrap_or_else(|fault| {
            self.wrong(field, fault);
            T::default()
        })
    }

    fn line(&mut self, field: &str, text: String, max_chars: usize) -> String {
        self.fields.line(&self.path(field), text, max_chars)
    }

    /// A field without which there is nothing to connect to.
    fn required(&mut self, kind: &str, field: &str, is_there: bool) {
        if !is_there {
            self.wrong(field, format!("{kind} destination requires `{field}`"));
        }
    }

    /// A host without which there is nothing to connect to.
    fn host(&mut self, kind: &str, text: String) -> String {
        self.required(kind, "host", !text.is_empty());
        if text.is_empty() {
            return text;
        }
        self.formed("host", form::host(text))
    }

    /// The value of an enum; the default in the place of one that is not known.
    fn known<T: Default>(&mut self, field: &str, value: Option<T>) -> T {
        value.unwrap_or_else(|| {
            self.wrong(field, "is no known value");
            T::default()
        })
    }

    /// A secret: new text by `rule`, or [`MASK`] where one is stored.
    fn secret(
        &mut self,
        field: &str,
        text: String,
        stored: Option<&Secret>,
        rule: impl FnOnce(&mut Self, String) -> String,
    ) -> Secret {
        if text == MASK {
            if stored.is_none_or(Secret::is_empty) {
                self.wrong(
                    field,
                    format!("`{MASK}` stands for a stored value, and none is stored"),
                );
            }
            return Secret::new(text);
        }
        if text.is_empty() {
            return Secret::default();
        }
        Secret::new(rule(self, text))
    }

    /// A secret of one line.
    fn secret_line(&mut self, field: &str, text: String, stored: Option<&Secret>) -> Secret {
        self.secret(field, text, stored, |part, text| {
            part.line(field, text, SECRET_MAX_CHARS)
        })
    }

    fn certificates(&mut self, text: String) -> String {
        if text.is_empty() {
            return text;
        }
        self.formed(
            "ca_certificates",
            form::pem(&text, "CERTIFICATE", CERTIFICATES_MAX_BYTES),
        )
    }
}

fn local(part: &mut Part<'_>, asked: proto::LocalSettings, roots: &[PathBuf]) -> LocalSettings {
    LocalSettings {
        path: part.formed("path", form::local_path(asked.path, roots)),
        require_mount: asked.require_mount,
    }
}

fn sftp(
    part: &mut Part<'_>,
    asked: proto::SftpSettings,
    stored: Option<&SftpSettings>,
) -> SftpSettings {
    part.required("sftp", "user", !asked.user.is_empty());
    if asked.password.is_empty() && asked.private_key.is_empty() {
        part.wrong(
            "password",
            "sftp destination requires `password` or `private_key`",
        );
    }
    if asked.private_key.is_empty() && !asked.private_key_passphrase.is_empty() {
        part.wrong("private_key_passphrase", "goes with `private_key` only");
    }
    let host_key_check = match proto::HostKeyCheck::try_from(asked.host_key_check) {
        Ok(proto::HostKeyCheck::Unspecified | proto::HostKeyCheck::AcceptFirst) => {
            Some(HostKeyCheck::AcceptFirst)
        }
        Ok(proto::HostKeyCheck::Pinned) => Some(HostKeyCheck::Pinned),
        Err(_) => None,
    };
    let host_key_check = part.known("host_key_check", host_key_check);
    if host_key_check == HostKeyCheck::Pinned && asked.host_keys.is_empty() {
        part.wrong("host_keys", "must name a key when the host key is pinned");
    }
    if asked.host_keys.len() > HOST_KEYS_MAX {
        part.wrong(
            "host_keys",
            format!("must have at most {HOST_KEYS_MAX} entries"),
        );
    }
    let host_keys = asked
        .host_keys
        .iter()
        .take(HOST_KEYS_MAX)
        .enumerate()
        .map(|(at, key)| part.formed(&format!("host_keys[{at}]"), form::host_key(key)))
        .collect();
    let key_rule = |part: &mut Part<'_>, text: String| {
        part.formed(
            "private_key",
            form::pem(&text, "PRIVATE KEY", KEY_MAX_BYTES),
        )
    };
    SftpSettings {
        host: part.host("sftp", asked.host),
        port: part.formed("port", form::port(asked.port, SFTP_PORT)),
        user: part.line("user", asked.user, NAME_MAX_CHARS),
        password: part.secret_line(
            "password",
            asked.password,
            stored.map(|stored| &stored.password),
        ),
        private_key: part.secret(
            "private_key",
            asked.private_key,
            stored.map(|stored| &stored.private_key),
            key_rule,
        ),
        private_key_passphrase: part.secret_line(
            "private_key_passphrase",
            asked.private_key_passphrase,
            stored.map(|stored| &stored.private_key_passphrase),
        ),
        host_key_check,
        host_keys,
        path: part.formed("path", form::remote_path(asked.path)),
    }
}

fn ftp(
    part: &mut Part<'_>,
    asked: proto::FtpSettings,
    stored: Option<&FtpSettings>,
) -> FtpSettings {
    part.required("ftp", "user", !asked.user.is_empty());
    let tls = match proto::FtpTls::try_from(asked.tls) {
        Ok(proto::FtpTls::Unspecified | proto::FtpTls::Explicit) => Some(FtpTls::Explicit),
        Ok(proto::FtpTls::Implicit) => Some(FtpTls::Implicit),
        Ok(proto::FtpTls::None) => Some(FtpTls::None),
        Err(_) => None,
    };
    let tls = part.known("tls", tls);
    let usual_port = match tls {
        FtpTls::Implicit => FTP_IMPLICIT_PORT,
        FtpTls::Explicit | FtpTls::None => FTP_PORT,
    };
    FtpSettings {
        host: part.host("ftp", asked.host),
        port: part.formed("port", form::port(asked.port, usual_port)),
        user: part.line("user", asked.user, NAME_MAX_CHARS),
        password: part.secret_line(
            "password",
            asked.password,
            stored.map(|stored| &stored.password),
        ),
        tls,
        ca_certificates: part.certificates(asked.ca_certificates),
        path: part.formed("path", form::remote_path(asked.path)),
    }
}

fn s3(part: &mut Part<'_>, asked: proto::S3Settings, stored: Option<&S3Settings>) -> S3Settings {
    part.required("s3", "bucket", !asked.bucket.is_empty());
    part.required("s3", "access_key", !asked.access_key.is_empty());
    part.required("s3", "secret_key", !asked.secret_key.is_empty());
    let provider = match proto::S3Provider::try_from(asked.provider) {
        Ok(proto::S3Provider::Unspecified) if asked.endpoint.is_empty() => Some(S3Provider::Aws),
        Ok(proto::S3Provider::Unspecified | proto::S3Provider::Other) => Some(S3Provider::Other),
        Ok(proto::S3Provider::Aws) => Some(S3Provider::Aws),
        Ok(proto::S3Provider::Minio) => Some(S3Provider::Minio),
        Ok(proto::S3Provider::Ceph) => Some(S3Provider::Ceph),
        Ok(proto::S3Provider::Backblaze) => Some(S3Provider::Backblaze),
        Ok(proto::S3Provider::Cloudflare) => Some(S3Provider::Cloudflare),
        Ok(proto::S3Provider::Wasabi) => Some(S3Provider::Wasabi),
        Ok(proto::S3Provider::Gcs) => Some(S3Provider::Gcs),
        Err(_) => None,
    };
    match provider {
        Some(S3Provider::Aws) if asked.region.is_empty() => {
            part.wrong("region", "s3 destination at AWS requires `region`");
        }
        Some(S3Provider::Aws) | None => {}
        Some(_) if asked.endpoint.is_empty() => part.wrong(
            "endpoint",
            "s3 destination outside of AWS requires `endpoint`",
        ),
        Some(_) => {}
    }
    let provider = part.known("provider", provider);
    let encryption = match proto::S3Encryption::try_from(asked.encryption) {
        Ok(proto::S3Encryption::Unspecified) => Some(S3Encryption::Bucket),
        Ok(proto::S3Encryption::Aes256) => Some(S3Encryption::Aes256),
        Ok(proto::S3Encryption::Kms) => Some(S3Encryption::Kms),
        Err(_) => None,
    };
    let encryption = part.known("encryption", encryption);
    if !asked.kms_key_id.is_empty() && encryption != S3Encryption::Kms {
        part.wrong("kms_key_id", "goes with S3_ENCRYPTION_KMS only");
    }
    S3Settings {
        bucket: match asked.bucket {
            none if none.is_empty() => none,
            bucket => part.formed("bucket", form::bucket(bucket)),
        },
        prefix: part.formed("prefix", form::prefix(asked.prefix)),
        provider,
        endpoint: match asked.endpoint {
            none if none.is_empty() => none,
            endpoint => part.formed("endpoint", form::endpoint(endpoint)),
        },
        region: part.formed("region", form::word(asked.region)),
        access_key: part.line("access_key", asked.access_key, NAME_MAX_CHARS),
        secret_key: part.secret_line(
            "secret_key",
            asked.secret_key,
            stored.map(|stored| &stored.secret_key),
        ),
        session_token: part.secret_line(
            "session_token",
            asked.session_token,
            stored.map(|stored| &stored.session_token),
        ),
        storage_class: part.formed("storage_class", form::word(asked.storage_class)),
        path_style: asked.path_style,
        object_lock: asked.object_lock.and_then(|lock| object_lock(part, lock)),
        encryption,
        kms_key_id: part.formed("kms_key_id", form::key_id(asked.kms_key_id)),
        ca_certificates: part.certificates(asked.ca_certificates),
    }
}

fn object_lock(part: &mut Part<'_>, asked: proto::S3ObjectLock) -> Option<S3ObjectLock> {
    let mode = match proto::S3ObjectLockMode::try_from(asked.mode) {
        Ok(proto::S3ObjectLockMode::Governance) => Some(S3ObjectLockMode::Governance),
        Ok(proto::S3ObjectLockMode::Compliance) => Some(S3ObjectLockMode::Compliance),
        Ok(proto::S3ObjectLockMode::Unspecified) | Err(_) => None,
    };
    if mode.is_none() {
        part.wrong("object_lock.mode", "must be GOVERNANCE or COMPLIANCE");
    }
    let path = part.path("object_lock.duration");
    let duration = part
        .fields
        .duration_between(&path, asked.duration, DAY, DURATION_MAX);
    if asked.duration.is_none() {
        part.wrong("object_lock.duration", "is required");
    }
    Some(S3ObjectLock {
        mode: mode?,
        duration: duration?,
        legal_hold_evidence: asked.legal_hold_evidence,
    })
}

#[cfg(test)]
mod tests;
