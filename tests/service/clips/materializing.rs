//! What goes wrong while a virtual clip is given a file: the clip stays virtual and whole, or the file comes in the end.

use std::path::Path;
use std::time::{Duration, Instant};

use heldar_footage::proto::{ClipEngine, JobState};
use rustix::process::Signal;

use super::holes::{Holes, write};
use super::virtual_clips::{materialize, virtually};
use super::*;

/// Room that is asked for beside a clip.
const HEADROOM_BYTES: u64 = 64 << 20;
/// Behind each of 250 pictures, so that a file takes a while to be written.
const FILLER_BYTES: u32 = 1 << 20;

/// A server with a virtual clip of some 250 MiB.
async fn with_large_clip(site: &Site) -> (Server, proto::Clip) {
    let recording = Recipe {
        layout: Layout::Progressive,
        length_s: 10,
        ..Recipe::plain()
    }
    .record();
    let recorded = site.recordings().join(heldar_name(CAMERA, epoch()));
    let holes = Holes {
        filler_bytes: FILLER_BYTES,
        ..Holes::default()
    };
    write(&recording.segments[0].path, &recorded, holes);
    import(site, &[]);
    let server = site.start().await;
    let (_, clip) = cut(&server, virtually(window())).await;
    (server, clip)
}

fn window() -> proto::CreateClipRequest {
    ask(CAMERA, 400, 9_990)
}

/// Begins to give the clip a file; the id of the job.
async fn begin(server: &Server, clip: &proto::Clip) -> String {
    let request = proto::MaterializeClipRequest {
        clip_id: clip.id.clone(),
        ..Default::default()
    };
    let answer = server.clips().materialize_clip(request).await.unwrap();
    answer.into_inner().id
}

/// The length of the file that is being written.
fn part_bytes(folder: &Path) -> u64 {
    let names = files_in(folder);
    let part = names.iter().find(|name| name.ends_with(".part"));
    part.and_then(|name| folder.join(name).metadata().ok())
        .map_or(0, |part| part.len())
}

/// Returns when a part of the file is written.
fn is_under_way(folder: &Path) {
    let deadline = Instant::now() + crate::server::PATIENCE;
    while part_bytes(folder) == 0 {
        assert!(Instant::now() < deadline, "nothing is written");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Stops all threads of the server in the middle of the file.
fn freeze_midway(server: &Server, folder: &Path, clip: &proto::Clip) {
    is_under_way(folder);
    server.signal(Signal::STOP);
    eventually("the server stands still", || {
        let told = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
        told.contains(") T ")
    });
    let written = part_bytes(folder);
    assert!(
        (1..clip.size_bytes as u64).contains(&written),
        "{written} bytes are written of {}",
        clip.size_bytes
    );
}

/// Checks that the clip has no file, and can be fetched at its begin, in its middle and at its end.
async fn is_virtual_and_whole(server: &Server, clip: &proto::Clip) {
    let request = proto::GetClipRequest {
        clip_id: clip.id.clone(),
    };
    let found = server.clips().get_clip(request).await.unwrap();
    assert_eq!(&found.into_inner(), clip);
    for offset in [0, clip.size_bytes / 2, clip.size_bytes - 5_000] {
        download(server, &clip.id, offset, 5_000).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_killed_while_it_writes_the_file_writes_it_after_its_start() {
    let site = unfollowed();
    let (server, clip) = with_large_clip(&site).await;
    let job_id = begin(&server, &clip).await;
    freeze_midway(&server, &site.clips(), &clip);
    server.kill();
    let server = site.start().await;
    let job = ended(&server, &job_id).await;
    assert_eq!(job.attempt, 2);
    let solid = clip_of(&job);
    let native = proto::CreateClipRequest {
        engine: ClipEngine::Native.into(),
        ..window()
    };
    let (_, native) = cut(&server, native).await;
    assert_eq!(solid.sha256, native.sha256);
    assert_eq!(materialize(&server, &clip.id).await, solid);
    let file = std::fs::read(site.clips().join(&solid.file_name)).unwrap();
    assert_eq!(sha256(&file), solid.sha256);
    server.stop_with(&site, &[&solid, &native]);
}

#[tokio::test]
async fn cancelled_in_mid_file_it_ends_within_a_second_and_leaves_the_clip_as_it_was() {
    let site = unfollowed();
    let (server, clip) = with_large_clip(&site).await;
    let job_id = begin(&server, &clip).await;
    is_under_way(&site.clips());
    let since = Instant::now();
    let request = proto::CancelJobRequest {
        job_id: job_id.clone(),
    };
    server.jobs().cancel_job(request).await.unwrap();
    let job = ended(&server, &job_id).await;
    assert!(
        since.elapsed() < Duration::from_secs(1),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(job.state(), JobState::Cancelled);
    assert!(job.result.is_none());
    is_virtual_and_whole(&server, &clip).await;
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn a_disk_that_fills_up_in_mid_file_fails_the_job_and_leaves_the_clip_as_it_was() {
    let site = unfollowed();
    let clip_bytes = 250 * u64::from(FILLER_BYTES);
    let disk_bytes = clip_bytes + HEADROOM_BYTES + (4 << 20);
    let disk = SmallDisk::mount(site.path("disk"), disk_bytes);
    let site = site.with("HELDAR_CLIPS_DIR", disk.at.to_str().unwrap());
    let (server, clip) = with_large_clip(&site).await;
    let job_id = begin(&server, &clip).await;
    freeze_midway(&server, &disk.at, &clip);
    disk.fill();
    server.signal(Signal::CONT);
    let job = ended(&server, &job_id).await;
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(notice_reason(job.error.as_ref().unwrap()), "DISK_FULL");
    let left = [KEPT_LAYOUTS, "filler"];
    assert_eq!(files_in(&disk.at), left, "unfinished files");
    is_virtual_and_whole(&server, &clip).await;
    disk.make_room();
    let solid = materialize(&server, &clip.id).await;
    let left = [KEPT_LAYOUTS, solid.file_name.as_str()];
    assert_eq!(files_in(&disk.at), left, "its layout is swept later");
    server.stop_with(&site, &[]);
    // The site can remove its folder only when no disk lies in it.
    drop(disk);
}

#[tokio::test]
async fn a_clip_deleted_while_its_file_is_written_leaves_nothing_in_the_folder() {
    let site = unfollowed();
    let (server, clip) = with_large_clip(&site).await;
    let job_id = begin(&server, &clip).await;
    is_under_way(&site.clips());
    let request = proto::DeleteClipRequest {
        clip_id: clip.id.clone(),
    };
    server.clips().delete_clip(request).await.unwrap();
    let job = ended(&server, &job_id).await;
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(notice_reason(job.error.as_ref().unwrap()), "CLIP_NOT_FOUND");
    assert_eq!(files_in(&site.clips()), Vec::<String>::new());
    server.stop_with(&site, &[]);
}
