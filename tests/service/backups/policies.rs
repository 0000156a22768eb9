//! Policies: when they run, what they keep, and what is said of them.

use heldar_footage::proto::{self, JobKind, JobState};
use sqlx::Connection as _;

use super::asking::{
    at_its_end, expected, footage_in, local_destination, nas, objects, run_of, site,
};
use crate::server::{Server, Site, becomes, ended, reason, seconds};
use crate::small_disk::SmallDisk;

pub async fn create(server: &Server, policy: proto::Policy) -> proto::Policy {
    let request = proto::CreatePolicyRequest {
        policy: Some(policy),
        ..Default::default()
    };
    let answer = server.backups().create_policy(request).await.unwrap();
    answer.into_inner()
}

async fn policy(server: &Server, id: &str) -> proto::Policy {
    let request = proto::GetPolicyRequest {
        policy_id: id.to_owned(),
    };
    let answer = server.backups().get_policy(request).await.unwrap();
    answer.into_inner()
}

pub fn hourly(destination_id: &str) -> proto::Policy {
    proto::Policy {
        display_name: "hourly".to_owned(),
        destination_id: destination_id.to_owned(),
        schedule: Some(proto::policy::Schedule::Interval(prost_types::Duration {
            seconds: 3600,
            nanos: 0,
        })),
        ..Default::default()
    }
}

