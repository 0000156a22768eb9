//! Policies and their runs.

use std::time::Duration;

use chrono::Weekday;

use super::backup_sample::*;
use super::error::us;
use super::statement::sql;
use super::*;
use crate::domain::backup::destination::{Pause, PauseReason};
use crate::domain::backup::policy::{Policy, Retention, Schedule, TransferHours};
use crate::domain::job::{Job, JobKind, NewJob, Notice, Reason};

async fn with_policy() -> Database {
    let database = with_nas().await;
    let inserted = database.store.insert_policy(&policy("bkp_1"), None).await;
    assert!(matches!(inserted.unwrap(), InsertedPolicy::New(_)));
    database
}

async fn get(store: &Store) -> Policy {
    store.policy("bkp_1").await.unwrap().unwrap()
}

async fn claim(store: &Store, job_id: &str, due_ms: i64, next_ms: i64) -> Option<InsertedJob> {
    let job = run(job_id, "bkp_1", Some(at_ms(due_ms)));
    store
        .claim_run(
            "bkp_1",
            at_ms(due_ms),
            Some(at_ms(next_ms)),
            &job,
            10,
            at_ms(next_ms),
        )
        .await
        .unwrap()
}

async fn started(store: &Store) -> Job {
    store
        .claim_job(JobKind::Backup, "me", at_ms(0))
        .await
        .unwrap()
        .unwrap()
}

async fn fail(store: &Store, job: &Job) {
    let finish = Finish::Failed(Notice::new(Reason::TimedOut, "too long"), Vec::new());
    store
        .finish_job(&fence(job), finish, None, 0, at_ms(99), at_ms(50))
        .await
        .unwrap()
        .unwrap();
}

on_both! {
    a_policy_reads_back_as_it_was_written,
    the_same_request_makes_one_policy_and_what_cannot_be_is_told_apart,
    an_update_keeps_the_next_run_that_a_scheduler_moved_meanwhile,
    of_many_schedulers_one_gets_a_due_run,
    a_due_moment_has_one_run_also_when_the_policy_came_back_to_it,
    a_run_that_is_due_while_another_lives_stays_due_and_is_made_up_for_once,
    policies_whose_destination_cannot_be_used_stay_due_and_keep_nobody_from_running,
    a_claim_that_finds_the_queue_full_leaves_the_run_due,
    a_policy_is_overdue_from_the_first_run_that_did_not_send_everything_until_one_did,
    a_run_that_was_cancelled_before_it_began_leaves_its_policy_overdue,
    an_id_of_a_job_is_taken_once,
    policies_are_listed_by_destination,
}

async fn a_policy_reads_back_as_it_was_written() {
    let Database { store, _folder } = with_nas().await;
    let full = Policy {
        schedule: Schedule::Cron {
            expression: "30 2 * * *".to_owned(),
            zone: chrono_tz::Europe::Berlin,
        },
        lookback: Some(Duration::from_secs(604_800)),
        camera_ids: vec![gate()],
        evidence_only: true,
        transfer_hours: Some(TransferHours {
            start_minute: 22 * 60,
            end_minute: 6 * 60,
            zone: chrono_tz::UTC,
            days: vec![Weekday::Mon, Weekday::Sun],
        }),
        bandwidth_limit_bytes_per_second: 1 << 20,
        retention: Some(Retention {
            max_age: Some(Duration::from_secs(86_400)),
            max_bytes: 7,
        }),
        run_timeout: Some(Duration::from_millis(30_500)),
        labels: [("site".to_owned(), "north".to_owned())].into(),
        ..policy("bkp_1")
    };
    let InsertedPolicy::New(written) = store.insert_policy(&full, None).await.unwrap() else {
        panic!("nothing was there before");
    };
    assert_eq!((*written, get(&store).await), (full.clone(), full));
}

