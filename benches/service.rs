//! How fast the service is, against bare ffmpeg and in calls a second. Run it with `make bench`.
//!
//! Every comparison is made in this one run, ours and theirs in turns, because machines differ and are shared: read
//! the ratios, not the milliseconds. `make bench ARGS=quick` leaves out the longest windows.

#![allow(
    clippy::disallowed_methods,
    reason = "the benchmark runs bare ffmpeg to compare with"
)]

#[path = "../tests/support/footage.rs"]
#[allow(dead_code, reason = "only the harness uses it here")]
mod footage;
mod hour;
#[path = "../tests/support/postgres.rs"]
mod postgres;
#[path = "../tests/service/server/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the tests use more of the harness"
)]
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use heldar_footage::domain::camera::CameraId;
use heldar_footage::domain::catalog::{Container, MediaFacts, NewSegment, VideoFormat};
use heldar_footage::domain::source::Source;
use heldar_footage::proto;
use heldar_footage::repository::Store;
use hour::{HOUR_S, SEGMENT_S, make_hour, median, ms};
use server::{KEPT_LAYOUTS, Server, Site, clip_of, seconds, time};

/// Callers at the same time, on one connection.
const CALLERS: usize = 8;
const SYNTHETIC_SEGMENTS: i64 = 1_000_000;

fn main() {
    let quick = std::env::args().any(|argument| argument == "quick");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run(quick));
}

async fn run(quick: bool) {
    let site = Site::new();
    println!("Making one hour of ten-second 1080p segments and a catalog of a million …");
    let first = DateTime::from_timestamp(1_790_000_000 / SEGMENT_S * SEGMENT_S, 0).unwrap();
    make_hour(&site.recordings().join("gate_a_01"), first);
    let filled = Instant::now();
    fill_catalog(&site).await;
    println!(
        "Wrote {SYNTHETIC_SEGMENTS} segments into the catalog in {:.0} s",
        filled.elapsed().as_secs_f64()
    );

    let imported = Instant::now();
    site.import();
    let files = HOUR_S / SEGMENT_S;
    println!(
        "Imported {files} files in {:.2} s",
        imported.elapsed().as_secs_f64()
    );

    let server = site.start().await;
    cuts(&site, &server, first, quick).await;
    virtual_clips(&site, server, first).await;
    let server = site.start().await;
    calls(&server, first).await;
    timelines(&server).await;
    assert_eq!(server.stop(), 0);
}

/// A clip from the call to the finished, hashed, recorded file, with ffmpeg and without it, against one bare ffmpeg of the
/// same cut, and against copying and hashing as many bytes with `cp` and `openssl`.
async fn cuts(site: &Site, server: &Server, first: DateTime<Utc>, quick: bool) {
    println!(
        "\nClip, from call to finished file (start 1.4 s after a key frame; medians; all in turns)"
    );
    println!(
        "{:>8} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>14}",
        "window",
        "native",
        "by ffmpeg",
        "bare ffmpeg",
        "cp",
        "openssl",
        "bare/native",
        "native/longer"
    );
    let mut windows = vec![(10, 9), (60, 9)];
    if !quick {
        windows.extend([(600, 5), (3590, 3)]);
    }
    let list = concat_list(site);
    for (length_s, runs) in windows {
        let mut times: [Vec<Duration>; 5] = Default::default();
        for run in 0..=runs {
            let start_ms = 1_400;
            let from = first + TimeDelta::milliseconds(start_ms);
            let to = from + TimeDelta::seconds(length_s);
            let (native, native_time) =
                timed_cut(server, proto::ClipEngine::Native, from, to).await;
            let (copied, copied_time) =
                timed_cut(server, proto::ClipEngine::Ffmpeg, from, to).await;
            let began = Instant::now();
            let bare = bare_ffmpeg(site, &list, start_ms as f64 / 1000.0, length_s);
            let bare_time = began.elapsed();
            std::fs::remove_file(bare).unwrap();
            let file = site.clips().join(&native.file_name);
            let copy = site.path("copy");
            let cp_time = timed(Command::new("cp").arg(&file).arg(&copy));
            std::fs::remove_file(copy).unwrap();
            let openssl_time = timed(Command::new("openssl").args(["dgst", "-sha256"]).arg(&file));
            for clip_id in [native.id, copied.id] {
                let request = proto::DeleteClipRequest { clip_id };
                server.clips().delete_clip(request).await.unwrap();
            }
            // The first run only warms the caches.
            if run > 0 {
                let measured = [native_time, copied_time, bare_time, cp_time, openssl_time];
                times
                    .iter_mut()
                    .zip(measured)
                    .for_each(|(times, time)| times.push(time));
            }
        }
        let [native, copied, bare, cp, openssl] = times.map(median);
        println!(
            "{:>6} s {:>9.1} ms {:>9.1} ms {:>9.1} ms {:>9.1} ms {:>9.1} ms {:>12.2} {:>14.2}",
            length_s,
            ms(native),
            ms(copied),
            ms(bare),
            ms(cp),
            ms(openssl),
            bare.as_secs_f64() / native.as_secs_f64(),
            native.as_secs_f64() / cp.max(openssl).as_secs_f64(),
        );
    }
}

