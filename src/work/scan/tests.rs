//! Walks of real folders, laid out as recorders lay them out and as attackers would.

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::domain::layout::NamedLayout;

mod left_out;

/// Keeps what a walk shows; cancels or breaks after a number of candidates when told so.
#[derive(Default)]
struct Seen {
    candidates: Vec<Candidate>,
    left_out: Vec<LeftOut>,
    time_inside: Option<DateTime<Utc>>,
    asked_inside: Vec<String>,
    break_after: Option<usize>,
    cancel_after: Option<(usize, CancellationToken)>,
}

impl ScanVisitor for Seen {
    fn candidate(&mut self, candidate: Candidate) -> ControlFlow<()> {
        self.candidates.push(candidate);
        if let Some((count, cancel)) = &self.cancel_after
            && self.candidates.len() == *count
        {
            cancel.cancel();
        }
        if self.break_after == Some(self.candidates.len()) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn left_out(&mut self, left_out: LeftOut) -> ControlFlow<()> {
        self.left_out.push(left_out);
        ControlFlow::Continue(())
    }

    fn time_inside(&mut self, relative_path: &str) -> Option<DateTime<Utc>> {
        self.asked_inside.push(relative_path.to_owned());
        self.time_inside
    }
}

impl Seen {
    fn paths(&self) -> Vec<&str> {
        self.candidates
            .iter()
            .map(|c| c.relative_path.as_str())
            .collect()
    }

    /// Why `path` was left out, in words.
    fn reason(&self, path: &str) -> String {
        let found = self.left_out.iter().find(|l| l.relative_path == path);
        found
            .unwrap_or_else(|| panic!("{path} is not left out: {:?}", self.left_out))
            .reason
            .to_string()
    }
}

fn source(root: &Path, layout: &str) -> Source {
    let layout = NamedLayout::named(layout).unwrap();
    Source {
        root: root.to_owned(),
        template: layout.template(),
        zone: layout.zone(),
        camera: None,
    }
}

fn write(root: &Path, relative: &str) {
    let path = root.join(relative);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "footage").unwrap();
}

fn folder_of(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|file| write(folder.path(), file));
    folder
}

fn walk(source: &Source) -> (Seen, ScanSummary) {
    let mut seen = Seen::default();
    let summary = scan(source, ScanScope::All, &CancellationToken::new(), &mut seen).unwrap();
    (seen, summary)
}

#[test]
fn each_file_of_a_recorder_is_a_candidate_with_its_camera_time_and_size() {
    let folder = folder_of(&["gate/20261122_103000.mp4"]);
    let (seen, summary) = walk(&source(folder.path(), "heldar"));
    let [candidate] = seen.candidates.as_slice() else {
        panic!("{:?}", seen.candidates)
    };
    assert_eq!(candidate.relative_path, "gate/20261122_103000.mp4");
    assert_eq!(candidate.camera.as_str(), "gate");
    assert_eq!(
        candidate.start_time,
        "2026-11-22T10:30:00Z".parse::<DateTime<Utc>>().unwrap()
    );
    assert_eq!(
        (candidate.accuracy_us, candidate.size_bytes),
        (1_000_000, 7)
    );
    let mtime = std::fs::metadata(folder.path().join(&candidate.relative_path))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(candidate.mtime, DateTime::<Utc>::from(mtime));
    assert_eq!(
        (
            summary.candidates,
            summary.candidate_bytes,
            summary.left_out
        ),
        (1, 7, 0)
    );
}

#[test]
fn only_the_newest_file_of_each_camera_has_no_later_one() {
    let folder = folder_of(&[
        "2026-11-22/09/north/59.50.mp4",
        "2026-11-22/09/south/59.50.mp4",
        "2026-11-22/10/north/00.00.mp4",
        "2026-11-22/10/north/00.10.mp4",
    ]);
    let (seen, _) = walk(&source(folder.path(), "frigate"));
    let last: Vec<_> = seen
        .candidates
        .iter()
        .filter(|c| !c.later_file_exists)
        .map(|c| &c.relative_path)
        .collect();
    assert_eq!(
        last,
        [
            "2026-11-22/10/north/00.10.mp4",
            "2026-11-22/09/south/59.50.mp4"
        ]
    );
    assert_eq!(seen.candidates.len(), 4);
}