/// The runs of a policy.
pub async fn runs(server: &Server, policy_id: &str) -> Vec<proto::Job> {
    let request = proto::ListJobsRequest {
        filter: Some(proto::JobFilter {
            policy_id: policy_id.to_owned(),
            kinds: vec![JobKind::Backup.into()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = server.jobs().list_jobs(request).await.unwrap();
    answer.into_inner().jobs
}

pub fn scheduled(site: Site) -> Site {
    site.with("HELDAR_BACKUP_ENABLED", "true")
        .with("HELDAR_BACKUP_SCHEDULER_INTERVAL_S", "5")
}

#[tokio::test]
async fn a_policy_that_is_due_runs_by_itself_once_and_says_when_it_runs_next() {
    let site = scheduled(site());
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let made = create(&server, hourly(&id)).await;
    let job = becomes("the run is there", async || {
        runs(&server, &made.id).await.into_iter().next()
    })
    .await;
    let job = ended(&server, &job.id).await;
    assert_eq!(run_of(&job).files_sent, 6);
    assert_eq!(
        (job.policy_id.as_str(), job.destination_id.as_str()),
        (made.id.as_str(), id.as_str())
    );
    assert_eq!(footage_in(&nas(&site)), expected(&site));
    let status = policy(&server, &made.id).await.status.unwrap();
    let (last, next) = (status.last_run_time.unwrap(), status.next_run_time.unwrap());
    assert_eq!(
        (next.seconds - last.seconds, status.last_job_id),
        (3600, job.id)
    );
    assert!(status.last_success_time.is_some() && status.overdue_since_time.is_none());
    assert_eq!(server.stop(), 0);

    // What was due once does not run again after a restart: one that is due now runs, and it is the only one.
    let server = site.start().await;
    let other = create(&server, hourly(&id)).await;
    becomes("the other policy runs", async || {
        (!runs(&server, &other.id).await.is_empty()).then_some(())
    })
    .await;
    assert_eq!(runs(&server, &made.id).await.len(), 1);
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn a_run_that_a_clock_years_ahead_put_off_is_brought_forward() {
    let site = scheduled(site()).on_sqlite();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let made = create(&server, hourly(&id)).await;
    becomes("the first run is over", async || {
        policy(&server, &made.id).await.status?.last_success_time
    })
    .await;
    assert_eq!(server.stop(), 0);
    in_ten_years(&site).await;
    let before = chrono::Utc::now().timestamp();
    let server = site.start().await;
    let next = becomes("the next run is within an hour or two", async || {
        let next = policy(&server, &made.id).await.status?.next_run_time?;
        (next.seconds < before + 2 * 3600).then_some(next.seconds)
    })
    .await;
    assert!(next > before, "{next} {before}");
    assert_eq!(server.stop(), 0);
}

/// Puts every next run off, as a run that began while the clock was ahead would have.
async fn in_ten_years(site: &Site) {
    let url = format!("sqlite://{}", site.data().join("heldar.db").display());
    let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("UPDATE policies SET next_run_us = next_run_us + 315576000000000")
        .execute(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_run_by_hand_works_while_the_scheduler_and_the_policy_are_off() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let made = create(
        &server,
        proto::Policy {
            enabled: Some(false),
            ..hourly(&id)
        },
    )
    .await;
    assert!(made.status.unwrap().next_run_time.is_none());
    let request = proto::RunPolicyRequest {
        policy_id: made.id.clone(),
        wait: seconds(60),
        ..Default::default()
    };
    let job = server.backups().run_policy(request).await.unwrap();
    let job = at_its_end(&server, job.into_inner()).await;
    assert_eq!(run_of(&job).files_sent, 6);
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn retention_leaves_the_newest_day_of_each_camera_and_sends_nothing_that_it_would_remove() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let made = create(&server, hourly(&id)).await;
    assert_eq!(run_by_hand(&server, &made.id).await.files_sent, 6);
    keep_a_day(&server, &made.id).await;
    // All footage of the tests is of one day, long ago: the newest day of each camera.
    let run = run_by_hand(&server, &made.id).await;
    assert_eq!(
        (run.files_selected, run.files_sent, run.files_removed),
        (0, 0, 0)
    );
    assert_eq!(objects(&server, &id).await.len(), 6);
    assert_eq!(footage_in(&nas(&site)), expected(&site));
    assert_eq!(server.stop(), 0);
}

/// Three days with three recordings each, and a policy for them.
async fn three_days(site: &Site) -> (Server, String, proto::Policy) {
    let recording = crate::server::twelve_seconds();
    for day in 10..13 {
        for (second, segment) in [0, 4, 8].iter().zip(&recording.segments) {
            let name = format!("dock/202401{day}_12000{second}.mp4");
            crate::server::put(&segment.path, &site.recordings().join(name));
        }
    }
    crate::recorder::import(site, &[]);
    let server = site.start().await;
    let id = local_destination(site, &server).await;
    let made = create(
        &server,
        proto::Policy {
            camera_ids: vec!["dock".to_owned()],
            ..hourly(&id)
        },
    )
    .await;
    (server, id, made)
}

/// Holds the oldest recording of the three days as evidence; its id.
async fn hold_the_oldest(server: &Server) -> String {
    let held = server.segments("dock").await[0].id.clone();
    let lock = proto::SetEvidenceLockRequest {
        selection: Some(proto::set_evidence_lock_request::Selection::Segments(
            proto::SegmentSelection {
                segment_ids: vec![held.clone()],
            },
        )),
        ..Default::default()
    };
    server.catalog().set_evidence_lock(lock).await.unwrap();
    held
}

#[tokio::test]
async fn what_a_limit_of_bytes_removed_is_not_sent_again_unless_it_is_evidence_or_the_limit_changes()
 {
    let site = site();
    let (server, id, made) = three_days(&site).await;
    keep(&server, &made.id, None, 1).await;
    let first = run_by_hand(&server, &made.id).await;
    assert_eq!((first.files_sent, first.files_removed), (9, 6));
    let again = run_by_hand(&server, &made.id).await;
    assert_eq!((again.files_sent, again.files_removed), (0, 0), "{again:?}");
    let status = policy(&server, &made.id).await.status.unwrap();
    assert_eq!(status.files_unsent, 0);
    let held = hold_the_oldest(&server).await;
    let evidence = run_by_hand(&server, &made.id).await;
    assert_eq!((evidence.files_sent, evidence.files_removed), (1, 0));
    let left = objects(&server, &id).await;
    assert!(left.values().any(|object| object.segment_id == held));
    keep(&server, &made.id, None, 1 << 40).await;
    let roomy = run_by_hand(&server, &made.id).await;
    assert_eq!((roomy.files_sent, roomy.files_removed), (5, 0));
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn retention_removes_what_is_older_than_the_newest_day_but_evidence_stays() {
    let site = site();
    let (server, id, made) = three_days(&site).await;
    assert_eq!(run_by_hand(&server, &made.id).await.files_sent, 9);
    let held = hold_the_oldest(&server).await;
    keep_a_day(&server, &made.id).await;
    let run = run_by_hand(&server, &made.id).await;
    assert_eq!(run.files_removed, 5, "{run:?}");
    let left = objects(&server, &id).await;
    let names: Vec<_> = left.keys().cloned().collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(left.values().any(|object| object.segment_id == held));
    assert_eq!(
        footage_in(&nas(&site)).into_keys().collect::<Vec<_>>(),
        names
    );
    let again = run_by_hand(&server, &made.id).await;
    assert_eq!((again.files_sent, again.files_removed), (0, 0));
    assert_eq!(server.stop(), 0);
}

/// Gives a policy a retention of one day.
async fn keep_a_day(server: &Server, policy_id: &str) {
    keep(server, policy_id, seconds(86_400), 0).await;
}

/// Gives a policy a retention.
async fn keep(
    server: &Server,
    policy_id: &str,
    max_age: Option<prost_types::Duration>,
    max_bytes: i64,
) {
    let change = proto::UpdatePolicyRequest {
        policy: Some(proto::Policy {
            id: policy_id.to_owned(),
            retention: Some(proto::BackupRetention { max_age, max_bytes }),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["retention".to_owned()],
        }),
    };
    server.backups().update_policy(change).await.unwrap();
}

async fn run_by_hand(server: &Server, policy_id: &str) -> proto::BackupRun {
    let request = proto::RunPolicyRequest {
        policy_id: policy_id.to_owned(),
        wait: seconds(60),
        ..Default::default()
    };
    let job = server.backups().run_policy(request).await.unwrap();
    run_of(&at_its_end(server, job.into_inner()).await)
}

#[tokio::test]
async fn a_destination_that_is_full_is_paused_until_a_trial_passes() {
    let site = site();
    let Some(disk) = SmallDisk::mount(nas(&site), 96 << 10) else {
        return;
    };
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let made = create(&server, hourly(&id)).await;
    let run = proto::RunPolicyRequest {
        policy_id: made.id.clone(),
        wait: seconds(60),
        ..Default::default()
    };
    let job = server.backups().run_policy(run.clone()).await.unwrap();
    let job = at_its_end(&server, job.into_inner()).await;
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(
        job.attempt, 1,
        "a person has to look at it: trying again is of no use"
    );
    let paused = super::asking::destination(&server, &id).await;
    let pause = paused.status.unwrap().pause.unwrap();
    assert_eq!(pause.reason(), proto::DestinationPauseReason::Full);
    let refused = server.backups().run_policy(run.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "DESTINATION_DISABLED");
    let names = footage_in(&nas(&site));
    let expected = expected(&site);
    for (name, bytes) in &names {
        assert_eq!(
            Some(bytes),
            expected.get(name),
            "{name} is whole or not there"
        );
    }

    disk.resize(64 << 20);
    assert!(super::asking::try_out(&server, &id).await.ok);
    let job = server.backups().run_policy(run).await.unwrap();
    assert_eq!(
        at_its_end(&server, job.into_inner()).await.state(),
        JobState::Succeeded
    );
    assert_eq!(footage_in(&nas(&site)), expected);
    assert_eq!(server.stop(), 0);
}
