//! Jobs in the order of the queue, and against the pure rules of their life.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::statement::sql;
use super::*;
use crate::domain::catalog::ImportSummary;
use crate::domain::job::{
    Job, JobEvent, JobKind, JobResult, JobSpec, JobState, Life, NewJob, Notice,
    PRIORITY_BACKGROUND, PRIORITY_INTERACTIVE, Reason,
};
use crate::domain::source::ImportSpec;

const ATTEMPTS: u32 = 3;

fn import(id: &str, created_by: &str, priority: i64) -> NewJob {
    NewJob {
        id: id.to_owned(),
        spec: JobSpec::Import(ImportSpec {
            source_id: "recordings".to_owned(),
        }),
        priority,
        max_attempts: ATTEMPTS,
        created_by: created_by.to_owned(),
        labels: BTreeMap::new(),
        retry_of: String::new(),
        request: None,
    }
}

async fn insert(store: &Store, new: &NewJob, limit: u64, at: i64) -> InsertedJob {
    store.insert_job(new, limit, at_ms(at)).await.unwrap()
}

async fn claim(store: &Store, at: i64) -> Option<Job> {
    store
        .claim_job(JobKind::Import, "me", at_ms(at))
        .await
        .unwrap()
}

async fn claimed_ids(store: &Store) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some(job) = claim(store, 1_000).await {
        ids.push(job.id);
    }
    ids
}

fn fence(job: &Job) -> Fence {
    Fence {
        job_id: job.id.clone(),
        epoch: job.epoch,
        owner: job.owner.clone(),
    }
}

on_both! {
    callers_take_turns_and_what_a_person_asked_for_comes_first,
    who_comes_anew_is_next_and_then_takes_turns,
    what_was_cancelled_before_it_ran_took_no_turn,
    a_caller_who_fills_the_queue_leaves_room_for_others,
    a_job_that_lives_is_not_taken_though_its_lease_ran_out,
    what_an_owner_was_given_is_known_until_it_ends,
    a_row_that_cannot_be_read_stops_neither_claims_nor_rescues_of_others,
    a_rescued_job_is_newer_than_whatever_its_worker_can_have_told,
}

async fn spoil(store: &Store, id: &str) {
    let spoilt = sql("UPDATE jobs SET spec = 'no spec' WHERE id = $1")
        .bind(id)
        .execute(&mut store.writer().await.unwrap())
        .await;
    assert_eq!(spoilt.unwrap(), 1);
}

async fn state(store: &Store, id: &str) -> String {
    sql("SELECT state FROM jobs WHERE id = $1")
        .bind(id)
        .fetch_value(&mut store.read().await.unwrap())
        .await
        .unwrap()
}

async fn a_row_that_cannot_be_read_stops_neither_claims_nor_rescues_of_others() {
    let Database { store, _folder } = Database::new().await;
    for (at, id) in (0..).zip(["a", "b", "c"]) {
        insert(&store, &import(id, "ann", PRIORITY_INTERACTIVE), 100, at).await;
    }
    spoil(&store, "a").await;
    assert_eq!(claim(&store, 10).await.unwrap().id, "b");
    assert_eq!(state(&store, "a").await, "FAILED");
    assert_eq!(claim(&store, 10).await.unwrap().id, "c");
    spoil(&store, "b").await;
    let rescued = store
        .rescue_jobs("me", |_| false, at_ms(99), at_ms(20))
        .await
        .unwrap();
    assert_eq!(rescued.len(), 1);
    assert_eq!(rescued[0].id, "c");
    assert_eq!(state(&store, "b").await, "RUNNING", "for who can read it");
}

async fn a_rescued_job_is_newer_than_whatever_its_worker_can_have_told() {
    let Database { store, _folder } = Database::new().await;
    insert(&store, &import("a", "ann", PRIORITY_INTERACTIVE), 100, 0).await;
    let job = claim(&store, 0).await.unwrap();
    // Four a second until its lease is over.
    let told = job.revision + 4 * store.lease().num_seconds().unsigned_abs();
    let rescued = store
        .rescue_jobs("me", |_| false, at_ms(99), at_ms(20))
        .await
        .unwrap();
    assert!(rescued[0].revision > told, "{}", rescued[0].revision);
}

async fn callers_take_turns_and_what_a_person_asked_for_comes_first() {
    let Database { store, _folder } = Database::new().await;
    let jobs = [
        ("night_1", "schedule", PRIORITY_BACKGROUND),
        ("a_1", "ann", PRIORITY_INTERACTIVE),
        ("a_2", "ann", PRIORITY_INTERACTIVE),
        ("a_3", "ann", PRIORITY_INTERACTIVE),
        ("b_1", "ben", PRIORITY_INTERACTIVE),
        ("b_2", "ben", PRIORITY_INTERACTIVE),
        ("c_1", "cleo", PRIORITY_INTERACTIVE),
    ];
    for (at, (id, by, priority)) in (0..).zip(jobs) {
        insert(&store, &import(id, by, priority), 100, at).await;
    }
    assert_eq!(
        claimed_ids(&store).await,
        ["a_1", "b_1", "c_1", "a_2", "b_2", "a_3", "night_1"]
    );
}

