//! Footage put where a recorder would have put it, and clips compared with it.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, TimeDelta, Utc};
use heldar_footage::proto;
use heldar_footage::proto::download_clip_response::Content;
use sha2::{Digest as _, Sha256};

use crate::footage::{Frame, Recording, decode, epoch, ffmpeg, ms};
use crate::server::{Server, Site, clip_of, ended, seconds, time};

/// The camera of tests that need only one.
pub const CAMERA: &str = "gate_a_01";

/// Puts a file below the recordings as if it had been written long ago.
pub fn place(site: &Site, relative: &str, file: &Path) -> PathBuf {
    let target = site.recordings().join(relative);
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    std::fs::copy(file, &target).unwrap();
    age(&target);
    target
}

/// Makes a file look as if it had been written long ago, so that it counts as finished.
pub fn age(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::from(epoch())).unwrap();
}

/// Overwrites the headers of an MP4 in place. The file keeps its media, its length and its modification time.
pub fn blank_headers(path: &Path) {
    let modified = std::fs::metadata(path).unwrap().modified().unwrap();
    let bytes = std::fs::read(path).unwrap();
    let mut file = std::fs::File::options().write(true).open(path).unwrap();
    let (mut at, mut blanked) = (0, 0);
    while at < bytes.len() {
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let header = if size == 1 { 16 } else { 8 };
        let size = match size {
            0 => bytes.len() - at,
            1 => u64::from_be_bytes(bytes[at + 8..at + 16].try_into().unwrap()) as usize,
            size => size,
        };
        if [b"ftyp", b"moov", b"moof"]
            .iter()
            .any(|kind| bytes[at + 4..at + 8] == kind[..])
        {
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(&vec![0xee; size]).unwrap();
            blanked += 1;
        }
        at += size.max(header);
    }
    assert!(blanked >= 2, "{blanked} headers");
    file.set_modified(modified).unwrap();
}

/// The name that the Heldar layout gives a file of this start.
pub fn heldar_name(camera: &str, start: DateTime<Utc>) -> String {
    format!("{camera}/{}.mp4", start.format("%Y%m%d_%H%M%S"))
}

/// Puts a recording where a recorder of the Heldar layout would have; the paths of its segments.
pub fn lay(site: &Site, camera: &str, recording: &Recording) -> Vec<PathBuf> {
    recording
        .segments
        .iter()
        .map(|segment| {
            place(
                site,
                &heldar_name(camera, epoch() + segment.start),
                &segment.path,
            )
        })
        .collect()
}

/// A site whose recordings no server follows: what happens to a file after its import is noticed only by a cut.
pub fn unfollowed() -> Site {
    let site = Site::new();
    let other = site.path("followed");
    std::fs::create_dir(&other).unwrap();
    site.with("HELDAR_RECORDINGS_DIR", other.to_str().unwrap())
}

/// Imports the recordings as a source of their own; what the command says, in JSON.
pub fn import(site: &Site, layout: &[&str]) -> String {
    let folder = site.recordings();
    let mut arguments = vec![
        "import",
        folder.to_str().unwrap(),
        "--source-id",
        "still",
        "--json",
    ];
    arguments.extend(layout);
    let (code, out, err) = site.run(&arguments);
    assert_eq!(code, 0, "{out}\n{err}");
    out
}

/// A request for a window in milliseconds from the epoch of the tests; it waits for the end.
pub fn ask(camera: &str, from_ms: i64, to_ms: i64) -> proto::CreateClipRequest {
    proto::CreateClipRequest {
        camera_id: camera.to_owned(),
        start_time: time(epoch() + ms(from_ms)),
        end_time: time(epoch() + ms(to_ms)),
        wait: seconds(60),
        ..Default::default()
    }
}

/// The same, cut by ffmpeg whatever the footage is.
pub fn ask_ffmpeg(camera: &str, from_ms: i64, to_ms: i64) -> proto::CreateClipRequest {
    proto::CreateClipRequest {
        engine: proto::ClipEngine::Ffmpeg.into(),
        ..ask(camera, from_ms, to_ms)
    }
}

