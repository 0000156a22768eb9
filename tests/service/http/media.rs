//! Media with ranges and conditions.

use heldar_footage::proto;
use sha2::{Digest as _, Sha256};
use tower::{Service as _, ServiceExt as _};

use super::{call, with_clip};
use crate::server::Site;

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
    assert!((32..=70).contains(&boundary.len()), "{boundary}");
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
