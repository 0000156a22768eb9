//! Archives as jobs: what is told of them, their ids, repeated requests, progress, and cancelling.

use std::time::{Duration, Instant};

use heldar_footage::proto::{self, JobState};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::asking::{
    all_of, another_client, archive_jobs, archive_of, ask, create, delete, download, everything,
    get, hollow, job, later, make, one_cut, plan, submit, thirty_seconds, trimmed, two_cameras,
    two_cameras_for_ffmpeg,
};
use crate::footage::{epoch, ms};
use crate::recorder::{CAMERA, heldar_name, import, lay, unfollowed};
use crate::server::{
    Server, Site, ended, fields, files_in, next_job, nothing_left_but, reason, seconds, states_of,
    time,
};
use crate::stand_in::Gate;

/// Packing as much takes a second on a processor with SHA instructions, some seconds on others.
const LONG_BYTES: u64 = 1 << 30;

/// A site with one recording that takes long to pack, between two that do not.
pub(super) fn with_a_long_recording() -> Site {
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &thirty_seconds().record());
    hollow(&paths[1], LONG_BYTES);
    import(&site, &[]);
    site
}

/// Watches a job until some of its bytes are packed.
pub(super) async fn packing(server: &Server, job_id: &str) -> proto::Job {
    let request = proto::WatchJobRequest {
        job_id: job_id.to_owned(),
        ..Default::default()
    };
    let mut watch = server.jobs().watch_job(request).await.unwrap().into_inner();
    loop {
        let job = next_job(&mut watch).await.expect("a state before the end");
        let bytes_done = job.progress.as_ref().map_or(0, |done| done.bytes_done);
        if bytes_done > 0 {
            assert_eq!(job.state(), JobState::Running, "the job has ended already");
            return job;
        }
    }
}

