//! How fast a folder of 10,000 ten-second segments comes into the catalog, against ffprobe for each file, and what the
//! stored indexes are worth. Run it with `cargo bench --bench imports`.
//!
//! The segments are six real ones under many names (hard links), so that reading is from the page cache for all alike. The
//! database is on the disk, with a commit for every transaction.

#![allow(
    clippy::disallowed_methods,
    reason = "the benchmark runs ffprobe to compare with, and reads the clock"
)]

#[path = "../tests/support/footage.rs"]
#[allow(dead_code, reason = "only the harness uses it here")]
mod footage;
#[allow(dead_code, reason = "other benchmarks use more of it")]
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
use heldar_footage::domain::time::TimeRange;
use heldar_footage::proto;
use heldar_footage::repository::Store;
use hour::{ENCODED, HOUR_S, SEGMENT_S, encode, median, ms};
use postgres::Postgres;
use server::{Server, Site, age, time};
use sqlx::Connection as _;

const SEGMENTS: i64 = 10_000;
/// Files that ffprobe reads; it takes as long for each.
const PROBED: usize = 100;
const CAMERA: &str = "gate_a_01";
const PLANS: usize = 9;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let postgres = Postgres::start_durable();
    let on_sqlite = Site::new().on_sqlite();
    let first = DateTime::from_timestamp(1_790_000_000 / SEGMENT_S * SEGMENT_S, 0).unwrap();
    let files = link_segments(&on_sqlite, first);
    let on_postgres = Site::new().with("HELDAR_DATABASE_URL", postgres.database());
    link_segments(&on_postgres, first);

    let probing = probe(&files[..PROBED]);
    let for_all = probing.mul_f64(SEGMENTS as f64 / PROBED as f64);
    println!(
        "ffprobe: {:.1} ms for each of {PROBED} files, so {:.0} s for {SEGMENTS}",
        ms(probing) / PROBED as f64,
        for_all.as_secs_f64()
    );
    for (name, site) in [("SQLite", &on_sqlite), ("PostgreSQL", &on_postgres)] {
        let began = Instant::now();
        site.import();
        let took = began.elapsed();
        println!(
            "import of {SEGMENTS} files, {name}: {:.2} s, {:.0} times as fast as ffprobe per file",
            took.as_secs_f64(),
            for_all.as_secs_f64() / took.as_secs_f64()
        );
        let began = Instant::now();
        site.import();
        println!(
            "the same again, nothing changed: {:.2} s",
            began.elapsed().as_secs_f64()
        );
    }
    stored_bytes(&on_sqlite, first).await;
    plans(&on_sqlite, first).await;
}

/// Puts the segments where a recorder would have; their paths.
fn link_segments(site: &Site, first: DateTime<Utc>) -> Vec<PathBuf> {
    let encoded = site.path("encoded");
    encode(&encoded);
    for number in 0..ENCODED {
        age(&encoded.join(format!("{number}.mp4")));
    }
    let folder = site.recordings().join(CAMERA);
    std::fs::create_dir(&folder).unwrap();
    (0..SEGMENTS)
        .map(|number| {
            let start = first + TimeDelta::seconds(number * SEGMENT_S);
            let path = folder.join(start.format("%Y%m%d_%H%M%S.mp4").to_string());
            std::fs::hard_link(encoded.join(format!("{}.mp4", number % ENCODED)), &path).unwrap();
            path
        })
        .collect()
}

/// What a program that knows no MP4 asks of each file.
fn probe(files: &[PathBuf]) -> Duration {
    let began = Instant::now();
    for file in files {
        probe_one(file);
    }
    began.elapsed()
}

fn probe_one(file: &Path) {
    let status = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-show_format",
            "-show_streams",
            "-of",
            "json",
        ])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

fn database(site: &Site) -> String {
    format!("sqlite://{}/heldar.db", site.data().display())
}

/// What the catalog keeps of an hour.
async fn stored_bytes(site: &Site, first: DateTime<Utc>) {
    let store = Store::open(&database(site)).await.unwrap();
    let hour = TimeRange::new(first, first + TimeDelta::seconds(HOUR_S)).unwrap();
    let camera_id = CameraId::parse(CAMERA).unwrap();
    let segments = store.segments_in(&camera_id, hour).await.unwrap();
    let ids: Vec<String> = segments.into_iter().map(|segment| segment.id).collect();
    let began = Instant::now();
    let indexes = store.segment_indexes(&ids).await.unwrap();
    let took = began.elapsed();
    let bytes: usize = indexes.iter().map(|index| index.samples.len()).sum();
    println!(
        "stored index: {} bytes for a segment; those of an hour are fetched in {:.1} ms",
        bytes / indexes.len(),
        ms(took)
    );
    store.close().await;
}

/// The plan of a clip of an hour, for which every file is opened: with the stored indexes, and by the files' own tables.
async fn plans(site: &Site, first: DateTime<Utc>) {
    let with = plan_times(site, first).await;
    let mut connection = sqlx::SqliteConnection::connect(&database(site))
        .await
        .unwrap();
    sqlx::query("DELETE FROM segment_indexes")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let without = plan_times(site, first).await;
    println!(
        "plan of a clip of an hour (validate_only): {:.1} ms, without stored indexes {:.1} ms",
        ms(with),
        ms(without)
    );
}

async fn plan_times(site: &Site, first: DateTime<Utc>) -> Duration {
    let server = site.start().await;
    let mut times = Vec::new();
    for _ in 0..=PLANS {
        let began = Instant::now();
        plan(&server, first).await;
        times.push(began.elapsed());
    }
    assert_eq!(server.stop(), 0);
    median(times)
}

async fn plan(server: &Server, first: DateTime<Utc>) {
    let request = proto::CreateClipRequest {
        camera_id: CAMERA.to_owned(),
        start_time: time(first),
        end_time: time(first + TimeDelta::seconds(HOUR_S)),
        validate_only: true,
        ..Default::default()
    };
    let planned = server.clips().create_clip(request).await.unwrap();
    let Some(proto::job::Plan::ClipPlan(plan)) = planned.into_inner().plan else {
        panic!("no plan")
    };
    assert_eq!(plan.gaps, []);
}
