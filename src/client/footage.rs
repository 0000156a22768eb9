//! The connection to a server.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::Stream;
use futures::stream;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::call::Call;
use super::download::{self, Downloadable};
use super::error::{Error, Failure};
use super::job::{JobResult, RunningJob};
use super::patience::Patience;
use super::settings::Settings;
use crate::proto::archive_service_client::ArchiveServiceClient;
use crate::proto::backup_service_client::BackupServiceClient;
use crate::proto::catalog_service_client::CatalogServiceClient;
use crate::proto::clip_service_client::ClipServiceClient;
use crate::proto::job_service_client::JobServiceClient;
use crate::proto::{
    Archive, BackupRun, Camera, Clip, CreateArchiveRequest, CreateClipRequest, GetJobRequest, Job,
    ListCamerasRequest, RunPolicyRequest,
};

/// A page of a thousand segments is larger than the 4 MiB that gRPC allows by default.
const LARGEST_MESSAGE_BYTES: usize = 64 << 20;

/// The way to a server, which is safe to clone: clones share one connection.
#[derive(Debug, Clone)]
pub struct Footage {
    service: AuthorizedChannel,
    settings: Settings,
}

/// A connection whose calls carry the token.
type AuthorizedChannel = InterceptedService<Channel, Authorize>;

/// Puts the token into calls.
#[derive(Debug, Clone)]
pub struct Authorize(Option<MetadataValue<Ascii>>);

impl Interceptor for Authorize {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl Footage {
    /// A client of the server with these settings, or at this address. The connection is made with the first call, and
    /// made anew when it breaks. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::Settings`] when the address, the token or the certificates cannot be used.
    pub fn connect(settings: impl Into<Settings>) -> Result<Self, Error> {
        let settings = settings.into();
        let authorize = Authorize(settings.authorization()?);
        Ok(Self {
            service: InterceptedService::new(settings.channel()?, authorize),
            settings,
        })
    }

    /// Makes a call with one answer. It has a deadline ([`Settings::timeout`] and the `wait` of the request) and, where the
    /// contract knows one, a `request_id`; so within its deadline it is repeated while the server is away, without doing
    /// anything twice. Calls that change something and have no `request_id` are never repeated.
    ///
    /// # Errors
    /// [`Error::Call`] with what the server says.
    pub async fn call<C: Call>(&self, mut request: C) -> Result<C::Answer, Error> {
        request.identify();
        let limit = self.settings.call_timeout() + request.held_for();
        let give_up_at = Instant::now() + limit;
        let mut patience = Patience::new(limit);
        loop {
            let failure = match self.attempt(&request, give_up_at).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if !C::IS_REPEATABLE || !failure.is_away() {
                return Err(failure.into());
            }
            tokio::time::sleep(patience.pause_after(Some(failure))?).await;
        }
    }

    /// All attempts together have the time of one call.
    async fn attempt<C: Call>(
        &self,
        message: &C,
        give_up_at: Instant,
    ) -> Result<C::Answer, Failure> {
        let too_late = || Failure::here(Code::DeadlineExceeded, "no answer came in time");
        let mut request = Request::new(message.clone());
        request.set_timeout(give_up_at.saturating_duration_since(Instant::now()));
        let mut grpc =
            Grpc::new(self.service.clone()).max_decoding_message_size(LARGEST_MESSAGE_BYTES);
        let answer = async {
            grpc.ready().await.map_err(Failure::of_connection)?;
            let path = PathAndQuery::from_static(C::PATH);
            let answer = grpc.unary(request, path, ProstCodec::default()).await?;
            Ok::<C::Answer, Failure>(answer.into_inner())
        };
        match tokio::time::timeout_at(give_up_at, answer).await {
            // The connection watches the same deadline, and may be the first to notice.
            Ok(Err(failure)) if failure.code == Code::Cancelled && Instant::now() >= give_up_at => {
                Err(too_late())
            }
            Ok(answered) => answered,
            Err(_) => Err(too_late()),
        }
    }

    /// Every camera, the most recently created first.
    pub fn cameras(&self) -> impl Stream<Item = Result<Camera, Error>> + Unpin + Send + use<> {
        struct Pages {
            footage: Footage,
            next: Option<String>,
            cameras: VecDeque<Camera>,
        }
        let pages = Pages {
            footage: self.clone(),
            next: Some(String::new()),
            cameras: VecDeque::new(),
        };
        Box::pin(stream::try_unfold(pages, async |mut pages| {
            loop {
                if let Some(camera) = pages.cameras.pop_front() {
                    return Ok(Some((camera, pages)));
                }
                let Some(page_token) = pages.next.take() else {
                    return Ok(None);
                };
                let request = ListCamerasRequest {
                    page_token,
                    ..ListCamerasRequest::default()
                };
                let page = pages.footage.call(request).await?;
                pages.cameras = page.cameras.into();
                pages.next = Some(page.next_page_token).filter(|token| !token.is_empty());
            }
        }))
    }

