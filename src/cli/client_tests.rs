//! Following a job and fetching a clip through a server that breaks off.

use std::sync::{Arc, Mutex};

use futures::stream::{self, BoxStream};
use heldar_footage::proto::clip_service_server::{ClipService, ClipServiceServer};
use heldar_footage::proto::download_clip_response::Content;
use heldar_footage::proto::job_service_server::{JobService, JobServiceServer};
use heldar_footage::proto::{
    CancelJobRequest, Clip, CreateClipRequest, DeleteClipRequest, DeleteClipResponse,
    DownloadClipRequest, DownloadClipResponse, FileHeader, GetClipRequest, GetJobRequest, Job,
    JobState, ListClipsRequest, ListClipsResponse, ListJobsRequest, ListJobsResponse,
    RetryJobRequest, WatchJobRequest, WatchJobResponse, WatchJobsRequest, WatchJobsResponse,
    watch_job_response,
};
use sha2::{Digest as _, Sha256};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::{OnInterrupt, to_end};
use crate::cli::connection::Server;
use crate::cli::download::{self, Target};
use crate::cli::failure::CliError;
use crate::cli::progress::ProgressView;
use crate::cli::signals::Signals;

const FOOTAGE: &[u8] = b"first part and second part";

/// What one call after the other gets.
type Streams<T> = Arc<Mutex<Vec<Vec<Result<T, Status>>>>>;

/// Each call of a stream gets what the next entry holds; `seen` has what the calls asked for.
#[derive(Clone, Default)]
struct Script {
    watches: Streams<Job>,
    downloads: Streams<Content>,
    seen: Arc<Mutex<Vec<i64>>>,
}

type Answer<T> = Result<Response<T>, Status>;

fn not_scripted<T>() -> Answer<T> {
    Err(Status::unimplemented("not part of the script"))
}

fn job_in(state: JobState, revision: i64) -> Job {
    Job {
        id: "job_1".into(),
        state: state.into(),
        revision,
        ..Job::default()
    }
}

fn draining() -> Status {
    Status::unavailable("the server is shutting down; call again")
}

#[tonic::async_trait]
impl JobService for Script {
    type WatchJobStream = BoxStream<'static, Result<WatchJobResponse, Status>>;
    type WatchJobsStream = BoxStream<'static, Result<WatchJobsResponse, Status>>;

    async fn watch_job(&self, request: Request<WatchJobRequest>) -> Answer<Self::WatchJobStream> {
        self.seen
            .lock()
            .unwrap()
            .push(request.into_inner().after_revision);
        let states = self.watches.lock().unwrap().remove(0);
        let messages = states.into_iter().map(|state| {
            state.map(|job| WatchJobResponse {
                event: Some(watch_job_response::Event::Job(job)),
            })
        });
        Ok(Response::new(Box::pin(stream::iter(messages))))
    }
    async fn get_job(&self, _: Request<GetJobRequest>) -> Answer<Job> {
        not_scripted()
    }
    async fn list_jobs(&self, _: Request<ListJobsRequest>) -> Answer<ListJobsResponse> {
        not_scripted()
    }
    async fn watch_jobs(&self, _: Request<WatchJobsRequest>) -> Answer<Self::WatchJobsStream> {
        not_scripted()
    }
    async fn cancel_job(&self, _: Request<CancelJobRequest>) -> Answer<Job> {
        not_scripted()
    }
    async fn retry_job(&self, _: Request<RetryJobRequest>) -> Answer<Job> {
        not_scripted()
    }
}

#[tonic::async_trait]
impl ClipService for Script {
    type DownloadClipStream = BoxStream<'static, Result<DownloadClipResponse, Status>>;

    async fn download_clip(
        &self,
        request: Request<DownloadClipRequest>,
    ) -> Answer<Self::DownloadClipStream> {
        self.seen
            .lock()
            .unwrap()
            .push(request.into_inner().offset_bytes);
        let contents = self.downloads.lock().unwrap().remove(0);
        let messages = contents.into_iter().map(|content| {
            content.map(|content| DownloadClipResponse {
                content: Some(content),
            })
        });
        Ok(Response::new(Box::pin(stream::iter(messages))))
    }
    async fn create_clip(&self, _: Request<CreateClipRequest>) -> Answer<Job> {
        not_scripted()
    }
    async fn get_clip(&self, _: Request<GetClipRequest>) -> Answer<Clip> {
        not_scripted()
    }
    async fn list_clips(&self, _: Request<ListClipsRequest>) -> Answer<ListClipsResponse> {
        not_scripted()
    }
    async fn delete_clip(&self, _: Request<DeleteClipRequest>) -> Answer<DeleteClipResponse> {
        not_scripted()
    }
}

