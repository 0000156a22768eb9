//! How fast archives are: against copying the same files, against hashing them, and against what the predecessor did
//! (`zip -r -q`, after cutting with ffmpeg into a staging folder when trimming). Run it with `make bench`.
//!
//! Every comparison is made in this one run: read the ratios. `make bench ARGS=quick` leaves out the predecessor's way
//! with the whole hour, which takes a minute a time.

#![allow(
    clippy::disallowed_methods,
    reason = "the benchmark runs the programs to compare with"
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
use heldar_footage::proto;
use heldar_footage::proto::archive_service_client::ArchiveServiceClient;
use hour::{HOUR_S, SEGMENT_S, make_hour, median, ms};
use server::{Server, Site, seconds, time};
use tonic::transport::Channel;

const CAMERA: &str = "gate_a_01";
const RUNS: usize = 3;
const MIB: u64 = 1 << 20;

fn main() {
    let quick = std::env::args().any(|argument| argument == "quick");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run(quick));
}

async fn run(quick: bool) {
    let site = Site::new();
    let first = DateTime::from_timestamp(1_790_000_000 / SEGMENT_S * SEGMENT_S, 0).unwrap();
    let folder = site.recordings().join(CAMERA);
    make_hour(&folder, first);
    site.import();
    let server = site.start().await;
    whole(&site, &server, &folder, quick).await;
    trimmed(&site, &server, &folder, first).await;
    memory(&server).await;
    assert_eq!(server.stop(), 0);
}

/// The whole hour: from the call to the zip with hashes, manifest and signature, synced and recorded.
async fn whole(site: &Site, server: &Server, folder: &Path, quick: bool) {
    let bytes: u64 = server::files_in(folder)
        .iter()
        .map(|name| folder.join(name).metadata().unwrap().len())
        .sum();
    println!(
        "\nArchive of 1 h, {} segments, {} MiB (medians of {RUNS}, in turns; the sources are in the page cache)",
        HOUR_S / SEGMENT_S,
        bytes / MIB
    );
    let spec = proto::ArchiveSpec::default();
    let (mut ours, mut copies, mut synced_copies, mut hashes) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let our_time = archive(server, &spec).await;
        let copy = site.path("copy");
        let copy_time = timed(Command::new("cp").arg("-r").arg(folder).arg(&copy));
        let sync_time = timed(Command::new("sync").arg("-f").arg(&copy));
        std::fs::remove_dir_all(&copy).unwrap();
        let hash_time = timed(
            Command::new("sh")
                .args(["-c", "cat \"$0\"/* | openssl dgst -sha256 > /dev/null"])
                .arg(folder),
        );
        // The first run only warms the caches.
        if run > 0 {
            ours.push(our_time);
            copies.push(copy_time);
            synced_copies.push(copy_time + sync_time);
            hashes.push(hash_time);
        }
    }
    let (ours, copy, synced, hash) = (
        median(ours),
        median(copies),
        median(synced_copies),
        median(hashes),
    );
    print("ours", ours, ours);
    print("cp", copy, ours);
    print("cp, then sync", synced, ours);
    print("openssl dgst -sha256", hash, ours);
    let limit = copy.max(hash);
    println!(
        "  ours / the longer of cp and openssl: {:.2}",
        ours.as_secs_f64() / limit.as_secs_f64()
    );
    if !quick && is_installed("zip") {
        let zip = site.path("theirs.zip");
        let their_time = timed(Command::new("zip").args(["-r", "-q"]).arg(&zip).arg(folder));
        std::fs::remove_file(zip).unwrap();
        print("zip -r -q", their_time, ours);
    }
}

