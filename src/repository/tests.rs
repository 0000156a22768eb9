//! The repository over a real database file.

use chrono::{DateTime, TimeDelta, Utc};
use tempfile::TempDir;

use super::*;
use crate::domain::camera::CameraId;
use crate::domain::catalog::{Container, MediaFacts, NewSegment, VideoFormat};
use crate::domain::source::Source;
use crate::domain::time::TimeRange;

mod backup_sample;
mod care;
mod catalog;
mod destinations;
mod job_life;
mod jobs;
mod ledger;
mod policies;
mod selection;

struct Database {
    store: Store,
    _folder: TempDir,
}

impl Database {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite://{}/test.db", folder.path().display()))
            .await
            .unwrap();
        let source = Source {
            id: "recordings".to_owned(),
            root: folder.path().to_owned(),
            layout: "heldar".to_owned(),
            zone: "UTC".to_owned(),
            follow: false,
            create_time: at_ms(0),
        };
        store.put_source(&source).await.unwrap();
        Self {
            store,
            _folder: folder,
        }
    }
}

fn at_ms(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_800_000_000_000 + ms).unwrap()
}

fn range(start_ms: i64, end_ms: i64) -> TimeRange {
    TimeRange::new(at_ms(start_ms), at_ms(end_ms)).unwrap()
}

fn gate() -> CameraId {
    CameraId::parse("gate").unwrap()
}

fn segment(path: &str, start_ms: i64, length_ms: i64) -> NewSegment {
    NewSegment {
        camera_id: gate(),
        source_id: "recordings".to_owned(),
        path: path.to_owned(),
        start_time: at_ms(start_ms),
        start_accuracy: TimeDelta::zero(),
        size_bytes: 100,
        modified_time: at_ms(start_ms + length_ms),
        facts: MediaFacts {
            container: Container::Mp4,
            duration: TimeDelta::milliseconds(length_ms),
            video: VideoFormat {
                codec: "h264".to_owned(),
                width: 64,
                height: 48,
                frame_count: 25,
            },
            video_fingerprint: "f".to_owned(),
            audio: None,
            key_frames: vec![TimeDelta::zero()],
            truncated: false,
        },
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_written_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not-a-database.db");
    std::fs::write(
        &path,
        "this is no database, but long enough to be read as one".repeat(40),
    )
    .unwrap();
    let error = Store::open(&format!("sqlite://{}", path.display()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not-a-database.db"), "{error}");
    assert!(matches!(
        Store::open("postgres://localhost/x").await.unwrap_err(),
        OpenError::Unsupported
    ));
}
