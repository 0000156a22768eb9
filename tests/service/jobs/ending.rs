//! How jobs end: cancelled, failed and tried again, left alone by their client.

use std::time::{Duration, Instant};

use heldar_footage::proto::{self, JobState};
use prost::Message as _;
use tonic::Code;

use super::{create, ended, job, labels, listed, next, site, started, until, watch};
use crate::server::{Server, clip_of, clip_request, eventually, reason, seconds};
use crate::stand_in::{Gate, write_program};

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
