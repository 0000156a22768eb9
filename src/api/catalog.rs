//! CatalogService.

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use super::convert::{etag_revision, int64, timestamp};
use super::fields::Fields;
use super::page::{Tokens, fit, page_size};
use super::status::{ApiError, intake_status};
use crate::clock;
use crate::domain::camera::CameraId;
use crate::domain::catalog::{Camera, Segment, SegmentState, Taken};
use crate::domain::id;
use crate::domain::time::TimeRange;
use crate::domain::timeline;
use crate::proto::catalog_service_server::CatalogService;
use crate::proto::{self, ErrorReason};
use crate::repository::{CameraChange, CameraUpdate, DeletedCamera, LockSelection, SegmentFilter};

/// How many segments one call may name.
const SELECTION_MAX: usize = 1000;
/// How many rejected files an answer names.
const REJECTED_NAMED: usize = 1000;
/// Most spans in one timeline.
const SPANS_MAX: usize = 10_000;

#[tonic::async_trait]
impl CatalogService for Services {
    async fn upsert_camera(
        &self,
        request: Request<proto::UpsertCameraRequest>,
    ) -> Result<Response<proto::Camera>, Status> {
        let request = request.into_inner();
        let mut fields = Fields::default();
        let Some(camera) = request.camera else {
            return Err(ApiError::field("camera", "is required").into());
        };
        let id = fields.camera_id("camera.id", &camera.id);
        let display_name = fields.text("camera.display_name", camera.display_name);
        let labels = fields.labels("camera.labels", camera.labels);
        let mut change = CameraChange {
            display_name: (!display_name.is_empty()).then_some(display_name.clone()),
            labels: (!labels.is_empty()).then(|| labels.clone()),
            expected_revision: None,
        };
        if let Some(mask) = request.update_mask {
            (change.display_name, change.labels) = (None, None);
            for path in &mask.paths {
                match path.as_str() {
                    "display_name" => change.display_name = Some(display_name.clone()),
                    "labels" => change.labels = Some(labels.clone()),
                    _ => fields.wrong(
                        "update_mask",
                        format!("{path:?} cannot be changed; `display_name` and `labels` can"),
                    ),
                }
            }
        }
        fields.check()?;
        let Some(id) = id else {
            return Err(unchecked("camera.id").into());
        };
        if !camera.etag.is_empty() {
            let Some(revision) = etag_revision(&camera.etag) else {
                return Err(ApiError::Stale {
                    kind: "camera",
                    name: id.into(),
                }
                .into());
            };
            change.expected_revision = Some(revision);
        }
        match self
            .store
            .put_camera(&id, change, clock::now())
            .await
            .map_err(ApiError::from)?
        {
            CameraUpdate::Changed(camera) => Ok(Response::new(camera.into())),
            CameraUpdate::Stale => Err(ApiError::Stale {
                kind: "camera",
                name: id.into(),
            }
            .into()),
        }
    }

    async fn get_camera(
        &self,
        request: Request<proto::GetCameraRequest>,
    ) -> Result<Response<proto::Camera>, Status> {
        Ok(Response::new(
            self.camera(&request.into_inner().camera_id).await?.into(),
        ))
    }

    async fn list_cameras(
        &self,
        request: Request<proto::ListCamerasRequest>,
    ) -> Result<Response<proto::ListCamerasResponse>, Status> {
        let request = request.into_inner();
        let tokens = Tokens::of("ListCameras", &proto::ListCamerasRequest::default());
        let mut fields = Fields::default();
        let size = page_size(&mut fields, request.page_size);
        fields.check()?;
        let page = tokens.page(size, &request.page_token)?;
        let (cameras, next) = self.store.cameras(&page).await.map_err(ApiError::from)?;
        let row = |camera: Camera| {
            let key = (camera.create_time.timestamp_micros(), camera.id.to_string());
            (key, proto::Camera::from(camera))
        };
        let (cameras, next) = fit(cameras.into_iter().map(row).collect(), next);
        Ok(Response::new(proto::ListCamerasResponse {
            cameras,
            next_page_token: tokens.token(next),
        }))
    }

