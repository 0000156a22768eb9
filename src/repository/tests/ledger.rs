//! The ledger of what is at a destination.

use super::backup_sample::*;
use super::*;
use crate::domain::backup::object::{BackupCheck, BackupObject, ObjectState};
use crate::domain::backup::run::BackupSelection;

/// A database whose three segments of ten seconds are at the destination.
async fn with_objects() -> Database {
    let database = with_nas().await;
    let files = [0, 10, 20].map(|s| segment(&format!("{s}.mp4"), s * 1000, 10_000));
    database.store.take_in(&files, at_ms(0)).await.unwrap();
    assert_eq!(send(&database.store, "bkp_1", at_ms(1)).await, 3);
    database
}

async fn all(store: &Store) -> Vec<BackupObject> {
    store
        .objects_in_order(NAS, &BackupSelection::default(), None, 100)
        .await
        .unwrap()
}

/// Checks that the sums of the destination are those of its objects.
async fn check_sums(store: &Store) -> (u64, u64) {
    let objects = all(store).await;
    let status = store.destination(NAS).await.unwrap().unwrap().status;
    let sums = (
        objects.len() as u64,
        objects.iter().map(|object| object.size_bytes).sum(),
    );
    assert_eq!((status.object_count, status.stored_bytes), sums);
    let totals = store
        .object_totals(NAS, &BackupSelection::default())
        .await
        .unwrap();
    assert_eq!((totals.objects, totals.bytes), sums);
    sums
}

on_both! {
    an_object_reads_back_as_it_was_written,
    the_sums_of_a_destination_are_always_those_of_its_objects,
    a_batch_of_any_size_is_written_whole,
    no_two_objects_share_a_path_and_a_batch_with_such_is_not_written_at_all,
    objects_are_listed_newest_first_and_found_by_what_is_asked,
    objects_are_read_in_order_piece_by_piece,
    a_verification_changes_what_it_looked_at_and_nothing_that_was_sent_again,
    each_change_of_an_object_is_written_to_the_copy_of_the_ledger_once,
    retention_is_offered_what_the_policy_sent_and_nothing_that_is_held,
    objects_follow_a_segment_whose_file_is_read_with_another_time,
}

async fn an_object_reads_back_as_it_was_written() {
    let Database { store, _folder } = with_objects().await;
    let mut object = all(&store).await.remove(0);
    object.locked_until_time = Some(at_ms(77));
    object.state = ObjectState::Changed;
    object.check = BackupCheck::ReadBack;
    store
        .add_objects(std::slice::from_ref(&object), "")
        .await
        .unwrap();
    assert_eq!(all(&store).await[0], object);
}

async fn the_sums_of_a_destination_are_always_those_of_its_objects() {
    let Database { store, _folder } = with_objects().await;
    assert_eq!(check_sums(&store).await, (3, 300));
    let mut again = all(&store).await.remove(1);
    again.size_bytes = 1_000;
    let before = BackupObject {
        size_bytes: 7,
        ..again.clone()
    };
    store
        .add_objects(&[before, again.clone()], "")
        .await
        .unwrap();
    assert_eq!(check_sums(&store).await, (3, 1_200));
    let removed = store
        .remove_objects(
            NAS,
            "pol",
            &[again.segment_id.clone(), "seg_unknown".to_owned()],
        )
        .await
        .unwrap();
    assert_eq!((removed.objects, removed.bytes), (1, 1_000));
    assert_eq!(check_sums(&store).await, (2, 200));
}

async fn a_batch_of_any_size_is_written_whole() {
    let Database { store, _folder } = with_objects().await;
    let first = all(&store).await.remove(0);
    let mut expected = 3;
    // One statement, exactly full ones, and some with a rest.
    for count in [1, 50, 51, 123] {
        let batch: Vec<BackupObject> = (0..count)
            .map(|number| BackupObject {
                segment_id: format!("seg_{count}_{number}"),
                remote_path: format!("gate/{count}_{number}.mp4"),
                size_bytes: number + 1,
                ..first.clone()
            })
            .collect();
        store.add_objects(&batch, "pol").await.unwrap();
        expected += count;
        let everything = BackupSelection::default();
        let written = store.objects_in_order(NAS, &everything, None, 1_000);
        let mut written = written.await.unwrap();
        assert_eq!(written.len() as u64, expected);
        written.retain(|object| batch.iter().any(|sent| sent == object));
        assert_eq!(written.len() as u64, count);
    }
}

