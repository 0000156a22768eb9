//! The page for people at `/`: the files of `clients/page/dist`, built into the server.
//!
//! The page calls the server as any other client does, over gRPC-Web, so nothing here knows a service. Its files are made by
//! `clients/generate.sh page`.

use std::ops::Range;
use std::pin::Pin;
use std::sync::LazyLock;
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::Stream;
use http_serve::Entity;
use sha2::{Digest as _, Sha256};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const START: &str = "index.html";

/// Name, media type and bytes of each file.
const FILES: [(&str, &str, &[u8]); 4] = [
    (
        START,
        "text/html; charset=utf-8",
        include_bytes!("../../clients/page/dist/index.html"),
    ),
    (
        "page.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../clients/page/dist/page.js"),
    ),
    (
        "page.css",
        "text/css; charset=utf-8",
        include_bytes!("../../clients/page/dist/page.css"),
    ),
    (
        "icon.svg",
        "image/svg+xml",
        include_bytes!("../../clients/page/dist/icon.svg"),
    ),
];

/// What every answer of the page says. Scripts and styles are files of this server and nothing else; no text becomes HTML;
/// nobody frames the page. Media may also be a copy in memory: where a proxy wants a token, a player cannot send it.
const HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// A name with a digest of the bytes stands for them for ever.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_FIRST: &str = "no-cache";
/// As many digits of the digest as `clients/page/build.mjs` writes after the name.
const DIGEST_DIGITS: usize = 16;

/// `/`, and what it loads.
pub(super) fn routes() -> Router {
    Router::new()
        .route(
            "/",
            get(|request: Request| async { answer(START, request) }),
        )
        .route("/page/{file}", get(file))
}

async fn file(Path(name): Path<String>, request: Request) -> Response<Body> {
    answer(&name, request)
}

fn answer(name: &str, request: Request) -> Response<Body> {
    let Some(file) = PREPARED.iter().find(|file| file.name == name) else {
        let mut response = Response::new(Body::from("no such file\n"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        return response;
    };
    let is_named_by_digest = request.uri().query() == Some(&file.digest[..DIGEST_DIGITS]);
    let served = Served {
        file,
        is_gzip: http_serve::should_gzip(request.headers()),
        caching: if is_named_by_digest {
            FOR_EVER
        } else {
            ASK_FIRST
        },
    };
    http_serve::serve(served, &request).map(Body::new)
}

/// A file as it is sent.
struct Prepared {
    name: &'static str,
    media_type: &'static str,
    plain: Bytes,
    gzip: Bytes,
    /// SHA-256 of the plain bytes, in hexadecimal digits.
    digest: String,
}

/// Compressed at the first call: there are few files and they never change.
static PREPARED: LazyLock<Vec<Prepared>> = LazyLock::new(|| {
    let prepare = |(name, media_type, bytes)| Prepared {
        name,
        media_type,
        plain: Bytes::from_static(bytes),
        gzip: Bytes::from(gzip(bytes)),
        digest: hexadecimal(&Sha256::digest(bytes)),
    };
    FILES.into_iter().map(prepare).collect()
});

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("writing to memory never fails")
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file in the form that a caller takes.
struct Served {
    file: &'static Prepared,
    is_gzip: bool,
    caching: &'static str,
}

impl Served {
    fn bytes(&self) -> &Bytes {
        if self.is_gzip {
            &self.file.gzip
        } else {
            &self.file.plain
        }
    }
}

impl Entity for Served {
    type Error = BoxError;
    type Data = Bytes;

    fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn get_range(
        &self,
        range: Range<u64>,
    ) -> Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send + Sync>> {
        // The caller of this asks only for ranges within `len`, which was a `usize`.
        let part = self.bytes().slice(range.start as usize..range.end as usize);
        Box::pin(futures::stream::iter([Ok(part)]))
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in HEADERS {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.file.media_type),
        );
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static(self.caching),
        );
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if self.is_gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }

    fn etag(&self) -> Option<HeaderValue> {
        let form = if self.is_gzip { "-gzip" } else { "" };
        HeaderValue::from_str(&format!("\"{}{form}\"", self.file.digest)).ok()
    }

    fn last_modified(&self) -> Option<SystemTime> {
        None
    }
}
