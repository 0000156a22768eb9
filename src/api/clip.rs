//! ClipService.

use std::pin::Pin;

use futures::Stream;
use tonic::{Request, Response, Status};

use super::catalog::{range, unchecked};
use super::convert::{clip_engine, duration, int64, window};
use super::fields::Fields;
use super::job::request_key;
use super::page::{Tokens, fit, page_size};
use super::status::ApiError;
use super::{Services, download, read_clip};
use crate::domain::clip::{Clip, ClipSpec, MaterializeSpec, WindowError, clip_window};
use crate::domain::id;
use crate::domain::job::JobSpec;
use crate::jobs::{PRIORITY_INTERACTIVE, Submission};
use crate::proto::clip_service_server::ClipService;
use crate::proto::{self, ErrorReason};
use crate::repository::ClipFilter;

#[tonic::async_trait]
impl ClipService for Services {
    async fn create_clip(
        &self,
        request: Request<proto::CreateClipRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        let mut asked = request.into_inner();
        let mut fields = Fields::default();
        let camera_id = fields.camera_id("camera_id", &asked.camera_id);
        let start = fields.time("start_time", asked.start_time);
        let end = fields.time("end_time", asked.end_time);
        fields.chosen_id("clip_id", id::CLIP, &asked.clip_id);
        let wait = fields.wait(asked.wait.take());
        let request_id = fields.request_id(&std::mem::take(&mut asked.request_id));
        let keep_for_s = fields.keep_for_s(asked.keep_for, self.clips.default_keep_for_s());
        let labels = fields.labels("labels", asked.labels.clone());
        let created_by = fields.text("created_by", asked.created_by.clone());
        let choices = read_clip::choices(&mut fields, &asked);
        fields.check()?;
        let (Some(camera_id), Some(start), Some(end)) = (camera_id, start, end) else {
            return Err(unchecked("window").into());
        };
        let window = clip_window(start, end).map_err(ApiError::from)?;
        if asked.validate_only {
            if choices.is_virtual {
                let clips = &self.clips;
                clips
                    .admit_virtual(&camera_id, window, choices.hold_sources)
                    .await
                    .map_err(ApiError::from)?;
            }
            return Ok(Response::new(
                self.clip_plan(&camera_id, window, &choices, &asked.clip_id)
                    .await?,
            ));
        }
        let request = request_key(request_id, &asked);
        if let Some(earlier) = self.earlier(request.as_ref(), wait).await? {
            return Ok(earlier);
        }
        let admitted = if choices.is_virtual {
            let clips = &self.clips;
            clips
                .admit_virtual(&camera_id, window, choices.hold_sources)
                .await
        } else {
            let (engine, render) = (choices.engine, choices.render.as_ref());
            self.clips.admit(&camera_id, window, engine, render).await
        };
        admitted.map_err(ApiError::from)?;
        let spec = ClipSpec {
            clip_id: if asked.clip_id.is_empty() {
                id::new(id::CLIP)
            } else {
                asked.clip_id
            },
            camera_id,
            start_us: window.start().timestamp_micros(),
            end_us: window.end().timestamp_micros(),
            keep_for_s,
            created_by: created_by.clone(),
            labels: labels.clone(),
            engine: choices.engine,
            gap_mode: choices.gap_mode,
            render: choices.render,
            is_virtual: choices.is_virtual,
            hold_sources: choices.hold_sources,
            quick: choices.quick,
        };
        let submission = Submission {
            job_id: None,
            spec: JobSpec::Clip(spec),
            priority: PRIORITY_INTERACTIVE,
            created_by,
            labels,
            retry_of: String::new(),
            request,
        };
        self.submit(submission, wait).await
    }

    async fn materialize_clip(
        &self,
        request: Request<proto::MaterializeClipRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        let mut asked = request.into_inner();
        let mut fields = Fields::default();
        fields.required("clip_id", &asked.clip_id);
        let wait = fields.wait(asked.wait.take());
        let request_id = fields.request_id(&std::mem::take(&mut asked.request_id));
        fields.check()?;
        let request = request_key(request_id, &asked);
        if let Some(earlier) = self.earlier(request.as_ref(), wait).await? {
            return Ok(earlier);
        }
        let clip = self.clip(&asked.clip_id).await?;
        self.clips
            .admit_materialization(&clip)
            .await
            .map_err(|error| ApiError::from(error).about(&clip.id))?;
        let submission = Submission {
            job_id: None,
            spec: JobSpec::MaterializeClip(MaterializeSpec {
                clip_id: clip.id,
                camera_id: clip.camera_id,
            }),
            priority: PRIORITY_INTERACTIVE,
            created_by: clip.created_by,
            labels: clip.labels,
            retry_of: String::new(),
            request,
        };
        self.submit(submission, wait).await
    }

    async fn get_clip(
        &self,
        request: Request<proto::GetClipRequest>,
    ) -> Result<Response<proto::Clip>, Status> {
        Ok(Response::new(
            self.clip(&request.get_ref().clip_id).await?.into(),
        ))
    }

