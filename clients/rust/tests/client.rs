//! The helper against a real server: jobs that are followed through broken streams, downloads, cancelling, errors.

#![allow(
    clippy::disallowed_methods,
    reason = "the children of tests are not those of the service"
)]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::TryStreamExt as _;
use heldar_footage::client::{
    Code, Error, Failure, Footage, RunningJob, Settings, Tls, progress_line,
};
use heldar_footage::proto::{
    Archive, ArchiveSpec, BackupRun, CreateBackupRequest, CreateClipRequest,
    CreateDestinationRequest, Destination, ErrorReason, JobFilter, JobState, ListJobsRequest,
    LocalSettings, TestDestinationRequest, WatchJobsRequest, destination, job,
    test_destination_request, watch_jobs_response,
};
use sha2::{Digest as _, Sha256};
use support::proxy::CuttingProxy;
use support::{Server, at};
use tokio::sync::OnceCell;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The server that most tests share; it ends with the last of them.
async fn server() -> std::sync::Arc<Server> {
    static SHARED: OnceCell<std::sync::Mutex<std::sync::Weak<Server>>> = OnceCell::const_new();
    static STARTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one_at_a_time = STARTING.lock().await;
    let shared = SHARED
        .get_or_init(async || std::sync::Mutex::default())
        .await;
    if let Some(server) = shared.lock().unwrap().upgrade() {
        return server;
    }
    let server = std::sync::Arc::new(Server::start(&[]).await);
    *shared.lock().unwrap() = std::sync::Arc::downgrade(&server);
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
async fn a_download_that_breaks_goes_on_where_it_stopped() {
    let server = server().await;
    let archive = archive_of_all(&server).await;
    let proxy = CuttingProxy::start(&server.address).await;
    let through = Footage::connect(&proxy.address).unwrap();
    let folder = tempfile::tempdir().unwrap();
    proxy.cut_after(usize::try_from(archive.size_bytes).unwrap() / 2);
    let mut received = Vec::new();
    let saved = through.download_with(&archive, &folder, |done, _| received.push(done));
    let path = saved.await.unwrap();
    assert_eq!(proxy.connections(), 2);
    assert!(
        received.is_sorted_by(|before, after| before < after),
        "nothing came twice"
    );
    assert_eq!(sha256_of(&path), archive.sha256);
}

#[tokio::test]
async fn a_download_takes_up_what_an_earlier_program_left() {
    let server = server().await;
    let footage = server.footage();
    let archive = archive_of_all(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.zip");
    footage.download(&archive, &whole).await.unwrap();
    let bytes = std::fs::read(&whole).unwrap();
    let again = folder.path().join("again.zip");
    let part = folder
        .path()
        .join(format!(".again.zip.{}.part", &archive.sha256[..16]));
    std::fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    let mut received = Vec::new();
    let saved = footage.download_with(&archive, &again, |done, _| received.push(done));
    saved.await.unwrap();
    assert!(received[0] >= bytes.len() as u64 / 2);
    assert_eq!(std::fs::read(&again).unwrap(), bytes);
    // What does not fit is fetched anew.
    std::fs::write(&part, vec![b'x'; 1000]).unwrap();
    footage.download(&archive, &again).await.unwrap();
    assert_eq!(std::fs::read(&again).unwrap(), bytes);
    assert!(!part.exists());
}

#[tokio::test]
async fn a_file_with_another_hash_gets_no_name() {
    let server = server().await;
    let footage = server.footage();
    let request = CreateClipRequest::of("yard_02", at(1.0), at(3.0));
    let clip = footage
        .create_clip(request)
        .await
        .unwrap()
        .result()
        .await
        .unwrap();
    let stored = server.site().join("data/clips").join(&clip.file_name);
    let mut bytes = std::fs::read(&stored).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&stored, bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = footage.download(&clip, &folder).await.unwrap_err();
    assert_eq!(error.code(), Code::DataLoss);
    assert!(error.to_string().contains("SHA-256"), "{error}");
    assert!(names_in(folder.path()).is_empty());
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
        (Code::Unavailable, ErrorReason::RcloneFailed)
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

/// Makes a certificate for `footage.test`, and its key.
fn certificate(folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args([
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=footage.test",
            "-keyout",
            "key.pem",
        ])
        .args([
            "-addext",
            "subjectAltName=DNS:footage.test",
            "-out",
            "certificate.pem",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let read = |name| std::fs::read(folder.join(name)).unwrap();
    (read("certificate.pem"), read("key.pem"))
}

/// Answers every call over TLS with NOT_FOUND and what it says of who calls.
async fn tell_the_token(listener: tokio::net::TcpListener, certificate: &[u8], key: &[u8]) {
    let certificates = vec![CertificateDer::from_pem_slice(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth();
    let mut config = config.with_single_cert(certificates, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    while let Ok((stream, _)) = listener.accept().await {
        // A client that does not trust the certificate ends here.
        let Ok(stream) = acceptor.accept(stream).await else {
            continue;
        };
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut answer))) = connection.accept().await {
            let token = request.headers().get("authorization").cloned();
            let head = http::Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "5")
                .header("grpc-message", token.unwrap());
            answer.send_response(head.body(()).unwrap(), true).unwrap();
        }
    }
}

#[tokio::test]
async fn the_token_goes_with_every_call_and_tls_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(folder.path());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let trusted = Tls::new()
        .ca_certificates(&certificate)
        .server_name("footage.test");
    tokio::spawn(async move { tell_the_token(listener, &certificate, &key).await });

    let settings = Settings::new(&address)
        .token("secret")
        .timeout(Duration::from_secs(5));
    let footage = Footage::connect(settings.clone().tls(trusted)).unwrap();
    let error = footage.cameras().try_next().await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error}");
    assert_eq!(error.failure().unwrap().message, "Bearer secret");
    let watched = footage.jobs().watch_jobs(WatchJobsRequest::default()).await;
    assert_eq!(watched.unwrap_err().message(), "Bearer secret");

    let footage = Footage::connect(settings.timeout(Duration::from_secs(1))).unwrap();
    let error = footage.cameras().try_next().await.unwrap_err();
    assert_ne!(
        error.code(),
        Code::NotFound,
        "a certificate of nobody was trusted"
    );
}
