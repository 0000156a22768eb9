//! Runs that are disturbed: the server goes, the service dies, somebody cancels, a limit changes.

use std::path::Path;
use std::time::{Duration, Instant};

use heldar_footage::proto::{self, JobState};

use super::super::asking::lift_limit;
use super::super::restores::{from, restored};
use super::{FtpTls, ProFtpd, footage_in, ftp_destination};
use super::{
    everything_is_there_once, expected, finished, limited, long_site, run_everything, stored,
    under_way,
};
use crate::server::{Server, becomes, ended, next_job};
use crate::servers::{
    OpenSsh, Proxy, RcloneS3, descendants, rclones, s3_destination, sftp_destination,
};

/// So slow that a run takes far longer than whatever disturbs it.
const SLOW: i64 = 512 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_server_goes_and_comes_back_completes_by_itself() {
    // rclone waits for ever when a server ends its connections in order in the middle of a file.
    let site = long_site().with("HELDAR_BACKUP_STALL_S", "10");
    let server = site.start().await;
    let mut ssh = OpenSsh::start();
    let id = stored(&server, limited(sftp_destination(&ssh.settings()), SLOW)).await;
    let job_id = under_way(&server, &id).await;
    ssh.running.kill();
    let waiting = becomes("the job waits for another attempt", async || {
        let request = proto::GetJobRequest {
            job_id: job_id.clone(),
        };
        let job = server.jobs().get_job(request).await.unwrap().into_inner();
        assert_eq!(job.end_time, None, "{job:?}");
        (job.state() == JobState::Queued || job.attempt > 1).then_some(job)
    })
    .await;
    assert!(waiting.attempt >= 1);
    lift_limit(&server, &id).await;
    ssh.restart(false);
    let (job, run) = finished(&server, &job_id).await;
    assert!(job.attempt > 1, "{job:?}");
    everything_is_there_once(&site, &server, &id, &run, &ssh.files).await;
    server.stop_with(&site, &[]);
}

