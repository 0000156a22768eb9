//! Movie fragments (section 8.8): one `moof` at a time, added to the tracks of the `moov`.

use super::bytes::{Child, Children, Fields, malformed};
use super::index::{Sample, SampleBudget, entry_number};
use super::top_level::ReadError;

/// Defaults of `trex` (8.8.3) for one track.
#[derive(Clone, Copy, Default)]
pub(super) struct TrackDefaults {
    description: u32,
    duration: u32,
    size: u32,
    flags: u32,
}

impl TrackDefaults {
    /// Track id and defaults.
    pub(super) fn read(trex: Child<'_>) -> Result<(u32, Self), ReadError> {
        let mut fields = trex.fields();
        fields.version_and_flags()?;
        let track_id = fields.u32()?;
        Ok((
            track_id,
            Self {
                description: fields.u32()?,
                duration: fields.u32()?,
                size: fields.u32()?,
                flags: fields.u32()?,
            },
        ))
    }
}

/// A track being filled from fragments.
pub(super) struct FragmentedTrack {
    pub(super) id: u32,
    pub(super) defaults: TrackDefaults,
    pub(super) samples: Vec<Sample>,
    pub(super) next_dts: i64,
}

/// `sample_is_non_sync_sample` of the sample flags (8.8.3.1).
const NON_SYNC: u32 = 0x0001_0000;

/// Adds the samples that one fragment describes. `moof_offset` is where the box begins in the file.
pub(super) fn read_fragment(
    payload: &[u8],
    moof_offset: u64,
    tracks: &mut [FragmentedTrack],
    budget: &mut SampleBudget,
) -> Result<(), ReadError> {
    // Without a base of its own, a track's data follows that of the track before (8.8.7.1).
    let mut data_position = moof_offset;
    for child in Children::new(payload, *b"moof") {
        let child = child?;
        if &child.kind == b"traf" {
            data_position = read_track_fragment(child, moof_offset, data_position, tracks, budget)?;
        }
    }
    Ok(())
}

fn read_track_fragment(
    traf: Child<'_>,
    moof_offset: u64,
    follows: u64,
    tracks: &mut [FragmentedTrack],
    budget: &mut SampleBudget,
) -> Result<u64, ReadError> {
    let mut fields = traf.need(b"tfhd")?.fields();
    let (_, flags) = fields.version_and_flags()?;
    let track_id = fields.u32()?;
    let Some(track) = tracks.iter_mut().find(|track| track.id == track_id) else {
        return Ok(follows);
    };
    let mut defaults = track.defaults;
    let mut base = follows;
    if flags & 0x1 != 0 {
        base = fields.u64()?;
    } else if flags & 0x02_0000 != 0 {
        base = moof_offset;
    }
    for (bit, value) in [
        (0x2, &mut defaults.description),
        (0x8, &mut defaults.duration),
        (0x10, &mut defaults.size),
        (0x20, &mut defaults.flags),
    ] {
        if flags & bit != 0 {
            *value = fields.u32()?;
        }
    }
    if let Some(tfdt) = traf.find(b"tfdt")? {
        let mut fields = tfdt.fields();
        let (version, _) = fields.version_and_flags()?;
        let time = match version {
            1 => fields.u64()?,
            _ => u64::from(fields.u32()?),
        };
        track.next_dts = i64::try_from(time)
            .ok()
            .filter(|time| *time < 1 << 61)
            .ok_or_else(|| fields.malformed("is beyond time"))?;
    }
    let mut position = base;
    for child in traf.children() {
        let child = child?;
        if &child.kind == b"trun" {
            position = read_run(child.fields(), base, position, defaults, track, budget)?;
        }
    }
    Ok(position)
}

fn read_run(
    mut fields: Fields<'_>,
    base: u64,
    follows: u64,
    defaults: TrackDefaults,
    track: &mut FragmentedTrack,
    budget: &mut SampleBudget,
) -> Result<u64, ReadError> {
    let (_, flags) = fields.version_and_flags()?;
    let count = fields.u32()?;
    let mut position = follows;
    if flags & 0x1 != 0 {
        let offset = i64::from(fields.i32()?);
        position = base
            .checked_add_signed(offset)
            .ok_or_else(|| fields.malformed("points before the file"))?;
    }
    let first_flags = if flags & 0x4 != 0 {
        Some(fields.u32()?)
    } else {
        None
    };
    let entry_bytes = [0x100, 0x200, 0x400, 0x800]
        .iter()
        .filter(|bit| flags & **bit != 0)
        .count()
        * 4;
    if (count as usize)
        .checked_mul(entry_bytes)
        .is_none_or(|bytes| bytes > fields.left())
    {
        return Err(fields.malformed("counts more entries than it holds"));
    }
    for number in 0..count {
        let mut own = |bit: u32, default: u32| {
            if flags & bit != 0 {
                fields.u32()
            } else {
                Ok(default)
            }
        };
        let duration = own(0x100, defaults.duration)?;
        let size = own(0x200, defaults.size)?;
        let default_flags = match first_flags {
            Some(first) if number == 0 => first,
            _ => defaults.flags,
        };
        let sample_flags = own(0x400, default_flags)?;
        let composition_offset = own(0x800, 0)?.cast_signed();
        budget.spend()?;
        if size > 0 {
            track.samples.push(Sample {
                offset: position,
                dts: track.next_dts,
                size,
                duration,
                composition_offset,
                sync: sample_flags & NON_SYNC == 0,
                description: entry_number(defaults.description),
            });
        }
        track.next_dts += i64::from(duration);
        position = position
            .checked_add(u64::from(size))
            .ok_or_else(|| malformed(*b"trun", "places a sample beyond any file"))?;
    }
    Ok(position)
}