/// How long a program takes that must succeed and says nothing of use.
fn timed(command: &mut Command) -> Duration {
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}");
    began.elapsed()
}

/// Virtual clips of an hour: how many can be made in a second, and how soon the first byte of one is there.
async fn virtual_clips(site: &Site, server: Server, first: DateTime<Utc>) {
    let window = TimeDelta::seconds(3_590);
    let from = first + TimeDelta::milliseconds(1_400);
    println!("\nVirtual clips of 3590 s");
    println!("{:>26} {:>10} {:>10} {:>10}", "", "a second", "p50", "p99");
    for (name, callers, count) in [("made, one caller", 1, 60), ("made, eight callers", 8, 200)] {
        let made = measure_with(callers, count, |_| {
            let mut clips = server.clips();
            async move {
                let request = proto::CreateClipRequest {
                    camera_id: "gate_a_01".to_owned(),
                    start_time: time(from),
                    end_time: time(from + window),
                    wait: seconds(60),
                    r#virtual: true,
                    ..Default::default()
                };
                clip_of(&clips.create_clip(request).await.unwrap().into_inner()).id
            }
        })
        .await;
        report(name, &made.times, made.wall);
        if callers == 1 {
            first_bytes("first byte, just made", &server, &made.last, 1, 200).await;
            first_bytes("the same, eight callers", &server, &made.last, 8, 2_000).await;
            let whole = whole_of(&server, &made.last).await;
            println!("{:>26} {:>10.0} MB/s", "all of it over gRPC", whole);
        }
    }
    let clip = clip_id(&server).await;
    assert_eq!(server.stop(), 0);
    let kept = site.clips().join(KEPT_LAYOUTS).join(&clip);
    let kept_bytes = kept.metadata().unwrap().len();
    for (name, is_kept) in [
        ("first byte, after a start", true),
        ("the same, laid out anew", false),
    ] {
        let mut cold = Vec::new();
        for _ in 0..3 {
            if !is_kept {
                std::fs::remove_file(&kept).unwrap();
            }
            let server = site.start().await;
            cold.push(first_byte(&server, &clip).await);
            assert_eq!(server.stop(), 0);
        }
        println!("{:>26} {:>21.2} ms", name, ms(median(cold)));
    }
    println!(
        "{:>26} {:>21.2} MB",
        "kept of each",
        kept_bytes as f64 / 1e6
    );
}

/// The newest clip.
async fn clip_id(server: &Server) -> String {
    let request = proto::ListClipsRequest {
        page_size: 1,
        ..Default::default()
    };
    let page = server.clips().list_clips(request).await.unwrap();
    page.into_inner().clips[0].id.clone()
}

/// From the call to the first message with bytes.
async fn first_byte(server: &Server, clip_id: &str) -> Duration {
    let request = proto::DownloadClipRequest {
        clip_id: clip_id.to_owned(),
        limit_bytes: 1,
        ..Default::default()
    };
    let began = Instant::now();
    let answer = server.clips().download_clip(request).await.unwrap();
    let mut messages = answer.into_inner();
    messages.message().await.unwrap().expect("a header");
    messages.message().await.unwrap().expect("a byte");
    began.elapsed()
}

async fn first_bytes(name: &str, server: &Server, clip_id: &str, callers: usize, count: i64) {
    let fetched = measure_with(callers, count, |_| async move {
        first_byte(server, clip_id).await;
        String::new()
    })
    .await;
    report(name, &fetched.times, fetched.wall);
}

/// Megabytes a second of a whole download.
async fn whole_of(server: &Server, clip_id: &str) -> f64 {
    let request = proto::DownloadClipRequest {
        clip_id: clip_id.to_owned(),
        ..Default::default()
    };
    let began = Instant::now();
    let answer = server.clips().download_clip(request).await.unwrap();
    let mut messages = answer.into_inner();
    let mut bytes = 0;
    while let Some(message) = messages.message().await.unwrap() {
        if let Some(proto::download_clip_response::Content::Data(data)) = message.content {
            bytes += data.len();
        }
    }
    bytes as f64 / 1e6 / began.elapsed().as_secs_f64()
}

