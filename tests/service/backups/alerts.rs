//! What of backups somebody has to look at: told by health, by those who watch jobs, and by a webhook.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use heldar_footage::proto::{self, watch_jobs_response::Event};
use sqlx::Connection as _;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::asking::{local_destination, nas, site, try_out};
use crate::recorder::{CAMERA, import};
use crate::server::{PATIENCE, Server, becomes, seconds};

/// A web server that hands on the body of each request.
fn receiver() -> (String, Receiver<serde_json::Value>) {
    receiver_that([])
}

/// What a web server does with a request instead of taking it.
#[derive(Clone, Copy)]
enum Mood {
    /// It never answers.
    Hangs,
    /// It answers that something is wrong with it.
    Refuses,
}

/// The same; the first requests meet these moods, and are handed on all the same.
fn receiver_that<const COUNT: usize>(
    moods: [Mood; COUNT],
) -> (String, Receiver<serde_json::Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, bodies) = channel();
    let mut moods = moods.into_iter();
    std::thread::spawn(move || {
        let mut hanging = Vec::new();
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            connection
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let body = loop {
                let count = connection.read(&mut buffer).unwrap_or(0);
                request.extend_from_slice(&buffer[..count]);
                let text = String::from_utf8_lossy(&request).into_owned();
                if let Some((_, body)) = text.split_once("\r\n\r\n")
                    && let Ok(body) = serde_json::from_str(body)
                {
                    break body;
                }
                if count == 0 {
                    break serde_json::Value::Null;
                }
            };
            let status = match moods.next() {
                None => "204 No Content",
                Some(Mood::Refuses) => "503 Service Unavailable",
                Some(Mood::Hangs) => {
                    hanging.push(connection);
                    let _ = sender.send(body);
                    continue;
                }
            };
            let _ = write!(
                connection,
                "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            if sender.send(body).is_err() {
                return;
            }
        }
    });
    (url, bodies)
}

async fn health(server: &Server) -> ServingStatus {
    let request = HealthCheckRequest {
        service: "backups".to_owned(),
    };
    let mut client = HealthClient::new(server.channel());
    client.check(request).await.unwrap().into_inner().status()
}