#[test]
fn a_later_file_is_seen_also_when_the_walk_meets_it_first() {
    let folder = folder_of(&[
        "cam/recording_20261122_000000.mp4",
        "cam/2026/11/21/recording_20261121_000000.mp4",
    ]);
    let source = Source {
        zone: Some(SourceZone::Utc),
        ..source(folder.path(), "lightnvr")
    };
    let (seen, _) = walk(&source);
    let later: Vec<_> = seen
        .candidates
        .iter()
        .map(|c| (c.start_time.format("%d").to_string(), c.later_file_exists))
        .collect();
    assert_eq!(later, [("21".to_owned(), true), ("22".to_owned(), false)]);
}

#[test]
fn candidates_of_a_camera_come_in_the_order_of_time_and_not_of_names() {
    let folder = folder_of(&[
        "b-10.2026-11-22_12-00.mp4",
        "b-20.2026-11-22_10-00.mp4",
        "b-30.2026-11-22_11-00.mp4",
        "a-40.2026-11-22_10-00.mp4",
    ]);
    let source = Source {
        root: folder.path().to_owned(),
        template: PathTemplate::parse("{camera}-{any}.%Y-%m-%d_%H-%M.mp4").unwrap(),
        zone: Some(SourceZone::Utc),
        camera: None,
    };
    let (seen, _) = walk(&source);
    let of_b: Vec<_> = seen
        .paths()
        .into_iter()
        .filter(|path| path.starts_with('b'))
        .map(|path| &path[2..4])
        .collect();
    assert_eq!(of_b, ["20", "30", "10"]);
}

#[test]
fn one_folder_can_be_walked_without_those_beneath_it() {
    let folder = folder_of(&[
        "cam/recording_20261122_000000.mp4",
        "cam/2026/recording_20261121_000000.mp4",
    ]);
    let source = Source {
        zone: Some(SourceZone::Utc),
        ..source(folder.path(), "lightnvr")
    };
    let files = BTreeSet::from([
        PathBuf::from("cam/recording_20261122_000000.mp4"),
        PathBuf::from("cam/gone.mp4"),
        PathBuf::from("cam/2026"),
    ]);
    let mut seen = Seen::default();
    let scope = ScanScope::Files(&files);
    scan(&source, scope, &CancellationToken::new(), &mut seen).unwrap();
    assert_eq!(seen.paths(), ["cam/recording_20261122_000000.mp4"]);
}

#[test]
fn a_root_that_is_a_link_is_walked() {
    let folder = folder_of(&["rec/cam/20261122_103000.mp4"]);
    let link = folder.path().join("link");
    symlink("rec", &link).unwrap();
    let (seen, _) = walk(&source(&link, "heldar"));
    assert_eq!(seen.paths(), ["cam/20261122_103000.mp4"]);
}

#[test]
fn a_part_of_a_source_can_be_walked_and_keeps_its_full_paths() {
    let folder = folder_of(&["a/20261122_103000.mp4", "b/20261122_103000.mp4"]);
    let source = source(folder.path(), "heldar");
    let mut seen = Seen::default();
    scan(
        &source,
        ScanScope::Tree(Path::new("b")),
        &CancellationToken::new(),
        &mut seen,
    )
    .unwrap();
    assert_eq!(seen.paths(), ["b/20261122_103000.mp4"]);
}

#[test]
fn a_part_that_is_gone_is_empty_and_a_part_that_became_a_link_is_not_walked() {
    let folder = folder_of(&["rec/a/20261122_103000.mp4", "else/20261122_103100.mp4"]);
    let root = folder.path().join("rec");
    symlink("../else", root.join("b")).unwrap();
    for part in ["gone", "b"] {
        let mut seen = Seen::default();
        let source = source(&root, "heldar");
        let summary = scan(
            &source,
            ScanScope::Tree(Path::new(part)),
            &CancellationToken::new(),
            &mut seen,
        )
        .unwrap();
        assert_eq!(seen.paths(), [""; 0], "{part}");
        assert_eq!(summary.left_out, u64::from(part == "b"));
        assert!(summary.unreadable_folders.is_empty());
    }
    for part in ["../else", "/", "a/.."] {
        let found = scan(
            &source(&root, "heldar"),
            ScanScope::Tree(Path::new(part)),
            &CancellationToken::new(),
            &mut Seen::default(),
        );
        assert!(
            matches!(found, Err(ScanError::NotBeneathRoot { .. })),
            "{part}"
        );
    }
}

