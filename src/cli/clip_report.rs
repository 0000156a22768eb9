//! What a clip is, or would be, in words.

use std::path::Path;

use heldar_footage::proto::{Clip, ClipEngine, ClipPlan, TimeWindow};

use super::description::{covered, file_row, gap_lines, row, size_row};
use super::words;

/// What a clip would be, line by line.
pub fn clip_plan_lines(plan: &ClipPlan) -> Vec<String> {
    let mut lines = vec![
        row("Requested", &words::window(plan.requested_window.as_ref())),
        row(
            "Would deliver",
            &words::window(plan.delivered_window.as_ref()),
        ),
        row(
            "Covered",
            &covered(plan.covered.as_ref(), plan.requested.as_ref()),
        ),
    ];
    lines.extend(gap_lines(&plan.gaps));
    lines.extend(engine_row(plan.engine(), &plan.engine_reason));
    lines.push(row("Size, about", &words::bytes(plan.expected_bytes)));
    lines.push(row(
        "Segments",
        &words::grouped(i64::try_from(plan.segments.len()).unwrap_or(i64::MAX)),
    ));
    lines.extend(plan.segments.iter().map(|segment| {
        let window = TimeWindow {
            start_time: segment.start_time,
            end_time: segment.end_time,
        };
        format!(
            "  {}  {}  {}",
            words::window(Some(&window)),
            words::plain(&segment.source_id),
            words::plain(&segment.path)
        )
    }));
    lines
}

/// What a clip is, line by line. `url` is where it can be fetched over HTTP, `file` where it was fetched to.
pub fn clip_lines(clip: &Clip, url: &str, file: Option<&Path>) -> Vec<String> {
    let mut lines = vec![row("Clip", &words::plain(&clip.id))];
    lines.extend(file.map(file_row));
    lines.extend([
        row("URL", &words::plain(url)),
        row("Camera", &words::plain(&clip.camera_id)),
        row("Requested", &words::window(clip.requested_window.as_ref())),
        row("Delivered", &words::window(clip.delivered_window.as_ref())),
        row(
            "Plays",
            &clip
                .duration
                .as_ref()
                .map_or_else(|| "-".to_owned(), words::seconds),
        ),
        row(
            "Covered",
            &covered(clip.covered.as_ref(), clip.requested.as_ref()),
        ),
    ]);
    lines.extend(gap_lines(&clip.gaps));
    lines.extend(engine_row(clip.engine_used(), &clip.engine_reason));
    lines.push(size_row(clip.size_bytes));
    if clip.r#virtual {
        let origin = if clip.holds_sources {
            "yes: its bytes come from the recordings, which are held for it"
        } else {
            "yes: its bytes come from the recordings, for as long as those are there"
        };
        lines.push(row("Virtual", origin));
    } else if clip.sha256.is_empty() {
        lines.push(row("SHA-256", "none; `footage materialize` makes it"));
    } else {
        lines.push(row("SHA-256", &words::plain(&clip.sha256)));
    }
    if clip.expire_time.is_some() {
        lines.push(row("Kept until", &words::time(clip.expire_time.as_ref())));
    }
    lines
}

/// What makes a clip and, where that was not a matter of course, why. Older servers do not say.
fn engine_row(engine: ClipEngine, reason: &str) -> Option<String> {
    let made = match engine {
        ClipEngine::Unspecified | ClipEngine::Auto => return None,
        ClipEngine::Native => "copied by the service itself",
        ClipEngine::Ffmpeg => "copied by ffmpeg",
        ClipEngine::Render => "encoded anew by ffmpeg",
    };
    let why = if reason.is_empty() {
        String::new()
    } else {
        format!(": {}", words::plain(reason))
    };
    Some(row("Engine", &format!("{made}{why}")))
}

#[cfg(test)]
mod tests {
    use heldar_footage::proto::{Clip, ClipEngine, Gap, GapReason, TimeWindow};

    use super::clip_lines;

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp {
            seconds: 1_795_341_600 + seconds,
            nanos: 0,
        })
    }

    fn lasting(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    #[test]
    fn a_virtual_clip_has_no_hash_and_says_where_its_bytes_come_from() {
        let last_line = |holds_sources| {
            let clip = Clip {
                r#virtual: true,
                holds_sources,
                ..Clip::default()
            };
            clip_lines(&clip, "", None).pop()
        };
        assert_eq!(
            last_line(false).as_deref(),
            Some(
                "Virtual       yes: its bytes come from the recordings, for as long as those are there"
            )
        );
        assert_eq!(
            last_line(true).as_deref(),
            Some("Virtual       yes: its bytes come from the recordings, which are held for it")
        );
    }

    #[test]
    fn a_clip_says_what_was_delivered_and_what_is_missing() {
        let window = TimeWindow {
            start_time: at(0),
            end_time: at(60),
        };
        let gap = Gap {
            start_time: at(20),
            end_time: at(50),
            reason: GapReason::NotRecorded.into(),
            clip_offset: lasting(20),
            ..Gap::default()
        };
        let clip = Clip {
            id: "clip_1".into(),
            camera_id: "gate_a_01".into(),
            requested_window: Some(window),
            delivered_window: Some(window),
            requested: lasting(60),
            covered: lasting(30),
            duration: lasting(30),
            gaps: vec![gap],
            size_bytes: 1_234_567,
            sha256: "ab".into(),
            engine_used: ClipEngine::Ffmpeg.into(),
            engine_reason: "the sound is Opus".into(),
            ..Clip::default()
        };
        assert_eq!(
            clip_lines(&clip, "http://h:1/media/clips/clip_1.mp4", None),
            [
                "Clip          clip_1",
                "URL           http://h:1/media/clips/clip_1.mp4",
                "Camera        gate_a_01",
                "Requested     2026-11-22T10:00:00Z to 2026-11-22T10:01:00Z",
                "Delivered     2026-11-22T10:00:00Z to 2026-11-22T10:01:00Z",
                "Plays         30.000 s",
                "Covered       30.000 s of 60.000 s",
                "Gaps          1",
                "  2026-11-22T10:00:20Z to 2026-11-22T10:00:50Z (30 s): not recorded; at 20.000 s of the clip",
                "Engine        copied by ffmpeg: the sound is Opus",
                "Size          1.23 MB (1,234,567 bytes)",
                "SHA-256       ab",
            ]
        );
    }
}
