//! Plain HTTP and gRPC-Web on the port of gRPC: media with ranges and conditions, and what a browser needs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use heldar_footage::proto;
use prost::Message;
use sha2::{Digest as _, Sha256};
use tower::{Service as _, ServiceExt as _};

use super::server::{PATIENCE, Server, Site, clip_of, clip_request, seconds, twelve_seconds};

/// An answer over HTTP/1.1.
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Calls with a request that is written here byte by byte, so that nothing is changed on its way.
pub fn call(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
        server.address
    );
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a whole head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer {
        status,
        headers,
        body: bytes[end + 4..].to_vec(),
    };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = dechunked(&answer.body);
    }
    answer
}

/// The body of a chunked message (RFC 9112, section 7.1).
fn dechunked(mut chunked: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = chunked
            .windows(2)
            .position(|two| two == b"\r\n")
            .expect("a chunk's size");
        let size =
            usize::from_str_radix(std::str::from_utf8(&chunked[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend(&chunked[line + 2..line + 2 + size]);
        chunked = &chunked[line + 2 + size + 2..];
    }
}

/// A server with a clip.
async fn with_clip(site: &Site) -> (Server, proto::Clip, Vec<u8>) {
    site.record("gate", &twelve_seconds());
    let server = site.start().await;
    server.imported("recordings", 1).await;
    let request = proto::CreateClipRequest {
        wait: seconds(60),
        ..clip_request("gate", 1_000, 9_000)
    };
    let clip = clip_of(
        &server
            .clips()
            .create_clip(request)
            .await
            .unwrap()
            .into_inner(),
    );
    let bytes = std::fs::read(site.clips().join(&clip.file_name)).unwrap();
    (server, clip, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_is_served_whole_with_all_that_a_player_needs_to_know() {
    let site = Site::new();
    let (server, clip, bytes) = with_clip(&site).await;
    assert_eq!(clip.url, format!("/media/clips/{}", clip.file_name));
    let whole = call(&server, "GET", &clip.url, &[], b"");
    assert_eq!(whole.status, 200);
    assert!(whole.body == bytes, "the bytes are those of the file");
    let digest: String = Sha256::digest(&whole.body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(digest, clip.sha256);
    assert_eq!(whole.header("content-type"), Some("video/mp4"));
    assert_eq!(
        whole.header("content-length"),
        Some(clip.size_bytes.to_string().as_str())
    );
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    assert_eq!(
        whole.header("etag"),
        Some(format!("\"{}\"", clip.sha256).as_str())
    );
    assert_eq!(
        whole.header("content-disposition"),
        Some(format!("inline; filename=\"{}\"", clip.file_name).as_str())
    );
    assert_eq!(whole.header("x-content-type-options"), Some("nosniff"));
    let created = clip.create_time.unwrap();
    let created = chrono::DateTime::from_timestamp(created.seconds, 0).unwrap();
    let modified = created.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    assert_eq!(whole.header("last-modified"), Some(modified.as_str()));

    let head = call(&server, "HEAD", &clip.url, &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in [
        "content-type",
        "content-length",
        "accept-ranges",
        "etag",
        "last-modified",
        "content-disposition",
    ] {
        assert_eq!(head.header(name), whole.header(name), "{name}");
    }

    // What the caller has already is not sent again.
    let etag = format!("\"{}\"", clip.sha256);
    for (name, value, status) in [
        ("If-None-Match", etag.as_str(), 304),
        ("If-None-Match", "\"other\"", 200),
        ("If-Modified-Since", modified.as_str(), 304),
        ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT", 200),
        ("If-Match", "\"other\"", 412),
    ] {
        let answer = call(&server, "GET", &clip.url, &[(name, value)], b"");
        assert_eq!(answer.status, status, "{name}: {value}");
        assert_eq!(
            answer.body.len(),
            if status == 200 {
                bytes.len()
            } else {
                answer.body.len().min(100)
            }
        );
    }
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_give_just_the_bytes_that_were_asked_for() {
    let site = Site::new();
    let (server, clip, bytes) = with_clip(&site).await;
    let size = bytes.len();
    let get = |headers: &[(&str, &str)]| call(&server, "GET", &clip.url, headers, b"");
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=100-299".to_owned(), 100, 300),
        (format!("bytes={}-", size - 7), size - 7, size),
        ("bytes=-5".to_owned(), size - 5, size),
        (format!("bytes=10-{}", size * 2), 10, size),
        (format!("bytes=-{}", size * 2), 0, size),
        (format!("bytes=3-{}", u64::MAX), 3, size),
        (format!("bytes=-{}0", u64::MAX), 0, size),
    ] {
        let part = get(&[("Range", &range)]);
        assert_eq!(part.status, 206, "{range}");
        assert!(part.body == bytes[from..to], "{range}");
        assert_eq!(
            part.header("content-range"),
            Some(format!("bytes {from}-{}/{size}", to - 1).as_str())
        );
        assert_eq!(
            part.header("content-length"),
            Some((to - from).to_string().as_str())
        );
    }

    let several = get(&[("Range", "bytes=0-9,100-109,-10")]);
    assert_eq!(several.status, 206);
    let kind = several.header("content-type").unwrap();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap_or_else(|| panic!("{kind}"));
    assert_eq!(
        several.header("content-length"),
        Some(several.body.len().to_string().as_str())
    );
    let mut rest = several.body.as_slice();
    for (from, to) in [(0, 10), (100, 110), (size - 10, size)] {
        let head_end = rest
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("a part's head")
            + 4;
        let head = String::from_utf8_lossy(&rest[..head_end]).to_ascii_lowercase();
        assert!(
            head.contains(&format!("--{}", boundary.to_ascii_lowercase())),
            "{head}"
        );
        assert!(
            head.contains(&format!("content-range: bytes {from}-{}/{size}", to - 1)),
            "{head}"
        );
        assert!(head.contains("content-type: video/mp4"), "{head}");
        assert!(rest[head_end..head_end + 10] == bytes[from..to]);
        rest = &rest[head_end + 10..];
    }
    assert_eq!(
        String::from_utf8_lossy(rest).trim(),
        format!("--{boundary}--")
    );

    for range in [
        format!("bytes={size}-"),
        format!("bytes={}-{}", size + 5, size + 9),
        "bytes=-0".to_owned(),
    ] {
        let refused = get(&[("Range", &range)]);
        assert_eq!(refused.status, 416, "{range}");
        assert_eq!(
            refused.header("content-range"),
            Some(format!("bytes */{size}").as_str())
        );
    }
    // What is no range of bytes is as if it had not been sent (RFC 9110, section 14.2).
    for range in ["bytes=9-3", "bytes=a-b", "seconds=0-1"] {
        assert_eq!(get(&[("Range", range)]).status, 200, "{range}");
    }

    // Very many ranges would send the file very many times for one small request.
    let many = get(&[("Range", &format!("bytes={}", vec!["0-"; 1_000].join(",")))]);
    assert_eq!((many.status, many.body.len()), (200, size));

    // A download goes on only when the file is still the same.
    let etag = format!("\"{}\"", clip.sha256);
    let same = get(&[("Range", "bytes=5-9"), ("If-Range", &etag)]);
    assert_eq!((same.status, same.body.len()), (206, 5));
    let other = get(&[("Range", "bytes=5-9"), ("If-Range", "\"other\"")]);
    assert_eq!((other.status, other.body.len()), (200, size));

    let head = call(&server, "HEAD", &clip.url, &[("Range", "bytes=5-9")], b"");
    assert_eq!(
        (head.body.len(), head.header("content-length")),
        (0, if head.status == 206 { Some("5") } else { None })
    );
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clips_are_served_and_no_path_leads_anywhere_else() {
    let site = Site::new();
    let (server, clip, _) = with_clip(&site).await;
    std::fs::write(site.clips().join("stray.mp4"), "not a clip").unwrap();
    let paths = [
        "/media/clips/unknown.mp4",
        "/media/clips/stray.mp4",
        "/media/clips/..%2fheldar.db",
        "/media/clips/..%2f..%2f..%2fetc%2fpasswd",
        "/media/clips/../heldar.db",
        "/media/clips/%2e%2e/heldar.db",
        "/media/clips/%2fetc%2fpasswd",
        "/media/clips/a%00b",
        "/media/clips/a%0d%0aSet-Cookie:%20x=1",
        "/media/clips/%ff",
        "/media/clips/",
        "/media/clips",
        "/media/",
        "/media/archives/",
    ];
    for path in paths {
        let answer = call(&server, "GET", path, &[], b"");
        assert!(
            matches!(answer.status, 400 | 404),
            "{path}: {}",
            answer.status
        );
        let told = answer.text();
        assert!(
            !told.contains(&clip.file_name) && !told.contains(site.data().to_str().unwrap()),
            "{path}: {told}"
        );
        assert!(
            answer.header("set-cookie").is_none() && answer.body.len() < 200,
            "{path}: {told}"
        );
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let refused = call(&server, method, &clip.url, &[], b"x");
        assert_eq!(refused.status, 405, "{method}");
    }
    assert_eq!(call(&server, "GET", &clip.url, &[], b"").status, 200);
    std::fs::remove_file(site.clips().join("stray.mp4")).unwrap();

    // A deleted clip is gone here too, and one whose file was shortened is not served.
    std::fs::OpenOptions::new()
        .write(true)
        .open(site.clips().join(&clip.file_name))
        .unwrap()
        .set_len(1_000)
        .unwrap();
    let cut_short = call(&server, "GET", &clip.url, &[], b"");
    assert_eq!(cut_short.status, 410, "{}", cut_short.text());
    let delete = proto::DeleteClipRequest {
        clip_id: clip.id.clone(),
    };
    server.clips().delete_clip(delete).await.unwrap();
    assert_eq!(call(&server, "GET", &clip.url, &[], b"").status, 404);
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn media_come_over_http_2_without_an_upgrade_on_the_connection_of_grpc() {
    use http_body::Body as _;
    let site = Site::new();
    let (server, clip, bytes) = with_clip(&site).await;
    let mut channel = server.channel();
    let request = axum::http::Request::get(format!("http://{}{}", server.address, clip.url))
        .header("range", "bytes=100-299")
        .body(tonic::body::Body::empty())
        .unwrap();
    let answer = channel.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (206, axum::http::Version::HTTP_2)
    );
    assert_eq!(answer.headers()["content-type"], "video/mp4");
    let mut body = Box::pin(answer.into_body());
    let mut received = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
    {
        if let Ok(data) = frame.unwrap().into_data() {
            received.extend(data);
        }
    }
    assert!(received == bytes[100..300]);
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}

/// Calls a method as a browser does: gRPC-Web frames over HTTP/1.1. The messages of the answer, and its trailers.
fn call_web(
    server: &Server,
    method: &str,
    message: &impl Message,
    origin: &str,
) -> (Answer, Vec<Vec<u8>>, String) {
    let message = message.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let headers = [
        ("Content-Type", "application/grpc-web+proto"),
        ("X-Grpc-Web", "1"),
        ("Origin", origin),
    ];
    let answer = call(
        server,
        "POST",
        &format!("/heldar.footage.v1.{method}"),
        &headers,
        &body,
    );
    let (mut messages, mut trailers) = (Vec::new(), String::new());
    let mut rest = answer.body.as_slice();
    while let [flags, a, b, c, d, after @ ..] = rest {
        let (content, next) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        if flags & 0x80 == 0 {
            messages.push(content.to_vec());
        } else {
            trailers = String::from_utf8_lossy(content).into_owned();
        }
        rest = next;
    }
    (answer, messages, trailers)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_calls_over_grpc_web_and_hears_errors_in_full() {
    use tonic_types::StatusExt as _;
    let origin = "https://video.example.org";
    let site = Site::new().with("HELDAR_CORS_ORIGINS", origin);
    let (server, clip, bytes) = with_clip(&site).await;
    let get = proto::GetClipRequest {
        clip_id: clip.id.clone(),
    };
    let (answer, messages, trailers) = call_web(&server, "ClipService/GetClip", &get, origin);
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/grpc-web+proto"))
    );
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
    assert_eq!(proto::Clip::decode(messages[0].as_slice()).unwrap(), clip);
    assert!(
        messages.len() == 1 && trailers.to_ascii_lowercase().contains("grpc-status:0"),
        "{trailers:?}"
    );

    // A stream comes whole too.
    let download = proto::DownloadClipRequest {
        clip_id: clip.id.clone(),
        ..Default::default()
    };
    let (_, messages, trailers) = call_web(&server, "ClipService/DownloadClip", &download, origin);
    let mut data = Vec::new();
    for (number, message) in messages.iter().enumerate() {
        use proto::download_clip_response::Content;
        match proto::DownloadClipResponse::decode(message.as_slice())
            .unwrap()
            .content
        {
            Some(Content::Header(header)) => {
                assert_eq!((number, header.total_size_bytes), (0, clip.size_bytes))
            }
            Some(Content::Data(chunk)) => data.extend(chunk),
            None => panic!("an empty message"),
        }
    }
    assert!(
        data == bytes && trailers.contains("grpc-status:0"),
        "{trailers:?}"
    );

    let unknown = proto::GetClipRequest {
        clip_id: "clip_unknown".to_owned(),
    };
    let (answer, messages, trailers) = call_web(&server, "ClipService/GetClip", &unknown, origin);
    assert!(messages.is_empty());
    let mut headers = axum::http::HeaderMap::new();
    let in_trailers = trailers
        .split("\r\n")
        .filter_map(|line| line.split_once(':'));
    let in_head = answer
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in in_trailers
        .chain(in_head)
        .filter(|(name, _)| name.starts_with("grpc-"))
    {
        headers.insert(
            axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
            value.trim().parse().unwrap(),
        );
    }
    let status = tonic::Status::from_header_map(&headers).expect("a status");
    assert_eq!(
        (status.code(), status.message()),
        (tonic::Code::NotFound, "clip clip_unknown not found")
    );
    assert_eq!(
        status.get_details_error_info().unwrap().reason,
        "CLIP_NOT_FOUND"
    );
    let exposed = answer
        .header("access-control-expose-headers")
        .unwrap_or_default()
        .to_ascii_lowercase();
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_named_origins_may_call_from_a_browser() {
    let named = "https://video.example.org";
    let site = Site::new().with(
        "HELDAR_CORS_ORIGINS",
        format!("{named},http://localhost:3000"),
    );
    let server = site.start().await;
    let preflight = |server: &Server, origin: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            (
                "Access-Control-Request-Headers",
                "content-type,x-grpc-web,x-user-agent,grpc-timeout",
            ),
        ];
        call(
            server,
            "OPTIONS",
            "/heldar.footage.v1.ClipService/GetClip",
            &headers,
            b"",
        )
    };
    for origin in [named, "http://localhost:3000"] {
        let answer = preflight(&server, origin);
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (200, Some(origin))
        );
        let allows = |name: &str, wanted: &str| {
            let told = answer.header(name).unwrap_or_default().to_ascii_lowercase();
            told == "*" || told.contains(wanted)
        };
        assert!(allows("access-control-allow-methods", "post"));
        for header in ["content-type", "x-grpc-web", "grpc-timeout"] {
            assert!(allows("access-control-allow-headers", header), "{header}");
        }
    }
    let other = preflight(&server, "https://evil.example.org");
    assert_eq!(other.header("access-control-allow-origin"), None);
    assert_eq!(server.stop(), 0);

    let none = Site::new();
    let server = none.start().await;
    assert_eq!(
        preflight(&server, named).header("access-control-allow-origin"),
        None
    );
    assert_eq!(server.stop(), 0);
    let all = Site::new().with("HELDAR_CORS_ORIGINS", "*");
    let server = all.start().await;
    assert_eq!(
        preflight(&server, named).header("access-control-allow-origin"),
        Some("*")
    );
    assert_eq!(server.stop(), 0);
    all.check_left(&[]);
}
