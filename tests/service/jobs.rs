//! Jobs from outside: waiting, repeating, watching, cancelling, trying again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use heldar_footage::proto::watch_job_response::Event;
use heldar_footage::proto::{self, JobState, watch_jobs_response};
use prost::Message as _;
use tonic::{Code, Streaming};

use super::footage::ms;
use super::gate::{Gate, write_program};
use super::server::{
    PATIENCE, Server, Site, becomes, clip_of, clip_request, eventually, fields, reason, seconds,
    time, twelve_seconds,
};

fn site() -> Site {
    let site = Site::new();
    site.record("gate", &twelve_seconds());
    site
}

async fn started(site: &Site) -> Server {
    let server = site.start().await;
    assert_eq!(server.imported("recordings", 1).await.segments_added, 3);
    server
}

async fn create(server: &Server, request: proto::CreateClipRequest) -> proto::Job {
    server
        .clips()
        .create_clip(request)
        .await
        .unwrap()
        .into_inner()
}

async fn job(server: &Server, id: &str) -> proto::Job {
    server
        .jobs()
        .get_job(proto::GetJobRequest {
            job_id: id.to_owned(),
        })
        .await
        .unwrap()
        .into_inner()
}

async fn watch(
    server: &Server,
    id: &str,
    after_revision: i64,
) -> Streaming<proto::WatchJobResponse> {
    let request = proto::WatchJobRequest {
        job_id: id.to_owned(),
        after_revision,
    };
    server.jobs().watch_job(request).await.unwrap().into_inner()
}

/// The next state that a watch sends; `None` when it ended with OK.
async fn next(states: &mut Streaming<proto::WatchJobResponse>) -> Option<proto::Job> {
    loop {
        let message = tokio::time::timeout(PATIENCE, states.message())
            .await
            .expect("a message")
            .unwrap()?;
        if let Some(Event::Job(job)) = message.event {
            return Some(job);
        }
    }
}

async fn until(states: &mut Streaming<proto::WatchJobResponse>, state: JobState) -> proto::Job {
    loop {
        let job = next(states).await.expect("the state comes before the end");
        if job.state() == state {
            return job;
        }
    }
}

async fn ended(server: &Server, id: &str) -> proto::Job {
    let mut states = watch(server, id, 0).await;
    let mut last = None;
    while let Some(job) = next(&mut states).await {
        last = Some(job);
    }
    last.expect("a watch sends at least one state")
}

/// How many sockets the server has open.
fn connections(server: &Server) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .unwrap()
        .flatten();
    open.filter(|entry| {
        std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    })
    .count()
}

fn is_end(job: &proto::Job) -> bool {
    matches!(
        job.state(),
        JobState::Succeeded | JobState::Failed | JobState::Cancelled
    )
}

