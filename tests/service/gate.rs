//! An ffmpeg that waits at a gate: a barrier for tests of what happens while a job runs.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::server::{Site, files_in};

/// A script in place of ffmpeg. It answers questions about its version at once; all else it does only when the gate
/// is open.
pub struct Gate {
    folder: PathBuf,
    open: Option<File>,
}

impl Gate {
    /// Puts a shut gate before the ffmpeg of a site. `before` is shell text that runs before the wait.
    pub fn before(site: &mut Site, before: &str) -> Self {
        let folder = site.path("gate");
        std::fs::create_dir_all(folder.join("waiting")).unwrap();
        let fifo = folder.join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        // Opening a FIFO waits until the other side is opened too (fifo(7)).
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *-version*) exec ffmpeg \"$@\" ;; esac\n\
             : > '{waiting}'/$$\n{before}\n: < '{fifo}'\nexec ffmpeg \"$@\"\n",
            waiting = folder.join("waiting").display(),
            fifo = fifo.display(),
        );
        let program = folder.join("ffmpeg");
        write_program(&program, &script);
        site.set("HELDAR_FFMPEG_BIN", program.to_str().unwrap());
        Self { folder, open: None }
    }

    /// Lets everything through from now on.
    pub fn open(&mut self) {
        // Opened for both, a FIFO has a writer for as long as the file lives, and this call does not wait.
        let fifo = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.folder.join("fifo"))
            .unwrap();
        self.open = Some(fifo);
    }

    /// How many have come to the gate so far.
    pub fn arrived(&self) -> usize {
        files_in(&self.folder.join("waiting")).len()
    }
}

/// Writes a script that can be run.
pub fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
