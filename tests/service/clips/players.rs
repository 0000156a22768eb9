//! Clips in the players that people have: ffmpeg, ffprobe, GStreamer and Chromium show the same frames at the same times,
//! whichever engine cut them.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use heldar_footage::proto::ClipEngine;
use md5::{Digest as _, Md5};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::likeness::{self, difference};
use super::*;
use crate::footage::{Recording, ffmpeg, run};

const SIDES: (usize, usize) = (192, 108);

/// Begins between key frames and goes across two segments.
const WINDOW: (i64, i64) = (8_440, 13_000);

fn recipes() -> [Recipe; 3] {
    [
        Recipe {
            b_frames: 2,
            ..thirty_seconds()
        },
        Recipe {
            layout: Layout::Progressive,
            gop_frames: 50,
            sound: false,
            ..thirty_seconds()
        },
        Recipe {
            codec: "libx265",
            b_frames: 2,
            gop_frames: 50,
            ..thirty_seconds()
        },
    ]
}

/// The clip of [`WINDOW`] by both engines, as files.
async fn clips_of(
    server: &Server,
    site: &Site,
) -> Vec<(ClipEngine, proto::Clip, std::path::PathBuf)> {
    let mut clips = Vec::new();
    for engine in [ClipEngine::Native, ClipEngine::Ffmpeg] {
        let request = proto::CreateClipRequest {
            engine: engine.into(),
            ..ask(CAMERA, WINDOW.0, WINDOW.1)
        };
        let (_, clip) = cut(server, request).await;
        let path = site.clips().join(&clip.file_name);
        clips.push((engine, clip, path));
    }
    clips
}

#[tokio::test]
async fn ffmpeg_ffprobe_and_gstreamer_show_the_same_frames_at_the_same_times() {
    for recipe in recipes() {
        let recording = recipe.record();
        let site = Site::new();
        lay(&site, CAMERA, &recording);
        site.import();
        let server = site.start().await;
        let clips = clips_of(&server, &site).await;
        let expected = recording.between(ms(WINDOW.0), ms(WINDOW.1));
        let digests: Vec<&str> = expected.iter().map(|frame| frame.digest.as_str()).collect();
        for (engine, _, path) in &clips {
            let by_ffmpeg = decode(path);
            let by_gstreamer = decode_by_gstreamer(path, recipe.codec);
            for (player, shown) in [("ffmpeg", &by_ffmpeg), ("GStreamer", &by_gstreamer)] {
                let found: Vec<&str> = shown.iter().map(|frame| frame.digest.as_str()).collect();
                assert!(
                    found == digests,
                    "{player} shows other frames of {engine:?}, {recipe:?}"
                );
            }
            let times = |frames: &[Frame]| frames.iter().map(|frame| frame.at).collect::<Vec<_>>();
            let close = |one: &[TimeDelta], other: &[TimeDelta]| {
                one.len() == other.len()
                    && one
                        .iter()
                        .zip(other)
                        .all(|(one, other)| (*one - *other).abs() <= ms(1))
            };
            assert!(
                close(&times(&by_ffmpeg), &times(&by_gstreamer)),
                "{engine:?}"
            );
            assert!(close(&times(&by_ffmpeg), &probed_times(path)), "{engine:?}");
        }
        let made: Vec<&proto::Clip> = clips.iter().map(|(_, clip, _)| clip).collect();
        server.stop_with(&site, &made);
    }
}

