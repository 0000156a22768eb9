//! What a clip is made from whose bytes are made when they are wanted, or may have to be made again: enough to make the very
//! same plan, and to notice that it would be another one.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::clip::GapMode;
use super::coverage::GapReason;
use super::stored::{duration_us, optional_time_us, range_us, time_us};
use super::time::TimeRange;

/// How the bytes of a clip are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipRecipe {
    /// The window that was asked for.
    #[serde(with = "range_us")]
    pub window: TimeRange,
    /// What the clip is called inside its file.
    pub title: String,
    /// What becomes of gaps.
    pub gap_mode: GapMode,
    /// The recordings that were planned with, in order of start.
    pub sources: Vec<RecipeSource>,
}

/// A recording that a clip was planned with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeSource {
    /// Its id in the catalog.
    pub segment_id: String,
    /// The folder that it is in.
    pub source_id: String,
    /// Where in that folder.
    pub path: String,
    /// Wall-clock time of its first frame.
    #[serde(with = "time_us")]
    pub start: DateTime<Utc>,
    /// The true start lies in `[start, start + start_accuracy)`.
    #[serde(with = "duration_us")]
    pub start_accuracy: TimeDelta,
    /// Where the catalog says that it ends.
    #[serde(with = "optional_time_us")]
    pub expected_end: Option<DateTime<Utc>>,
    /// What was found at that path.
    pub found: Found,
}

/// What was found where a recording should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// A file that could be used.
    File {
        /// Which version of the file.
        version: FileVersion,
        /// Whether bytes of it are in the clip. Of the others only the times mattered, if at all.
        is_read: bool,
    },
    /// Nothing, or nothing that could be used.
    Unusable(GapReason),
}

/// Tells whether a file is still the same: a recorder that writes to a file again changes when it was last written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileVersion {
    /// Size of the file.
    pub size_bytes: u64,
    /// When it was last written: seconds since the epoch.
    pub modified_s: i64,
    /// The nanoseconds of that second.
    pub modified_ns: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_reads_back_as_it_was_written() {
        let at = |ms| DateTime::from_timestamp_millis(ms).expect("in range");
        let source = |found| RecipeSource {
            segment_id: "seg_1".to_owned(),
            source_id: "recordings".to_owned(),
            path: "gate/1.mp4".to_owned(),
            start: at(1_000),
            start_accuracy: TimeDelta::seconds(1),
            expected_end: Some(at(11_000)),
            found,
        };
        let recipe = ClipRecipe {
            window: TimeRange::new(at(0), at(20_000)).expect("a range"),
            title: "gate".to_owned(),
            gap_mode: GapMode::Close,
            sources: vec![
                source(Found::File {
                    version: FileVersion {
                        size_bytes: 5,
                        modified_s: -7,
                        modified_ns: 999_999_999,
                    },
                    is_read: true,
                }),
                source(Found::Unusable(GapReason::FileDamaged)),
            ],
        };
        let text = serde_json::to_string(&recipe).expect("written");
        assert_eq!(
            serde_json::from_str::<ClipRecipe>(&text).expect("read"),
            recipe
        );
    }
}
