//! What an archive holds, or would hold, what is missing in it, and how to check it, in words.

use std::path::Path;

use heldar_footage::proto::{
    Archive, ArchiveCamera, ArchiveFault, ArchiveLayout, ArchivePlan, ArchivePlanSource,
    ArchiveSignature, ArchiveSpec, ArchiveVerdict, ArchiveVerification,
};

use super::description::{file_row, gap_line, row, size_row};
use super::words;

/// Items of one kind that are named; the zip's manifest has all.
const NAMED: usize = 20;

/// What an archive is, line by line. `url` is where it can be fetched over HTTP; without it, the server has not kept
/// it. `file` is where it was fetched to.
pub fn archive_lines(archive: &Archive, url: Option<&str>, file: Option<&Path>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(url) = url {
        lines.push(row("Archive", &words::plain(&archive.id)));
        lines.push(row("URL", &words::plain(url)));
    }
    lines.extend(file.map(file_row));
    let spec = archive.spec.clone().unwrap_or_default();
    lines.extend(spec_lines(&spec));
    lines.push(row(
        "Delivered",
        &words::window(archive.delivered_window.as_ref()),
    ));
    lines.extend(camera_lines(&archive.cameras));
    lines.extend(fault_lines(&archive.faults, archive.fault_count));
    lines.push(row("Entries", &words::grouped(archive.entry_count)));
    lines.push(size_row(archive.size_bytes));
    lines.push(row("SHA-256", &words::plain(&archive.sha256)));
    lines.push(row(
        "Signed by",
        &words::plain(&archive.signing_key_fingerprint),
    ));
    if archive.expire_time.is_some() {
        lines.push(row(
            "Kept until",
            &words::time(archive.expire_time.as_ref()),
        ));
    }
    let name = file.map_or_else(
        || archive.file_name.clone(),
        |file| file.to_string_lossy().into_owned(),
    );
    lines.extend(verify_lines(&name));
    lines
}

/// How anybody can check the zip, with this program or with what is on most machines.
fn verify_lines(file: &str) -> Vec<String> {
    // What came over standard output, or was not fetched, has a name that only its owner knows.
    let file = if file.is_empty() { "FILE" } else { file };
    vec![
        row("Verify", &format!("footage verify {}", shell_word(file))),
        "  or, unzipped:".to_owned(),
        "    sha256sum -c SHA256SUMS".to_owned(),
        "    ssh-keygen -Y verify -f allowed_signers -I heldar-footage -n heldar-footage-archive \
         -s SHA256SUMS.sig < SHA256SUMS"
            .to_owned(),
    ]
}

/// A name as a shell takes it, so that the line can be copied.
fn shell_word(name: &str) -> String {
    let mut name = words::plain(name);
    if name.starts_with('-') {
        name.insert_str(0, "./");
    }
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@,".contains(c);
    if name.chars().all(is_plain) {
        name
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}

/// What an archive would be, line by line.
pub fn archive_plan_lines(plan: &ArchivePlan) -> Vec<String> {
    let spec = plan.spec.clone().unwrap_or_default();
    let mut lines = spec_lines(&spec);
    lines.push(row(
        "Would deliver",
        &words::window(plan.delivered_window.as_ref()),
    ));
    lines.extend(camera_lines(&plan.cameras));
    lines.extend(fault_lines(&plan.faults, plan.fault_count));
    lines.push(row("Entries", &words::grouped(plan.entry_count)));
    if plan.size_exact {
        lines.push(size_row(plan.size_bytes));
    } else {
        lines.push(row("Size, about", &words::bytes(plan.size_bytes)));
    }
    lines.push(row(
        "Sources",
        &format!(
            "{}, {}",
            words::count(plan.source_count, "segment"),
            words::bytes(plan.source_bytes)
        ),
    ));
    lines.extend(some_of(&plan.sources, plan.source_count, 2, source_line));
    lines
}

fn source_line(source: &ArchivePlanSource) -> String {
    format!(
        "  {}  {}  {}",
        words::window(source.window.as_ref()),
        words::plain(&source.entry_name),
        words::bytes(source.size_bytes)
    )
}

/// What was asked for, and on whose behalf.
fn spec_lines(spec: &ArchiveSpec) -> Vec<String> {
    let bound = |time: &Option<prost_types::Timestamp>, open: &str| match time {
        Some(_) => words::time(time.as_ref()),
        None => open.to_owned(),
    };
    let window = format!(
        "{} to {}",
        bound(&spec.start_time, "the oldest footage"),
        bound(&spec.end_time, "the newest footage")
    );
    let mut content = match spec.layout() {
        ArchiveLayout::Unspecified | ArchiveLayout::Segments => "recorded files".to_owned(),
        ArchiveLayout::Clips => "one clip per camera".to_owned(),
        ArchiveLayout::SegmentsAndClips => "recorded files, and one clip per camera".to_owned(),
    };
    if spec.evidence_only {
        content.push_str(", held as evidence only");
    }
    if spec.trim {
        content.push_str(match spec.layout() {
            ArchiveLayout::SegmentsAndClips => ", clips cut to the window",
            _ => ", cut to the window",
        });
    }
    let mut lines = vec![row("Requested", &window), row("Content", &content)];
    for (name, value) in [
        ("Case", &spec.case_id),
        ("Operator", &spec.operator),
        ("Reason", &spec.reason),
    ] {
        if !value.is_empty() {
            lines.push(row(name, &words::plain(value)));
        }
    }
    lines
}

fn camera_lines(cameras: &[ArchiveCamera]) -> Vec<String> {
    let number = i64::try_from(cameras.len()).unwrap_or(i64::MAX);
    let mut lines = vec![row("Cameras", &words::grouped(number))];
    for camera in cameras {
        let id = words::plain(&camera.camera_id);
        lines.push(match &camera.delivered_window {
            Some(window) => format!(
                "  {id}: {}, {}, {} of footage, {}",
                words::window(Some(window)),
                words::count(camera.segment_count, "segment"),
                camera
                    .covered
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), words::seconds),
                gap_count(camera.gap_count)
            ),
            None => format!("  {id}: no footage"),
        });
        lines.extend(some_of(&camera.gaps, camera.gap_count, 4, |gap| {
            format!("  {}", gap_line(gap))
        }));
    }
    lines
}

