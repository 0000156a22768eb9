//! Hostile input: names, files that lie, and requests.

mod files;
mod names;
pub mod requests;

pub use names::odd_names;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use heldar_footage::proto::{self, GapReason, JobState};
use tonic::{Code, Status};

use crate::footage::{Frame, Layout, Recipe, decode, epoch, ms};
use crate::recorder::{
    CAMERA, age, ask, check, cut, fetch, gap_reasons, heldar_name, import, lay, place, run_job,
    unfollowed,
};
use crate::server::{Server, Site, clip_of, fields, notice_reason, reason, time};

const FRAME: TimeDelta = TimeDelta::milliseconds(40);

fn footage() -> Recipe {
    Recipe {
        length_s: 10,
        ..Recipe::plain()
    }
}

/// Segments of the catalog by path.
async fn segments(server: &Server) -> Vec<proto::Segment> {
    let request = proto::ListSegmentsRequest {
        page_size: 1000,
        ..Default::default()
    };
    server
        .catalog()
        .list_segments(request)
        .await
        .unwrap()
        .into_inner()
        .segments
}

/// Hands files in, each with its own camera unless told otherwise.
async fn register(
    server: &Server,
    messages: Vec<proto::RegisterSegmentsRequest>,
) -> proto::RegisterSegmentsResponse {
    server
        .catalog()
        .register_segments(tokio_stream::iter(messages))
        .await
        .unwrap()
        .into_inner()
}

fn message(camera: &str, path: &str, start_ms: i64) -> proto::RegisterSegmentsRequest {
    proto::RegisterSegmentsRequest {
        camera_id: camera.to_owned(),
        source_id: "still".to_owned(),
        path: path.to_owned(),
        start_time: time(epoch() + ms(start_ms)),
    }
}

/// Checks that the clip of a camera's ten seconds shows exactly its frames.
async fn check_camera(server: &Server, camera: &str, frames: &[Frame]) -> proto::Clip {
    let (_, clip) = cut(server, ask(camera, 0, 10_000)).await;
    check(server, &clip, frames, TimeDelta::zero(), FRAME).await;
    clip
}

/// A file outside of the recordings, with other pictures.
fn secret(site: &Site) -> (PathBuf, Vec<Frame>) {
    let secret = Recipe {
        size: "192x108",
        rate: "25",
        gop_frames: 50,
        ..footage()
    }
    .record();
    let path = site.path("secret.mp4");
    std::fs::copy(&secret.segments[0].path, &path).unwrap();
    age(&path);
    (path, secret.frames.clone())
}
