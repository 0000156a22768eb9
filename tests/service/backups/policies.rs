//! Policies: when they run, and what is said of them.

use heldar_footage::proto::{self, JobKind, JobState};
use sqlx::Connection as _;

use super::asking::{
    at_its_end, expected, footage_in, local_destination, nas, run_everything, run_of, site,
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

pub(super) async fn policy(server: &Server, id: &str) -> proto::Policy {
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

pub(super) async fn run_by_hand(server: &Server, policy_id: &str) -> proto::BackupRun {
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
    let disk = SmallDisk::mount(nas(&site), 96 << 10);
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

/// Hours of the day that begin two hours from now and last one.
fn later_today() -> proto::TransferHours {
    use chrono::Timelike as _;
    let at = |hours| {
        let time = chrono::Utc::now() + chrono::TimeDelta::hours(hours);
        Some(proto::ClockTime {
            hour: time.hour().try_into().unwrap(),
            minute: time.minute().try_into().unwrap(),
        })
    };
    proto::TransferHours {
        start: at(2),
        end: at(3),
        time_zone: "UTC".to_owned(),
        days: Vec::new(),
    }
}

#[tokio::test]
async fn a_run_that_is_due_waits_for_its_hours_in_nobodys_way_and_one_by_hand_does_not() {
    let site = scheduled(site()).with("HELDAR_BACKUP_MAX_CONCURRENT_JOBS", "1");
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let waiting = proto::Policy {
        transfer_hours: Some(later_today()),
        ..hourly(&id)
    };
    let made = create(&server, waiting.clone()).await;
    let _ = becomes("the run waits", async || {
        let job = runs(&server, &made.id).await.into_iter().next()?;
        let phase = &job.progress.as_ref()?.phase;
        (phase == "waiting for its hours").then_some(job)
    })
    .await;
    let job = becomes("it has given up its place", async || {
        let job = runs(&server, &made.id).await.into_iter().next()?;
        (job.state() == JobState::Queued && job.next_attempt_time.is_some()).then_some(job)
    })
    .await;
    assert_eq!(job.attempt, 0, "waiting costs no attempt");
    assert_eq!(footage_in(&nas(&site)).len(), 0);

    let other = site.path("nas-by-hand");
    std::fs::create_dir(&other).unwrap();
    let to = super::asking::create_destination(&server, super::asking::local(&other)).await;
    let by_hand = proto::Policy {
        destination_id: to.unwrap().id,
        enabled: Some(false),
        ..waiting
    };
    let by_hand = create(&server, by_hand).await;
    assert_eq!(run_by_hand(&server, &by_hand.id).await.files_sent, 6);
    assert_eq!(footage_in(&nas(&site)).len(), 0, "the other one waits");
    assert_eq!(run_everything(&server, &id).await.files_sent, 6);

    let change = proto::UpdatePolicyRequest {
        policy: Some(proto::Policy {
            id: made.id.clone(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["transfer_hours".to_owned()],
        }),
    };
    server.backups().update_policy(change).await.unwrap();
    let run = run_of(&ended(&server, &job.id).await);
    assert_eq!((run.files_sent, run.files_present), (0, 6));
    assert_eq!(server.stop(), 0);
}
