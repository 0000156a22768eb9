//! Files that arrive: under a temporary name beside their place, checked against what was promised, then renamed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use sha2::{Digest as _, Sha256};

use super::failure::CliError;
use super::words;

/// Where a file is to go.
#[derive(Clone, Debug)]
pub struct Target {
    path: PathBuf,
    overwrite: bool,
}

impl Target {
    /// Checks, before any work is done, that `path` can take a file. A folder takes it under the file's own name, and a
    /// link stays: what it leads to is replaced.
    ///
    /// # Errors
    /// [`CliError::Usage`] when the folder is missing, when a file is there and must not be overwritten, or when
    /// something else than a regular file is there.
    pub fn check(path: &Path, overwrite: bool) -> Result<Self, CliError> {
        let shown = words::plain(&path.to_string_lossy());
        let folder = folder_of(path);
        if path == Path::new("-") {
            return Err(CliError::Usage(
                "only `footage archive --stream` writes to standard output; ./- is a file of that name".into(),
            ));
        }
        let mut place = path.to_path_buf();
        if !path.is_dir() {
            if !folder.is_dir() {
                return Err(CliError::Usage(format!(
                    "there is no folder {}",
                    words::plain(&folder.to_string_lossy())
                )));
            }
            if path.file_name().is_none() {
                return Err(CliError::Usage(format!("{shown} is no name for a file")));
            }
            place = free_place(path, overwrite)?;
        }
        Ok(Self {
            path: place,
            overwrite,
        })
    }

    /// The file's place; a folder takes it under `file_name`.
    ///
    /// # Errors
    /// When `file_name`, which comes from the server, is more than a plain name, or its place is taken.
    fn place_for(&self, file_name: &str) -> Result<PathBuf, CliError> {
        if !self.path.is_dir() {
            return Ok(self.path.clone());
        }
        // Only a plain name may be joined to a folder of ours.
        match Path::new(file_name).file_name() {
            Some(name) if name == file_name => free_place(&self.path.join(name), self.overwrite),
            _ => Err(CliError::local(
                "the server's file name cannot be used",
                words::plain(file_name),
            )),
        }
    }
}

/// Where the bytes of a file at `path` go: to where a link there leads, so that the link stays.
///
/// # Errors
/// [`CliError::Usage`] when what is there must not be replaced.
fn free_place(path: &Path, overwrite: bool) -> Result<PathBuf, CliError> {
    let read = |error| CliError::file("write", path, error);
    let is_link = match path.symlink_metadata() {
        Ok(found) => found.is_symlink(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path.to_path_buf()),
        Err(error) => return Err(read(error)),
    };
    let found = match path.metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(CliError::Usage(format!(
                "{} is a link that leads nowhere; name another file",
                words::plain(&path.to_string_lossy())
            )));
        }
        Err(error) => return Err(read(error)),
    };
    if !found.is_file() {
        return Err(not_a_file(path, found.file_type()));
    }
    if !overwrite {
        return Err(exists_already(path));
    }
    if is_link {
        path.canonicalize().map_err(read)
    } else {
        Ok(path.to_path_buf())
    }
}

/// A rename over a device or a pipe would put a regular file in its place, for every program that uses it.
fn not_a_file(path: &Path, kind: std::fs::FileType) -> CliError {
    let kind = if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_symlink() {
        "a link"
    } else {
        "a device"
    };
    CliError::Usage(format!(
        "{} is {kind}, and only a regular file is replaced; name another file",
        words::plain(&path.to_string_lossy())
    ))
}

fn exists_already(path: &Path) -> CliError {
    CliError::Usage(format!(
        "{} exists already; --force overwrites it",
        words::plain(&path.to_string_lossy())
    ))
}

/// What the server says of a whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Its size.
    pub size_bytes: i64,
    /// Its SHA-256, 64 lower-case hexadecimal digits; empty for a clip that is virtual or quick.
    pub sha256: String,
}

/// The bytes that have come so far.
#[derive(Default)]
pub struct Arrived {
    hash: Sha256,
    length_bytes: u64,
}

impl Arrived {
    /// Counts the next bytes.
    pub fn take(&mut self, data: &[u8]) {
        self.hash.update(data);
        self.length_bytes += data.len() as u64;
    }