/// The ended job of a request.
pub async fn run_job(server: &Server, request: proto::CreateClipRequest) -> proto::Job {
    let job = server
        .clips()
        .create_clip(request)
        .await
        .unwrap()
        .into_inner();
    if job.end_time.is_some() {
        job
    } else {
        ended(server, &job.id).await
    }
}

/// The job and the clip of a request that succeeds.
pub async fn cut(server: &Server, request: proto::CreateClipRequest) -> (proto::Job, proto::Clip) {
    let job = run_job(server, request).await;
    let clip = clip_of(&job);
    (job, clip)
}

/// Header and bytes of a download.
pub async fn download(
    server: &Server,
    clip_id: &str,
    offset_bytes: i64,
    limit_bytes: i64,
) -> Result<(proto::FileHeader, Vec<u8>), tonic::Status> {
    let request = proto::DownloadClipRequest {
        clip_id: clip_id.to_owned(),
        offset_bytes,
        limit_bytes,
    };
    let mut messages = server.clips().download_clip(request).await?.into_inner();
    let first = messages.message().await?.expect("a first message").content;
    let Some(Content::Header(header)) = first else {
        panic!("the first message is no header: {first:?}")
    };
    let mut bytes = Vec::new();
    while let Some(message) = messages.message().await? {
        match message.content {
            Some(Content::Data(data)) => {
                assert!(
                    (1..=1 << 20).contains(&data.len()),
                    "a message of {} bytes",
                    data.len()
                );
                bytes.extend(data);
            }
            other => panic!("no data: {other:?}"),
        }
    }
    assert_eq!(header.length_bytes, bytes.len() as i64);
    assert_eq!(header.offset_bytes, offset_bytes);
    Ok((header, bytes))
}

/// SHA-256 as the service writes it.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A clip fetched over gRPC, in a folder of its own.
pub struct Fetched {
    folder: tempfile::TempDir,
}

impl Fetched {
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("clip")
    }
}

/// Fetches a clip and checks that it is the file that its row describes.
pub async fn fetch(server: &Server, clip: &proto::Clip) -> Fetched {
    let (header, bytes) = download(server, &clip.id, 0, 0).await.unwrap();
    assert_eq!(clip.size_bytes, bytes.len() as i64, "size");
    assert_eq!(clip.sha256, sha256(&bytes), "hash");
    assert_eq!(
        (
            header.total_size_bytes,
            &header.sha256,
            &header.media_type,
            &header.file_name
        ),
        (
            clip.size_bytes,
            &clip.sha256,
            &clip.media_type,
            &clip.file_name
        )
    );
    let fetched = Fetched {
        folder: tempfile::tempdir().unwrap(),
    };
    std::fs::write(fetched.path(), bytes).unwrap();
    fetched
}

/// What ffprobe says of one entry of a file, such as `format=duration`.
pub fn probe(path: &Path, entry: &str) -> String {
    let mut command = std::process::Command::new("ffprobe");
    command.args([
        "-v",
        "error",
        "-of",
        "default=noprint_wrappers=1:nokey=1",
        "-show_entries",
        entry,
    ]);
    let output = command.arg(path).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A duration of an answer.
pub fn delta(duration: Option<&prost_types::Duration>) -> TimeDelta {
    let duration = duration.expect("a duration");
    TimeDelta::seconds(duration.seconds) + TimeDelta::nanoseconds(duration.nanos.into())
}

/// A time of an answer, from the epoch of the tests.
pub fn since_epoch(time: Option<&prost_types::Timestamp>) -> TimeDelta {
    let time = time.expect("a time");
    DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).unwrap()).unwrap() - epoch()
}

