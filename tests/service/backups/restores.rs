//! Bringing footage back.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use heldar_footage::proto::{self, BackupFaultKind, JobState, LedgerSource, SegmentState};

use super::asking::{
    at_its_end, create_destination, expected, files_below, footage_in, local, local_destination,
    nas, run_everything, site,
};
use crate::archives::OTHER;
use crate::footage::{epoch, ms};
use crate::recorder::{CAMERA, import};
use crate::server::{Server, Site, clip_request, files_in, notice_reason, reason, seconds, time};

pub fn from(destination_id: &str, folder: &str) -> proto::RestoreBackupRequest {
    proto::RestoreBackupRequest {
        destination_id: destination_id.to_owned(),
        folder: folder.to_owned(),
        wait: seconds(60),
        ..Default::default()
    }
}

pub async fn restore(
    server: &Server,
    request: proto::RestoreBackupRequest,
) -> proto::RestoreSummary {
    let job = server.backups().restore_backup(request).await.unwrap();
    let job = at_its_end(server, job.into_inner()).await;
    assert_eq!(job.state(), JobState::Succeeded, "{:?}", job.error);
    match job.result {
        Some(proto::job::Result::Restore(summary)) => summary,
        other => panic!("no summary: {other:?}"),
    }
}

pub fn restored(site: &Site, folder: &str) -> std::path::PathBuf {
    site.data().join("restores").join(folder)
}

