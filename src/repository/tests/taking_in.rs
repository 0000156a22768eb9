//! Files that are taken in: new, changed, given twice, taken back, with their indexes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::catalog::Taken;

on_both! {
    a_segment_that_is_taken_in_twice_is_unchanged_and_one_that_changed_is_updated,
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
    sql("SELECT COUNT(*) FROM segment_indexes WHERE segment_id > ''")
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