async fn who_comes_anew_is_next_and_then_takes_turns() {
    let Database { store, _folder } = Database::new().await;
    for (at, number) in (0..).zip(0..6) {
        let job = import(&format!("a_{number}"), "ann", PRIORITY_INTERACTIVE);
        insert(&store, &job, 100, at).await;
    }
    for expected in ["a_0", "a_1", "a_2"] {
        let job = claim(&store, 10).await.unwrap();
        assert_eq!(job.id, expected);
        // What waits for another attempt keeps its turn, and does not take that of who comes anew.
        if expected == "a_0" {
            let again = Finish::Retry(Notice::new(Reason::Internal, "later"), at_ms(9_000));
            store
                .finish_job(&fence(&job), again, None, 0, at_ms(99), at_ms(11))
                .await
                .unwrap();
        }
    }
    for (at, number) in (20..).zip(0..3) {
        let job = import(&format!("b_{number}"), "ben", PRIORITY_INTERACTIVE);
        insert(&store, &job, 100, at).await;
    }
    assert_eq!(
        claimed_ids(&store).await,
        ["b_0", "a_3", "b_1", "a_4", "b_2", "a_5"]
    );
}

async fn what_was_cancelled_before_it_ran_took_no_turn() {
    let Database { store, _folder } = Database::new().await;
    for number in 0..6 {
        let job = import(&format!("a_{number}"), "ann", PRIORITY_INTERACTIVE);
        insert(&store, &job, 100, number).await;
    }
    for number in 0..6 {
        let id = format!("a_{number}");
        store.cancel_job(&id, 0, at_ms(99), at_ms(7)).await.unwrap();
    }
    for (at, id) in (10..).zip(["b_0", "b_1", "b_2"]) {
        insert(&store, &import(id, "ben", PRIORITY_INTERACTIVE), 100, at).await;
    }
    let job = import("a_new", "ann", PRIORITY_INTERACTIVE);
    insert(&store, &job, 100, 20).await;
    assert_eq!(claimed_ids(&store).await, ["b_0", "b_1", "a_new", "b_2"]);
}

async fn a_caller_who_fills_the_queue_leaves_room_for_others() {
    let Database { store, _folder } = Database::new().await;
    for number in 0..10 {
        let job = import(&format!("a_{number}"), "ann", PRIORITY_INTERACTIVE);
        insert(&store, &job, 10, number).await;
    }
    let more = import("a_10", "ann", PRIORITY_INTERACTIVE);
    assert!(matches!(
        insert(&store, &more, 10, 20).await,
        InsertedJob::QueueFull(10)
    ));
    let other = import("b_0", "ben", PRIORITY_INTERACTIVE);
    assert!(matches!(
        insert(&store, &other, 10, 20).await,
        InsertedJob::New(_)
    ));
    let third = import("c_0", "cleo", PRIORITY_INTERACTIVE);
    assert!(matches!(
        insert(&store, &third, 10, 20).await,
        InsertedJob::QueueFull(11)
    ));
}

#[tokio::test]
async fn a_claim_reads_the_first_row_of_an_index() {
    let Database { store, _folder } = Database::new().await;
    let plan: Vec<(i64, i64, i64, String)> = sql(format!(
        "EXPLAIN QUERY PLAN {}",
        super::super::claims::CLAIM
    ))
    .bind("IMPORT")
    .bind("me")
    .bind(0_i64)
    .bind(0_i64)
    .fetch_all(&mut store.read().await.unwrap())
    .await
    .unwrap();
    let plan: Vec<String> = plan.into_iter().map(|(.., step)| step).collect();
    assert!(
        plan.iter()
            .any(|step| step.contains("USING INDEX jobs_to_claim (kind=?)")),
        "{plan:?}"
    );
    assert!(
        plan.iter().all(|step| !step.contains("TEMP B-TREE")),
        "{plan:?}"
    );
}

async fn a_job_that_lives_is_not_taken_though_its_lease_ran_out() {
    let Database { store, _folder } = Database::new().await;
    insert(&store, &import("a", "", PRIORITY_INTERACTIVE), 100, 0).await;
    let job = claim(&store, 0).await.unwrap();
    let after_sleep = at_ms(3_600_000);
    let taken = store.rescue_jobs("", |job| job.id == "a", at_ms(99), after_sleep);
    assert!(taken.await.unwrap().is_empty());
    let renewed = store.renew_lease(&fence(&job), after_sleep).await.unwrap();
    assert_eq!(renewed, Some(JobState::Running));
}

