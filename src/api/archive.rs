//! ArchiveService.

use std::pin::Pin;

use futures::Stream;
use tonic::{Request, Response, Status};

use super::catalog::{range, range_until};
use super::convert::int64;
use super::convert_archive::{MEDIA_TYPE, archive_etag};
use super::fields::Fields;
use super::job::request_key;
use super::page::{Tokens, fit, page_size};
use super::status::ApiError;
use super::{Services, download};
use crate::clock;
use crate::domain::archive::{
    Archive, ArchiveContent, ArchiveLayout, ArchiveSpec, ArchiveVerificationSpec,
};
use crate::domain::clip::WindowError;
use crate::domain::id;
use crate::domain::job::JobSpec;
use crate::jobs::{PRIORITY_INTERACTIVE, Submission};
use crate::proto;
use crate::proto::archive_service_server::ArchiveService;
use crate::repository::ArchiveFilter;
use crate::work::archive::Parcel;

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ArchiveService for Services {
    async fn create_archive(
        &self,
        request: Request<proto::CreateArchiveRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        let mut asked = request.into_inner();
        let mut fields = Fields::default();
        let content = content(&mut fields, asked.spec.clone());
        fields.chosen_id("archive_id", id::EXPORT, &asked.archive_id);
        let wait = fields.wait(asked.wait.take());
        let request_id = fields.request_id(&std::mem::take(&mut asked.request_id));
        let keep_for_s = fields.keep_for_s(asked.keep_for, self.archives.default_keep_for_s());
        let labels = fields.labels("labels", asked.labels.clone());
        let created_by = fields.text("created_by", asked.created_by.clone());
        check(fields, &content)?;

        if asked.validate_only {
            return Ok(Response::new(
                self.archive_plan(&content, &asked.archive_id).await?,
            ));
        }
        let request = request_key(request_id, &asked);
        if let Some(earlier) = self.earlier(request.as_ref(), wait).await? {
            return Ok(earlier);
        }
        self.archives
            .admit(&content)
            .await
            .map_err(ApiError::from)?;
        // An archive whose id nobody chose has that of its job.
        let job_id = id::new(id::EXPORT);
        let spec = ArchiveSpec {
            archive_id: if asked.archive_id.is_empty() {
                job_id.clone()
            } else {
                asked.archive_id
            },
            content,
            keep_for_s,
            created_by: created_by.clone(),
            labels: labels.clone(),
        };
        let submission = Submission {
            job_id: Some(job_id),
            spec: JobSpec::Archive(spec),
            priority: PRIORITY_INTERACTIVE,
            created_by,
            labels,
            retry_of: String::new(),
            request,
        };
        self.submit(submission, wait).await
    }

    async fn get_archive(
        &self,
        request: Request<proto::GetArchiveRequest>,
    ) -> Result<Response<proto::Archive>, Status> {
        let archive = self.archive(&request.get_ref().archive_id).await?;
        Ok(Response::new(archive.into()))
    }

    async fn list_archives(
        &self,
        request: Request<proto::ListArchivesRequest>,
    ) -> Result<Response<proto::ListArchivesResponse>, Status> {
        let mut request = request.into_inner();
        let (asked_size, page_token) = (
            std::mem::take(&mut request.page_size),
            std::mem::take(&mut request.page_token),
        );
        let tokens = Tokens::of("ListArchives", &request);
        let mut fields = Fields::default();
        let filter = ArchiveFilter {
            camera_ids: fields.camera_ids("camera_ids", &request.camera_ids),
            ends_after: fields.optional_time("start_time", request.start_time),
            starts_before: fields.optional_time("end_time", request.end_time),
            case_id: Some(request.case_id).filter(|case_id| !case_id.is_empty()),
            operator: Some(request.operator).filter(|operator| !operator.is_empty()),
            labels: fields.labels("labels", request.labels),
        };
        let size = page_size(&mut fields, asked_size);
        fields.check()?;
        if let (Some(start), Some(end)) = (filter.ends_after, filter.starts_before) {
            range(start, end)?;
        }
        let page = tokens.page(size, &page_token)?;
        let (archives, next) = self
            .store
            .archives(&filter, &page)
            .await
            .map_err(ApiError::from)?;
        let row = |archive: Archive| {
            let key = (archive.create_time.timestamp_micros(), archive.id.clone());
            (key, proto::Archive::from(archive))
        };
        let (archives, next) = fit(archives.into_iter().map(row).collect(), next);
        Ok(Response::new(proto::ListArchivesResponse {
            archives,
            next_page_token: tokens.token(next),
        }))
    }

    async fn delete_archive(
        &self,
        request: Request<proto::DeleteArchiveRequest>,
    ) -> Result<Response<proto::DeleteArchiveResponse>, Status> {
        let peer = peer(&request);
        let request = request.into_inner();
        let archive = self.archive(&request.archive_id).await?;
        if !request.etag.is_empty() && request.etag != archive_etag(&archive) {
            return Err(ApiError::Stale {
                kind: "archive",
                name: archive.id,
            }
            .into());
        }
        let was_there = self
            .archives
            .delete(&archive, &peer)
            .await
            .map_err(ApiError::from)?;
        if !was_there {
            return Err(ApiError::archive_not_found(&archive.id).into());
        }
        Ok(Response::new(proto::DeleteArchiveResponse {}))
    }

    type DownloadArchiveStream = Messages<proto::DownloadArchiveResponse>;

    async fn download_archive(
        &self,
        request: Request<proto::DownloadArchiveRequest>,
    ) -> Result<Response<Self::DownloadArchiveStream>, Status> {
        use futures::StreamExt as _;
        use proto::download_archive_response::Content;

        let peer = peer(&request);
        let request = request.into_inner();
        let mut fields = Fields::default();
        fields.required("archive_id", &request.archive_id);
        let part = download::Part::asked(&mut fields, request.offset_bytes, request.limit_bytes);
        fields.check()?;
        let archive = self.archive(&request.archive_id).await?;
        let file = self
            .archives
            .open(&archive)
            .await
            .map_err(|error| ApiError::from(error).about(&archive.id))?;
        let part = part.within(archive.size_bytes)?;
        self.archives
            .note_download(&archive, &peer, std::slice::from_ref(&part))
            .await
            .map_err(ApiError::from)?;
        let header = proto::FileHeader {
            total_size_bytes: int64(archive.size_bytes),
            etag: archive.sha256.clone(),
            sha256: archive.sha256,
            media_type: MEDIA_TYPE.to_owned(),
            file_name: archive.file_name,
            offset_bytes: int64(part.start),
            length_bytes: int64(part.end - part.start),
        };
        let message = |content| proto::DownloadArchiveResponse {
            content: Some(content),
        };
        let first = futures::stream::once(async move { Ok(message(Content::Header(header))) });
        let rest = download::chunks(download::stored(file), part).map(move |chunk| {
            chunk
                .map(|data| message(Content::Data(data)))
                .map_err(Status::from)
        });
        Ok(Response::new(Box::pin(first.chain(rest))))
    }

    type StreamArchiveStream = Messages<proto::StreamArchiveResponse>;

    async fn stream_archive(
        &self,
        request: Request<proto::StreamArchiveRequest>,
    ) -> Result<Response<Self::StreamArchiveStream>, Status> {
        use futures::StreamExt as _;
        use proto::stream_archive_response::Content;

        let peer = peer(&request);
        let request = request.into_inner();
        let mut fields = Fields::default();
        let content = content(&mut fields, request.spec);
        let created_by = fields.text("created_by", request.created_by);
        check(fields, &content)?;
        let draining = self.jobs.draining();
        if draining.is_cancelled() {
            return Err(ApiError::draining().into());
        }
        let cancel = draining.child_token();
        // A caller that goes away before the first message ends the cutting, too.
        let guard = cancel.clone().drop_guard();
        let delivery = self
            .archives
            .deliver(&content, &created_by, &peer, cancel)
            .await
            .map_err(|error| streamed(error, &draining))?;
        let message = |content| proto::StreamArchiveResponse {
            content: Some(content),
        };
        let header = proto::StreamArchiveHeader {
            file_name: delivery.file_name,
            media_type: MEDIA_TYPE.to_owned(),
            size_bytes: int64(delivery.preview.size_bytes),
            plan: Some(delivery.preview.into()),
        };
        let first = futures::stream::once(async move { Ok(message(Content::Header(header))) });
        let rest = futures::stream::unfold(
            (delivery.parcels, guard, draining),
            move |(mut parcels, guard, draining)| async move {
                let parcel = parcels.recv().await?;
                let sent = match parcel {
                    Ok(Parcel::Data(bytes)) => Ok(message(Content::Data(bytes.into()))),
                    Ok(Parcel::Done(archive)) => {
                        Ok(message(Content::Trailer(proto::StreamArchiveTrailer {
                            archive: Some((*archive).into()),
                        })))
                    }
                    Err(error) => Err(Status::from(streamed(error, &draining))),
                };
                Some((sent, (parcels, guard, draining)))
            },
        );
        Ok(Response::new(Box::pin(first.chain(rest))))
    }

    async fn verify_archive(
        &self,
        request: Request<proto::VerifyArchiveRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        let mut asked = request.into_inner();
        let mut fields = Fields::default();
        fields.required("archive_id", &asked.archive_id);
        let wait = fields.wait(asked.wait.take());
        let request_id = fields.request_id(&std::mem::take(&mut asked.request_id));
        let labels = fields.labels("labels", asked.labels.clone());
        let created_by = fields.text("created_by", asked.created_by.clone());
        fields.check()?;
        let request = request_key(request_id, &asked);
        if let Some(earlier) = self.earlier(request.as_ref(), wait).await? {
            return Ok(earlier);
        }
        let archive = self.archive(&asked.archive_id).await?;
        let submission = Submission {
            job_id: None,
            spec: JobSpec::VerifyArchive(ArchiveVerificationSpec {
                archive_id: archive.id,
            }),
            priority: PRIORITY_INTERACTIVE,
            created_by,
            labels,
            retry_of: String::new(),
            request,
        };
        self.submit(submission, wait).await
    }
}

