//! Recordings where a recorder would have put them, and what the server knows of them.

use std::path::Path;
use std::time::Duration;

use heldar_footage::proto;

use super::messages::reason;
use super::{Server, Site, becomes};
use crate::footage::{Recipe, Recording, epoch};

impl Site {
    /// Puts a recording where a Heldar recorder would have put it, closed an hour ago.
    pub fn record(&self, camera: &str, recording: &Recording) {
        for segment in &recording.segments {
            let name = (epoch() + segment.start)
                .format("%Y%m%d_%H%M%S.mp4")
                .to_string();
            put(&segment.path, &self.recordings().join(camera).join(name));
        }
    }
}

/// Copies a closed file into place in one step, with all folders that it needs. It was last written an hour ago.
pub fn put(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    // Names that begin with a dot are nobody's footage.
    let hidden = to.with_file_name(format!(
        ".{}.part",
        to.file_name().unwrap().to_str().unwrap()
    ));
    std::fs::copy(from, &hidden).unwrap();
    age(&hidden);
    std::fs::rename(hidden, to).unwrap();
}

/// Makes a file look as if it was last written an hour ago.
pub fn age(path: &Path) {
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options()
        .append(true)
        .open(path)
        .unwrap()
        .set_modified(hour_ago)
        .unwrap();
}

impl Server {
    /// Waits for the import with which the `nth` server of the site began to follow a source.
    pub async fn imported(&self, source_id: &str, nth: usize) -> proto::ImportSummary {
        let filter = proto::JobFilter {
            kinds: vec![proto::JobKind::Import.into()],
            created_by: "serve".to_owned(),
            ..Default::default()
        };
        let mut jobs = self.jobs();
        becomes("the source is imported", async || {
            let request = proto::ListJobsRequest {
                filter: Some(filter.clone()),
                ..Default::default()
            };
            let jobs = jobs.list_jobs(request).await.unwrap().into_inner().jobs;
            let mut summaries = jobs.into_iter().rev().filter_map(|job| match job.result {
                Some(proto::job::Result::Import(summary)) if summary.source_id == source_id => {
                    Some(summary)
                }
                _ => None,
            });
            summaries.nth(nth - 1)
        })
        .await
    }

    /// The segments of a camera, oldest first.
    pub async fn segments(&self, camera_id: &str) -> Vec<proto::Segment> {
        let request = proto::ListSegmentsRequest {
            camera_id: camera_id.to_owned(),
            ..Default::default()
        };
        match self.catalog().list_segments(request).await {
            Ok(answer) => answer.into_inner().segments.into_iter().rev().collect(),
            Err(status) => {
                assert_eq!(reason(&status), "CAMERA_NOT_FOUND");
                Vec::new()
            }
        }
    }
}

/// Twelve seconds in three segments of four.
pub fn twelve_seconds() -> std::sync::Arc<Recording> {
    Recipe {
        segment_s: 4,
        length_s: 12,
        ..Recipe::plain()
    }
    .record()
}
