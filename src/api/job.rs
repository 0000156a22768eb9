//! JobService.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use sha2::{Digest as _, Sha256};
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status};

use super::Services;
use super::convert::{int64, timestamp};
use super::convert_backup::alert;
use super::fields::Fields;
use super::page::{Tokens, fit, page_size};
use super::status::ApiError;
use crate::clock;
use crate::domain::id;
use crate::domain::job::{Job, JobKind, JobState, RequestKey};
use crate::jobs::{JobChange, JobsError, Submission};
use crate::packing::hex;
use crate::proto;
use crate::proto::job_service_server::JobService;
use crate::repository::JobFilter;

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl JobService for Services {
    async fn get_job(
        &self,
        request: Request<proto::GetJobRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        let id = known_form(&request.get_ref().job_id)?;
        Ok(answer(self.jobs.get(id).await.map_err(ApiError::from)?))
    }

    async fn list_jobs(
        &self,
        request: Request<proto::ListJobsRequest>,
    ) -> Result<Response<proto::ListJobsResponse>, Status> {
        let mut request = request.into_inner();
        let (asked_size, page_token) = (
            std::mem::take(&mut request.page_size),
            std::mem::take(&mut request.page_token),
        );
        let tokens = Tokens::of("ListJobs", &request);
        let mut fields = Fields::default();
        let filter = filter(&mut fields, request.filter);
        let size = page_size(&mut fields, asked_size);
        fields.check()?;
        let page = tokens.page(size, &page_token)?;
        let (jobs, next) = self
            .jobs
            .list(&filter, &page)
            .await
            .map_err(ApiError::from)?;
        let row = |job: &Arc<Job>| {
            let key = (job.create_time.timestamp_micros(), job.id.clone());
            (key, proto::Job::from(job.as_ref()))
        };
        let (jobs, next) = fit(jobs.iter().map(row).collect(), next);
        Ok(Response::new(proto::ListJobsResponse {
            jobs,
            next_page_token: tokens.token(next),
        }))
    }

    type WatchJobStream = Messages<proto::WatchJobResponse>;

    async fn watch_job(
        &self,
        request: Request<proto::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        use proto::watch_job_response::Event;
        let request = request.into_inner();
        let mut fields = Fields::default();
        fields.required("job_id", &request.job_id);
        let after = fields.not_negative("after_revision", request.after_revision);
        fields.check()?;
        let id = known_form(&request.job_id)?;
        let watch = self.jobs.watch(id, after).await.map_err(ApiError::from)?;
        let messages = futures::stream::try_unfold(watch, |mut watch| async move {
            let change = watch.next().await.map_err(ApiError::from)?;
            let event = match change {
                None | Some(JobChange::SnapshotEnd(_) | JobChange::Alert(_)) => return Ok(None),
                Some(JobChange::Job(job)) => Event::Job(job.as_ref().into()),
                Some(JobChange::Heartbeat) => Event::Heartbeat(heartbeat()),
            };
            Ok::<_, Status>(Some((
                proto::WatchJobResponse { event: Some(event) },
                watch,
            )))
        });
        Ok(Response::new(Box::pin(messages.fuse())))
    }

    type WatchJobsStream = Messages<proto::WatchJobsResponse>;

    async fn watch_jobs(
        &self,
        request: Request<proto::WatchJobsRequest>,
    ) -> Result<Response<Self::WatchJobsStream>, Status> {
        use proto::watch_jobs_response::Event;
        let mut fields = Fields::default();
        let filter = filter(&mut fields, request.into_inner().filter);
        fields.check()?;
        let watch = self
            .jobs
            .watch_all(filter, self.alerts.clone())
            .await
            .map_err(ApiError::from)?;
        let messages = futures::stream::try_unfold(watch, |mut watch| async move {
            let event = match watch.next().await.map_err(ApiError::from)? {
                JobChange::Job(job) => Event::Job(job.as_ref().into()),
                JobChange::SnapshotEnd(count) => Event::SnapshotEnd(proto::SnapshotEnd {
                    job_count: int64(count),
                }),
                JobChange::Alert(change) => Event::Alert(alert(change)),
                JobChange::Heartbeat => Event::Heartbeat(heartbeat()),
            };
            Ok::<_, Status>(Some((
                proto::WatchJobsResponse { event: Some(event) },
                watch,
            )))
        });
        Ok(Response::new(Box::pin(messages.fuse())))
    }

    async fn cancel_job(
        &self,
        request: Request<proto::CancelJobRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        let id = known_form(&request.get_ref().job_id)?;
        Ok(answer(self.jobs.cancel(id).await.map_err(ApiError::from)?))
    }

    async fn retry_job(
        &self,
        request: Request<proto::RetryJobRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        let request = request.into_inner();
        let mut fields = Fields::default();
        fields.required("job_id", &request.job_id);
        let wait = fields.wait(request.wait);
        let request_id = fields.request_id(&request.request_id);
        fields.check()?;
        let id = known_form(&request.job_id)?;
        let key = request_id.map(|request_id| RequestKey {
            request_id,
            digest: format!("retry {id}"),
        });
        let job = self.jobs.retry(id, key).await.map_err(ApiError::from)?;
        Ok(answer(
            self.jobs.wait(job, wait).await.map_err(ApiError::from)?,
        ))
    }
}