#[test]
fn a_missing_root_is_an_error_and_not_an_empty_source() {
    let folder = folder_of(&["file"]);
    for root in ["gone", "file"] {
        let source = source(&folder.path().join(root), "heldar");
        let found = scan(
            &source,
            ScanScope::All,
            &CancellationToken::new(),
            &mut Seen::default(),
        );
        assert!(matches!(found, Err(ScanError::Root { .. })), "{root}");
    }
}

#[test]
fn a_walk_can_be_cancelled_and_says_that_it_did_not_end() {
    let folder = folder_of(&[
        "a/20261122_103000.mp4",
        "a/20261122_103100.mp4",
        "b/20261122_103000.mp4",
        "c/20261122_103000.mp4",
    ]);
    let source = source(folder.path(), "heldar");
    let cancel = CancellationToken::new();
    let mut seen = Seen {
        cancel_after: Some((1, cancel.clone())),
        ..Seen::default()
    };
    assert!(
        scan(&source, ScanScope::All, &cancel, &mut seen)
            .unwrap()
            .stopped
    );
    assert_eq!(seen.paths(), ["a/20261122_103000.mp4"]);

    let mut seen = Seen {
        break_after: Some(1),
        ..Seen::default()
    };
    assert!(
        scan(
            &source,
            ScanScope::All,
            &CancellationToken::new(),
            &mut seen
        )
        .unwrap()
        .stopped
    );
    assert_eq!(seen.candidates.len(), 1);
    assert!(!walk(&source).1.stopped);
}

#[test]
fn a_time_inside_the_file_is_asked_for_only_when_the_name_leaves_two_moments() {
    let folder = folder_of(&[
        "cam/2026-10-25_01-30-00-000000.mp4",
        "cam/2026-10-25_02-30-00-000000.mp4",
    ]);
    let source = Source {
        zone: Some("Europe/Zurich".parse().unwrap()),
        ..source(folder.path(), "mediamtx")
    };
    let (seen, _) = walk(&source);
    assert_eq!(seen.asked_inside, ["cam/2026-10-25_02-30-00-000000.mp4"]);
    assert!(
        seen.reason("cam/2026-10-25_02-30-00-000000.mp4")
            .contains("happened twice in Europe/Zurich")
    );

    let inside = "2026-10-25T01:30:01Z".parse().unwrap();
    let mut seen = Seen {
        time_inside: Some(inside),
        ..Seen::default()
    };
    scan(
        &source,
        ScanScope::All,
        &CancellationToken::new(),
        &mut seen,
    )
    .unwrap();
    assert_eq!(seen.candidates.len(), 2);
    assert_eq!(
        seen.candidates[1].start_time,
        "2026-10-25T01:30:00Z".parse::<DateTime<Utc>>().unwrap()
    );
}

#[test]
fn the_camera_of_a_source_serves_for_paths_that_name_none() {
    let folder = folder_of(&["1795343400_6-967003_yard_0_24_769.mp4"]);
    let without = source(folder.path(), "kerberos");
    let (seen, _) = walk(&without);
    assert_eq!(
        seen.reason("1795343400_6-967003_yard_0_24_769.mp4"),
        "neither the path nor the source names a camera"
    );
    let with = Source {
        camera: Some(CameraId::parse("yard").unwrap()),
        ..without
    };
    let (seen, _) = walk(&with);
    assert_eq!(seen.candidates[0].camera.as_str(), "yard");
    assert_eq!(seen.candidates[0].duration_in_name_ms, Some(769));
}

#[test]
fn a_camera_folder_that_is_no_slug_gets_a_safe_id_and_keeps_its_name() {
    let folder = folder_of(&[
        "Front Door/20261122_103000.mp4",
        "front-door/20261122_103000.mp4",
    ]);
    let (seen, _) = walk(&source(folder.path(), "heldar"));
    let ids: Vec<_> = seen
        .candidates
        .iter()
        .map(|c| (c.camera.as_str(), c.camera_name.as_deref()))
        .collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.contains(&("front-door", Some("front-door"))));
    assert!(
        ids.iter()
            .any(|(id, name)| id.starts_with("front-door-") && *name == Some("Front Door"))
    );
}
