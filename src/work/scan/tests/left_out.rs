//! What a walk leaves out, and why.

use std::os::unix::ffi::OsStrExt;

use super::*;

#[test]
fn every_file_that_is_left_out_has_its_reason() {
    let folder = folder_of(&[
        "cam/20261122_103000.mp4",
        "cam/20261122_103100.mp4.part",
        "cam/incomplete.20261122_103100.mp4",
        "cam/.20261122_103200.mp4",
        "cam/1795343400.m4s",
        "cam/thumb.jpg",
        "cam/holiday.mp4",
        "cam/20261322_103000.mp4",
        "cam/line\nbreak.mp4",
        ".trash/20261122_103000.mp4",
        "deep/er/20261122_103000.mp4",
    ]);
    let (seen, summary) = walk(&source(folder.path(), "heldar"));
    assert_eq!(seen.paths(), ["cam/20261122_103000.mp4"]);
    for (path, reason) in [
        (
            "cam/20261122_103100.mp4.part",
            "the name is that of an unfinished file",
        ),
        (
            "cam/incomplete.20261122_103100.mp4",
            "the name is that of an unfinished file",
        ),
        (
            "cam/.20261122_103200.mp4",
            "the name is that of a hidden file or folder",
        ),
        (
            "cam/1795343400.m4s",
            "a fragment that needs its init segment cannot be played alone",
        ),
        ("cam/thumb.jpg", "the name is not that of a video"),
        (
            "cam/holiday.mp4",
            "the path does not fit the template {camera}/%Y%m%d_%H%M%S.mp4",
        ),
        (
            "cam/20261322_103000.mp4",
            "the path states no possible time",
        ),
        ("cam/line\nbreak.mp4", "the path holds a control character"),
        (".trash", "the name is that of a hidden file or folder"),
        (
            "deep/er/20261122_103000.mp4",
            "the path does not fit the template {camera}/%Y%m%d_%H%M%S.mp4",
        ),
    ] {
        assert_eq!(seen.reason(path), reason);
    }
    assert_eq!((summary.left_out, summary.not_video), (10, 1));
}

#[test]
fn many_files_that_are_no_videos_are_counted_and_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..50 {
        write(folder.path(), &format!("cam/{number}.jpg"));
    }
    let (seen, summary) = walk(&source(folder.path(), "heldar"));
    assert_eq!(seen.left_out.len() as u64, NOT_VIDEO_LISTED);
    assert_eq!((summary.left_out, summary.not_video), (50, 50));
}

#[test]
fn a_name_that_is_no_text_is_left_out() {
    let folder = folder_of(&[]);
    let name = std::ffi::OsStr::from_bytes(b"\xff20261122_103000.mp4");
    std::fs::write(folder.path().join(name), "footage").unwrap();
    let (seen, _) = walk(&source(folder.path(), "heldar"));
    assert_eq!(
        seen.reason("\u{fffd}20261122_103000.mp4"),
        "the path is not UTF-8"
    );
}

#[test]
fn links_are_not_followed_and_it_is_said_where_they_lead() {
    let folder = folder_of(&["rec/cam/20261122_103000.mp4", "else/20261122_103100.mp4"]);
    let root = folder.path().join("rec");
    symlink(
        "../../else/20261122_103100.mp4",
        root.join("cam/20261122_103100.mp4"),
    )
    .unwrap();
    symlink("20261122_103000.mp4", root.join("cam/20261122_103200.mp4")).unwrap();
    symlink("nowhere.mp4", root.join("cam/20261122_103300.mp4")).unwrap();
    symlink("../else", root.join("out")).unwrap();
    symlink("..", root.join("cam/up")).unwrap();
    let (seen, _) = walk(&source(&root, "heldar"));
    assert_eq!(seen.paths(), ["cam/20261122_103000.mp4"]);
    let leads = |path| {
        seen.left_out
            .iter()
            .find(|l| l.relative_path == path)
            .map(|l| &l.reason)
    };
    for path in ["cam/20261122_103100.mp4", "cam/20261122_103300.mp4", "out"] {
        assert!(
            matches!(leads(path), Some(LeftOutReason::LinkOutOfRoot)),
            "{path}"
        );
    }
    for path in ["cam/20261122_103200.mp4", "cam/up"] {
        assert!(
            matches!(leads(path), Some(LeftOutReason::LinkWithinRoot)),
            "{path}"
        );
    }
}
