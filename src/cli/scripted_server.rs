//! A server for tests: each of its streams sends what a script says, and then ends or fails.

use std::sync::{Arc, Mutex};

use futures::stream::{self, BoxStream};
use heldar_footage::proto::archive_service_server::{ArchiveService, ArchiveServiceServer};
use heldar_footage::proto::clip_service_server::{ClipService, ClipServiceServer};
use heldar_footage::proto::job_service_server::{JobService, JobServiceServer};
use heldar_footage::proto::{
    Archive, CancelJobRequest, Clip, CreateArchiveRequest, CreateClipRequest, DeleteArchiveRequest,
    DeleteArchiveResponse, DeleteClipRequest, DeleteClipResponse, DownloadArchiveRequest,
    DownloadArchiveResponse, DownloadClipRequest, DownloadClipResponse, FileHeader,
    GetArchiveRequest, GetClipRequest, GetJobRequest, Job, ListArchivesRequest,
    ListArchivesResponse, ListClipsRequest, ListClipsResponse, ListJobsRequest, ListJobsResponse,
    MaterializeClipRequest, RetryJobRequest, StreamArchiveRequest, StreamArchiveResponse,
    VerifyArchiveRequest, WatchJobRequest, WatchJobResponse, WatchJobsRequest, WatchJobsResponse,
    download_archive_response, download_clip_response, stream_archive_response, watch_job_response,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::connection::Server;

/// What one call after the other gets.
pub type Streams<T> = Arc<Mutex<Vec<Vec<Result<T, Status>>>>>;

/// Each call of a stream gets what the next entry holds; `seen` has what the calls asked for.
#[derive(Clone, Default)]
pub struct Script {
    /// What watches send.
    pub watches: Streams<Job>,
    /// What downloads send, of clips and of archives.
    pub downloads: Streams<Part>,
    /// What archives send that are streamed while they are made.
    pub streamed: Streams<stream_archive_response::Content>,
    /// Revisions that watches, and offsets that downloads began after.
    pub seen: Arc<Mutex<Vec<i64>>>,
}

/// One message of a download.
#[derive(Clone, Debug)]
pub enum Part {
    Header(FileHeader),
    Data(Vec<u8>),
}

/// Sends what the next entry of a script holds.
fn play<T, M: Send + 'static>(
    streams: &Streams<T>,
    message: impl Fn(T) -> M,
) -> Answer<BoxStream<'static, Result<M, Status>>> {
    let steps = streams.lock().unwrap().remove(0);
    let messages: Vec<_> = steps.into_iter().map(|step| step.map(&message)).collect();
    Ok(Response::new(Box::pin(stream::iter(messages))))
}

type Answer<T> = Result<Response<T>, Status>;

fn not_scripted<T>() -> Answer<T> {
    Err(Status::unimplemented("not part of the script"))
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
        play(&self.watches, |job| WatchJobResponse {
            event: Some(watch_job_response::Event::Job(job)),
        })
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
        use download_clip_response::Content;
        play(&self.downloads, |part| DownloadClipResponse {
            content: Some(match part {
                Part::Header(header) => Content::Header(header),
                Part::Data(data) => Content::Data(data),
            }),
        })
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
    async fn materialize_clip(&self, _: Request<MaterializeClipRequest>) -> Answer<Job> {
        not_scripted()
    }
}

#[tonic::async_trait]
impl ArchiveService for Script {
    type DownloadArchiveStream = BoxStream<'static, Result<DownloadArchiveResponse, Status>>;
    type StreamArchiveStream = BoxStream<'static, Result<StreamArchiveResponse, Status>>;

    async fn download_archive(
        &self,
        request: Request<DownloadArchiveRequest>,
    ) -> Answer<Self::DownloadArchiveStream> {
        use download_archive_response::Content;
        let offset_bytes = request.into_inner().offset_bytes;
        self.seen.lock().unwrap().push(offset_bytes);
        play(&self.downloads, |part| DownloadArchiveResponse {
            content: Some(match part {
                Part::Header(header) => Content::Header(header),
                Part::Data(data) => Content::Data(data),
            }),
        })
    }
    async fn stream_archive(
        &self,
        _: Request<StreamArchiveRequest>,
    ) -> Answer<Self::StreamArchiveStream> {
        play(&self.streamed, |content| StreamArchiveResponse {
            content: Some(content),
        })
    }
    async fn create_archive(&self, _: Request<CreateArchiveRequest>) -> Answer<Job> {
        not_scripted()
    }
    async fn get_archive(&self, _: Request<GetArchiveRequest>) -> Answer<Archive> {
        not_scripted()
    }
    async fn list_archives(&self, _: Request<ListArchivesRequest>) -> Answer<ListArchivesResponse> {
        not_scripted()
    }
    async fn delete_archive(
        &self,
        _: Request<DeleteArchiveRequest>,
    ) -> Answer<DeleteArchiveResponse> {
        not_scripted()
    }
    async fn verify_archive(&self, _: Request<VerifyArchiveRequest>) -> Answer<Job> {
        not_scripted()
    }
}

/// Serves the script on a port of its own until the test's runtime ends.
pub async fn serve(script: &Script) -> Server {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = tonic::transport::Server::builder()
        .add_service(JobServiceServer::new(script.clone()))
        .add_service(ClipServiceServer::new(script.clone()))
        .add_service(ArchiveServiceServer::new(script.clone()));
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    Server::connect(&url).await.unwrap()
}
