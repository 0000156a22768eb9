//! The plug is pulled right after a clip was told of: what the disk has then, and nothing else, is what the next start finds.
//!
//! It wants root and loop devices, which not every machine gives:
//! `cargo test --test service -- --ignored --nocapture pulled_plug`.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::remade::set_unsynced_in;
use super::*;

/// A disk whose bytes are a file, on which the data folder of a site lies with the recordings.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    fn make(site: &Site) -> Self {
        let image = site.path("disk.img");
        run(Command::new("truncate").args(["-s", "512M"]).arg(&image));
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        std::fs::create_dir(site.data()).unwrap();
        let disk = Self::mount(image, site.data());
        let recordings = site.data().join("recordings");
        std::fs::create_dir(&recordings).unwrap();
        std::fs::remove_dir(site.recordings()).unwrap();
        std::os::unix::fs::symlink(recordings, site.recordings()).unwrap();
        disk
    }

    fn mount(image: PathBuf, at: PathBuf) -> Self {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(&at));
        Self { image, at }
    }

    /// Takes what the disk has now. What the system keeps in memory of its files is not in that.
    fn as_it_is(&self) -> PathBuf {
        let copy = self.image.with_extension("copy");
        run(Command::new("cp")
            .arg("--sparse=always")
            .arg(&self.image)
            .arg(&copy));
        copy
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.at).status();
        let _ = std::fs::remove_file(&self.image);
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn is_whole(path: &Path, clip: &proto::Clip) -> bool {
    std::fs::read(path).is_ok_and(|bytes| sha256(&bytes) == clip.sha256)
}

#[tokio::test]
#[ignore = "wants root and loop devices"]
async fn a_clip_that_was_told_of_is_there_with_all_its_bytes_whatever_the_disk_had_of_its_file() {
    let mut torn = 0;
    let rounds = 10;
    for round in 0..rounds {
        let site = unfollowed().on_sqlite();
        let disk = Disk::make(&site);
        lay(&site, CAMERA, &thirty_seconds().record());
        import(&site, &[]);
        let server = site.start().await;
        let (_, clip) = cut(&server, ask(CAMERA, 1_400, 28_200)).await;
        server.signal(Signal::STOP);
        let image = disk.as_it_is();
        server.kill();
        drop(disk);

        let _disk = Disk::mount(image, site.data());
        set_unsynced_in(&site, &clip, "another run of the machine").await;
        let is_torn = !is_whole(&site.clips().join(&clip.file_name), &clip);
        torn += u32::from(is_torn);
        let names = files_in(&site.recordings());
        assert!(!names.is_empty());
        for name in names {
            std::fs::remove_dir_all(site.recordings().join(name)).unwrap();
        }
        let server = site.start().await;
        fetch(&server, &clip).await;
        assert_eq!(server.stop(), 0);
        println!("round {round}: the file was torn: {is_torn}");
    }
    println!("{rounds} plugs pulled, {torn} files torn, each clip there");
    assert!(torn > 0, "nothing was tried");
}