async fn listed(server: &Server, filter: proto::JobFilter) -> Vec<String> {
    let request = proto::ListJobsRequest {
        filter: Some(filter),
        ..Default::default()
    };
    let jobs = server
        .jobs()
        .list_jobs(request)
        .await
        .unwrap()
        .into_inner()
        .jobs;
    jobs.into_iter().map(|job| job.id).collect()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_told_in_full_and_each_filter_finds_it_alone() {
    let site = site();
    site.record("yard", &twelve_seconds());
    let server = site.start().await;
    assert_eq!(server.imported("recordings", 1).await.segments_added, 6);
    let asked = |camera: &str, by: &str, kind: &str| proto::CreateClipRequest {
        created_by: by.to_owned(),
        labels: labels(&[("kind", kind), ("all", "yes")]),
        wait: seconds(60),
        ..clip_request(camera, 1_000, 3_000)
    };
    let first = create(&server, asked("gate", "ann", "a")).await;
    let second = create(&server, asked("yard", "ben", "b")).await;

    let again = job(&server, &first.id).await;
    assert_eq!(again, first);
    assert_eq!(
        (again.kind(), again.state()),
        (proto::JobKind::Clip, JobState::Succeeded)
    );
    assert_eq!(
        (again.camera_id.as_str(), again.created_by.as_str()),
        ("gate", "ann")
    );
    assert_eq!(again.labels, labels(&[("kind", "a"), ("all", "yes")]));
    assert_eq!((again.attempt, again.error.as_ref()), (1, None));
    assert!(again.attempt <= again.max_attempts && again.revision >= 1);
    for time in [
        &again.create_time,
        &again.start_time,
        &again.end_time,
        &again.update_time,
        &again.expire_time,
    ] {
        assert!(time.is_some(), "{again:?}");
    }
    let clip = clip_of(&again);
    assert_eq!(
        (clip.created_by.as_str(), clip.job_id.as_str()),
        ("ann", first.id.as_str())
    );

    let clips = || vec![proto::JobKind::Clip.into()];
    let none = proto::JobFilter::default;
    let both = vec![second.id.clone(), first.id.clone()];
    assert_eq!(
        listed(
            &server,
            proto::JobFilter {
                kinds: clips(),
                ..none()
            }
        )
        .await,
        both
    );
    assert_eq!(
        listed(
            &server,
            proto::JobFilter {
                labels: labels(&[("all", "yes")]),
                ..none()
            }
        )
        .await,
        both
    );
    let only_first = [
        proto::JobFilter {
            camera_id: "gate".to_owned(),
            ..none()
        },
        proto::JobFilter {
            created_by: "ann".to_owned(),
            ..none()
        },
        proto::JobFilter {
            labels: labels(&[("kind", "a"), ("all", "yes")]),
            ..none()
        },
    ];
    for filter in only_first {
        assert_eq!(
            listed(&server, filter.clone()).await,
            [first.id.clone()],
            "{filter:?}"
        );
    }
    let nobody = [
        proto::JobFilter {
            states: vec![JobState::Failed.into()],
            ..none()
        },
        proto::JobFilter {
            kinds: vec![proto::JobKind::Backup.into()],
            ..none()
        },
        proto::JobFilter {
            policy_id: "bkp_1".to_owned(),
            ..none()
        },
        proto::JobFilter {
            destination_id: "bkd_1".to_owned(),
            ..none()
        },
        proto::JobFilter {
            labels: labels(&[("kind", "a"), ("all", "no")]),
            ..none()
        },
    ];
    for filter in nobody {
        assert_eq!(
            listed(&server, filter.clone()).await,
            Vec::<String>::new(),
            "{filter:?}"
        );
    }

    // Pages hold each job once, newest first, and a page token belongs to its filter.
    let filter = Some(proto::JobFilter {
        kinds: clips(),
        ..none()
    });
    let request = proto::ListJobsRequest {
        filter,
        page_size: 1,
        ..Default::default()
    };
    let page = server
        .jobs()
        .list_jobs(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(page.jobs[0].id, second.id);
    let token = page.next_page_token;
    let page = server
        .jobs()
        .list_jobs(proto::ListJobsRequest {
            page_token: token.clone(),
            ..request
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            page.jobs.len(),
            page.jobs[0].id.as_str(),
            page.next_page_token.as_str()
        ),
        (1, first.id.as_str(), "")
    );
    let other = proto::ListJobsRequest {
        page_token: token,
        ..Default::default()
    };
    let status = server.jobs().list_jobs(other).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "PAGE_TOKEN_INVALID")
    );

    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip, &clip_of(&second)]);
}

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
        end_time: time(super::footage::epoch() + ms(4_000)),
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
    assert_eq!(listed(&server, clips).await, [first.id.clone()]);
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
    let middle = (super::footage::epoch() + ms(4_000))
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
    assert_eq!(listed(&server, jobs).await, [made.id.clone()]);
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_the_present_state_each_change_and_the_end() {
    let mut site = site();
    let mut gate = Gate::before(&mut site, "");
    let server = started(&site).await;
    let made = create(&server, clip_request("gate", 1_000, 9_000)).await;
    eventually("the job runs", || gate.arrived() == 1);
    let mut states = watch(&server, &made.id, 0).await;
    let first = next(&mut states).await.unwrap();
    assert_eq!(
        (first.id.as_str(), first.state()),
        (made.id.as_str(), JobState::Running)
    );
    assert!(first.create_time.is_some() && first.start_time.is_some() && first.camera_id == "gate");
    gate.open();
    let mut seen = vec![first];
    while let Some(job) = next(&mut states).await {
        seen.push(job);
    }
    assert!(
        seen.windows(2)
            .all(|pair| pair[0].revision < pair[1].revision),
        "{seen:?}"
    );
    let last = seen.last().unwrap();
    assert!(seen[..seen.len() - 1].iter().all(|job| !is_end(job)));
    assert_eq!(*last, job(&server, &made.id).await);
    let clip = clip_of(last);

    // A watch of an ended job says so and ends, also when that state was seen before.
    for after in [0, last.revision, last.revision + 5] {
        let mut states = watch(&server, &made.id, after).await;
        assert_eq!(next(&mut states).await.unwrap(), *last);
        assert_eq!(next(&mut states).await, None);
    }
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}

