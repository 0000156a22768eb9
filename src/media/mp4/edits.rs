//! Edit lists (section 8.6.6): which stretch of a track's media is shown, and when.

use super::bytes::Child;
use super::top_level::ReadError;

/// More edits than any recorder writes; a longer list is refused.
const MOST_EDITS: usize = 10_000;

/// The first stretch of media that a track's edit list shows, in ticks of the track's own clock.
///
/// Recorders write one such stretch, at most after an empty edit that delays the track. Further stretches
/// are taken in where they go on without a break; what an edited file shows beyond that is not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EditList {
    pub(super) edit: Option<Edit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) shown_from: i64,
    pub(super) media_from: i64,
    /// `None` shows the media to its end.
    pub(super) duration: Option<i64>,
}

impl EditList {
    /// When media at composition time `pts` is shown, or would be if the list did not hide it.
    pub fn place(&self, pts: i64) -> i64 {
        match self.edit {
            Some(edit) => pts
                .saturating_sub(edit.media_from)
                .saturating_add(edit.shown_from),
            None => pts,
        }
    }

    /// Whether media at composition time `pts` comes after all that is shown.
    pub fn hides_after(&self, pts: i64) -> bool {
        self.edit.is_some_and(|edit| {
            edit.duration
                .is_some_and(|length| pts.saturating_sub(edit.media_from) >= length)
        })
    }

    /// Composition time of the first media shown, if the list says so.
    pub fn first_media_time(&self) -> Option<i64> {
        self.edit.map(|edit| edit.media_from)
    }

    /// Shows the media to its end: a fragmented file gets its list before its length is known.
    pub(super) fn open_end(&mut self) {
        if let Some(edit) = &mut self.edit {
            edit.duration = None;
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
        let mut found: Option<Edit> = None;
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
            match &mut found {
                None if media_time >= 0 => {
                    found = Some(Edit {
                        shown_from,
                        media_from: media_time,
                        duration: (ticks > 0).then_some(ticks),
                    });
                }
                Some(edit) => {
                    if let Some(length) = &mut edit.duration
                        && edit.media_from.checked_add(*length) == Some(media_time)
                    {
                        *length = length.saturating_add(ticks);
                    }
                }
                None => {}
            }
            shown_from = shown_from
                .checked_add(ticks)
                .ok_or_else(|| fields.malformed("is longer than time"))?;
        }
        Ok(Self { edit: found })
    }
}
