//! FTP servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use heldar_footage::domain::backup::destination::{FtpSettings, FtpTls, Secret};

use super::{Running, certificate, free_port, has_ipv6, needed, run, text, user};

/// ProFTPD, which knows one user by password. It runs as whoever runs the tests.
pub struct ProFtpd {
    pub running: Running,
    pub port: u16,
    pub files: PathBuf,
    folder: tempfile::TempDir,
    password: String,
    tls: FtpTls,
    certificate: String,
}

impl ProFtpd {
    pub fn start(password: &str, tls: FtpTls) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let files = at("files");
        std::fs::create_dir(&files).unwrap();
        let (key, cert) = certificate(folder.path());
        let hash = hashed(password);
        let id = |flag: &str| run(Command::new("id").arg(flag)).trim().to_owned();
        let (uid, gid) = (id("-u"), id("-g"));
        std::fs::write(
            at("passwd"),
            format!("camera:{hash}:{uid}:{gid}::{}:/bin/sh\n", files.display()),
        )
        .unwrap();
        std::fs::write(at("group"), format!("cameras:x:{gid}:camera\n")).unwrap();
        for file in ["passwd", "group"] {
            run(Command::new("chmod").arg("600").arg(at(file)));
        }
        let tls_lines = match tls {
            FtpTls::None => String::new(),
            _ => format!(
                "LoadModule mod_tls.c\nTLSEngine on\nTLSRequired on\nTLSRSACertificateFile {cert}\n\
                 TLSRSACertificateKeyFile {key}\nTLSECCertificateFile {cert}\nTLSECCertificateKeyFile {key}\n\
                 TLSOptions NoSessionReuseRequired {implicit}\nTLSProtocol TLSv1.2 TLSv1.3\nTLSLog {log}\n",
                cert = cert.display(),
                key = key.display(),
                implicit = if tls == FtpTls::Implicit { "UseImplicitSSL" } else { "" },
                log = at("tls.log").display(),
            )
            .replace("TLSRSACertificateFile", "#")
            .replace("TLSRSACertificateKeyFile", "#"),
        };
        let port = free_port();
        let group = run(Command::new("id").arg("-gn"));
        let config = format!(
            "ServerType standalone\nServerName test\nPort {port}\n{address}\nUseReverseDNS off\n\
             User {user}\nGroup {group}\nRootLogin on\nRequireValidShell off\nAuthOrder mod_auth_file.c\n\
             AuthUserFile {passwd}\nAuthGroupFile {group_file}\nWtmpLog off\nPidFile {pid}\nScoreboardFile {board}\n\
             DelayEngine off\nAllowOverwrite on\nAllowStoreRestart on\nMaxInstances 200\nTransferLog none\n\
             ModulePath /usr/lib/proftpd\n{tls_lines}",
            address = if has_ipv6() {
                "DefaultAddress 127.0.0.1 ::1\nUseIPv6 on"
            } else {
                "DefaultAddress 127.0.0.1\nUseIPv6 off"
            },
            user = user(),
            group = group.trim(),
            passwd = at("passwd").display(),
            group_file = at("group").display(),
            pid = at("pid").display(),
            board = at("board").display(),
        );
        std::fs::write(at("proftpd.conf"), config).unwrap();
        Self {
            running: Self::run(folder.path(), port),
            port,
            files,
            password: password.to_owned(),
            tls,
            certificate: text(&cert),
            folder,
        }
    }

    fn run(folder: &Path, port: u16) -> Running {
        let mut running = Running::start(
            Command::new(needed("proftpd"))
                .args(["--nodaemon", "--config"])
                .arg(folder.join("proftpd.conf")),
        );
        running.wait_for(port);
        running
    }

    /// Starts it again at the same port.
    pub fn restart(&mut self) {
        self.running.kill();
        self.running = Self::run(self.folder.path(), self.port);
    }

    pub fn settings(&self) -> FtpSettings {
        FtpSettings {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: "camera".to_owned(),
            password: Secret::new(&*self.password),
            tls: self.tls,
            ca_certificates: match self.tls {
                FtpTls::None => String::new(),
                _ => self.certificate.clone(),
            },
            path: String::new(),
        }
    }
}

/// The password as `crypt` keeps it.
fn hashed(password: &str) -> String {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = Command::new("openssl")
        .args(["passwd", "-6", "-stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{password}").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