impl Services {
    /// The answer that this very request got before, if it did.
    pub(super) async fn earlier(
        &self,
        request: Option<&RequestKey>,
        wait: Duration,
    ) -> Result<Option<Response<proto::Job>>, ApiError> {
        let Some(request) = request else {
            return Ok(None);
        };
        match self.jobs.of_request(request).await? {
            Some(earlier) => Ok(Some(answer(self.jobs.wait(earlier, wait).await?))),
            None => Ok(None),
        }
    }

    /// Submits a job and holds the answer as long as was asked.
    pub(super) async fn submit(
        &self,
        submission: Submission,
        wait: Duration,
    ) -> Result<Response<proto::Job>, Status> {
        let job = self.jobs.submit(submission).await.map_err(ApiError::from)?;
        let job = self.jobs.wait(job, wait).await.map_err(ApiError::from)?;
        Ok(answer(job))
    }
}

/// What makes a request repeatable. Of `asked` everything counts, so its own request id and how long the caller waits
/// for the answer have been taken out.
pub(super) fn request_key(
    request_id: Option<String>,
    asked: &impl prost::Message,
) -> Option<RequestKey> {
    request_id.map(|request_id| RequestKey {
        request_id,
        digest: hex(&Sha256::digest(asked.encode_to_vec())),
    })
}

/// A job as an answer.
fn answer(job: Arc<Job>) -> Response<proto::Job> {
    Response::new(job.as_ref().into())
}

fn heartbeat() -> proto::Heartbeat {
    proto::Heartbeat {
        server_time: Some(timestamp(clock::now())),
    }
}

/// Refuses what cannot be a job's id, so that no odd text reaches logs; what can be one is looked up.
fn known_form(job_id: &str) -> Result<&str, ApiError> {
    if id::is_valid(id::JOB, job_id) || id::is_valid(id::EXPORT, job_id) {
        return Ok(job_id);
    }
    if job_id.is_empty() {
        return Err(ApiError::field("job_id", "is required"));
    }
    Err(JobsError::NotFound(job_id.escape_debug().take(100).collect()).into())
}

/// The filter that was asked for.
fn filter(fields: &mut Fields, filter: Option<proto::JobFilter>) -> JobFilter {
    let filter = filter.unwrap_or_default();
    let camera_id = fields.optional_camera_id("filter.camera_id", &filter.camera_id);
    let mut kinds = Vec::new();
    for kind in &filter.kinds {
        match proto::JobKind::try_from(*kind) {
            Ok(proto::JobKind::Clip) => kinds.push(JobKind::Clip),
            Ok(proto::JobKind::Archive) => kinds.push(JobKind::Archive),
            Ok(proto::JobKind::Backup) => kinds.push(JobKind::Backup),
            Ok(proto::JobKind::Verify) => kinds.push(JobKind::Verify),
            Ok(proto::JobKind::Restore) => kinds.push(JobKind::Restore),
            Ok(proto::JobKind::Import) => kinds.push(JobKind::Import),
            Ok(proto::JobKind::Unspecified) => kinds.extend(JobKind::ALL),
            Err(_) => fields.wrong("filter.kinds", format!("{kind} is not a known kind")),
        }
    }
    let mut states = Vec::new();
    for state in &filter.states {
        match proto::JobState::try_from(*state) {
            Ok(proto::JobState::Queued) => states.push(JobState::Queued),
            Ok(proto::JobState::Running) => states.push(JobState::Running),
            Ok(proto::JobState::Cancelling) => states.push(JobState::Cancelling),
            Ok(proto::JobState::Succeeded) => states.push(JobState::Succeeded),
            Ok(proto::JobState::Failed) => states.push(JobState::Failed),
            Ok(proto::JobState::Cancelled) => states.push(JobState::Cancelled),
            Ok(proto::JobState::Unspecified) => states.extend(JobState::ALL),
            Err(_) => fields.wrong("filter.states", format!("{state} is not a known state")),
        }
    }
    let created_by = fields.text("filter.created_by", filter.created_by);
    let labels = fields.labels("filter.labels", filter.labels);
    let policy_id = fields.text("filter.policy_id", filter.policy_id);
    let destination_id = fields.text("filter.destination_id", filter.destination_id);
    let some = |text: String| (!text.is_empty()).then_some(text);
    JobFilter {
        kinds,
        states,
        camera_id: camera_id.map(String::from),
        policy_id: some(policy_id),
        destination_id: some(destination_id),
        created_by: some(created_by),
        labels,
    }
}
