//! What a backup run sent, what a verification of a backup found and what a restore brought back, in words.

use heldar_footage::proto::{
    BackupCheck, BackupFault, BackupRun, BackupVerification, RestoreSummary,
};

use super::description::row;
use super::words;

/// Faults that are named; the JSON names up to 1,000.
const NAMED: usize = 20;

/// What a run sent, line by line.
pub fn run_lines(run: &BackupRun) -> Vec<String> {
    let mut lines = vec![row("Destination", &words::plain(&run.destination_id))];
    if !run.policy_id.is_empty() {
        lines.push(row("Policy", &words::plain(&run.policy_id)));
    }
    lines.extend([
        row("Footage", &words::window(run.window.as_ref())),
        row("Selected", &files(run.files_selected)),
        row("Sent", &files_and_bytes(run.files_sent, run.bytes_sent)),
        row("Already there", &files(run.files_present)),
    ]);
    if run.retries > 0 {
        lines.push(row(
            "Repeated",
            &format!(
                "{}; {} went over the wire in all",
                words::count(run.retries, "transfer"),
                words::bytes(run.bytes_moved)
            ),
        ));
    }
    if run.files_removed > 0 {
        lines.push(row(
            "Removed",
            &files_and_bytes(run.files_removed, run.bytes_removed),
        ));
    }
    lines.push(row("Failed", &files(run.files_failed)));
    lines.extend(fault_lines(&run.faults, run.files_failed));
    lines
}

/// What a verification of a destination found, line by line.
pub fn verification_lines(found: &BackupVerification) -> Vec<String> {
    let check = match found.check() {
        BackupCheck::Unspecified => "unknown",
        BackupCheck::Size => "sizes",
        BackupCheck::Hash => "sizes and hashes",
        BackupCheck::ReadBack => "every byte",
    };
    let verdict = if found.intact { "intact" } else { "not intact" };
    let mut lines = vec![
        row("Destination", &words::plain(&found.destination_id)),
        row("Footage", &words::window(found.window.as_ref())),
        row("Verdict", verdict),
        row(
            "Compared",
            &format!(
                "{check} of {}, {} read back",
                words::count(found.objects_checked, "object"),
                words::bytes(found.bytes_read)
            ),
        ),
        row("Missing", &words::count(found.objects_missing, "object")),
        row("Changed", &words::count(found.objects_changed, "object")),
        row(
            "Unreadable",
            &words::count(found.objects_unreadable, "object"),
        ),
    ];
    // Nobody may have looked for them, so that none found would say too much.
    if found.objects_unknown > 0 {
        lines.push(row("Not in ledger", &files(found.objects_unknown)));
    }
    let number = [
        found.objects_missing,
        found.objects_changed,
        found.objects_unreadable,
        found.objects_unknown,
    ];
    lines.extend(fault_lines(&found.faults, number.iter().sum()));
    lines
}

/// What a restore brought back, line by line.
pub fn restore_lines(summary: &RestoreSummary) -> Vec<String> {
    let mut lines = vec![
        row("Destination", &words::plain(&summary.destination_id)),
        row("Footage", &words::window(summary.window.as_ref())),
        row(
            "Folder",
            &format!(
                "{}, in the server's folder for restores",
                words::plain(&summary.folder)
            ),
        ),
        row("Selected", &files(summary.files_selected)),
        row(
            "Restored",
            &files_and_bytes(summary.files_restored, summary.bytes_restored),
        ),
        row("Already there", &files(summary.files_present)),
        row(
            "In catalog",
            &format!(
                "{} entered it again",
                words::count(summary.segments_registered, "segment")
            ),
        ),
        row("Failed", &files(summary.files_failed)),
    ];
    lines.extend(fault_lines(&summary.faults, summary.files_failed));
    lines
}

fn files(number: i64) -> String {
    words::count(number, "file")
}

fn files_and_bytes(number: i64, bytes: i64) -> String {
    format!("{}, {}", files(number), words::bytes(bytes))
}