impl Services {
    async fn archive(&self, id: &str) -> Result<Archive, ApiError> {
        if id.is_empty() {
            return Err(ApiError::field("archive_id", "is required"));
        }
        if !id::is_valid(id::EXPORT, id) {
            return Err(ApiError::archive_not_found(
                &id.escape_debug().take(100).collect::<String>(),
            ));
        }
        self.store
            .archive(id)
            .await?
            .ok_or_else(|| ApiError::archive_not_found(id))
    }

    async fn archive_plan(
        &self,
        content: &ArchiveContent,
        archive_id: &str,
    ) -> Result<proto::Job, ApiError> {
        let preview = self.archives.preview(content).await?;
        if !archive_id.is_empty() && self.store.is_output_taken(archive_id).await? {
            return Err(ApiError::Taken {
                kind: "archive",
                name: archive_id.to_owned(),
            });
        }
        Ok(proto::Job {
            kind: proto::JobKind::Archive.into(),
            plan: Some(proto::job::Plan::ArchivePlan(preview.into())),
            ..proto::Job::default()
        })
    }
}

/// Reads what an archive is to contain.
fn content(fields: &mut Fields, spec: Option<proto::ArchiveSpec>) -> ArchiveContent {
    if spec.is_none() {
        fields.wrong("spec", "is required; an empty one selects all footage");
    }
    let spec = spec.unwrap_or_default();
    let layout = match proto::ArchiveLayout::try_from(spec.layout) {
        Ok(proto::ArchiveLayout::Unspecified | proto::ArchiveLayout::Segments) => {
            ArchiveLayout::Segments
        }
        Ok(proto::ArchiveLayout::Clips) => ArchiveLayout::Clips,
        Ok(proto::ArchiveLayout::SegmentsAndClips) => ArchiveLayout::SegmentsAndClips,
        Err(_) => {
            fields.wrong("spec.layout", "is not a known layout");
            ArchiveLayout::Segments
        }
    };
    if spec.trim && (spec.start_time.is_none() || spec.end_time.is_none()) {
        fields.wrong("spec.trim", "`trim` requires both `from` and `to`");
    }
    ArchiveContent {
        start: fields.optional_time("spec.start_time", spec.start_time),
        end: fields.optional_time("spec.end_time", spec.end_time),
        camera_ids: fields.camera_ids("spec.camera_ids", &spec.camera_ids),
        evidence_only: spec.evidence_only,
        trim: spec.trim,
        layout,
        all_or_nothing: spec.all_or_nothing,
        case_id: fields.line("spec.case_id", spec.case_id, 128),
        operator: fields.line("spec.operator", spec.operator, 128),
        reason: fields.lines("spec.reason", spec.reason, 1024),
        as_of: clock::now(),
    }
}

/// Fails when anything was wrong. A reversed window has a reason of its own, unless other fields are wrong, too.
fn check(mut fields: Fields, content: &ArchiveContent) -> Result<(), ApiError> {
    const END: &str = "spec.end_time";
    let reversed = content
        .start
        .zip(content.end)
        .and_then(|(start, end)| range_until(END, start, end).err());
    if fields.is_right() {
        return reversed.map_or(Ok(()), Err);
    }
    if reversed.is_some() {
        fields.wrong(END, WindowError::Reversed.to_string());
    }
    fields.check()
}

/// Why a delivery ended: a shutdown is no fault of the archive.
fn streamed(
    error: crate::work::archive::ArchiveError,
    draining: &tokio_util::sync::CancellationToken,
) -> ApiError {
    if draining.is_cancelled() {
        ApiError::draining()
    } else {
        ApiError::from_delivery(error)
    }
}

/// Network address of the caller.
fn peer<T>(request: &Request<T>) -> String {
    request
        .remote_addr()
        .map_or_else(String::new, |address| address.to_string())
}