async fn what_an_owner_was_given_is_known_until_it_ends() {
    let Database { store, _folder } = Database::new().await;
    for id in ["a", "b", "c"] {
        insert(&store, &import(id, "", PRIORITY_INTERACTIVE), 100, 0).await;
    }
    let (a, b) = (claim(&store, 0).await, claim(&store, 0).await);
    let (a, b) = (fence(&a.unwrap()), fence(&b.unwrap()));
    let cancelled = store.cancel_job("b", 0, at_ms(99), at_ms(1)).await;
    assert!(matches!(cancelled.unwrap(), CancelledJob::Marked(_)));
    let mut given = store.claims_of("me").await.unwrap();
    given.sort_by(|one, other| one.job_id.cmp(&other.job_id));
    assert_eq!(given, [a.clone(), b]);
    assert!(store.claims_of("you").await.unwrap().is_empty());
    let given_back = store.finish_job(&a, Finish::Interrupted, None, 0, at_ms(99), at_ms(2));
    let given_back = given_back.await.unwrap().unwrap();
    assert_eq!(
        (given_back.state, given_back.attempt),
        (JobState::Queued, 0)
    );
    assert_eq!(store.claims_of("me").await.unwrap().len(), 1);
}

/// Makes `event` happen in the database to the job that `worker` had claimed last. Whether the database let it.
async fn happen(store: &Store, event: JobEvent, worker: &mut Option<Job>) -> bool {
    let failed = || Notice::new(Reason::Internal, "boom");
    let finish = match event {
        JobEvent::Claim => {
            let claimed = claim(store, 1).await;
            let is_claimed = claimed.is_some();
            *worker = claimed.or(worker.take());
            return is_claimed;
        }
        JobEvent::Cancel => {
            let cancelled = store.cancel_job("job", 0, at_ms(99), at_ms(1)).await;
            return matches!(cancelled.unwrap(), CancelledJob::Marked(job) if job.state != JobState::Succeeded);
        }
        JobEvent::Abandon => {
            let rescued = store.rescue_jobs("me", |_| false, at_ms(99), at_ms(1));
            return !rescued.await.unwrap().is_empty();
        }
        JobEvent::Succeed => {
            Finish::Succeeded(JobResult::Import(ImportSummary::default()), Vec::new())
        }
        JobEvent::Fail => Finish::Failed(failed(), Vec::new()),
        JobEvent::Stop => Finish::Stopped,
        JobEvent::Retry => Finish::Retry(failed(), at_ms(0)),
        JobEvent::Interrupt => Finish::Interrupted,
    };
    let Some(job) = worker else { return false };
    let fence = fence(job);
    let written = store.finish_job(&fence, finish, None, 0, at_ms(99), at_ms(1));
    // A worker that stops without having been told is a fault of the program, and is told as one.
    written.await.is_ok_and(|written| written.is_some())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_database_follows_the_rules_of_a_jobs_life(
        events in prop::collection::vec(prop::sample::select(JobEvent::ALL.to_vec()), 1..30),
        // A database on a server takes longer to make than all the events.
        kind in prop::sample::select(vec![Kind::Sqlite, Kind::Sqlite, Kind::Postgres]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(KIND.scope(kind, async {
            let Database { store, _folder } = Database::new().await;
            insert(&store, &import("job", "", PRIORITY_INTERACTIVE), 100, 0).await;
            let mut life = Life::new(ATTEMPTS);
            let mut worker = None;
            let mut revision = 1;
            for event in events {
                let expected = life.after(event);
                let happened = happen(&store, event, &mut worker).await;
                let job = store.job("job").await.unwrap().unwrap();
                let is_cancelled_again = event == JobEvent::Cancel && life.state == JobState::Cancelled;
                prop_assert_eq!(
                    happened, expected.is_some() || is_cancelled_again, "{:?} in {:?}", event, life
                );
                life = expected.unwrap_or(life);
                prop_assert_eq!(job.life(), life, "after {:?}", event);
                prop_assert_eq!(job.owner.is_empty(), !matches!(life.state, JobState::Running | JobState::Cancelling));
                prop_assert_eq!(job.end_time.is_some(), life.state.is_terminal());
                prop_assert_eq!(job.error.is_some(), life.state == JobState::Failed);
                prop_assert_eq!(job.result.is_some(), life.state == JobState::Succeeded);
                prop_assert!(job.revision >= revision);
                revision = job.revision;
            }
            store.close().await;
            Ok(())
        }))?;
    }
}
