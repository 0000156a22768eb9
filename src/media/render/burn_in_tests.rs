use chrono::Utc;

use super::*;
use crate::domain::catalog::VideoFormat;
use crate::domain::coverage::{Gap, GapReason};
use crate::domain::time::TimeRange;
use crate::media::Format;

/// Wall clock of the tests, in milliseconds from 2026-10-25T00:59:58.400Z, when clocks in Berlin are about to go back.
fn at(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_792_889_998_400 + ms).unwrap()
}

fn range(from_ms: i64, to_ms: i64) -> TimeRange {
    TimeRange::new(at(from_ms), at(to_ms)).unwrap()
}

/// Footage of six seconds of wall-clock time without these gaps: when in the clip, from, to.
fn footage(gaps: &[(i64, i64, i64)]) -> CutOutcome {
    let missing: i64 = gaps.iter().map(|(_, from, to)| to - from).sum();
    let gaps = gaps.iter().map(|(clip_ms, from, to)| Gap {
        range: range(*from, *to),
        reason: GapReason::NotRecorded,
        clip_offset: Some(TimeDelta::milliseconds(*clip_ms)),
        segment_ids: Vec::new(),
    });
    CutOutcome {
        requested: range(0, 6000),
        delivered: range(0, 6000),
        covered: TimeDelta::milliseconds(6000 - missing),
        gaps: gaps.collect(),
        warnings: Vec::new(),
        size_bytes: 0,
        sha256: None,
        format: Format::Mp4,
        footage_shown: TimeDelta::milliseconds(6000 - missing),
        duration_shown: TimeDelta::milliseconds(6000 - missing),
        hidden_lead: TimeDelta::zero(),
        segment_ids: Vec::new(),
        video: VideoFormat {
            codec: "h264".to_owned(),
            width: 640,
            height: 360,
            frame_count: 150,
        },
        audio: None,
        damaged_sources: 0,
        engine: String::new(),
        is_native: true,
        not_native: None,
    }
}

/// Start, end and text of each line of the time, for a clock so fine that no time is early by more than 10 µs.
fn times(footage: &CutOutcome, zone: &str, gap_mode: GapMode) -> Vec<(String, String, String)> {
    let options = RenderOptions {
        burn_in_time: true,
        time_zone: zone.to_owned(),
        ..RenderOptions::default()
    };
    let burn_in = BurnIn {
        options: &options,
        camera_name: "",
        footage,
        gap_mode,
        timescale: 10_000_000,
        width: 640,
        height: 360,
    };
    let script = burn_in.script().unwrap();
    let lines = script
        .lines()
        .filter_map(|line| line.strip_prefix("Dialogue: 1,"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.splitn(9, ',').collect();
            (
                cells[0].to_owned(),
                cells[1].to_owned(),
                cells[8].to_owned(),
            )
        })
        .collect()
}

fn texts(times: &[(String, String, String)]) -> Vec<&str> {
    times.iter().map(|(_, _, text)| text.as_str()).collect()
}

#[test]
fn the_hour_that_a_clock_put_back_shows_twice_is_told_apart() {
    assert_eq!(
        texts(&times(&footage(&[]), "Europe/Berlin", GapMode::Close)),
        [
            "2026-10-25 02:59:58 +02:00",
            "2026-10-25 02:59:59 +02:00",
            "2026-10-25 02:00:00 +01:00",
            "2026-10-25 02:00:01 +01:00",
            "2026-10-25 02:00:02 +01:00",
            "2026-10-25 02:00:03 +01:00",
            "2026-10-25 02:00:04 +01:00",
        ]
    );
}

#[test]
fn every_second_lasts_until_the_next_begins_a_thousand_times_slower() {
    let times = times(&footage(&[]), "UTC", GapMode::Close);
    let stamps: Vec<&str> = times.iter().map(|(from, _, _)| from.as_str()).collect();
    // 0.6 s, 1.6 s … of the clip, each 10 µs early.
    assert_eq!(stamps[..3], ["0:00:00.00", "0:09:59.99", "0:26:39.99"]);
    for pair in times.windows(2) {
        assert_eq!(pair[0].1, pair[1].0);
    }
    assert_eq!(times[0].2, "2026-10-25 00:59:58 UTC");
}

#[test]
fn the_time_jumps_over_gaps_that_are_closed_up_whatever_they_consist_of() {
    // One hole for two reasons, and another.
    let footage = footage(&[(1000, 1000, 1500), (1000, 1500, 2700), (2000, 3700, 5700)]);
    let times = times(&footage, "UTC", GapMode::Close);
    assert_eq!(
        texts(&times),
        [
            "2026-10-25 00:59:58 UTC",
            "2026-10-25 00:59:59 UTC",
            "2026-10-25 01:00:01 UTC",
            "2026-10-25 01:00:02 UTC",
            "2026-10-25 01:00:04 UTC",
        ]
    );
    // The stretch that begins after the second hole is at 2 s of the clip.
    assert_eq!(times[4].0, "0:33:19.99");
}

#[test]
fn the_time_goes_on_in_gaps_that_are_kept() {
    let mut footage = footage(&[(1000, 1000, 2700)]);
    footage.duration_shown = TimeDelta::seconds(6);
    assert_eq!(
        times(&footage, "UTC", GapMode::Keep),
        times(&self::footage(&[]), "UTC", GapMode::Keep)
    );
}

#[test]
fn gaps_before_the_first_frame_and_after_the_last_move_nothing() {
    let mut footage = footage(&[(0, -3000, 0), (6000, 6000, 9000)]);
    footage.duration_shown = TimeDelta::seconds(6);
    assert_eq!(
        times(&footage, "UTC", GapMode::Close),
        times(&self::footage(&[]), "UTC", GapMode::Close)
    );
}

#[test]
fn a_name_is_text_and_nothing_else() {
    assert_eq!(
        plain("Gate A, north: 'x'; [y] %{z}", 60),
        "Gate A, north: 'x'; [y] %\\{z\\}"
    );
    assert_eq!(
        plain("a\\Nb\\{\\an5}", 60),
        "a\\\u{2060}Nb\\\u{2060}\\{\\\u{2060}an5\\}"
    );
    assert_eq!(
        plain("a\nDialogue: 9,0:00:00.00\r\0\u{2028}[Fonts]", 60),
        "a Dialogue: 9,0:00:00.00   [Fonts]"
    );
    assert_eq!(plain("äbcdef", 4), "äbc…");
}

#[test]
fn nothing_to_write_is_no_script() {
    let options = RenderOptions::default();
    let burn_in = BurnIn {
        options: &options,
        camera_name: "Gate",
        footage: &footage(&[]),
        gap_mode: GapMode::Close,
        timescale: 90_000,
        width: 640,
        height: 360,
    };
    assert_eq!(burn_in.script(), None);
}
