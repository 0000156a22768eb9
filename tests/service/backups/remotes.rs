//! Backups over the network, to real servers: there and back, refused logins, changed hosts, and what becomes of secrets.

mod interrupted;
mod secrets;

use heldar_footage::domain::backup::destination::{FtpTls, Secret};
use heldar_footage::proto::{self, BackupCheck, DestinationPauseReason, JobState};

use super::asking::{
    at_its_end, back_up, create_destination, destination, everything_to, expected, files_below,
    footage_in, objects, run_everything, site, stand_in, try_out,
};
use super::restores::{from, restore, restored};
use super::verifications::verify;
use crate::recorder::sha256;
use crate::server::{Server, Site, age, files_in, notice_reason};
use crate::servers::{
    OpenSsh, ProFtpd, RcloneS3, RcloneSftp, ftp_destination, s3_destination, sftp_destination,
};

/// The id of a destination that is stored.
async fn stored(server: &Server, settings: proto::Destination) -> String {
    create_destination(server, settings).await.unwrap().id
}

/// Sends everything, sends nothing again, has it verified and brings it back. `files`: where the destination is on this
/// machine.
async fn there_and_back(settings: proto::Destination, files: &std::path::Path) {
    there_and_back_from(site(), settings, files).await;
}

async fn there_and_back_from(site: Site, settings: proto::Destination, files: &std::path::Path) {
    let server = site.start().await;
    let id = stored(&server, settings).await;
    let tried = try_out(&server, &id).await;
    assert!(tried.ok, "{:?}", tried.error);
    assert!(tried.listed && tried.written && tried.read_back && tried.deleted);
    // A server of objects shows no folder in which there is none.
    let left = files.exists().then(|| files_below(files));
    assert_eq!(left.unwrap_or_default().len(), 0, "a trial leaves nothing");

    let everything = expected(&site);
    let first = run_everything(&server, &id).await;
    assert_eq!((first.files_sent, first.files_failed), (6, 0), "{first:?}");
    assert_eq!(footage_in(files), everything);
    for (path, object) in objects(&server, &id).await {
        assert_eq!(object.sha256, sha256(&everything[&path]));
        assert!(object.check() >= BackupCheck::Hash, "{object:?}");
    }
    let before = files_below(files);
    assert!(before.contains_key(&first.ledger_path), "{first:?}");
    let second = run_everything(&server, &id).await;
    assert!(second.nothing_to_do, "{second:?}");
    assert_eq!((second.files_present, second.bytes_moved), (6, 0));
    assert_eq!(files_below(files), before, "nothing was written");

    for check in [BackupCheck::Size, BackupCheck::Hash, BackupCheck::ReadBack] {
        let found = verify(&server, &id, check).await;
        assert!(found.intact, "{found:?}");
        assert_eq!((found.objects_checked, found.objects_unknown), (6, 0));
    }
    let summary = restore(&server, from(&id, "back")).await;
    assert_eq!((summary.files_restored, summary.files_failed), (6, 0));
    assert_eq!(footage_in(&restored(&site, "back")), everything);
    server.stop_with(&site, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_gets_everything_once_and_gives_it_back() {
    let ssh = OpenSsh::start();
    there_and_back(sftp_destination(&ssh.settings()), &ssh.files).await;
}

/// A way to wait for what another rclone does; it fails where that does not begin.
const WAIT: &str = r#"log="$0.log"; echo "$1" >> "$log"
wait_for() { # commands, and how many of them
  n=0; until [ "$(grep -c "^$1$" "$log")" -ge "$2" ]; do n=$((n + 1)); [ $n -gt 200 ] && exit 9; sleep 0.05; done
}
case "$1" in
  copy) [ "$(grep -c '^copy$' "$log")" = 1 ] && wait_for lsjson 1 ;;
  lsjson) wait_for copy 2; wait_for hashsum 1 ;;
esac"#;

