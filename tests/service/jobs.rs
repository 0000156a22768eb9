//! Jobs from outside: what is told of them. Requests for them, watching and ending have files of their own.

mod crowds;
mod ending;
mod limits;
mod requests;
mod watching;

use std::collections::BTreeMap;

use heldar_footage::proto::watch_job_response::Event;
use heldar_footage::proto::{self, JobState};
use tonic::{Code, Streaming};

use crate::server::{
    PATIENCE, Server, Site, clip_of, clip_request, fields, reason, seconds, twelve_seconds,
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
            [first.id.as_str()],
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