    /// Starts a clip: [`CreateClipRequest::of`] makes a request.
    ///
    /// # Errors
    /// [`Error::Call`] when it is refused.
    pub async fn create_clip(&self, request: CreateClipRequest) -> Result<RunningJob<Clip>, Error> {
        self.start(request).await
    }

    /// Starts an archive, of a request or of an [`ArchiveSpec`](crate::proto::ArchiveSpec).
    ///
    /// # Errors
    /// [`Error::Call`] when it is refused.
    pub async fn create_archive(
        &self,
        request: impl Into<CreateArchiveRequest>,
    ) -> Result<RunningJob<Archive>, Error> {
        self.start(request.into()).await
    }

    /// Starts a run of a backup policy.
    ///
    /// # Errors
    /// [`Error::Call`] when it is refused.
    pub async fn run_policy(
        &self,
        policy_id: impl Into<String>,
    ) -> Result<RunningJob<BackupRun>, Error> {
        self.start(RunPolicyRequest {
            policy_id: policy_id.into(),
            ..RunPolicyRequest::default()
        })
        .await
    }

    /// Makes any call that starts a job, and takes the job up.
    ///
    /// # Errors
    /// [`Error::Call`] when it is refused.
    pub async fn start<T: JobResult>(
        &self,
        request: impl Call<Answer = Job>,
    ) -> Result<RunningJob<T>, Error> {
        Ok(RunningJob::new(self.clone(), self.call(request).await?))
    }

    /// Takes up a job that was started elsewhere.
    ///
    /// # Errors
    /// [`Error::Call`] when there is no such job.
    pub async fn follow<T: JobResult>(
        &self,
        job_id: impl Into<String>,
    ) -> Result<RunningJob<T>, Error> {
        self.start(GetJobRequest {
            job_id: job_id.into(),
        })
        .await
    }

    /// Saves a clip or an archive and returns where: at `path`, or under its own name in the folder `path`.
    ///
    /// Until it is whole and its SHA-256 is right it has a temporary name. A broken download goes on where it stopped, also
    /// when the program is started again. Of a clip that has no SHA-256 (virtual or quick) only the length is compared.
    ///
    /// # Errors
    /// [`Error::Call`] with `DataLoss` when the bytes are not those that the server promised, [`Error::File`] when they
    /// cannot be written.
    pub async fn download(
        &self,
        what: &impl Downloadable,
        path: impl AsRef<Path>,
    ) -> Result<PathBuf, Error> {
        self.download_with(what, path, |_, _| {}).await
    }

    /// The same, and calls back with the bytes received and the bytes in all.
    ///
    /// # Errors
    /// As [`Footage::download`].
    pub async fn download_with(
        &self,
        what: &impl Downloadable,
        path: impl AsRef<Path>,
        on_progress: impl FnMut(u64, u64),
    ) -> Result<PathBuf, Error> {
        download::save(self, what, path.as_ref(), on_progress).await
    }

    /// The generated client of the catalog. It and the four others carry the token, and nothing else of what
    /// [`Footage::call`] does: they are for streams.
    #[must_use]
    pub fn catalog(&self) -> CatalogServiceClient<InterceptedService<Channel, Authorize>> {
        CatalogServiceClient::new(self.service.clone())
            .max_decoding_message_size(LARGEST_MESSAGE_BYTES)
    }

    /// The generated client of clips.
    #[must_use]
    pub fn clips(&self) -> ClipServiceClient<InterceptedService<Channel, Authorize>> {
        ClipServiceClient::new(self.service.clone())
            .max_decoding_message_size(LARGEST_MESSAGE_BYTES)
    }

    /// The generated client of archives.
    #[must_use]
    pub fn archives(&self) -> ArchiveServiceClient<InterceptedService<Channel, Authorize>> {
        ArchiveServiceClient::new(self.service.clone())
            .max_decoding_message_size(LARGEST_MESSAGE_BYTES)
    }

    /// The generated client of backups.
    #[must_use]
    pub fn backups(&self) -> BackupServiceClient<InterceptedService<Channel, Authorize>> {
        BackupServiceClient::new(self.service.clone())
            .max_decoding_message_size(LARGEST_MESSAGE_BYTES)
    }

    /// The generated client of jobs.
    #[must_use]
    pub fn jobs(&self) -> JobServiceClient<InterceptedService<Channel, Authorize>> {
        JobServiceClient::new(self.service.clone()).max_decoding_message_size(LARGEST_MESSAGE_BYTES)
    }

    pub(super) fn patience(&self) -> Patience {
        Patience::new(self.settings.how_patient())
    }

    /// As [`Footage::call`], with another limit.
    pub(super) async fn call_within<C: Call>(
        &self,
        limit: Duration,
        request: C,
    ) -> Result<C::Answer, Error> {
        let mut hurried = self.clone();
        hurried.settings = hurried.settings.timeout(limit);
        hurried.call(request).await
    }
}