    async fn delete_camera(
        &self,
        request: Request<proto::DeleteCameraRequest>,
    ) -> Result<Response<proto::DeleteCameraResponse>, Status> {
        let request = request.into_inner();
        let mut fields = Fields::default();
        let id = fields.camera_id("camera_id", &request.camera_id);
        fields.check()?;
        let Some(id) = id else {
            return Err(unchecked("camera_id").into());
        };
        let stale = || ApiError::Stale {
            kind: "camera",
            name: id.to_string(),
        };
        let revision = match request.etag.as_str() {
            "" => None,
            etag => Some(etag_revision(etag).ok_or_else(stale)?),
        };
        let in_use = |message| ApiError::Precondition {
            reason: ErrorReason::CameraInUse,
            subject: id.to_string(),
            message,
        };
        match self
            .store
            .delete_camera(&id, request.force, revision)
            .await
            .map_err(ApiError::from)?
        {
            DeletedCamera::Deleted(segments) => Ok(Response::new(proto::DeleteCameraResponse {
                segments_forgotten: int64(segments),
            })),
            DeletedCamera::NotFound => Err(ApiError::camera_not_found(id.as_str()).into()),
            DeletedCamera::Stale => Err(stale().into()),
            DeletedCamera::InUse(segments) => Err(in_use(format!(
                "camera {id} has {segments} segments; set `force` to forget them too"
            ))
            .into()),
            DeletedCamera::Locked(segments) => Err(in_use(format!(
                "camera {id} has evidence locks on {segments} segments; release them first"
            ))
            .into()),
        }
    }

    async fn register_segments(
        &self,
        request: Request<Streaming<proto::RegisterSegmentsRequest>>,
    ) -> Result<Response<proto::RegisterSegmentsResponse>, Status> {
        let mut messages = request.into_inner();
        let mut answer = proto::RegisterSegmentsResponse::default();
        let mut message_number = 0;
        while let Some(message) = messages.next().await {
            let message = message?;
            message_number += 1;
            let path = message.path.clone();
            match self.register(message).await {
                Ok(Taken::Added) => answer.segments_added += 1,
                Ok(Taken::Updated) => answer.segments_updated += 1,
                Ok(Taken::Unchanged) => answer.segments_unchanged += 1,
                Err(error @ (ApiError::Unavailable { .. } | ApiError::Exhausted { .. })) => {
                    return Err(error.into());
                }
                Err(error) => {
                    answer.files_rejected += 1;
                    if answer.rejected.len() < REJECTED_NAMED {
                        let error = Some(intake_status(error));
                        answer.rejected.push(proto::RejectedFile {
                            message_number,
                            path,
                            error,
                        });
                    }
                }
            }
        }
        Ok(Response::new(answer))
    }

    async fn list_segments(
        &self,
        request: Request<proto::ListSegmentsRequest>,
    ) -> Result<Response<proto::ListSegmentsResponse>, Status> {
        let mut request = request.into_inner();
        let (asked_size, page_token) = (
            std::mem::take(&mut request.page_size),
            std::mem::take(&mut request.page_token),
        );
        let tokens = Tokens::of("ListSegments", &request);
        let mut fields = Fields::default();
        let filter = SegmentFilter {
            camera_id: fields.optional_camera_id("camera_id", &request.camera_id),
            ends_after: fields.optional_time("start_time", request.start_time),
            starts_before: fields.optional_time("end_time", request.end_time),
            evidence_locked_only: request.evidence_locked_only,
            state: match proto::SegmentState::try_from(request.state) {
                Ok(proto::SegmentState::Unspecified) => None,
                Ok(proto::SegmentState::Available) => Some(SegmentState::Available),
                Ok(proto::SegmentState::Missing) => Some(SegmentState::Missing),
                Err(_) => {
                    fields.wrong("state", "is not a known state");
                    None
                }
            },
        };
        let size = page_size(&mut fields, asked_size);
        fields.check()?;
        if let (Some(start), Some(end)) = (filter.ends_after, filter.starts_before) {
            range(start, end)?;
        }
        let page = tokens.page(size, &page_token)?;
        let (segments, next) = self
            .store
            .segments(&filter, &page)
            .await
            .map_err(ApiError::from)?;
        if segments.is_empty()
            && let Some(id) = &filter.camera_id
        {
            // An empty list of a camera that does not exist would hide a typing error.
            self.camera(id.as_str()).await?;
        }
        let row = |segment: Segment| {
            let key = (
                segment.file.start_time.timestamp_micros(),
                segment.id.clone(),
            );
            (key, proto::Segment::from(segment))
        };
        let (segments, next) = fit(segments.into_iter().map(row).collect(), next);
        Ok(Response::new(proto::ListSegmentsResponse {
            segments,
            next_page_token: tokens.token(next),
        }))
    }

