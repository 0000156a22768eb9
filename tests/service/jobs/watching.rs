//! Watching jobs: states in order, progress, slow readers, many jobs at once, shutdown.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use heldar_footage::proto::{self, JobState, watch_jobs_response};
use tonic::Code;

use super::{create, ended, is_end, job, next, site, started, until, watch};
use crate::server::{PATIENCE, becomes, clip_of, clip_request, eventually, fields, reason};
use crate::stand_in::Gate;

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