/// Says for about two seconds how far it is, fifty times a second, with every third figure smaller than the one before.
const NOISE: &str = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); n=$i; [ $((i % 3)) -eq 0 ] && n=$((i / 2)); \
    printf 'out_time_us=%d\\ntotal_size=%d\\nprogress=continue\\n' $((n * 60000)) $((n * 1000)); sleep 0.02; done";

#[tokio::test(flavor = "multi_thread")]
async fn progress_never_goes_back_and_comes_at_most_four_times_a_second() {
    let mut site = site();
    let mut gate = Gate::before(&mut site, NOISE);
    gate.open();
    let server = started(&site).await;
    let made = create(&server, clip_request("gate", 1_000, 9_000)).await;
    let mut states = watch(&server, &made.id, 0).await;
    let from = Instant::now();
    let mut seen = Vec::new();
    while let Some(job) = next(&mut states).await {
        seen.push(job);
    }
    let states_allowed = from.elapsed().as_secs_f64() * 4.0 + 2.0;
    assert!(
        seen.len() as f64 <= states_allowed,
        "{} states in {:?}",
        seen.len(),
        from.elapsed()
    );
    let clip = clip_of(seen.last().unwrap());

    let figures: Vec<_> = seen
        .iter()
        .filter_map(|job| job.progress.as_ref())
        .map(|progress| {
            let media = progress.media_done.unwrap_or_default();
            (
                i128::from(media.seconds) * 1_000_000_000 + i128::from(media.nanos),
                progress.bytes_done,
                progress.fraction,
            )
        })
        .collect();
    let distinct: std::collections::BTreeSet<_> = figures.iter().map(|(media, ..)| media).collect();
    assert!(
        distinct.len() >= 4,
        "progress is told while it is made: {figures:?}"
    );
    for pair in figures.windows(2) {
        assert!(
            pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1,
            "{figures:?}"
        );
        assert!(pair[0].2 <= pair[1].2, "{figures:?}");
    }
    assert!(figures.iter().all(|(_, _, fraction)| fraction.is_none_or(|fraction| (0.0..=1.0).contains(&fraction))));
    let middle = seen
        .iter()
        .filter_map(|job| job.progress.as_ref())
        .find(|progress| progress.bytes_done > 0)
        .unwrap();
    assert!(
        !middle.phase.is_empty() && middle.media_total.is_some() && middle.bytes_total > 0,
        "{middle:?}"
    );
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_skips_what_was_seen_before() {
    let mut site = site();
    let mut gate = Gate::before(&mut site, "");
    let server = started(&site).await;
    let made = create(&server, clip_request("gate", 1_000, 9_000)).await;
    eventually("the job runs", || gate.arrived() == 1);
    // What the job told before it came to the gate may still be under way.
    let present = becomes("the job is quiet", async || {
        let before = job(&server, &made.id).await;
        let mut states = watch(&server, &made.id, before.revision).await;
        match tokio::time::timeout(Duration::from_secs(1), states.message()).await {
            Err(_) => Some(before),
            Ok(_) => None,
        }
    })
    .await;
    let mut states = watch(&server, &made.id, present.revision).await;
    let mut from_before = watch(&server, &made.id, present.revision - 1).await;
    assert_eq!(next(&mut from_before).await.unwrap(), present);
    gate.open();
    let first = next(&mut states).await.unwrap();
    assert!(first.revision > present.revision, "{first:?}");
    let clip = clip_of(&ended(&server, &made.id).await);

    let negative = proto::WatchJobRequest {
        job_id: made.id,
        after_revision: -1,
    };
    let status = server.jobs().watch_job(negative).await.unwrap_err();
    assert_eq!(
        (reason(&status).as_str(), fields(&status)),
        ("INVALID_FIELD", vec!["after_revision".to_owned()])
    );
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_the_newest_state_and_not_each_one_before_it() {
    let mut site = site();
    let mut gate = Gate::before(&mut site, NOISE);
    gate.open();
    let server = started(&site).await;
    // States of some size and a small window: the transport holds back no more than one or two of them.
    let padding: BTreeMap<_, _> = (0..60)
        .map(|number| (format!("label-{number}"), "x".repeat(250)))
        .collect();
    let request = proto::CreateClipRequest {
        labels: padding,
        ..clip_request("gate", 1_000, 9_000)
    };
    let made = create(&server, request).await;
    let narrow = tonic::transport::Channel::from_shared(format!("http://{}", server.address))
        .unwrap()
        .initial_stream_window_size(1024)
        .connect()
        .await
        .unwrap();
    let mut slow = proto::job_service_client::JobServiceClient::new(narrow);
    let request = proto::WatchJobRequest {
        job_id: made.id.clone(),
        after_revision: 0,
    };
    let mut states = slow.watch_job(request).await.unwrap().into_inner();

    let mut quick = watch(&server, &made.id, 0).await;
    let mut all = 0;
    let mut last = None;
    while let Some(job) = next(&mut quick).await {
        all += 1;
        last = Some(job);
    }
    assert!(all >= 6, "there were states to skip: {all}");
    let mut late = Vec::new();
    while let Some(job) = next(&mut states).await {
        late.push(job);
    }
    assert!(
        late.len() <= 4,
        "{} of {all} states were kept for a reader that did not read",
        late.len()
    );
    assert_eq!(late.last(), last.as_ref());
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip_of(&last.unwrap())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_does_not_exist_is_not_found() {
    use tonic_types::StatusExt as _;
    let site = Site::new();
    let server = site.start().await;
    for id in [
        "job_0198c0de000070008000000000000000",
        "job_../../etc",
        "nonsense",
        "job_a\nb",
    ] {
        let job_id = || id.to_owned();
        let mut jobs = server.jobs();
        let found = [
            jobs.get_job(proto::GetJobRequest { job_id: job_id() })
                .await
                .unwrap_err(),
            jobs.watch_job(proto::WatchJobRequest {
                job_id: job_id(),
                after_revision: 0,
            })
            .await
            .unwrap_err(),
            jobs.cancel_job(proto::CancelJobRequest { job_id: job_id() })
                .await
                .unwrap_err(),
            jobs.retry_job(proto::RetryJobRequest {
                job_id: job_id(),
                ..Default::default()
            })
            .await
            .unwrap_err(),
        ];
        for status in found {
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::NotFound, "JOB_NOT_FOUND"),
                "{id:?}"
            );
            assert_eq!(
                status.get_details_resource_info().unwrap().resource_type,
                "job"
            );
            assert!(!status.message().contains('\n'));
        }
    }
    let status = server
        .jobs()
        .get_job(proto::GetJobRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), fields(&status)),
        (Code::InvalidArgument, vec!["job_id".to_owned()])
    );
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_over_many_tells_all_that_match_a_mark_and_then_changes() {
    use watch_jobs_response::Event;
    let mut site = site();
    let mut gate = Gate::before(&mut site, "");
    let server = started(&site).await;
    let asked = |by: &str, from| proto::CreateClipRequest {
        created_by: by.to_owned(),
        ..clip_request("gate", from, from + 2_000)
    };
    let first = create(&server, asked("ann", 0)).await;
    let other = create(&server, asked("ben", 0)).await;
    eventually("both jobs run", || gate.arrived() == 2);
    let filter = proto::JobFilter {
        created_by: "ann".to_owned(),
        ..Default::default()
    };
    let request = proto::WatchJobsRequest {
        filter: Some(filter),
    };
    let mut changes = server
        .jobs()
        .watch_jobs(request)
        .await
        .unwrap()
        .into_inner();
    let mut next = async || {
        loop {
            let message = tokio::time::timeout(PATIENCE, changes.message())
                .await
                .expect("a message")
                .unwrap();
            match message
                .expect("the stream does not end by itself")
                .event
                .expect("an event")
            {
                Event::Heartbeat(_) => {}
                event => return event,
            }
        }
    };
    match next().await {
        Event::Job(job) => assert_eq!(
            (job.id.as_str(), job.state()),
            (first.id.as_str(), JobState::Running)
        ),
        event => panic!("{event:?}"),
    }
    match next().await {
        Event::SnapshotEnd(end) => assert_eq!(end.job_count, 1),
        event => panic!("{event:?}"),
    }
    let second = create(&server, asked("ann", 2_000)).await;
    let third = create(&server, asked("ben", 2_000)).await;
    gate.open();
    let mut newest: BTreeMap<String, proto::Job> = BTreeMap::new();
    while newest.values().filter(|job| is_end(job)).count() < 2 {
        let Event::Job(job) = next().await else {
            panic!("only changes follow")
        };
        assert_eq!(job.created_by, "ann");
        if let Some(before) = newest.insert(job.id.clone(), job.clone()) {
            assert!(before.revision < job.revision, "{before:?} {job:?}");
        }
    }
    assert!(newest.contains_key(&first.id) && newest.contains_key(&second.id));
    let mut clips = Vec::new();
    for id in [first.id, other.id, second.id, third.id] {
        clips.push(clip_of(&ended(&server, &id).await));
    }
    assert_eq!(server.stop(), 0);
    site.check_left(&clips.iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_place_runs_one_job_and_cancelling_frees_it() {
    let mut site = site();
    site.set("HELDAR_MEDIA_JOB_CONCURRENCY", "1");
    let gate = Gate::before(&mut site, "");
    let server = started(&site).await;
    let running = create(&server, clip_request("gate", 0, 4_000)).await;
    eventually("the first job runs", || gate.arrived() == 1);
    let queued = create(&server, clip_request("gate", 0, 4_000)).await;
    let last = create(&server, clip_request("gate", 0, 4_000)).await;
    assert_eq!(queued.state(), JobState::Queued);
    assert_eq!((queued.revision, queued.attempt), (1, 0));
    let cancel = async |id: &str| {
        server
            .jobs()
            .cancel_job(proto::CancelJobRequest {
                job_id: id.to_owned(),
            })
            .await
            .map(tonic::Response::into_inner)
    };

    // A queued job is cancelled at once, and cancelling twice is harmless.
    let cancelled = cancel(&queued.id).await.unwrap();
    assert_eq!(
        (cancelled.state(), cancelled.attempt),
        (JobState::Cancelled, 0)
    );
    assert!(cancelled.end_time.is_some() && cancelled.result.is_none());
    assert_eq!(cancel(&queued.id).await.unwrap(), cancelled);
    assert_eq!(job(&server, &last.id).await.state(), JobState::Queued);
    assert_eq!(gate.arrived(), 1);

    // A running one goes through CANCELLING; its child is gone and so is what was unfinished.
    let mut states = watch(&server, &running.id, 0).await;
    until(&mut states, JobState::Running).await;
    let from = Instant::now();
    let marked = cancel(&running.id).await.unwrap();
    assert!(
        matches!(marked.state(), JobState::Cancelling | JobState::Cancelled),
        "{marked:?}"
    );
    until(&mut states, JobState::Cancelled).await;
    assert!(
        from.elapsed() < Duration::from_secs(1),
        "it took {:?}",
        from.elapsed()
    );
    assert_eq!(next(&mut states).await, None);

    // Its place goes to the job that waits.
    let mut states = watch(&server, &last.id, 0).await;
    until(&mut states, JobState::Running).await;
    eventually("the last job runs", || gate.arrived() == 2);
    cancel(&last.id).await.unwrap();
    until(&mut states, JobState::Cancelled).await;
    assert_eq!(site.clip_files(), Vec::<String>::new());
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_succeeded_cannot_be_cancelled_or_tried_again() {
    let site = site();
    let server = started(&site).await;
    let made = create(
        &server,
        proto::CreateClipRequest {
            wait: seconds(60),
            ..clip_request("gate", 0, 2_000)
        },
    )
    .await;
    let clip = clip_of(&made);
    let mut jobs = server.jobs();
    let cancel = jobs
        .cancel_job(proto::CancelJobRequest {
            job_id: made.id.clone(),
        })
        .await
        .unwrap_err();
    let retry = jobs
        .retry_job(proto::RetryJobRequest {
            job_id: made.id.clone(),
            ..Default::default()
        })
        .await
        .unwrap_err();
    for status in [cancel, retry] {
        use tonic_types::StatusExt as _;
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::FailedPrecondition, "JOB_STATE")
        );
        assert_eq!(
            status
                .get_details_precondition_failure()
                .unwrap()
                .violations[0]
                .subject,
            made.id
        );
    }
    assert_eq!(job(&server, &made.id).await, made);
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_is_data_and_can_be_tried_again() {
    let mut site = site();
    let program = site.path("ffmpeg");
    let broken = "#!/bin/sh\ncase \"$*\" in *-version*) exec ffmpeg \"$@\" ;; esac\necho 'no luck today' >&2\nexit 7\n";
    write_program(&program, broken);
    site.set("HELDAR_FFMPEG_BIN", program.to_str().unwrap());
    let server = started(&site).await;
    let request = proto::CreateClipRequest {
        created_by: "ann".to_owned(),
        labels: labels(&[("case", "17")]),
        wait: seconds(60),
        ..clip_request("gate", 0, 2_000)
    };
    let failed = create(&server, request).await;
    assert_eq!(failed.state(), JobState::Failed);
    assert!(failed.result.is_none() && failed.end_time.is_some());
    let error = failed.error.clone().unwrap();
    assert!(
        error.message.starts_with("ffmpeg clip export failed: "),
        "{}",
        error.message
    );
    assert!(error.message.contains("no luck today"), "{}", error.message);
    let info = error
        .details
        .iter()
        .find(|detail| detail.type_url.ends_with("google.rpc.ErrorInfo"))
        .map(|detail| tonic_types::pb::ErrorInfo::decode(detail.value.as_slice()).unwrap())
        .expect("an ErrorInfo");
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("FFMPEG_FAILED", "footage.heldar")
    );
    site.check_left(&[]);
    let status = server
        .jobs()
        .cancel_job(proto::CancelJobRequest {
            job_id: failed.id.clone(),
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "JOB_STATE");

    // ffmpeg is mended by putting another in its place, in one step.
    let mended = site.path("mended");
    write_program(&mended, "#!/bin/sh\nexec ffmpeg \"$@\"\n");
    std::fs::rename(mended, &program).unwrap();
    let again = proto::RetryJobRequest {
        job_id: failed.id.clone(),
        wait: seconds(60),
        request_id: "0198c0de-0000-7000-8000-000000000003".to_owned(),
    };
    let second = server
        .jobs()
        .retry_job(again.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(second.retry_of, failed.id);
    assert_ne!(second.id, failed.id);
    assert_eq!(
        (second.created_by.as_str(), &second.labels),
        ("ann", &labels(&[("case", "17")]))
    );
    assert_eq!(
        server.jobs().retry_job(again).await.unwrap().into_inner(),
        second
    );
    assert_eq!(job(&server, &failed.id).await, failed);
    let clip = clip_of(&second);
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_does_not_stop_its_job() {
    let mut site = site();
    let mut gate = Gate::before(&mut site, "");
    let server = started(&site).await;
    let connections = connections(&server);
    let channel =
        tonic::transport::Channel::from_shared(format!("http://{}", server.address)).unwrap();
    let mut clips =
        proto::clip_service_client::ClipServiceClient::new(channel.connect().await.unwrap());
    let request = proto::CreateClipRequest {
        wait: seconds(60),
        clip_id: "clip_left_alone".to_owned(),
        ..clip_request("gate", 0, 4_000)
    };
    let call = tokio::spawn(async move { clips.create_clip(request).await });
    eventually("the job runs", || gate.arrived() == 1);
    // The task owns the only handle of the connection, so the connection goes with it.
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    eventually("the server has seen the client go", || {
        self::connections(&server) == connections
    });
    let filter = proto::JobFilter {
        kinds: vec![proto::JobKind::Clip.into()],
        ..Default::default()
    };
    let id = listed(&server, filter).await.remove(0);
    assert_eq!(job(&server, &id).await.state(), JobState::Running);
    gate.open();
    let clip = clip_of(&ended(&server, &id).await);
    assert_eq!(clip.id, "clip_left_alone");
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_its_watches_and_the_next_one_finishes_the_job() {
    use tonic_types::StatusExt as _;
    let mut site = site().with("HELDAR_SHUTDOWN_GRACE_S", "1");
    let mut gate = Gate::before(&mut site, "");
    let server = started(&site).await;
    let made = create(&server, clip_request("gate", 1_000, 9_000)).await;
    eventually("the job runs", || gate.arrived() == 1);
    let mut states = watch(&server, &made.id, 0).await;
    let seen = until(&mut states, JobState::Running).await;
    let all = proto::WatchJobsRequest::default();
    let mut changes = server.jobs().watch_jobs(all).await.unwrap().into_inner();
    let watched = tokio::spawn(async move {
        let one = loop {
            if let Err(status) = states.message().await {
                break status;
            }
        };
        let many = loop {
            if let Err(status) = changes.message().await {
                break status;
            }
        };
        [one, many]
    });
    assert_eq!(server.stop(), 0);
    for status in watched.await.unwrap() {
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unavailable, "DRAINING")
        );
        assert!(
            status
                .get_details_retry_info()
                .unwrap()
                .retry_delay
                .is_some()
        );
    }
    assert_eq!(site.clip_files(), Vec::<String>::new());

    gate.open();
    let server = site.start().await;
    let mut states = watch(&server, &made.id, seen.revision).await;
    let last = until(&mut states, JobState::Succeeded).await;
    assert!(last.revision > seen.revision);
    let clip = clip_of(&last);
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_of_later_versions_say_that_they_are_not_in_this_one() {
    let site = Site::new();
    let server = site.start().await;
    let contract = prost_types::FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
    let services = contract.file.iter().flat_map(|file| &file.service);
    let later: Vec<_> = services
        .filter(|service| ["ArchiveService", "BackupService"].contains(&service.name()))
        .flat_map(|service| {
            service
                .method
                .iter()
                .map(move |method| (service.name(), method.name()))
        })
        .collect();
    for service in ["ArchiveService", "BackupService"] {
        assert!(
            later.iter().any(|(name, _)| *name == service),
            "{service} is in the contract"
        );
    }
    for (service, method) in later {
        let mut client = tonic::client::Grpc::new(server.channel());
        client.ready().await.unwrap();
        let path = format!("/heldar.footage.v1.{service}/{method}")
            .parse()
            .unwrap();
        let status = client
            .unary(
                tonic::Request::new(()),
                path,
                tonic_prost::ProstCodec::<(), ()>::default(),
            )
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unimplemented, "NOT_IN_THIS_VERSION"),
            "{method}"
        );
        assert_eq!(
            status.message(),
            format!("{service}/{method} is not in this version")
        );
    }
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}
