//! Segments, spans, locks and cameras.

use proptest::prelude::*;

use super::*;
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
    a_window_finds_segments_that_began_long_before_it,
    vanished_segments_stay_known_until_they_are_forgotten_and_never_while_held,
    locks_of_different_incidents_come_and_go_on_their_own,
    pages_neither_skip_nor_repeat_rows_while_others_are_added,
    a_camera_is_deleted_only_when_nothing_of_it_is_held,
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
    let present = async || store.present_paths("recordings", "", 10).await.unwrap();
    assert_eq!(present().await, paths);
    assert_eq!(
        store
            .mark_missing("recordings", &paths, at_ms(10))
            .await
            .unwrap(),
        2
    );
    // A look at the whole source asks for those that are there, and not for a month of those that were.
    assert!(present().await.is_empty());
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
