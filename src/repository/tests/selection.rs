//! What a run selects.

use std::time::Instant;

use super::backup_sample::*;
use super::statement::sql;
use super::*;
use crate::domain::backup::run::BackupSelection;

async fn paths(store: &Store, selection: &BackupSelection) -> Vec<String> {
    let totals = store.selection_totals(NAS, selection).await.unwrap();
    let unsent = store
        .unsent_segments(NAS, selection, None, 100)
        .await
        .unwrap();
    assert_eq!(totals.files_unsent, unsent.len() as u64);
    assert_eq!(
        totals.bytes_unsent,
        unsent.iter().map(|segment| segment.size_bytes).sum::<u64>()
    );
    unsent.into_iter().map(|segment| segment.path).collect()
}

on_both! {
    a_run_sends_what_is_new_or_has_changed_and_a_second_one_nothing,
    what_is_at_one_destination_is_not_at_another,
    a_selection_holds_by_window_camera_and_evidence,
    what_is_gone_or_waits_to_be_read_again_is_not_selected,
    what_is_unsent_is_read_in_order_piece_by_piece,
    a_recorder_has_deleted_up_to_the_end_of_the_newest_that_is_gone,
}

async fn a_run_sends_what_is_new_or_has_changed_and_a_second_one_nothing() {
    let Database { store, _folder } = with_nas().await;
    let files = [0, 10, 20].map(|s| segment(&format!("{s}.mp4"), s * 1000, 10_000));
    store.take_in(&files, at_ms(0)).await.unwrap();
    let everything = BackupSelection::default();
    assert_eq!(
        paths(&store, &everything).await,
        ["0.mp4", "10.mp4", "20.mp4"]
    );
    assert_eq!(send(&store, "", at_ms(1)).await, 3);
    assert!(paths(&store, &everything).await.is_empty());
    let totals = store.selection_totals(NAS, &everything).await.unwrap();
    assert_eq!(
        (
            totals.files_selected,
            totals.bytes_selected,
            totals.files_present(),
            totals.window
        ),
        (3, 300, 3, Some(range(0, 30_000)))
    );

    let mut larger = files[1].clone();
    larger.size_bytes = 101;
    let mut later = files[2].clone();
    later.modified_time = at_ms(99_999);
    store
        .take_in(
            &[larger, later, segment("30.mp4", 30_000, 10_000)],
            at_ms(2),
        )
        .await
        .unwrap();
    assert_eq!(
        paths(&store, &everything).await,
        ["10.mp4", "20.mp4", "30.mp4"]
    );
    let unsent = store
        .unsent_segments(NAS, &everything, None, 10)
        .await
        .unwrap();
    assert_eq!(
        unsent[0].earlier_path.as_deref(),
        Some("gate/2027-01-15/10.mp4")
    );
    assert_eq!(unsent[2].earlier_path, None);
    assert_eq!(send(&store, "", at_ms(3)).await, 3);
    assert!(paths(&store, &everything).await.is_empty());
}

async fn what_is_at_one_destination_is_not_at_another() {
    let Database { store, _folder } = with_nas().await;
    store
        .take_in(&[segment("0.mp4", 0, 10_000)], at_ms(0))
        .await
        .unwrap();
    assert_eq!(send(&store, "", at_ms(1)).await, 1);
    let other = store
        .unsent_segments("bkd_other", &BackupSelection::default(), None, 10)
        .await
        .unwrap();
    assert_eq!(other.len(), 1);
}

async fn a_selection_holds_by_window_camera_and_evidence() {
    let Database { store, _folder } = with_nas().await;
    let mut files: Vec<NewSegment> = [0, 10, 20]
        .map(|s| segment(&format!("{s}.mp4"), s * 1000, 10_000))
        .into();
    files.push(NewSegment {
        camera_id: CameraId::parse("yard").unwrap(),
        ..segment("yard.mp4", 10_000, 10_000)
    });
    store.take_in(&files, at_ms(0)).await.unwrap();
    let window = BackupSelection {
        start: Some(at_ms(10_000)),
        end: Some(at_ms(20_000)),
        ..Default::default()
    };
    assert_eq!(paths(&store, &window).await, ["10.mp4", "yard.mp4"]);
    let of_yard = BackupSelection {
        camera_ids: vec![CameraId::parse("yard").unwrap()],
        ..window.clone()
    };
    assert_eq!(paths(&store, &of_yard).await, ["yard.mp4"]);
    let evidence = BackupSelection {
        evidence_only: true,
        ..Default::default()
    };
    assert!(paths(&store, &evidence).await.is_empty());
    store
        .hold(
            &LockSelection::Window(gate(), range(25_000, 26_000)),
            "",
            at_ms(0),
        )
        .await
        .unwrap();
    assert_eq!(paths(&store, &evidence).await, ["20.mp4"]);
    let unsent = store
        .unsent_segments(NAS, &BackupSelection::default(), None, 10)
        .await
        .unwrap();
    let held: Vec<bool> = unsent.iter().map(|segment| segment.evidence).collect();
    assert_eq!(held, [false, false, false, true]);
    assert_eq!(send(&store, "", at_ms(1)).await, 4);
    for selection in [window, of_yard, evidence] {
        assert!(paths(&store, &selection).await.is_empty());
    }
}

