//! Segments, spans, locks and cameras.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::catalog::Taken;
use crate::domain::coverage::{GAP_TOLERANCE, gaps};

#[derive(Clone, Debug)]
enum Step {
    Add { start_ms: i64, length_ms: i64 },
    Vanish(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let add = (0..60_000i64, 1..9_000i64).prop_map(|(start_ms, length_ms)| Step::Add {
        start_ms: start_ms / 500 * 500,
        length_ms,
    });
    prop::collection::vec(
        prop_oneof![3 => add, 2 => any::<prop::sample::Index>().prop_map(Step::Vanish)],
        1..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_timeline_is_always_the_merged_segments_that_are_there_and_those_that_are_gone(steps in steps()) {
        run_on(Kind::Sqlite, check_timelines(steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_timeline_is_always_the_merged_segments_on_postgres_too(steps in steps()) {
        run_on(Kind::Postgres, check_timelines(steps));
    }
}

fn run_on(kind: Kind, test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(KIND.scope(kind, test));
}

async fn check_timelines(steps: Vec<Step>) {
    let database = Database::new().await;
    let mut there: Vec<(String, TimeRange)> = Vec::new();
    let mut gone: Vec<TimeRange> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Add {
                start_ms,
                length_ms,
            } => {
                let path = format!("{number}.mp4");
                database
                    .store
                    .take_in(&[segment(&path, start_ms, length_ms)], at_ms(0))
                    .await
                    .unwrap();
                there.push((path, range(start_ms, start_ms + length_ms)));
            }
            Step::Vanish(which) if !there.is_empty() => {
                let (path, range) = there.swap_remove(which.index(there.len()));
                gone.push(range);
                database
                    .store
                    .mark_missing("recordings", &[path], at_ms(1))
                    .await
                    .unwrap();
            }
            Step::Vanish(_) => {}
        }
        let mut ranges: Vec<_> = there.iter().map(|(_, range)| *range).collect();
        ranges.sort_by_key(|range| range.start());
        gone.sort_by_key(|range| range.start());
        let tolerance = GAP_TOLERANCE;
        for window in [range(-1, 100_000), range(20_000, 30_000)] {
            let timeline = database.store.timeline(&gate(), window).await.unwrap();
            assert_eq!(
                gaps(window, timeline.spans.iter().copied(), tolerance),
                gaps(window, ranges.iter().copied(), tolerance),
            );
            assert_eq!(
                gaps(window, timeline.missing.iter().copied(), tolerance),
                gaps(window, gone.iter().copied(), tolerance),
            );
            for pair in timeline.spans.windows(2) {
                assert!(
                    pair[1].start() - pair[0].end() > tolerance,
                    "two spans that should be one"
                );
            }
        }
        let last = ranges.iter().map(|range| range.end()).max();
        let camera = database.store.camera(&gate()).await.unwrap();
        let recorded = camera.and_then(|camera| camera.recorded);
        assert_eq!(recorded.map(|range| range.end()), last);
    }
}

on_both! {
    a_segment_that_is_taken_in_twice_is_unchanged_and_one_that_changed_is_updated,
    a_window_finds_segments_that_began_long_before_it,
    vanished_segments_stay_known_until_they_are_forgotten_and_never_while_held,
    locks_of_different_incidents_come_and_go_on_their_own,
    pages_neither_skip_nor_repeat_rows_while_others_are_added,
    a_camera_is_deleted_only_when_nothing_of_it_is_held,
    the_index_of_a_segment_is_replaced_with_it_and_goes_with_it,
    a_segment_that_is_taken_back_has_the_index_of_its_new_file,
    a_file_that_is_given_twice_at_once_is_one_segment,
}

async fn a_segment_that_is_taken_in_twice_is_unchanged_and_one_that_changed_is_updated() {
    let Database { store, _folder } = Database::new().await;
    let first = segment("a.mp4", 0, 10_000);
    assert_eq!(
        store
            .take_in(std::slice::from_ref(&first), at_ms(0))
            .await
            .unwrap(),
        [Taken::Added]
    );
    assert_eq!(
        store
            .take_in(std::slice::from_ref(&first), at_ms(0))
            .await
            .unwrap(),
        [Taken::Unchanged]
    );
    let grown = NewSegment {
        size_bytes: 150,
        ..segment("a.mp4", 0, 20_000)
    };
    assert_eq!(
        store.take_in(&[grown], at_ms(0)).await.unwrap(),
        [Taken::Updated]
    );
    let camera = store.camera(&gate()).await.unwrap().unwrap();
    assert_eq!((camera.segment_count, camera.size_bytes), (1, 150));
    assert_eq!(camera.recorded, Some(range(0, 20_000)));
}

async fn a_window_finds_segments_that_began_long_before_it() {
    let Database { store, _folder } = Database::new().await;
    let hour = segment("hour.mp4", 0, 3_600_000);
    let short = segment("short.mp4", 3_600_000, 2_000);
    store.take_in(&[hour, short], at_ms(0)).await.unwrap();
    let found = store
        .segments_in(&gate(), range(3_599_000, 3_601_000))
        .await
        .unwrap();
    let paths: Vec<_> = found
        .iter()
        .map(|segment| segment.file.path.as_str())
        .collect();
    assert_eq!(paths, ["hour.mp4", "short.mp4"]);
    assert!(
        store
            .segments_in(&gate(), range(3_602_000, 3_603_000))
            .await
            .unwrap()
            .is_empty()
    );
}

async fn vanished_segments_stay_known_until_they_are_forgotten_and_never_while_held() {
    let Database { store, _folder } = Database::new().await;
    store
        .take_in(
            &[segment("a.mp4", 0, 1_000), segment("b.mp4", 5_000, 1_000)],
            at_ms(0),
        )
        .await
        .unwrap();
    let selection = LockSelection::Window(gate(), range(0, 500));
    store.hold(&selection, "case-17", at_ms(0)).await.unwrap();
    let paths = ["a.mp4".to_owned(), "b.mp4".to_owned()];
    assert_eq!(
        store
            .mark_missing("recordings", &paths, at_ms(10))
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        store
            .mark_missing("recordings", &paths, at_ms(20))
            .await
            .unwrap(),
        0
    );
    assert_eq!(store.forget_missing(at_ms(10), 10).await.unwrap(), 0);
    assert_eq!(store.forget_missing(at_ms(11), 10).await.unwrap(), 1);
    let left = store.segments_in(&gate(), range(0, 10_000)).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].locks, ["case-17"]);
    assert_eq!(
        store.camera(&gate()).await.unwrap().unwrap().segment_count,
        1
    );
}

async fn locks_of_different_incidents_come_and_go_on_their_own() {
    let Database { store, _folder } = Database::new().await;
    store
        .take_in(
            &[segment("a.mp4", 0, 1_000), segment("b.mp4", 1_000, 1_000)],
            at_ms(0),
        )
        .await
        .unwrap();
    let window = LockSelection::Window(gate(), range(0, 2_000));
    assert_eq!(
        store
            .hold(&window, "one", at_ms(0))
            .await
            .unwrap()
            .segments_changed,
        2
    );
    assert_eq!(
        store
            .hold(&window, "one", at_ms(0))
            .await
            .unwrap()
            .segments_changed,
        0
    );
    assert_eq!(
        store
            .hold(&window, "", at_ms(0))
            .await
            .unwrap()
            .segments_changed,
        2
    );
    // Each once, whatever number of incidents hold it.
    let held = store.held(&["seg_unknown"]).await.unwrap();
    assert!(held.is_empty());
    let all = super::backup_sample::segments(&store).await;
    let ids: Vec<&str> = all.iter().map(|segment| segment.id.as_str()).collect();
    assert_eq!(store.held(&ids).await.unwrap().len(), 2);
    assert_eq!(
        store
            .release(&window, Some("other"))
            .await
            .unwrap()
            .segments_changed,
        0
    );
    assert_eq!(
        store
            .release(&window, Some(""))
            .await
            .unwrap()
            .segments_changed,
        2
    );
    let timeline = store.timeline(&gate(), range(-500, 5_000)).await.unwrap();
    assert_eq!(timeline.locks, [(range(0, 2_000), "one".to_owned())]);
    assert_eq!(
        store.release(&window, None).await.unwrap().segments_changed,
        2
    );
    assert!(
        store
            .timeline(&gate(), range(0, 5_000))
            .await
            .unwrap()
            .locks
            .is_empty()
    );
}

async fn pages_neither_skip_nor_repeat_rows_while_others_are_added() {
    let Database { store, _folder } = Database::new().await;
    let new = |number: i64| segment(&format!("{number}.mp4"), number * 1_000, 500);
    store
        .take_in(&(0..25).map(new).collect::<Vec<_>>(), at_ms(0))
        .await
        .unwrap();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let (segments, next) = store
            .segments(&SegmentFilter::default(), &Page { size: 10, after })
            .await
            .unwrap();
        seen.extend(segments.into_iter().map(|segment| segment.file.path));
        store
            .take_in(&[new(100 + seen.len() as i64)], at_ms(0))
            .await
            .unwrap();
        after = next;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (0..25)
        .rev()
        .map(|number| format!("{number}.mp4"))
        .collect();
    assert_eq!(seen, expected);
}

async fn a_camera_is_deleted_only_when_nothing_of_it_is_held() {
    let Database { store, _folder } = Database::new().await;
    store
        .take_in(&[segment("a.mp4", 0, 1_000)], at_ms(0))
        .await
        .unwrap();
    assert_eq!(
        store.delete_camera(&gate(), false, None).await.unwrap(),
        DeletedCamera::InUse(1)
    );
    let window = LockSelection::Window(gate(), range(0, 2_000));
    store.hold(&window, "", at_ms(0)).await.unwrap();
    assert_eq!(
        store.delete_camera(&gate(), true, None).await.unwrap(),
        DeletedCamera::Locked(1)
    );
    store.release(&window, None).await.unwrap();
    assert_eq!(
        store.delete_camera(&gate(), true, Some(7)).await.unwrap(),
        DeletedCamera::Stale
    );
    assert_eq!(
        store.delete_camera(&gate(), true, None).await.unwrap(),
        DeletedCamera::Deleted(1)
    );
    assert_eq!(
        store.delete_camera(&gate(), true, None).await.unwrap(),
        DeletedCamera::NotFound
    );
}

/// The indexes that the catalog has of all segments of the camera, by path.
async fn indexes(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let segments = store
        .segments_in(&gate(), range(-1, 1 << 40))
        .await
        .unwrap();
    let ids: Vec<String> = segments.iter().map(|segment| segment.id.clone()).collect();
    let mut found = BTreeMap::new();
    for index in store.segment_indexes(&ids).await.unwrap() {
        let segment = segments
            .iter()
            .find(|segment| segment.id == index.segment_id);
        let file = &segment.unwrap().file;
        assert_eq!(
            (index.size_bytes, index.modified_time),
            (file.size_bytes, file.modified_time)
        );
        found.insert(file.path.clone(), index.samples);
    }
    found
}

async fn index_rows(store: &Store) -> i64 {
    let mut connection = store.read().await.unwrap();
    sql("SELECT COUNT(*) FROM segment_indexes")
        .fetch_value(&mut connection)
        .await
        .unwrap()
}

async fn the_index_of_a_segment_is_replaced_with_it_and_goes_with_it() {
    let Database { store, _folder } = Database::new().await;
    // More than one statement writes at once, and no whole number of statements.
    let files: Vec<NewSegment> = (0..75)
        .map(|number| segment(&format!("{number:02}.mp4"), number * 10_000, 9_000))
        .collect();
    let taken = store.take_in(&files, at_ms(0)).await.unwrap();
    assert_eq!(taken, [Taken::Added; 75]);
    let mut expected: BTreeMap<String, Vec<u8>> = files
        .iter()
        .map(|file| (file.path.clone(), file.path.clone().into_bytes()))
        .collect();
    assert_eq!(indexes(&store).await, expected);

    let changed = |number: usize, sample_index: Option<&[u8]>| {
        let mut file = files[number].clone();
        file.size_bytes += 1;
        file.facts.sample_index = sample_index.map(<[u8]>::to_vec);
        file
    };
    let again = [
        changed(3, Some(b"other")),
        changed(4, None),
        files[5].clone(),
    ];
    assert_eq!(
        store.take_in(&again, at_ms(1)).await.unwrap(),
        [Taken::Updated, Taken::Updated, Taken::Unchanged]
    );
    expected.insert("03.mp4".to_owned(), b"other".to_vec());
    expected.remove("04.mp4");
    assert_eq!(indexes(&store).await, expected);

    let paths = ["00.mp4".to_owned(), "01.mp4".to_owned()];
    store
        .mark_missing("recordings", &paths, at_ms(2))
        .await
        .unwrap();
    assert_eq!(store.forget_missing(at_ms(3), 10).await.unwrap(), 2);
    assert_eq!(index_rows(&store).await, 72);
    store.delete_camera(&gate(), true, None).await.unwrap();
    assert_eq!(index_rows(&store).await, 0);
}

async fn a_segment_that_is_taken_back_has_the_index_of_its_new_file() {
    let Database { store, _folder } = Database::new().await;
    let file = segment("a.mp4", 0, 1_000);
    store
        .take_in(std::slice::from_ref(&file), at_ms(0))
        .await
        .unwrap();
    let id = store.segments_in(&gate(), range(0, 500)).await.unwrap()[0]
        .id
        .clone();
    store
        .mark_missing("recordings", &["a.mp4".to_owned()], at_ms(1))
        .await
        .unwrap();
    let restored = segment("restored.mp4", 0, 1_000);
    assert!(store.take_back(&id, &restored, at_ms(2)).await.unwrap());
    assert!(
        store
            .take_back("seg_forgotten", &segment("b.mp4", 5_000, 1_000), at_ms(2))
            .await
            .unwrap()
    );
    assert_eq!(
        indexes(&store).await,
        BTreeMap::from([
            ("restored.mp4".to_owned(), b"restored.mp4".to_vec()),
            ("b.mp4".to_owned(), b"b.mp4".to_vec()),
        ])
    );
}

async fn a_file_that_is_given_twice_at_once_is_one_segment() {
    let Database { store, _folder } = Database::new().await;
    let first = segment("a.mp4", 0, 1_000);
    let grown = NewSegment {
        size_bytes: 150,
        ..segment("a.mp4", 0, 2_000)
    };
    let files = [first.clone(), segment("b.mp4", 9_000, 1_000), first, grown];
    assert_eq!(
        store.take_in(&files, at_ms(0)).await.unwrap(),
        [Taken::Added, Taken::Added, Taken::Unchanged, Taken::Updated]
    );
    let camera = store.camera(&gate()).await.unwrap().unwrap();
    assert_eq!((camera.segment_count, camera.size_bytes), (2, 250));
    let timeline = store.timeline(&gate(), range(-1, 100_000)).await.unwrap();
    assert_eq!(timeline.spans, [range(0, 2_000), range(9_000, 10_000)]);
}

/// A file among few names, so that names come again.
fn few_files() -> impl Strategy<Value = Vec<NewSegment>> {
    let file = (0..6u8, 0..8i64, 1..5i64, any::<bool>()).prop_map(
        |(name, start, length, of_other_camera)| {
            let mut file = segment(&format!("{name}.mp4"), start * 1_500, length * 1_000);
            file.size_bytes += length as u64;
            if of_other_camera {
                file.camera_id = CameraId::parse("yard").unwrap();
            }
            file
        },
    );
    prop::collection::vec(file, 1..30)
}

/// What the catalog says of both cameras.
async fn account(store: &Store) -> Vec<String> {
    let mut said = Vec::new();
    for camera_id in [gate(), CameraId::parse("yard").unwrap()] {
        let camera = store.camera(&camera_id).await.unwrap();
        let timeline = store
            .timeline(&camera_id, range(-1, 100_000))
            .await
            .unwrap();
        let mut segments = store
            .segments_in(&camera_id, range(-1, 100_000))
            .await
            .unwrap();
        segments.sort_by(|one, other| one.file.path.cmp(&other.file.path));
        let files: Vec<_> = segments.into_iter().map(|segment| segment.file).collect();
        let sums = camera.map(|camera| (camera.segment_count, camera.size_bytes, camera.recorded));
        said.push(format!("{sums:?} {timeline:?} {files:?}"));
    }
    said
}

async fn check_batch(files: Vec<NewSegment>) {
    let (together, apart) = (Database::new().await, Database::new().await);
    let taken = together.store.take_in(&files, at_ms(0)).await.unwrap();
    let mut one_by_one = Vec::new();
    for file in &files {
        let file = std::slice::from_ref(file);
        one_by_one.extend(apart.store.take_in(file, at_ms(0)).await.unwrap());
    }
    assert_eq!(taken, one_by_one);
    assert_eq!(account(&together.store).await, account(&apart.store).await);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn files_taken_in_together_leave_what_they_leave_one_by_one(files in few_files()) {
        run_on(Kind::Sqlite, check_batch(files));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn files_taken_in_together_leave_what_they_leave_one_by_one_on_postgres_too(files in few_files()) {
        run_on(Kind::Postgres, check_batch(files));
    }
}
