//! When a recorder has finished a file.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::file_name::FileNameKind;

/// How it shows that a recorder has finished a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedRule {
    /// A later file of the same camera exists, or nothing was written for `quiet`.
    LaterFileExists {
        /// How long without a write is proof enough, for the last file of a camera.
        quiet: Duration,
    },
    /// Nothing was written for `quiet`; a later file proves nothing.
    StableFor {
        /// How long without a write is proof enough.
        quiet: Duration,
    },
    /// The duration that the file itself states is no longer 0. A recorder that crashed leaves it
    /// 0 for ever, so nothing written for `quiet` is proof as well.
    DurationInside {
        /// How long without a write is proof enough.
        quiet: Duration,
    },
    /// The duration that the name states is no longer 0, or nothing was written for `quiet`.
    DurationInName {
        /// How long without a write is proof enough.
        quiet: Duration,
    },
    /// The file lost the name it had while it was written.
    NameNotIncomplete,
}

/// What is known about a file when a [`ClosedRule`] judges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenFile<'a> {
    /// The last step of the file's path.
    pub file_name: &'a str,
    /// When the file was last written, by the clock of its file system.
    pub mtime: DateTime<Utc>,
    /// How long the size and `mtime` were seen unchanged, or `None` at first sight. It counts
    /// where the clock of the file system is wrong and `mtime` lies in the future.
    pub unchanged_for: Option<Duration>,
    /// Whether the same camera has a file that starts later.
    pub later_file_exists: bool,
    /// The duration that the file states inside (`mvhd` of ISO/IEC 14496-12, 8.2.2), in
    /// milliseconds, or `None` when it was not read or the container has none.
    pub duration_inside_ms: Option<u64>,
    /// The duration that the name states, in milliseconds, if it states one.
    pub duration_in_name_ms: Option<u64>,
}

/// Whether a file is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The recorder has finished the file.
    Closed,
    /// The recorder may still write to the file.
    StillWritten {
        /// When a new look can give another answer at the earliest. Never zero.
        retry_after: Duration,
    },
}

/// How soon to look again at a file whose recorder renames it when it is complete.
const RENAME_RETRY: Duration = Duration::from_secs(5);

