//! SSH servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use heldar_footage::domain::backup::destination::{HostKeyCheck, Secret, SftpSettings};

use super::{Running, free_port, has_ipv6, is_root, needed, run, text, user};

/// Makes a key pair without a passphrase, or with one.
pub fn key_pair(at: &Path, kind: &str, passphrase: &str) -> String {
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", passphrase, "-C", "", "-f"])
        .arg(at));
    let public = text(&at.with_extension("pub"));
    public.trim().to_owned()
}

/// OpenSSH's server. It knows one user, whoever runs the tests, by key.
pub struct OpenSsh {
    pub running: Running,
    pub port: u16,
    /// Where files go.
    pub files: PathBuf,
    folder: tempfile::TempDir,
    host_keys: Vec<String>,
}

impl OpenSsh {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let host_keys = ["ed25519", "ecdsa", "rsa"]
            .map(|kind| key_pair(&at(&format!("host_{kind}")), kind, ""));
        key_pair(&at("user"), "ed25519", "");
        key_pair(&at("locked"), "ed25519", "p'a \"ss,");
        let keys = text(&at("user.pub")) + &text(&at("locked.pub"));
        std::fs::write(at("authorized_keys"), keys).unwrap();
        std::fs::create_dir(at("files")).unwrap();
        if is_root() {
            // As root it wants an empty folder to lock its unprivileged half in.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = free_port();
        let (running, files) = (Self::run(folder.path(), port), at("files"));
        Self {
            running,
            port,
            files,
            folder,
            host_keys: host_keys.to_vec(),
        }
    }

    fn run(folder: &Path, port: u16) -> Running {
        let at = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\n{also}HostKey {}\nHostKey {}\nHostKey {}\nPidFile none\nUsePAM no\n\
             PasswordAuthentication no\nPermitRootLogin yes\nStrictModes no\nAuthorizedKeysFile {}\nMaxStartups 100\n\
             Subsystem sftp internal-sftp\nLogLevel VERBOSE\n",
            at("host_ed25519"),
            at("host_ecdsa"),
            at("host_rsa"),
            at("authorized_keys"),
            also = if has_ipv6() {
                "ListenAddress ::1\n"
            } else {
                ""
            },
        );
        std::fs::write(folder.join("sshd_config"), config).unwrap();
        let mut running = Running::start(
            Command::new(needed("sshd"))
                .args(["-D", "-e", "-f"])
                .arg(folder.join("sshd_config")),
        );
        running.wait_for(port);
        running
    }

    /// Starts it again at the same port, with a new host key of each kind if wanted.
    pub fn restart(&mut self, with_new_host_keys: bool) {
        self.running.kill();
        if with_new_host_keys {
            self.host_keys = ["ed25519", "ecdsa", "rsa"]
                .map(|kind| {
                    let path = self.folder.path().join(format!("host_{kind}"));
                    std::fs::remove_file(&path).unwrap();
                    std::fs::remove_file(path.with_extension("pub")).unwrap();
                    key_pair(&path, kind, "")
                })
                .to_vec();
        }
        self.running = Self::run(self.folder.path(), self.port);
    }

    /// How a destination gets there.
    pub fn settings(&self) -> SftpSettings {
        SftpSettings {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: user(),
            private_key: Secret::new(text(&self.folder.path().join("user"))),
            host_key_check: HostKeyCheck::Pinned,
            host_keys: self.host_keys.clone(),
            path: self.files.display().to_string(),
            ..SftpSettings::default()
        }
    }

    /// As [`Self::settings`], with a key that has a passphrase.
    pub fn settings_with_passphrase(&self) -> SftpSettings {
        SftpSettings {
            private_key: Secret::new(text(&self.folder.path().join("locked"))),
            private_key_passphrase: Secret::new("p'a \"ss,"),
            ..self.settings()
        }
    }
}

/// `rclone serve sftp`, which knows one user by password.
pub struct RcloneSftp {
    pub running: Running,
    pub port: u16,
    pub files: PathBuf,
    folder: tempfile::TempDir,
    user: String,
    password: String,
    host_key: String,
}

impl RcloneSftp {
    pub fn start(user: &str, password: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join("files");
        std::fs::create_dir(&files).unwrap();
        let host_key = key_pair(&folder.path().join("host"), "ed25519", "");
        let port = free_port();
        let mut running = Running::start(
            Command::new(needed("rclone"))
                .env("RCLONE_CONFIG", "/dev/null")
                .env("RCLONE_USER", user)
                .env("RCLONE_PASS", password)
                .args([
                    "serve",
                    "sftp",
                    "--vfs-cache-mode=off",
                    "--dir-cache-time=5ms",
                    "--key",
                ])
                .arg(folder.path().join("host"))
                .arg(format!("--addr=127.0.0.1:{port}"))
                .arg(&files),
        );
        running.wait_for(port);
        Self {
            running,
            port,
            files,
            folder,
            user: user.to_owned(),
            password: password.to_owned(),
            host_key,
        }
    }

    pub fn settings(&self) -> SftpSettings {
        SftpSettings {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: self.user.clone(),
            password: Secret::new(&*self.password),
            host_keys: vec![self.host_key.clone()],
            ..SftpSettings::default()
        }
    }
}