async fn no_two_objects_share_a_path_and_a_batch_with_such_is_not_written_at_all() {
    let Database { store, _folder } = with_objects().await;
    let first = all(&store).await.remove(0);
    let fine = BackupObject {
        segment_id: "seg_fine".to_owned(),
        remote_path: "gate/fine.mp4".to_owned(),
        ..first.clone()
    };
    let thief = BackupObject {
        segment_id: "seg_thief".to_owned(),
        ..first.clone()
    };
    let twin = BackupObject {
        segment_id: "seg_twin".to_owned(),
        ..fine.clone()
    };
    for (batch, culprit) in [
        ([fine.clone(), thief], "seg_thief"),
        ([fine, twin], "seg_twin"),
    ] {
        let error = store.add_objects(&batch, "").await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Inconsistent { id, .. } if id == culprit),
            "{error:?}"
        );
        assert_eq!(check_sums(&store).await, (3, 300));
    }
    let taken = store
        .paths_taken(
            NAS,
            &[first.remote_path.clone(), "gate/free.mp4".to_owned()],
        )
        .await
        .unwrap();
    assert_eq!(taken, [(first.remote_path, first.segment_id)].into());
}

async fn objects_are_listed_newest_first_and_found_by_what_is_asked() {
    let Database { store, _folder } = with_objects().await;
    let found = async |filter: ObjectFilter| {
        let (objects, _) = store.objects(NAS, &filter, &FIRST_PAGE).await.unwrap();
        objects
            .iter()
            .map(|object| (object.window.start() - at_ms(0)).num_seconds())
            .collect::<Vec<_>>()
    };
    assert_eq!(found(ObjectFilter::default()).await, [20, 10, 0]);
    let window = |start_ms, end_ms| BackupSelection {
        start: Some(at_ms(start_ms)),
        end: Some(at_ms(end_ms)),
        ..Default::default()
    };
    let select = |selection| ObjectFilter {
        selection,
        ..Default::default()
    };
    assert_eq!(found(select(window(10_000, 20_000))).await, [10]);
    assert_eq!(found(select(window(9_999, 20_001))).await, [20, 10, 0]);
    let cameras = |id: &str| BackupSelection {
        camera_ids: vec![CameraId::parse(id).unwrap()],
        ..Default::default()
    };
    assert_eq!(found(select(cameras("gate"))).await.len(), 3);
    assert!(found(select(cameras("other"))).await.is_empty());
    let by_job = |id: &str| ObjectFilter {
        job_id: Some(id.to_owned()),
        ..Default::default()
    };
    assert_eq!(found(by_job("bkj_1")).await.len(), 3);
    assert!(found(by_job("bkj_2")).await.is_empty());

    let middle = all(&store).await.remove(1);
    let of_segment = ObjectFilter {
        segment_id: Some(middle.segment_id.clone()),
        ..Default::default()
    };
    assert_eq!(found(of_segment).await, [10]);
    let evidence = ObjectFilter {
        selection: BackupSelection {
            evidence_only: true,
            ..Default::default()
        },
        ..Default::default()
    };
    assert!(found(evidence.clone()).await.is_empty());
    let held = LockSelection::Segments(vec![middle.segment_id.clone()]);
    store.hold(&held, "", at_ms(0)).await.unwrap();
    assert_eq!(found(evidence).await, [10]);
    assert!(all(&store).await[1].evidence);

    let page = Page {
        size: 2,
        after: None,
    };
    let (first, next) = store
        .objects(NAS, &ObjectFilter::default(), &page)
        .await
        .unwrap();
    assert_eq!(first.len(), 2);
    let page = Page {
        size: 2,
        after: next,
    };
    let (second, next) = store
        .objects(NAS, &ObjectFilter::default(), &page)
        .await
        .unwrap();
    assert_eq!((second.len(), next), (1, None));
}

async fn objects_are_read_in_order_piece_by_piece() {
    let Database { store, _folder } = with_objects().await;
    let mut seen: Vec<BackupObject> = Vec::new();
    loop {
        let after = seen
            .last()
            .map(|object| (object.window.start(), object.segment_id.as_str()));
        let more = store
            .objects_in_order(NAS, &BackupSelection::default(), after, 2)
            .await
            .unwrap();
        if more.is_empty() {
            break;
        }
        seen.extend(more);
    }
    assert_eq!(seen, all(&store).await);
    assert_eq!(seen.len(), 3);
}

async fn a_verification_changes_what_it_looked_at_and_nothing_that_was_sent_again() {
    let Database { store, _folder } = with_objects().await;
    let mut seen = all(&store).await;
    let again = BackupObject {
        create_time: at_ms(50),
        ..seen[2].clone()
    };
    store
        .add_objects(std::slice::from_ref(&again), "")
        .await
        .unwrap();
    for (object, state) in seen.iter_mut().zip([
        ObjectState::Present,
        ObjectState::Missing,
        ObjectState::Missing,
    ]) {
        object.state = state;
        object.check = BackupCheck::ReadBack;
        object.check_time = at_ms(60);
    }
    assert_eq!(store.set_object_states(&seen).await.unwrap(), 2);
    let after = all(&store).await;
    assert_eq!(after[0], seen[0]);
    assert_eq!(after[1].state, ObjectState::Missing);
    // The check that it last passed stays.
    assert_eq!(
        (after[1].check, after[1].check_time),
        (BackupCheck::Hash, at_ms(1))
    );
    assert_eq!(after[2], again);
    // What is missing is sent again.
    assert_eq!(send(&store, "", at_ms(70)).await, 1);
    assert_eq!(all(&store).await[1].state, ObjectState::Present);
    assert_eq!(check_sums(&store).await, (3, 300));
}