    async fn get_timeline(
        &self,
        request: Request<proto::GetTimelineRequest>,
    ) -> Result<Response<proto::Timeline>, Status> {
        let request = request.into_inner();
        let mut fields = Fields::default();
        fields.camera_id("camera_id", &request.camera_id);
        let start = fields.optional_time("start_time", request.start_time);
        let end = fields.optional_time("end_time", request.end_time);
        let resolution = fields.resolution(request.resolution);
        fields.check()?;
        let camera = self.camera(&request.camera_id).await?;
        let recorded = camera.recorded;
        let bounds = (
            start.or(recorded.map(|range| range.start())),
            end.or(recorded.map(|range| range.end())),
        );
        let (Some(start), Some(end)) = bounds else {
            return Err(ApiError::NotFound {
                reason: ErrorReason::NoFootage,
                kind: "camera",
                name: camera.id.to_string(),
                message: "the camera has no footage; give both `start_time` and `end_time`"
                    .to_owned(),
            }
            .into());
        };
        let timeline = self
            .store
            .timeline(&camera.id, range(start, end)?)
            .await
            .map_err(ApiError::from)?;
        Ok(Response::new(
            timeline::coarsen(timeline, resolution, SPANS_MAX).into(),
        ))
    }

    async fn set_evidence_lock(
        &self,
        request: Request<proto::SetEvidenceLockRequest>,
    ) -> Result<Response<proto::SetEvidenceLockResponse>, Status> {
        let request = request.into_inner();
        let mut fields = Fields::default();
        let selected = read_selection(&mut fields, request.selection);
        let incident_id = fields.text("incident_id", request.incident_id);
        if request.all_incidents && !request.release {
            fields.wrong("all_incidents", "goes with `release` only");
        }
        if request.all_incidents && !incident_id.is_empty() {
            fields.wrong("incident_id", "must be empty with `all_incidents`");
        }
        fields.check()?;
        let selection = self.selection(selected).await?;
        let change = if request.release {
            let incident = (!request.all_incidents).then_some(incident_id.as_str());
            self.store.release(&selection, incident).await
        } else {
            self.store
                .hold(&selection, &incident_id, clock::now())
                .await
        }
        .map_err(ApiError::from)?;
        let Some(span) = change.span else {
            return Err(ApiError::NotFound {
                reason: ErrorReason::NoFootage,
                kind: "footage",
                name: String::new(),
                message: "no recorded footage in the requested range".to_owned(),
            }
            .into());
        };
        Ok(Response::new(proto::SetEvidenceLockResponse {
            segments_selected: int64(change.segments_selected),
            segments_changed: int64(change.segments_changed),
            span: Some(proto::CameraWindow {
                camera_id: change.camera_id.unwrap_or_default(),
                start_time: Some(timestamp(span.start())),
                end_time: Some(timestamp(span.end())),
            }),
        }))
    }
}

