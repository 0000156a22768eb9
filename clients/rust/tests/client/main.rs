//! The helper against a real server: jobs that are followed through broken streams, downloads, cancelling, errors.

mod downloads;
#[path = "../support/mod.rs"]
mod support;
mod tls;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::TryStreamExt as _;
use heldar_footage::client::{Code, Error, Failure, Footage, RunningJob, Settings, progress_line};
use heldar_footage::proto::{
    Archive, ArchiveSpec, BackupRun, CreateBackupRequest, CreateClipRequest,
    CreateDestinationRequest, Destination, ErrorReason, JobFilter, JobState, ListJobsRequest,
    LocalSettings, TestDestinationRequest, WatchJobsRequest, destination, job,
    test_destination_request, watch_jobs_response,
};
use sha2::{Digest as _, Sha256};
use support::proxy::CuttingProxy;
use support::{Server, at};
use tokio::sync::Mutex;

/// The server that most tests share; it ends with the last of them.
async fn server() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(Server::start(&[]).await);
    *shared = Arc::downgrade(&server);
    server
}

fn sha256_of(path: &Path) -> String {
    let digest = Sha256::digest(std::fs::read(path).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

/// A destination to which all footage takes some seconds, and its folder.
async fn slow_destination(server: &Server, bytes_per_second: i64) -> (String, PathBuf) {
    let backups = server.site().join("backups");
    let path = tempfile::tempdir_in(backups).unwrap().keep();
    let settings = LocalSettings {
        path: path.display().to_string(),
        ..LocalSettings::default()
    };
    let destination = Destination {
        bandwidth_limit_bytes_per_second: bytes_per_second,
        transfers: Some(1),
        settings: Some(destination::Settings::Local(settings)),
        ..Destination::default()
    };
    let request = CreateDestinationRequest {
        destination: Some(destination),
        ..CreateDestinationRequest::default()
    };
    (server.footage().call(request).await.unwrap().id, path)
}

async fn slow_job(
    through: &Footage,
    server: &Server,
    bytes_per_second: i64,
) -> RunningJob<BackupRun> {
    let (destination_id, _) = slow_destination(server, bytes_per_second).await;
    let request = CreateBackupRequest {
        destination_id,
        ..CreateBackupRequest::default()
    };
    through.start(request).await.unwrap()
}

async fn archive_of_all(server: &Server) -> Archive {
    let footage = server.footage();
    let mut job = footage
        .create_archive(ArchiveSpec::default())
        .await
        .unwrap();
    job.result().await.unwrap()
}

async fn ends_cancelled(footage: &Footage, job_id: &str) {
    let mut job = footage.follow::<job::Result>(job_id).await.unwrap();
    let error = job.result().await.unwrap_err();
    assert!(
        matches!(&error, Error::JobCancelled { job } if job.id == job_id),
        "{error}"
    );
    assert_eq!(
        (error.code(), error.reason()),
        (Code::Cancelled, ErrorReason::Cancelled)
    );
}

#[tokio::test]
async fn a_clip_is_made_followed_and_saved_with_its_hash() {
    let server = server().await;
    let footage = server.footage();
    let request = CreateClipRequest {
        labels: [("Straße".to_owned(), "東京".to_owned())].into(),
        ..CreateClipRequest::of("gate_a_01", at(3.2), at(8.1))
    };
    let mut seen = Vec::new();
    let mut job = footage.create_clip(request).await.unwrap();
    let clip = job
        .result_with(|state| seen.push(state.clone()))
        .await
        .unwrap();
    assert_eq!(clip.labels["Straße"], "東京");
    assert!(seen.is_sorted_by_key(|job| job.revision));
    let last = seen.last().unwrap();
    assert!(progress_line(last).starts_with("succeeded"));
    assert!(!last.request_id.is_empty(), "the client chose a request id");

    let folder = tempfile::tempdir().unwrap();
    let mut received = Vec::new();
    let saved = footage.download_with(&clip, &folder, |done, total| received.push((done, total)));
    let path = saved.await.unwrap();
    assert_eq!(path, folder.path().join(&clip.file_name));
    assert_eq!(sha256_of(&path), clip.sha256);
    let size = u64::try_from(clip.size_bytes).unwrap();
    assert_eq!(received.last(), Some(&(size, size)));
    assert_eq!(names_in(folder.path()), [clip.file_name]);
}

#[tokio::test]
async fn an_archive_of_three_cameras_is_saved_under_a_name_of_ones_own() {
    let server = server().await;
    let footage = server.footage();
    let cameras = ["gate_a_01", "yard_02", "lobby_03"];
    let spec = ArchiveSpec {
        case_id: "117".to_owned(),
        ..ArchiveSpec::of(cameras, at(0.0), at(10.0))
    };
    let mut job = footage.create_archive(spec).await.unwrap();
    let archive = job.result().await.unwrap();
    assert_eq!(archive.cameras.len(), 3);
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("evidence.zip");
    assert_eq!(footage.download(&archive, &own).await.unwrap(), own);
    assert_eq!(sha256_of(&own), archive.sha256);
}

#[tokio::test]
async fn a_job_is_followed_through_streams_that_break() {
    let server = server().await;
    let proxy = CuttingProxy::start(&server.address).await;
    let through = Footage::connect(&proxy.address).unwrap();
    let mut job = slow_job(&through, &server, 3_000_000).await;
    let mut revisions = Vec::new();
    let mut states = job.states();
    while let Some(state) = states.try_next().await.unwrap() {
        revisions.push(state.revision);
        if matches!(revisions.len(), 2 | 4) {
            proxy.cut();
        }
    }
    drop(states);
    assert_eq!(job.job().state(), JobState::Succeeded);
    assert!(
        proxy.connections() >= 3,
        "the connection was made anew after each cut"
    );
    assert!(
        revisions.is_sorted_by(|before, after| before < after),
        "no state came twice"
    );
    assert_eq!(job.result().await.unwrap().files_sent, 17);
}

#[tokio::test]
async fn a_job_is_followed_through_a_restart_of_the_server() {
    let mut server = Server::start(&[]).await;
    let footage = server.footage();
    let mut job = slow_job(&footage, &server, 3_000_000).await;
    loop {
        let state = job
            .next()
            .await
            .unwrap()
            .expect("the job ended before the restart");
        if state
            .progress
            .is_some_and(|progress| progress.bytes_done > 0)
        {
            break;
        }
    }
    let restarting = tokio::task::spawn_blocking(move || {
        server.stop();
        server.run();
        server
    });
    let run = job.result().await.unwrap();
    assert_eq!(run.files_selected, 17);
    drop(restarting.await.unwrap());
}

#[tokio::test]
async fn a_stream_of_a_server_that_shuts_down_ends_with_the_time_to_wait() {
    let server = Server::start(&[]).await;
    let mut jobs = server.footage().jobs();
    let stream = jobs.watch_jobs(WatchJobsRequest::default()).await.unwrap();
    let mut stream = stream.into_inner();
    let status = loop {
        match stream.message().await {
            Ok(response) => {
                let event = response.expect("the stream does not end with OK").event;
                if matches!(event, Some(watch_jobs_response::Event::SnapshotEnd(_))) {
                    server.terminate();
                }
            }
            Err(status) => break status,
        }
    };
    let failure = Failure::from(status);
    assert_eq!(
        (failure.code, failure.reason()),
        (Code::Unavailable, ErrorReason::Draining)
    );
    assert_eq!(failure.retry_after, Some(Duration::from_secs(1)));
}

#[tokio::test]
async fn a_call_that_breaks_is_repeated_and_makes_one_job() {
    let server = server().await;
    let proxy = CuttingProxy::start(&server.address).await;
    let through = Footage::connect(&proxy.address).unwrap();
    let (destination_id, _) = slow_destination(&server, 3_000_000).await;
    let request = CreateBackupRequest {
        destination_id,
        wait: Some(duration(30)),
        labels: [("test".to_owned(), "repeated".to_owned())].into(),
        ..CreateBackupRequest::default()
    };
    let filter = JobFilter {
        labels: request.labels.clone(),
        ..JobFilter::default()
    };
    let listing = ListJobsRequest {
        filter: Some(filter),
        ..ListJobsRequest::default()
    };
    let footage = server.footage();
    let cutting = async {
        while footage.call(listing.clone()).await.unwrap().jobs.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        proxy.cut();
    };
    let (job, ()) = tokio::join!(through.call(request), cutting);
    let job = job.unwrap();
    assert_eq!(job.state(), JobState::Succeeded);
    assert_eq!(proxy.connections(), 2);
    let jobs = footage.call(listing).await.unwrap().jobs;
    assert_eq!(
        jobs.iter().map(|job| &job.id).collect::<Vec<_>>(),
        [&job.id]
    );
}

/// A duration of the contract.
fn duration<T: TryFrom<Duration, Error: std::fmt::Debug>>(seconds: u64) -> T {
    Duration::from_secs(seconds).try_into().unwrap()
}

#[tokio::test]
async fn a_job_that_is_dropped_is_cancelled_only_where_that_was_asked_for() {
    let server = server().await;
    let footage = server.footage();
    let mut left = slow_job(&footage, &server, 1000).await;
    let mut dropped = slow_job(&footage, &server, 1000).await.cancel_on_drop();
    let (left_id, dropped_id) = (left.id().to_owned(), dropped.id().to_owned());
    let following = tokio::spawn(async move {
        let (_, _) = tokio::join!(left.result(), dropped.result());
    });
    let mut third = footage.follow::<job::Result>(&dropped_id).await.unwrap();
    while third.next().await.unwrap().unwrap().state() != JobState::Running {}
    following.abort();
    ends_cancelled(&footage, &dropped_id).await;
    let left = footage.follow::<BackupRun>(&left_id).await.unwrap();
    assert!(matches!(
        left.job().state(),
        JobState::Running | JobState::Queued
    ));
    left.cancel().await.unwrap();
    ends_cancelled(&footage, &left_id).await;
}

#[tokio::test]
async fn a_bad_field_is_named_with_its_path() {
    let server = server().await;
    let settings = LocalSettings {
        path: "/nonexistent/backup".to_owned(),
        ..LocalSettings::default()
    };
    let destination = Destination {
        settings: Some(destination::Settings::Local(settings)),
        ..Destination::default()
    };
    let request = CreateDestinationRequest {
        destination: Some(destination),
        ..CreateDestinationRequest::default()
    };
    let error = server.footage().call(request).await.unwrap_err();
    assert_eq!(error.reason(), ErrorReason::InvalidField);
    let fields = &error.failure().unwrap().field_violations;
    assert_eq!(fields[0].field, "destination.local.path");
}

#[tokio::test]
async fn a_failed_job_has_code_reason_and_metadata() {
    let server = server().await;
    let footage = server.footage();
    let (destination_id, folder) = slow_destination(&server, 0).await;
    std::fs::remove_dir(folder).unwrap();
    let subject = test_destination_request::Subject::DestinationId(destination_id.clone());
    let request = TestDestinationRequest {
        subject: Some(subject),
    };
    let tested = footage.call(request).await.unwrap();
    assert_eq!(
        Failure::from(tested.error.unwrap()).domain,
        "footage.heldar"
    );
    let request = CreateBackupRequest {
        destination_id,
        ..CreateBackupRequest::default()
    };
    let mut job = footage.start::<BackupRun>(request).await.unwrap();
    let error = job.result().await.unwrap_err();
    assert!(matches!(error, Error::JobFailed { .. }), "{error}");
    assert_eq!(
        (error.code(), error.reason()),
        (Code::Unavailable, ErrorReason::DestinationUnreachable)
    );
    assert_eq!(error.failure().unwrap().metadata["retryable"], "true");
}

#[tokio::test]
async fn a_result_of_another_kind_is_told() {
    let server = server().await;
    let footage = server.footage();
    let request = CreateClipRequest::of("lobby_03", at(2.0), at(9.0));
    let mut job = footage.start::<Archive>(request).await.unwrap();
    assert!(matches!(job.result().await, Err(Error::OtherResult { .. })));
}

#[tokio::test]
async fn a_server_that_is_away_is_tried_again_until_the_deadline() {
    let settings = Settings::new("127.0.0.1:1").timeout(Duration::from_millis(500));
    let footage = Footage::connect(settings).unwrap();
    let error = footage.cameras().try_next().await.unwrap_err();
    assert!(
        matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded),
        "{error}"
    );
}

#[tokio::test]
async fn a_call_without_an_answer_ends_at_its_deadline() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings::new(silent.local_addr().unwrap().to_string());
    let footage = Footage::connect(settings.timeout(Duration::from_millis(300))).unwrap();
    let error = footage.cameras().try_next().await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
}