async fn the_same_request_makes_one_policy_and_what_cannot_be_is_told_apart() {
    let Database { store, _folder } = with_nas().await;
    let insert = async |policy: Policy, digest: &str| {
        store
            .insert_policy(&policy, Some(&request("r", digest)))
            .await
            .unwrap()
    };
    assert!(matches!(
        insert(policy("bkp_1"), "one").await,
        InsertedPolicy::New(_)
    ));
    assert!(
        matches!(insert(policy("bkp_2"), "one").await, InsertedPolicy::Existing(first) if first.id == "bkp_1")
    );
    assert!(matches!(
        insert(policy("bkp_2"), "two").await,
        InsertedPolicy::RequestIdReused
    ));
    assert!(matches!(
        store.insert_policy(&policy("bkp_1"), None).await.unwrap(),
        InsertedPolicy::IdTaken
    ));
    let lost = Policy {
        destination_id: "bkd_gone".to_owned(),
        ..policy("bkp_3")
    };
    assert!(matches!(
        store.insert_policy(&lost, None).await.unwrap(),
        InsertedPolicy::NoDestination
    ));
}

async fn an_update_keeps_the_next_run_that_a_scheduler_moved_meanwhile() {
    let Database { store, _folder } = with_policy().await;
    let read = get(&store).await;
    assert!(matches!(
        claim(&store, "bkj_1", 0, 60).await,
        Some(InsertedJob::New(_))
    ));
    let renamed = Policy {
        display_name: "renamed".to_owned(),
        ..read.clone()
    };
    let UpdatedPolicy::Updated(renamed) = store
        .update_policy(&renamed, NextRun::Keep, at_ms(61))
        .await
        .unwrap()
    else {
        panic!("nobody was first");
    };
    assert_eq!(
        (renamed.revision, renamed.status.next_run_time),
        (2, Some(at_ms(60)))
    );
    assert!(matches!(
        store
            .update_policy(&read, NextRun::Keep, at_ms(62))
            .await
            .unwrap(),
        UpdatedPolicy::Stale
    ));
    let disabled = Policy {
        enabled: false,
        ..*renamed
    };
    let UpdatedPolicy::Updated(disabled) = store
        .update_policy(&disabled, NextRun::Never, at_ms(63))
        .await
        .unwrap()
    else {
        panic!("nobody was first");
    };
    assert_eq!(disabled.status.next_run_time, None);
    assert!(claim(&store, "bkj_2", 60, 120).await.is_none());
    assert_eq!(
        store.delete_policy("bkp_1", Some(1)).await.unwrap(),
        DeletedPolicy::Stale
    );
    assert_eq!(
        store.delete_policy("bkp_1", Some(3)).await.unwrap(),
        DeletedPolicy::Deleted
    );
    assert_eq!(
        store.delete_policy("bkp_1", None).await.unwrap(),
        DeletedPolicy::NotFound
    );
}

