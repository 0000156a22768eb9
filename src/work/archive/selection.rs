//! Which segments an archive is made of.

use std::sync::Arc;

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
    pub(super) segments: Vec<Arc<ArchiveSegment>>,
}

/// Finds the segments of `content`, by camera in order of id. Cameras without any are there when they were asked for
/// by name.
pub(super) async fn select(
    store: &Store,
    content: &ArchiveContent,
) -> Result<Vec<SelectedCamera>, ArchiveError> {
    let is_named = !content.camera_ids.is_empty();
    let names = cameras(store, content).await?;
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

/// The cameras of `content` with their names.
async fn cameras(
    store: &Store,
    content: &ArchiveContent,
) -> Result<Vec<(CameraId, String)>, ArchiveError> {
    let mut known = store.camera_names().await?;
    let wanted = &content.camera_ids;
    if wanted.is_empty() {
        return Ok(known);
    }
    let is_unknown = |id: &&CameraId| known.binary_search_by(|(known, _)| known.cmp(id)).is_err();
    if let Some(id) = wanted.iter().find(is_unknown) {
        return Err(ArchiveError::CameraNotFound(id.clone()));
    }
    known.retain(|(id, _)| wanted.contains(id));
    Ok(known)
}

/// What the catalog has of a selection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) segments: u64,
    pub(super) bytes: u64,
}

/// Counts the segments of `content` whose file is there, without reading them.
pub(super) async fn totals(
    store: &Store,
    content: &ArchiveContent,
) -> Result<Totals, ArchiveError> {
    let mut totals = Totals::default();
    for (id, _) in cameras(store, content).await? {
        let (segments, bytes) = store.archive_totals(&id, content).await?;
        totals.segments += segments;
        totals.bytes += bytes;
    }
    if totals.segments == 0 {
        return Err(ArchiveError::NothingMatches);
    }
    Ok(totals)
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
