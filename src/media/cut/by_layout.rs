//! A cut that writes nothing: the header, and where each byte behind it is to be read.

use super::by_copy::ENGINE;
use super::unfit::unfit;
use super::{Finished, Made, Prepared, label, outcome};
use crate::domain::coverage::GapReason;
use crate::media::order::{CutError, CutOutcome, EngineChoice};
use crate::media::plan::{Footage, Wanted};
use crate::media::suitable::format_of;
use crate::media::virtual_file::Layout;

/// A clip without a file.
#[derive(Debug)]
pub struct LaidOut {
    /// What the clip shows. It has no SHA-256 yet, as nobody has read its bytes.
    pub outcome: CutOutcome,
    /// Where its bytes come from.
    pub layout: Layout,
}

impl Prepared {
    /// Plans the clip that is wanted and lays it out. The same sources, wants and title give the same bytes, which are those
    /// that [`EngineChoice::Native`] writes. A source that cannot be used is
    /// [`unusable`](Self::unusable) afterwards. Takes some milliseconds for an hour of footage, and blocks.
    ///
    /// # Errors
    /// [`CutError::Unsuitable`] for footage that needs ffmpeg, [`CutError::NoFootage`], or a defect.
    pub fn lay_out(&mut self, wanted: &Wanted, title: &str) -> Result<LaidOut, CutError> {
        loop {
            let (plan, obstacle) = self.plan_for(EngineChoice::Native, wanted, true)?;
            if let Some(segment) = unfit(self, &plan) {
                self.segments[segment].footage = Footage::Unusable(GapReason::FileDamaged);
                continue;
            }
            if let Some(reason) = obstacle {
                return Err(CutError::Unsuitable { reason });
            }
            let with_sound = plan.sound.is_some();
            let layout = Layout::of(&plan, with_sound, &label(&plan, title)).map_err(|error| {
                CutError::Mismatch {
                    reason: error.to_string(),
                }
            })?;
            let made = Made {
                finished: Finished {
                    size_bytes: layout.size_bytes(),
                    sha256: None,
                },
                format: format_of(&plan, with_sound),
                engine: ENGINE.to_owned(),
                is_native: true,
            };
            return Ok(LaidOut {
                outcome: outcome(self, &plan, with_sound, made, None),
                layout,
            });
        }
    }

    /// Of each source, why it cannot be used; `None` when it can.
    pub fn unusable(&self) -> Vec<Option<GapReason>> {
        let reason = |footage: &Footage| match footage {
            Footage::Indexed(_) => None,
            Footage::Unusable(reason) => Some(*reason),
        };
        let segments = self.segments.iter();
        segments.map(|segment| reason(&segment.footage)).collect()
    }
}
