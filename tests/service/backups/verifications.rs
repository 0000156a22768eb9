//! Comparing a destination with its ledger.

use heldar_footage::proto::{self, BackupCheck, BackupFaultKind, BackupObjectState, JobState};

use super::asking::{
    at_its_end, create_destination, destination, expected, footage_in, local_destination, nas,
    objects, run_everything, site, stand_in,
};
use crate::server::{Server, notice_reason, seconds};
use crate::servers::{OpenSsh, sftp_destination};

pub async fn verify(
    server: &Server,
    destination_id: &str,
    check: BackupCheck,
) -> proto::BackupVerification {
    verification_of(&verify_job(server, destination_id, check).await)
}

pub async fn verify_job(server: &Server, destination_id: &str, check: BackupCheck) -> proto::Job {
    let request = proto::VerifyBackupRequest {
        destination_id: destination_id.to_owned(),
        check: check.into(),
        find_unknown: true,
        wait: seconds(60),
        ..Default::default()
    };
    let job = server.backups().verify_backup(request).await.unwrap();
    at_its_end(server, job.into_inner()).await
}

fn verification_of(job: &proto::Job) -> proto::BackupVerification {
    assert_eq!(job.state(), JobState::Succeeded, "{:?}", job.error);
    match &job.result {
        Some(proto::job::Result::BackupVerification(found)) => found.clone(),
        other => panic!("no verification: {other:?}"),
    }
}

#[tokio::test]
async fn a_destination_as_it_was_left_is_intact_by_every_check() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let run = run_everything(&server, &id).await;
    for check in [BackupCheck::Size, BackupCheck::Hash, BackupCheck::ReadBack] {
        let found = verify(&server, &id, check).await;
        assert!(found.intact, "{found:?}");
        assert_eq!((found.objects_checked, found.objects_unknown), (6, 0));
        if check == BackupCheck::ReadBack {
            assert_eq!(found.bytes_read, run.bytes_sent);
        }
    }
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn what_is_missing_changed_or_unknown_is_named_and_the_next_run_mends_it() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    run_everything(&server, &id).await;
    let names: Vec<_> = expected(&site).into_keys().collect();
    std::fs::remove_file(nas(&site).join(&names[0])).unwrap();
    let mut bytes = expected(&site)[&names[1]].clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(nas(&site).join(&names[1]), &bytes).unwrap();
    std::fs::write(nas(&site).join("gate_a_01/holiday.jpg"), "x").unwrap();

    let found = verify(&server, &id, BackupCheck::ReadBack).await;
    assert!(!found.intact);
    assert_eq!(
        (
            found.objects_missing,
            found.objects_changed,
            found.objects_unknown
        ),
        (1, 1, 1)
    );
    let fault = |kind: BackupFaultKind| {
        let mut of_kind = found.faults.iter().filter(|fault| fault.kind() == kind);
        let fault = of_kind
            .next()
            .unwrap_or_else(|| panic!("{kind:?}: {found:?}"));
        assert!(of_kind.next().is_none());
        fault.remote_path.clone()
    };
    assert_eq!(fault(BackupFaultKind::ObjectMissing), names[0]);
    assert_eq!(fault(BackupFaultKind::ObjectChanged), names[1]);
    assert_eq!(
        fault(BackupFaultKind::ObjectUnknown),
        "gate_a_01/holiday.jpg"
    );
    let ledger = objects(&server, &id).await;
    assert_eq!(ledger[&names[0]].state(), BackupObjectState::Missing);
    assert_eq!(ledger[&names[1]].state(), BackupObjectState::Changed);
    assert_eq!(ledger[&names[2]].state(), BackupObjectState::Present);

    let run = run_everything(&server, &id).await;
    assert_eq!(
        (run.files_sent, run.files_present, run.files_failed),
        (2, 4, 0),
        "{run:?}"
    );
    let there = footage_in(&nas(&site));
    for name in &names {
        assert_eq!(there[name], expected(&site)[name], "{name}");
    }
    assert!(verify(&server, &id, BackupCheck::ReadBack).await.intact);
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_back_is_neither_intact_nor_changed() {
    let mut site = site();
    let broken = site.path("broken");
    let body = format!(
        r#"if [ "$1" = hashsum ] && [ -e '{}' ]; then
  echo '{{"level":"error","msg":"something nobody knows","source":"x"}}' >&2; exit 1
fi"#,
        broken.display()
    );
    stand_in(&mut site, &body);
    let ssh = OpenSsh::start();
    let server = site.start().await;
    let made = create_destination(&server, sftp_destination(&ssh.settings())).await;
    let id = made.unwrap().id;
    run_everything(&server, &id).await;
    std::fs::write(&broken, "").unwrap();
    let job = verify_job(&server, &id, BackupCheck::ReadBack).await;
    let found = verification_of(&job);
    assert!(!found.intact, "{found:?}");
    assert_eq!(
        (
            found.objects_unreadable,
            found.objects_missing,
            found.objects_changed
        ),
        (6, 0, 0)
    );
    assert_eq!(found.faults[0].kind(), BackupFaultKind::TransferFailed);
    assert_eq!(notice_reason(&job.warnings[0]), "OBJECTS_UNREADABLE");
    for object in objects(&server, &id).await.values() {
        assert_eq!(object.state(), BackupObjectState::Present);
    }
    std::fs::remove_file(&broken).unwrap();
    assert!(verify(&server, &id, BackupCheck::ReadBack).await.intact);
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_changed_pauses_whatever_is_done_there_also_when_it_is_only_read() {
    let site = site();
    let mut ssh = OpenSsh::start();
    let server = site.start().await;
    let made = create_destination(&server, sftp_destination(&ssh.settings())).await;
    let id = made.unwrap().id;
    run_everything(&server, &id).await;
    ssh.restart(true);
    let pause = async || {
        let status = destination(&server, &id).await.status.unwrap();
        status.pause.map(|pause| pause.reason())
    };
    let changed = Some(proto::DestinationPauseReason::HostChanged);
    let job = verify_job(&server, &id, BackupCheck::Size).await;
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(
        notice_reason(job.error.as_ref().unwrap()),
        "DESTINATION_DISABLED"
    );
    assert_eq!(pause().await, changed);
    assert_eq!(server.stop(), 0);
}
