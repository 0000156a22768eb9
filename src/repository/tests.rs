//! The repository over real databases. What holds for it is the same on both, so that each test runs on both, but for
//! those that are about the one.

use chrono::{DateTime, TimeDelta, Utc};
use tempfile::TempDir;

use postgres_server::Postgres;

use super::*;
use crate::domain::camera::CameraId;
use crate::domain::catalog::{Container, MediaFacts, NewSegment, VideoFormat};
use crate::domain::source::Source;
use crate::domain::time::TimeRange;

mod backup_sample;
mod care;
mod catalog;
mod clips;
mod destinations;
mod job_life;
mod jobs;
mod ledger;
mod nodes;
pub(super) mod plans;
mod policies;
#[path = "../../tests/support/postgres.rs"]
mod postgres_server;
mod selection;
mod taking_in;

/// Which database a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

tokio::task_local! {
    static KIND: Kind;
}

/// Runs each of these functions as two tests, one on each database.
macro_rules! on_both {
    ($($test:ident,)+) => {
        $(mod $test {
            use super::super::{KIND, Kind};

            #[tokio::test]
            async fn sqlite() {
                KIND.scope(Kind::Sqlite, super::$test()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                KIND.scope(Kind::Postgres, super::$test()).await;
            }
        })+
    };
}
use on_both;

/// Runs a case of a property, which is no function of its own, on a database of this kind.
fn run_on(kind: Kind, test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(KIND.scope(kind, test));
}

struct Database {
    store: Store,
    _folder: TempDir,
}

impl Database {
    /// An empty database of the kind that the test runs on, without one SQLite.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = match KIND.try_with(|kind| *kind).unwrap_or(Kind::Sqlite) {
            Kind::Sqlite => {
                Store::open(&format!("sqlite://{}/test.db", folder.path().display())).await
            }
            // The tests make time go by themselves.
            Kind::Postgres => Store::open(&new_postgres_url().await)
                .await
                .map(Store::with_callers_clock),
        }
        .unwrap();
        store.put_source(&recordings(&folder)).await.unwrap();
        Self {
            store,
            _folder: folder,
        }
    }
}

fn recordings(folder: &TempDir) -> Source {
    Source {
        id: "recordings".to_owned(),
        root: folder.path().to_owned(),
        layout: "heldar".to_owned(),
        zone: "UTC".to_owned(),
        follow: false,
        create_time: at_ms(0),
    }
}

/// The URL of an empty database on PostgreSQL.
async fn new_postgres_url() -> String {
    tokio::task::spawn_blocking(|| Postgres::shared().database())
        .await
        .unwrap()
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
            sample_index: Some(path.as_bytes().to_vec()),
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
        Store::open("mysql://localhost/x").await.unwrap_err(),
        OpenError::Unsupported
    ));
}