#[tokio::test(flavor = "multi_thread")]
async fn each_rclone_of_a_run_is_started_while_the_one_before_it_works_and_none_in_vain() {
    let mut site = site();
    stand_in(&mut site, WAIT);
    let s3 = RcloneS3::start("secret");
    let server = site.start().await;
    let id = stored(&server, s3_destination(&s3.settings())).await;
    let run = run_everything(&server, &id).await;
    assert_eq!((run.files_sent, run.retries), (6, 0), "{run:?}");
    let log = std::fs::read_to_string(site.path("stand-in-rclone.log")).unwrap();
    let mut started: Vec<&str> = log
        .lines()
        .filter(|command| *command != "version")
        .collect();
    started.sort_unstable();
    assert_eq!(started, ["copy", "copy", "hashsum", "lsjson"]);
    server.stop_with(&site, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ftp_with_tls_gets_everything_once_and_gives_it_back() {
    let ftp = ProFtpd::start("secret", FtpTls::Explicit);
    there_and_back(ftp_destination(&ftp.settings()), &ftp.files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_gets_everything_once_and_gives_it_back() {
    let s3 = RcloneS3::start("secret");
    let files = s3.files.join(s3.settings().prefix);
    there_and_back(s3_destination(&s3.settings()), &files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_of_the_operators_own_rclone_configuration_gets_everything_once_and_gives_it_back()
{
    let folder = tempfile::tempdir().unwrap();
    let (config, files) = (
        folder.path().join("rclone.conf"),
        folder.path().join("files"),
    );
    std::fs::create_dir(&files).unwrap();
    let text = format!("[vault]\ntype = alias\nremote = {}\n", files.display());
    std::fs::write(&config, text).unwrap();
    let site = site().with("HELDAR_RCLONE_CONFIG", config.to_str().unwrap());
    let settings = proto::Destination {
        settings: Some(proto::destination::Settings::Rclone(
            proto::RcloneSettings {
                remote: "vault".to_owned(),
                path: "cameras".to_owned(),
            },
        )),
        ..Default::default()
    };
    there_and_back_from(site, settings, &files.join("cameras")).await;
}

/// Checks that a run fails in its first attempt, that the destination is paused for it, and that the next request is
/// refused; the job and the destination.
async fn pauses(
    server: &Server,
    id: &str,
    reason: DestinationPauseReason,
) -> (proto::Job, proto::Destination) {
    let job = back_up(server, everything_to(id)).await;
    assert_eq!((job.state(), job.attempt), (JobState::Failed, 1), "{job:?}");
    assert_eq!(
        notice_reason(job.error.as_ref().unwrap()),
        "DESTINATION_DISABLED"
    );
    let found = destination(server, id).await;
    let pause = found.status.clone().unwrap().pause.expect("a pause");
    assert_eq!(pause.reason(), reason, "{pause:?}");
    assert!(pause.start_time.is_some() && pause.message.contains("then test it"));
    let refused = server.backups().create_backup(everything_to(id)).await;
    assert!(refused.is_err(), "nothing is sent while it is paused");
    assert_eq!(objects(server, id).await.len(), 0);
    (job, found)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_key_pauses_and_a_trial_with_the_new_one_ends_the_pause() {
    let site = site();
    let server = site.start().await;
    let mut ssh = OpenSsh::start();
    let id = stored(&server, sftp_destination(&ssh.settings())).await;
    ssh.restart(true);
    pauses(&server, &id, DestinationPauseReason::HostChanged).await;
    assert_eq!(files_in(&ssh.files), Vec::<String>::new());

    let tried = try_out(&server, &id).await;
    assert!(!tried.ok);
    let mut shown = tried.host_keys;
    let mut present = ssh.settings().host_keys;
    shown.sort();
    present.sort();
    assert_eq!(shown, present);
    let request = proto::UpdateDestinationRequest {
        destination: Some(proto::Destination {
            id: id.clone(),
            settings: Some(proto::destination::Settings::Sftp(proto::SftpSettings {
                host_keys: shown,
                ..Default::default()
            })),
            ..Default::default()
        }),
        update_mask: None,
    };
    server.backups().update_destination(request).await.unwrap();
    let status = destination(&server, &id).await.status.unwrap();
    assert_eq!(status.pause, None);
    assert_eq!(run_everything(&server, &id).await.files_sent, 6);
    assert_eq!(footage_in(&ssh.files), expected(&site));
    server.stop_with(&site, &[]);
}

/// Makes every recording of a site a mebibyte longer, each by other bytes in a box that players skip, and imports them.
fn lengthen(site: &Site) {
    const MORE_BYTES: usize = 1 << 20;
    for camera in files_in(&site.recordings()) {
        let folder = site.recordings().join(camera);
        for name in files_in(&folder) {
            let path = folder.join(&name);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.extend_from_slice(&u32::try_from(MORE_BYTES).unwrap().to_be_bytes());
            bytes.extend_from_slice(b"free");
            let filling = path.as_os_str().as_encoded_bytes().iter().copied().cycle();
            bytes.extend(filling.take(MORE_BYTES - 8));
            std::fs::write(&path, bytes).unwrap();
            age(&path);
        }
    }
    crate::recorder::import(site, &[]);
}

/// A site with six recordings of more than a mebibyte each.
fn long_site() -> Site {
    let site = site();
    lengthen(&site);
    site
}

/// The same destination with a limit of bytes per second.
fn limited(settings: proto::Destination, bytes_per_second: i64) -> proto::Destination {
    proto::Destination {
        bandwidth_limit_bytes_per_second: bytes_per_second,
        ..settings
    }
}

/// Starts a run and answers its id once bytes have moved.
async fn under_way(server: &Server, destination_id: &str) -> String {
    let request = proto::CreateBackupRequest {
        wait: None,
        ..everything_to(destination_id)
    };
    let job = server.backups().create_backup(request).await.unwrap();
    let id = job.into_inner().id;
    let request = proto::WatchJobRequest {
        job_id: id.clone(),
        ..Default::default()
    };
    let mut watch = server.jobs().watch_job(request).await.unwrap().into_inner();
    loop {
        let job = crate::server::next_job(&mut watch)
            .await
            .expect("bytes move before the run ends");
        assert_eq!(job.end_time, None, "the run is too fast: {job:?}");
        if job.progress.is_some_and(|progress| progress.bytes_done > 0) {
            return id;
        }
    }
}

/// Checks that everything is at the destination once: the bytes, the ledger, the counts of the run and of the
/// destination, and a verification that looks for unknown files too.
async fn everything_is_there_once(
    site: &Site,
    server: &Server,
    id: &str,
    run: &proto::BackupRun,
    files: &std::path::Path,
) {
    let everything = expected(site);
    let bytes: usize = everything.values().map(Vec::len).sum();
    let bytes = i64::try_from(bytes).unwrap();
    assert_eq!(
        (
            run.files_selected,
            run.files_sent,
            run.files_present,
            run.files_failed,
            run.bytes_sent
        ),
        (6, 6, 0, 0, bytes),
        "{run:?}"
    );
    let there = footage_in(files);
    assert!(there == everything, "{:?}", there.keys());
    let ledger = objects(server, id).await;
    assert!(ledger.keys().eq(everything.keys()), "{ledger:?}");
    let status = destination(server, id).await.status.unwrap();
    assert_eq!((status.object_count, status.stored_bytes), (6, bytes));
    let found = verify(server, id, BackupCheck::ReadBack).await;
    assert!(found.intact, "{found:?}");
    assert_eq!(found.objects_unknown, 0, "{found:?}");
    let again = run_everything(server, id).await;
    assert!(again.nothing_to_do, "{again:?}");
}

/// The run of a job that is watched to its end.
async fn finished(server: &Server, job_id: &str) -> (proto::Job, proto::BackupRun) {
    let request = proto::GetJobRequest {
        job_id: job_id.to_owned(),
    };
    let job = server.jobs().get_job(request).await.unwrap().into_inner();
    let job = at_its_end(server, job).await;
    let run = super::asking::run_of(&job);
    (job, run)
}
