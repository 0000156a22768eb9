//! Destinations and policies as resources: made, read, changed, deleted. Policies have a file of their own.

mod policies;

use heldar_footage::proto::destination::Settings;
use heldar_footage::proto::{self, DestinationKind};
use prost_types::FieldMask;
use tonic::Code;

use super::asking::{create_destination, destination, local, local_destination, nas, site};
use crate::server::{Server, fields, reason};

fn sftp() -> proto::SftpSettings {
    proto::SftpSettings {
        host: "127.0.0.1".to_owned(),
        port: 9,
        user: "footage".to_owned(),
        password: "hush-hush".to_owned(),
        ..Default::default()
    }
}

fn to(settings: proto::SftpSettings) -> proto::Destination {
    proto::Destination {
        settings: Some(Settings::Sftp(settings)),
        ..Default::default()
    }
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    })
}

async fn update(
    server: &Server,
    destination: proto::Destination,
    update_mask: Option<FieldMask>,
) -> Result<proto::Destination, tonic::Status> {
    let request = proto::UpdateDestinationRequest {
        destination: Some(destination),
        update_mask,
    };
    let answer = server.backups().update_destination(request).await;
    answer.map(tonic::Response::into_inner)
}

/// Code and reason of an error.
fn why(status: &tonic::Status) -> (Code, String) {
    (status.code(), reason(status))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_never_shown_and_stays_when_it_is_written_masked() {
    let site = site();
    let server = site.start().await;
    let made = create_destination(&server, to(sftp())).await.unwrap();
    let masked = proto::SftpSettings {
        password: "***".to_owned(),
        host_key_check: proto::HostKeyCheck::AcceptFirst.into(),
        ..sftp()
    };
    assert_eq!(made.settings, Some(Settings::Sftp(masked)));
    assert_eq!(destination(&server, &made.id).await, made);

    // What was read can be written back as it is; a single new setting does not need the others.
    let same = update(&server, made.clone(), None).await.unwrap();
    assert_eq!(same.settings, made.settings);
    let moved = proto::Destination {
        id: made.id.clone(),
        ..to(proto::SftpSettings {
            path: "elsewhere".to_owned(),
            ..Default::default()
        })
    };
    let moved = update(&server, moved, None).await.unwrap();
    let Some(Settings::Sftp(settings)) = &moved.settings else {
        panic!("another kind");
    };
    assert_eq!(
        (
            settings.path.as_str(),
            settings.host.as_str(),
            settings.password.as_str()
        ),
        ("elsewhere", "127.0.0.1", "***")
    );

    // A secret that is not stored cannot stay.
    let masked = proto::SftpSettings {
        password: "***".to_owned(),
        ..sftp()
    };
    let refused = create_destination(&server, to(masked)).await.unwrap_err();
    assert_eq!(fields(&refused), ["destination.sftp.password"]);
    let cleared = proto::Destination {
        id: made.id,
        ..Default::default()
    };
    let refused = update(&server, cleared, mask(&["sftp.password"]))
        .await
        .unwrap_err();
    assert_eq!(fields(&refused), ["destination.sftp.password"]);
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_needs_the_servers_key() {
    let mut site = site();
    site.set("HELDAR_SECRET_KEY", "");
    let server = site.start().await;
    let refused = create_destination(&server, to(sftp())).await.unwrap_err();
    assert_eq!(
        why(&refused),
        (Code::FailedPrecondition, "SECRET_KEY_MISSING".to_owned())
    );
    local_destination(&site, &server).await;
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_names_its_fields_and_a_stale_one_is_refused() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let before = destination(&server, &id).await;
    let change = |enabled: bool, etag: &str| proto::Destination {
        id: id.clone(),
        enabled: Some(enabled),
        display_name: "not named".to_owned(),
        etag: etag.to_owned(),
        ..Default::default()
    };
    let changed = update(&server, change(false, &before.etag), mask(&["enabled"]))
        .await
        .unwrap();
    assert_eq!(
        (changed.enabled, changed.display_name.as_str()),
        (Some(false), "NAS")
    );
    assert_ne!(changed.etag, before.etag);
    let refused = update(&server, change(true, &before.etag), None)
        .await
        .unwrap_err();
    assert_eq!(why(&refused), (Code::Aborted, "ETAG_STALE".to_owned()));

    for (asked, paths, named) in [
        (change(true, ""), mask(&["status"]), "update_mask"),
        (change(true, ""), mask(&["local.x"]), "update_mask"),
        (change(true, ""), mask(&["local"]), "destination.settings"),
        (
            proto::Destination {
                id: id.clone(),
                ..to(sftp())
            },
            None,
            "destination.settings",
        ),
    ] {
        let refused = update(&server, asked, paths).await.unwrap_err();
        assert_eq!(fields(&refused), [named]);
    }
    assert_eq!(destination(&server, &id).await, changed);
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_makes_one_destination() {
    let site = site();
    let server = site.start().await;
    let request = |user: &str, destination_id: &str| proto::CreateDestinationRequest {
        destination: Some(to(proto::SftpSettings {
            user: user.to_owned(),
            ..sftp()
        })),
        destination_id: destination_id.to_owned(),
        request_id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
    };
    let mut client = server.backups();
    let first = client
        .create_destination(request("a", "bkd_nas"))
        .await
        .unwrap();
    let again = client
        .create_destination(request("a", "bkd_nas"))
        .await
        .unwrap();
    assert_eq!(first.into_inner(), again.into_inner());
    let refused = client
        .create_destination(request("b", "bkd_nas"))
        .await
        .unwrap_err();
    assert_eq!(
        why(&refused),
        (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned())
    );
    let taken = proto::CreateDestinationRequest {
        request_id: String::new(),
        ..request("b", "bkd_nas")
    };
    let refused = client.create_destination(taken).await.unwrap_err();
    assert_eq!(why(&refused), (Code::AlreadyExists, "ID_TAKEN".to_owned()));
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_outside_of_what_the_operator_allows_is_refused() {
    let site = site();
    let server = site.start().await;
    let outside = local(std::path::Path::new("/etc"));
    let refused = create_destination(&server, outside).await.unwrap_err();
    assert_eq!(fields(&refused), ["destination.local.path"]);
    let metadata = proto::SftpSettings {
        host: "169.254.169.254".to_owned(),
        ..sftp()
    };
    let refused = create_destination(&server, to(metadata)).await.unwrap_err();
    assert_eq!(fields(&refused), ["destination.settings"]);
    // A name that nobody knows at present is no fault: nothing was tried yet.
    let unknown = proto::SftpSettings {
        host: "nobody.invalid".to_owned(),
        ..sftp()
    };
    create_destination(&server, to(unknown)).await.unwrap();
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_are_listed_newest_first_by_kind_and_page() {
    let site = site();
    let server = site.start().await;
    let mut made = vec![local_destination(&site, &server).await];
    for _ in 0..2 {
        made.push(create_destination(&server, to(sftp())).await.unwrap().id);
    }
    let list = async |request: proto::ListDestinationsRequest| {
        let answer = server.backups().list_destinations(request).await.unwrap();
        let page = answer.into_inner();
        let ids: Vec<_> = page
            .destinations
            .into_iter()
            .map(|found| found.id)
            .collect();
        (ids, page.next_page_token)
    };
    let (first, token) = list(proto::ListDestinationsRequest {
        page_size: 2,
        ..Default::default()
    })
    .await;
    assert_eq!(first, [made[2].clone(), made[1].clone()]);
    let (second, token) = list(proto::ListDestinationsRequest {
        page_size: 2,
        page_token: token,
        ..Default::default()
    })
    .await;
    assert_eq!((second, token.as_str()), (vec![made[0].clone()], ""));
    let (of_kind, _) = list(proto::ListDestinationsRequest {
        kind: DestinationKind::Local.into(),
        ..Default::default()
    })
    .await;
    assert_eq!(of_kind, [made[0].clone()]);
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_on_a_destination_says_at_once_why_it_cannot_begin() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let mut client = server.backups();
    let backup = |destination_id: &str| proto::CreateBackupRequest {
        destination_id: destination_id.to_owned(),
        ..Default::default()
    };
    let unknown = client
        .create_backup(backup("bkd_nobody"))
        .await
        .unwrap_err();
    assert_eq!(
        (reason(&unknown).as_str(), unknown.message()),
        (
            "DESTINATION_NOT_FOUND",
            "backup destination not found or removed"
        )
    );
    let nobody = proto::CreateBackupRequest {
        camera_ids: vec!["nobody".to_owned()],
        ..backup(&id)
    };
    let refused = client.create_backup(nobody).await.unwrap_err();
    assert_eq!(reason(&refused), "CAMERA_NOT_FOUND");
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let long_ago = proto::CreateBackupRequest {
        start_time: at(0),
        end_time: at(1),
        ..backup(&id)
    };
    let refused = client.create_backup(long_ago).await.unwrap_err();
    assert_eq!(reason(&refused), "NO_FOOTAGE");
    let reversed = proto::CreateBackupRequest {
        start_time: at(1),
        end_time: at(1),
        ..backup(&id)
    };
    let refused = client.create_backup(reversed).await.unwrap_err();
    assert_eq!(reason(&refused), "WINDOW_REVERSED");
    let bad = proto::CreateBackupRequest {
        job_id: "x".to_owned(),
        check: 9,
        bandwidth_limit_bytes_per_second: -1,
        ..backup("")
    };
    let refused = client.create_backup(bad).await.unwrap_err();
    assert_eq!(
        fields(&refused),
        [
            "destination_id",
            "check",
            "bandwidth_limit_bytes_per_second",
            "job_id"
        ]
    );
    let restore = proto::RestoreBackupRequest {
        destination_id: id.clone(),
        folder: "../x".to_owned(),
        ..Default::default()
    };
    let refused = client.restore_backup(restore).await.unwrap_err();
    assert_eq!(fields(&refused), ["folder"]);
    let restore = proto::RestoreBackupRequest {
        destination_id: id.clone(),
        ledger_source: proto::LedgerSource::Server.into(),
        ..Default::default()
    };
    let refused = client.restore_backup(restore).await.unwrap_err();
    assert_eq!(reason(&refused), "NO_FOOTAGE");

    let off = proto::Destination {
        id: id.clone(),
        enabled: Some(false),
        ..Default::default()
    };
    update(&server, off, None).await.unwrap();
    let refused = client.create_backup(backup(&id)).await.unwrap_err();
    assert_eq!(
        (reason(&refused).as_str(), refused.message()),
        ("DESTINATION_DISABLED", "backup destination is disabled")
    );
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_can_be_tried_before_they_are_stored() {
    let site = site();
    let server = site.start().await;
    std::fs::create_dir_all(nas(&site)).unwrap();
    let request = |destination: proto::Destination| proto::TestDestinationRequest {
        subject: Some(proto::test_destination_request::Subject::Destination(
            destination,
        )),
    };
    let mut client = server.backups();
    let tried = client
        .test_destination(request(local(&nas(&site))))
        .await
        .unwrap();
    let tried = tried.into_inner();
    assert!(
        tried.ok && tried.error.is_none() && tried.free_bytes.is_some(),
        "{tried:?}"
    );
    assert_eq!(std::fs::read_dir(nas(&site)).unwrap().count(), 0);
    let missing = nas(&site).join("missing");
    let tried = client
        .test_destination(request(local(&missing)))
        .await
        .unwrap();
    let tried = tried.into_inner();
    assert!(!tried.ok && tried.error.is_some(), "{tried:?}");
    let nothing = client
        .test_destination(proto::TestDestinationRequest::default())
        .await
        .unwrap_err();
    assert_eq!(fields(&nothing), ["subject"]);
    assert_eq!(server.stop(), 0);
}