fn gap_count(number: i64) -> String {
    match number {
        0 => "no gaps".to_owned(),
        number => words::count(number, "gap"),
    }
}

fn fault_lines(faults: &[ArchiveFault], number: i64) -> Vec<String> {
    let summary = match number {
        0 => "none".to_owned(),
        1 => "1 recording is missing or damaged".to_owned(),
        number => format!(
            "{} recordings are missing or damaged",
            words::grouped(number)
        ),
    };
    let mut lines = vec![row("Faults", &summary)];
    lines.extend(some_of(faults, number, 2, |fault| {
        let entry = words::plain(&fault.entry_name);
        format!("  {entry}: {}", words::plain(&fault.message))
    }));
    lines
}

/// The first items, and how many more there are.
fn some_of<T>(items: &[T], number: i64, indent: usize, line: impl Fn(&T) -> String) -> Vec<String> {
    let named = items.len().min(NAMED);
    let mut lines: Vec<String> = items[..named].iter().map(line).collect();
    let more = number.saturating_sub(i64::try_from(named).unwrap_or(i64::MAX));
    if more > 0 {
        lines.push(format!(
            "{:indent$}and {} more; --json names up to 1,000, the manifest all",
            "",
            words::grouped(more)
        ));
    }
    lines
}

/// What a verification found, line by line.
pub fn verification_lines(found: &ArchiveVerification) -> Vec<String> {
    let verdict = match found.verdict() {
        ArchiveVerdict::Unspecified => "unknown",
        ArchiveVerdict::Intact => "intact",
        ArchiveVerdict::Damaged => "damaged",
    };
    let signature = match found.signature() {
        ArchiveSignature::Unspecified => "unknown",
        ArchiveSignature::Valid => "valid",
        ArchiveSignature::Invalid => "does not fit SHA256SUMS",
        ArchiveSignature::Missing => "missing",
        ArchiveSignature::UnknownKey => "fits, by a key that the server does not know",
    };
    let mut lines = vec![
        row("Archive", &words::plain(&found.archive_id)),
        row("Verdict", verdict),
        row("Signature", signature),
    ];
    if !found.signing_key_fingerprint.is_empty() {
        lines.push(row(
            "Signed by",
            &words::plain(&found.signing_key_fingerprint),
        ));
    }
    lines.push(row(
        "Compared",
        &format!(
            "{} entries, {}",
            words::grouped(found.entries_checked),
            words::bytes(found.bytes_checked)
        ),
    ));
    lines.push(row("Defects", &words::grouped(found.defect_count)));
    let defects = found.defects.iter();
    lines.extend(defects.map(|defect| defect_line(&defect.entry_name, &defect.message)));
    lines
}

/// What is wrong with an entry; what concerns the zip itself has no name.
pub fn defect_line(entry_name: &str, message: &str) -> String {
    let message = words::plain(message);
    match entry_name {
        "" => format!("  {message}"),
        name => format!("  {}: {message}", words::plain(name)),
    }
}

#[cfg(test)]
#[path = "archive_report_tests.rs"]
mod tests;