impl ClosedRule {
    /// Whether `file` is finished at `now`.
    pub fn judge(&self, file: &WrittenFile<'_>, now: DateTime<Utc>) -> Closing {
        let (proof, quiet) = match *self {
            Self::LaterFileExists { quiet } => (file.later_file_exists, quiet),
            Self::StableFor { quiet } => (false, quiet),
            Self::DurationInside { quiet } => {
                (file.duration_inside_ms.is_some_and(|d| d > 0), quiet)
            }
            Self::DurationInName { quiet } => {
                (file.duration_in_name_ms.is_some_and(|d| d > 0), quiet)
            }
            Self::NameNotIncomplete => {
                return if FileNameKind::of(file.file_name) == FileNameKind::Unfinished {
                    Closing::StillWritten {
                        retry_after: RENAME_RETRY,
                    }
                } else {
                    Closing::Closed
                };
            }
        };
        if proof {
            return Closing::Closed;
        }
        // A time in the future gives an error here, and counts as a write just now.
        let since_mtime = (now - file.mtime).to_std().unwrap_or_default();
        let quiet_for = since_mtime.max(file.unchanged_for.unwrap_or_default());
        match quiet.checked_sub(quiet_for) {
            None | Some(Duration::ZERO) => Closing::Closed,
            Some(retry_after) => Closing::StillWritten { retry_after },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUIET: Duration = Duration::from_secs(30);

    fn now() -> DateTime<Utc> {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn written(seconds_ago: i64) -> WrittenFile<'static> {
        WrittenFile {
            file_name: "20261122_115900.mp4",
            mtime: now() - chrono::TimeDelta::seconds(seconds_ago),
            unchanged_for: None,
            later_file_exists: false,
            duration_inside_ms: None,
            duration_in_name_ms: None,
        }
    }

    fn still(seconds: u64) -> Closing {
        Closing::StillWritten {
            retry_after: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_later_file_closes_the_one_before_at_once() {
        let rule = ClosedRule::LaterFileExists { quiet: QUIET };
        assert_eq!(rule.judge(&written(1), now()), still(29));
        let earlier = WrittenFile {
            later_file_exists: true,
            ..written(1)
        };
        assert_eq!(rule.judge(&earlier, now()), Closing::Closed);
    }

    #[test]
    fn the_last_file_closes_when_it_was_quiet_long_enough() {
        let rule = ClosedRule::LaterFileExists { quiet: QUIET };
        assert_eq!(rule.judge(&written(29), now()), still(1));
        assert_eq!(rule.judge(&written(30), now()), Closing::Closed);
    }

    #[test]
    fn a_later_file_does_not_close_one_that_must_be_stable() {
        let rule = ClosedRule::StableFor { quiet: QUIET };
        let earlier = WrittenFile {
            later_file_exists: true,
            ..written(10)
        };
        assert_eq!(rule.judge(&earlier, now()), still(20));
        assert_eq!(rule.judge(&written(31), now()), Closing::Closed);
    }

    #[test]
    fn a_duration_inside_closes_a_file_and_a_crash_does_not_hold_it_open_for_ever() {
        let rule = ClosedRule::DurationInside { quiet: QUIET };
        let open = WrittenFile {
            duration_inside_ms: Some(0),
            ..written(1)
        };
        assert_eq!(rule.judge(&open, now()), still(29));
        let closed = WrittenFile {
            duration_inside_ms: Some(10_000),
            ..written(1)
        };
        assert_eq!(rule.judge(&closed, now()), Closing::Closed);
        let crashed = WrittenFile {
            duration_inside_ms: Some(0),
            ..written(600)
        };
        assert_eq!(rule.judge(&crashed, now()), Closing::Closed);
    }

    #[test]
    fn a_duration_in_the_name_closes_a_file() {
        let rule = ClosedRule::DurationInName { quiet: QUIET };
        let open = WrittenFile {
            duration_in_name_ms: Some(0),
            ..written(1)
        };
        assert_eq!(rule.judge(&open, now()), still(29));
        let closed = WrittenFile {
            duration_in_name_ms: Some(769),
            ..written(1)
        };
        assert_eq!(rule.judge(&closed, now()), Closing::Closed);
    }

    #[test]
    fn a_name_that_is_not_final_keeps_a_file_open() {
        let rule = ClosedRule::NameNotIncomplete;
        let open = WrittenFile {
            file_name: "incomplete.1-video.mp4",
            ..written(600)
        };
        assert!(matches!(
            rule.judge(&open, now()),
            Closing::StillWritten { .. }
        ));
        assert_eq!(rule.judge(&written(0), now()), Closing::Closed);
    }

    #[test]
    fn a_clock_that_runs_ahead_does_not_hold_a_file_open_for_ever() {
        let rule = ClosedRule::StableFor { quiet: QUIET };
        let ahead = written(-86_400);
        assert_eq!(rule.judge(&ahead, now()), still(30));
        let watched = WrittenFile {
            unchanged_for: Some(QUIET),
            ..ahead
        };
        assert_eq!(rule.judge(&watched, now()), Closing::Closed);
    }

    proptest! {
        #[test]
        fn looking_again_after_the_stated_wait_finds_the_file_closed(
            ago in 0_i64..40, quiet in 0_u64..40,
        ) {
            let rule = ClosedRule::StableFor { quiet: Duration::from_secs(quiet) };
            let file = written(ago);
            if let Closing::StillWritten { retry_after } = rule.judge(&file, now()) {
                prop_assert!(!retry_after.is_zero());
                prop_assert_eq!(rule.judge(&file, now() + retry_after), Closing::Closed);
            }
        }
    }
}
