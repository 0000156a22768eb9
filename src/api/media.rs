//! Plain HTTP for finished files and virtual clips, on the same port: HEAD, single and multiple ranges, conditional requests.
//!
//! A name is looked up among the catalog's files, never on the disk: there is no folder to list and no path to leave.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::routing::get;
use bytes::Bytes;
use chrono::{DateTime, SubsecRound as _, Utc};
use futures::Stream;
use http_serve::{ChunkedReadFile, Entity};
use tonic::transport::server::TcpConnectInfo;
use tracing::{error, warn};

use super::Services;
use super::convert_archive::{ARCHIVES_URL, MEDIA_TYPE};
use super::download::CHUNK_BYTES;
use super::several_ranges;
use crate::domain::archive::Archive;
use crate::domain::clip::Clip;
use crate::repository::StoreError;
use crate::work::archive::ArchiveError;
use crate::work::clip::{ClipError, Content, VirtualContent};

/// Where clips lie.
pub(super) const CLIPS_URL: &str = "/media/clips";

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The routes below `/media`.
pub(super) fn routes(services: Services) -> Router {
    Router::new()
        .route(&format!("{CLIPS_URL}/{{file}}"), get(clip))
        .route(&format!("{ARCHIVES_URL}/{{file}}"), get(archive))
        .with_state(services)
}

async fn clip(
    State(services): State<Services>,
    Path(file): Path<String>,
    request: Request,
) -> Response<Body> {
    let clip = match services.store.clip_by_file(&file).await {
        Ok(Some(clip)) => clip,
        Ok(None) => return plain(StatusCode::NOT_FOUND, "no such clip\n"),
        Err(error) => return catalog_away(&error),
    };
    let opened = services.clips.content(&clip).await.map_err(|error| {
        if let ClipError::SourcesGone(message) = &error {
            warn!(id = clip.id, %error, "a virtual clip has lost its recordings");
            return plain(StatusCode::GONE, format!("{message}\n"));
        }
        let is_lost = matches!(error, ClipError::Corrupted(_));
        unreadable("clip", &clip.id, is_lost, &error)
    });
    serve(opened, Described::of_clip(&clip), request)
}

async fn archive(
    State(services): State<Services>,
    Path(file): Path<String>,
    request: Request,
) -> Response<Body> {
    let archive = match services.store.archive_by_file(&file).await {
        Ok(Some(archive)) => archive,
        Ok(None) => return plain(StatusCode::NOT_FOUND, "no such archive\n"),
        Err(error) => return catalog_away(&error),
    };
    let opened = services.archives.open(&archive).await;
    let opened = opened.map(Content::File).map_err(|error| {
        let is_lost = matches!(error, ArchiveError::Corrupted(_));
        unreadable("archive", &archive.id, is_lost, &error)
    });
    let is_get = *request.method() == Method::GET;
    let peer = peer(&request);
    let asked = asked_ranges(request.headers(), archive.size_bytes);
    let response = serve(opened, Described::of_archive(&archive), request);
    // Only now is it known whether bytes are sent, and which; the first of them goes out after this has returned.
    let taken = match response.status() {
        StatusCode::OK if is_get => vec![Range {
            start: 0,
            end: archive.size_bytes,
        }],
        StatusCode::PARTIAL_CONTENT if is_get => asked.unwrap_or_default(),
        _ => return response,
    };
    let noted = services.archives.note_download(&archive, &peer, &taken);
    match noted.await {
        Ok(()) => response,
        Err(error) => {
            error!(%error, "a download of an archive cannot be put on record");
            plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "the download cannot be put on record; try again\n",
            )
        }
    }
}

/// Network address of the caller.
fn peer(request: &Request) -> String {
    request
        .extensions()
        .get::<TcpConnectInfo>()
        .and_then(TcpConnectInfo::remote_addr)
        .map_or_else(String::new, |address| address.to_string())
}

/// The ranges of a request that lie within the file; `None` when it asks for none, or not in a valid way.
fn asked_ranges(headers: &HeaderMap, size_bytes: u64) -> Option<Vec<Range<u64>>> {
    let asked = headers.get(header::RANGE)?.to_str().ok()?;
    ranges(asked, size_bytes)
}

fn catalog_away(error: &StoreError) -> Response<Body> {
    error!(%error, "looking up a file failed");
    plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "the catalog does not answer; try again\n",
    )
}

fn unreadable(
    kind: &'static str,
    id: &str,
    is_lost: bool,
    error: &dyn std::error::Error,
) -> Response<Body> {
    if is_lost {
        warn!(kind, id, %error, "a file is not what was stored");
        return plain(StatusCode::GONE, "the file is gone or damaged\n");
    }
    error!(kind, id, %error, "opening a file failed");
    plain(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the file cannot be read\n",
    )
}

fn serve(
    opened: Result<Content, Response<Body>>,
    described: Described,
    mut request: Request,
) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are served here\n",
        );
    }
    let opened = match opened {
        Ok(opened) => opened,
        Err(response) => return response,
    };
    let parts = tidy_ranges(request.headers_mut(), described.size_bytes);
    match Served::of(described, opened) {
        Ok(served) if parts > 1 => several_ranges::serve(served, parts, &request),
        Ok(served) => http_serve::serve(served, &request).map(Body::new),
        Err(error) => {
            error!(%error, "a file cannot be served");
            plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the file cannot be read\n",
            )
        }
    }
}

/// Most ranges in one request; players ask for one or two.
const RANGES_MAX: usize = 16;