/// A window of 60 s, exactly cut, against segments cut by ffmpeg into a staging folder and then zipped.
async fn trimmed(site: &Site, server: &Server, folder: &Path, first: DateTime<Utc>) {
    let from = first + TimeDelta::milliseconds(1_400);
    let to = from + TimeDelta::seconds(60);
    println!(
        "\nArchive of 60 s, trimmed (medians of {}, in turns)",
        3 * RUNS
    );
    let spec = proto::ArchiveSpec {
        start_time: time(from),
        end_time: time(to),
        trim: true,
        ..Default::default()
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..=3 * RUNS {
        let our_time = archive(server, &spec).await;
        let their_time = predecessor(site, folder, first, from, to);
        if run > 0 {
            ours.push(our_time);
            theirs.extend(their_time);
        }
    }
    let ours = median(ours);
    print("ours", ours, ours);
    if !theirs.is_empty() {
        print("ffmpeg each, then zip -r -q", median(theirs), ours);
    }
}

/// Memory above idle while the hour is packed, and while it is streamed and verified.
async fn memory(server: &Server) {
    let idle = server.memory_bytes();
    server.forget_peak_memory();
    let job = create(server, &proto::ArchiveSpec::default()).await;
    println!("\nMemory of the server above idle ({} MiB)", idle / MIB);
    let above =
        |server: &Server| server.peak_memory_bytes().saturating_sub(idle) as f64 / MIB as f64;
    println!("  {:<28} {:>8.1} MiB", "archive of 1 h", above(server));
    server.forget_peak_memory();
    let request = proto::VerifyArchiveRequest {
        archive_id: archive_id(&job),
        wait: seconds(60),
        ..Default::default()
    };
    let began = Instant::now();
    archives(server).verify_archive(request).await.unwrap();
    let verifying = began.elapsed();
    println!(
        "  {:<28} {:>8.1} MiB ({:.1} s)",
        "verification of it",
        above(server),
        verifying.as_secs_f64()
    );
    delete(server, &job).await;
}

async fn archive(server: &Server, spec: &proto::ArchiveSpec) -> Duration {
    let began = Instant::now();
    let job = create(server, spec).await;
    let took = began.elapsed();
    delete(server, &job).await;
    took
}

async fn create(server: &Server, spec: &proto::ArchiveSpec) -> proto::Job {
    let request = proto::CreateArchiveRequest {
        spec: Some(spec.clone()),
        wait: seconds(60),
        ..Default::default()
    };
    let job = archives(server)
        .create_archive(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(job.state(), proto::JobState::Succeeded, "{:?}", job.error);
    job
}

async fn delete(server: &Server, job: &proto::Job) {
    let request = proto::DeleteArchiveRequest {
        archive_id: archive_id(job),
        etag: String::new(),
    };
    archives(server).delete_archive(request).await.unwrap();
}

fn archive_id(job: &proto::Job) -> String {
    match &job.result {
        Some(proto::job::Result::Archive(archive)) => archive.id.clone(),
        other => panic!("{other:?}"),
    }
}

fn archives(server: &Server) -> ArchiveServiceClient<Channel> {
    ArchiveServiceClient::new(server.channel())
}

/// What the predecessor did to trim: each segment of the window cut with `-ss` and `-to` into a folder, then zipped.
fn predecessor(
    site: &Site,
    folder: &Path,
    first: DateTime<Utc>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Option<Duration> {
    if !is_installed("zip") {
        return None;
    }
    let began = Instant::now();
    let staging = site.path("staging");
    std::fs::create_dir(&staging).unwrap();
    for (number, name) in (0..).zip(server::files_in(folder)) {
        let start = first + TimeDelta::seconds(number * SEGMENT_S);
        let end = start + TimeDelta::seconds(SEGMENT_S);
        if start >= to || end <= from {
            continue;
        }
        let second = |time: DateTime<Utc>| (time - start).as_seconds_f64().to_string();
        let status = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-i"])
            .arg(folder.join(&name))
            .args(["-ss", &second(from.max(start)), "-to", &second(to.min(end))])
            .args(["-c", "copy"])
            .arg(staging.join(&name))
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    }
    let zip: PathBuf = site.path("theirs.zip");
    timed(
        Command::new("zip")
            .args(["-r", "-q"])
            .arg(&zip)
            .arg(&staging),
    );
    let took = began.elapsed();
    std::fs::remove_dir_all(staging).unwrap();
    std::fs::remove_file(zip).unwrap();
    Some(took)
}

fn is_installed(program: &str) -> bool {
    Command::new(program)
        .arg("-v")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

fn timed(command: &mut Command) -> Duration {
    let began = Instant::now();
    let status = command.stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}");
    began.elapsed()
}

fn print(what: &str, took: Duration, ours: Duration) {
    println!(
        "  {what:<28} {:>10.1} ms   {:>6.2} times ours",
        ms(took),
        took.as_secs_f64() / ours.as_secs_f64()
    );
}
