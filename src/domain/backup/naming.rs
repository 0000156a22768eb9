//! Paths of files at a destination: by camera and day, the name as it was recorded, and never two alike.

use chrono::{DateTime, Utc};

use crate::domain::camera::CameraId;
use crate::domain::entry_name::{folder, is_plain, plain, split};
use crate::domain::layout::check_relative_path;

/// Folder at a destination that holds what the service needs for itself.
pub const OWN_FOLDER: &str = ".heldar-footage";

/// The paths that a recorded file may have at a destination, best first, without an end: the name as it was recorded,
/// with the time at which its footage starts, with that time and a number.
pub fn paths(
    camera_id: &CameraId,
    start: DateTime<Utc>,
    file_name: &str,
) -> impl Iterator<Item = String> {
    let folder = format!("{}/{}", folder(camera_id), start.format("%Y-%m-%d"));
    let name = plain(file_name);
    let time = start.format("%Y%m%dT%H%M%SZ").to_string();
    (0..).map(move |attempt: u64| {
        let (stem, extension) = split(&name);
        match attempt {
            0 => format!("{folder}/{name}"),
            1 => format!("{folder}/{stem}_{time}{extension}"),
            number => format!("{folder}/{stem}_{time}_{number}{extension}"),
        }
    })
}

/// Whether a path from a ledger that somebody else may have written names a file that can be restored: beneath its
/// folder, as every file system can have it, and none of the service's own.
pub fn is_safe(path: &str) -> bool {
    check_relative_path(path).is_ok()
        && path.split('/').count() >= 2
        && path.split('/').all(is_plain)
        && !path.starts_with(OWN_FOLDER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_341_600, 0).expect("in range")
    }

    fn first(camera: &str, name: &str, count: usize) -> Vec<String> {
        let camera = CameraId::parse(camera).expect("a slug");
        paths(&camera, start(), name).take(count).collect()
    }

    #[test]
    fn a_file_lies_under_its_camera_and_day_with_its_own_name() {
        assert_eq!(
            first("gate_a_01", "20261122_100000.mp4", 1),
            ["gate_a_01/2026-11-22/20261122_100000.mp4"]
        );
    }

    #[test]
    fn a_name_that_is_taken_gets_the_time_and_then_a_number() {
        assert_eq!(
            first("gate", "00.10.mp4", 3)[1..],
            [
                "gate/2026-11-22/00.10_20261122T100000Z.mp4",
                "gate/2026-11-22/00.10_20261122T100000Z_2.mp4"
            ]
        );
    }

    #[test]
    fn paths_that_leave_their_folder_or_mislead_are_not_safe() {
        for path in [
            "../x/a.mp4",
            "/etc/passwd",
            "a//b",
            "a/./b",
            "name-only",
            "a/b\n",
            "cam/con.mp4",
            "cam/a:b",
            ".heldar-footage/ledger/x",
            "cam/\u{202e}gpj.mp4",
            "a\\b/c",
        ] {
            assert!(!is_safe(path), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn every_path_that_is_made_is_safe_and_no_two_are_equal(name in "\\PC{0,140}") {
            let made = first("con", &name, 4);
            for (at, path) in made.iter().enumerate() {
                prop_assert!(is_safe(path), "{path:?}");
                prop_assert!(!made[..at].contains(path));
            }
        }
    }
}
