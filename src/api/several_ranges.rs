//! Several ranges of a file in one answer (RFC 9110, section 14.6).
//!
//! `http_serve` decides what is answered, but it always calls the boundary between two parts `B`, and the bytes of a video can
//! hold that. Here each answer gets one that nobody can have written into a file before (RFC 2046, section 5.1.1).

use std::ops::Range;
use std::pin::Pin;
use std::time::SystemTime;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Response, header};
use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use http_serve::Entity;
use uuid::Uuid;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How `http_serve` begins the text before a part, and that after the last one.
const FIXED_DELIMITER: &[u8] = b"\r\n--B";
const FIXED_TYPE: &str = "multipart/byteranges; boundary=B";

/// Answers a request for `parts` ranges, all of which lie within the file.
pub(super) fn serve<E>(entity: E, parts: usize, request: &Request) -> Response<Body>
where
    E: Entity<Data = Bytes, Error = BoxError>,
{
    let mut response = http_serve::serve(Marked(entity), request);
    let boundary = Uuid::now_v7().simple().to_string();
    if is_in_parts(response.headers()) {
        announce(response.headers_mut(), &boundary, parts);
    }
    response.map(|body| {
        if body.is_end_stream() {
            return Body::empty();
        }
        let mut body = Box::pin(body);
        let frames = futures::stream::poll_fn(move |context| body.as_mut().poll_frame(context));
        Body::from_stream(frames.map(move |frame| {
            let piece = frame?.into_data().ok();
            Ok::<_, BoxError>(piece.map_or_else(Bytes::new, |piece| piece.delimited_by(&boundary)))
        }))
    })
}

fn is_in_parts(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == FIXED_TYPE)
}

/// Names the boundary, and counts it once for each part and once behind the last one.
fn announce(headers: &mut HeaderMap, boundary: &str, parts: usize) {
    let told = headers.remove(header::CONTENT_LENGTH);
    let told = told.and_then(|told| told.to_str().ok()?.parse::<u64>().ok());
    let longer_bytes = (boundary.len() - "B".len()) * (parts + 1);
    // Without a length the answer is sent in chunks, and is whole all the same.
    if let Some(told) = told {
        let length = HeaderValue::from(told + longer_bytes as u64);
        headers.insert(header::CONTENT_LENGTH, length);
    }
    let kind = format!("multipart/byteranges; boundary={boundary}");
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
}

/// Bytes of an answer. `http_serve` makes what it writes itself from text, so that a part of a file is told from it.
enum Piece {
    OfFile(Bytes),
    Around(Bytes),
}

impl Piece {
    fn delimited_by(self, boundary: &str) -> Bytes {
        match self {
            Self::OfFile(bytes) => bytes,
            Self::Around(bytes) => match bytes.strip_prefix(FIXED_DELIMITER) {
                Some(rest) => [b"\r\n--", boundary.as_bytes(), rest].concat().into(),
                None => bytes,
            },
        }
    }

    fn bytes(&self) -> &Bytes {
        match self {
            Self::OfFile(bytes) | Self::Around(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Piece {
    fn from(text: Vec<u8>) -> Self {
        Self::Around(text.into())
    }
}

impl From<&'static [u8]> for Piece {
    fn from(text: &'static [u8]) -> Self {
        Self::Around(Bytes::from_static(text))
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes().remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes().chunk()
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::OfFile(bytes) | Self::Around(bytes) => bytes.advance(count),
        }
    }
}

/// The same file, whose bytes are known as such.
struct Marked<E>(E);

impl<E: Entity<Data = Bytes, Error = BoxError>> Entity for Marked<E> {
    type Error = BoxError;
    type Data = Piece;

    fn len(&self) -> u64 {
        self.0.len()
    }

    fn get_range(
        &self,
        range: Range<u64>,
    ) -> Pin<Box<dyn Stream<Item = Result<Piece, BoxError>> + Send + Sync>> {
        Box::pin(self.0.get_range(range).map_ok(Piece::OfFile))
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        self.0.add_headers(headers);
    }

    fn etag(&self) -> Option<HeaderValue> {
        self.0.etag()
    }

    fn last_modified(&self) -> Option<SystemTime> {
        self.0.last_modified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that holds what `http_serve` would write between two parts.
    const FILE: &[u8] = &{
        let mut file = [b'x'; 1_000];
        let mut at = 0;
        while at < FIXED_DELIMITER.len() {
            file[10 + at] = FIXED_DELIMITER[at];
            at += 1;
        }
        file
    };

    struct File;

    impl Entity for File {
        type Error = BoxError;
        type Data = Bytes;

        fn len(&self) -> u64 {
            FILE.len() as u64
        }

        fn get_range(
            &self,
            range: Range<u64>,
        ) -> Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send + Sync>> {
            let bytes = &FILE[range.start as usize..range.end as usize];
            Box::pin(futures::stream::iter([Ok(Bytes::from_static(bytes))]))
        }

        fn add_headers(&self, _: &mut HeaderMap) {}

        fn etag(&self) -> Option<HeaderValue> {
            None
        }

        fn last_modified(&self) -> Option<SystemTime> {
            None
        }
    }

    /// The boundary, the length that is told, and the body.
    async fn answer(method: &str) -> (String, usize, Bytes) {
        let request = Request::builder()
            .method(method)
            .header(header::RANGE, "bytes=0-99,200-299")
            .body(Body::empty())
            .unwrap();
        let (head, body) = serve(File, 2, &request).into_parts();
        let text = |name| head.headers[name].to_str().unwrap();
        let boundary = text(header::CONTENT_TYPE).split_once("boundary=").unwrap();
        let told = text(header::CONTENT_LENGTH).parse().unwrap();
        let body = axum::body::to_bytes(body, 10_000).await.unwrap();
        (boundary.1.to_owned(), told, body)
    }

    #[tokio::test]
    async fn no_two_answers_have_the_same_boundary_and_none_lies_in_the_file() {
        let (boundary, told, body) = answer("GET").await;
        assert!((32..=70).contains(&boundary.len()), "{boundary}");
        assert_eq!(told, body.len());
        let text = String::from_utf8(body.to_vec()).unwrap();
        let parts: Vec<&str> = text.split(&format!("\r\n--{boundary}")).collect();
        let ["", first, second, "--\r\n"] = parts[..] else {
            panic!("{parts:?}");
        };
        for (part, range) in [(first, 0..100), (second, 200..300)] {
            let (head, content) = part.split_once("\r\n\r\n").unwrap();
            let told = format!(
                "Content-Range: bytes {}-{}/1000",
                range.start,
                range.end - 1
            );
            assert_eq!(head.trim(), told);
            assert_eq!(content.as_bytes(), &FILE[range]);
        }
        assert_ne!(answer("GET").await.0, boundary);
        let (_, of_head, nothing) = answer("HEAD").await;
        assert_eq!((of_head, nothing.len()), (told, 0));
    }
}
