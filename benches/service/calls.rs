//! Calls that are answered at once.

use chrono::{DateTime, TimeDelta, Utc};
use heldar_footage::proto;

use crate::hour::SEGMENT_S;
use crate::latency::{CALLERS, measure, measure_with, report};
use crate::server::{Server, time};
use crate::synthetic::{SYNTHETIC_SEGMENTS, synthetic_start};

/// Calls a second and their latency with eight callers at once.
pub async fn calls(server: &Server, first: DateTime<Utc>) {
    println!("\nCalls, eight callers at once on one connection");
    println!(
        "{:>26} {:>10} {:>10} {:>10}",
        "method", "calls/s", "p50", "p99"
    );
    let start = first + TimeDelta::seconds(30);
    let created = measure(400, |number| {
        let mut clips = server.clips();
        async move {
            let from = start + TimeDelta::seconds(number % 100);
            let request = proto::CreateClipRequest {
                camera_id: "gate_a_01".to_owned(),
                start_time: time(from),
                end_time: time(from + TimeDelta::seconds(1)),
                ..Default::default()
            };
            clips.create_clip(request).await.unwrap().into_inner().id
        }
    })
    .await;
    report("CreateClip (no wait)", &created.times, created.wall);
    let job_id = created.last.clone();
    drain(server).await;

    let got = measure(20_000, |_| {
        let (mut jobs, job_id) = (server.jobs(), job_id.clone());
        async move {
            jobs.get_job(proto::GetJobRequest { job_id })
                .await
                .unwrap()
                .into_inner()
                .id
        }
    })
    .await;
    report("GetJob", &got.times, got.wall);
    let listed = measure(4_000, |_| {
        let mut catalog = server.catalog();
        async move {
            let request = proto::ListSegmentsRequest {
                camera_id: "gate_a_01".to_owned(),
                ..Default::default()
            };
            catalog
                .list_segments(request)
                .await
                .unwrap()
                .into_inner()
                .next_page_token
        }
    })
    .await;
    report("ListSegments (page of 50)", &listed.times, listed.wall);
}

pub async fn timelines(server: &Server) {
    println!(
        "\nGetTimeline of a camera with {SYNTHETIC_SEGMENTS} ten-second segments, a gap each hour"
    );
    println!(
        "{:>26} {:>10} {:>10} {:>10}",
        "window", "calls/s", "p50", "p99"
    );
    let begin = synthetic_start();
    let whole_s = SYNTHETIC_SEGMENTS * SEGMENT_S;
    for (name, length_s, callers) in [
        ("a day", 86_400, CALLERS),
        ("a month", 30 * 86_400, CALLERS),
        ("all of it", whole_s, CALLERS),
        ("all of it, one caller", whole_s, 1),
    ] {
        let timed = measure_with(callers, 400, |number| {
            let mut catalog = server.catalog();
            async move {
                let start =
                    begin + TimeDelta::seconds(number * 7919 % (whole_s - length_s + 1).max(1));
                let request = proto::GetTimelineRequest {
                    camera_id: "synthetic".to_owned(),
                    start_time: time(start),
                    end_time: time(start + TimeDelta::seconds(length_s)),
                    resolution: None,
                };
                catalog
                    .get_timeline(request)
                    .await
                    .unwrap()
                    .into_inner()
                    .camera_id
            }
        })
        .await;
        report(name, &timed.times, timed.wall);
    }
}

async fn drain(server: &Server) {
    loop {
        let filter = proto::JobFilter {
            states: vec![
                proto::JobState::Queued.into(),
                proto::JobState::Running.into(),
            ],
            ..Default::default()
        };
        let request = proto::ListJobsRequest {
            filter: Some(filter),
            page_size: 1,
            ..Default::default()
        };
        let left = server
            .jobs()
            .list_jobs(request)
            .await
            .unwrap()
            .into_inner()
            .jobs;
        match left.into_iter().next() {
            None => return,
            Some(job) => {
                let request = proto::WatchJobRequest {
                    job_id: job.id,
                    after_revision: 0,
                };
                let mut watch = server.jobs().watch_job(request).await.unwrap().into_inner();
                while watch.message().await.unwrap().is_some() {}
            }
        }
    }
}
