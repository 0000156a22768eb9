//! Virtual clips: the bytes that they are fetched with, and the file that they can be given.

use std::io::{Read as _, Write as _};

use super::*;
use crate::http::{Answer, call};

/// A request for the same window without a file.
pub(super) fn virtually(request: proto::CreateClipRequest) -> proto::CreateClipRequest {
    proto::CreateClipRequest {
        r#virtual: true,
        ..request
    }
}

/// Gives a clip a file and returns it.
pub(super) async fn materialize(server: &Server, clip_id: &str) -> proto::Clip {
    let request = proto::MaterializeClipRequest {
        clip_id: clip_id.to_owned(),
        wait: seconds(60),
        request_id: String::new(),
    };
    let answer = server.clips().materialize_clip(request).await.unwrap();
    clip_of(&answer.into_inner())
}

pub(super) fn get(server: &Server, clip: &proto::Clip, headers: &[(&str, &str)]) -> Answer {
    call(server, "GET", &clip.url, headers, b"")
}

/// What a clip says of its footage, without what tells a virtual one from one with a file.
fn footage_of(clip: &proto::Clip) -> proto::Clip {
    proto::Clip {
        id: String::new(),
        sha256: String::new(),
        file_name: String::new(),
        url: String::new(),
        job_id: String::new(),
        create_time: None,
        expire_time: None,
        engine_reason: String::new(),
        engine_used: 0,
        r#virtual: false,
        ..clip.clone()
    }
}

