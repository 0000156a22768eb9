//! Descriptions on standard output: one row a fact, and the facts that clips, archives and timelines share.

use std::io::Write as _;
use std::path::Path;

use heldar_footage::proto::{Gap, GapReason, TimeWindow};

use super::failure::CliError;
use super::{settings, words};

/// A row of a description: a name and its value.
pub fn row(name: &str, value: &str) -> String {
    format!("{name:<14}{value}")
}

/// Where a fetched file is.
pub fn file_row(path: &Path) -> String {
    let path = settings::absolute(path);
    row("File", &words::plain(&path.to_string_lossy()))
}

/// The size of a file, roughly and to the byte.
pub fn size_row(size_bytes: i64) -> String {
    let exactly = words::grouped(size_bytes);
    row(
        "Size",
        &format!("{} ({exactly} bytes)", words::bytes(size_bytes)),
    )
}

/// Prints a description.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(lines: &[String]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    lines
        .iter()
        .try_for_each(|line| writeln!(out, "{line}"))
        .map_err(CliError::output)
}

/// How much of what was asked for is there.
pub fn covered(
    covered: Option<&prost_types::Duration>,
    requested: Option<&prost_types::Duration>,
) -> String {
    match (covered, requested) {
        (Some(covered), Some(requested)) if covered == requested => {
            format!("{}, all of it", words::seconds(requested))
        }
        (Some(covered), Some(requested)) => format!(
            "{} of {}",
            words::seconds(covered),
            words::seconds(requested)
        ),
        _ => "-".to_owned(),
    }
}

/// The number of gaps, and each of them.
pub fn gap_lines(gaps: &[Gap]) -> Vec<String> {
    if gaps.is_empty() {
        return vec![row("Gaps", "none")];
    }
    let mut lines = vec![row("Gaps", &gaps.len().to_string())];
    lines.extend(gaps.iter().map(gap_line));
    lines
}

/// A gap: `  2026-…Z to 2026-…Z (30 s): not recorded; at 20.000 s of the clip`.
pub fn gap_line(gap: &Gap) -> String {
    let window = TimeWindow {
        start_time: gap.start_time,
        end_time: gap.end_time,
    };
    let moment = |time: &Option<prost_types::Timestamp>| time.as_ref().and_then(words::moment);
    let length = match (moment(&gap.start_time), moment(&gap.end_time)) {
        (Some(start), Some(end)) => {
            format!(" ({})", short_length((end - start).num_milliseconds()))
        }
        _ => String::new(),
    };
    let place = gap
        .clip_offset
        .as_ref()
        .map(|offset| format!("; at {} of the clip", words::seconds(offset)));
    format!(
        "  {}{length}: {}{}",
        words::window(Some(&window)),
        gap_reason(gap.reason()),
        place.unwrap_or_default()
    )
}

/// Rounding would make a short gap vanish.
fn short_length(milliseconds: i64) -> String {
    if milliseconds < 10_000 {
        format!("{milliseconds} ms")
    } else {
        words::roughly(milliseconds)
    }
}

fn gap_reason(reason: GapReason) -> &'static str {
    match reason {
        GapReason::Unspecified => "no reason given",
        GapReason::NotRecorded => "not recorded",
        GapReason::FileMissing => "the file is missing",
        GapReason::FileDamaged => "the file is damaged",
        GapReason::CodecChange => "another codec or picture size; ask for this stretch alone",
        GapReason::NoKeyFrame => "no key frame to begin with",
    }
}
