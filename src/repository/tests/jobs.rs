//! Jobs and the fenced writes of their workers.

use std::collections::BTreeMap;

use super::*;
use crate::domain::clip::{ClipEngine, ClipSpec, GapMode};
use crate::domain::job::{
    JobKind, JobResult, JobSpec, JobState, LEASE, NewJob, Notice, Reason, RequestKey,
};

fn clip_job(id: &str, request: Option<(&str, &str)>) -> NewJob {
    NewJob {
        id: id.to_owned(),
        spec: JobSpec::Clip(ClipSpec {
            clip_id: format!("clip_{id}"),
            camera_id: gate(),
            start_us: 0,
            end_us: 1,
            keep_for_s: 0,
            created_by: String::new(),
            labels: BTreeMap::new(),
            engine: ClipEngine::Auto,
            gap_mode: GapMode::Close,
            render: None,
            is_virtual: false,
            hold_sources: false,
            quick: false,
        }),
        priority: 10,
        max_attempts: 2,
        created_by: String::new(),
        labels: BTreeMap::from([("case".to_owned(), "17".to_owned())]),
        retry_of: String::new(),
        request: request.map(|(request_id, digest)| RequestKey {
            request_id: request_id.to_owned(),
            digest: digest.to_owned(),
        }),
    }
}

fn fence(job: &crate::domain::job::Job) -> Fence {
    Fence {
        job_id: job.id.clone(),
        epoch: job.epoch,
        owner: job.owner.clone(),
    }
}

async fn insert(store: &Store, new: &NewJob) -> crate::domain::job::Job {
    match store.insert_job(new, 100, at_ms(0)).await.unwrap() {
        InsertedJob::New(job) => job,
        other => panic!("{other:?}"),
    }
}

on_both! {
    the_same_request_makes_one_job_and_another_with_its_id_is_refused,
    jobs_are_claimed_in_the_transaction_that_lets_them_in_the_oldest_first,
    an_output_id_is_taken_while_its_job_lives,
    a_full_queue_refuses_jobs_until_one_is_claimed,
    a_worker_that_lost_its_job_can_write_nothing_about_it,
    a_job_whose_attempts_are_used_up_fails_and_an_interruption_costs_none,
    a_cancelled_job_ends_cancelled_even_when_its_worker_fails_or_dies,
    revisions_grow_with_every_change_and_never_fall_behind_what_watchers_saw,
    jobs_are_listed_by_kind_state_camera_and_labels,
}

async fn the_same_request_makes_one_job_and_another_with_its_id_is_refused() {
    let Database { store, _folder } = Database::new().await;
    insert(&store, &clip_job("job_1", Some(("r", "one")))).await;
    let again = store
        .insert_job(&clip_job("job_2", Some(("r", "one"))), 100, at_ms(0))
        .await
        .unwrap();
    assert!(matches!(again, InsertedJob::Existing(job) if job.id == "job_1"));
    let other = store
        .insert_job(&clip_job("job_3", Some(("r", "two"))), 100, at_ms(0))
        .await
        .unwrap();
    assert!(matches!(other, InsertedJob::RequestIdReused));
}

async fn jobs_are_claimed_in_the_transaction_that_lets_them_in_the_oldest_first() {
    let Database { store, _folder } = Database::new().await;
    let admit = async |ids: &[&str], places: usize, now_ms: i64| {
        let news: Vec<_> = ids.iter().map(|id| clip_job(id, None)).collect();
        let mut places = 0..places;
        let place = |kind| {
            assert_eq!(kind, JobKind::Clip);
            places.next()
        };
        let admitted = store.admit_jobs(&news, 100, "me", place, at_ms(now_ms));
        let AdmittedJobs { inserted, claimed } = admitted.await.unwrap();
        let is_new = |inserted: &InsertedJob| matches!(inserted, InsertedJob::New(_));
        assert!(inserted.iter().all(is_new), "{inserted:?}");
        for (job, _) in &claimed {
            assert_eq!(store.job(&job.id).await.unwrap().as_ref(), Some(job));
            assert_eq!((job.state, job.epoch), (JobState::Running, 1));
            assert_eq!(job.owner, "me");
        }
        let with_places = claimed.into_iter().map(|(job, place)| (job.id, place));
        with_places.collect::<Vec<_>>()
    };
    let claimed = |ids: &[&str]| -> Vec<_> {
        let ids = ids.iter().map(|id| (*id).to_owned());
        ids.zip(0..).collect()
    };
    assert_eq!(admit(&["job_1", "job_2"], 1, 0).await, claimed(&["job_1"]));
    // A place goes to whoever waits longest.
    assert_eq!(admit(&["job_3"], 1, 1).await, claimed(&["job_2"]));
    assert!(admit(&["job_4"], 0, 2).await.is_empty());
    assert_eq!(
        admit(&["job_5", "job_6"], 3, 3).await,
        claimed(&["job_3", "job_4"])
    );
}

