//! Programs that stand in for ffmpeg: one that waits at a gate, and ones that misbehave.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::server::{Site, eventually, files_in, is_running};

/// The ffmpeg that is installed.
pub fn installed() -> PathBuf {
    std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|folder| folder.join("ffmpeg"))
        .find(|path| path.is_file())
        .expect("ffmpeg is installed")
}

/// Writes a shell script that says of itself what ffmpeg says, and otherwise runs `body`, where `$output` is the
/// file to be written and `$ffmpeg` the true program; makes it the site's ffmpeg.
pub fn script(site: &mut Site, name: &str, body: &str) {
    let text = format!(
        "#!/bin/sh\nffmpeg='{}'\ncase \" $* \" in *' -version '*|*' -encoders '*|*' -filters '*) exec \"$ffmpeg\" \"$@\";; esac\n\
         for output in \"$@\"; do :; done\noutput=\"${{output#file:}}\"\n{body}\n",
        installed().display()
    );
    let path = site.path(name);
    write_program(&path, &text);
    site.set("HELDAR_FFMPEG_BIN", path.to_str().unwrap());
}

/// Writes a script that can be run.
pub fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// An ffmpeg that starts its work only when its gate is open.
pub struct Gate {
    folder: PathBuf,
    held_open: Option<std::fs::File>,
}

impl Gate {
    /// Makes such an ffmpeg the site's.
    pub fn of(site: &mut Site) -> Self {
        Self::before(site, "")
    }

    /// The same, with shell text that runs before the wait.
    pub fn before(site: &mut Site, before: &str) -> Self {
        let folder = site.path("gate");
        std::fs::create_dir(&folder).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(folder.join("pipe"))
            .status()
            .unwrap();
        assert!(made.success());
        let at = folder.display();
        script(
            site,
            "gated-ffmpeg",
            &format!(
                ": > '{at}/arrived.'$$\n: > '{at}/waiting.'$$\n{before}\n[ -e '{at}/open' ] || read -r line < '{at}/pipe'\n\
                 rm '{at}/waiting.'$$\nexec \"$ffmpeg\" \"$@\""
            ),
        );
        Self {
            folder,
            held_open: None,
        }
    }

    /// How many have come to the gate so far.
    pub fn arrived(&self) -> usize {
        files_in(&self.folder)
            .iter()
            .filter(|name| name.starts_with("arrived."))
            .count()
    }

    /// Processes that wait at the gate.
    pub fn waiting(&self) -> Vec<u32> {
        files_in(&self.folder)
            .iter()
            .filter_map(|name| name.strip_prefix("waiting.")?.parse().ok())
            .filter(|pid| is_running(*pid))
            .collect()
    }

    /// Returns when as many processes wait.
    pub fn reached_by(&self, count: usize) {
        eventually("ffmpeg waits at its gate", || self.waiting().len() == count);
    }

    /// Lets those that wait and all that follow do their work.
    pub fn open(&mut self) {
        std::fs::write(self.folder.join("open"), "").unwrap();
        // One that looked for the file just before waits at the pipe; the pipe stays open so that it still finds a line.
        let mut pipe = std::fs::File::options()
            .read(true)
            .write(true)
            .open(self.folder.join("pipe"))
            .unwrap();
        pipe.write_all(&[b'\n'; 64]).unwrap();
        self.held_open = Some(pipe);
    }

    /// Lets all that come from now on do their work; those that wait go on waiting.
    pub fn open_for_others(&self) {
        std::fs::write(self.folder.join("open"), "").unwrap();
    }
}
