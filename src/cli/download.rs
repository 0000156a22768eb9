//! Fetching a clip into a file: under a temporary name, resumed where it broke, checked, then renamed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use heldar_footage::proto::{
    Clip, DownloadClipRequest, FileHeader, download_clip_response::Content,
};
use rustix::fs::{CWD, RenameFlags};
use sha2::{Digest as _, Sha256};
use tonic::Status;

use super::connection::{Patience, Server};
use super::failure::CliError;
use super::progress::ProgressView;
use super::signals::Signals;
use super::words;

/// No message for this long means that the download must be taken up anew.
const SILENCE: Duration = Duration::from_secs(30);

/// Where a download goes.
#[derive(Clone, Debug)]
pub struct Target {
    path: PathBuf,
    overwrite: bool,
}

impl Target {
    /// Checks, before any work is done, that `path` can take a file. A folder takes it under the clip's own name.
    ///
    /// # Errors
    /// [`CliError::Usage`] when the folder is missing, or a file is there and must not be overwritten.
    pub fn check(path: &Path, overwrite: bool) -> Result<Self, CliError> {
        let shown = words::plain(&path.to_string_lossy());
        let folder = folder_of(path);
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
            if !overwrite && path.symlink_metadata().is_ok() {
                return Err(CliError::Usage(format!(
                    "{shown} exists already; --force overwrites it"
                )));
            }
        }
        Ok(Self {
            path: path.to_path_buf(),
            overwrite,
        })
    }

    fn file_for(&self, clip: &Clip) -> Result<PathBuf, CliError> {
        if !self.path.is_dir() {
            return Ok(self.path.clone());
        }
        // The name comes from the server; only a plain name may be joined to a folder of ours.
        match Path::new(&clip.file_name).file_name() {
            Some(name) if name == clip.file_name.as_str() => Ok(self.path.join(name)),
            _ => Err(CliError::local(
                "the server's file name cannot be used",
                words::plain(&clip.file_name),
            )),
        }
    }
}

/// Fetches the clip's file and returns where it is. Whatever fails, nothing unfinished stays.
///
/// # Errors
/// [`CliError`] when the server fails, the bytes are not those that were promised, or the file cannot be written.
pub async fn fetch(
    server: &Server,
    clip: &Clip,
    target: &Target,
    view: &mut ProgressView,
    signals: &mut Signals,
) -> Result<PathBuf, CliError> {
    let path = target.file_for(clip)?;
    let mut part = PartFile::create(&path, &clip.id)?;
    tokio::select! {
        received = receive(server, clip, &mut part, view) => received?,
        _ = signals.next() => {
            return Err(CliError::Interrupted(format!("interrupted; the clip stays on the server: {}", server.url_of(&clip.url))));
        }
    }
    part.finish(clip, &path, target.overwrite)?;
    Ok(path)
}

async fn receive(
    server: &Server,
    clip: &Clip,
    part: &mut PartFile,
    view: &mut ProgressView,
) -> Result<(), CliError> {
    let mut patience = Patience::new();
    let begun = Instant::now();
    loop {
        match receive_once(server, clip, part, |done, total| {
            patience.renew();
            view.show_download(done, total, begun.elapsed());
        })
        .await
        {
            Ok(()) => return Ok(()),
            Err(Broken::Here(error)) => return Err(error),
            Err(Broken::There(status)) => {
                let wait = patience
                    .after(&status)
                    .ok_or_else(|| server.failure(status))?;
                view.say("the download broke off; going on with it");
                tokio::time::sleep(wait).await;
            }
        }
    }
}

enum Broken {
    Here(CliError),
    There(Status),
}

async fn receive_once(
    server: &Server,
    clip: &Clip,
    part: &mut PartFile,
    mut on_bytes: impl FnMut(u64, u64),
) -> Result<(), Broken> {
    let offset_bytes = i64::try_from(part.length_bytes).unwrap_or(i64::MAX);
    let request = DownloadClipRequest {
        clip_id: clip.id.clone(),
        offset_bytes,
        limit_bytes: 0,
    };
    let silent = |_| Broken::There(Status::unavailable("the server fell silent"));
    let mut clips = server.clips();
    let opened = tokio::time::timeout(SILENCE, clips.download_clip(request))
        .await
        .map_err(silent)?;
    let mut stream = opened.map_err(Broken::There)?.into_inner();
    let mut total_bytes = 0;
    while let Some(message) = tokio::time::timeout(SILENCE, stream.message())
        .await
        .map_err(silent)?
        .map_err(Broken::There)?
    {
        match message.content {
            Some(Content::Header(header)) => {
                check_header(clip, &header, offset_bytes).map_err(Broken::Here)?;
                total_bytes = u64::try_from(header.total_size_bytes).unwrap_or_default();
            }
            Some(Content::Data(data)) => {
                part.write(&data).map_err(Broken::Here)?;
                on_bytes(part.length_bytes, total_bytes);
            }
            None => {}
        }
    }
    if part.length_bytes < total_bytes {
        return Err(Broken::There(Status::unavailable(
            "the download ended early",
        )));
    }
    Ok(())
}