async fn an_output_id_is_taken_while_its_job_lives() {
    let Database { store, _folder } = Database::new().await;
    insert(&store, &clip_job("job_1", None)).await;
    let same_output = NewJob {
        id: "job_2".to_owned(),
        ..clip_job("job_1", None)
    };
    let taken = store.insert_job(&same_output, 100, at_ms(0)).await.unwrap();
    assert!(matches!(taken, InsertedJob::OutputTaken));
    let output_id = same_output.spec.output_id();
    let is_made = async || {
        (
            store.is_output_of_live_job(output_id).await.unwrap(),
            store.is_output_of_ended_job(output_id).await.unwrap(),
        )
    };
    assert_eq!(is_made().await, (true, false));
    store
        .cancel_job("job_1", 0, at_ms(99), at_ms(1))
        .await
        .unwrap();
    assert_eq!(is_made().await, (false, true));
    assert!(matches!(
        store.insert_job(&same_output, 100, at_ms(0)).await.unwrap(),
        InsertedJob::New(_)
    ));
}

async fn a_full_queue_refuses_jobs_until_one_is_claimed() {
    let Database { store, _folder } = Database::new().await;
    insert(&store, &clip_job("job_1", None)).await;
    let second = clip_job("job_2", None);
    assert!(matches!(
        store.insert_job(&second, 1, at_ms(0)).await.unwrap(),
        InsertedJob::QueueFull(1)
    ));
    store
        .claim_job(JobKind::Clip, "me", at_ms(0))
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(
        store.insert_job(&second, 1, at_ms(0)).await.unwrap(),
        InsertedJob::New(_)
    ));
}

async fn a_worker_that_lost_its_job_can_write_nothing_about_it() {
    let Database { store, _folder } = Database::new().await;
    insert(&store, &clip_job("job_1", None)).await;
    let first = store
        .claim_job(JobKind::Clip, "first", at_ms(0))
        .await
        .unwrap()
        .unwrap();
    let later = at_ms(0) + LEASE + TimeDelta::milliseconds(1);
    let rescued = store
        .rescue_jobs("", |_| false, at_ms(99), later)
        .await
        .unwrap();
    assert_eq!(rescued[0].state, JobState::Queued);
    let second = store
        .claim_job(JobKind::Clip, "second", later)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((second.attempt, second.epoch), (2, 2));

    let lost = fence(&first);
    assert_eq!(store.renew_lease(&lost, later).await.unwrap(), None);
    assert_eq!(
        store
            .save_progress(&lost, &Default::default(), 1, later)
            .await
            .unwrap(),
        None
    );
    let finish = Finish::Failed(Notice::new(Reason::Internal, "late"), Vec::new());
    assert!(
        store
            .finish_job(&lost, finish, None, 0, at_ms(99), later)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        store.job("job_1").await.unwrap().unwrap().state,
        JobState::Running
    );
    assert_eq!(
        store.renew_lease(&fence(&second), later).await.unwrap(),
        Some(JobState::Running)
    );
}