/// Frames as GStreamer shows them, from the first on.
fn decode_by_gstreamer(path: &std::path::Path, codec: &str) -> Vec<Frame> {
    let decoder = match codec {
        "libx265" => "avdec_h265",
        _ => "avdec_h264",
    };
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("frames.yuv");
    let pipeline = format!(
        "filesrc location={} ! qtdemux name=d d.video_0 ! {decoder} ! videoconvert ! video/x-raw,format=I420 ! \
         tee name=t t. ! queue ! filesink location={} t. ! queue ! fakesink silent=false sync=false",
        path.display(),
        raw.display()
    );
    let output = run(Command::new("gst-launch-1.0")
        .arg("-v")
        .args(pipeline.split_whitespace()));
    let told = String::from_utf8(output).unwrap();
    let times: Vec<TimeDelta> = told
        .lines()
        .filter(|line| line.contains("last-message = chain"))
        .map(|line| {
            let (_, rest) = line.split_once(" pts: ").unwrap();
            clock_time(rest.split_once(',').unwrap().0)
        })
        .collect();
    let bytes = std::fs::read(&raw).unwrap();
    let frames = bytes.chunks_exact(SIDES.0 * SIDES.1 * 3 / 2);
    assert_eq!(frames.len(), times.len());
    times
        .iter()
        .zip(frames)
        .map(|(at, picture)| Frame {
            at: *at - times[0],
            digest: Md5::digest(picture)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        })
        .collect()
}

/// GStreamer's `h:mm:ss.nnnnnnnnn`.
fn clock_time(text: &str) -> TimeDelta {
    let parts: Vec<&str> = text.split([':', '.']).collect();
    let number = |at: usize| parts[at].parse::<i64>().unwrap();
    TimeDelta::seconds(number(0) * 3600 + number(1) * 60 + number(2))
        + TimeDelta::nanoseconds(number(3))
}

/// When ffprobe says that each frame is shown, from the first on.
fn probed_times(path: &std::path::Path) -> Vec<TimeDelta> {
    let output = run(Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0"])
        .args(["-show_entries", "frame=pts_time", "-of", "csv=p=0"])
        .arg(path));
    let times: Vec<f64> = String::from_utf8(output)
        .unwrap()
        .lines()
        .map(|line| line.trim_end_matches(',').parse().unwrap())
        .collect();
    times
        .iter()
        .map(|at| TimeDelta::nanoseconds(((at - times[0]) * 1e9) as i64))
        .collect()
}

#[tokio::test]
async fn a_page_in_chromium_plays_a_clip_and_shows_the_right_picture_wherever_it_seeks() {
    // Debian's Chromium plays no H.265.
    for recipe in recipes()
        .into_iter()
        .filter(|recipe| recipe.codec == "libx264")
    {
        let recording = recipe.record();
        let pages = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", pages.local_addr().unwrap());
        let site = Site::new().with("HELDAR_CORS_ORIGINS", &origin);
        lay(&site, CAMERA, &recording);
        site.import();
        let server = site.start().await;
        let clips = clips_of(&server, &site).await;
        pages.set_nonblocking(true).unwrap();
        let pages = tokio::net::TcpListener::from_std(pages).unwrap();
        let shown_frames = recording.between(ms(WINDOW.0), ms(WINDOW.1)).len();
        // The middle of the first frame, of one in the middle and of the last.
        let wanted = [0, shown_frames / 2, shown_frames - 1];
        for (engine, clip, _) in &clips {
            let url = format!("http://{}{}", server.address, clip.url);
            let seeks: Vec<f64> = wanted
                .iter()
                .map(|frame| (*frame as f64 + 0.5) / 25.0)
                .collect();
            let seen = visit(&pages, &origin, &url, &seeks).await.unwrap();
            let length = shown_frames as f64 / 25.0;
            assert!(
                (seen.duration_s - length).abs() < 0.05,
                "{engine:?} plays {} s instead of {length}",
                seen.duration_s
            );
            assert!(
                seen.played.is_sorted() && seen.played.len() > 10,
                "{:?}",
                seen.played
            );
            let (first, last) = (seen.played[0], seen.played[seen.played.len() - 1]);
            assert!(
                first < 0.5 && last > length - 0.5 && last < length,
                "played from {first} to {last}"
            );
            let pictures = pictures_of(&recording);
            let begins = recording
                .frames
                .iter()
                .position(|frame| frame.at >= ms(WINDOW.0))
                .unwrap();
            for (picture, wanted) in seen.pictures.iter().zip(wanted) {
                assert_eq!(
                    nearest(picture, &pictures),
                    begins + wanted,
                    "{engine:?}, frame {wanted} of the clip"
                );
            }
        }
        let made: Vec<&proto::Clip> = clips.iter().map(|(_, clip, _)| clip).collect();
        server.stop_with(&site, &made);
    }
}