async fn timed_cut(
    server: &Server,
    engine: proto::ClipEngine,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> (proto::Clip, Duration) {
    let request = proto::CreateClipRequest {
        camera_id: "gate_a_01".to_owned(),
        start_time: time(start),
        end_time: time(end),
        wait: seconds(60),
        engine: engine.into(),
        ..Default::default()
    };
    let began = Instant::now();
    let job = server.clips().create_clip(request).await.unwrap();
    (clip_of(&job.into_inner()), began.elapsed())
}

/// Calls a second and their latency with eight callers at once.
async fn calls(server: &Server, first: DateTime<Utc>) {
    println!("\nCalls, eight callers at once on one connection");
    println!(
        "{:>26} {:>10} {:>10} {:>10}",
        "method", "calls/s", "p50", "p99"
    );
    let start = first + TimeDelta::seconds(30);
    let created = measure(400, |number| {
        let mut clips = server.clips();
        async move {
            let from = start + TimeDelta::seconds(number % 100);
            let request = proto::CreateClipRequest {
                camera_id: "gate_a_01".to_owned(),
                start_time: time(from),
                end_time: time(from + TimeDelta::seconds(1)),
                ..Default::default()
            };
            clips.create_clip(request).await.unwrap().into_inner().id
        }
    })
    .await;
    report("CreateClip (no wait)", &created.times, created.wall);
    let job_id = created.last.clone();
    drain(server).await;

    let got = measure(20_000, |_| {
        let (mut jobs, job_id) = (server.jobs(), job_id.clone());
        async move {
            jobs.get_job(proto::GetJobRequest { job_id })
                .await
                .unwrap()
                .into_inner()
                .id
        }
    })
    .await;
    report("GetJob", &got.times, got.wall);
    let listed = measure(4_000, |_| {
        let mut catalog = server.catalog();
        async move {
            let request = proto::ListSegmentsRequest {
                camera_id: "gate_a_01".to_owned(),
                ..Default::default()
            };
            catalog
                .list_segments(request)
                .await
                .unwrap()
                .into_inner()
                .next_page_token
        }
    })
    .await;
    report("ListSegments (page of 50)", &listed.times, listed.wall);
}

async fn timelines(server: &Server) {
    println!(
        "\nGetTimeline of a camera with {SYNTHETIC_SEGMENTS} ten-second segments, a gap each hour"
    );
    println!(
        "{:>26} {:>10} {:>10} {:>10}",
        "window", "calls/s", "p50", "p99"
    );
    let begin = synthetic_start();
    let whole_s = SYNTHETIC_SEGMENTS * SEGMENT_S;
    for (name, length_s, callers) in [
        ("a day", 86_400, CALLERS),
        ("a month", 30 * 86_400, CALLERS),
        ("all of it", whole_s, CALLERS),
        ("all of it, one caller", whole_s, 1),
    ] {
        let timed = measure_with(callers, 400, |number| {
            let mut catalog = server.catalog();
            async move {
                let start =
                    begin + TimeDelta::seconds(number * 7919 % (whole_s - length_s + 1).max(1));
                let request = proto::GetTimelineRequest {
                    camera_id: "synthetic".to_owned(),
                    start_time: time(start),
                    end_time: time(start + TimeDelta::seconds(length_s)),
                    resolution: None,
                };
                catalog
                    .get_timeline(request)
                    .await
                    .unwrap()
                    .into_inner()
                    .camera_id
            }
        })
        .await;
        report(name, &timed.times, timed.wall);
    }
}

struct Measured {
    times: Vec<Duration>,
    wall: Duration,
    last: String,
}

async fn measure<F: Future<Output = String>>(calls: i64, call: impl Fn(i64) -> F) -> Measured {
    measure_with(CALLERS, calls, call).await
}

/// The same with this many callers at once.
async fn measure_with<F: Future<Output = String>>(
    callers: usize,
    calls: i64,
    call: impl Fn(i64) -> F,
) -> Measured {
    use futures::StreamExt as _;
    let began = Instant::now();
    let done: Vec<(Duration, String)> = futures::stream::iter(0..calls)
        .map(|number| {
            let call = call(number);
            async move {
                let began = Instant::now();
                let answer = call.await;
                (began.elapsed(), answer)
            }
        })
        .buffer_unordered(callers)
        .collect()
        .await;
    let wall = began.elapsed();
    let last = done
        .last()
        .map(|(_, answer)| answer.clone())
        .unwrap_or_default();
    Measured {
        times: done.into_iter().map(|(time, _)| time).collect(),
        wall,
        last,
    }
}

fn report(name: &str, times: &[Duration], wall: Duration) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |part: f64| sorted[((sorted.len() - 1) as f64 * part) as usize];
    println!(
        "{:>26} {:>10.0} {:>7.2} ms {:>7.2} ms",
        name,
        times.len() as f64 / wall.as_secs_f64(),
        ms(at(0.5)),
        ms(at(0.99)),
    );
}

