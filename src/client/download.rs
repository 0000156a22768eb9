//! Downloads: kept under a temporary name until the file is whole and has the right hash.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use same_file::Handle;
use sha2::{Digest as _, Sha256};
use tonic::Code;

use super::error::{Error, Failure};
use super::footage::Footage;
use crate::proto::{
    Archive, Clip, DownloadArchiveRequest, DownloadClipRequest, FileHeader,
    download_archive_response, download_clip_response,
};

/// A message of a download.
#[derive(Debug)]
pub enum Piece {
    /// The file as a whole; comes first.
    Header(FileHeader),
    /// The next bytes.
    Data(Vec<u8>),
}

/// What can be downloaded: a [`Clip`] or an [`Archive`].
pub trait Downloadable: sealed::Source {}

impl Downloadable for Clip {}
impl Downloadable for Archive {}

pub(super) mod sealed {
    use super::{BoxStream, Failure, Footage, Piece};

    /// Where a file comes from, and what it is to be.
    pub trait Source: Sync {
        fn file_name(&self) -> &str;
        fn size_bytes(&self) -> i64;
        fn sha256(&self) -> &str;
        fn fetch(
            &self,
            footage: &Footage,
            offset_bytes: i64,
        ) -> impl Future<Output = Result<BoxStream<'static, Result<Piece, Failure>>, Failure>> + Send;
    }
}

impl sealed::Source for Clip {
    fn file_name(&self) -> &str {
        &self.file_name
    }

    fn size_bytes(&self) -> i64 {
        self.size_bytes
    }

    fn sha256(&self) -> &str {
        &self.sha256
    }

    async fn fetch(
        &self,
        footage: &Footage,
        offset_bytes: i64,
    ) -> Result<BoxStream<'static, Result<Piece, Failure>>, Failure> {
        let request = DownloadClipRequest {
            clip_id: self.id.clone(),
            offset_bytes,
            limit_bytes: 0,
        };
        let pieces = footage.clips().download_clip(request).await?.into_inner();
        let pieces = pieces.map_err(Failure::from);
        Ok(pieces
            .try_filter_map(async |response| {
                Ok(response.content.map(|content| match content {
                    download_clip_response::Content::Header(header) => Piece::Header(header),
                    download_clip_response::Content::Data(data) => Piece::Data(data),
                }))
            })
            .boxed())
    }
}

impl sealed::Source for Archive {
    fn file_name(&self) -> &str {
        &self.file_name
    }

    fn size_bytes(&self) -> i64 {
        self.size_bytes
    }

    fn sha256(&self) -> &str {
        &self.sha256
    }

    async fn fetch(
        &self,
        footage: &Footage,
        offset_bytes: i64,
    ) -> Result<BoxStream<'static, Result<Piece, Failure>>, Failure> {
        let request = DownloadArchiveRequest {
            archive_id: self.id.clone(),
            offset_bytes,
            limit_bytes: 0,
        };
        let pieces = footage
            .archives()
            .download_archive(request)
            .await?
            .into_inner();
        let pieces = pieces.map_err(Failure::from);
        Ok(pieces
            .try_filter_map(async |response| {
                Ok(response.content.map(|content| match content {
                    download_archive_response::Content::Header(header) => Piece::Header(header),
                    download_archive_response::Content::Data(data) => Piece::Data(data),
                }))
            })
            .boxed())
    }
}

