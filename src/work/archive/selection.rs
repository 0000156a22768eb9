//! Which segments an archive is made of.

use super::ArchiveError;
use crate::domain::archive::{ArchiveContent, ArchiveSegment};
use crate::domain::camera::CameraId;
use crate::domain::series::Series;
use crate::repository::Store;

/// One camera of a selection.
#[derive(Debug)]
pub(super) struct SelectedCamera {
    pub(super) id: CameraId,
    pub(super) display_name: String,
    /// In order of start, vanished ones included.
    pub(super) segments: Series<ArchiveSegment>,
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
    Ok(cameras)
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
    /// Segments, vanished ones included.
    pub(super) segments: u64,
    /// Segments whose file is there.
    pub(super) available: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

/// Counts the segments of `content` without reading them; one at least is there.
pub(super) async fn totals(
    store: &Store,
    content: &ArchiveContent,
) -> Result<Totals, ArchiveError> {
    let mut totals = Totals::default();
    for (id, _) in cameras(store, content).await? {
        let of_camera = store.archive_totals(&id, content).await?;
        totals.segments += of_camera.segments;
        totals.available += of_camera.available;
        totals.bytes += of_camera.bytes;
    }
    if totals.available == 0 {
        return Err(ArchiveError::NothingMatches);
    }
    Ok(totals)
}
