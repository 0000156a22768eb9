//! Runs to a folder.

use heldar_footage::proto::{self, BackupFaultKind, JobState};
use tonic::Code;

use super::asking::{
    back_up, create_destination, destination, everything_to, expected, files_below, footage_in,
    local, local_destination, nas, objects, run_everything, run_of, site, try_out,
};
use crate::footage::{epoch, ms};
use crate::recorder::{CAMERA, import, lay, sha256};
use crate::server::{notice_reason, reason, time};

#[tokio::test]
async fn a_run_sends_every_segment_and_a_second_one_moves_nothing() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let first = run_everything(&server, &id).await;
    let bytes: u64 = expected(&site).values().map(|file| file.len() as u64).sum();
    assert_eq!(
        (
            first.files_selected,
            first.files_sent,
            first.files_present,
            first.files_failed
        ),
        (6, 6, 0, 0)
    );
    assert_eq!(first.bytes_sent, i64::try_from(bytes).unwrap());
    assert!(first.bytes_moved >= first.bytes_sent);
    assert!(!first.nothing_to_do);
    assert_eq!(footage_in(&nas(&site)), expected(&site));

    let ledger = objects(&server, &id).await;
    assert_eq!(ledger.len(), 6);
    for (path, object) in &ledger {
        let bytes = &expected(&site)[path];
        assert_eq!(object.size_bytes, bytes.len() as i64);
        assert_eq!(object.sha256, sha256(bytes));
        assert_eq!(object.job_id, first.job_id);
        assert_eq!(object.state(), proto::BackupObjectState::Present);
    }
    let status = destination(&server, &id).await.status.unwrap();
    assert_eq!(
        (status.object_count, status.stored_bytes),
        (6, first.bytes_sent)
    );
    assert!(status.last_success_time.is_some());

    let before = files_below(&nas(&site));
    let second = run_everything(&server, &id).await;
    assert!(second.nothing_to_do);
    assert_eq!(
        (
            second.files_selected,
            second.files_present,
            second.files_sent,
            second.bytes_moved
        ),
        (6, 6, 0, 0)
    );
    assert_eq!(second.ledger_path, "");
    assert_eq!(files_below(&nas(&site)), before, "nothing was written");
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn the_ledger_lies_at_the_destination_too() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let run = run_everything(&server, &id).await;
    assert!(run.ledger_path.starts_with(".heldar-footage/ledger/"));
    let text = std::fs::read_to_string(nas(&site).join(&run.ledger_path)).unwrap();
    assert_eq!(text.lines().count(), 8, "{text}");
    for path in expected(&site).keys() {
        assert!(text.contains(path), "{path}");
    }
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn a_selection_sends_what_overlaps_it_and_nothing_else() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let run = run_of(
        &back_up(
            &server,
            proto::CreateBackupRequest {
                start_time: time(epoch() + ms(5_000)),
                end_time: time(epoch() + ms(15_000)),
                camera_ids: vec![CAMERA.to_owned()],
                ..everything_to(&id)
            },
        )
        .await,
    );
    assert_eq!((run.files_selected, run.files_sent), (2, 2));
    let sent: Vec<_> = footage_in(&nas(&site)).into_keys().collect();
    assert!(sent.iter().all(|path| path.starts_with(CAMERA)), "{sent:?}");
    let rest = run_everything(&server, &id).await;
    assert_eq!((rest.files_present, rest.files_sent), (2, 4));
    assert_eq!(footage_in(&nas(&site)), expected(&site));
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn a_segment_that_changed_is_sent_again_under_its_name() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    run_everything(&server, &id).await;
    assert_eq!(server.stop(), 0);

    let (name, bytes) = expected(&site).into_iter().next().unwrap();
    let (camera, file) = (&name[..CAMERA.len()], name.rsplit('/').next().unwrap());
    let path = site.recordings().join(camera).join(file);
    // A free box at the end changes the bytes and nothing of the footage.
    let mut longer = bytes.clone();
    longer.extend_from_slice(&[0, 0, 0, 8, b'f', b'r', b'e', b'e']);
    std::fs::write(&path, &longer).unwrap();
    crate::server::age(&path);
    import(&site, &[]);
    let server = site.start().await;
    let run = run_everything(&server, &id).await;
    assert_eq!((run.files_sent, run.files_present), (1, 5), "{run:?}");
    assert_eq!(footage_in(&nas(&site))[&name], longer);
    assert_eq!(objects(&server, &id).await[&name].sha256, sha256(&longer));
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn a_file_that_nobody_knows_is_never_overwritten_and_the_segment_gets_another_name() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let name = expected(&site).into_keys().next().unwrap();
    let there = nas(&site).join(&name);
    std::fs::create_dir_all(there.parent().unwrap()).unwrap();
    std::fs::write(&there, "somebody else's").unwrap();
    let run = run_everything(&server, &id).await;
    assert_eq!((run.files_sent, run.files_failed), (6, 0), "{run:?}");
    assert_eq!(std::fs::read(&there).unwrap(), b"somebody else's");
    let ledger = objects(&server, &id).await;
    assert_eq!(ledger.len(), 6);
    assert!(!ledger.contains_key(&name));
    let (stem, _) = name.rsplit_once('.').unwrap();
    let other = ledger
        .keys()
        .find(|path| path.starts_with(&format!("{stem}_")))
        .expect("the same name and more");
    assert_eq!(
        std::fs::read(nas(&site).join(other)).unwrap(),
        expected(&site)[&name]
    );
    assert!(run_everything(&server, &id).await.nothing_to_do);
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn a_segment_whose_every_name_is_taken_is_a_fault_and_the_others_are_sent() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let name = expected(&site).into_keys().next().unwrap();
    let (stem, extension) = name.rsplit_once('.').unwrap();
    let (_, time) = stem.rsplit_once('/').unwrap();
    let time = format!("{}Z", time.replace('_', "T"));
    for path in [
        name.clone(),
        format!("{stem}_{time}.{extension}"),
        format!("{stem}_{time}_2.{extension}"),
        format!("{stem}_{time}_3.{extension}"),
    ] {
        let there = nas(&site).join(path);
        std::fs::create_dir_all(there.parent().unwrap()).unwrap();
        std::fs::write(&there, "somebody else's").unwrap();
    }
    let job = back_up(&server, everything_to(&id)).await;
    let run = run_of(&job);
    assert_eq!((run.files_sent, run.files_failed), (5, 1), "{run:?}");
    assert_eq!(run.faults[0].kind(), BackupFaultKind::NameTaken);
    assert_eq!(notice_reason(&job.warnings[0]), "FILES_NOT_SENT");
    assert_eq!(objects(&server, &id).await.len(), 5);
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn a_source_that_is_gone_is_named_and_the_others_are_sent() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let name = expected(&site).into_keys().next().unwrap();
    let file = name.rsplit('/').next().unwrap();
    std::fs::remove_file(site.recordings().join(CAMERA).join(file)).unwrap();
    let run = run_of(&back_up(&server, everything_to(&id)).await);
    assert_eq!((run.files_sent, run.files_failed), (5, 1));
    assert_eq!(run.faults[0].kind(), BackupFaultKind::SourceMissing);
    assert_eq!(run.faults[0].remote_path, name);
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn a_trial_writes_reads_back_and_deletes_and_leaves_nothing() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let tried = try_out(&server, &id).await;
    assert!(tried.ok, "{:?}", tried.error);
    assert!(tried.listed && tried.written && tried.read_back && tried.deleted);
    assert!(tried.free_bytes.is_some_and(|bytes| bytes > 0));
    assert!(tried.latency.is_some());
    assert_eq!(files_below(&nas(&site)).len(), 0);
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn a_disabled_destination_is_refused_and_a_folder_outside_of_the_allowed_ones_too() {
    let site = site();
    let server = site.start().await;
    let mut off = local(&nas(&site));
    std::fs::create_dir_all(nas(&site)).unwrap();
    off.enabled = Some(false);
    let off = create_destination(&server, off).await.unwrap();
    let refused = server
        .backups()
        .create_backup(everything_to(&off.id))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str(), refused.message()),
        (
            Code::FailedPrecondition,
            "DESTINATION_DISABLED",
            "backup destination is disabled"
        )
    );
    let outside = create_destination(&server, local(std::path::Path::new("/etc"))).await;
    assert_eq!(outside.unwrap_err().code(), Code::InvalidArgument);
    let unknown = server
        .backups()
        .create_backup(everything_to("bkd_nowhere"))
        .await
        .unwrap_err();
    assert_eq!(reason(&unknown), "DESTINATION_NOT_FOUND");
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn a_folder_that_is_gone_is_unreachable_and_one_no_longer_allowed_unusable() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    std::fs::remove_dir_all(nas(&site)).unwrap();
    let gone = back_up(&server, everything_to(&id)).await.error.unwrap();
    let tried = try_out(&server, &id).await.error.unwrap();
    for told in [&gone, &tried] {
        assert_eq!(told.code, i32::from(Code::Unavailable));
        assert_eq!(notice_reason(told), "DESTINATION_UNREACHABLE");
        assert!(!told.message.contains("rclone"), "{}", told.message);
    }
    assert_eq!(server.stop(), 0);

    std::fs::create_dir_all(nas(&site)).unwrap();
    let elsewhere = site.path("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    let site = site.with("HELDAR_BACKUP_LOCAL_ROOTS", elsewhere.to_str().unwrap());
    let server = site.start().await;
    let outside = back_up(&server, everything_to(&id)).await.error.unwrap();
    assert_eq!(outside.code, i32::from(Code::FailedPrecondition));
    assert_eq!(notice_reason(&outside), "DESTINATION_UNUSABLE");
    assert!(
        outside.message.contains("HELDAR_BACKUP_LOCAL_ROOTS"),
        "{}",
        outside.message
    );
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn equal_names_of_one_day_all_arrive() {
    let site = site();
    // Two folders of a recorder that names its files by the minute and second only.
    let recording = crate::server::twelve_seconds();
    lay(&site, "third", &recording);
    let root = site.path("other");
    for (hour, segment) in ["10", "11", "12"].iter().zip(&recording.segments) {
        crate::server::put(
            &segment.path,
            &root.join(format!("2026-11-22/{hour}/gate/00.10.mp4")),
        );
    }
    let (code, _, err) = site.run(&[
        "import",
        root.to_str().unwrap(),
        "--layout",
        "frigate",
        "--source-id",
        "other",
    ]);
    assert_eq!(code, 0, "{err}");
    import(&site, &[]);
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let run = run_everything(&server, &id).await;
    assert_eq!(run.files_failed, 0, "{:?}", run.faults);
    let there = footage_in(&nas(&site));
    let gate: Vec<_> = there
        .iter()
        .filter(|(path, _)| path.starts_with("gate/"))
        .collect();
    assert_eq!(gate.len(), 3, "{:?}", there.keys());
    let sent: std::collections::BTreeSet<_> = gate.iter().map(|(_, bytes)| sha256(bytes)).collect();
    assert_eq!(sent.len(), 3);
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn a_request_that_is_repeated_makes_one_run_and_a_chosen_id_is_taken_once() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let request = proto::CreateBackupRequest {
        request_id: "0198c0de-0000-7000-8000-000000000118".to_owned(),
        job_id: "bkj_evening".to_owned(),
        ..everything_to(&id)
    };
    let first = back_up(&server, request.clone()).await;
    assert_eq!(
        (first.id.as_str(), first.state()),
        ("bkj_evening", JobState::Succeeded)
    );
    assert_eq!(back_up(&server, request.clone()).await.id, first.id);
    let other = proto::CreateBackupRequest {
        request_id: String::new(),
        ..request
    };
    let taken = server.backups().create_backup(other).await.unwrap_err();
    assert_eq!(reason(&taken), "ID_TAKEN");
    assert_eq!(server.stop(), 0);
}
