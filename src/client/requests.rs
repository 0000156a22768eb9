//! Requests from native values.

use std::time::SystemTime;

use crate::proto::{ArchiveSpec, CreateArchiveRequest, CreateClipRequest};

impl CreateClipRequest {
    /// A clip of a camera between two moments; other fields by `CreateClipRequest { labels, ..CreateClipRequest::of(…) }`.
    #[must_use]
    pub fn of(
        camera_id: impl Into<String>,
        start: impl Into<SystemTime>,
        end: impl Into<SystemTime>,
    ) -> Self {
        Self {
            camera_id: camera_id.into(),
            start_time: Some(start.into().into()),
            end_time: Some(end.into().into()),
            ..Self::default()
        }
    }
}

impl ArchiveSpec {
    /// The footage of cameras between two moments; no cameras mean all.
    #[must_use]
    pub fn of<Id: Into<String>>(
        camera_ids: impl IntoIterator<Item = Id>,
        start: impl Into<SystemTime>,
        end: impl Into<SystemTime>,
    ) -> Self {
        Self {
            camera_ids: camera_ids.into_iter().map(Into::into).collect(),
            start_time: Some(start.into().into()),
            end_time: Some(end.into().into()),
            ..Self::default()
        }
    }
}

impl From<ArchiveSpec> for CreateArchiveRequest {
    fn from(spec: ArchiveSpec) -> Self {
        Self {
            spec: Some(spec),
            ..Self::default()
        }
    }
}
