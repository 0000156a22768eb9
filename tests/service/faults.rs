//! What breaks around the service: ffmpeg, the disk, the database, the process itself.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use heldar_footage::proto::{self, JobState};
use rustix::process::Signal;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::footage::{Recipe, ms};
use crate::recorder::{self, CAMERA, ask_ffmpeg as ask, check, cut, lay, run_job};
use crate::server::{
    PATIENCE, Server, Site, children_of, clip_of, ended, eventually, is_running, next_job,
    nothing_left, notice_reason, reason,
};
use crate::stand_in::{Gate, installed, script};

mod data_folder;
mod disk;
mod ending;
mod ffmpeg;

/// A site with thirty seconds of footage of one camera in its catalog.
fn with_footage(site: Site) -> Site {
    lay(&site, CAMERA, &footage().record());
    site.import();
    site
}

fn footage() -> Recipe {
    Recipe {
        length_s: 30,
        ..Recipe::plain()
    }
}

/// A request that does not wait for the job.
fn later(from_ms: i64, to_ms: i64) -> proto::CreateClipRequest {
    proto::CreateClipRequest {
        wait: None,
        ..ask(CAMERA, from_ms, to_ms)
    }
}

async fn submit(server: &Server, request: proto::CreateClipRequest) -> String {
    server
        .clips()
        .create_clip(request)
        .await
        .unwrap()
        .into_inner()
        .id
}

/// The error of a job that failed: its reason and message, which must not tell where things lie on the server.
fn failure(site: &Site, job: &proto::Job) -> (String, String) {
    assert_eq!(job.state(), JobState::Failed, "{job:?}");
    assert!(job.result.is_none());
    let error = job.error.as_ref().unwrap();
    let folder = site.path("");
    let told = format!("{error:?}");
    assert!(
        !told.contains(folder.to_str().unwrap()),
        "a path of the server is told: {told}"
    );
    assert!(told.len() < 16 << 10, "an error of {} bytes", told.len());
    (notice_reason(error), error.message.clone())
}

/// Checks that a server with the true ffmpeg cuts on the same site, and ends.
async fn goes_on(site: &mut Site) {
    site.set("HELDAR_FFMPEG_BIN", installed().to_str().unwrap());
    let server = site.start().await;
    let (_, clip) = cut(&server, ask(CAMERA, 1_000, 3_000)).await;
    server.stop_with(site, &[&clip]);
}