/// Fetches the file, however often the way to it breaks, and gives it its name.
pub(super) async fn save(
    footage: &Footage,
    what: &impl Downloadable,
    path: &Path,
    mut on_progress: impl FnMut(u64, u64),
) -> Result<PathBuf, Error> {
    let (file_name, sha256) = (what.file_name().to_owned(), what.sha256().to_owned());
    let (path, size_bytes) = (path.to_owned(), unsigned(what.size_bytes()));
    let mut arriving =
        blocking(move || Arriving::open(&path, &file_name, size_bytes, sha256)).await?;
    let mut patience = footage.patience();
    loop {
        let failure = match what.fetch(footage, arriving.offset_bytes()).await {
            Ok(mut pieces) => loop {
                match pieces.next().await {
                    Some(Ok(Piece::Header(header))) => {
                        if !arriving.expect(&header)? {
                            break None;
                        }
                    }
                    Some(Ok(Piece::Data(data))) => {
                        patience.renew();
                        arriving = blocking(move || arriving.take(&data)).await?;
                        on_progress(arriving.received_bytes, arriving.size_bytes);
                    }
                    Some(Err(failure)) => break Some(failure),
                    None => break None,
                }
            },
            Err(failure) => Some(failure),
        };
        if failure.is_none() && arriving.received_bytes >= arriving.size_bytes {
            arriving = match blocking(move || arriving.finish()).await? {
                Outcome::Saved(path) => return Ok(path),
                Outcome::Again(arriving) => arriving,
            };
            continue;
        }
        tokio::time::sleep(patience.pause_after(failure)?).await;
    }
}

/// Does what may wait for a disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Failure::here(Code::Cancelled, "the runtime is shutting down").into()),
        },
    }
}

/// A size of the server; a negative one would be its fault, and is none.
fn unsigned(size_bytes: i64) -> u64 {
    u64::try_from(size_bytes).unwrap_or_default()
}

enum Outcome {
    Saved(PathBuf),
    /// What an earlier program left was wrong, or another download took the file away, and all has to come again.
    Again(Arriving),
}

/// A file on its way.
struct Arriving {
    path: PathBuf,
    part: PathBuf,
    file: File,
    hash: Sha256,
    received_bytes: u64,
    size_bytes: u64,
    sha256: String,
    /// The caller knows the hash, so that of the server cannot take its place.
    is_known_by_hash: bool,
    etag: Option<String>,
    /// Its beginning comes from an earlier program.
    is_inherited: bool,
    is_finished: bool,
}

impl Arriving {
    fn open(path: &Path, file_name: &str, size_bytes: u64, sha256: String) -> Result<Self, Error> {
        let path = target(path, file_name)?;
        // What an earlier program left is taken up only where the hash can tell whether it fits.
        let mark = sha256
            .get(..16)
            .map_or_else(|| uuid::Uuid::now_v7().simple().to_string(), str::to_owned);
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{mark}.part"));
        let part = path.with_file_name(name);
        let file = open_part(&part).map_err(|source| of_file(&part, source))?;
        let mut arriving = Self {
            path,
            part,
            file,
            hash: Sha256::new(),
            received_bytes: 0,
            size_bytes,
            is_known_by_hash: !sha256.is_empty(),
            sha256,
            etag: None,
            is_inherited: false,
            is_finished: false,
        };
        arriving
            .take_up()
            .map_err(|source| of_file(&arriving.part, source))?;
        Ok(arriving)
    }

    fn take_up(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() > self.size_bytes {
            self.begin_again()?;
        }
        let mut chunk = vec![0; 1 << 20];
        loop {
            let length = self.file.read(&mut chunk)?;
            if length == 0 {
                break;
            }
            self.hash.update(&chunk[..length]);
            self.received_bytes += length as u64;
        }
        self.is_inherited = self.received_bytes > 0;
        Ok(())
    }