#[tokio::test]
async fn chromium_ends_where_the_picture_size_changes_and_a_rendered_clip_plays_across_it() {
    let recordings = [
        thirty_seconds().record(),
        Recipe {
            size: "160x90",
            ..thirty_seconds()
        }
        .record(),
    ];
    let pages = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", pages.local_addr().unwrap());
    let site = Site::new().with("HELDAR_CORS_ORIGINS", &origin);
    for (at, recording) in [0, 1, 0].into_iter().enumerate() {
        let segment = &recordings[recording].segments[at];
        let name = heldar_name(CAMERA, epoch() + segment.start);
        place(&site, &name, &segment.path);
    }
    site.import();
    let server = site.start().await;
    pages.set_nonblocking(true).unwrap();
    let pages = tokio::net::TcpListener::from_std(pages).unwrap();
    let window = || ask(CAMERA, 8_440, 22_000);

    // The contract says so of CLIP_ENGINE_NATIVE. When this fails, browsers have learned it, and the contract may tell.
    let (_, native) = cut(&server, window()).await;
    assert_eq!(native.engine_used(), ClipEngine::Native);
    let url = format!("http://{}{}", server.address, native.url);
    let failed = visit(&pages, &origin, &url, &[]).await.err();
    let failed = failed.expect("Chromium knows one sample entry");
    assert!(failed.contains("PIPELINE_ERROR_DECODE"), "{failed}");

    let request = proto::CreateClipRequest {
        engine: ClipEngine::Render.into(),
        render: Some(proto::RenderOptions {
            crf: 4,
            ..Default::default()
        }),
        ..window()
    };
    let (job, rendered) = cut(&server, request).await;
    assert_eq!((job.warnings.len(), rendered.gaps.len()), (0, 0));
    let video = rendered.video.as_ref().unwrap();
    assert_eq!(
        (video.width, video.height, video.frame_count),
        (192, 108, 339)
    );
    let url = format!("http://{}{}", server.address, rendered.url);
    // Frames of the clip in each of its three parts: it begins with the 212th of the recordings.
    let wanted = [3, 20, 60, 200, 286, 291, 330];
    let seeks: Vec<f64> = wanted
        .iter()
        .map(|frame| (*frame as f64 + 0.5) / 25.0)
        .collect();
    let seen = visit(&pages, &origin, &url, &seeks).await.unwrap();
    let last = seen.played[seen.played.len() - 1];
    assert!(last > 13.0, "played to {last}");
    let pictures = [pictures_of(&recordings[0]), pictures_of(&recordings[1])];
    for (picture, wanted) in seen.pictures.iter().zip(wanted) {
        let frame = wanted + 211;
        let of = usize::from((250..500).contains(&frame));
        assert_eq!(nearest(picture, &pictures[of]), frame, "frame {wanted}");
    }
    server.stop_with(&site, &[&native, &rendered]);
}

/// What the page saw.
struct Seen {
    duration_s: f64,
    /// Media times of the frames shown while it played, in seconds.
    played: Vec<f64>,
    /// RGBA of the picture after each seek.
    pictures: Vec<Vec<u8>>,
}