impl Services {
    /// The camera with this id, which is checked first.
    pub(super) async fn camera(&self, id: &str) -> Result<Camera, ApiError> {
        let mut fields = Fields::default();
        let parsed = fields.camera_id("camera_id", id);
        fields.check()?;
        let parsed = parsed.ok_or_else(|| unchecked("camera_id"))?;
        self.store
            .camera(&parsed)
            .await?
            .ok_or_else(|| ApiError::camera_not_found(id))
    }

    async fn register(&self, message: proto::RegisterSegmentsRequest) -> Result<Taken, ApiError> {
        let mut fields = Fields::default();
        let camera_id = fields.camera_id("camera_id", &message.camera_id);
        let start_time = fields.optional_time("start_time", message.start_time);
        if message.path.is_empty() {
            fields.wrong("path", "is required");
        }
        fields.check()?;
        let camera_id = camera_id.ok_or_else(|| unchecked("camera_id"))?;
        Ok(self
            .intake
            .register(&camera_id, &message.source_id, &message.path, start_time)
            .await?)
    }

    /// The selection, when what it names is there.
    async fn selection(&self, selected: Option<Selected>) -> Result<LockSelection, ApiError> {
        match selected.ok_or_else(|| unchecked("selection"))? {
            Selected::Window(camera_id, start, end) => {
                let window = range(start, end)?;
                self.camera(camera_id.as_str()).await?;
                Ok(LockSelection::Window(camera_id, window))
            }
            Selected::Segments(ids) => {
                let found = self.store.segments_by_id(&ids).await?;
                match ids
                    .iter()
                    .find(|id| !found.iter().any(|segment| segment.id == **id))
                {
                    None => Ok(LockSelection::Segments(ids)),
                    Some(unknown) => Err(ApiError::NotFound {
                        reason: ErrorReason::SegmentNotFound,
                        kind: "segment",
                        name: unknown.clone(),
                        message: format!("segment {unknown} not found"),
                    }),
                }
            }
        }
    }
}

/// What SetEvidenceLock is to change, as far as its fields tell.
enum Selected {
    Window(CameraId, DateTime<Utc>, DateTime<Utc>),
    Segments(Vec<String>),
}

fn read_selection(
    fields: &mut Fields,
    selection: Option<proto::set_evidence_lock_request::Selection>,
) -> Option<Selected> {
    use proto::set_evidence_lock_request::Selection;
    match selection {
        None => {
            fields.wrong("selection", "one of `window` and `segments` is required");
            None
        }
        Some(Selection::Window(window)) => {
            let camera_id = fields.camera_id("window.camera_id", &window.camera_id);
            let start = fields.time("window.start_time", window.start_time);
            let end = fields.time("window.end_time", window.end_time);
            Some(Selected::Window(camera_id?, start?, end?))
        }
        Some(Selection::Segments(chosen)) => {
            let ids = chosen.segment_ids;
            if ids.is_empty() || ids.len() > SELECTION_MAX {
                fields.wrong(
                    "segments.segment_ids",
                    format!("must name 1 to {SELECTION_MAX} segments"),
                );
            }
            if let Some(bad) = ids.iter().find(|id| !id::is_valid(id::SEGMENT, id)) {
                fields.wrong(
                    "segments.segment_ids",
                    format!("{bad:?} is not a segment id"),
                );
            }
            Some(Selected::Segments(ids))
        }
    }
}

/// A window, or the error for one that is empty or reversed.
pub(super) fn range(start: DateTime<Utc>, end: DateTime<Utc>) -> Result<TimeRange, ApiError> {
    range_until("end_time", start, end)
}

/// The same where the end is in another field.
pub(super) fn range_until(
    field: &str,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Result<TimeRange, ApiError> {
    TimeRange::new(start, end).ok_or_else(|| ApiError::Invalid {
        reason: ErrorReason::WindowReversed,
        violations: vec![(field.to_owned(), "`to` must be after `from`".to_owned())],
    })
}

/// The error for a field that the checks let pass though it has no value; it never reaches a caller.
pub(super) fn unchecked(field: &str) -> ApiError {
    ApiError::Internal {
        cause: format!("{field} passed its checks without a value"),
    }
}
