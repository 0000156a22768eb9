//! Room that deleted rows leave.

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
