//! What an import did, in words.

use std::collections::BTreeMap;

use heldar_footage::proto::{ImportSummary, LeftOutFile};

use super::description::row;
use super::words;

/// Files named for each reason unless all are asked for.
const NAMED_PER_REASON: usize = 3;

/// The summary line by line. Files left out are grouped by reason; `all` names each of them.
pub fn summary_lines(summary: &ImportSummary, all: bool) -> Vec<String> {
    let mut lines = vec![
        row("Source", &words::plain(&summary.source_id)),
        row("Files", &words::grouped(summary.files_seen)),
        row("Added", &words::count(summary.segments_added, "segment")),
        row(
            "Updated",
            &words::count(summary.segments_updated, "segment"),
        ),
        row(
            "Unchanged",
            &words::count(summary.segments_unchanged, "segment"),
        ),
        row("Missing", &missing(summary.segments_missing)),
        row("Left out", &words::count(summary.files_left_out, "file")),
    ];
    for (reason, files) in by_reason(&summary.left_out) {
        lines.push(format!(
            "  {reason}: {}",
            words::count(i64::try_from(files.len()).unwrap_or(i64::MAX), "file")
        ));
        let named = if all {
            files.len()
        } else {
            files.len().min(NAMED_PER_REASON)
        };
        lines.extend(files[..named].iter().map(|path| format!("    {path}")));
        if named < files.len() {
            lines.push(format!(
                "    and {} more",
                words::grouped(i64::try_from(files.len() - named).unwrap_or(i64::MAX))
            ));
        }
    }
    let told = i64::try_from(summary.left_out.len()).unwrap_or(i64::MAX);
    if told < summary.files_left_out {
        let more = words::grouped(summary.files_left_out - told);
        lines.push(format!(
            "  {more} more were left out; the import keeps the reasons of the first {}",
            words::grouped(told)
        ));
    } else if !all && summary.left_out.len() > NAMED_PER_REASON {
        lines.push("  `footage import --left-out` names each of them".to_owned());
    }
    lines
}

fn missing(segments: i64) -> String {
    let count = words::count(segments, "segment");
    if segments == 0 {
        count
    } else {
        format!("{count}, whose files have vanished")
    }
}

/// The reasons, the most frequent first.
fn by_reason(left_out: &[LeftOutFile]) -> Vec<(String, Vec<String>)> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in left_out {
        groups
            .entry(words::plain(&file.reason))
            .or_default()
            .push(words::plain(&file.path));
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, files)| std::cmp::Reverse(files.len()));
    groups
}

#[cfg(test)]
mod tests {
    use heldar_footage::proto::{ImportSummary, LeftOutFile};

    use super::summary_lines;

    fn summary() -> ImportSummary {
        let left_out = |path: &str, reason: &str| LeftOutFile {
            path: path.into(),
            reason: reason.into(),
        };
        ImportSummary {
            source_id: "recordings".into(),
            files_seen: 1205,
            segments_added: 1200,
            files_left_out: 5,
            left_out: vec![
                left_out("a", "still being written"),
                left_out("b", "empty"),
                left_out("c", "empty"),
                left_out("d", "empty"),
                left_out("e\u{1b}", "empty"),
            ],
            ..ImportSummary::default()
        }
    }

    #[test]
    fn files_left_out_are_grouped_by_reason_and_the_first_are_named() {
        let lines = summary_lines(&summary(), false);
        assert_eq!(
            lines[6..],
            [
                "Left out      5 files",
                "  empty: 4 files",
                "    b",
                "    c",
                "    d",
                "    and 1 more",
                "  still being written: 1 file",
                "    a",
                "  `footage import --left-out` names each of them",
            ]
        );
    }

    #[test]
    fn all_files_left_out_are_named_when_asked_for() {
        let lines = summary_lines(&summary(), true);
        assert!(lines.contains(&"    e\\u{1b}".to_owned()));
        assert!(!lines.iter().any(|line| line.contains("more")));
    }

    #[test]
    fn reasons_that_were_not_kept_are_counted() {
        let lines = summary_lines(
            &ImportSummary {
                files_left_out: 2000,
                ..summary()
            },
            true,
        );
        assert!(
            lines
                .last()
                .unwrap()
                .starts_with("  1,995 more were left out")
        );
    }
}