async fn a_job_whose_attempts_are_used_up_fails_and_an_interruption_costs_none() {
    let Database { store, _folder } = Database::new().await;
    insert(&store, &clip_job("job_1", None)).await;
    for _ in 0..5 {
        let job = store
            .claim_job(JobKind::Clip, "me", at_ms(0))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(job.attempt, 1);
        store
            .finish_job(
                &fence(&job),
                Finish::Interrupted,
                None,
                0,
                at_ms(99),
                at_ms(1),
            )
            .await
            .unwrap();
    }
    for attempt in 1..=2 {
        let job = store
            .claim_job(JobKind::Clip, "me", at_ms(2))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(job.attempt, attempt);
        store
            .rescue_jobs("me", |_| false, at_ms(99), at_ms(2))
            .await
            .unwrap();
    }
    let ended = store.job("job_1").await.unwrap().unwrap();
    assert_eq!(ended.state, JobState::Failed);
    assert_eq!(ended.error.unwrap().reason, Reason::AttemptsUsedUp);
    assert!(
        store
            .claim_job(JobKind::Clip, "me", at_ms(3))
            .await
            .unwrap()
            .is_none()
    );
}

async fn a_cancelled_job_ends_cancelled_even_when_its_worker_fails_or_dies() {
    let Database { store, _folder } = Database::new().await;
    for (id, finish) in [
        ("job_1", Some(Finish::Stopped)),
        (
            "job_2",
            Some(Finish::Failed(
                Notice::new(Reason::Internal, "boom"),
                Vec::new(),
            )),
        ),
        ("job_3", Some(Finish::Interrupted)),
        ("job_4", None),
    ] {
        insert(&store, &clip_job(id, None)).await;
        let job = store
            .claim_job(JobKind::Clip, "me", at_ms(0))
            .await
            .unwrap()
            .unwrap();
        let marked = store
            .cancel_job(id, job.revision, at_ms(99), at_ms(1))
            .await
            .unwrap();
        assert!(matches!(marked, CancelledJob::Marked(job) if job.state == JobState::Cancelling));
        match finish {
            Some(finish) => {
                store
                    .finish_job(&fence(&job), finish, None, 0, at_ms(99), at_ms(2))
                    .await
                    .unwrap();
            }
            None => {
                store
                    .rescue_jobs("me", |_| false, at_ms(99), at_ms(2))
                    .await
                    .unwrap();
            }
        }
        let ended = store.job(id).await.unwrap().unwrap();
        assert_eq!(
            (ended.state, ended.error),
            (JobState::Cancelled, None),
            "{id}"
        );
    }
}

async fn revisions_grow_with_every_change_and_never_fall_behind_what_watchers_saw() {
    let Database { store, _folder } = Database::new().await;
    let mut seen = insert(&store, &clip_job("job_1", None)).await.revision;
    assert_eq!(seen, 1);
    let job = store
        .claim_job(JobKind::Clip, "me", at_ms(0))
        .await
        .unwrap()
        .unwrap();
    assert!(job.revision > seen);
    seen = store
        .save_progress(&fence(&job), &Default::default(), 40, at_ms(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(seen, 40);
    let result = JobResult::Import(Default::default());
    let ended = store
        .finish_job(
            &fence(&job),
            Finish::Succeeded(result, Vec::new()),
            None,
            50,
            at_ms(99),
            at_ms(2),
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!((ended.state, ended.revision), (JobState::Succeeded, 50));
}

async fn jobs_are_listed_by_kind_state_camera_and_labels() {
    let Database { store, _folder } = Database::new().await;
    insert(&store, &clip_job("job_1", None)).await;
    insert(
        &store,
        &NewJob {
            labels: BTreeMap::new(),
            ..clip_job("job_2", None)
        },
    )
    .await;
    let page = Page {
        size: 10,
        after: None,
    };
    let count = async |filter: JobFilter| {
        let (jobs, _) = store.jobs(&filter, &page).await.unwrap();
        assert!(jobs.iter().all(|job| filter.matches(job)));
        jobs.len()
    };
    assert_eq!(count(JobFilter::default()).await, 2);
    let labels = BTreeMap::from([("case".to_owned(), "17".to_owned())]);
    assert_eq!(
        count(JobFilter {
            labels,
            ..Default::default()
        })
        .await,
        1
    );
    assert_eq!(
        count(JobFilter {
            kinds: vec![JobKind::Import],
            ..Default::default()
        })
        .await,
        0
    );
    assert_eq!(
        count(JobFilter {
            states: vec![JobState::Queued],
            ..Default::default()
        })
        .await,
        2
    );
    assert_eq!(
        count(JobFilter {
            camera_id: Some("other".to_owned()),
            ..Default::default()
        })
        .await,
        0
    );
}
