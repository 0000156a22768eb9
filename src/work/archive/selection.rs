//! Which segments an archive is made of.

use super::ArchiveError;
use crate::domain::archive::{ArchiveContent, ArchiveSegment};
use crate::domain::camera::CameraId;
use crate::repository::Store;

/// One camera of a selection.
#[derive(Debug)]
pub(super) struct SelectedCamera {
    pub(super) id: CameraId,
    pub(super) display_name: String,
    /// In order of start, vanished ones included.
    pub(super) segments: Vec<ArchiveSegment>,
}

/// Finds the segments of `content`, by camera in order of id. Cameras without any are there when they were asked for
/// by name.
pub(super) async fn select(
    store: &Store,
    content: &ArchiveContent,
) -> Result<Vec<SelectedCamera>, ArchiveError> {
    let mut names = store.camera_names().await?;
    let is_named = !content.camera_ids.is_empty();
    if is_named {
        let unknown = content
            .camera_ids
            .iter()
            .find(|id| names.binary_search_by(|(known, _)| known.cmp(id)).is_err());
        if let Some(id) = unknown {
            return Err(ArchiveError::CameraNotFound(id.clone()));
        }
        names.retain(|(id, _)| content.camera_ids.contains(id));
    }
    let mut cameras = Vec::with_capacity(names.len());
    for (id, display_name) in names {
        let segments = store.archive_segments(&id, content).await?;
        if is_named || !segments.is_empty() {
            cameras.push(SelectedCamera {
                id,
                display_name,
                segments,
            });
        }
    }
    let is_any_there = cameras
        .iter()
        .flat_map(|camera| &camera.segments)
        .any(|segment| segment.is_available);
    if is_any_there {
        Ok(cameras)
    } else {
        Err(ArchiveError::NothingMatches)
    }
}

/// Bytes of the segments whose file is there: what the limit of an archive is compared with.
pub(super) fn source_bytes(cameras: &[SelectedCamera]) -> u64 {
    cameras
        .iter()
        .flat_map(|camera| &camera.segments)
        .filter(|segment| segment.is_available)
        .map(|segment| segment.size_bytes)
        .sum()
}
