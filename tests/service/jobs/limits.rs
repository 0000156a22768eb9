//! What bounds jobs and watches: the length of the queue, and how long a stream is silent.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use heldar_footage::proto::watch_job_response::Event;
use heldar_footage::proto::{JobState, WatchJobRequest, WatchJobsRequest};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{create, site, started, until, watch};
use crate::server::{clip_request, eventually, reason};
use crate::stand_in::Gate;

/// Jobs that may wait: fewer than by default, since the test makes as many.
const QUEUE: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_more_jobs_says_when_to_come_back_and_takes_one_when_one_is_gone() {
    let mut site = site()
        .with("HELDAR_MEDIA_JOB_CONCURRENCY", "1")
        .with("HELDAR_JOB_QUEUE_LIMIT", QUEUE.to_string())
        .with("HELDAR_SHUTDOWN_GRACE_S", "0");
    let gate = Gate::of(&mut site);
    let server = started(&site).await;
    let running = create(&server, clip_request("gate", 1_000, 2_000)).await;
    until(&mut watch(&server, &running.id, 0).await, JobState::Running).await;
    let waiting: Vec<_> = futures::stream::iter(0..QUEUE)
        .map(|_| create(&server, clip_request("gate", 1_000, 2_000)))
        .buffer_unordered(16)
        .collect()
        .await;

    let refused = server
        .clips()
        .create_clip(clip_request("gate", 1_000, 2_000))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "QUEUE_FULL")
    );
    let details = refused.get_error_details();
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    assert_eq!(details.quota_failure().unwrap().violations.len(), 1);

    server
        .jobs()
        .cancel_job(heldar_footage::proto::CancelJobRequest {
            job_id: waiting[QUEUE / 2].id.clone(),
        })
        .await
        .unwrap();
    create(&server, clip_request("gate", 1_000, 2_000)).await;
    eventually("the one that runs waits at the gate", || {
        gate.arrived() == 1
    });
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_too_many_is_refused_until_another_one_is_over() {
    let mut site = site().with("HELDAR_WATCH_LIMIT", "2");
    let mut gate = Gate::of(&mut site);
    let server = started(&site).await;
    let made = create(&server, clip_request("gate", 1_000, 2_000)).await;
    eventually("the job waits at the gate", || gate.arrived() == 1);
    let of_one = watch(&server, &made.id, 0).await;
    let all = WatchJobsRequest::default;
    let _of_all = server.jobs().watch_jobs(all()).await.unwrap();

    let request = WatchJobRequest {
        job_id: made.id.clone(),
        after_revision: 0,
    };
    for refused in [
        server
            .jobs()
            .watch_job(request.clone())
            .await
            .err()
            .unwrap(),
        server.jobs().watch_jobs(all()).await.err().unwrap(),
    ] {
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::ResourceExhausted, "TOO_MANY_WATCHERS")
        );
        let quota = refused.get_details_quota_failure().unwrap();
        assert_eq!(quota.violations[0].subject, "watches");
    }

    drop(of_one);
    let mut another = loop {
        // The server hears a little later that a client has gone.
        match server.jobs().watch_job(request.clone()).await {
            Ok(watch) => break watch.into_inner(),
            Err(refused) => assert_eq!(reason(&refused), "TOO_MANY_WATCHERS"),
        }
    };
    gate.open();
    let clip = crate::server::clip_of(&until(&mut another, JobState::Succeeded).await);
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_on_which_nothing_happens_sends_a_sign_of_life_each_fifteen_seconds() {
    let mut site = site();
    let mut gate = Gate::of(&mut site);
    let server = started(&site).await;
    let made = create(&server, clip_request("gate", 1_000, 2_000)).await;
    eventually("the job waits at the gate", || gate.arrived() == 1);
    let mut states = watch(&server, &made.id, 0).await;
    let mut last_message = Instant::now();
    loop {
        let message = tokio::time::timeout(Duration::from_secs(20), states.message())
            .await
            .expect("a message within 20 s")
            .unwrap()
            .expect("the job has not ended");
        match message.event {
            Some(Event::Heartbeat(heartbeat)) => {
                assert!(heartbeat.server_time.is_some());
                assert!(last_message.elapsed() > Duration::from_secs(14));
                break;
            }
            _ => last_message = Instant::now(),
        }
    }
    gate.open();
    let clip = crate::server::clip_of(&until(&mut states, JobState::Succeeded).await);
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}
