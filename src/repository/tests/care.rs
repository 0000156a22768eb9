//! Room that deleted rows leave, and what is not kept beside the rows.

use std::collections::BTreeMap;

use super::*;
use crate::domain::job::{JobSpec, NewJob, PRIORITY_INTERACTIVE};
use crate::domain::source::ImportSpec;

async fn pages(store: &Store) -> i64 {
    let mut connection = store.writer().await.unwrap();
    let count = sql("PRAGMA page_count").fetch_value(&mut connection).await;
    count.unwrap()
}

#[tokio::test]
async fn old_jobs_are_forgotten_in_parts_and_their_room_is_given_back() {
    let Database { store, _folder } = Database::new().await;
    for number in 0..300 {
        let new = NewJob {
            id: format!("job_{number}"),
            spec: JobSpec::Import(ImportSpec {
                source_id: "recordings".to_owned(),
            }),
            priority: PRIORITY_INTERACTIVE,
            max_attempts: 3,
            created_by: String::new(),
            labels: BTreeMap::from([("long".to_owned(), "x".repeat(4_000))]),
            retry_of: String::new(),
            request: None,
        };
        store.insert_job(&new, 1_000, at_ms(0)).await.unwrap();
        store
            .cancel_job(&new.id, 0, at_ms(10), at_ms(1))
            .await
            .unwrap();
    }
    let full = pages(&store).await;
    assert_eq!(store.delete_expired_jobs(at_ms(9), 200).await.unwrap(), 0);
    for deleted in [200, 100, 0] {
        let count = store.delete_expired_jobs(at_ms(10), 200).await.unwrap();
        assert_eq!(count, deleted);
    }
    assert_eq!(pages(&store).await, full, "the room is kept for new rows");
    store.tend().await.unwrap();
    let tended = pages(&store).await;
    assert!(tended * 2 < full, "{tended} of {full} pages");
    assert_eq!(store.check_integrity().await.unwrap(), "ok");
}

/// Whether the database keeps how large its tables were when somebody counted.
async fn has_statistics(store: &Store) -> bool {
    let mut connection = store.writer().await.unwrap();
    let tables: Vec<(String, String, String, i64, i64, i64)> =
        sql("PRAGMA table_list(sqlite_stat1)")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    !tables.is_empty()
}

#[tokio::test]
async fn no_statistics_are_kept_for_which_a_table_that_was_small_would_be_read_whole() {
    let Database {
        store,
        _folder: folder,
    } = Database::new().await;
    let file = segment("a.mp4", 0, 1_000);
    store.take_in(&[file], at_ms(0)).await.unwrap();
    let segments = store.segments_in(&gate(), range(0, 500)).await.unwrap();
    let ids = [segments[0].id.clone()];
    assert_eq!(store.segment_indexes(&ids).await.unwrap().len(), 1);
    store.tend().await.unwrap();
    assert!(!has_statistics(&store).await, "tending counts");
    let mut connection = store.writer().await.unwrap();
    sql("ANALYZE").execute(&mut connection).await.unwrap();
    drop(connection);
    assert!(has_statistics(&store).await);
    let url = format!("sqlite://{}/test.db", folder.path().display());
    let store = Store::open(&url).await.unwrap();
    assert!(!has_statistics(&store).await, "they stay");
}
