//! Destinations that lie.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use heldar_footage::domain::backup::destination::{DestinationSettings, LocalSettings};
use heldar_footage::domain::backup::object::{BackupCheck, BackupFaultKind};
use heldar_footage::transfer::{Expected, Place, TransferError, Wanted};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::servers::{OpenSsh, RcloneS3};
use crate::{Site, sha256};

/// A place whose rclone is a script, which puts out what a hostile server would make rclone put out.
fn place(site: &Site, script: &str) -> Place {
    let server = OpenSsh::start();
    scripted(site, script, &DestinationSettings::Sftp(server.settings()))
}

fn scripted(site: &Site, script: &str, settings: &DestinationSettings) -> Place {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path: PathBuf = site.path(&format!("rclone-{count}"));
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = version ]; then echo rclone v1.75.2; exit; fi\n{script}\n"
    );
    std::fs::write(&path, script).unwrap();
    assert!(
        Command::new("chmod")
            .arg("755")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    let mut engine = site.engine();
    engine.rclone = path.into();
    Place::open(settings, &engine).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_takes_no_object_without_its_md5_gets_them_from_then_on() {
    let site = Site::usual();
    let s3 = RcloneS3::start("only-for-this-test");
    let tries = site.path("tries");
    // As a bucket with a default retention answers.
    let script = format!(
        r#"if [ "$1" = copy ] && [ -n "$RCLONE_CONFIG_DEST_DISABLE_CHECKSUM" ]; then
  echo try >> {tries}
  echo '{{"level":"error","msg":"Failed to copy: operation error S3: PutObject, https response error StatusCode: 400, api error InvalidRequest: Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters","object":"{path}","source":"slog"}}' >&2
  exit 1
fi
exec rclone "$@""#,
        tries = tries.display(),
        path = site.files.keys().next().unwrap(),
    );
    let place = scripted(&site, &script, &DestinationSettings::S3(s3.settings()));
    let at = s3.files.join("cameras/all");
    for _ in 0..2 {
        site.send_whole(&place, BackupCheck::Hash, &at).await;
    }
    assert_eq!(std::fs::read_to_string(tries).unwrap(), "try\n");
}

#[tokio::test]
async fn an_endless_listing_ends_when_the_caller_has_enough() {
    let site = Site::usual();
    let endless = place(&site, r#"echo '['; yes '{"Path":"a/b","Size":1},'"#);
    let mut count = 0;
    let listed = endless
        .list("", &CancellationToken::new(), |_| {
            count += 1;
            if count == 10_000 {
                return Err(TransferError::Settings("enough".to_owned()));
            }
            Ok(())
        })
        .await;
    assert!(matches!(listed, Err(TransferError::Settings(text)) if text == "enough"));
    assert_eq!(count, 10_000);
    site.check_left();
}

#[tokio::test]
async fn names_of_a_listing_are_shown_and_a_name_without_end_is_an_error() {
    let site = Site::usual();
    let cancel = CancellationToken::new();
    let odd = place(
        &site,
        r#"printf '%s\n' '[' '{"Path":"../a\n\u001b","Size":-1}' ']'"#,
    );
    let mut names = Vec::new();
    odd.list("", &cancel, |file| {
        names.push((file.path, file.size_bytes));
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(names, [("../a\\n\\u{1b}".to_owned(), 0)]);
    let long = place(
        &site,
        r#"printf '{"Path":"'; head -c 1000000 /dev/zero | tr '\0' x; echo '","Size":1},'"#,
    );
    let listed = long.list("", &cancel, |_| Ok(())).await;
    assert!(
        matches!(listed, Err(TransferError::Failed { .. })),
        "{listed:?}"
    );
    let unended = place(&site, "yes x | tr -d '\\n' & sleep 2; kill $!");
    let listed = unended.list("", &cancel, |_| Ok(())).await;
    assert!(listed.is_ok(), "{listed:?}");
    site.check_left();
}

#[tokio::test]
async fn a_small_file_that_does_not_end_is_an_error() {
    let site = Site::usual();
    let endless = place(
        &site,
        r#"case "$1" in lsjson) echo '{"Path":"ledger/1","Size":10}';; cat) yes;; esac"#,
    );
    let got = endless
        .get("ledger/1", 100, &CancellationToken::new())
        .await;
    assert!(matches!(got, Err(TransferError::Failed { .. })), "{got:?}");
    let lying = place(
        &site,
        r#"case "$1" in lsjson) echo '{"Path":"ledger/1","Size":10}';; cat) echo;; esac"#,
    );
    let got = lying.get("ledger/1", 100, &CancellationToken::new()).await;
    assert!(matches!(got, Err(TransferError::Failed { .. })), "{got:?}");
    site.check_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn success_without_an_answer_is_no_success() {
    let site = Site::with(&[("a.mp4", 10)]);
    let silent = place(&site, "exit 0");
    for check in heldar_footage::domain::backup::object::BackupCheck::ALL {
        let sent = site.send(&silent, check).await.unwrap();
        let fault = sent[0].as_ref().unwrap_err();
        assert_eq!(fault.kind, BackupFaultKind::TransferFailed);
    }
    let cancel = CancellationToken::new();
    let (_limit, bandwidth) = watch::channel(0);
    let wanted = site.wanted();
    let fetched = silent
        .fetch(&wanted, 1, bandwidth, &cancel, |_| {})
        .await
        .unwrap();
    let fault = fetched[0].as_ref().unwrap_err();
    assert_eq!(fault.kind, BackupFaultKind::ObjectMissing);
    assert!(!wanted[0].target.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_at_a_local_place_leads_nowhere() {
    let site = Site::with(&[("cam/a.mp4", 10)]);
    let disk = site.path("disk");
    std::fs::create_dir_all(disk.join("real")).unwrap();
    std::fs::write(site.path("secret"), b"0123456789").unwrap();
    std::os::unix::fs::symlink("..", disk.join("cam")).unwrap();
    std::os::unix::fs::symlink("../secret", disk.join("secret")).unwrap();
    let place = site.place(&DestinationSettings::Local(LocalSettings {
        path: disk.display().to_string(),
        require_mount: false,
    }));
    let sent = site
        .send(
            &place,
            heldar_footage::domain::backup::object::BackupCheck::Size,
        )
        .await
        .unwrap();
    assert!(sent[0].is_err(), "{sent:?}");
    assert!(!site.path("a.mp4").exists());
    let cancel = CancellationToken::new();
    let mut names = Vec::new();
    place
        .list("", &cancel, |file| {
            names.push(file.path);
            Ok(())
        })
        .await
        .unwrap();
    assert!(names.is_empty(), "{names:?}");
    let wanted = Wanted {
        expected: Expected {
            path: "secret".to_owned(),
            size_bytes: 10,
            sha256: sha256(b"0123456789"),
        },
        target: site.path("target"),
    };
    let (_limit, bandwidth) = watch::channel(0);
    let fetched = place
        .fetch(&[wanted], 1, bandwidth, &cancel, |_| {})
        .await
        .unwrap();
    assert!(fetched[0].is_err(), "{fetched:?}");
    assert!(!site.path("target").exists());
    let removed = place
        .remove(&["cam/secret".to_owned()], &cancel)
        .await
        .unwrap();
    assert!(removed[0].is_err(), "{removed:?}");
    assert!(site.path("secret").exists());
}
