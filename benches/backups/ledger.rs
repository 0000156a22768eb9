//! A run that finds nothing to send, over a ledger of a million files.

use std::time::{Duration, Instant};

use heldar_footage::proto;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::hour::ms;
use crate::server::Site;

const RUNS: usize = 3;
const FILES: i64 = 1_000_000;

/// A million segments of twenty cameras, and each of them at the destination.
const ROWS: [&str; 4] = [
    "INSERT INTO sources (id, root, layout, zone, follow, create_time_us)
     VALUES ('still', '/nowhere', 'heldar', 'UTC', 0, 0)",
    "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 19)
     INSERT INTO cameras (id, create_time_us, update_time_us, longest_segment_us)
     SELECT 'cam' || n, 0, 0, 10000000 FROM numbers",
    "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 999999)
     INSERT INTO segments (id, camera_id, source_id, path, start_us, end_us, start_accuracy_us, size_bytes,
        modified_us, container, video_codec, width, height, frame_count, video_fingerprint, key_frame_count,
        key_frames, truncated, state, create_time_us)
     SELECT printf('seg_%032x', n), 'cam' || (n % 20), 'still', 'cam' || (n % 20) || '/' || n || '.mp4',
        1700000000000000 + n / 20 * 10000000, 1700000010000000 + n / 20 * 10000000, 0, 200000 + n % 1000,
        1700000010000000 + n, 'MP4', 'h264', 1920, 1080, 250, printf('%064x', n), 5, zeroblob(40), 0,
        'AVAILABLE', 0 FROM numbers",
    "INSERT INTO backup_objects (destination_id, segment_id, camera_id, start_us, end_us, start_accuracy_us,
        remote_path, size_bytes, sha256, state, check_kind, check_time_us, create_time_us, job_id, policy_id,
        source_modified_us, ledger_path)
     SELECT (SELECT id FROM destinations), id, camera_id, start_us, end_us, start_accuracy_us,
        camera_id || '/2023-11-14/' || id || '.mp4', size_bytes, video_fingerprint, 'PRESENT', 'HASH', 0, 0,
        'bkj_1', '', modified_us, 'ledger/1' FROM segments",
];

/// Measures it from the call to the end of the job.
pub async fn measure() {
    let site = crate::site();
    let destination_id = fill(&site).await;
    let server = site.start().await;
    println!("\nRun over a ledger of {FILES} files that finds nothing to send ({RUNS} times)");
    for _ in 0..RUNS {
        let request = proto::CreateBackupRequest {
            destination_id: destination_id.clone(),
            ..Default::default()
        };
        let begun = Instant::now();
        let run = crate::back_up(&server, request).await;
        let took: Duration = begun.elapsed();
        assert_eq!((run.files_selected, run.nothing_to_do), (FILES, true));
        println!("  ours {:>39.1} ms", ms(took));
    }
    assert_eq!(server.stop(), 0);
}

/// Has a server make the database and the destination, and puts the rows into it.
async fn fill(site: &Site) -> String {
    let folder = site.path("nas");
    std::fs::create_dir(&folder).unwrap();
    let server = site.start().await;
    let destination = crate::create(&server, crate::local(&folder)).await;
    assert_eq!(server.stop(), 0);
    let options = SqliteConnectOptions::new().filename(site.data().join("heldar.db"));
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    for statement in ROWS {
        sqlx::query(statement).execute(&mut database).await.unwrap();
    }
    database.close().await.unwrap();
    destination.id
}
