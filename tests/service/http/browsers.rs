//! What a browser needs: gRPC-Web, and leave to call from the origin of another page.

use heldar_footage::proto;
use prost::Message;

use super::{Answer, call, with_clip};
use crate::server::{Server, Site};

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