/// Checks a clip against the frames it must show and against what it says of itself.
///
/// `begins` is when the first frame of the recording was shown, from the epoch; `frame` is the length of a frame.
pub async fn check(
    server: &Server,
    clip: &proto::Clip,
    expected: &[Frame],
    begins: TimeDelta,
    frame: TimeDelta,
) -> Fetched {
    let fetched = fetch(server, clip).await;
    let shown = decode(&fetched.path());
    check_frames(&shown, expected);
    let near = |what: &str, told: TimeDelta, measured: TimeDelta, slack: TimeDelta| {
        assert!(
            (told - measured).abs() <= slack,
            "{what}: told {told}, measured {measured}"
        );
    };
    let (first, last) = (&expected[0], &expected[expected.len() - 1]);
    let delivered = clip.delivered_window.as_ref().unwrap();
    let requested = clip.requested_window.as_ref().unwrap();
    let (from, to) = (
        since_epoch(requested.start_time.as_ref()),
        since_epoch(requested.end_time.as_ref()),
    );
    near(
        "delivered start",
        since_epoch(delivered.start_time.as_ref()),
        begins + first.at,
        frame,
    );
    near(
        "delivered end",
        since_epoch(delivered.end_time.as_ref()),
        (begins + last.at + frame).min(to),
        frame,
    );
    assert_eq!(delta(clip.requested.as_ref()), to - from);
    assert_eq!(
        clip.covered, clip.duration,
        "a clip is as long as the footage it covers"
    );

    let duration = delta(clip.duration.as_ref());
    near(
        "shown frames",
        duration,
        shown[shown.len() - 1].at + frame,
        frame,
    );
    let seconds: f64 = probe(&fetched.path(), "format=duration").parse().unwrap();
    near(
        "duration of the file",
        duration,
        TimeDelta::microseconds((seconds * 1e6) as i64),
        ms(50),
    );
    assert_eq!(
        clip.video.as_ref().unwrap().frame_count,
        expected.len() as i64
    );

    let mut missing = TimeDelta::zero();
    for gap in &clip.gaps {
        let (start, end) = (
            since_epoch(gap.start_time.as_ref()),
            since_epoch(gap.end_time.as_ref()),
        );
        assert!(
            from <= start && start < end && end <= to,
            "a gap outside of the window: {gap:?}"
        );
        missing += end - start;
        let after = expected
            .iter()
            .zip(&shown)
            .find(|(frame, _)| begins + frame.at >= end - ms(30));
        let falls_at = after.map_or(shown[shown.len() - 1].at + frame, |(_, shown)| shown.at);
        near(
            "offset of a gap",
            delta(gap.clip_offset.as_ref()),
            falls_at,
            frame,
        );
    }
    near(
        "covered and missing",
        delta(clip.covered.as_ref()) + missing,
        to - from,
        frame * 2,
    );
    fetched
}

/// Checks that exactly these frames are shown, in this order.
pub fn check_frames(shown: &[Frame], expected: &[Frame]) {
    let digests = |frames: &[Frame]| {
        frames
            .iter()
            .map(|frame| frame.digest.clone())
            .collect::<Vec<_>>()
    };
    let (shown, expected) = (digests(shown), digests(expected));
    if shown != expected {
        let found: Vec<_> = shown
            .iter()
            .map(|digest| expected.iter().position(|known| known == digest))
            .collect();
        panic!(
            "{} frames shown, {} expected; in order: {found:?}",
            shown.len(),
            expected.len()
        );
    }
}

/// Checks that a player finds nothing to complain of from the first byte to the last, hidden frames included.
pub fn check_decodes(path: &Path) {
    let mut command = ffmpeg();
    let output = command
        .arg("-xerror")
        .arg("-i")
        .arg(path)
        .args(["-f", "null", "-"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.is_empty(), "{told}");
}

/// Reasons and segments of a clip's gaps, in order.
pub fn gap_reasons(clip: &proto::Clip) -> Vec<proto::GapReason> {
    clip.gaps.iter().map(proto::Gap::reason).collect()
}
