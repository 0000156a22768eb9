//! Edit lists (section 8.6.6): which stretch of a track's media is shown, and when.

use super::bytes::Child;
use super::top_level::ReadError;

/// More edits than any recorder writes; a longer list is refused.
const MOST_EDITS: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edit {
    shown_from: i64,
    media_from: i64,
    /// `None` shows the media to its end.
    duration: Option<i64>,
}

/// The edits of one track, in ticks of the track's own clock. Without edits media is shown as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EditList {
    edits: Vec<Edit>,
}

impl EditList {
    /// When media at composition time `pts` is shown. Media before the first edit is answered with the
    /// time at which it would have been shown, before that of the edit: whether it may be shown is for
    /// the caller to say. `None` is media that the list hides.
    pub fn place(&self, pts: i64) -> Option<i64> {
        let Some(first) = self.edits.first() else {
            return Some(pts);
        };
        if pts < first.media_from {
            return pts
                .checked_sub(first.media_from)?
                .checked_add(first.shown_from);
        }
        self.edits
            .iter()
            .find(|edit| {
                pts >= edit.media_from
                    && edit
                        .duration
                        .is_none_or(|length| pts - edit.media_from < length)
            })
            .and_then(|edit| (pts - edit.media_from).checked_add(edit.shown_from))
    }

    /// Composition time of the first media shown, if the list says so.
    pub fn first_media_time(&self) -> Option<i64> {
        self.edits.first().map(|edit| edit.media_from)
    }

    /// Shows the last edit to the end of its media: a fragmented file gets its list before its length
    /// is known.
    pub(super) fn open_end(&mut self) {
        if let Some(last) = self.edits.last_mut() {
            last.duration = None;
        }
    }

    pub(super) fn read(
        elst: Child<'_>,
        movie_timescale: u32,
        track_timescale: u32,
    ) -> Result<Self, ReadError> {
        let mut fields = elst.fields();
        let (version, _) = fields.version_and_flags()?;
        let wide = version == 1;
        let count = fields.count(if wide { 20 } else { 12 })?;
        if count > MOST_EDITS {
            return Err(fields.malformed("has too many entries"));
        }
        let mut edits = Vec::with_capacity(count);
        let mut shown_from = 0i64;
        for _ in 0..count {
            let (duration, media_time) = if wide {
                (fields.u64()?, fields.i64()?)
            } else {
                (u64::from(fields.u32()?), i64::from(fields.i32()?))
            };
            fields.skip(4)?;
            let scaled = u128::from(duration) * u128::from(track_timescale);
            // Rounding up keeps a last frame whose duration the movie clock cannot express.
            let ticks = i64::try_from(scaled.div_ceil(u128::from(movie_timescale)))
                .map_err(|_| fields.malformed("is longer than time"))?;
            if media_time >= 0 {
                edits.push(Edit {
                    shown_from,
                    media_from: media_time,
                    duration: (ticks > 0).then_some(ticks),
                });
            }
            shown_from = shown_from
                .checked_add(ticks)
                .ok_or_else(|| fields.malformed("is longer than time"))?;
        }
        Ok(Self { edits })
    }
}
