//! Real servers to send to and fetch from, each on the loopback at a free port, in a folder of its own, stopped by its pid.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests start servers by themselves; the service never starts one"
)]
#![allow(
    dead_code,
    unused_imports,
    reason = "each program uses the servers that it needs"
)]

mod contract;
mod ftp;
mod moto;
mod proxy;
mod s3;
mod sftp;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use contract::{ftp_destination, s3_destination, sftp_destination};
pub use ftp::ProFtpd;
pub use moto::Moto;
pub use proxy::Proxy;
pub use s3::{RcloneS3, S3sFs};
pub use sftp::{OpenSsh, RcloneSftp};

/// Every printable ASCII character, a space included.
pub fn every_printable() -> String {
    (b' '..=b'~').map(char::from).collect()
}

/// A program that serves until it is dropped.
pub struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Running {
    /// Starts a program; what it says on its error output is kept.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&said);
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while matches!(errors.read_until(b'\n', &mut line), Ok(count) if count > 0) {
                heard
                    .lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { child, said }
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it accepts connections.
    pub fn wait_for(&mut self, port: u16) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the server ended: {ended:?}\n{}",
                self.said()
            );
            assert!(Instant::now() < deadline, "no server\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it and everything that it started, as a loss of power would.
    pub fn kill(&mut self) {
        for child in descendants(self.child.id()) {
            let _ = Command::new("kill")
                .args(["-KILL", &child.to_string()])
                .stderr(Stdio::null())
                .status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The processes that a process started, and those that they started.
pub fn descendants(of: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1))
            .and_then(|parent| parent.parse::<u32>().ok());
        if parent == Some(of) {
            found.push(pid);
            found.extend(descendants(pid));
        }
    }
    found
}

/// The rclones that a process has started and that run at this moment.
pub fn rclones(pid: u32) -> Vec<u32> {
    let is_rclone = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name.trim() == "rclone")
    };
    descendants(pid).into_iter().filter(is_rclone).collect()
}

/// Ends a process as the system does when memory is short. It may have ended by itself.
pub fn kill(pid: u32) {
    let _ = Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// Whether this machine has the address `::1`; the servers then listen there, too.
pub fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

/// A port that nobody listens on at this moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The path of a program, also of those that only root has in its search path; `None` when it is not installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// As [`program`]; a test that needs it fails without it, so that nobody takes silence for success.
pub fn needed(name: &str) -> PathBuf {
    program(name).unwrap_or_else(|| {
        panic!("{name} is not installed; `make tools` installs what tests need, `make bench` what benchmarks need")
    })
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The name of whoever runs the tests.
pub fn user() -> String {
    run(Command::new("id").arg("-un")).trim().to_owned()
}

pub fn is_root() -> bool {
    run(Command::new("id").arg("-u")).trim() == "0"
}

/// Makes a certificate for 127.0.0.1 that signs itself: key and certificate in one PEM file each.
pub fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let (key, certificate) = (folder.join("tls.key"), folder.join("tls.crt"));
    run(Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate));
    (key, certificate)
}

/// Reads a whole file.
pub fn text(path: &Path) -> String {
    let mut text = String::new();
    std::fs::File::open(path)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text
}
