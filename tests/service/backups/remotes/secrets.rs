//! Secrets get to the destination and show nowhere else.

use super::{
    DestinationPauseReason, FtpTls, OpenSsh, ProFtpd, RcloneS3, RcloneSftp, Secret, Server, Site,
    destination, expected, files_in, finished, footage_in, ftp_destination, limited, long_site,
    pauses, proto, s3_destination, sftp_destination, site, stored, under_way,
};
use crate::server::{becomes, is_running};
use crate::servers::descendants;

/// A password that stands nowhere else.
const CANARY: &str = "canary5Xq7wrongword";

/// A site whose server says all that it can say.
fn talkative(site: Site) -> Site {
    site.with("HELDAR_LOG", "trace")
}

/// Checks that no file of the data folder holds the secret: database, journal, scratch and all.
fn is_nowhere_on_disk(site: &Site, secret: &str) {
    let mut folders = vec![site.data()];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for name in files_in(&folder) {
            let path = folder.join(name);
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // What belongs to a transfer may go at any moment.
            let Ok(bytes) = std::fs::read(&path) else {
                continue;
            };
            read += 1;
            let found = memchr::memmem::find(&bytes, secret.as_bytes());
            assert_eq!(found, None, "the secret is in {}", path.display());
        }
    }
    assert!(read > 0);
}

/// Checks that neither an answer nor the log shows the secret.
fn is_nowhere_said(server: &Server, answers: &[String], secret: &str) {
    assert!(server.log().len() > 1000, "the server logs what it does");
    for text in answers.iter().chain([&server.log()]) {
        assert!(!text.contains(secret), "{text}");
    }
}

async fn refused(settings: proto::Destination) {
    let site = talkative(site());
    let server = site.start().await;
    let id = stored(&server, settings).await;
    let (job, found) = pauses(&server, &id, DestinationPauseReason::LoginRefused).await;
    let tried = super::try_out(&server, &id).await;
    assert!(!tried.ok);
    is_nowhere_said(
        &server,
        &[
            format!("{job:?}"),
            format!("{found:?}"),
            format!("{tried:?}"),
        ],
        CANARY,
    );
    is_nowhere_on_disk(&site, CANARY);
    server.stop_with(&site, &[]);
    is_nowhere_on_disk(&site, CANARY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_of_sftp_pauses_after_one_attempt_and_is_shown_nowhere() {
    let sftp = RcloneSftp::start("camera", "right");
    let mut settings = sftp.settings();
    settings.password = Secret::new(CANARY);
    refused(sftp_destination(&settings)).await;
    assert_eq!(files_in(&sftp.files), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_of_ftp_pauses_after_one_attempt_and_is_shown_nowhere() {
    let ftp = ProFtpd::start("right", FtpTls::Explicit);
    let mut settings = ftp.settings();
    settings.password = Secret::new(CANARY);
    refused(ftp_destination(&settings)).await;
    assert_eq!(files_in(&ftp.files), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_key_of_s3_pauses_after_one_attempt_and_is_shown_nowhere() {
    let s3 = RcloneS3::start("right");
    let mut settings = s3.settings();
    settings.secret_key = Secret::new(CANARY);
    refused(s3_destination(&settings)).await;
    assert_eq!(files_in(&s3.files), Vec::<String>::new());
}

/// Command lines of all processes of the machine.
fn command_lines() -> Vec<(u32, String)> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| Some((pid, std::fs::read(format!("/proc/{pid}/cmdline")).ok()?)))
        .map(|(pid, line)| (pid, String::from_utf8_lossy(&line).into_owned()))
        .collect()
}

/// The secrets that a process has in its environment, in the form in which they are there.
fn secrets_of(pid: u32) -> Vec<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    String::from_utf8_lossy(&environment)
        .split('\0')
        .filter_map(|variable| variable.split_once('='))
        .filter(|(name, _)| {
            ["PASS", "KEY_PEM", "SECRET_ACCESS_KEY"]
                .iter()
                .any(|end| name.ends_with(end))
        })
        .map(|(_, value)| value.to_owned())
        .collect()
}

/// Sends slowly with a secret that is right, and looks everywhere meanwhile.
async fn sent(settings: proto::Destination, files: &std::path::Path, secret: &str) {
    let site = talkative(long_site());
    let server = site.start().await;
    let id = stored(&server, limited(settings, 1 << 20)).await;
    let job_id = under_way(&server, &id).await;
    let secrets = becomes("rclone is seen with its secrets", async || {
        let ours = descendants(server.pid()).into_iter();
        ours.filter(|pid| is_running(*pid))
            .map(secrets_of)
            .find(|secrets| !secrets.is_empty())
    })
    .await;
    for (pid, line) in command_lines() {
        assert!(!line.contains(secret), "{pid}: {line}");
        for given in &secrets {
            assert!(!line.contains(given), "{pid}: {line}");
        }
    }
    is_nowhere_on_disk(&site, secret);
    let (job, run) = finished(&server, &job_id).await;
    assert_eq!(run.files_sent, 6);
    let there = footage_in(files);
    assert!(there == expected(&site), "{:?}", there.keys());
    let found = destination(&server, &id).await;
    is_nowhere_said(&server, &[format!("{job:?}"), format!("{found:?}")], secret);
    server.stop_with(&site, &[]);
    is_nowhere_on_disk(&site, secret);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_a_password_of_sftp_while_files_are_sent() {
    let sftp = RcloneSftp::start("camera", CANARY);
    sent(sftp_destination(&sftp.settings()), &sftp.files, CANARY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_a_private_key_while_files_are_sent() {
    let ssh = OpenSsh::start();
    let settings = ssh.settings_with_passphrase();
    let of_key = settings.private_key.reveal().lines().nth(2).unwrap();
    sent(sftp_destination(&settings), &ssh.files, of_key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_a_password_of_ftp_while_files_are_sent() {
    let ftp = ProFtpd::start(CANARY, FtpTls::Explicit);
    sent(ftp_destination(&ftp.settings()), &ftp.files, CANARY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_a_secret_key_of_s3_while_files_are_sent() {
    let s3 = RcloneS3::start(CANARY);
    let files = s3.files.join(s3.settings().prefix);
    sent(s3_destination(&s3.settings()), &files, CANARY).await;
}
