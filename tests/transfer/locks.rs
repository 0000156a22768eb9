//! Buckets in which objects are locked.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use heldar_footage::domain::backup::destination::{
    DestinationSettings, S3ObjectLock, S3ObjectLockMode, S3Settings,
};
use heldar_footage::domain::backup::object::BackupCheck;
use tokio_util::sync::CancellationToken;

use crate::servers::Moto;
use crate::{Site, options};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn locked(moto: &Moto, mode: S3ObjectLockMode) -> DestinationSettings {
    DestinationSettings::S3(S3Settings {
        object_lock: Some(S3ObjectLock {
            mode,
            duration: DAY,
            legal_hold_evidence: true,
        }),
        ..moto.settings()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_locked_as_long_as_was_set_and_evidence_is_held_besides() {
    let moto = Moto::start();
    let (site, cancel) = (
        Site::with(&[
            ("gate_a_01/2026-11-22/1.mp4", 200 << 10),
            ("gate_a_01/2026-11-23/1.mp4", 1),
            ("yard_02/2026-11-22/1.mp4", 5 << 20),
        ]),
        CancellationToken::new(),
    );
    for (mode, name) in [
        (S3ObjectLockMode::Governance, "GOVERNANCE"),
        (S3ObjectLockMode::Compliance, "COMPLIANCE"),
    ] {
        let place = site.place(&locked(&moto, mode));
        let mut outgoing = site.outgoing();
        for file in &mut outgoing {
            file.is_evidence = file.path.starts_with("gate_a_01/");
            file.replaces = true;
        }
        let paths: Vec<_> = outgoing
            .iter()
            .map(|file| (file.path.clone(), file.is_evidence))
            .collect();
        let begun = Utc::now();
        let sent = place
            .send(outgoing, &options(BackupCheck::Hash), &cancel, |_| {})
            .await
            .unwrap();
        assert!(sent.iter().all(Result::is_ok), "{sent:?}");
        for (path, is_evidence) in paths {
            let head = moto.head(&path);
            assert_eq!(head.status, 200, "{path}: {head:?}");
            let header = |name: &str| head.headers.get(name).map(String::as_str);
            assert_eq!(header("x-amz-object-lock-mode"), Some(name), "{path}");
            let hold = header("x-amz-object-lock-legal-hold").unwrap_or("OFF");
            assert_eq!(hold == "ON", is_evidence, "{path}: {hold}");
            let until = header("x-amz-object-lock-retain-until-date").unwrap();
            let until = DateTime::parse_from_rfc3339(until).unwrap().to_utc();
            let expected = begun + TimeDelta::from_std(DAY).unwrap();
            let late = until - expected;
            assert!(
                (TimeDelta::seconds(-2)..TimeDelta::minutes(2)).contains(&late),
                "{path}: {until}"
            );
        }
    }
    let versions = moto.versions();
    assert_eq!(versions.len(), 2 * site.files.len());
    for (key, version) in versions {
        let refused = moto.delete(&key, &version);
        assert_eq!(refused.status, 403, "{key}: {refused:?}");
    }
    site.check_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_of_a_bucket_with_locks_leaves_nothing_that_is_locked() {
    let moto = Moto::start();
    let (site, cancel) = (Site::with(&[]), CancellationToken::new());
    let place = site.place(&locked(&moto, S3ObjectLockMode::Compliance));
    let trial = place.trial(&cancel).await;
    assert!(trial.error.is_none() && trial.is_deleted, "{trial:?}");
    let versions = moto.versions();
    assert!(!versions.is_empty(), "the server keeps versions");
    for (key, version) in versions {
        let removed = moto.delete(&key, &version);
        assert!(removed.status < 300, "{key}: {removed:?}");
    }
    site.check_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_sent_again_and_removed_is_kept_in_its_locked_versions() {
    let moto = Moto::start();
    let (site, cancel) = (
        Site::with(&[("gate/1.mp4", 1000)]),
        CancellationToken::new(),
    );
    let place = site.place(&locked(&moto, S3ObjectLockMode::Governance));
    place
        .put("ledger/1.jsonl", b"one", None, &cancel)
        .await
        .unwrap();
    let sent = site.send(&place, BackupCheck::ReadBack).await.unwrap();
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    let paths: Vec<String> = ["gate/1.mp4", "ledger/1.jsonl"].map(str::to_owned).to_vec();
    let removed = place.remove(&paths, &cancel).await.unwrap();
    assert!(removed.iter().all(Result::is_ok), "{removed:?}");
    let versions = moto.versions();
    assert_eq!(versions.len(), 2, "{versions:?}");
    for (key, version) in versions {
        assert_eq!(moto.delete(&key, &version).status, 403, "{key}");
    }
    site.check_left();
}