/// Compares virtual clips, fetched and with a file, with native ones of the same windows.
async fn check_same_bytes(recipe: Recipe, windows: &[(i64, i64)]) {
    let recording = recipe.record();
    let site = unfollowed();
    lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let server = site.start().await;
    let mut kept = Vec::new();
    for (from, to) in windows {
        let request = proto::CreateClipRequest {
            engine: proto::ClipEngine::Native.into(),
            ..ask(CAMERA, *from, *to)
        };
        let (_, native) = cut(&server, request.clone()).await;
        let (_, clip) = cut(&server, virtually(request)).await;
        assert!(clip.r#virtual && clip.sha256.is_empty() && !clip.holds_sources);
        assert_eq!(footage_of(&clip), footage_of(&native));
        let (header, bytes) = download(&server, &clip.id, 0, 0).await.unwrap();
        assert_eq!(sha256(&bytes), native.sha256, "{from} to {to}");
        assert!(header.sha256.is_empty() && header.etag.len() == 64);
        let whole = get(&server, &clip, &[]);
        assert_eq!(whole.status, 200);
        assert!(whole.body == bytes, "the same over HTTP");

        let solid = materialize(&server, &clip.id).await;
        assert_eq!(solid.sha256, native.sha256);
        let expected = proto::Clip {
            sha256: native.sha256.clone(),
            r#virtual: false,
            ..clip.clone()
        };
        assert_eq!(solid, expected, "nothing else of the clip changes");
        let on_disk = std::fs::read(site.clips().join(&clip.file_name)).unwrap();
        assert!(on_disk == bytes, "the file holds what was fetched before");
        let whole = get(&server, &clip, &[]);
        assert_eq!(
            whole.header("etag"),
            Some(format!("\"{}\"", header.etag).as_str()),
            "the bytes are the same, and so is what names them"
        );
        let frames = recording.between(ms(*from), ms(*to));
        check(&server, &solid, &frames, START, FRAME).await;
        assert_eq!(materialize(&server, &clip.id).await, solid, "once more");
        kept.extend([native, solid]);
    }
    server.stop_with(&site, &kept.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_virtual_clip_has_the_bytes_of_a_native_one_and_keeps_them_when_it_gets_a_file() {
    check_same_bytes(thirty_seconds(), &WINDOWS).await;
}

#[tokio::test]
async fn so_it_is_with_reordered_pictures_in_progressive_files() {
    let recipe = Recipe {
        b_frames: 2,
        layout: Layout::Progressive,
        ..thirty_seconds()
    };
    check_same_bytes(recipe, &WINDOWS[1..3]).await;
}

/// A server with a virtual clip of thirty seconds, and its bytes.
async fn with_virtual(site: &Site) -> (Server, proto::Clip, Vec<u8>) {
    lay(site, CAMERA, &thirty_seconds().record());
    import(site, &[]);
    let server = site.start().await;
    let (_, clip) = cut(&server, virtually(ask(CAMERA, 1_400, 28_200))).await;
    let (_, bytes) = download(&server, &clip.id, 0, 0).await.unwrap();
    assert!(
        bytes.len() > 300 << 10,
        "more than a message of a download: {}",
        bytes.len()
    );
    (server, clip, bytes)
}

#[tokio::test]
async fn every_range_is_that_part_of_the_whole() {
    let site = unfollowed();
    let (server, clip, bytes) = with_virtual(&site).await;
    let size = bytes.len();
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=0-99999".to_owned(), 0, 100_000),
        ("bytes=77777-222222".to_owned(), 77_777, 222_223),
        (format!("bytes={}-", size / 2), size / 2, size),
        (format!("bytes={}-", size - 1), size - 1, size),
        ("bytes=-5000".to_owned(), size - 5_000, size),
        (format!("bytes=10-{}", size * 2), 10, size),
    ] {
        let part = get(&server, &clip, &[("Range", &range)]);
        assert_eq!(part.status, 206, "{range}");
        assert!(part.body == bytes[from..to], "{range}");
        let told = format!("bytes {from}-{}/{size}", to - 1);
        assert_eq!(part.header("content-range"), Some(told.as_str()));
        let length = (to - from).to_string();
        assert_eq!(part.header("content-length"), Some(length.as_str()));
    }
    let several = get(&server, &clip, &[("Range", "bytes=0-9,100000-100009,-10")]);
    assert_eq!(several.status, 206);
    for part in [&bytes[..10], &bytes[100_000..100_010], &bytes[size - 10..]] {
        let found = several.body.windows(10).any(|ten| ten == part);
        assert!(found, "one of several ranges");
    }
    let past = get(&server, &clip, &[("Range", &format!("bytes={size}-"))]);
    assert_eq!(past.status, 416);

    // A step that is no divisor of anything crosses every seam somewhere.
    let mut resumed = Vec::new();
    while resumed.len() < size {
        let (_, part) = download(&server, &clip.id, resumed.len() as i64, 99_991)
            .await
            .unwrap();
        resumed.extend(part);
    }
    assert!(resumed == bytes, "resumed by offset");
    let past = download(&server, &clip.id, size as i64 + 1, 0)
        .await
        .unwrap_err();
    assert_eq!(reason(&past), "OFFSET_PAST_END");
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn conditions_hold_and_a_resume_goes_on_only_with_the_same_bytes() {
    let site = unfollowed();
    let (server, clip, bytes) = with_virtual(&site).await;
    let head = call(&server, "HEAD", &clip.url, &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let size = bytes.len().to_string();
    assert_eq!(head.header("content-length"), Some(size.as_str()));
    assert_eq!(head.header("content-type"), Some("video/mp4"));
    assert_eq!(head.header("accept-ranges"), Some("bytes"));
    assert!(clip.file_name.ends_with(".mp4") && clip.file_name.contains(&clip.id));
    let disposition = format!("inline; filename=\"{}\"", clip.file_name);
    assert_eq!(
        head.header("content-disposition"),
        Some(disposition.as_str())
    );
    let (etag, modified) = (
        head.header("etag").unwrap().to_owned(),
        head.header("last-modified").unwrap().to_owned(),
    );
    let (header, _) = download(&server, &clip.id, 0, 1).await.unwrap();
    assert_eq!(etag, format!("\"{}\"", header.etag));

    for condition in [("If-None-Match", &etag), ("If-Modified-Since", &modified)] {
        let answer = get(&server, &clip, &[(condition.0, condition.1)]);
        assert_eq!(
            (answer.status, answer.body.len()),
            (304, 0),
            "{condition:?}"
        );
    }
    let resume = |validator: &str| {
        let headers = [("Range", "bytes=100-199"), ("If-Range", validator)];
        get(&server, &clip, &headers)
    };
    let same = resume(&etag);
    assert_eq!(same.status, 206);
    assert!(same.body == bytes[100..200]);
    let other = resume("\"another\"");
    assert_eq!(other.status, 200);
    assert!(other.body == bytes, "all of it, as these are other bytes");
    let answer = get(&server, &clip, &[("If-Match", "\"another\"")]);
    assert_eq!(answer.status, 412);
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn a_restarted_server_serves_the_same_bytes_under_the_same_name() {
    let site = unfollowed();
    let (server, clip, bytes) = with_virtual(&site).await;
    let etag = get(&server, &clip, &[]).header("etag").unwrap().to_owned();
    server.stop_with(&site, &[]);
    let server = site.start().await;
    // The first that is asked for is in the middle.
    let part = get(&server, &clip, &[("Range", "bytes=99999-150000")]);
    assert_eq!(part.header("etag"), Some(etag.as_str()));
    assert!(part.body == bytes[99_999..150_001]);
    let (_, again) = download(&server, &clip.id, 0, 0).await.unwrap();
    assert!(again == bytes);
    let solid = materialize(&server, &clip.id).await;
    assert_eq!(solid.sha256, sha256(&bytes));
    server.stop_with(&site, &[&solid]);
}

#[tokio::test]
async fn a_virtual_clip_needs_no_ffmpeg_and_ffmpeg_plays_it_over_http() {
    let recording = thirty_seconds().record();
    let site = unfollowed().with("HELDAR_FFMPEG_BIN", "/nowhere/ffmpeg");
    lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let server = site.start().await;
    let (_, clip) = cut(&server, virtually(ask(CAMERA, 1_400, 28_200))).await;
    let url = format!("http://{}{}", server.address, clip.url);
    check_decodes(std::path::Path::new(&url));
    let shown = decode(std::path::Path::new(&url));
    crate::recorder::check_frames(&shown, &recording.between(ms(1_400), ms(28_200)));
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn footage_that_needs_ffmpeg_is_refused_at_the_call_where_the_catalog_knows_it() {
    let recording = Recipe {
        layout: Layout::MpegTs,
        ..thirty_seconds()
    }
    .record();
    let site = unfollowed();
    for segment in &recording.segments {
        let name = heldar_name(CAMERA, epoch() + segment.start).replace(".mp4", ".ts");
        place(&site, &name, &segment.path);
    }
    import(
        &site,
        &["--layout", "{camera}/%Y%m%d_%H%M%S.ts", "--zone", "UTC"],
    );
    let server = site.start().await;
    let refused = server
        .clips()
        .create_clip(virtually(ask(CAMERA, 1_400, 28_200)))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "ENGINE_UNSUITABLE")
    );
    assert!(refused.message().contains("MPEG transport stream"));
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn footage_that_needs_ffmpeg_is_the_error_of_the_job_where_only_its_files_show_it() {
    let recording = Recipe {
        codec: "mpeg4",
        ..thirty_seconds()
    }
    .record();
    let site = unfollowed();
    lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let server = site.start().await;
    let job = run_job(&server, virtually(ask(CAMERA, 1_400, 28_200))).await;
    let error = job.error.as_ref().expect("an error");
    assert_eq!(notice_reason(error), "ENGINE_UNSUITABLE");
    assert_eq!(error.code, Code::FailedPrecondition as i32);
    assert!(error.message.contains("MPEG-4 part 2"), "{}", error.message);
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn what_a_server_that_died_left_under_the_clips_name_is_not_served_and_is_replaced() {
    let site = unfollowed();
    let (server, clip, bytes) = with_virtual(&site).await;
    let left = site.clips().join(&clip.file_name);
    std::fs::write(&left, "a file of which no row knows").unwrap();
    assert!(download(&server, &clip.id, 0, 0).await.unwrap().1 == bytes);
    assert!(get(&server, &clip, &[]).body == bytes);
    materialize(&server, &clip.id).await;
    assert!(std::fs::read(&left).unwrap() == bytes);

    let (_, other) = cut(&server, virtually(ask(CAMERA, 1_400, 5_000))).await;
    std::fs::write(site.clips().join(&other.file_name), "another").unwrap();
    for clip_id in [clip.id, other.id] {
        let delete = proto::DeleteClipRequest { clip_id };
        server.clips().delete_clip(delete).await.unwrap();
    }
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn an_id_that_is_used_again_names_other_bytes_by_another_etag() {
    let recording = thirty_seconds().record();
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let server = site.start().await;
    let request = || proto::CreateClipRequest {
        clip_id: "clip_again".to_owned(),
        ..virtually(ask(CAMERA, 1_400, 8_000))
    };
    let (_, first) = cut(&server, request()).await;
    let (before, bytes) = download(&server, &first.id, 0, 0).await.unwrap();
    let delete = proto::DeleteClipRequest {
        clip_id: first.id.clone(),
    };
    server.clips().delete_clip(delete).await.unwrap();
    // The same recording once more: equal bytes, but nobody can tell without reading all of them.
    std::fs::File::options()
        .write(true)
        .open(&paths[0])
        .unwrap()
        .set_modified(SystemTime::now())
        .unwrap();
    let (_, second) = cut(&server, request()).await;
    let (after, again) = download(&server, &second.id, 0, 0).await.unwrap();
    assert!(again == bytes);
    assert_ne!(before.etag, after.etag);
    server.stop_with(&site, &[]);
}

/// The id of the clip that a command told of.
pub(super) fn clip_id_in(told: &str) -> String {
    let mut words = told.split_whitespace();
    let id = words.find(|word| word.starts_with("clip_"));
    id.expect("the id").to_owned()
}

#[tokio::test]
async fn the_commands_make_one_fetch_it_and_give_it_a_file() {
    let site = unfollowed();
    lay(&site, CAMERA, &thirty_seconds().record());
    import(&site, &[]);
    let server = site.start().await;
    let at = format!("http://{}", server.address);
    let from = (epoch() + ms(1_000)).to_rfc3339();
    let to = (epoch() + ms(20_000)).to_rfc3339();
    let window = ["--from", from.as_str(), "--to", to.as_str()];
    let output = site.path("fetched.mp4");
    let fetch = ["--output", output.to_str().unwrap(), "--server", &at];
    let options = ["clip", CAMERA, "--virtual", "--hold"];
    let (code, told, err) = site.run(&[&options[..], &window, &fetch].concat());
    assert_eq!(code, 0, "{told}\n{err}");
    assert!(
        told.contains("which are held for it") && !told.contains("SHA-256"),
        "{told}"
    );
    let clip_id = clip_id_in(&told);
    let (code, told, err) = site.run(&["materialize", &clip_id, "--server", &at]);
    assert_eq!(code, 0, "{told}\n{err}");
    let hash = sha256(&std::fs::read(&output).unwrap());
    assert!(told.contains(&hash) && !told.contains("Virtual"), "{told}");
    let (code, _, err) = site.run(&["materialize", "clip_unknown", "--server", &at]);
    assert_ne!(code, 0);
    assert!(err.contains("clip clip_unknown not found"), "{err}");
    drop(server);
}

/// A connection of its own over which the server can send only little ahead of what was taken.
async fn narrow(server: &Server) -> tonic::transport::Channel {
    tonic::transport::Endpoint::from_shared(format!("http://{}", server.address))
        .unwrap()
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535)
        .connect()
        .await
        .unwrap()
}

/// A download of which only the first bytes have been taken.
pub(super) struct Begun {
    messages: tonic::Streaming<proto::DownloadClipResponse>,
    pub(super) received: Vec<u8>,
}

impl Begun {
    pub(super) async fn of(server: &Server, clip_id: &str) -> Self {
        use heldar_footage::proto::clip_service_client::ClipServiceClient;
        let mut clips = ClipServiceClient::new(narrow(server).await);
        let request = proto::DownloadClipRequest {
            clip_id: clip_id.to_owned(),
            ..Default::default()
        };
        let messages = clips.download_clip(request).await.unwrap().into_inner();
        let mut begun = Self {
            messages,
            received: Vec::new(),
        };
        while begun.received.is_empty() {
            assert!(begun.take().await.unwrap(), "the download has begun");
        }
        begun
    }

    async fn take(&mut self) -> Result<bool, tonic::Status> {
        use proto::download_clip_response::Content;
        match self.messages.message().await? {
            None => Ok(false),
            Some(message) => {
                if let Some(Content::Data(data)) = message.content {
                    self.received.extend(data);
                }
                Ok(true)
            }
        }
    }

    /// Takes all that still comes; how the stream ended.
    pub(super) async fn rest(mut self) -> (Vec<u8>, Option<tonic::Status>) {
        loop {
            match self.take().await {
                Ok(true) => {}
                Ok(false) => return (self.received, None),
                Err(status) => return (self.received, Some(status)),
            }
        }
    }
}

/// A download over HTTP/1.1 whose head and first bytes have been taken: the length that it announced, and the rest.
pub(super) struct BegunPlain {
    stream: std::net::TcpStream,
    announced: usize,
}

impl BegunPlain {
    pub(super) fn of(server: &Server, clip: &proto::Clip) -> Self {
        let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
        stream
            .set_read_timeout(Some(crate::server::PATIENCE))
            .unwrap();
        let (url, host) = (&clip.url, &server.address);
        let request = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        Self {
            stream,
            announced: length.expect("a length").trim().parse().unwrap(),
        }
    }

    /// Takes all that still comes: how many bytes were announced, and how many came.
    pub(super) fn rest(mut self) -> (usize, usize) {
        let mut rest = Vec::new();
        // A reset is as good an end as any other that comes too early.
        let _ = self.stream.read_to_end(&mut rest);
        (self.announced, rest.len())
    }
}