async fn each_change_of_an_object_is_written_to_the_copy_of_the_ledger_once() {
    let Database { store, _folder } = with_objects().await;
    let unwritten = async || store.unwritten_objects(NAS, 100).await.unwrap();
    let objects = unwritten().await;
    assert_eq!(objects.len(), 3);
    let again = BackupObject {
        create_time: at_ms(50),
        ..objects[0].clone()
    };
    store
        .add_objects(std::slice::from_ref(&again), "")
        .await
        .unwrap();
    // What was read before it was sent again is not what is in the file.
    assert_eq!(store.mark_written(&objects, "ledger/1").await.unwrap(), 2);
    assert_eq!(unwritten().await, std::slice::from_ref(&again));
    store
        .mark_written(std::slice::from_ref(&again), "ledger/2")
        .await
        .unwrap();
    assert!(unwritten().await.is_empty());
    // What was said of one may not be so any more.
    store
        .forget_written(std::slice::from_ref(&again))
        .await
        .unwrap();
    assert_eq!(unwritten().await, [again]);
}

async fn retention_is_offered_what_the_policy_sent_and_nothing_that_is_held() {
    let Database { store, _folder } = with_objects().await;
    let policy = policy("bkp_1");
    let offered = async |policy, ended_by_ms: Option<i64>| {
        store
            .retention_candidates(policy, ended_by_ms.map(at_ms), at_ms(30_000), None, 100)
            .await
            .unwrap()
            .len()
    };
    assert_eq!(offered(&policy, None).await, 3);
    assert_eq!(offered(&policy, Some(20_000)).await, 2);
    assert_eq!(store.policy_stored_bytes(&policy).await.unwrap(), 300);
    let other = super::backup_sample::policy("bkp_2");
    assert_eq!(offered(&other, None).await, 0);
    // One of the same id that was made later has no claim to what an earlier one sent.
    let mut later = policy.clone();
    later.create_time = at_ms(2);
    assert_eq!(offered(&later, None).await, 0);
    assert_eq!(store.policy_stored_bytes(&later).await.unwrap(), 0);

    let objects = all(&store).await;
    let held = LockSelection::Segments(vec![objects[0].segment_id.clone()]);
    store.hold(&held, "", at_ms(0)).await.unwrap();
    let locked = BackupObject {
        locked_until_time: Some(at_ms(30_001)),
        ..objects[1].clone()
    };
    store.add_objects(&[locked], "bkp_1").await.unwrap();
    let left = store
        .retention_candidates(&policy, None, at_ms(30_000), None, 100)
        .await
        .unwrap();
    assert_eq!(left, [objects[2].clone()]);
    let after = Some((left[0].window.start(), left[0].segment_id.as_str()));
    let more = store
        .retention_candidates(&policy, None, at_ms(30_000), after, 100)
        .await
        .unwrap();
    assert!(more.is_empty());

    let newest = store
        .newest_footage(NAS, [&gate(), &CameraId::parse("other").unwrap()])
        .await
        .unwrap();
    assert_eq!(newest, [(gate(), at_ms(30_000))].into());
}

async fn objects_follow_a_segment_whose_file_is_read_with_another_time() {
    let Database { store, _folder } = with_objects().await;
    let objects = all(&store).await;
    store.mark_written(&objects, "ledger/1").await.unwrap();
    let mut moved = segment("0.mp4", 3_600_000, 20_000);
    moved.modified_time = objects[0].source_modified_time;
    store.take_in(&[moved], at_ms(2)).await.unwrap();
    let after = all(&store).await;
    assert_eq!(after[2].segment_id, objects[0].segment_id);
    assert_eq!(after[2].window, range(3_600_000, 3_620_000));
    assert_eq!(store.unwritten_objects(NAS, 10).await.unwrap().len(), 1);
    // The same bytes are not sent again, and are found by their new time to the last second.
    assert_eq!(send(&store, "", at_ms(3)).await, 0);
    let last_second = BackupSelection {
        start: Some(at_ms(3_619_000)),
        ..Default::default()
    };
    let found = store.object_totals(NAS, &last_second).await.unwrap();
    assert_eq!(found.objects, 1);
}
