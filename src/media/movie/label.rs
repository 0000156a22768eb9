//! What a clip's header says besides its samples: when the clip begins, and what it is called.

use chrono::{DateTime, SecondsFormat, Utc};
use shiguredo_mp4::boxes::UnknownBox;
use shiguredo_mp4::{BoxSize, BoxType, Mp4FileTime};

use super::{PlacedTrack, boxed};

/// What the header says besides the samples.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    /// Wall-clock time of the first frame shown.
    pub(crate) start: DateTime<Utc>,
    /// A name for people.
    pub(crate) title: String,
    /// What the clip was made from.
    pub(crate) comment: String,
}

/// `udta` with a metadata list as iTunes writes it and players show it: the absolute start to the
/// microsecond, a title and a comment.
pub(super) fn user_data(label: &Label) -> UnknownBox {
    let start = label.start.to_rfc3339_opts(SecondsFormat::Micros, true);
    let mut list = Vec::new();
    for (kind, text) in [
        (b"\xa9nam", label.title.as_str()),
        (b"\xa9day", start.as_str()),
        (b"\xa9cmt", label.comment.as_str()),
    ] {
        // Type 1 is UTF-8; the locale is unset (QuickTime File Format, "Value atom").
        let mut data = vec![0, 0, 0, 1, 0, 0, 0, 0];
        data.extend_from_slice(text.as_bytes());
        list.extend(boxed(kind, &boxed(b"data", &data)));
    }
    let mut meta = vec![0; 4];
    meta.extend(boxed(
        b"hdlr",
        b"\0\0\0\0\0\0\0\0mdirappl\0\0\0\0\0\0\0\0\0",
    ));
    meta.extend(boxed(b"ilst", &list));
    let payload = boxed(b"meta", &meta);
    let kind = BoxType::Normal(*b"udta");
    UnknownBox {
        box_type: kind,
        box_size: BoxSize::with_payload_size(kind, payload.len() as u64),
        payload,
    }
}

/// A `meta` box at the level of the file with the wall-clock time of each track's start (ONVIF Export File Format
/// Specification, `cstb`: entry count, then track id and units of 100 ns since 1601 in UTC). The start of a track is the
/// movie's time 0, where the edit list shows its first frame.
pub(super) fn start_box(label: &Label, tracks: &[PlacedTrack<'_>]) -> Vec<u8> {
    let mut starts = Vec::new();
    starts.extend((tracks.len() as u32).to_be_bytes());
    for (id, _) in (1u32..).zip(tracks) {
        starts.extend(id.to_be_bytes());
        starts.extend(since_1601(label.start).to_be_bytes());
    }
    let mut meta = vec![0; 4];
    // No kind of metadata of its own (ISO/IEC 14496-12 section 8.11.1).
    meta.extend(boxed(
        b"hdlr",
        b"\0\0\0\0\0\0\0\0null\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ));
    meta.extend(boxed(b"cstb", &starts));
    boxed(b"meta", &meta)
}

/// Units of 100 ns since 1601; 0 for what lies before.
fn since_1601(time: DateTime<Utc>) -> u64 {
    const FROM_1601_TO_1970_S: i64 = 11_644_473_600;
    let since_1970 = time.timestamp_micros().saturating_mul(10);
    u64::try_from(since_1970.saturating_add(FROM_1601_TO_1970_S * 10_000_000)).unwrap_or(0)
}

/// Seconds since 1904; times before 1970 are written as unset.
pub(super) fn mp4_time(time: DateTime<Utc>) -> Mp4FileTime {
    u64::try_from(time.timestamp()).map_or(Mp4FileTime::default(), |seconds| {
        Mp4FileTime::from_unix_time(std::time::Duration::from_secs(seconds))
    })
}