/// Writes the ranges of a request out as plain first and last bytes, which every reader takes in the same way, and
/// leaves out a header that is not valid or asks for very many ranges: it is ignored then (RFC 9110, section 14.2). How many
/// ranges are left.
fn tidy_ranges(headers: &mut HeaderMap, size_bytes: u64) -> usize {
    let ranges = asked_ranges(headers, size_bytes);
    headers.remove(header::RANGE);
    let Some(ranges) = ranges else {
        return 0;
    };
    let written = if ranges.is_empty() {
        format!("bytes={size_bytes}-")
    } else {
        let each = ranges
            .iter()
            .map(|range| format!("{}-{}", range.start, range.end - 1));
        format!("bytes={}", each.collect::<Vec<_>>().join(","))
    };
    if let Ok(written) = HeaderValue::from_str(&written) {
        headers.insert(header::RANGE, written);
    }
    ranges.len()
}

/// The ranges that lie within the file (RFC 9110, section 14.1.2), or `None` when the text is not valid.
fn ranges(asked: &str, size_bytes: u64) -> Option<Vec<Range<u64>>> {
    let mut within = Vec::new();
    let set = asked.strip_prefix("bytes=")?;
    for (number, text) in set.split(',').map(str::trim).enumerate() {
        if number == RANGES_MAX {
            return None;
        }
        let (first, last) = text.split_once('-')?;
        let range = match (first, last) {
            ("", length) => size_bytes.saturating_sub(position(length)?)..size_bytes,
            (first, "") => position(first)?..size_bytes,
            (first, last) => {
                let (first, last) = (position(first)?, position(last)?);
                if last < first {
                    return None;
                }
                first..last.saturating_add(1).min(size_bytes)
            }
        };
        if range.start < range.end {
            within.push(range);
        }
    }
    Some(within)
}

/// A number of digits only; one that is too large for any file counts as past its end.
fn position(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

fn plain(status: StatusCode, text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// What is said of a file besides its bytes.
struct Described {
    media_type: String,
    disposition: String,
    /// Names the bytes.
    etag: String,
    size_bytes: u64,
    create_time: DateTime<Utc>,
}

impl Described {
    /// Players show clips where they are.
    fn of_clip(clip: &Clip) -> Self {
        Self {
            media_type: clip.media_type.clone(),
            disposition: format!("inline; filename=\"{}\"", clip.file_name),
            etag: clip.etag().to_owned(),
            size_bytes: clip.size_bytes,
            create_time: clip.create_time,
        }
    }

    fn of_archive(archive: &Archive) -> Self {
        Self {
            media_type: MEDIA_TYPE.to_owned(),
            disposition: format!("attachment; filename=\"{}\"", archive.file_name),
            etag: archive.sha256.clone(),
            size_bytes: archive.size_bytes,
            create_time: archive.create_time,
        }
    }
}

/// What is served: its bytes never change, so what names them is a strong entity tag.
struct Served {
    bytes: ServedBytes,
    headers: HeaderMap,
    etag: HeaderValue,
    modified: SystemTime,
}

/// Where the bytes come from.
enum ServedBytes {
    File(ChunkedReadFile<Bytes, BoxError>),
    /// A virtual clip, and its size.
    Virtual(Arc<VirtualContent>, u64),
}

impl Served {
    fn of(described: Described, content: Content) -> Result<Self, BoxError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_str(&described.media_type)?,
        );
        headers.insert(
            header::CONTENT_DISPOSITION,
            HeaderValue::from_str(&described.disposition)?,
        );
        // Names are fixed and bytes are typed: a browser has nothing to guess.
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        Ok(Self {
            bytes: match content {
                Content::File(file) => {
                    ServedBytes::File(ChunkedReadFile::new(file, HeaderMap::new())?)
                }
                Content::Virtual(content) => {
                    ServedBytes::Virtual(Arc::new(content), described.size_bytes)
                }
            },
            headers,
            etag: HeaderValue::from_str(&format!("\"{}\"", described.etag))?,
            // HTTP has whole seconds: a finer time would be later than the one that a caller can send back.
            modified: described.create_time.trunc_subsecs(0).into(),
        })
    }
}

impl Entity for Served {
    type Error = BoxError;
    type Data = Bytes;

    fn len(&self) -> u64 {
        match &self.bytes {
            ServedBytes::File(file) => file.len(),
            ServedBytes::Virtual(_, size_bytes) => *size_bytes,
        }
    }

    fn get_range(
        &self,
        range: Range<u64>,
    ) -> Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send + Sync>> {
        match &self.bytes {
            ServedBytes::File(file) => file.get_range(range),
            ServedBytes::Virtual(content, _) => Box::pin(made(Arc::clone(content), range)),
        }
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        headers.extend(self.headers.clone());
    }

    fn etag(&self) -> Option<HeaderValue> {
        Some(self.etag.clone())
    }

    fn last_modified(&self) -> Option<SystemTime> {
        Some(self.modified)
    }
}

/// Bytes of a virtual clip, made as they are taken. An error breaks the connection off before the length that was announced
/// is reached.
fn made(
    content: Arc<VirtualContent>,
    range: Range<u64>,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + Sync {
    futures::stream::try_unfold(range, move |left| {
        let content = Arc::clone(&content);
        async move {
            if left.is_empty() {
                return Ok(None);
            }
            let length = (left.end - left.start).min(CHUNK_BYTES);
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk = vec![0; length as usize];
                content.read(left.start, &mut chunk).map(|()| chunk)
            });
            let chunk = read.await?.inspect_err(
                |error| warn!(%error, "the download of a virtual clip is broken off"),
            )?;
            Ok(Some((Bytes::from(chunk), left.start + length..left.end)))
        }
    })
}