/// Cuts the way to a server in mid-file, without a word to either side, until what it was at is given up. Then the same job
/// completes.
async fn cut_off(proxy: Proxy, settings: proto::Destination, files: &Path) {
    let site = long_site().with("HELDAR_BACKUP_STALL_S", "5");
    let server = site.start().await;
    let id = stored(&server, limited(settings, SLOW)).await;
    let job_id = under_way(&server, &id).await;
    proxy.swallow_until_given_up().await;
    lift_limit(&server, &id).await;
    proxy.pass();
    let (_, run) = finished(&server, &job_id).await;
    everything_is_there_once(&site, &server, &id, &run, files).await;
    server.stop_with(&site, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_by_sftp_that_is_cut_off_completes_when_the_network_is_back() {
    let ssh = OpenSsh::start();
    let mut settings = ssh.settings();
    let proxy = Proxy::to(settings.port).await;
    settings.port = proxy.port();
    cut_off(proxy, sftp_destination(&settings), &ssh.files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_by_ftp_that_is_cut_off_completes_when_the_network_is_back() {
    let ftp = ProFtpd::start("secret", FtpTls::Explicit);
    let mut settings = ftp.settings();
    let proxy = Proxy::to(settings.port).await;
    settings.port = proxy.port();
    cut_off(proxy, ftp_destination(&settings), &ftp.files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_to_s3_that_is_cut_off_completes_when_the_network_is_back() {
    let s3 = RcloneS3::start("secret");
    let mut settings = s3.settings();
    let proxy = Proxy::to(s3.port).await;
    settings.endpoint = format!("http://127.0.0.1:{}", proxy.port());
    let files = s3.files.join(&settings.prefix);
    cut_off(proxy, s3_destination(&settings), &files).await;
}

/// Kills the service in mid-run and starts it again: the same job completes.
async fn killed(settings: proto::Destination, files: &Path) {
    let site = long_site();
    let server = site.start().await;
    let id = stored(&server, limited(settings, SLOW)).await;
    let job_id = under_way(&server, &id).await;
    server.kill();
    let server = site.start().await;
    lift_limit(&server, &id).await;
    let (job, run) = finished(&server, &job_id).await;
    assert_eq!(job.attempt, 2);
    everything_is_there_once(&site, &server, &id, &run, files).await;
    server.stop_with(&site, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_while_it_sends_by_sftp_completes_the_run_when_it_starts_again() {
    let ssh = OpenSsh::start();
    killed(sftp_destination(&ssh.settings()), &ssh.files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_while_it_sends_by_ftp_completes_the_run_when_it_starts_again() {
    let ftp = ProFtpd::start("secret", FtpTls::Explicit);
    killed(ftp_destination(&ftp.settings()), &ftp.files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_while_it_sends_to_s3_completes_the_run_when_it_starts_again() {
    let s3 = RcloneS3::start("secret");
    let files = s3.files.join(s3.settings().prefix);
    killed(s3_destination(&s3.settings()), &files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_within_two_seconds_when_it_is_cancelled_and_the_next_one_completes() {
    let site = long_site();
    let server = site.start().await;
    let ssh = OpenSsh::start();
    let id = stored(&server, limited(sftp_destination(&ssh.settings()), SLOW)).await;
    let job_id = under_way(&server, &id).await;
    let request = proto::CancelJobRequest {
        job_id: job_id.clone(),
    };
    let begun = Instant::now();
    server.jobs().cancel_job(request).await.unwrap();
    let job = ended(&server, &job_id).await;
    let took = begun.elapsed();
    assert_eq!(job.state(), JobState::Cancelled, "{job:?}");
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    assert!(descendants(server.pid()).is_empty(), "rclone ended");
    lift_limit(&server, &id).await;
    let run = run_everything(&server, &id).await;
    everything_is_there_once(&site, &server, &id, &run, &ssh.files).await;
    server.stop_with(&site, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_lifted_during_a_run_lets_it_finish_soon() {
    let site = long_site();
    let server = site.start().await;
    let ssh = OpenSsh::start();
    let (bytes_per_second, bytes): (i64, usize) =
        (64 << 10, expected(&site).values().map(Vec::len).sum());
    let settings = limited(sftp_destination(&ssh.settings()), bytes_per_second);
    let id = stored(&server, settings).await;
    let job_id = under_way(&server, &id).await;
    let begun = Instant::now();
    lift_limit(&server, &id).await;
    let (job, run) = finished(&server, &job_id).await;
    let (took, limited_s) = (begun.elapsed(), bytes as f64 / bytes_per_second as f64);
    assert_eq!(job.attempt, 1);
    assert!(
        took.as_secs_f64() < limited_s / 4.0,
        "{took:?} of {limited_s} s"
    );
    everything_is_there_once(&site, &server, &id, &run, &ssh.files).await;
    server.stop_with(&site, &[]);
}

/// Follows a job until its progress is such; its id.
async fn reaches(
    server: &Server,
    job_id: &str,
    what: &str,
    is_such: impl Fn(&proto::JobProgress) -> bool,
) {
    let request = proto::WatchJobRequest {
        job_id: job_id.to_owned(),
        ..Default::default()
    };
    let mut watch = server.jobs().watch_job(request).await.unwrap().into_inner();
    let mut last = None;
    while let Some(job) = next_job(&mut watch).await {
        if job.progress.as_ref().is_some_and(&is_such) {
            return;
        }
        last = Some(job);
    }
    panic!("the job ended before {what}: {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_tells_its_speed_the_time_left_its_files_and_its_retries() {
    let site = long_site();
    let server = site.start().await;
    let ssh = OpenSsh::start();
    let id = stored(&server, limited(sftp_destination(&ssh.settings()), SLOW)).await;
    let job_id = under_way(&server, &id).await;
    let names: Vec<_> = expected(&site).into_keys().collect();
    let bytes: usize = expected(&site).values().map(Vec::len).sum();
    reaches(&server, &job_id, "it told of its speed", |progress| {
        let is_slow = (1..8 * SLOW).contains(&progress.bytes_per_second);
        progress.phase == "sending"
            && (progress.files_total, progress.bytes_total) == (6, bytes as i64)
            && progress.fraction.is_some_and(|part| part > 0.0)
            && progress
                .time_left
                .is_some_and(|left| left.seconds < 600 && is_slow)
            && names
                .iter()
                .any(|name| progress.current_item.contains(name))
    })
    .await;
    for pid in rclones(server.pid()) {
        crate::servers::kill(pid);
    }
    reaches(&server, &job_id, "it told of its retries", |progress| {
        progress.retries > 0
    })
    .await;
    lift_limit(&server, &id).await;
    let (job, run) = finished(&server, &job_id).await;
    assert_eq!(job.attempt, 1, "rclone alone was killed");
    assert!(run.retries > 0, "{run:?}");
    everything_is_there_once(&site, &server, &id, &run, &ssh.files).await;
    server.stop_with(&site, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_while_it_brings_footage_back_goes_on_when_it_starts_again() {
    let site = long_site();
    let server = site.start().await;
    let ssh = OpenSsh::start();
    let id = stored(&server, sftp_destination(&ssh.settings())).await;
    run_everything(&server, &id).await;
    let request = proto::UpdateDestinationRequest {
        destination: Some(limited(
            proto::Destination {
                id: id.clone(),
                ..Default::default()
            },
            SLOW,
        )),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["bandwidth_limit_bytes_per_second".to_owned()],
        }),
    };
    server.backups().update_destination(request).await.unwrap();
    let request = proto::RestoreBackupRequest {
        wait: None,
        ..from(&id, "cut-short")
    };
    let job = server.backups().restore_backup(request).await.unwrap();
    let job_id = job.into_inner().id;
    reaches(&server, &job_id, "bytes came back", |progress| {
        progress.bytes_done > 0
    })
    .await;
    lift_limit(&server, &id).await;
    server.kill();
    let server = site.start().await;
    let job = ended(&server, &job_id).await;
    assert_eq!((job.state(), job.attempt), (JobState::Succeeded, 2));
    let Some(proto::job::Result::Restore(summary)) = job.result else {
        panic!("no summary: {job:?}");
    };
    assert_eq!(
        (
            summary.files_restored + summary.files_present,
            summary.files_failed
        ),
        (6, 0)
    );
    assert!(footage_in(&restored(&site, "cut-short")) == expected(&site));
    server.stop_with(&site, &[]);
}