async fn what_is_gone_or_waits_to_be_read_again_is_not_selected() {
    let Database { store, _folder } = with_nas().await;
    let files = [0, 10].map(|s| segment(&format!("{s}.mp4"), s * 1000, 10_000));
    store.take_in(&files, at_ms(0)).await.unwrap();
    store
        .mark_missing("recordings", &["0.mp4".to_owned()], at_ms(1))
        .await
        .unwrap();
    let everything = BackupSelection::default();
    assert_eq!(paths(&store, &everything).await, ["10.mp4"]);
    let mut source = store.source("recordings").await.unwrap().unwrap();
    source.zone = "Europe/Berlin".to_owned();
    store.put_source(&source).await.unwrap();
    assert!(paths(&store, &everything).await.is_empty());
    store.take_in(&files[1..], at_ms(2)).await.unwrap();
    assert_eq!(paths(&store, &everything).await, ["10.mp4"]);
}

async fn what_is_unsent_is_read_in_order_piece_by_piece() {
    let Database { store, _folder } = with_nas().await;
    let files: Vec<NewSegment> = (0..7)
        .map(|number| segment(&format!("{number}.mp4"), number / 2 * 1000, 1000))
        .collect();
    store.take_in(&files, at_ms(0)).await.unwrap();
    let mut seen = Vec::new();
    let mut after: Option<(DateTime<Utc>, String)> = None;
    loop {
        let position = after.as_ref().map(|(time, id)| (*time, id.as_str()));
        let more = store
            .unsent_segments(NAS, &BackupSelection::default(), position, 3)
            .await
            .unwrap();
        let Some(last) = more.last() else { break };
        after = Some((last.window.start(), last.segment_id.clone()));
        seen.extend(more.into_iter().map(|segment| segment.path));
    }
    seen.sort();
    let expected: Vec<String> = (0..7).map(|number| format!("{number}.mp4")).collect();
    assert_eq!(seen, expected);
}

/// A million segments of twenty cameras, all of them at the destination.
async fn with_a_million() -> Database {
    let database = with_nas().await;
    let store = &database.store;
    store
        .take_in(&[segment("first.mp4", 0, 10_000)], at_ms(0))
        .await
        .unwrap();
    for statement in [
        "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 19)
         INSERT INTO cameras (id, create_time_us, update_time_us, longest_segment_us)
         SELECT 'cam' || n, 0, 0, 10000000 FROM numbers",
        "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 999998)
         INSERT INTO segments (id, camera_id, source_id, path, start_us, end_us, start_accuracy_us, size_bytes,
            modified_us, container, video_codec, width, height, frame_count, video_fingerprint, key_frame_count,
            key_frames, truncated, state, create_time_us)
         SELECT printf('seg_%032x', n), 'cam' || (n % 20), 'recordings', 'cam' || (n % 20) || '/' || n || '.mp4',
            1800000000000000 + n / 20 * 10000000, 1800000010000000 + n / 20 * 10000000, 0, 200000 + n % 1000,
            1800000010000000 + n, 'MP4', 'h264', 1920, 1080, 250, printf('%064x', n), 5, zeroblob(40), 0,
            'AVAILABLE', 0 FROM numbers",
        "INSERT INTO backup_objects (destination_id, segment_id, camera_id, start_us, end_us, remote_path, size_bytes,
            sha256, state, check_kind, check_time_us, create_time_us, job_id, policy_id, source_modified_us, ledger_path)
         SELECT 'bkd_nas', id, camera_id, start_us, end_us, camera_id || '/2027-01-15/' || id || '.mp4', size_bytes,
            video_fingerprint, 'PRESENT', 'HASH', 0, 0, 'bkj_1', 'bkp_1', modified_us, 'ledger/1' FROM segments",
    ] {
        sql(statement).execute(&mut store.writer().await.unwrap()).await.unwrap();
    }
    database
}