    /// How many bytes have come.
    pub fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    /// Compares all that has come with what was promised.
    ///
    /// # Errors
    /// When size or hash differ.
    pub fn check(&self, promise: &Promise) -> Result<(), CliError> {
        let digest: String = self
            .hash
            .clone()
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let is_known = promise.sha256.is_empty() || digest == promise.sha256;
        if is_known && i64::try_from(self.length_bytes) == Ok(promise.size_bytes) {
            return Ok(());
        }
        let reason = format!(
            "{} with SHA-256 {digest} arrived; {} with {} were promised",
            words::count(i64::try_from(self.length_bytes).unwrap_or(i64::MAX), "byte"),
            words::count(promise.size_bytes, "byte"),
            words::plain(&promise.sha256)
        );
        Err(CliError::local("the file did not arrive whole", reason))
    }
}

/// An unfinished file beside its final place; it is removed unless it is finished.
pub struct PartFile {
    path: PathBuf,
    place: PathBuf,
    overwrite: bool,
    file: File,
    arrived: Arrived,
    is_finished: bool,
}

impl PartFile {
    /// Makes the file for `target`. The server calls it `file_name`; `id` tells it from others that arrive beside it.
    ///
    /// # Errors
    /// When the server's name cannot be used, or the folder cannot take the file.
    pub fn create(target: &Target, file_name: &str, id: &str) -> Result<Self, CliError> {
        let place = target.place_for(file_name)?;
        let id: String = id
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
            .collect();
        let path = folder_of(&place).join(format!(".{id}.{}.part", std::process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| CliError::file("write", &path, error))?;
        Ok(Self {
            path,
            place,
            overwrite: target.overwrite,
            file,
            arrived: Arrived::default(),
            is_finished: false,
        })
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub fn write(&mut self, data: &[u8]) -> Result<(), CliError> {
        self.file
            .write_all(data)
            .map_err(|error| CliError::file("write", &self.path, error))?;
        self.arrived.take(data);
        Ok(())
    }

    /// How many bytes have been written.
    pub fn length_bytes(&self) -> u64 {
        self.arrived.length_bytes()
    }

    /// Gives the file its name, once it is what was promised and is safe on the disk, and returns where it is.
    ///
    /// # Errors
    /// When it is another file, when its name was taken meanwhile, or when the disk fails.
    pub fn finish(mut self, promise: &Promise) -> Result<PathBuf, CliError> {
        self.arrived.check(promise)?;
        self.file
            .sync_all()
            .map_err(|error| CliError::file("write", &self.path, error))?;
        if let Ok(there) = self.place.symlink_metadata()
            && !there.is_file()
        {
            return Err(not_a_file(&self.place, there.file_type()));
        }
        self.rename().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists_already(&self.place),
            _ => CliError::file("write", &self.place, error),
        })?;
        self.is_finished = true;
        // The new name must outlast a loss of power too.
        let folder = folder_of(&self.place);
        File::open(&folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| CliError::file("write", &folder, error))?;
        Ok(self.place.clone())
    }

    fn rename(&self) -> io::Result<()> {
        let place = &self.place;
        if self.overwrite {
            return std::fs::rename(&self.path, place);
        }
        match rustix::fs::renameat_with(CWD, &self.path, CWD, place, RenameFlags::NOREPLACE) {
            // Some file systems lack the flag; a hard link does not replace either.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                std::fs::hard_link(&self.path, place)?;
                std::fs::remove_file(&self.path)
            }
            other => Ok(other?),
        }
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.is_finished {
            // There is nobody left to tell; the command already reports why it failed.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::{CliError, PartFile, Promise, Target};

    fn promise_of(bytes: &[u8]) -> Promise {
        use sha2::Digest as _;
        let sha256 = sha2::Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Promise {
            size_bytes: i64::try_from(bytes.len()).unwrap(),
            sha256,
        }
    }

    fn names_in(folder: &std::path::Path) -> Vec<String> {
        let names = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_whole_file_gets_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("out.mp4");
        let target = Target::check(&place, false).unwrap();
        let mut part = PartFile::create(&target, "clip_1.mp4", "clip_1").unwrap();
        part.write(b"foot").unwrap();
        part.write(b"age").unwrap();
        assert_eq!(part.finish(&promise_of(b"footage")).unwrap(), place);
        assert_eq!(std::fs::read(&place).unwrap(), b"footage");
        assert_eq!(names_in(folder.path()), ["out.mp4"]);
    }

    #[test]
    fn bytes_that_were_not_promised_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("out.mp4");
        let target = Target::check(&place, false).unwrap();
        for wrong in [&b"FOOTAGE"[..], b"footage and more", b"foot", b""] {
            let mut part = PartFile::create(&target, "clip_1.mp4", "clip_1").unwrap();
            part.write(wrong).unwrap();
            assert!(part.finish(&promise_of(b"footage")).is_err());
            assert!(names_in(folder.path()).is_empty());
        }
    }

