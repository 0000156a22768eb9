//! What moves bytes to destinations and back, against real servers: each kind with each check, faults, hostile servers.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests look at processes and mount disks by themselves"
)]

mod faults;
mod hostile;
mod interrupted;
mod local;
mod locks;
mod round_trip;
mod secrets;
#[path = "../support/servers/mod.rs"]
mod servers;
#[allow(dead_code, reason = "the tests of the service do more with it")]
#[path = "../service/small_disk.rs"]
mod small_disk;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use heldar_footage::domain::backup::destination::DestinationSettings;
use heldar_footage::domain::backup::object::BackupCheck;
use heldar_footage::hashing::Sha256;
use heldar_footage::transfer::{
    DescriptorLinks, Engine, Expected, FileFault, Outgoing, Place, SendOptions, Stored,
    TransferError, Wanted,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Footage to be sent, and a folder for all that this machine needs for it.
pub struct Site {
    pub folder: tempfile::TempDir,
    pub files: BTreeMap<String, Content>,
}

/// The bytes of a file, of which a failed test shows only the length.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(pub Vec<u8>);

impl std::fmt::Debug for Content {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} bytes", self.0.len())
    }
}

impl std::ops::Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Whether a folder holds nothing but links to descriptors of this process.
fn holds_descriptor_links(folder: &Path) -> bool {
    let of_this_process = PathBuf::from(format!("/proc/{}/fd", std::process::id()));
    let mut entries = std::fs::read_dir(folder).into_iter().flatten().peekable();
    entries.peek().is_some()
        && entries.all(|entry| {
            std::fs::read_link(entry.unwrap().path())
                .is_ok_and(|target| target.parent() == Some(&of_this_process))
        })
}

impl Site {
    /// Some files in some folders, with names that shells and rclone might take for something else.
    pub fn usual() -> Self {
        Self::with(&[
            ("gate_a_01/2026-11-22/20261122T100000Z.mp4", 200 << 10),
            ("gate_a_01/2026-11-22/20261122T100010Z.mp4", 1),
            ("gate_a_01/2026-11-23/20261123T000000Z.mp4", 0),
            ("yard_02/2026-11-22/it's #1 [x] {y} *.mp4", 5000),
            ("yard_02/2026-11-22/-y ä:b.mp4", 5 << 20),
            (";comment.mp4", 3),
        ])
    }

    pub fn with(files: &[(&str, usize)]) -> Self {
        let files = files
            .iter()
            .enumerate()
            .map(|(seed, (path, size))| {
                ((*path).to_owned(), Content(noise(seed as u64 + 1, *size)))
            })
            .collect();
        Self {
            folder: tempfile::tempdir().unwrap(),
            files,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn engine(&self) -> Engine {
        Engine {
            rclone: "rclone".into(),
            rclone_config: None,
            scratch: self.path("scratch"),
            links: DescriptorLinks::default(),
        }
    }

    pub fn place(&self, settings: &DestinationSettings) -> Place {
        Place::open(settings, &self.engine()).unwrap()
    }

    /// The files as they are sent: open, without a name on the disk.
    pub fn outgoing(&self) -> Vec<Outgoing> {
        self.files
            .iter()
            .map(|(path, bytes)| outgoing(self.folder.path(), path, bytes))
            .collect()
    }

    pub fn expected(&self) -> Vec<Expected> {
        self.files
            .iter()
            .map(|(path, bytes)| Expected {
                path: path.clone(),
                size_bytes: bytes.len() as u64,
                sha256: sha256(bytes),
            })
            .collect()
    }

    pub fn wanted(&self) -> Vec<Wanted> {
        std::fs::create_dir_all(self.path("back")).unwrap();
        self.expected()
            .into_iter()
            .enumerate()
            .map(|(index, expected)| Wanted {
                expected,
                target: self.path("back").join(format!("{index}.mp4")),
            })
            .collect()
    }

    pub async fn send(&self, place: &Place, check: BackupCheck) -> Sent {
        place
            .send(
                self.outgoing(),
                &options(check),
                &CancellationToken::new(),
                |_| {},
            )
            .await
            .map_err(|broken| broken.cause)
    }

    /// Sends all and wants all to have arrived, with these bytes below `at`.
    pub async fn send_whole(&self, place: &Place, check: BackupCheck, at: &Path) {
        let sent = self.send(place, check).await.unwrap();
        assert_eq!(sent.len(), self.files.len());
        for (sent, (path, bytes)) in sent.iter().zip(&self.files) {
            let stored = sent
                .as_ref()
                .unwrap_or_else(|fault| panic!("{path}: {fault:?}"));
            assert_eq!(stored.sha256, sha256(bytes), "{path}");
            assert!(stored.check >= check, "{path}: {stored:?}");
        }
        assert_eq!(tree(at), self.files);
        self.check_left();
    }

    /// Nothing is left of a transfer on this machine, and no rclone runs for this site.
    pub fn check_left(&self) {
        let entries = std::fs::read_dir(self.path("scratch"))
            .into_iter()
            .flatten();
        let left: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            // They go with the engine.
            .filter(|path| !holds_descriptor_links(path))
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "left in the scratch folder");
        let scratch = self.path("scratch").display().to_string();
        let running = command_lines()
            .into_iter()
            .find(|(_, line)| line.contains(&scratch));
        assert_eq!(running, None);
    }
}

type Sent = Result<Vec<Result<Stored, FileFault>>, TransferError>;

pub fn options(check: BackupCheck) -> SendOptions {
    SendOptions {
        transfers: 4,
        bandwidth: watch::channel(0).1,
        check,
        deadline: Duration::from_secs(120),
        stall_limit: Duration::from_secs(60),
    }
}

/// An open file that has lost its name.
pub fn outgoing(folder: &Path, path: &str, bytes: &[u8]) -> Outgoing {
    let mut source = tempfile::tempfile_in(folder).unwrap();
    std::io::Write::write_all(&mut source, bytes).unwrap();
    Outgoing {
        file: Arc::new(readable(source)),
        path: path.to_owned(),
        size_bytes: bytes.len() as u64,
        is_evidence: false,
        replaces: true,
    }
}

/// The same file, opened only for reading, as recordings are.
fn readable(file: File) -> File {
    use std::os::fd::AsRawFd as _;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap()
}

pub fn sha256(bytes: &[u8]) -> Sha256 {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().try_into().unwrap()
}

/// Bytes that are not compressible and differ by seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// All files below a folder, by path; none when the folder is not there.
pub fn tree(folder: &Path) -> BTreeMap<String, Content> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let path = entry.path().strip_prefix(folder).unwrap();
            let bytes = std::fs::read(entry.path()).unwrap();
            (path.to_str().unwrap().to_owned(), Content(bytes))
        })
        .collect()
}

/// The command lines of all processes, their words joined by spaces.
pub fn command_lines() -> Vec<(u32, String)> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            Some((pid, line))
        })
        .collect()
}
