//! Clips that are encoded anew: what they need of the disk, and the way through [`media::render`].

use chrono::TimeDelta;

use super::ask::HEADROOM_BYTES;
use super::cut::cutting;
use super::{ClipError, ClipWork, microseconds};
use crate::domain::camera::CameraId;
use crate::domain::catalog::Segment;
use crate::domain::clip::RenderOptions;
use crate::domain::job::Progress;
use crate::domain::time::TimeRange;
use crate::media::{self, CutOrder, CutOutcome, RenderOrder, RenderProgress};
use crate::work::Attempt;
use crate::work::output::free_bytes;

/// Encoding may take this many times the length of the window, beside the time that a cut may take.
const ENCODING_SLOWNESS: u32 = 4;
/// Bits that a pixel of busy footage takes at [`USUAL_CRF`]; x264 doubles them with every step of [`CRF_DOUBLING`].
const USUAL_BITS_PER_PIXEL: f64 = 0.12;
const USUAL_CRF: f64 = 23.0;
const CRF_DOUBLING: f64 = 6.0;
/// What a pixel takes that is not encoded at all.
const MOST_BITS_PER_PIXEL: f64 = 12.0;
/// Part of the work that cutting the footage is.
const CUTTING_SHARE: f64 = 0.05;

impl ClipWork {
    /// Cuts the footage of `order` and encodes it.
    pub(super) async fn render(
        &self,
        attempt: &Attempt,
        camera_id: &CameraId,
        order: CutOrder,
        options: &RenderOptions,
        footage_bytes: u64,
    ) -> Result<CutOutcome, ClipError> {
        let camera = self.store.camera(camera_id).await?;
        let camera_name = camera
            .map(|camera| camera.display_name)
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| camera_id.to_string());
        let free = free_bytes(&self.settings.folder).map_err(ClipError::Folder)?;
        let length = order
            .wanted
            .requested
            .duration()
            .to_std()
            .unwrap_or_default();
        let order = RenderOrder {
            deadline: order.deadline + length * ENCODING_SLOWNESS,
            most_bytes: free.saturating_sub(HEADROOM_BYTES + footage_bytes),
            options: options.clone(),
            camera_name,
            cut: order,
        };
        let rendering = media::render(&self.engine, order, &attempt.cancel, |progress| {
            attempt.report(told(progress));
        });
        rendering.await.map_err(ClipError::Cut)
    }
}

/// What the clip takes of the disk at most while it is made: the footage, and, by experience, what it is encoded to.
pub(super) fn expected_bytes(
    segments: &[Segment],
    window: TimeRange,
    footage_bytes: u64,
    options: &RenderOptions,
) -> u64 {
    let bits_per_pixel =
        USUAL_BITS_PER_PIXEL * ((USUAL_CRF - f64::from(options.crf)) / CRF_DOUBLING).exp2();
    let faster = (f64::from(options.speed_milli) / 1000.0).max(1.0);
    let pixels: f64 = segments
        .iter()
        .filter_map(|segment| {
            let whole = TimeRange::new(segment.file.start_time, segment.file.end_time())?;
            let part = whole.intersect(&window)?;
            let share = part.duration().as_seconds_f64() / whole.duration().as_seconds_f64();
            let video = &segment.file.facts.video;
            let (width, height) = media::picture_size(options, video.width, video.height);
            let picture = f64::from(width) * f64::from(height);
            Some(video.frame_count as f64 * share * picture)
        })
        .sum();
    let bytes = pixels / faster * bits_per_pixel.min(MOST_BITS_PER_PIXEL) / 8.0;
    footage_bytes.saturating_add(bytes as u64)
}

fn told(progress: RenderProgress) -> Progress {
    match progress {
        RenderProgress::Cutting(cut) => Progress {
            fraction: Some(CUTTING_SHARE * share(cut.media_done, cut.media_total)),
            media_done_us: 0,
            ..cutting(cut)
        },
        RenderProgress::Encoding {
            media_done,
            media_total,
            bytes_done,
        } => Progress {
            phase: "rendering".to_owned(),
            bytes_done,
            media_done_us: microseconds(media_done),
            media_total_us: microseconds(media_total),
            fraction: Some(CUTTING_SHARE + (1.0 - CUTTING_SHARE) * share(media_done, media_total)),
            ..Progress::default()
        },
    }
}

fn share(done: TimeDelta, total: TimeDelta) -> f64 {
    done.as_seconds_f64() / total.as_seconds_f64().max(1e-6)
}
