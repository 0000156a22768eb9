//! The settings of a destination as rclone wants them: variables of its environment, never arguments and never connection
//! strings. Each field goes to the one option that it is for, so nothing that stands in a field can set another option.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::network::bare;
use super::super::paths::is_plain;
use super::super::{Engine, TransferError};
use super::obscure::obscure;
use super::scrub::Scrubber;
use crate::domain::backup::destination::{
    DestinationKind, DestinationSettings, FtpSettings, FtpTls, RcloneSettings, S3Encryption,
    S3ObjectLockMode, S3Provider, S3Settings, Secret, SftpSettings,
};

/// Up to this size an object of S3 is sent in one part, so that its ETag is the MD5 of its bytes.
pub(super) const SINGLE_PART_MAX_BYTES: u64 = 1 << 30;

/// What rclone has to be told.
#[derive(Clone)]
pub(super) struct Prepared {
    pub(super) kind: DestinationKind,
    /// Variables of the environment.
    pub(super) variables: Vec<(&'static str, String)>,
    /// Variables that lock new objects, and those that also hold evidence.
    pub(super) lock: Vec<(&'static str, String)>,
    pub(super) hold: Vec<(&'static str, String)>,
    /// Variables that keep rclone from hashing what is hashed here anyway.
    pub(super) without_checksums: Vec<(&'static str, String)>,
    /// Contents of the known_hosts file.
    pub(super) known_hosts: Option<String>,
    /// Certificates that are trusted instead of the machine's.
    pub(super) ca_certificates: Option<String>,
    /// The file with remotes; none: no remote but the one in the environment.
    pub(super) config: Option<PathBuf>,
    /// Remote and path: `dest:backups`.
    pub(super) root: String,
    /// Names in messages that mean nothing.
    pub(super) host: String,
    pub(super) path: String,
    /// Whether the ETag of an object sent in one part is an MD5.
    pub(super) reports_md5: bool,
    /// Whether it can say how much room it has.
    pub(super) reports_space: bool,
    pub(super) scrubber: Scrubber,
}

impl Prepared {
    fn new(kind: DestinationKind, root: String, path: &str) -> Self {
        Self {
            kind,
            variables: Vec::new(),
            lock: Vec::new(),
            hold: Vec::new(),
            without_checksums: Vec::new(),
            known_hosts: None,
            ca_certificates: None,
            config: None,
            root,
            host: String::new(),
            path: path.to_owned(),
            reports_md5: false,
            reports_space: false,
            scrubber: Scrubber::new([], []),
        }
    }

    fn set(&mut self, name: &'static str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.variables.push((name, value));
        }
    }

    /// Sets a password in the form that rclone wants, and gives that form.
    fn set_secret(
        &mut self,
        name: &'static str,
        secret: &Secret,
    ) -> Result<Option<String>, TransferError> {
        // rclone takes an absent password for an empty one.
        if secret.is_empty() {
            return Ok(None);
        }
        let obscured = obscure(secret.reveal())
            .map_err(|_| std::io::Error::other("the system has no random numbers"))?;
        self.set(name, obscured.clone());
        Ok(Some(obscured))
    }
}

/// Reads the settings. `None` is the local folder, which needs no rclone.
pub(super) fn prepare(
    settings: &DestinationSettings,
    engine: &Engine,
) -> Result<Option<Prepared>, TransferError> {
    let mut obscured = Vec::new();
    let mut prepared = match settings {
        DestinationSettings::Local(_) => return Ok(None),
        DestinationSettings::Sftp(sftp) => prepare_sftp(sftp, &mut obscured)?,
        DestinationSettings::Ftp(ftp) => prepare_ftp(ftp, &mut obscured)?,
        DestinationSettings::S3(s3) => prepare_s3(s3)?,
        DestinationSettings::Rclone(rclone) => prepare_rclone(rclone, engine)?,
    };
    prepared.scrubber = Scrubber::new(settings.secrets(), obscured);
    Ok(Some(prepared))
}

fn prepare_sftp(
    sftp: &SftpSettings,
    obscured: &mut Vec<String>,
) -> Result<Prepared, TransferError> {
    require("sftp", "host", &sftp.host)?;
    require("sftp", "user", &sftp.user)?;
    plain_text("path", &sftp.path)?;
    plain_text("password", sftp.password.reveal())?;
    plain_text(
        "private_key_passphrase",
        sftp.private_key_passphrase.reveal(),
    )?;
    if sftp.password.is_empty() && sftp.private_key.is_empty() {
        return Err(settings_error(
            "sftp destination requires `password` or `private_key`",
        ));
    }
    let keys = host_keys(&sftp.host_keys)?;
    let mut to = Prepared::new(
        DestinationKind::Sftp,
        format!("dest:{}", sftp.path),
        &sftp.path,
    );
    to.host.clone_from(&sftp.host);
    to.reports_space = true;
    to.set("RCLONE_CONFIG_DEST_TYPE", "sftp");
    to.set("RCLONE_CONFIG_DEST_HOST", before_a_port(&sftp.host));
    to.set("RCLONE_CONFIG_DEST_PORT", sftp.port.to_string());
    to.set("RCLONE_CONFIG_DEST_USER", &sftp.user);
    obscured.extend(to.set_secret("RCLONE_CONFIG_DEST_PASS", &sftp.password)?);
    // rclone wants the lines of a key joined by a backslash and an `n`.
    let key = sftp.private_key.reveal().replace("\r\n", "\n");
    to.set("RCLONE_CONFIG_DEST_KEY_PEM", key.replace('\n', "\\n"));
    obscured.extend(to.set_secret(
        "RCLONE_CONFIG_DEST_KEY_FILE_PASS",
        &sftp.private_key_passphrase,
    )?);
    // A shell would run a command at the server for each hash.
    to.set("RCLONE_CONFIG_DEST_SHELL_TYPE", "none");
    to.set("RCLONE_CONFIG_DEST_DISABLE_HASHCHECK", "true");
    to.set("RCLONE_CONFIG_DEST_SET_MODTIME", "false");
    // The kinds of the known keys only: else the server could show a key of another kind, which nobody knows.
    to.set(
        "RCLONE_CONFIG_DEST_HOST_KEY_ALGORITHMS",
        algorithms(&keys).join(" "),
    );
    // The file is for this host alone, so every host stands for it: then nothing in the name can be a pattern.
    let host = match sftp.port {
        22 => "*".to_owned(),
        port => format!("[*]:{port}"),
    };
    let lines = keys.iter().map(|key| format!("{host} {key}\n"));
    to.known_hosts = Some(lines.collect());
    Ok(to)
}

/// A host as it stands before a port: rclone puts a colon and the port right behind it.
fn before_a_port(host: &str) -> String {
    match bare(host) {
        ipv6 if ipv6.contains(':') => format!("[{ipv6}]"),
        host => host.to_owned(),
    }
}

/// The keys as kind and base64, checked so that none can be more than one line of a known_hosts file.
fn host_keys(keys: &[String]) -> Result<Vec<String>, TransferError> {
    if keys.is_empty() {
        return Err(settings_error(
            "sftp destination has no `host_keys`; they must be known before anything is sent",
        ));
    }
    keys.iter()
        .map(|key| {
            let mut words = key.split_whitespace();
            let (kind, blob) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let decoded = STANDARD.decode(blob).unwrap_or_default();
            // The blob begins with the length of its kind and the kind.
            let named = decoded.get(4..4 + kind.len()) == Some(kind.as_bytes())
                && decoded.get(..4) == Some(&u32::try_from(kind.len()).unwrap_or(0).to_be_bytes());
            if kind.is_empty() || !named {
                return Err(settings_error(
                    "a key in `host_keys` is not of the form `ssh-ed25519 AAAA…`",
                ));
            }
            Ok(format!("{kind} {blob}"))
        })
        .collect()
}

fn algorithms(keys: &[String]) -> Vec<&str> {
    let mut algorithms = Vec::new();
    for key in keys {
        let kind = key.split(' ').next().unwrap_or_default();
        match kind {
            "ssh-rsa" => algorithms.extend(["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"]),
            other => algorithms.push(other),
        }
    }
    algorithms
}

fn prepare_ftp(ftp: &FtpSettings, obscured: &mut Vec<String>) -> Result<Prepared, TransferError> {
    require("ftp", "host", &ftp.host)?;
    require("ftp", "user", &ftp.user)?;
    plain_text("path", &ftp.path)?;
    plain_text("password", ftp.password.reveal())?;
    let mut to = Prepared::new(
        DestinationKind::Ftp,
        format!("dest:{}", ftp.path),
        &ftp.path,
    );
    to.host.clone_from(&ftp.host);
    to.set("RCLONE_CONFIG_DEST_TYPE", "ftp");
    to.set("RCLONE_CONFIG_DEST_HOST", before_a_port(&ftp.host));
    to.set("RCLONE_CONFIG_DEST_PORT", ftp.port.to_string());
    to.set("RCLONE_CONFIG_DEST_USER", &ftp.user);
    obscured.extend(to.set_secret("RCLONE_CONFIG_DEST_PASS", &ftp.password)?);
    match ftp.tls {
        FtpTls::Explicit => to.set("RCLONE_CONFIG_DEST_EXPLICIT_TLS", "true"),
        FtpTls::Implicit => to.set("RCLONE_CONFIG_DEST_TLS", "true"),
        FtpTls::None => {}
    }
    to.set("RCLONE_CONFIG_DEST_SHUT_TIMEOUT", "30s");
    to.ca_certificates = certificates(&ftp.ca_certificates);
    Ok(to)
}

fn prepare_s3(s3: &S3Settings) -> Result<Prepared, TransferError> {
    require("s3", "bucket", &s3.bucket)?;
    for (field, text) in [
        ("endpoint", &s3.endpoint),
        ("region", &s3.region),
        ("access_key", &s3.access_key),
        ("storage_class", &s3.storage_class),
        ("kms_key_id", &s3.kms_key_id),
    ] {
        plain_text(field, text)?;
    }
    plain_text("secret_key", s3.secret_key.reveal())?;
    plain_text("session_token", s3.session_token.reveal())?;
    if s3.bucket.contains('/') || !is_plain(&s3.bucket) {
        return Err(settings_error("`bucket` is not the name of a bucket"));
    }
    if !s3.prefix.is_empty() && !is_plain(&s3.prefix) {
        return Err(settings_error(
            "`prefix` is not made of plain names with slashes between them",
        ));
    }
    let path = match s3.prefix.as_str() {
        "" => s3.bucket.clone(),
        prefix => format!("{}/{prefix}", s3.bucket),
    };
    // Without the slash rclone would ask first whether the prefix is an object; some servers answer that it is.
    let mut to = Prepared::new(DestinationKind::S3, format!("dest:{path}/"), &path);
    to.host.clone_from(&s3.endpoint);
    to.set("RCLONE_CONFIG_DEST_TYPE", "s3");
    to.set(
        "RCLONE_CONFIG_DEST_PROVIDER",
        match s3.provider {
            S3Provider::Aws => "AWS",
            S3Provider::Minio => "Minio",
            S3Provider::Ceph => "Ceph",
            S3Provider::Cloudflare => "Cloudflare",
            S3Provider::Wasabi => "Wasabi",
            S3Provider::Gcs => "GCS",
            // rclone knows no details of Backblaze's S3 that differ.
            S3Provider::Backblaze | S3Provider::Other => "Other",
        },
    );
    to.set("RCLONE_CONFIG_DEST_ENV_AUTH", "false");
    to.set("RCLONE_CONFIG_DEST_ENDPOINT", &s3.endpoint);
    to.set("RCLONE_CONFIG_DEST_REGION", &s3.region);
    to.set("RCLONE_CONFIG_DEST_ACCESS_KEY_ID", &s3.access_key);
    to.set(
        "RCLONE_CONFIG_DEST_SECRET_ACCESS_KEY",
        s3.secret_key.reveal(),
    );
    to.set(
        "RCLONE_CONFIG_DEST_SESSION_TOKEN",
        s3.session_token.reveal(),
    );
    to.set("RCLONE_CONFIG_DEST_STORAGE_CLASS", &s3.storage_class);
    if let Some(path_style) = s3.path_style {
        to.set(
            "RCLONE_CONFIG_DEST_FORCE_PATH_STYLE",
            path_style.to_string(),
        );
    }
    to.set("RCLONE_CONFIG_DEST_NO_CHECK_BUCKET", "true");
    // Every object is looked at after its batch, all of them at once.
    to.set("RCLONE_CONFIG_DEST_NO_HEAD", "true");
    to.set(
        "RCLONE_CONFIG_DEST_UPLOAD_CUTOFF",
        format!("{SINGLE_PART_MAX_BYTES}B"),
    );
    to.set("RCLONE_CONFIG_DEST_CHUNK_SIZE", "16Mi");
    to.without_checksums = vec![("RCLONE_CONFIG_DEST_DISABLE_CHECKSUM", "true".to_owned())];
    match s3.encryption {
        S3Encryption::Bucket => {}
        S3Encryption::Aes256 => to.set("RCLONE_CONFIG_DEST_SERVER_SIDE_ENCRYPTION", "AES256"),
        S3Encryption::Kms => {
            to.set("RCLONE_CONFIG_DEST_SERVER_SIDE_ENCRYPTION", "aws:kms");
            to.set("RCLONE_CONFIG_DEST_SSE_KMS_KEY_ID", &s3.kms_key_id);
        }
    }
    to.reports_md5 = s3.encryption != S3Encryption::Kms;
    if let Some(lock) = s3.object_lock {
        let mode = match lock.mode {
            S3ObjectLockMode::Governance => "GOVERNANCE",
            S3ObjectLockMode::Compliance => "COMPLIANCE",
        };
        to.lock = vec![
            ("RCLONE_CONFIG_DEST_OBJECT_LOCK_MODE", mode.to_owned()),
            (
                "RCLONE_CONFIG_DEST_OBJECT_LOCK_RETAIN_UNTIL_DATE",
                format!("{}s", lock.duration.as_secs()),
            ),
        ];
        if lock.legal_hold_evidence {
            to.hold = vec![(
                "RCLONE_CONFIG_DEST_OBJECT_LOCK_LEGAL_HOLD_STATUS",
                "ON".to_owned(),
            )];
        }
    }
    to.ca_certificates = certificates(&s3.ca_certificates);
    Ok(to)
}

fn prepare_rclone(rclone: &RcloneSettings, engine: &Engine) -> Result<Prepared, TransferError> {
    let is_name = (1..=64).contains(&rclone.remote.len())
        && rclone
            .remote
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    // A name that begins with a dash would be an option of rclone.
    if !is_name || rclone.remote.starts_with('-') {
        return Err(settings_error(
            "`remote` is not the name of a remote of an rclone configuration",
        ));
    }
    plain_text("path", &rclone.path)?;
    let config = engine.rclone_config.as_deref().ok_or_else(|| {
        settings_error("this server has no rclone configuration (HELDAR_RCLONE_CONFIG)")
    })?;
    let mut to = Prepared::new(
        DestinationKind::Rclone,
        format!("{}:{}", rclone.remote, rclone.path),
        &rclone.path,
    );
    to.config = Some(absolute(config)?);
    to.reports_space = true;
    Ok(to)
}

fn absolute(path: &Path) -> Result<PathBuf, TransferError> {
    Ok(std::path::absolute(path)?)
}

fn certificates(pem: &str) -> Option<String> {
    (!pem.trim().is_empty()).then(|| pem.to_owned())
}

fn require(kind: &str, field: &str, text: &str) -> Result<(), TransferError> {
    if text.is_empty() {
        return Err(settings_error(format!(
            "{kind} destination requires `{field}`"
        )));
    }
    plain_text(field, text)
}

fn plain_text(field: &str, text: &str) -> Result<(), TransferError> {
    if text.chars().any(char::is_control) {
        return Err(settings_error(format!("`{field}` has a control character")));
    }
    Ok(())
}

pub(super) fn settings_error(message: impl Into<String>) -> TransferError {
    TransferError::Settings(message.into())
}