/// Opens the page in Chromium and waits for what it reports; or for why it cannot play the clip.
async fn visit(
    pages: &tokio::net::TcpListener,
    origin: &str,
    clip_url: &str,
    seeks: &[f64],
) -> Result<Seen, String> {
    let page = include_str!("browser/player.html")
        .replace("CLIP_URL", &format!("{clip_url:?}"))
        .replace("SEEKS", &format!("{seeks:?}"))
        .replace("WIDTH", &SIDES.0.to_string())
        .replace("HEIGHT", &SIDES.1.to_string());
    let profile = tempfile::tempdir().unwrap();
    let browser = Browser::open(origin, profile.path());
    let reported = tokio::time::timeout(std::time::Duration::from_secs(180), async {
        loop {
            let (mut stream, _) = pages.accept().await.unwrap();
            let (path, body) = read_request(&mut stream).await;
            let answer = if path == "/" { page.as_str() } else { "" };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                answer.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            if path == "/failed" {
                return Err(String::from_utf8_lossy(&body).into_owned());
            }
            if path == "/seen" {
                return Ok(body);
            }
        }
    })
    .await
    .expect("the page reports");
    drop(browser);
    let reported = reported?;
    // A line of JSON, then the pictures one after another.
    let end = reported.iter().position(|byte| *byte == b'\n').unwrap();
    let told: serde_json::Value = serde_json::from_slice(&reported[..end]).unwrap();
    Ok(Seen {
        duration_s: told["duration"].as_f64().unwrap(),
        played: told["played"]
            .as_array()
            .unwrap()
            .iter()
            .map(|at| at.as_f64().unwrap())
            .collect(),
        pictures: reported[end + 1..]
            .chunks(SIDES.0 * SIDES.1 * 4)
            .map(<[u8]>::to_vec)
            .collect(),
    })
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> (String, Vec<u8>) {
    let mut read = Vec::new();
    loop {
        let mut part = [0; 64 << 10];
        let count = stream.read(&mut part).await.unwrap();
        read.extend_from_slice(&part[..count]);
        let Some(head) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            if count == 0 {
                return (String::new(), Vec::new());
            }
            continue;
        };
        let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
        let length: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        if read.len() >= head + 4 + length || count == 0 {
            let path = text.split_whitespace().nth(1).unwrap_or("").to_owned();
            return (path, read[head + 4..].to_vec());
        }
    }
}

/// A browser, ended with its children when it is dropped.
struct Browser(Child);

impl Browser {
    fn open(url: &str, profile: &std::path::Path) -> Self {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("chromium");
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
            ])
            .args(["--no-first-run", "--disable-background-networking"])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--mute-audio",
            ])
            .args(["--disable-dev-shm-usage", "--remote-debugging-port=0"])
            .arg("--autoplay-policy=no-user-gesture-required")
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(url)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(command.spawn().expect("chromium is installed"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

/// Every picture of the recording as RGBA.
fn pictures_of(recording: &Recording) -> Vec<Vec<u8>> {
    let mut list = tempfile::NamedTempFile::new().unwrap();
    for segment in &recording.segments {
        writeln!(list, "file '{}'", segment.path.display()).unwrap();
    }
    let bytes = run(ffmpeg()
        .args(["-f", "concat", "-safe", "0", "-i"])
        .arg(list.path())
        .args(["-map", "0:v:0", "-vsync", "passthrough"])
        .args(["-vf", &format!("scale={}:{}", SIDES.0, SIDES.1)])
        .args(["-f", "rawvideo", "-pix_fmt", "rgba", "-"]));
    let pictures: Vec<Vec<u8>> = bytes
        .chunks_exact(SIDES.0 * SIDES.1 * 4)
        .map(<[u8]>::to_vec)
        .collect();
    assert_eq!(pictures.len(), recording.frames.len());
    pictures
}

/// Which picture this one is: players differ a little in how they make colours of it.
fn nearest(shown: &[u8], pictures: &[Vec<u8>]) -> usize {
    let differs = |at: usize, most| difference(&pictures[at], shown, most);
    likeness::nearest(pictures.len(), 0, differs)
}