/// Health hears of an alert beside the watches and the webhook, perhaps a little after them.
async fn health_becomes(server: &Server, status: ServingStatus) {
    becomes(status.as_str_name(), async || {
        (health(server).await == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_destination_that_is_paused_is_told_by_health_by_watches_and_by_the_webhook_until_it_works()
 {
    let (url, bodies) = receiver();
    let site = site().with("HELDAR_BACKUP_WEBHOOK_URL", url);
    let server = site.start().await;
    assert_eq!(health(&server).await, ServingStatus::Serving);
    let id = local_destination(&site, &server).await;
    let mut watch = server
        .jobs()
        .watch_jobs(proto::WatchJobsRequest::default())
        .await
        .unwrap()
        .into_inner();

    // A disk too small for a single file.
    let disk = crate::small_disk::SmallDisk::mount(nas(&site), 64 << 10);
    let run = proto::CreateBackupRequest {
        destination_id: id.clone(),
        wait: seconds(60),
        ..Default::default()
    };
    let job = server.backups().create_backup(run).await.unwrap();
    let job = super::asking::at_its_end(&server, job.into_inner()).await;
    assert_eq!(job.state(), proto::JobState::Failed);
    let told = async {
        loop {
            let event = watch.message().await.unwrap().unwrap().event;
            if let Some(Event::Alert(alert)) = event {
                return alert;
            }
        }
    };
    let alert = tokio::time::timeout(PATIENCE, told).await.unwrap();
    assert_eq!(alert.destination_id, id);
    let raised = bodies.recv_timeout(PATIENCE).unwrap();
    assert!(raised.to_string().contains(&id), "{raised}");
    health_becomes(&server, ServingStatus::NotServing).await;

    disk.resize(64 << 20);
    assert!(try_out(&server, &id).await.ok);
    health_becomes(&server, ServingStatus::Serving).await;
    let cleared = bodies.recv_timeout(PATIENCE).unwrap();
    assert!(cleared.to_string().contains(&id), "{cleared}");
    assert_ne!(raised, cleared);
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn a_webhook_that_hangs_or_refuses_delays_nothing_and_hears_of_it_again() {
    let (url, bodies) = receiver_that([Mood::Refuses, Mood::Hangs]);
    let site = site().with("HELDAR_BACKUP_WEBHOOK_URL", url);
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    std::fs::remove_dir_all(nas(&site)).unwrap();
    let _disk = crate::small_disk::SmallDisk::mount(nas(&site), 64 << 10);
    let run = || proto::CreateBackupRequest {
        destination_id: id.clone(),
        wait: seconds(60),
        ..Default::default()
    };
    let job = server.backups().create_backup(run()).await.unwrap();
    super::asking::at_its_end(&server, job.into_inner()).await;
    let refused = bodies.recv_timeout(PATIENCE).unwrap();
    let hung = bodies.recv_timeout(PATIENCE).unwrap();
    // While nobody answers, everything else goes on.
    let trial = tokio::time::timeout(Duration::from_secs(5), try_out(&server, &id)).await;
    assert!(trial.is_ok(), "a trial waits for the webhook");
    let heard = bodies.recv_timeout(PATIENCE).unwrap();
    for body in [&refused, &hung, &heard] {
        assert_eq!(body["event"], "raised", "{body}");
        assert_eq!(body["destination_id"], id.as_str(), "{body}");
    }
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn footage_that_its_recorder_will_delete_before_the_next_run_is_told() {
    let (url, bodies) = receiver();
    let site = site().with("HELDAR_BACKUP_WEBHOOK_URL", url);
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    std::fs::remove_dir_all(nas(&site)).unwrap();
    let disk = crate::small_disk::SmallDisk::mount(nas(&site), 64 << 10);
    // Its next run is months away, and the recorder deletes a second of footage each second.
    let policy = proto::Policy {
        destination_id: id.clone(),
        schedule: Some(proto::policy::Schedule::Cron(proto::CronSchedule {
            expression: "0 0 29 2 *".to_owned(),
            time_zone: "UTC".to_owned(),
        })),
        ..Default::default()
    };
    let request = proto::CreatePolicyRequest {
        policy: Some(policy),
        ..Default::default()
    };
    let policy = server.backups().create_policy(request).await.unwrap();
    let policy_id = policy.into_inner().id;
    let mut recorded: Vec<_> = std::fs::read_dir(site.recordings().join(CAMERA))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    recorded.sort();
    std::fs::remove_file(&recorded[0]).unwrap();
    import(&site, &[]);
    let mut watch = server
        .jobs()
        .watch_jobs(proto::WatchJobsRequest::default())
        .await
        .unwrap()
        .into_inner();
    let run = proto::RunPolicyRequest {
        policy_id: policy_id.clone(),
        wait: seconds(60),
        ..Default::default()
    };
    let job = server.backups().run_policy(run).await.unwrap();
    super::asking::at_its_end(&server, job.into_inner()).await;
    let told = async {
        loop {
            let event = watch.message().await.unwrap().unwrap().event;
            if let Some(Event::Alert(alert)) = event
                && alert.kind() == proto::BackupAlertKind::FootageAtRisk
            {
                return alert;
            }
        }
    };
    let alert = tokio::time::timeout(PATIENCE, told).await.unwrap();
    assert_eq!(alert.policy_id, policy_id);
    posted(&bodies, "FOOTAGE_AT_RISK", &policy_id);
    // The destination is full, too; without that alert it is this one that health tells of.
    disk.resize(64 << 20);
    assert!(try_out(&server, &id).await.ok);
    cleared(&mut watch, proto::BackupAlertKind::DestinationPaused).await;
    assert_eq!(health(&server).await, ServingStatus::NotServing);
    let request = proto::GetPolicyRequest { policy_id };
    let policy = server.backups().get_policy(request).await.unwrap();
    let status = policy.into_inner().status.unwrap();
    let left = i64::try_from(recorded.len()).unwrap() - 1;
    assert_eq!(status.files_at_risk, left, "{status:?}");
    assert!(
        status.files_unsent > left,
        "the other camera's recorder deletes nothing: {status:?}"
    );
    assert_eq!(server.stop(), 0);
}

/// Waits for the POST that an alert of this kind and policy is raised.
fn posted(bodies: &Receiver<serde_json::Value>, kind: &str, policy_id: &str) {
    loop {
        let body = bodies.recv_timeout(PATIENCE).unwrap();
        if body["kind"] == kind {
            assert_eq!(
                (&body["event"], &body["policy_id"]),
                (&"raised".into(), &policy_id.into())
            );
            return;
        }
    }
}

/// Waits until those who watch hear that no alert of this kind is present any more.
async fn cleared(
    watch: &mut tonic::Streaming<proto::WatchJobsResponse>,
    kind: proto::BackupAlertKind,
) {
    let told = async {
        loop {
            let event = watch.message().await.unwrap().unwrap().event;
            if let Some(Event::Alert(alert)) = event
                && alert.kind() == kind
                && alert.cleared
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap();
}

/// Makes every policy due an hour ago, as after a long time without a scheduler.
async fn an_hour_ago(site: &crate::server::Site) {
    let url = format!("sqlite://{}", site.data().join("heldar.db").display());
    let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("UPDATE policies SET next_run_us = $1")
        .bind((chrono::Utc::now() - chrono::TimeDelta::hours(1)).timestamp_micros())
        .execute(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_policy_that_owes_a_run_is_told_by_health_by_watches_and_by_the_webhook() {
    let (url, bodies) = receiver();
    // Its scheduler is off.
    let site = site().on_sqlite().with("HELDAR_BACKUP_WEBHOOK_URL", url);
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let policy = proto::Policy {
        destination_id: id.clone(),
        schedule: Some(proto::policy::Schedule::Interval(prost_types::Duration {
            seconds: 3600,
            nanos: 0,
        })),
        ..Default::default()
    };
    let request = proto::CreatePolicyRequest {
        policy: Some(policy),
        ..Default::default()
    };
    let policy = server.backups().create_policy(request).await.unwrap();
    let policy_id = policy.into_inner().id;
    assert_eq!(health(&server).await, ServingStatus::Serving);
    assert_eq!(server.stop(), 0);
    an_hour_ago(&site).await;

    let server = site.start().await;
    let mut watch = server
        .jobs()
        .watch_jobs(proto::WatchJobsRequest::default())
        .await
        .unwrap()
        .into_inner();
    let told = async {
        loop {
            let event = watch.message().await.unwrap().unwrap().event;
            if let Some(Event::Alert(alert)) = event {
                return alert;
            }
        }
    };
    let alert = tokio::time::timeout(PATIENCE, told).await.unwrap();
    assert_eq!(alert.kind(), proto::BackupAlertKind::PolicyOverdue);
    assert_eq!((&alert.policy_id, &alert.destination_id), (&policy_id, &id));
    assert!(alert.message.contains("HELDAR_BACKUP_ENABLED"), "{alert:?}");
    posted(&bodies, "POLICY_OVERDUE", &policy_id);
    health_becomes(&server, ServingStatus::NotServing).await;
    assert_eq!(server.stop(), 0);
}