#[tokio::test]
#[ignore = "takes half a minute and a gigabyte; run it by name when queries or indexes change"]
async fn a_run_over_a_million_files_finds_nothing_new_in_a_moment() {
    let Database { store, _folder } = with_a_million().await;
    let half = BackupSelection {
        camera_ids: (0..10)
            .map(|number| CameraId::parse(&format!("cam{number}")).unwrap())
            .collect(),
        ..Default::default()
    };
    let last_day = BackupSelection {
        start: Some(at_ms(413_600_000)),
        ..Default::default()
    };
    for (name, selection) in [
        ("all", BackupSelection::default()),
        ("ten of twenty cameras", half),
        ("a day", last_day),
    ] {
        for round in 0..2 {
            let begin = Instant::now();
            let totals = store.selection_totals(NAS, &selection).await.unwrap();
            let counted = begin.elapsed();
            assert_eq!((totals.files_unsent, totals.bytes_unsent), (0, 0));
            let begin = Instant::now();
            let unsent = store.unsent_segments(NAS, &selection, None, 500).await;
            let listed = begin.elapsed();
            assert!(unsent.unwrap().is_empty());
            println!(
                "{name}, round {round}: {} files, totals {counted:?}, unsent {listed:?}",
                totals.files_selected
            );
            // A run that is told of no unsent file asks for none.
            assert!(counted < std::time::Duration::from_secs(2));
        }
    }
    let begin = Instant::now();
    store.policy_stored_bytes(&policy("bkp_1")).await.unwrap();
    println!("bytes of a policy: {:?}", begin.elapsed());
    let begin = Instant::now();
    store.delete_destination(NAS, None).await.unwrap();
    println!("deleting the destination: {:?}", begin.elapsed());
}

#[tokio::test]
async fn a_run_reads_two_indexes_from_end_to_end_and_sorts_nothing() {
    let Database { store, _folder } = with_nas().await;
    let everything = BackupSelection::default();
    let of_gate = BackupSelection {
        start: Some(at_ms(0)),
        end: Some(at_ms(1)),
        camera_ids: vec![gate()],
        evidence_only: false,
        without_removed_by: String::new(),
    };
    for selection in [everything, of_gate] {
        let mut query = sql("EXPLAIN QUERY PLAN SELECT COUNT(*) FROM (");
        crate::repository::selection::push_unsent(&mut query, NAS, &selection, None, 0);
        query.push(")");
        let steps: Vec<(i64, i64, i64, String)> = query
            .fetch_all(&mut store.read().await.unwrap())
            .await
            .unwrap();
        let plan: Vec<&str> = steps.iter().map(|(.., step)| step.as_str()).collect();
        let text = plan.join("\n");
        assert!(text.contains("MERGE (EXCEPT)"), "{text}");
        assert!(!text.contains("TEMP B-TREE"), "{text}");
        for index in ["segments_by_time", "backup_objects_by_time"] {
            assert!(
                text.contains(&format!("USING COVERING INDEX {index}")),
                "{text}"
            );
        }
    }
}

async fn a_recorder_has_deleted_up_to_the_end_of_the_newest_that_is_gone() {
    let Database { store, _folder } = with_nas().await;
    let yard = CameraId::parse("yard").unwrap();
    let mut files = vec![
        segment("old.mp4", 0, 1_000),
        // It began before the last one and ends after it.
        segment("long.mp4", 10_000, 9_000),
        segment("last.mp4", 12_000, 1_000),
        segment("there.mp4", 40_000, 1_000),
        segment("yard.mp4", 50_000, 1_000),
        segment("yard_there.mp4", 60_000, 1_000),
    ];
    for file in &mut files[4..] {
        file.camera_id = yard.clone();
    }
    store.take_in(&files, at_ms(0)).await.unwrap();
    assert!(store.deletion_frontier().await.unwrap().is_empty());
    let gone = ["old.mp4", "long.mp4", "last.mp4", "yard.mp4"].map(str::to_owned);
    let marked = store.mark_missing("recordings", &gone, at_ms(1));
    assert_eq!(marked.await.unwrap(), 4);
    assert_eq!(
        store.deletion_frontier().await.unwrap(),
        [(gate(), at_ms(19_000)), (yard, at_ms(51_000))].into()
    );
}
