//! Archives unpacked and read by stock tools.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use heldar_footage::proto;

use super::asking::{check_bytes, download};
use crate::footage::{epoch, ms};
use crate::server::{Server, time};

/// Entries that every archive has about itself, in their order.
pub const OWN: [&str; 5] = [
    "manifest.json",
    "README.txt",
    "allowed_signers",
    "SHA256SUMS",
    "SHA256SUMS.sig",
];

/// A specification with a window in milliseconds from the epoch of the tests.
pub fn window(from_ms: i64, to_ms: i64) -> proto::ArchiveSpec {
    proto::ArchiveSpec {
        start_time: time(epoch() + ms(from_ms)),
        end_time: time(epoch() + ms(to_ms)),
        ..Default::default()
    }
}

/// The same specification for these cameras.
pub fn of(cameras: &[&str], spec: proto::ArchiveSpec) -> proto::ArchiveSpec {
    proto::ArchiveSpec {
        camera_ids: cameras.iter().map(ToString::to_string).collect(),
        ..spec
    }
}

/// The archive fetched over gRPC and unpacked by unzip; it is what its resource says, and its seals hold.
pub async fn fetch(server: &Server, archive: &proto::Archive) -> Unpacked {
    let (header, bytes) = download(server, &archive.id, 0, 0).await.unwrap();
    assert_eq!(
        (header.total_size_bytes, &header.sha256),
        (archive.size_bytes, &archive.sha256)
    );
    check_bytes(archive, &bytes);
    let unpacked = Unpacked::of(&bytes);
    assert_eq!(archive.entry_count, unpacked.names().len() as i64);
    unpacked
}

/// An archive in a folder of its own, unpacked.
pub struct Unpacked {
    folder: tempfile::TempDir,
}

impl Unpacked {
    /// Unpacks with unzip, and checks every hash and the signature with the commands of the archive's own README.
    pub fn of(bytes: &[u8]) -> Self {
        let unpacked = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(unpacked.zip(), bytes).unwrap();
        unzip(&unpacked.zip(), &unpacked.root());
        check_seals(&unpacked.root());
        unpacked
    }

    pub fn zip(&self) -> PathBuf {
        self.folder.path().join("archive.zip")
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("unpacked")
    }

    pub fn path(&self, entry: &str) -> PathBuf {
        self.root().join(entry)
    }

    pub fn read(&self, entry: &str) -> Vec<u8> {
        std::fs::read(self.path(entry)).unwrap_or_else(|error| panic!("{entry}: {error}"))
    }

    /// The entries in the order of the zip, those about the archive included.
    pub fn names(&self) -> Vec<String> {
        entries(&self.zip())
            .into_iter()
            .map(|entry| entry.name)
            .collect()
    }

    /// The entries of footage, in the order of the zip.
    pub fn footage(&self) -> Vec<String> {
        let mut names = self.names();
        let own = names.split_off(names.len() - OWN.len());
        assert_eq!(own, OWN, "what is said about the archive comes last");
        names
    }

    pub fn manifest(&self) -> serde_json::Value {
        serde_json::from_slice(&self.read("manifest.json")).unwrap()
    }
}

/// Runs a tool that must be content; its standard output.
pub fn tool(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{out}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    out
}

/// 7-Zip, by the name it has here: Debian called it `7zz` before it took the place of p7zip.
pub fn seven_zip() -> Command {
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect();
    let name = ["7zz", "7z"]
        .into_iter()
        .find(|name| folders.iter().any(|folder| folder.join(name).is_file()))
        .expect("7-Zip is installed");
    Command::new(name)
}

pub fn unzip(zip: &Path, into: &Path) {
    tool(Command::new("unzip").arg("-q").arg(zip).arg("-d").arg(into));
}

pub fn unzip_with_python(zip: &Path, into: &Path) {
    let script = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
    tool(
        Command::new("python3")
            .args(["-c", script])
            .arg(zip)
            .arg(into),
    );
}

pub fn unzip_with_7zip(zip: &Path, into: &Path) {
    let mut target = std::ffi::OsString::from("-o");
    target.push(into);
    tool(seven_zip().arg("x").arg("-y").arg(target).arg(zip));
}

/// Lets unzip, Python and 7-Zip read every byte and compare it with its CRC-32.
pub fn check_with_all_tools(zip: &Path) {
    tool(Command::new("unzip").arg("-tqq").arg(zip));
    let script = "import sys, zipfile\n\
                  bad = zipfile.ZipFile(sys.argv[1]).testzip()\n\
                  sys.exit(bad and f'{bad} is damaged')";
    tool(Command::new("python3").args(["-c", script]).arg(zip));
    test_with_7zip(zip);
}

/// Lets 7-Zip read every byte and compare it with its CRC-32.
pub fn test_with_7zip(zip: &Path) {
    let told = tool(seven_zip().arg("t").arg(zip));
    assert!(told.contains("Everything is Ok"), "{told}");
    assert!(!told.contains("Warning"), "{told}");
}

/// Runs the two commands that the README in an unpacked archive gives, in the archive's folder.
pub fn check_seals(root: &Path) {
    let readme = std::fs::read_to_string(root.join("README.txt")).unwrap();
    let command = |program: &str| {
        let lines: Vec<&str> = readme
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with(program))
            .collect();
        let [line] = lines.as_slice() else {
            panic!("one command of {program}: {lines:?}")
        };
        tool(Command::new("sh").args(["-c", line]).current_dir(root))
    };
    let checked = command("sha256sum -c ");
    assert!(
        checked.lines().all(|line| line.ends_with(": OK")),
        "{checked}"
    );
    let signed = command("ssh-keygen -Y verify ");
    assert!(
        signed.starts_with(
            "Good \"heldar-footage-archive\" signature for heldar-footage with ED25519 key SHA256:"
        ),
        "{signed}"
    );
}

/// What the directory of a zip says of an entry.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Entry {
    pub name: String,
    /// 0: stored.
    pub method: u16,
    pub size_bytes: u64,
    pub packed_bytes: u64,
    /// In the fields of MS-DOS, as `YYYYMMDDhhmmss`.
    pub dos_time: String,
    /// The extended timestamp, seconds since 1970.
    pub unix_s: i64,
    /// Where the local header begins.
    pub offset: u64,
}

/// The entries of a zip in their order, as Python reads them.
pub fn entries(zip: &Path) -> Vec<Entry> {
    let script = r#"
import json, struct, sys, zipfile
found = []
for i in zipfile.ZipFile(sys.argv[1]).infolist():
    extra, unix = i.extra, -1
    while len(extra) >= 4:
        kind, size = struct.unpack('<HH', extra[:4])
        if kind == 0x5455:
            unix = struct.unpack('<i', extra[5:9])[0]
        extra = extra[4 + size:]
    found.append(dict(name=i.filename, method=i.compress_type, size_bytes=i.file_size, packed_bytes=i.compress_size,
        dos_time='%04d%02d%02d%02d%02d%02d' % i.date_time, unix_s=unix, offset=i.header_offset))
json.dump(found, sys.stdout)
"#;
    let out = tool(Command::new("python3").args(["-c", script]).arg(zip));
    serde_json::from_str(&out).unwrap()
}

/// Every file beneath a folder, by path below it.
pub fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                found.insert(name.to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}
