//! A catalog of a million segments without files.

use chrono::{DateTime, TimeDelta, Utc};
use heldar_footage::domain::camera::CameraId;
use heldar_footage::domain::catalog::{Container, MediaFacts, NewSegment, VideoFormat};
use heldar_footage::domain::source::Source;
use heldar_footage::repository::Store;

use crate::hour::SEGMENT_S;
use crate::server::Site;

pub const SYNTHETIC_SEGMENTS: i64 = 1_000_000;

pub fn synthetic_start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

/// A camera of which only the catalog knows.
pub async fn fill_catalog(site: &Site) {
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
