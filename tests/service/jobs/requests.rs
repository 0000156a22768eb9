//! Requests for jobs: waited for, repeated, only validated.

use std::time::{Duration, Instant};

use heldar_footage::proto::{self, JobState};
use tonic::Code;

use super::{create, ended, listed, site, started};
use crate::footage::{epoch, ms};
use crate::server::{clip_of, clip_request, eventually, fields, reason, seconds, time};
use crate::stand_in::Gate;

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_with_the_job_or_when_it_is_over() {
    let mut site = site();
    let mut gate = Gate::before(&mut site, "");
    let server = started(&site).await;
    let from = Instant::now();
    let early = create(
        &server,
        proto::CreateClipRequest {
            wait: seconds(1),
            ..clip_request("gate", 0, 2_000)
        },
    )
    .await;
    assert!(from.elapsed() >= Duration::from_secs(1));
    assert_eq!(early.state(), JobState::Running);

    let mut clips = server.clips();
    let whole = proto::CreateClipRequest {
        wait: seconds(60),
        ..clip_request("gate", 2_000, 4_000)
    };
    let waiting = tokio::spawn(async move { clips.create_clip(whole).await.unwrap().into_inner() });
    eventually("both jobs run", || gate.arrived() == 2);
    assert!(!waiting.is_finished());
    gate.open();
    let from = Instant::now();
    let late = waiting.await.unwrap();
    assert!(
        from.elapsed() < Duration::from_secs(40),
        "the answer came with the end, not with the end of the wait"
    );
    let (first, second) = (clip_of(&ended(&server, &early.id).await), clip_of(&late));

    let status = server
        .clips()
        .create_clip(proto::CreateClipRequest {
            wait: seconds(61),
            ..clip_request("gate", 0, 2_000)
        })
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), fields(&status)),
        (Code::InvalidArgument, vec!["wait".to_owned()])
    );
    assert_eq!(server.stop(), 0);
    site.check_left(&[&first, &second]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_id_gives_the_same_job_also_after_a_restart() {
    let site = site();
    let server = started(&site).await;
    let request = proto::CreateClipRequest {
        request_id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
        wait: seconds(60),
        ..clip_request("gate", 1_000, 3_000)
    };
    let first = create(&server, request.clone()).await;
    // How long to wait is no part of what is asked for.
    let again = create(
        &server,
        proto::CreateClipRequest {
            wait: None,
            ..request.clone()
        },
    )
    .await;
    assert_eq!(again, first);

    let other = proto::CreateClipRequest {
        end_time: time(epoch() + ms(4_000)),
        ..request.clone()
    };
    let status = server.clips().create_clip(other.clone()).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "REQUEST_ID_REUSED")
    );
    assert_eq!(fields(&status), ["request_id"]);
    assert_eq!(server.stop(), 0);

    let server = site.start().await;
    assert_eq!(create(&server, request.clone()).await, first);
    let status = server.clips().create_clip(other).await.unwrap_err();
    assert_eq!(reason(&status), "REQUEST_ID_REUSED");
    let bad = proto::CreateClipRequest {
        request_id: "one".to_owned(),
        ..request
    };
    let status = server.clips().create_clip(bad).await.unwrap_err();
    assert_eq!(
        (reason(&status).as_str(), fields(&status)),
        ("INVALID_FIELD", vec!["request_id".to_owned()])
    );
    let clips = proto::JobFilter {
        kinds: vec![proto::JobKind::Clip.into()],
        ..Default::default()
    };
    assert_eq!(listed(&server, clips).await, [first.id.as_str()]);
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip_of(&first)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_requests_at_the_same_time_make_one_job() {
    let site = site();
    let server = started(&site).await;
    let request = proto::CreateClipRequest {
        request_id: "0198c0de-0000-7000-8000-000000000002".to_owned(),
        wait: seconds(60),
        ..clip_request("gate", 1_000, 3_000)
    };
    let calls = (0..8).map(|_| create(&server, request.clone()));
    let jobs = futures::future::join_all(calls).await;
    assert!(jobs.iter().all(|job| job.id == jobs[0].id), "{jobs:?}");
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip_of(&jobs[0])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validated_request_makes_nothing_and_its_plan_is_what_the_clip_says() {
    let site = site();
    // The middle segment is not there: four seconds are missing.
    let middle = (epoch() + ms(4_000))
        .format("gate/%Y%m%d_%H%M%S.mp4")
        .to_string();
    std::fs::remove_file(site.recordings().join(middle)).unwrap();
    let server = site.start().await;
    assert_eq!(server.imported("recordings", 1).await.segments_added, 2);
    let request = clip_request("gate", 1_300, 10_700);
    let planned = create(
        &server,
        proto::CreateClipRequest {
            validate_only: true,
            ..request.clone()
        },
    )
    .await;
    assert!(
        planned.id.is_empty() && planned.result.is_none(),
        "{planned:?}"
    );
    let Some(proto::job::Plan::ClipPlan(plan)) = planned.plan else {
        panic!("no plan")
    };
    let jobs = proto::JobFilter {
        kinds: vec![proto::JobKind::Clip.into()],
        ..Default::default()
    };
    assert_eq!(listed(&server, jobs.clone()).await, Vec::<String>::new());
    site.check_left(&[]);

    let made = create(
        &server,
        proto::CreateClipRequest {
            wait: seconds(60),
            ..request
        },
    )
    .await;
    let clip = clip_of(&made);
    assert_eq!(plan.requested_window, clip.requested_window);
    assert_eq!(plan.delivered_window, clip.delivered_window);
    assert_eq!(
        (plan.requested, plan.covered),
        (clip.requested, clip.covered)
    );
    assert_eq!(plan.gaps, clip.gaps);
    assert_eq!(clip.gaps.len(), 1);
    let paths: Vec<_> = plan
        .segments
        .iter()
        .map(|segment| segment.path.as_str())
        .collect();
    assert_eq!(paths.len(), 2);
    assert!(paths[0] < paths[1], "in order: {paths:?}");
    let (expected, size) = (plan.expected_bytes as f64, clip.size_bytes as f64);
    assert!(
        (0.8..=1.25).contains(&(expected / size)),
        "{expected} bytes were expected, {size} came"
    );

    // What a request would be refused for, it is refused for when it is validated.
    let refused = proto::CreateClipRequest {
        validate_only: true,
        ..clip_request("gate", 5_000, 7_000)
    };
    assert_eq!(
        reason(&server.clips().create_clip(refused).await.unwrap_err()),
        "NO_FOOTAGE"
    );
    assert_eq!(listed(&server, jobs).await, [made.id.as_str()]);
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}