    async fn list_clips(
        &self,
        request: Request<proto::ListClipsRequest>,
    ) -> Result<Response<proto::ListClipsResponse>, Status> {
        let mut request = request.into_inner();
        let (asked_size, page_token) = (
            std::mem::take(&mut request.page_size),
            std::mem::take(&mut request.page_token),
        );
        let tokens = Tokens::of("ListClips", &request);
        let mut fields = Fields::default();
        let filter = ClipFilter {
            camera_id: fields.optional_camera_id("camera_id", &request.camera_id),
            ends_after: fields.optional_time("start_time", request.start_time),
            starts_before: fields.optional_time("end_time", request.end_time),
        };
        let size = page_size(&mut fields, asked_size);
        fields.check()?;
        if let (Some(start), Some(end)) = (filter.ends_after, filter.starts_before) {
            range(start, end)?;
        }
        let page = tokens.page(size, &page_token)?;
        let (clips, next) = self
            .store
            .clips(&filter, &page)
            .await
            .map_err(ApiError::from)?;
        let row = |clip: Clip| {
            let key = (clip.create_time.timestamp_micros(), clip.id.clone());
            (key, proto::Clip::from(clip))
        };
        let (clips, next) = fit(clips.into_iter().map(row).collect(), next);
        Ok(Response::new(proto::ListClipsResponse {
            clips,
            next_page_token: tokens.token(next),
        }))
    }

    async fn delete_clip(
        &self,
        request: Request<proto::DeleteClipRequest>,
    ) -> Result<Response<proto::DeleteClipResponse>, Status> {
        let clip = self.clip(&request.get_ref().clip_id).await?;
        if !self.clips.delete(&clip).await.map_err(ApiError::from)? {
            return Err(ApiError::clip_not_found(&clip.id).into());
        }
        Ok(Response::new(proto::DeleteClipResponse {}))
    }

    type DownloadClipStream =
        Pin<Box<dyn Stream<Item = Result<proto::DownloadClipResponse, Status>> + Send>>;

    async fn download_clip(
        &self,
        request: Request<proto::DownloadClipRequest>,
    ) -> Result<Response<Self::DownloadClipStream>, Status> {
        use futures::StreamExt as _;
        use proto::download_clip_response::Content;

        let request = request.into_inner();
        let mut fields = Fields::default();
        fields.required("clip_id", &request.clip_id);
        let part = download::Part::asked(&mut fields, request.offset_bytes, request.limit_bytes);
        fields.check()?;
        let clip = self.clip(&request.clip_id).await?;
        let content = self
            .clips
            .content(&clip)
            .await
            .map_err(|error| ApiError::from(error).about(&clip.id))?;
        let part = part.within(clip.size_bytes)?;
        let etag = clip.etag().to_owned();
        let clip_id = clip.id;
        let read = move |position, buffer: &mut [u8]| {
            content
                .read(position, buffer)
                .map_err(|error| ApiError::from(error).about(&clip_id))
        };
        let header = proto::FileHeader {
            total_size_bytes: int64(clip.size_bytes),
            sha256: clip.sha256,
            media_type: clip.media_type,
            file_name: clip.file_name,
            offset_bytes: int64(part.start),
            length_bytes: int64(part.end - part.start),
            etag,
        };
        let message = |content| proto::DownloadClipResponse {
            content: Some(content),
        };
        let first = futures::stream::once(async move { Ok(message(Content::Header(header))) });
        let rest = download::chunks(read, part).map(move |chunk| {
            chunk
                .map(|data| message(Content::Data(data)))
                .map_err(Status::from)
        });
        Ok(Response::new(Box::pin(first.chain(rest))))
    }
}

impl Services {
    async fn clip(&self, id: &str) -> Result<Clip, ApiError> {
        if id.is_empty() {
            return Err(ApiError::field("clip_id", "is required"));
        }
        if !id::is_valid(id::CLIP, id) {
            return Err(ApiError::clip_not_found(
                &id.escape_debug().take(100).collect::<String>(),
            ));
        }
        self.store
            .clip(id)
            .await?
            .ok_or_else(|| ApiError::clip_not_found(id))
    }

    async fn clip_plan(
        &self,
        camera_id: &crate::domain::camera::CameraId,
        asked: crate::domain::time::TimeRange,
        choices: &read_clip::Choices,
        clip_id: &str,
    ) -> Result<proto::Job, ApiError> {
        let (engine, render) = (choices.engine, choices.render.as_ref());
        let preview = self
            .clips
            .preview(camera_id, asked, engine, choices.gap_mode, render)
            .await?;
        if !clip_id.is_empty() && self.store.is_output_taken(clip_id).await? {
            return Err(ApiError::Taken {
                kind: "clip",
                name: clip_id.to_owned(),
            });
        }
        let plan = proto::ClipPlan {
            requested_window: Some(window(asked)),
            delivered_window: preview.delivered.map(window),
            requested: Some(duration(asked.duration())),
            covered: Some(duration(preview.covered)),
            gaps: preview.gaps.into_iter().map(proto::Gap::from).collect(),
            segments: preview
                .segments
                .into_iter()
                .map(proto::Segment::from)
                .collect(),
            expected_bytes: int64(preview.expected_bytes),
            engine: clip_engine(preview.engine).into(),
            engine_reason: preview.engine_reason,
        };
        Ok(proto::Job {
            kind: proto::JobKind::Clip.into(),
            camera_id: camera_id.to_string(),
            plan: Some(proto::job::Plan::ClipPlan(plan)),
            ..proto::Job::default()
        })
    }
}

impl From<WindowError> for ApiError {
    fn from(error: WindowError) -> Self {
        let reason = match error {
            WindowError::Reversed => ErrorReason::WindowReversed,
            WindowError::TooLong(_) => ErrorReason::WindowTooLong,
        };
        Self::Invalid {
            reason,
            violations: vec![("end_time".to_owned(), error.to_string())],
        }
    }
}
