//! Fetching a finished file from the server, resumed where it broke.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use heldar_footage::proto::{
    DownloadArchiveRequest, DownloadClipRequest, FileHeader, Job, download_archive_response,
    download_clip_response, job,
};
use tonic::Status;

use super::connection::{Patience, Server};
use super::failure::CliError;
use super::part_file::{PartFile, Promise, Target};
use super::progress::ProgressView;
use super::signals::Signals;

/// No message for this long means that a stream of bytes has died.
pub const SILENCE: Duration = Duration::from_secs(30);

/// A finished file on the server: the result of a job.
#[derive(Clone, Debug)]
pub struct StoredFile {
    service: Service,
    id: String,
    file_name: String,
    url: String,
    promise: Promise,
}

/// The service that hands the file out.
#[derive(Clone, Copy, Debug)]
enum Service {
    Clips,
    Archives,
}

impl StoredFile {
    /// The file that the job made; `None` when it made none.
    pub fn of(job: &Job) -> Option<Self> {
        let (service, id, file_name, url, size_bytes, sha256) = match job.result.as_ref()? {
            job::Result::Clip(clip) => (
                Service::Clips,
                &clip.id,
                &clip.file_name,
                &clip.url,
                clip.size_bytes,
                &clip.sha256,
            ),
            job::Result::Archive(archive) => (
                Service::Archives,
                &archive.id,
                &archive.file_name,
                &archive.url,
                archive.size_bytes,
                &archive.sha256,
            ),
            _ => return None,
        };
        Some(Self {
            service,
            id: id.clone(),
            file_name: file_name.clone(),
            url: url.clone(),
            promise: Promise {
                size_bytes,
                sha256: sha256.clone(),
            },
        })
    }

    /// Asks for the file from `offset_bytes` to its end.
    async fn open(&self, server: &Server, offset_bytes: i64) -> Result<Parts, Status> {
        let id = self.id.clone();
        match self.service {
            Service::Clips => {
                use download_clip_response::Content;
                let request = DownloadClipRequest {
                    clip_id: id,
                    offset_bytes,
                    limit_bytes: 0,
                };
                let stream = server.clips().download_clip(request).await?.into_inner();
                let part = |content| match content {
                    Content::Header(header) => Part::Header(header),
                    Content::Data(data) => Part::Data(data),
                };
                Ok(stream.map_ok(move |m| m.content.map(part)).boxed())
            }
            Service::Archives => {
                use download_archive_response::Content;
                let request = DownloadArchiveRequest {
                    archive_id: id,
                    offset_bytes,
                    limit_bytes: 0,
                };
                let opened = server.archives().download_archive(request).await?;
                let part = |content| match content {
                    Content::Header(header) => Part::Header(header),
                    Content::Data(data) => Part::Data(data),
                };
                Ok(opened
                    .into_inner()
                    .map_ok(move |m| m.content.map(part))
                    .boxed())
            }
        }
    }
}

/// A download as it comes; a message of a newer server may hold nothing that is known here.
type Parts = BoxStream<'static, Result<Option<Part>, Status>>;

enum Part {
    Header(FileHeader),
    Data(Vec<u8>),
}

/// Fetches the file and returns where it is. Whatever fails, nothing unfinished stays.
///
/// # Errors
/// [`CliError`] when the server fails, the bytes are not those that were promised, or the file cannot be written.
pub async fn fetch(
    server: &Server,
    stored: &StoredFile,
    target: &Target,
    view: &mut ProgressView,
    signals: &mut Signals,
) -> Result<PathBuf, CliError> {
    let mut part = PartFile::create(target, &stored.file_name, &stored.id)?;
    tokio::select! {
        received = receive(server, stored, &mut part, view) => received?,
        _ = signals.next() => {
            return Err(CliError::Interrupted(format!("interrupted; the file stays on the server: {}", server.url_of(&stored.url))));
        }
    }
    part.finish(&stored.promise)
}

async fn receive(
    server: &Server,
    stored: &StoredFile,
    part: &mut PartFile,
    view: &mut ProgressView,
) -> Result<(), CliError> {
    let mut patience = Patience::new();
    let begun = Instant::now();
    let mut etag = None;
    loop {
        match receive_once(server, stored, part, &mut etag, |done, total| {
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
    stored: &StoredFile,
    part: &mut PartFile,
    etag: &mut Option<String>,
    mut on_bytes: impl FnMut(u64, u64),
) -> Result<(), Broken> {
    let offset_bytes = i64::try_from(part.length_bytes()).unwrap_or(i64::MAX);
    let silent = |_| Broken::There(Status::unavailable("the server fell silent"));
    let mut parts = tokio::time::timeout(SILENCE, stored.open(server, offset_bytes))
        .await
        .map_err(silent)?
        .map_err(Broken::There)?;
    let mut total_bytes = 0;
    while let Some(message) = tokio::time::timeout(SILENCE, parts.try_next())
        .await
        .map_err(silent)?
        .map_err(Broken::There)?
    {
        match message {
            Some(Part::Header(header)) => {
                check_header(&stored.promise, &header, offset_bytes, etag).map_err(Broken::Here)?;
                total_bytes = u64::try_from(header.total_size_bytes).unwrap_or_default();
            }
            Some(Part::Data(data)) => {
                part.write(&data).map_err(Broken::Here)?;
                on_bytes(part.length_bytes(), total_bytes);
            }
            None => {}
        }
    }
    if part.length_bytes() < total_bytes {
        return Err(Broken::There(Status::unavailable(
            "the download ended early",
        )));
    }
    Ok(())
}

/// Another file, or not from where it was asked for, would be caught by its hash; this says why.
///
/// `etag` names the bytes that came before, once some came: a virtual or quick clip has no hash that would tell.
fn check_header(
    promise: &Promise,
    header: &FileHeader,
    offset_bytes: i64,
    etag: &mut Option<String>,
) -> Result<(), CliError> {
    let is_known = promise.sha256.is_empty() || header.sha256 == promise.sha256;
    if !is_known
        || *etag.get_or_insert_with(|| header.etag.clone()) != header.etag
        || header.total_size_bytes != promise.size_bytes
        || header.offset_bytes != offset_bytes
    {
        return Err(CliError::local(
            "the download cannot be used",
            "the server announced another file than it promised",
        ));
    }
    Ok(())
}