#[tokio::test]
async fn a_job_and_its_archive_tell_what_was_asked_and_what_the_plan_said() {
    let site = two_cameras();
    let server = site.start().await;
    let spec = proto::ArchiveSpec {
        start_time: time(epoch() + ms(4_000)),
        end_time: time(epoch() + ms(15_000)),
        camera_ids: vec![CAMERA.to_owned(), CAMERA.to_owned()],
        case_id: "2026-117".to_owned(),
        operator: "control room".to_owned(),
        reason: "collision\nat gate A".to_owned(),
        ..Default::default()
    };
    let told = proto::ArchiveSpec {
        camera_ids: vec![CAMERA.to_owned()],
        layout: proto::ArchiveLayout::Segments.into(),
        ..spec.clone()
    };
    let labels = [("shift".to_owned(), "night".to_owned())];
    let request = proto::CreateArchiveRequest {
        labels: labels.clone().into(),
        created_by: "ann".to_owned(),
        ..ask(spec)
    };
    let planned = create(
        &server,
        proto::CreateArchiveRequest {
            validate_only: true,
            ..request.clone()
        },
    )
    .await
    .unwrap();
    assert_eq!(
        (planned.id.as_str(), planned.state()),
        ("", JobState::Unspecified)
    );
    let Some(proto::job::Plan::ArchivePlan(plan)) = planned.plan else {
        panic!("{planned:?}")
    };
    assert_eq!(archive_jobs(&server).await, [], "a job was made");
    assert_eq!(files_in(&site.archives()), Vec::<String>::new());

    let (job, archive) = make(&server, request).await;
    assert_eq!(job.kind(), proto::JobKind::Archive);
    assert_eq!((job.warnings.as_slice(), job.attempt), (&[][..], 1));
    assert_eq!(
        (job.created_by.as_str(), &job.labels),
        ("ann", &labels.clone().into())
    );
    assert_eq!((&archive.id, &archive.job_id), (&job.id, &job.id));
    assert!(archive.id.starts_with("bkj_"));
    assert_eq!(archive.file_name, format!("{}.zip", archive.id));
    assert_eq!(
        archive.url,
        format!("/media/archives/{}", archive.file_name)
    );
    assert_eq!(
        (archive.created_by.as_str(), &archive.labels),
        ("ann", &labels.into())
    );
    assert_eq!(archive.spec.as_ref(), Some(&told));
    assert_eq!(get(&server, &archive.id).await.unwrap(), archive);
    assert_eq!(self::job(&server, &job.id).await, job);

    assert!(plan.size_exact);
    assert_eq!(plan.spec, archive.spec);
    assert_eq!(plan.delivered_window, archive.delivered_window);
    assert_eq!(plan.cameras, archive.cameras);
    assert_eq!((plan.fault_count, archive.fault_count), (0, 0));
    assert_eq!(plan.size_bytes, archive.size_bytes);
    assert_eq!(plan.source_bytes, archive.source_bytes);
    assert_eq!(plan.entry_count, archive.entry_count);
    assert_eq!(plan.source_count, 2);
    let entries: Vec<_> = plan
        .sources
        .iter()
        .map(|source| &source.entry_name)
        .collect();
    assert!(
        entries.iter().all(|name| name.starts_with("gate_a_01/")),
        "{entries:?}"
    );
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn a_plan_of_what_has_to_be_cut_says_which_footage_will_be_there() {
    let site = two_cameras();
    std::fs::remove_file(
        site.recordings()
            .join(heldar_name(CAMERA, epoch() + ms(10_000))),
    )
    .unwrap();
    let server = site.start().await;
    let mut made = Vec::new();
    for layout in [
        proto::ArchiveLayout::Segments,
        proto::ArchiveLayout::Clips,
        proto::ArchiveLayout::SegmentsAndClips,
    ] {
        let spec = proto::ArchiveSpec {
            layout: layout.into(),
            ..trimmed(1_000, 25_000)
        };
        let planned = plan(&server, spec.clone()).await;
        let (_, archive) = make(&server, ask(spec)).await;
        assert!(!planned.size_exact);
        assert_eq!(
            planned.delivered_window, archive.delivered_window,
            "{layout:?}"
        );
        assert_eq!(planned.entry_count, archive.entry_count, "{layout:?}");
        assert_eq!(planned.faults, archive.faults);
        for (planned, made) in planned.cameras.iter().zip(&archive.cameras) {
            assert_eq!(
                planned.delivered_window, made.delivered_window,
                "{layout:?}"
            );
            assert_eq!(planned.covered, made.covered, "{layout:?}");
            let told = |camera: &proto::ArchiveCamera| -> Vec<_> {
                let gaps = camera.gaps.iter();
                gaps.map(|gap| (gap.start_time, gap.end_time, gap.reason()))
                    .collect()
            };
            assert_eq!(told(planned), told(made), "{layout:?}");
            assert_eq!(planned.segment_count, made.segment_count, "{layout:?}");
        }
        made.push(archive);
    }
    server.stop_with_archives(&site, &made.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn an_id_that_was_chosen_is_taken_until_its_job_fails_or_its_archive_goes() {
    let mut site = two_cameras_for_ffmpeg();
    let mut gate = Gate::of(&mut site);
    let server = site.start().await;
    let named = |spec| proto::CreateArchiveRequest {
        archive_id: "bkj_case-117_a".to_owned(),
        ..later(spec)
    };
    let check_taken = async || {
        for validate_only in [true, false] {
            let request = proto::CreateArchiveRequest {
                validate_only,
                ..named(everything())
            };
            let taken = create(&server, request).await.unwrap_err();
            assert_eq!(
                (taken.code(), reason(&taken).as_str()),
                (Code::AlreadyExists, "ID_TAKEN")
            );
            let resource = taken.get_details_resource_info().unwrap();
            assert_eq!(
                (resource.resource_type, resource.resource_name),
                ("archive".to_owned(), "bkj_case-117_a".to_owned())
            );
        }
    };

    let cancelled = submit(&server, named(one_cut())).await;
    assert_ne!(cancelled, "bkj_case-117_a", "a job has an id of its own");
    gate.reached_by(1);
    check_taken().await;
    let unfinished = get(&server, "bkj_case-117_a").await.unwrap_err();
    assert_eq!(reason(&unfinished), "ARCHIVE_NOT_FOUND");
    cancel(&server, &cancelled).await;
    assert_eq!(
        ended(&server, &cancelled).await.state(),
        JobState::Cancelled
    );

    gate.open();
    let request = proto::CreateArchiveRequest {
        wait: seconds(60),
        ..named(everything())
    };
    let (made, first) = make(&server, request.clone()).await;
    assert_eq!(
        (first.id.as_str(), &first.job_id, first.file_name.as_str()),
        ("bkj_case-117_a", &made.id, "bkj_case-117_a.zip")
    );
    check_taken().await;
    delete(&server, &first.id).await.unwrap();
    let (_, second) = make(&server, request).await;
    assert_eq!((&second.id, &second.sha256), (&first.id, &first.sha256));
    server.stop_with_archives(&site, &[&second]);
}

async fn cancel(server: &Server, job_id: &str) {
    let request = proto::CancelJobRequest {
        job_id: job_id.to_owned(),
    };
    server.jobs().cancel_job(request).await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_repeated_makes_one_archive_also_after_a_restart() {
    let site = two_cameras();
    let server = site.start().await;
    let request = proto::CreateArchiveRequest {
        request_id: "0198c0de-0000-7000-8000-000000000117".to_owned(),
        ..ask(all_of(CAMERA))
    };
    let (made, archive) = make(&server, request.clone()).await;
    let again = proto::CreateArchiveRequest {
        wait: None,
        request_id: request.request_id.to_uppercase(),
        ..request.clone()
    };
    assert_eq!(create(&server, again.clone()).await.unwrap(), made);
    assert_eq!(server.stop(), 0);

    let server = site.start().await;
    assert_eq!(create(&server, again).await.unwrap(), made);
    let other = proto::CreateArchiveRequest {
        spec: Some(everything()),
        ..request
    };
    let refused = create(&server, other).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "REQUEST_ID_REUSED")
    );
    assert_eq!(fields(&refused), ["request_id"]);
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn progress_counts_files_and_bytes_up_to_the_whole_zip_and_never_back() {
    let site = with_a_long_recording();
    let server = site.start().await;
    let job_id = submit(&server, later(everything())).await;
    let states = states_of(&server, &job_id).await;
    let archive = archive_of(states.last().unwrap());
    let told: Vec<_> = states
        .iter()
        .filter_map(|job| job.progress.as_ref())
        .collect();
    let packing: Vec<_> = told.iter().filter(|now| now.phase == "packing").collect();
    assert!(packing.len() > 2, "{} states while packing", packing.len());
    assert!(
        packing
            .iter()
            .any(|now| now.current_item.starts_with("gate_a_01/"))
    );
    for pair in told.windows(2) {
        let [before, after] = pair else {
            unreachable!()
        };
        assert!(
            before.bytes_done <= after.bytes_done,
            "{before:?} {after:?}"
        );
        assert!(
            before.files_done <= after.files_done,
            "{before:?} {after:?}"
        );
        assert!(before.fraction <= after.fraction, "{before:?} {after:?}");
    }
    for now in &packing {
        assert_eq!((now.files_total, now.bytes_total), (3, archive.size_bytes));
        assert!(now.bytes_done <= now.bytes_total && now.files_done <= now.files_total);
    }
    assert!(
        packing
            .iter()
            .any(|now| (1..now.bytes_total).contains(&now.bytes_done)),
        "bytes are counted within a file"
    );
    let last = told.last().unwrap();
    assert_eq!((last.files_done, last.bytes_done), (3, archive.size_bytes));
    assert_eq!(last.fraction, Some(1.0));
    server.stop_with_archives(&site, &[&archive]);
}

async fn cancelled_within_a_second(server: &Server, job_id: &str) -> proto::Job {
    let asked = Instant::now();
    cancel(server, job_id).await;
    let job = ended(server, job_id).await;
    let took = asked.elapsed();
    assert_eq!(job.state(), JobState::Cancelled);
    assert!(took < Duration::from_secs(1), "cancelled after {took:?}");
    job
}

#[tokio::test]
async fn cancelling_ends_the_packing_within_a_second_and_leaves_nothing_and_a_retry_makes_it() {
    let site = with_a_long_recording();
    let server = site.start().await;
    let job_id = submit(&server, later(everything())).await;
    packing(&server, &job_id).await;
    let unfinished = files_in(&site.archives());
    assert!(
        unfinished.len() == 1 && unfinished[0].ends_with(".part"),
        "{unfinished:?}"
    );
    let job = cancelled_within_a_second(&server, &job_id).await;
    assert!(job.result.is_none() && job.error.is_none(), "{job:?}");
    assert_eq!(files_in(&site.archives()), Vec::<String>::new());
    assert_eq!(
        server.holds_open(&site.recordings()),
        0,
        "sources are held open"
    );
    let gone = get(&server, &job_id).await.unwrap_err();
    assert_eq!(reason(&gone), "ARCHIVE_NOT_FOUND");

    let request = proto::RetryJobRequest {
        job_id: job_id.clone(),
        wait: seconds(60),
        ..Default::default()
    };
    let retried = server.jobs().retry_job(request).await.unwrap().into_inner();
    assert_eq!(retried.retry_of, job_id);
    let archive = archive_of(&retried);
    assert_eq!(archive.job_id, retried.id);
    let (_, tail) = download(&server, &archive.id, archive.size_bytes - 4, 0)
        .await
        .unwrap();
    assert_eq!(tail.len(), 4);
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn cancelling_does_not_wait_for_the_hashes_of_what_is_only_cut_from() {
    let site = with_a_long_recording();
    let server = site.start().await;
    let clips = proto::ArchiveSpec {
        layout: proto::ArchiveLayout::Clips.into(),
        ..everything()
    };
    let job_id = submit(&server, later(clips)).await;
    packing(&server, &job_id).await;
    cancelled_within_a_second(&server, &job_id).await;
    assert_eq!(files_in(&site.archives()), Vec::<String>::new());
    server.stop_with_archives(&site, &[]);
}

/// The predecessor ran inside the request: its row stayed `running` for ever and its staging folder on the disk.
#[tokio::test]
async fn defect_10_a_client_that_goes_away_does_not_stop_the_job() {
    let mut site = two_cameras_for_ffmpeg();
    let gate = Gate::of(&mut site);
    let server = site.start().await;
    let mut leaving = another_client(&server).await;
    let request = proto::CreateArchiveRequest {
        archive_id: "bkj_left-alone".to_owned(),
        ..ask(one_cut())
    };
    let call = tokio::spawn(async move { leaving.create_archive(request).await });
    let gate = tokio::task::spawn_blocking(move || {
        gate.reached_by(1);
        gate
    });
    let mut gate = gate.await.unwrap();
    // The task owns the only handle of the connection, so the connection goes with it.
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());

    let planned = plan(&server, one_cut()).await;
    let jobs = archive_jobs(&server).await;
    let [running] = jobs.as_slice() else {
        panic!("{jobs:?}")
    };
    assert_eq!(running.state(), JobState::Running);
    gate.open();
    let archive = archive_of(&ended(&server, &running.id).await);
    assert_eq!(archive.id, "bkj_left-alone");
    assert_eq!(archive.cameras.len(), planned.cameras.len());
    assert_eq!(server.stop(), 0);
    nothing_left_but(&site, &[], &[&archive]);
}
