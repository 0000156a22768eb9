//! A disk of a size of its own, to be filled.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A small disk. Tests that cannot have one fail, unless they were told to do without (`HELDAR_TEST_WITHOUT_MOUNTS`).
pub struct SmallDisk {
    pub at: PathBuf,
}

impl SmallDisk {
    pub fn mount(at: PathBuf, size_bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let size = format!("size={size_bytes}");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &size, "none"])
            .arg(&at)
            .stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self { at });
        }
        assert!(
            std::env::var_os("HELDAR_TEST_WITHOUT_MOUNTS").is_some(),
            "a small disk cannot be mounted: run the tests as root, or those of disks under `unshare --map-root-user \
             --mount`; HELDAR_TEST_WITHOUT_MOUNTS=1 leaves them out"
        );
        eprintln!("not tested: HELDAR_TEST_WITHOUT_MOUNTS is set");
        None
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.at.join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    /// Makes the disk another size. What is on it must fit.
    pub fn resize(&self, size_bytes: u64) {
        let size = format!("remount,size={size_bytes}");
        let mut mount = Command::new("mount");
        let resized = mount.args(["-o", &size]).arg(&self.at).status().unwrap();
        assert!(resized.success());
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.at.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}