    #[test]
    fn a_file_that_came_meanwhile_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("out.mp4");
        for (overwrite, kept) in [(false, &b"mine"[..]), (true, b"footage")] {
            let _ = std::fs::remove_file(&place);
            let target = Target::check(&place, overwrite).unwrap();
            std::fs::write(&place, b"mine").unwrap();
            let mut part = PartFile::create(&target, "clip_1.mp4", "clip_1").unwrap();
            part.write(b"footage").unwrap();
            assert_eq!(part.finish(&promise_of(b"footage")).is_ok(), overwrite);
            assert_eq!(std::fs::read(&place).unwrap(), kept);
            assert_eq!(names_in(folder.path()), ["out.mp4"]);
        }
    }

    #[test]
    fn a_target_that_cannot_take_the_file_is_refused_before_any_work() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken.mp4");
        std::fs::write(&taken, b"mine").unwrap();
        assert!(matches!(
            Target::check(&taken, false),
            Err(CliError::Usage(_))
        ));
        assert!(Target::check(&taken, true).is_ok());
        let output = std::path::Path::new("-");
        assert!(matches!(
            Target::check(output, true),
            Err(CliError::Usage(_))
        ));
        assert!(matches!(
            Target::check(&folder.path().join("no/such.mp4"), false),
            Err(CliError::Usage(_))
        ));
    }

    fn make_pipe(path: &std::path::Path) {
        use rustix::fs::{CWD, FileType, Mode};
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    fn check_is_refused_as(path: &std::path::Path, overwrite: bool, reason: &str) {
        match Target::check(path, overwrite) {
            Err(CliError::Usage(said)) => assert!(said.contains(reason), "{said}"),
            other => panic!("{}: {other:?}", path.display()),
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_whether_or_not_it_may_be_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, socket) = (folder.path().join("pipe"), folder.path().join("socket"));
        make_pipe(&pipe);
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let (link, lost) = (folder.path().join("link"), folder.path().join("lost"));
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        std::os::unix::fs::symlink("nowhere", &lost).unwrap();
        for overwrite in [false, true] {
            check_is_refused_as(&pipe, overwrite, "pipe is a named pipe, and only");
            check_is_refused_as(&link, overwrite, "link is a named pipe, and only");
            check_is_refused_as(&socket, overwrite, "is a socket");
            check_is_refused_as(&lost, overwrite, "a link that leads nowhere");
        }
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let file = elsewhere.path().canonicalize().unwrap().join("old.mp4");
        std::fs::write(&file, b"old").unwrap();
        let link = folder.path().join("out.mp4");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        check_is_refused_as(&link, false, "exists already");
        let target = Target::check(&link, true).unwrap();
        let mut part = PartFile::create(&target, "clip_1.mp4", "clip_1").unwrap();
        part.write(b"footage").unwrap();
        assert_eq!(part.finish(&promise_of(b"footage")).unwrap(), file);
        assert_eq!(std::fs::read_link(&link).unwrap(), file);
        assert_eq!(std::fs::read(&file).unwrap(), b"footage");
        assert_eq!(names_in(folder.path()), ["out.mp4"]);
        assert_eq!(names_in(elsewhere.path()), ["old.mp4"]);
    }

    #[test]
    fn a_folder_takes_the_file_only_where_nothing_but_a_regular_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("clip_1.mp4");
        make_pipe(&place);
        let target = Target::check(folder.path(), true).unwrap();
        assert!(PartFile::create(&target, "clip_1.mp4", "clip_1").is_err());
        std::fs::remove_file(&place).unwrap();
        // It may also come while the bytes do.
        let mut part = PartFile::create(&target, "clip_1.mp4", "clip_1").unwrap();
        part.write(b"footage").unwrap();
        make_pipe(&place);
        assert!(part.finish(&promise_of(b"footage")).is_err());
        assert_eq!(names_in(folder.path()), ["clip_1.mp4"]);
        assert!(!place.metadata().unwrap().is_file());
    }

    #[test]
    fn a_server_cannot_choose_a_place_outside_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::check(folder.path(), false).unwrap();
        assert_eq!(
            target.place_for("clip_1.mp4").unwrap(),
            folder.path().join("clip_1.mp4")
        );
        for name in ["../evil", "/etc/evil", "a/b", "..", ""] {
            assert!(target.place_for(name).is_err(), "{name}");
        }
    }
}