async fn drain(server: &Server) {
    loop {
        let filter = proto::JobFilter {
            states: vec![
                proto::JobState::Queued.into(),
                proto::JobState::Running.into(),
            ],
            ..Default::default()
        };
        let request = proto::ListJobsRequest {
            filter: Some(filter),
            page_size: 1,
            ..Default::default()
        };
        let left = server
            .jobs()
            .list_jobs(request)
            .await
            .unwrap()
            .into_inner()
            .jobs;
        match left.into_iter().next() {
            None => return,
            Some(job) => {
                let request = proto::WatchJobRequest {
                    job_id: job.id,
                    after_revision: 0,
                };
                let mut watch = server.jobs().watch_job(request).await.unwrap().into_inner();
                while watch.message().await.unwrap().is_some() {}
            }
        }
    }
}

/// What a good command line of ffmpeg would be for the same cut: input seeking, stream copy, faststart.
fn bare_ffmpeg(site: &Site, list: &Path, start_s: f64, length_s: i64) -> PathBuf {
    let output = site.path("bare.mp4");
    let status = Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-v",
            "error",
            "-y",
            "-ss",
            &start_s.to_string(),
            "-f",
            "concat",
            "-safe",
            "0",
            "-i",
        ])
        .arg(list)
        .args([
            "-t",
            &length_s.to_string(),
            "-map",
            "0",
            "-c",
            "copy",
            "-movflags",
            "+faststart",
        ])
        .arg(&output)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    output
}

fn concat_list(site: &Site) -> PathBuf {
    let folder = site.recordings().join("gate_a_01");
    let lines: String = server::files_in(&folder)
        .iter()
        .map(|name| format!("file '{}'\n", folder.join(name).display()))
        .collect();
    let list = site.path("list.txt");
    std::fs::write(&list, lines).unwrap();
    list
}

fn synthetic_start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

/// A camera of which only the catalog knows.
async fn fill_catalog(site: &Site) {
    let store = Store::open(&format!("sqlite://{}/heldar.db", site.data().display()))
        .await
        .unwrap();
    let source = Source {
        id: "synthetic".to_owned(),
        root: site.path("nowhere"),
        layout: "heldar".to_owned(),
        zone: "UTC".to_owned(),
        follow: false,
        create_time: synthetic_start(),
    };
    store.put_source(&source).await.unwrap();
    let batch = 20_000;
    for begin in (0..SYNTHETIC_SEGMENTS).step_by(batch) {
        let segments: Vec<_> = (begin..begin + batch as i64).map(synthetic).collect();
        store.take_in(&segments, synthetic_start()).await.unwrap();
    }
    store.close().await;
}

fn synthetic(number: i64) -> NewSegment {
    let start_time = synthetic_start() + TimeDelta::seconds(number * SEGMENT_S);
    // The last segment of each hour is half as long, so that there is a gap after it.
    let length_s = if number % 360 == 359 {
        SEGMENT_S / 2
    } else {
        SEGMENT_S
    };
    NewSegment {
        camera_id: CameraId::parse("synthetic").unwrap(),
        source_id: "synthetic".to_owned(),
        path: format!("synthetic/{number}.mp4"),
        start_time,
        start_accuracy: TimeDelta::zero(),
        size_bytes: 5_000_000,
        modified_time: start_time,
        facts: MediaFacts {
            container: Container::FragmentedMp4,
            duration: TimeDelta::seconds(length_s),
            video: VideoFormat {
                codec: "h264".to_owned(),
                width: 1920,
                height: 1080,
                frame_count: 250,
            },
            video_fingerprint: "0".repeat(32),
            audio: None,
            key_frames: (0..5)
                .map(|number| TimeDelta::seconds(number * 2))
                .collect(),
            sample_index: None,
            truncated: false,
        },
    }
}