async fn of_many_schedulers_one_gets_a_due_run() {
    let Database { store, _folder } = with_policy().await;
    let claims = (0..8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { claim(&store, &format!("bkj_{number}"), 0, 60).await })
    });
    let mut won = 0;
    for claim in claims.collect::<Vec<_>>() {
        match claim.await.unwrap() {
            Some(InsertedJob::New(_)) => won += 1,
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
    assert_eq!(won, 1);
    let policy = get(&store).await;
    assert_eq!(policy.status.next_run_time, Some(at_ms(60)));
    assert_eq!(policy.status.last_run_time, Some(at_ms(60)));
    let (jobs, _) = store
        .jobs(&JobFilter::default(), &FIRST_PAGE)
        .await
        .unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(policy.status.last_job_id, jobs[0].id);
}

async fn a_run_that_is_due_while_another_lives_stays_due_and_is_made_up_for_once() {
    let Database { store, _folder } = with_policy().await;
    // By hand: the schedule does not move.
    let by_hand = run("bkj_hand", "bkp_1", None);
    assert!(matches!(
        store.insert_job(&by_hand, 10, at_ms(0)).await.unwrap(),
        InsertedJob::New(_)
    ));
    assert_eq!(get(&store).await.status.last_job_id, "bkj_hand");
    assert_eq!(get(&store).await.status.next_run_time, Some(at_ms(0)));
    assert!(store.due_policies(at_ms(500), 10).await.unwrap().is_empty());
    assert!(matches!(
        claim(&store, "bkj_1", 0, 60).await,
        Some(InsertedJob::PolicyRunning { job_id }) if job_id == "bkj_hand"
    ));
    assert!(matches!(
        store
            .insert_job(&run("bkj_2", "bkp_1", None), 10, at_ms(0))
            .await
            .unwrap(),
        InsertedJob::PolicyRunning { .. }
    ));
    let job = started(&store).await;
    fail(&store, &job).await;
    let due = store.due_policies(at_ms(500), 10).await.unwrap();
    assert_eq!(due[0].status.next_run_time, Some(at_ms(0)));
    assert!(matches!(
        claim(&store, "bkj_1", 0, 600).await,
        Some(InsertedJob::New(_))
    ));
    let job = started(&store).await;
    fail(&store, &job).await;
    assert!(store.due_policies(at_ms(599), 10).await.unwrap().is_empty());
}

async fn policies_whose_destination_cannot_be_used_stay_due_and_keep_nobody_from_running() {
    let Database { store, _folder } = with_policy().await;
    let due = async || store.due_policies(at_ms(500), 1).await.unwrap().len();
    assert_eq!(due().await, 1);
    let destination = store.destination(NAS).await.unwrap().unwrap();
    let pause = Pause {
        reason: PauseReason::Full,
        message: "full".to_owned(),
        start_time: at_ms(0),
    };
    assert!(
        store
            .set_pause(NAS, destination.revision, &pause)
            .await
            .unwrap()
    );
    assert_eq!(due().await, 0);
    store.end_pause(NAS).await.unwrap();
    assert_eq!(due().await, 1);
}

async fn a_due_moment_has_one_run_also_when_the_policy_came_back_to_it() {
    let Database { store, _folder } = with_policy().await;
    assert!(matches!(
        claim(&store, "bkj_1", 0, 60).await,
        Some(InsertedJob::New(_))
    ));
    let first = started(&store).await;
    fail(&store, &first).await;
    // As after an update of the policy that was read before the run.
    let comes_back = async |from_ms: i64, to_ms: i64| {
        sql("UPDATE policies SET next_run_us = $2 WHERE next_run_us = $1")
            .bind(us(at_ms(from_ms)))
            .bind(us(at_ms(to_ms)))
            .execute(&mut store.writer().await.unwrap())
            .await
            .unwrap()
    };
    comes_back(60, 0).await;
    assert!(claim(&store, "bkj_2", 0, 60).await.is_none());
    let status = get(&store).await.status;
    assert_eq!(
        (status.next_run_time, status.last_job_id.as_str()),
        (Some(at_ms(60)), "bkj_1"),
        "the policy moved on"
    );
    // The database itself refuses a second one, and lets a retry through.
    let twice = store
        .insert_job(&run("bkj_3", "bkp_1", Some(at_ms(0))), 10, at_ms(1))
        .await;
    assert!(twice.is_err_and(|error| error.is_unique_violation()));
    let retry = NewJob {
        retry_of: "bkj_1".to_owned(),
        ..run("bkj_4", "bkp_1", Some(at_ms(0)))
    };
    let inserted = store.insert_job(&retry, 10, at_ms(1)).await.unwrap();
    assert!(matches!(inserted, InsertedJob::New(_)), "{inserted:?}");
    let retried = started(&store).await;
    fail(&store, &retried).await;

    // A run that only a wrong clock let happen does not take the place of the true one.
    assert!(matches!(
        claim(&store, "bkj_5", 60, 120).await,
        Some(InsertedJob::New(_))
    ));
    let early = started(&store).await;
    fail(&store, &early).await;
    assert!(
        store
            .move_next_run("bkp_1", at_ms(120), at_ms(60))
            .await
            .unwrap()
    );
    assert!(matches!(
        claim(&store, "bkj_6", 60, 120).await,
        Some(InsertedJob::New(_))
    ));
}

async fn a_claim_that_finds_the_queue_full_leaves_the_run_due() {
    let Database { store, _folder } = with_policy().await;
    let job = run("bkj_1", "bkp_1", Some(at_ms(0)));
    let refused = store
        .claim_run("bkp_1", at_ms(0), Some(at_ms(60)), &job, 0, at_ms(1))
        .await
        .unwrap();
    assert!(matches!(refused, Some(InsertedJob::QueueFull(0))));
    let status = get(&store).await.status;
    assert_eq!(
        (status.next_run_time, status.last_job_id.as_str()),
        (Some(at_ms(0)), "")
    );
}

async fn a_policy_is_overdue_from_the_first_run_that_did_not_send_everything_until_one_did() {
    let Database { store, _folder } = with_policy().await;
    let overdue = async |at_ms_: i64| {
        let filter = PolicyFilter {
            overdue_at: Some(at_ms(at_ms_)),
            ..Default::default()
        };
        !store
            .policies(&filter, &FIRST_PAGE)
            .await
            .unwrap()
            .0
            .is_empty()
    };
    assert!(!overdue(0).await);
    // It was due and nobody took it.
    assert!(overdue(1).await);

    claim(&store, "bkj_1", 0, 60).await.unwrap();
    assert!(!overdue(1).await);
    let job = started(&store).await;
    fail(&store, &job).await;
    assert_eq!(get(&store).await.status.overdue_since_time, Some(at_ms(0)));
    assert!(overdue(1).await);

    claim(&store, "bkj_2", 60, 120).await.unwrap();
    let mut run_end = RunEnd {
        job_id: "bkj_2".to_owned(),
        due_time: Some(at_ms(60)),
        end_time: at_ms(70),
        is_complete: false,
        files_unsent: 3,
        bytes_unsent: 30,
        files_at_risk: 1,
    };
    store.note_run_end("bkp_1", &run_end).await.unwrap();
    let status = get(&store).await.status;
    assert_eq!(status.overdue_since_time, Some(at_ms(0)));
    assert_eq!(
        (
            status.files_unsent,
            status.bytes_unsent,
            status.files_at_risk
        ),
        (3, 30, 1)
    );

    // A worker that lost its job to another says nothing.
    let late = RunEnd {
        job_id: "bkj_1".to_owned(),
        is_complete: true,
        ..run_end.clone()
    };
    store.note_run_end("bkp_1", &late).await.unwrap();
    assert_eq!(get(&store).await.status.last_success_time, None);

    run_end.is_complete = true;
    run_end.files_unsent = 0;
    store.note_run_end("bkp_1", &run_end).await.unwrap();
    let status = get(&store).await.status;
    assert_eq!(status.overdue_since_time, None);
    assert_eq!(status.last_success_time, Some(at_ms(70)));
    assert_eq!(status.files_unsent, 0);
    assert!(!overdue(1).await);
}

async fn a_run_that_was_cancelled_before_it_began_leaves_its_policy_overdue() {
    let Database { store, _folder } = with_policy().await;
    claim(&store, "bkj_1", 0, 60).await.unwrap();
    store
        .cancel_job("bkj_1", 0, at_ms(99), at_ms(5))
        .await
        .unwrap();
    assert_eq!(get(&store).await.status.overdue_since_time, Some(at_ms(0)));
}

async fn an_id_of_a_job_is_taken_once() {
    let Database { store, _folder } = with_nas().await;
    let insert = async |job| store.insert_job(job, 10, at_ms(0)).await.unwrap();
    let job = run("bkj_1", "", None);
    assert!(matches!(insert(&job).await, InsertedJob::New(_)));
    assert!(matches!(insert(&job).await, InsertedJob::IdTaken));
    assert!(store.is_output_taken("bkj_1").await.unwrap());
    assert!(!store.is_output_taken("bkj_2").await.unwrap());
    let job = started(&store).await;
    fail(&store, &job).await;
    assert!(matches!(
        insert(&run("bkj_1", "", None)).await,
        InsertedJob::IdTaken
    ));
}

async fn policies_are_listed_by_destination() {
    let Database { store, _folder } = with_policy().await;
    let filter = |id: &str| PolicyFilter {
        destination_id: Some(id.to_owned()),
        ..Default::default()
    };
    let count = async |filter| store.policies(&filter, &FIRST_PAGE).await.unwrap().0.len();
    assert_eq!(count(filter(NAS)).await, 1);
    assert_eq!(count(filter("bkd_other")).await, 0);
    assert_eq!(store.policies_of(NAS).await.unwrap().len(), 1);
}