/// The first faults, and how many more there are. A fault's message names its file.
fn fault_lines(faults: &[BackupFault], number: i64) -> Vec<String> {
    let named = faults.len().min(NAMED);
    let mut lines: Vec<String> = faults[..named]
        .iter()
        .map(|fault| format!("  {}", words::plain(&fault.message)))
        .collect();
    let more = number.saturating_sub(i64::try_from(named).unwrap_or(i64::MAX));
    if more > 0 {
        lines.push(format!(
            "  and {} more; --json names up to 1,000",
            words::grouped(more)
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use heldar_footage::proto::{
        BackupCheck, BackupFault, BackupRun, BackupVerification, RestoreSummary, TimeWindow,
    };

    use super::{restore_lines, run_lines, verification_lines};

    fn window() -> Option<TimeWindow> {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        Some(TimeWindow {
            start_time: at(1_795_341_600),
            end_time: at(1_795_341_660),
        })
    }

    fn faults(number: usize) -> Vec<BackupFault> {
        let fault = |at| BackupFault {
            message: format!("gate/{at}\u{1b}.mp4: it is not there"),
            ..BackupFault::default()
        };
        (0..number).map(fault).collect()
    }

    #[test]
    fn a_run_says_what_was_sent_and_what_was_not() {
        let run = BackupRun {
            destination_id: "bkd_1".into(),
            policy_id: "bkp_1".into(),
            window: window(),
            files_selected: 1300,
            files_present: 50,
            files_sent: 1249,
            files_failed: 1,
            bytes_sent: 52_123_456,
            bytes_moved: 60_000_000,
            retries: 2,
            files_removed: 3,
            bytes_removed: 1000,
            faults: faults(1),
            ..BackupRun::default()
        };
        assert_eq!(
            run_lines(&run),
            [
                "Destination   bkd_1",
                "Policy        bkp_1",
                "Footage       2026-11-22T10:00:00Z to 2026-11-22T10:01:00Z",
                "Selected      1,300 files",
                "Sent          1,249 files, 52.1 MB",
                "Already there 50 files",
                "Repeated      2 transfers; 60.0 MB went over the wire in all",
                "Removed       3 files, 1.00 kB",
                "Failed        1 file",
                "  gate/0\\u{1b}.mp4: it is not there",
            ]
        );
    }

    #[test]
    fn a_verification_says_how_much_is_wrong_and_names_the_first_of_it() {
        let found = BackupVerification {
            destination_id: "bkd_1".into(),
            window: window(),
            check: BackupCheck::Hash.into(),
            objects_checked: 6000,
            bytes_read: 1000,
            objects_missing: 1500,
            objects_changed: 1,
            objects_unreadable: 2,
            objects_unknown: 3,
            faults: faults(1000),
            ..BackupVerification::default()
        };
        let lines = verification_lines(&found);
        assert_eq!(
            lines[2..8],
            [
                "Verdict       not intact",
                "Compared      sizes and hashes of 6,000 objects, 1.00 kB read back",
                "Missing       1,500 objects",
                "Changed       1 object",
                "Unreadable    2 objects",
                "Not in ledger 3 files",
            ]
        );
        assert_eq!(lines.len(), 8 + 20 + 1);
        assert_eq!(lines[28], "  and 1,486 more; --json names up to 1,000");
    }

    #[test]
    fn an_intact_backup_names_nothing() {
        let found = BackupVerification {
            intact: true,
            ..BackupVerification::default()
        };
        let lines = verification_lines(&found);
        assert_eq!(lines[2], "Verdict       intact");
        assert_eq!(lines.last().unwrap(), "Unreadable    0 objects");
    }

    #[test]
    fn a_restore_says_what_came_back_and_what_did_not() {
        let summary = RestoreSummary {
            destination_id: "bkd_1".into(),
            window: window(),
            folder: "case-17".into(),
            files_selected: 8,
            files_restored: 5,
            files_present: 1,
            files_failed: 2,
            bytes_restored: 999,
            segments_registered: 6,
            faults: faults(2),
        };
        assert_eq!(
            restore_lines(&summary)[2..],
            [
                "Folder        case-17, in the server's folder for restores",
                "Selected      8 files",
                "Restored      5 files, 999 B",
                "Already there 1 file",
                "In catalog    6 segments entered it again",
                "Failed        2 files",
                "  gate/0\\u{1b}.mp4: it is not there",
                "  gate/1\\u{1b}.mp4: it is not there",
            ]
        );
    }
}