/// A file that is not the clip's, or not from where it was asked for, would be caught by its hash; this says why.
fn check_header(clip: &Clip, header: &FileHeader, offset_bytes: i64) -> Result<(), CliError> {
    if header.sha256 != clip.sha256
        || header.total_size_bytes != clip.size_bytes
        || header.offset_bytes != offset_bytes
    {
        return Err(CliError::local(
            "the download cannot be used",
            "the server announced another file than the clip's",
        ));
    }
    Ok(())
}

/// An unfinished file beside its final place; it is removed unless it is finished.
struct PartFile {
    path: PathBuf,
    file: File,
    hash: Sha256,
    length_bytes: u64,
    is_finished: bool,
}

impl PartFile {
    fn create(target: &Path, clip_id: &str) -> Result<Self, CliError> {
        let id: String = clip_id
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
            .collect();
        let path = folder_of(target).join(format!(".{id}.{}.part", std::process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| CliError::file("write", &path, error))?;
        Ok(Self {
            path,
            file,
            hash: Sha256::new(),
            length_bytes: 0,
            is_finished: false,
        })
    }

    fn write(&mut self, data: &[u8]) -> Result<(), CliError> {
        self.file
            .write_all(data)
            .map_err(|error| CliError::file("write", &self.path, error))?;
        self.hash.update(data);
        self.length_bytes += data.len() as u64;
        Ok(())
    }

    fn finish(mut self, clip: &Clip, target: &Path, overwrite: bool) -> Result<(), CliError> {
        let digest: String = self
            .hash
            .finalize_reset()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if digest != clip.sha256 || i64::try_from(self.length_bytes) != Ok(clip.size_bytes) {
            let reason = format!(
                "{} with SHA-256 {digest} arrived; the clip has {} and {}",
                words::count(i64::try_from(self.length_bytes).unwrap_or(i64::MAX), "byte"),
                words::count(clip.size_bytes, "byte"),
                words::plain(&clip.sha256)
            );
            return Err(CliError::local("the download is not the clip", reason));
        }
        self.file
            .sync_all()
            .map_err(|error| CliError::file("write", &self.path, error))?;
        self.rename(target, overwrite)
            .map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => CliError::Usage(format!(
                    "{} exists already; --force overwrites it",
                    words::plain(&target.to_string_lossy())
                )),
                _ => CliError::file("write", target, error),
            })?;
        self.is_finished = true;
        // The new name must outlast a loss of power too.
        let folder = folder_of(target);
        File::open(&folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| CliError::file("write", &folder, error))
    }

    fn rename(&self, target: &Path, overwrite: bool) -> io::Result<()> {
        if overwrite {
            return std::fs::rename(&self.path, target);
        }
        match rustix::fs::renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
            // Some file systems lack the flag; a hard link does not replace either.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                std::fs::hard_link(&self.path, target)?;
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
    use heldar_footage::proto::Clip;

    use super::{CliError, PartFile, Target};

    fn clip_of(bytes: &[u8]) -> Clip {
        use sha2::Digest as _;
        let sha256 = sha2::Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let size_bytes = i64::try_from(bytes.len()).unwrap();
        Clip {
            id: "clip_1".into(),
            file_name: "clip_1.mp4".into(),
            sha256,
            size_bytes,
            ..Clip::default()
        }
    }

    fn names_in(folder: &std::path::Path) -> Vec<String> {
        let names = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_whole_download_gets_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.mp4");
        let mut part = PartFile::create(&target, "clip_1").unwrap();
        part.write(b"foot").unwrap();
        part.write(b"age").unwrap();
        part.finish(&clip_of(b"footage"), &target, false).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"footage");
        assert_eq!(names_in(folder.path()), ["out.mp4"]);
    }

    #[test]
    fn bytes_that_are_not_the_clips_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.mp4");
        let mut part = PartFile::create(&target, "clip_1").unwrap();
        part.write(b"FOOTAGE").unwrap();
        assert!(part.finish(&clip_of(b"footage"), &target, false).is_err());
        assert!(names_in(folder.path()).is_empty());
    }

    #[test]
    fn a_file_that_came_meanwhile_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.mp4");
        for (overwrite, kept) in [(false, &b"mine"[..]), (true, b"footage")] {
            std::fs::write(&target, b"mine").unwrap();
            let mut part = PartFile::create(&target, "clip_1").unwrap();
            part.write(b"footage").unwrap();
            assert_eq!(
                part.finish(&clip_of(b"footage"), &target, overwrite)
                    .is_ok(),
                overwrite
            );
            assert_eq!(std::fs::read(&target).unwrap(), kept);
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
        assert!(matches!(
            Target::check(&folder.path().join("no/such.mp4"), false),
            Err(CliError::Usage(_))
        ));
    }

    #[test]
    fn a_server_cannot_choose_a_place_outside_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::check(folder.path(), false).unwrap();
        assert_eq!(
            target.file_for(&clip_of(b"")).unwrap(),
            folder.path().join("clip_1.mp4")
        );
        for name in ["../evil", "/etc/evil", "a/b", "..", ""] {
            let clip = Clip {
                file_name: name.into(),
                ..clip_of(b"")
            };
            assert!(target.file_for(&clip).is_err(), "{name}");
        }
    }
}
