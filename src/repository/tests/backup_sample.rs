//! Destinations, policies, jobs and objects for the tests of backups.

use std::time::Duration;

use super::*;
use crate::domain::backup::destination::{
    Destination, DestinationSettings, HostKeyCheck, LocalSettings, Secret, SftpSettings,
};
use crate::domain::backup::object::{BackupCheck, BackupObject, ObjectState};
use crate::domain::backup::policy::{Policy, PolicyStatus, Schedule};
use crate::domain::backup::run::{BackupSelection, BackupSpec};
use crate::domain::job::{Job, JobSpec, NewJob, RequestKey};

pub(super) const NAS: &str = "bkd_nas";

pub(super) const FIRST_PAGE: Page = Page {
    size: 100,
    after: None,
};

pub(super) fn destination(id: &str, settings: DestinationSettings) -> Destination {
    Destination {
        id: id.to_owned(),
        display_name: "a place".to_owned(),
        enabled: true,
        transfers: Some(4),
        bandwidth_limit_bytes_per_second: 0,
        settings,
        labels: [("room".to_owned(), "cellar".to_owned())].into(),
        create_time: at_ms(0),
        update_time: at_ms(0),
        revision: 1,
        status: Default::default(),
    }
}

pub(super) fn folder() -> DestinationSettings {
    DestinationSettings::Local(LocalSettings {
        path: "/srv/backup".to_owned(),
        require_mount: false,
    })
}

pub(super) fn sftp(password: &str, private_key: &str) -> DestinationSettings {
    DestinationSettings::Sftp(SftpSettings {
        host: "nas.example".to_owned(),
        port: 22,
        user: "footage".to_owned(),
        password: Secret::new(password),
        private_key: Secret::new(private_key),
        private_key_passphrase: Secret::default(),
        host_key_check: HostKeyCheck::AcceptFirst,
        host_keys: Vec::new(),
        path: "backup".to_owned(),
    })
}

pub(super) fn request(id: &str, digest: &str) -> RequestKey {
    RequestKey {
        request_id: id.to_owned(),
        digest: digest.to_owned(),
    }
}

/// A database with a local destination.
pub(super) async fn with_nas() -> Database {
    let database = Database::new().await;
    let inserted = database
        .store
        .insert_destination(&destination(NAS, folder()), None)
        .await
        .unwrap();
    assert!(matches!(inserted, InsertedDestination::New(_)));
    database
}

pub(super) fn policy(id: &str) -> Policy {
    Policy {
        id: id.to_owned(),
        display_name: "nightly".to_owned(),
        destination_id: NAS.to_owned(),
        enabled: true,
        schedule: Schedule::Interval(Duration::from_secs(60)),
        lookback: None,
        camera_ids: Vec::new(),
        evidence_only: false,
        transfer_hours: None,
        bandwidth_limit_bytes_per_second: 0,
        check: BackupCheck::Hash,
        retention: None,
        run_timeout: None,
        labels: Default::default(),
        create_time: at_ms(0),
        update_time: at_ms(0),
        revision: 1,
        status: PolicyStatus {
            next_run_time: Some(at_ms(0)),
            ..Default::default()
        },
    }
}

pub(super) fn run(job_id: &str, policy_id: &str, due: Option<DateTime<Utc>>) -> NewJob {
    NewJob {
        id: job_id.to_owned(),
        spec: JobSpec::Backup(BackupSpec {
            destination_id: NAS.to_owned(),
            policy_id: policy_id.to_owned(),
            due_time: due,
            selection: BackupSelection::default(),
            check: BackupCheck::Hash,
            bandwidth_limit_bytes_per_second: 0,
            run_timeout_s: 60,
            created_by: String::new(),
            labels: Default::default(),
        }),
        priority: 10,
        max_attempts: 3,
        created_by: String::new(),
        labels: Default::default(),
        retry_of: String::new(),
        request: None,
    }
}

pub(super) fn fence(job: &Job) -> Fence {
    Fence {
        job_id: job.id.clone(),
        epoch: job.epoch,
        owner: job.owner.clone(),
    }
}

/// The segments that the catalog has, oldest first.
pub(super) async fn segments(store: &Store) -> Vec<crate::domain::catalog::Segment> {
    let (mut segments, _) = store
        .segments(&SegmentFilter::default(), &FIRST_PAGE)
        .await
        .unwrap();
    segments.reverse();
    segments
}

/// The object that a run makes of a segment.
pub(super) fn object_of(segment: &crate::domain::catalog::Segment) -> BackupObject {
    let file = &segment.file;
    BackupObject {
        destination_id: NAS.to_owned(),
        segment_id: segment.id.clone(),
        camera_id: file.camera_id.clone(),
        window: TimeRange::new(file.start_time, file.end_time()).unwrap(),
        start_accuracy: chrono::TimeDelta::zero(),
        remote_path: format!("{}/2027-01-15/{}", file.camera_id, file.path),
        size_bytes: file.size_bytes,
        sha256: "a".repeat(64),
        state: ObjectState::Present,
        check: BackupCheck::Hash,
        check_time: at_ms(0),
        create_time: at_ms(0),
        job_id: "bkj_1".to_owned(),
        source_modified_time: file.modified_time,
        evidence: false,
        locked_until_time: None,
    }
}

/// Sends what a run would send; how many segments that were.
pub(super) async fn send(store: &Store, policy_id: &str, now: DateTime<Utc>) -> usize {
    let all = segments(store).await;
    let unsent = store
        .unsent_segments(NAS, &BackupSelection::default(), None, 100)
        .await
        .unwrap();
    let objects: Vec<BackupObject> = all
        .iter()
        .filter(|segment| unsent.iter().any(|unsent| unsent.segment_id == segment.id))
        .map(|segment| BackupObject {
            create_time: now,
            check_time: now,
            ..object_of(segment)
        })
        .collect();
    assert_eq!(objects.len(), unsent.len());
    store.add_objects(&objects, policy_id).await.unwrap();
    objects.len()
}