    /// In a new file: another download may be at work in this one.
    fn begin_again(&mut self) -> io::Result<()> {
        match std::fs::remove_file(&self.part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.file = open_part(&self.part)?;
        self.hash = Sha256::new();
        self.received_bytes = 0;
        self.is_inherited = false;
        Ok(())
    }

    fn offset_bytes(&self) -> i64 {
        i64::try_from(self.received_bytes).unwrap_or(i64::MAX)
    }

    /// Takes a header; false when the file changed meanwhile and the call has to be made anew, from the start.
    fn expect(&mut self, header: &FileHeader) -> Result<bool, Error> {
        if self.is_known_by_hash && header.sha256 != self.sha256 {
            let message = format!(
                "{}: the server has another file under this name, with SHA-256 {}, not {}",
                self.path.display(),
                header.sha256,
                self.sha256
            );
            return Err(Failure::here(Code::DataLoss, message).into());
        }
        let has_changed = self.etag.as_ref().is_some_and(|etag| *etag != header.etag);
        self.etag = Some(header.etag.clone());
        self.sha256.clone_from(&header.sha256);
        self.size_bytes = unsigned(header.total_size_bytes);
        if has_changed {
            self.begin_again()
                .map_err(|source| of_file(&self.part, source))?;
            return Ok(header.offset_bytes == 0);
        }
        Ok(true)
    }

    fn take(mut self, data: &[u8]) -> Result<Self, Error> {
        self.file
            .write_all(data)
            .map_err(|source| of_file(&self.part, source))?;
        self.hash.update(data);
        self.received_bytes += data.len() as u64;
        Ok(self)
    }

    /// Gives the file its name, if it is what the server promised.
    fn finish(mut self) -> Result<Outcome, Error> {
        self.file
            .sync_all()
            .map_err(|source| of_file(&self.part, source))?;
        let found: String = self
            .hash
            .clone()
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let is_right = self.sha256.is_empty() || found == self.sha256;
        if is_right && self.received_bytes == self.size_bytes {
            if self.name().map_err(|source| of_file(&self.path, source))? {
                self.is_finished = true;
                return Ok(Outcome::Saved(self.path.clone()));
            }
            self.begin_again()
                .map_err(|source| of_file(&self.part, source))?;
            return Ok(Outcome::Again(self));
        }
        if self.is_inherited {
            self.begin_again()
                .map_err(|source| of_file(&self.part, source))?;
            return Ok(Outcome::Again(self));
        }
        let promised = if self.sha256.is_empty() {
            "any"
        } else {
            &self.sha256
        };
        let failure = Failure::here(
            Code::DataLoss,
            format!(
                "{}: {} bytes with SHA-256 {found} came, not {} with {promised}",
                self.path.display(),
                self.received_bytes,
                self.size_bytes,
            ),
        );
        // Nothing of it is worth to be taken up.
        self.received_bytes = 0;
        Err(failure.into())
    }

    /// Gives the file its name; false when another download of it to the same place took it away and began anew.
    fn name(&self) -> io::Result<bool> {
        let own = Handle::from_file(self.file.try_clone()?)?;
        let is_at = |path: &Path| Handle::from_path(path).is_ok_and(|there| there == own);
        if is_at(&self.part) {
            match std::fs::rename(&self.part, &self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // Or the other was faster.
        Ok(is_at(&self.path))
    }
}

impl Drop for Arriving {
    /// Leaves what came where a later download finds it; nothing where none could tell whether it fits.
    fn drop(&mut self) {
        if !self.is_finished && (self.sha256.is_empty() || self.received_bytes == 0) {
            // There is nobody left to tell; the caller already hears why it failed.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// Not for appending: two downloads of one file to one place write the same bytes to the same positions.
fn open_part(part: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true);
    options.truncate(false).open(part)
}

/// A server's name for a file must not lead out of the folder.
fn target(path: &Path, file_name: &str) -> Result<PathBuf, Error> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    match Path::new(file_name).file_name() {
        Some(name) => Ok(path.join(name)),
        None => Err(of_file(
            path,
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the server gave the file no name that can be used: {file_name:?}"),
            ),
        )),
    }
}

fn of_file(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn a_server_cannot_choose_a_place_outside_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(target(folder, "a.mp4").unwrap(), folder.join("a.mp4"));
        assert_eq!(target(folder, "../../a").unwrap(), folder.join("a"));
        assert!(target(folder, "..").is_err());
        let own = folder.join("own.mp4");
        assert_eq!(target(&own, "a.mp4").unwrap(), own);
    }
}