#[tokio::test]
async fn what_was_lost_comes_back_into_the_folder_and_under_its_ids_into_the_catalog() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let run = run_everything(&server, &id).await;
    let everything = expected(&site);
    let before = server.segments(CAMERA).await;
    assert_eq!(server.stop(), 0);
    for camera in [CAMERA, OTHER] {
        for name in files_in(&site.recordings().join(camera)) {
            std::fs::remove_file(site.recordings().join(camera).join(name)).unwrap();
        }
    }
    import(&site, &[]);
    let server = site.start().await;
    let lost = server.segments(CAMERA).await;
    assert!(
        lost.iter()
            .all(|segment| segment.state() == SegmentState::Missing),
        "{lost:?}"
    );

    let summary = restore(&server, from(&id, "case-17")).await;
    assert_eq!(
        (
            summary.files_selected,
            summary.files_restored,
            summary.files_failed
        ),
        (6, 6, 0)
    );
    assert_eq!(
        (summary.bytes_restored, summary.segments_registered),
        (run.bytes_sent, 6)
    );
    assert_eq!(footage_in(&restored(&site, "case-17")), everything);
    let after = server.segments(CAMERA).await;
    let ids = |segments: &[proto::Segment]| -> Vec<_> {
        segments
            .iter()
            .map(|segment| (segment.id.clone(), segment.start_time))
            .collect()
    };
    assert_eq!(ids(&after), ids(&before));
    let clip = server
        .clips()
        .create_clip(proto::CreateClipRequest {
            wait: seconds(60),
            ..clip_request(CAMERA, 1_000, 25_000)
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(clip.state(), JobState::Succeeded, "{:?}", clip.error);

    // What came back is at the destination already.
    let again = run_everything(&server, &id).await;
    assert!(again.nothing_to_do, "{again:?}");
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn a_restore_goes_on_where_it_was_and_overwrites_nothing() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    run_everything(&server, &id).await;
    let everything = expected(&site);
    let names: Vec<_> = everything.keys().cloned().collect();
    let folder = restored(&site, "again");
    for (name, bytes) in [
        (&names[0], everything[&names[0]].as_slice()),
        (&names[1], b"mine".as_slice()),
    ] {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let request = proto::RestoreBackupRequest {
        register_segments: Some(false),
        ..from(&id, "again")
    };
    let summary = restore(&server, request).await;
    assert_eq!(
        (
            summary.files_present,
            summary.files_restored,
            summary.files_failed,
            summary.segments_registered
        ),
        (1, 4, 1, 0)
    );
    assert_eq!(summary.faults[0].kind(), BackupFaultKind::NameTaken);
    assert_eq!(summary.faults[0].remote_path, names[1]);
    assert_eq!(std::fs::read(folder.join(&names[1])).unwrap(), b"mine");
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn what_a_restore_finds_there_gets_the_time_that_it_had_at_the_recorder() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    run_everything(&server, &id).await;
    let (name, bytes) = expected(&site).into_iter().next().unwrap();
    // As an attempt leaves it that is killed right after the file got its name.
    let path = restored(&site, "again").join(&name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let summary = restore(&server, from(&id, "again")).await;
    assert_eq!((summary.files_present, summary.files_restored), (1, 5));
    let recorded = site.recordings().join(CAMERA);
    let recorded = recorded.join(name.rsplit('/').next().unwrap());
    let time = |path: &std::path::Path| std::fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(time(&path), time(&recorded));
    assert!(run_everything(&server, &id).await.nothing_to_do);
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn what_comes_back_and_is_no_footage_to_the_catalog_is_a_warning_with_a_count() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    run_everything(&server, &id).await;
    // What the ledger of another server, which knows more formats, might have.
    let (name, text) = ("gate_a_01/2026-11-22/notes.txt", "no footage at all");
    std::fs::create_dir(nas(&site).join("gate_a_01/2026-11-22")).unwrap();
    std::fs::write(nas(&site).join(name), text).unwrap();
    let ledger = nas(&site).join(".heldar-footage/ledger");
    let file = ledger.join(files_in(&ledger).remove(0));
    let lines: Vec<String> = std::fs::read_to_string(&file)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let mut line: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    line["path"] = name.into();
    line["segment_id"] = "seg_notes".into();
    line["size_bytes"] = text.len().into();
    line["sha256"] = crate::recorder::sha256(text.as_bytes()).into();
    let other = format!("{}\n{line}\n{{\"lines\":1}}\n", lines[0]);
    std::fs::write(ledger.join("other.jsonl"), other).unwrap();
    let request = proto::RestoreBackupRequest {
        ledger_source: LedgerSource::Destination.into(),
        ..from(&id, "odd")
    };
    let job = server.backups().restore_backup(request).await.unwrap();
    let job = at_its_end(&server, job.into_inner()).await;
    assert_eq!(job.state(), JobState::Succeeded, "{job:?}");
    let Some(proto::job::Result::Restore(summary)) = &job.result else {
        panic!("no summary: {job:?}");
    };
    assert_eq!((summary.files_restored, summary.files_failed), (7, 0));
    assert_eq!(job.warnings.len(), 1, "{:?}", job.warnings);
    assert_eq!(notice_reason(&job.warnings[0]), "FILES_LEFT_OUT");
    assert!(job.warnings[0].message.starts_with("1 file "));
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn a_changed_object_is_named_and_never_restored() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    run_everything(&server, &id).await;
    let name = expected(&site).into_keys().next().unwrap();
    let mut bytes = expected(&site)[&name].clone();
    bytes[100] ^= 1;
    std::fs::write(nas(&site).join(&name), bytes).unwrap();
    let summary = restore(&server, from(&id, "bad")).await;
    assert_eq!((summary.files_restored, summary.files_failed), (5, 1));
    assert!(matches!(
        summary.faults[0].kind(),
        BackupFaultKind::ObjectChanged | BackupFaultKind::CheckFailed
    ));
    assert!(!restored(&site, "bad").join(&name).exists());
    assert_eq!(footage_in(&restored(&site, "bad")).len(), 5);
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn after_the_database_is_lost_the_destination_alone_is_enough() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    run_everything(&server, &id).await;
    assert_eq!(server.stop(), 0);
    let everything = expected(&site);

    let other = super::asking::site().on_sqlite();
    std::fs::remove_dir_all(other.recordings()).unwrap();
    std::fs::create_dir(other.recordings()).unwrap();
    std::fs::remove_dir_all(other.data()).unwrap();
    let other = other.with(
        "HELDAR_BACKUP_LOCAL_ROOTS",
        site.path("").to_str().unwrap().trim_end_matches('/'),
    );
    let server = other.start().await;
    let found = create_destination(&server, local(&nas(&site)))
        .await
        .unwrap();
    for source in [LedgerSource::Unspecified, LedgerSource::Destination] {
        let folder = format!("by-{}", i32::from(source));
        let request = proto::RestoreBackupRequest {
            ledger_source: source.into(),
            camera_ids: vec![CAMERA.to_owned()],
            start_time: time(epoch()),
            end_time: time(epoch() + ms(15_000)),
            ..from(&found.id, &folder)
        };
        let summary = restore(&server, request).await;
        assert_eq!((summary.files_selected, summary.files_restored), (2, 2));
        for (path, bytes) in footage_in(&restored(&other, &folder)) {
            assert_eq!(bytes, everything[&path]);
        }
    }
    assert_eq!(server.segments(CAMERA).await.len(), 2);
    let nothing = proto::RestoreBackupRequest {
        ledger_source: LedgerSource::Server.into(),
        ..from(&found.id, "none")
    };
    let refused = server.backups().restore_backup(nothing).await;
    match refused {
        Err(status) => assert_eq!(reason(&status), "NO_FOOTAGE"),
        Ok(job) => panic!("{job:?}"),
    }
    assert_eq!(server.stop(), 0);
}

/// Returns when the recordings of the camera are in the catalog, all of them from `start` on.
async fn taken_in(server: &Server, start: DateTime<Utc>) {
    let all_there = async {
        loop {
            let segments = server.segments(CAMERA).await;
            let is_there = |segment: &proto::Segment| segment.state() == SegmentState::Available;
            if segments[0].start_time == time(start) && segments.iter().all(is_there) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all_there)
        .await
        .expect("the recordings are taken in");
}

#[tokio::test]
async fn what_was_sent_before_its_times_were_put_right_comes_back_at_the_right_ones() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    run_everything(&server, &id).await;
    assert_eq!(server.stop(), 0);

    // The recorder's clock was an hour ahead of UTC, as it turns out.
    let source = format!(
        "still={{camera}}/%Y%m%d_%H%M%S.mp4@Etc/GMT-1:{}",
        site.recordings().display()
    );
    let site = site.with("HELDAR_SOURCES", source);
    let server = site.start().await;
    let hour = ms(3_600_000);
    taken_in(&server, epoch() - hour).await;
    let run = run_everything(&server, &id).await;
    assert_eq!(run.files_sent, 0);
    // Destinations list their files in any order: what is written of an object says itself what is newer.
    let mut times: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, bytes) in files_below(&nas(&site).join(".heldar-footage/ledger")) {
        for line in String::from_utf8(bytes).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            if let (Some(path), Some(at)) = (line["path"].as_str(), line["time"].as_str()) {
                times
                    .entry(path.to_owned())
                    .or_default()
                    .push(at.to_owned());
            }
        }
    }
    assert_eq!(times.len(), 6);
    for (path, times) in times {
        assert!(times.len() == 2 && times[0] < times[1], "{path}: {times:?}");
    }
    let window = |start| proto::RestoreBackupRequest {
        ledger_source: LedgerSource::Destination.into(),
        camera_ids: vec![CAMERA.to_owned()],
        start_time: time(start),
        end_time: time(start + ms(15_000)),
        ..from(&id, "right")
    };
    let summary = restore(&server, window(epoch() - hour)).await;
    assert_eq!((summary.files_selected, summary.files_failed), (2, 0));
    let wrong = server.backups().restore_backup(window(epoch())).await;
    let wrong = at_its_end(&server, wrong.unwrap().into_inner()).await;
    assert_eq!(notice_reason(&wrong.error.unwrap()), "NO_FOOTAGE");
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn footage_restore_needs_nothing_but_the_destination() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    run_everything(&server, &id).await;
    assert_eq!(server.stop(), 0);
    let described = site.path("nas.json");
    let text = format!(r#"{{"local":{{"path":{:?}}}}}"#, nas(&site));
    std::fs::write(&described, text).unwrap();
    let empty = Site::new();
    let into = empty.path("restored");
    let arguments = [
        "restore",
        "--destination",
        described.to_str().unwrap(),
        "--into",
        into.to_str().unwrap(),
    ];
    let (code, out, err) = empty.run(&arguments);
    assert_eq!(code, 0, "{out}\n{err}");
    assert!(out.starts_with("6 files brought back into "), "{out}");
    assert_eq!(footage_in(&into), expected(&site));
    let (code, out, _) = empty.run(&arguments);
    assert_eq!(code, 0);
    assert!(out.contains("6 there already"), "{out}");

    let name = expected(&site).into_keys().next().unwrap();
    std::fs::remove_file(into.join(&name)).unwrap();
    std::fs::remove_file(nas(&site).join(&name)).unwrap();
    let (code, out, _) = empty.run(&[&arguments[..], &["--json"]].concat());
    assert_eq!(code, 5, "{out}");
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(summary["faults"][0]["remotePath"], name.as_str(), "{out}");

    std::fs::write(&described, r#"{"sftp":{"host":"nas,ssh=sh","user":"a"}}"#).unwrap();
    let (code, _, err) = empty.run(&arguments);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("destination.sftp.host"), "{err}");
}

#[tokio::test]
async fn footage_restore_tells_a_path_without_a_ledger_from_a_selection_that_it_has_nothing_of() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    run_everything(&server, &id).await;
    assert_eq!(server.stop(), 0);
    let described = site.path("nas.json");
    let into = site.path("restored");
    let refusal = |path: &std::path::Path, selection: &[&str]| {
        let text = format!(r#"{{"local":{{"path":{path:?}}}}}"#);
        std::fs::write(&described, text).unwrap();
        let destination = described.to_str().unwrap();
        let command = ["restore", "--destination", destination];
        let options = ["--into", into.to_str().unwrap()];
        let (code, _, err) = site.run(&[&command[..], &options, selection].concat());
        assert_eq!(code, 2, "{err}");
        err
    };
    let ledger = format!("ledger at {}/.heldar-footage/ledger", nas(&site).display());
    let nobody = refusal(&nas(&site), &["--camera", "nobody"]);
    assert!(
        nobody.contains(&format!("the {ledger} has nothing of")),
        "{nobody}"
    );
    let cameras = format!(
        "it has {CAMERA}, {OTHER}, from {}",
        epoch().format("%Y-%m-%dT")
    );
    assert!(nobody.contains(&cameras), "{nobody}");
    let never = refusal(&nas(&site), &["--to", "2020-01-01T00:00:00Z"]);
    assert!(never.contains(&cameras), "{never}");

    let elsewhere = nas(&site).join(CAMERA);
    let elsewhere = refusal(&elsewhere, &[]);
    let ledger = format!("{CAMERA}/.heldar-footage/ledger");
    assert!(
        elsewhere.contains("there is no ledger at ") && elsewhere.contains(&ledger),
        "{elsewhere}"
    );
    let folder = nas(&site).join(".heldar-footage/ledger");
    for name in files_in(&folder) {
        std::fs::write(folder.join(name), "cut off").unwrap();
    }
    let damaged = refusal(&nas(&site), &[]);
    assert!(damaged.contains("can be read"), "{damaged}");
}
