//! The window that `--last` names: so long, up to the end of the newest footage.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use heldar_footage::proto::{Camera, GetCameraRequest};

use super::connection::{Server, asking};
use super::failure::CliError;
use super::{catalog, words};

/// First instant wanted, and first instant no longer wanted; either may be left open.
pub type Bounds = (Option<DateTime<Utc>>, Option<DateTime<Utc>>);

/// The window of the command line: `last`, when it is given, else its two bounds as they are.
///
/// # Errors
/// [`CliError`] when a camera is unknown, when there is no footage, or when the server cannot be asked.
pub async fn or_bounds(
    server: &Server,
    camera_ids: &[String],
    last: Option<Duration>,
    bounds: Bounds,
) -> Result<Bounds, CliError> {
    match last {
        Some(length) => {
            let (start, end) = of(server, camera_ids, length).await?;
            Ok((Some(start), Some(end)))
        }
        None => Ok(bounds),
    }
}

/// The window of `length` that ends with the newest footage of these cameras; of all cameras when none is named.
async fn of(
    server: &Server,
    camera_ids: &[String],
    length: Duration,
) -> Result<(DateTime<Utc>, DateTime<Utc>), CliError> {
    let cameras = if camera_ids.is_empty() {
        catalog::all_cameras(server).await?
    } else {
        let mut cameras = Vec::new();
        for camera_id in camera_ids {
            cameras.push(camera(server, camera_id).await?);
        }
        cameras
    };
    let newest = cameras
        .iter()
        .filter_map(|camera| words::moment(camera.last_segment_time.as_ref()?))
        .max();
    let end = newest.ok_or_else(|| {
        CliError::Usage(match camera_ids {
            [] => "there is no footage yet".to_owned(),
            [one] => format!("camera {} has no footage yet", words::plain(one)),
            _ => "none of these cameras has footage yet".to_owned(),
        })
    })?;
    let start = TimeDelta::from_std(length)
        .ok()
        .and_then(|length| end.checked_sub_signed(length));
    Ok((
        start.ok_or_else(|| CliError::Usage("--last reaches back too far".into()))?,
        end,
    ))
}

async fn camera(server: &Server, camera_id: &str) -> Result<Camera, CliError> {
    let request = asking(GetCameraRequest {
        camera_id: camera_id.to_owned(),
    });
    let answer = server.catalog().get_camera(request).await;
    Ok(answer
        .map_err(|status| server.failure(status))?
        .into_inner())
}