/// Serves the script on a port of its own until the test's runtime ends.
async fn serve(script: &Script) -> Server {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = tonic::transport::Server::builder()
        .add_service(JobServiceServer::new(script.clone()))
        .add_service(ClipServiceServer::new(script.clone()));
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    Server::connect(&url).await.unwrap()
}

async fn follow(script: &Script) -> Result<(Job, Vec<i64>), CliError> {
    let server = serve(script).await;
    let mut view = ProgressView::new(true);
    let mut signals = Signals::listen()?;
    let mut revisions = Vec::new();
    let begun = job_in(JobState::Queued, 1);
    let job = to_end(
        &server,
        begun,
        &mut view,
        &mut signals,
        OnInterrupt::Leave,
        |job| {
            revisions.push(job.revision);
            Ok(())
        },
    )
    .await?;
    Ok((job, revisions))
}

#[tokio::test]
async fn a_watch_that_breaks_off_goes_on_after_the_revision_seen_last() {
    let script = Script::default();
    *script.watches.lock().unwrap() = vec![
        vec![Ok(job_in(JobState::Running, 4)), Err(draining())],
        vec![Ok(job_in(JobState::Running, 7))],
        vec![Ok(job_in(JobState::Succeeded, 9))],
    ];
    let (job, revisions) = follow(&script).await.unwrap();
    assert_eq!(job.state(), JobState::Succeeded);
    assert_eq!(revisions, [1, 4, 7, 9]);
    assert_eq!(*script.seen.lock().unwrap(), [1, 4, 7]);
}

#[tokio::test]
async fn a_refused_watch_is_not_tried_again() {
    let script = Script::default();
    *script.watches.lock().unwrap() = vec![vec![Err(Status::not_found("job job_1 not found"))]];
    let error = follow(&script).await.unwrap_err();
    assert!(matches!(error, CliError::Refused(status) if status.code() == tonic::Code::NotFound));
}

fn clip() -> Clip {
    let sha256 = Sha256::digest(FOOTAGE)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Clip {
        id: "clip_1".into(),
        file_name: "clip_1.mp4".into(),
        size_bytes: FOOTAGE.len() as i64,
        sha256,
        ..Clip::default()
    }
}

fn header(clip: &Clip, offset_bytes: i64) -> Result<Content, Status> {
    Ok(Content::Header(FileHeader {
        total_size_bytes: clip.size_bytes,
        sha256: clip.sha256.clone(),
        offset_bytes,
        ..FileHeader::default()
    }))
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_where_it_was() {
    let (script, clip) = (Script::default(), clip());
    let (first, second) = FOOTAGE.split_at(10);
    *script.downloads.lock().unwrap() = vec![
        vec![
            header(&clip, 0),
            Ok(Content::Data(first.to_vec())),
            Err(draining()),
        ],
        vec![header(&clip, 10), Ok(Content::Data(second.to_vec()))],
    ];
    let server = serve(&script).await;
    let folder = tempfile::tempdir().unwrap();
    let target = Target::check(folder.path(), false).unwrap();
    let mut signals = Signals::listen().unwrap();
    let mut view = ProgressView::new(true);
    let path = download::fetch(&server, &clip, &target, &mut view, &mut signals)
        .await
        .unwrap();
    assert_eq!(std::fs::read(path).unwrap(), FOOTAGE);
    assert_eq!(*script.seen.lock().unwrap(), [0, 10]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_download_of_another_file_leaves_nothing_behind() {
    let (script, clip) = (Script::default(), clip());
    let other = Clip {
        sha256: "00".into(),
        ..clip.clone()
    };
    *script.downloads.lock().unwrap() =
        vec![vec![header(&other, 0), Ok(Content::Data(FOOTAGE.to_vec()))]];
    let server = serve(&script).await;
    let folder = tempfile::tempdir().unwrap();
    let target = Target::check(folder.path(), false).unwrap();
    let mut signals = Signals::listen().unwrap();
    let mut view = ProgressView::new(true);
    assert!(
        download::fetch(&server, &clip, &target, &mut view, &mut signals)
            .await
            .is_err()
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
