//! Opening a recorder's files without being led out of its folder.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Component, Path};

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// How often a race with a rename is tried again before the steps are walked one by one.
const RENAME_RACE_TRIES: usize = 3;

/// Opens the regular file `relative` beneath `root` for reading.
///
/// `root` itself may be reached through symbolic links; no step of `relative` may be one. The
/// check and the opening are one operation of the kernel, so a link put in place between them
/// leads nowhere.
///
/// # Errors
/// `InvalidInput` when `relative` is absolute, empty or has a `.` or `..` step, or names something
/// that is no regular file. `ELOOP` (as the raw OS error) or `NotADirectory` when a step is a symbolic
/// link. `NotFound` when the file or the root is not there.
pub fn open_beneath(root: &Path, relative: &Path) -> io::Result<File> {
    open_seen(root, relative).map(|(file, _)| file)
}

/// The same, with what was seen of the file when it was open.
///
/// # Errors
/// See [`open_beneath()`].
pub fn open_seen(root: &Path, relative: &Path) -> io::Result<(File, Metadata)> {
    let steps = plain_steps(relative)?;
    Root::open(root)?.open_plain(relative, &steps)
}

/// A folder that files are opened beneath, for many of them one after another.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// # Errors
    /// When it is not there, or is no folder.
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, root, flags, Mode::empty())?))
    }

    /// See [`open_seen()`].
    ///
    /// # Errors
    /// See [`open_beneath()`].
    pub fn open_seen(&self, relative: &Path) -> io::Result<(File, Metadata)> {
        self.open_plain(relative, &plain_steps(relative)?)
    }

    fn open_plain(&self, relative: &Path, steps: &[&Path]) -> io::Result<(File, Metadata)> {
        let opened = match open_with_openat2(&self.0, relative) {
            // Kernels before 5.6 lack the call, and some sandboxes refuse calls they do not know.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => open_step_by_step(&self.0, steps)?,
            other => other?,
        };
        only_regular(opened)
    }
}

/// A pipe opened for reading waits for a writer, and a terminal could become ours; neither must
/// happen before it shows that the file is no regular one.
fn file_flags() -> OFlags {
    OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY
}

fn plain_steps(relative: &Path) -> io::Result<Vec<&Path>> {
    let steps: Vec<&Path> = relative
        .components()
        .map(|step| match step {
            Component::Normal(name) => Ok(Path::new(name)),
            _ => Err(invalid("the path is not a plain path beneath the root")),
        })
        .collect::<io::Result<_>>()?;
    // `components` drops `.` steps and repeated slashes; a key that holds them names no segment.
    let rebuilt: std::path::PathBuf = steps.iter().collect();
    if steps.is_empty() || rebuilt.as_os_str() != relative.as_os_str() {
        return Err(invalid("the path is not a plain path beneath the root"));
    }
    Ok(steps)
}

fn open_with_openat2(root: &OwnedFd, relative: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut result = Err(Errno::AGAIN);
    for _ in 0..RENAME_RACE_TRIES {
        result = openat2(root, relative, file_flags(), Mode::empty(), resolve);
        if !matches!(result, Err(Errno::AGAIN)) {
            break;
        }
    }
    result
}

/// The same by hand: each folder is opened from the one before and no step follows a link.
fn open_step_by_step(root: &OwnedFd, steps: &[&Path]) -> io::Result<OwnedFd> {
    let mut at: Option<OwnedFd> = None;
    let (file, folders) = steps
        .split_last()
        .ok_or_else(|| invalid("the path is not a plain path beneath the root"))?;
    for folder in folders {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = Some(openat(
            at.as_ref().unwrap_or(root),
            *folder,
            flags,
            Mode::empty(),
        )?);
    }
    Ok(openat(
        at.as_ref().unwrap_or(root),
        *file,
        file_flags() | OFlags::NOFOLLOW,
        Mode::empty(),
    )?)
}

fn only_regular(opened: OwnedFd) -> io::Result<(File, Metadata)> {
    let file = File::from(opened);
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(invalid("not a regular file"))
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    /// Both ways to open a file, so that each rule is shown for each.
    fn both_ways(root: &Path, relative: &str) -> [io::Result<File>; 2] {
        let by_steps = plain_steps(Path::new(relative)).and_then(|steps| {
            let root = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
            let (file, _) = only_regular(open_step_by_step(&root, &steps)?)?;
            Ok(file)
        });
        [open_beneath(root, Path::new(relative)), by_steps]
    }

    fn text_of(file: io::Result<File>) -> String {
        let mut text = String::new();
        file.unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_file_beneath_the_root_opens_also_when_the_root_is_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("rec");
        std::fs::create_dir_all(root.join("cam")).unwrap();
        std::fs::write(root.join("cam/-y.mp4"), "footage").unwrap();
        let link = folder.path().join("link");
        symlink(&root, &link).unwrap();
        for root in [&root, &link] {
            for file in both_ways(root, "cam/-y.mp4") {
                assert_eq!(text_of(file), "footage");
            }
        }
    }

    #[test]
    fn links_are_never_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("rec");
        std::fs::create_dir_all(root.join("cam")).unwrap();
        std::fs::write(folder.path().join("secret.mp4"), "secret").unwrap();
        std::fs::write(root.join("cam/a.mp4"), "footage").unwrap();
        symlink("../../secret.mp4", root.join("cam/out.mp4")).unwrap();
        symlink("a.mp4", root.join("cam/in.mp4")).unwrap();
        symlink(folder.path(), root.join("up")).unwrap();
        symlink("loop.mp4", root.join("loop.mp4")).unwrap();
        for relative in ["cam/out.mp4", "cam/in.mp4", "up/secret.mp4", "loop.mp4"] {
            for file in both_ways(&root, relative) {
                let error = file.unwrap_err();
                let errno = Errno::from_io_error(&error).unwrap();
                assert!(
                    matches!(errno, Errno::LOOP | Errno::NOTDIR),
                    "{relative}: {error}"
                );
            }
        }
    }

    #[test]
    fn paths_that_are_not_plain_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("rec");
        std::fs::create_dir_all(root.join("cam")).unwrap();
        std::fs::write(folder.path().join("secret.mp4"), "secret").unwrap();
        std::fs::write(root.join("a.mp4"), "footage").unwrap();
        let absolute = folder.path().join("secret.mp4");
        for relative in [
            "../secret.mp4",
            "cam/../../secret.mp4",
            "./a.mp4",
            "cam/../a.mp4",
            "cam/./a.mp4",
            "a.mp4/",
            "cam//a.mp4",
            "",
            ".",
            "..",
            absolute.to_str().unwrap(),
        ] {
            for file in both_ways(&root, relative) {
                assert_eq!(
                    file.unwrap_err().kind(),
                    io::ErrorKind::InvalidInput,
                    "{relative}"
                );
            }
        }
    }

    #[test]
    fn folders_and_pipes_are_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("dir.mp4")).unwrap();
        let pipe = folder.path().join("pipe.mp4");
        rustix::fs::mknodat(
            CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        for relative in ["dir.mp4", "pipe.mp4"] {
            for file in both_ways(folder.path(), relative) {
                assert_eq!(
                    file.unwrap_err().kind(),
                    io::ErrorKind::InvalidInput,
                    "{relative}"
                );
            }
        }
    }

    #[test]
    fn a_missing_file_and_a_missing_root_are_not_found() {
        let folder = tempfile::tempdir().unwrap();
        for file in both_ways(folder.path(), "cam/a.mp4") {
            assert_eq!(file.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        for file in both_ways(&folder.path().join("gone"), "a.mp4") {
            assert_eq!(file.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }
}
