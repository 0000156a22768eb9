//! S3 servers.

use std::path::PathBuf;
use std::process::Command;

use heldar_footage::domain::backup::destination::{S3Settings, Secret};

use super::{Running, certificate, free_port, has_ipv6, needed, text};

/// `rclone serve s3`, with one bucket named `bucket`.
pub struct RcloneS3 {
    pub running: Running,
    pub port: u16,
    /// The bucket's files.
    pub files: PathBuf,
    folder: tempfile::TempDir,
    secret_key: String,
    /// What callers must trust; none: it speaks without TLS.
    certificate: Option<String>,
}

impl RcloneS3 {
    pub fn start(secret_key: &str) -> Self {
        Self::start_with(secret_key, false)
    }

    /// The same over TLS.
    pub fn start_with_tls(secret_key: &str) -> Self {
        Self::start_with(secret_key, true)
    }

    fn start_with(secret_key: &str, tls: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tls = tls.then(|| certificate(folder.path()));
        let files = folder.path().join("files/bucket");
        std::fs::create_dir_all(&files).unwrap();
        let port = free_port();
        let mut command = Command::new(needed("rclone"));
        command
            .env("RCLONE_CONFIG", "/dev/null")
            .env("RCLONE_AUTH_KEY", auth_key(secret_key))
            .args([
                "serve",
                "s3",
                "--vfs-cache-mode=off",
                "--dir-cache-time=5ms",
            ])
            .arg(format!("--addr=127.0.0.1:{port}"));
        if has_ipv6() {
            command.arg(format!("--addr=[::1]:{port}"));
        }
        if let Some((key, certificate)) = &tls {
            command.arg("--key").arg(key).arg("--cert").arg(certificate);
        }
        let mut running = Running::start(command.arg(folder.path().join("files")));
        running.wait_for(port);
        Self {
            running,
            port,
            files,
            folder,
            secret_key: secret_key.to_owned(),
            certificate: tls.map(|(_, certificate)| text(&certificate)),
        }
    }

    pub fn settings(&self) -> S3Settings {
        S3Settings {
            bucket: "bucket".to_owned(),
            prefix: "cameras/all".to_owned(),
            endpoint: match self.certificate {
                Some(_) => format!("https://127.0.0.1:{}", self.port),
                None => format!("http://127.0.0.1:{}", self.port),
            },
            ca_certificates: self.certificate.clone().unwrap_or_default(),
            region: "eu-central-1".to_owned(),
            access_key: "access".to_owned(),
            secret_key: Secret::new(&*self.secret_key),
            path_style: Some(true),
            ..S3Settings::default()
        }
    }
}

/// Access key and secret key as rclone reads its list of them: comma-separated, quoted as CSV.
fn auth_key(secret_key: &str) -> String {
    format!("\"access,{}\"", secret_key.replace('"', "\"\""))
}

/// `s3s-fs`, with one bucket named `bucket`. It keeps the MD5 of each object, where `rclone serve s3` reads the file anew
/// whenever it is asked for it.
pub struct S3sFs {
    pub running: Running,
    port: u16,
    /// The bucket's files.
    pub files: PathBuf,
    _folder: tempfile::TempDir,
}

impl S3sFs {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join("bucket");
        std::fs::create_dir(&files).unwrap();
        let port = free_port();
        let mut running = Running::start(
            Command::new(needed("s3s-fs"))
                .env("RUST_LOG", "error")
                .args([
                    "--host=127.0.0.1",
                    "--access-key=access",
                    "--secret-key=secret",
                ])
                .arg(format!("--port={port}"))
                .arg(folder.path()),
        );
        running.wait_for(port);
        Self {
            running,
            port,
            files,
            _folder: folder,
        }
    }

    pub fn settings(&self) -> S3Settings {
        S3Settings {
            bucket: "bucket".to_owned(),
            prefix: "cameras/all".to_owned(),
            endpoint: format!("http://127.0.0.1:{}", self.port),
            region: "eu-central-1".to_owned(),
            access_key: "access".to_owned(),
            secret_key: Secret::new("secret"),
            path_style: Some(true),
            ..S3Settings::default()
        }
    }
}
