//! Cameras: changed by field, forgotten, listed.

use std::collections::BTreeMap;

use heldar_footage::proto;
use tonic::Code;

use crate::footage::{epoch, ms};
use crate::server::{Site, fields, files_in, reason, time, twelve_seconds};

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_changed_by_field_and_only_from_its_present_state() {
    let site = Site::new();
    let server = site.start().await;
    server.imported("recordings", 1).await;
    let camera = |name: &str, label: &str, etag: &str| proto::Camera {
        id: "gate".to_owned(),
        display_name: name.to_owned(),
        labels: if label.is_empty() {
            BTreeMap::new()
        } else {
            BTreeMap::from([("site".to_owned(), label.to_owned())])
        },
        etag: etag.to_owned(),
        ..Default::default()
    };
    let upsert = async |camera: proto::Camera, mask: Option<&[&str]>| {
        let paths = mask.map(|paths| paths.iter().map(|path| (*path).to_owned()).collect());
        let update_mask = paths.map(|paths| prost_types::FieldMask { paths });
        let request = proto::UpsertCameraRequest {
            camera: Some(camera),
            update_mask,
        };
        server
            .catalog()
            .upsert_camera(request)
            .await
            .map(tonic::Response::into_inner)
    };
    let told = |camera: &proto::Camera| {
        (
            camera.display_name.clone(),
            camera.labels.get("site").cloned().unwrap_or_default(),
        )
    };
    let texts = |name: &str, label: &str| (name.to_owned(), label.to_owned());

    let made = upsert(camera("Gate", "north", ""), None).await.unwrap();
    assert_eq!(told(&made), texts("Gate", "north"));
    assert!(made.create_time.is_some() && !made.etag.is_empty() && made.segment_count == 0);
    let unset = upsert(camera("", "", ""), None).await.unwrap();
    assert_eq!(
        told(&unset),
        texts("Gate", "north"),
        "what is not set stays"
    );
    let named = upsert(
        camera("Gate 1", "south", &unset.etag),
        Some(&["display_name"]),
    )
    .await
    .unwrap();
    assert_eq!(
        told(&named),
        texts("Gate 1", "north"),
        "only what the mask names"
    );
    assert_ne!(named.etag, made.etag);
    let cleared = upsert(camera("", "", ""), Some(&["labels"])).await.unwrap();
    assert_eq!(told(&cleared), texts("Gate 1", ""), "the mask clears");

    for etag in [made.etag.as_str(), "nonsense"] {
        let status = upsert(camera("Late", "", etag), None).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Aborted, "ETAG_STALE")
        );
    }
    let get = proto::GetCameraRequest {
        camera_id: "gate".to_owned(),
    };
    assert_eq!(
        server.catalog().get_camera(get).await.unwrap().into_inner(),
        cleared
    );

    // All that is wrong is said at once.
    let many = (0..65)
        .map(|number| (format!("key{number}"), String::new()))
        .collect();
    let wrong = proto::Camera {
        id: "../gate".to_owned(),
        display_name: "x".repeat(201),
        labels: many,
        ..Default::default()
    };
    let status = upsert(wrong, Some(&["id"])).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "INVALID_FIELD")
    );
    assert_eq!(
        fields(&status),
        [
            "camera.id",
            "camera.display_name",
            "camera.labels",
            "update_mask"
        ]
    );
    for (key, value) in [("", "a"), ("a\nb", "a"), ("a", "a\u{0}b")] {
        let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let status = upsert(
            proto::Camera {
                labels,
                ..camera("", "", "")
            },
            None,
        )
        .await
        .unwrap_err();
        assert_eq!(fields(&status), ["camera.labels"], "{key:?} {value:?}");
    }
    for (key, value, fits) in [(63, 255, true), (64, 255, false), (63, 256, false)] {
        let labels = BTreeMap::from([("ä".repeat(key), "ä".repeat(value))]);
        assert_eq!(
            upsert(
                proto::Camera {
                    labels,
                    ..camera("", "", "")
                },
                None
            )
            .await
            .is_ok(),
            fits,
            "{key} {value}"
        );
    }
    let status = server
        .catalog()
        .upsert_camera(proto::UpsertCameraRequest::default())
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["camera"]);
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_forgotten_only_when_nothing_of_it_is_needed_and_its_files_stay() {
    use proto::set_evidence_lock_request::Selection;
    let site = Site::new();
    site.record("gate", &twelve_seconds());
    let server = site.start().await;
    server.imported("recordings", 1).await;
    let delete = async |force, etag: &str| {
        let request = proto::DeleteCameraRequest {
            camera_id: "gate".to_owned(),
            force,
            etag: etag.to_owned(),
        };
        server
            .catalog()
            .delete_camera(request)
            .await
            .map(tonic::Response::into_inner)
    };
    let lock = async |release| {
        let window = proto::CameraWindow {
            camera_id: "gate".to_owned(),
            start_time: time(epoch()),
            end_time: time(epoch() + ms(1_000)),
        };
        let selection = Some(Selection::Window(window));
        let request = proto::SetEvidenceLockRequest {
            selection,
            release,
            incident_id: "case-17".to_owned(),
            ..Default::default()
        };
        server.catalog().set_evidence_lock(request).await.unwrap();
    };
    let refused = |status: tonic::Status| (status.code(), reason(&status));
    let in_use = || (Code::FailedPrecondition, "CAMERA_IN_USE".to_owned());
    assert_eq!(refused(delete(false, "").await.unwrap_err()), in_use());
    lock(false).await;
    assert_eq!(refused(delete(true, "").await.unwrap_err()), in_use());
    assert_eq!(server.segments("gate").await.len(), 3);
    lock(true).await;
    assert_eq!(
        refused(delete(true, "nonsense").await.unwrap_err()),
        (Code::Aborted, "ETAG_STALE".to_owned())
    );
    assert_eq!(delete(true, "").await.unwrap().segments_forgotten, 3);
    assert_eq!(
        refused(delete(true, "").await.unwrap_err()),
        (Code::NotFound, "CAMERA_NOT_FOUND".to_owned())
    );
    let get = proto::GetCameraRequest {
        camera_id: "gate".to_owned(),
    };
    assert_eq!(
        refused(server.catalog().get_camera(get).await.unwrap_err()).1,
        "CAMERA_NOT_FOUND"
    );
    assert_eq!(files_in(&site.recordings().join("gate")).len(), 3);
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_are_listed_in_pages_the_newest_first() {
    let site = Site::new();
    let server = site.start().await;
    for id in ["one", "two", "three"] {
        let camera = Some(proto::Camera {
            id: id.to_owned(),
            ..Default::default()
        });
        server
            .catalog()
            .upsert_camera(proto::UpsertCameraRequest {
                camera,
                update_mask: None,
            })
            .await
            .unwrap();
    }
    let list = async |page_token: String| {
        let request = proto::ListCamerasRequest {
            page_size: 2,
            page_token,
        };
        server
            .catalog()
            .list_cameras(request)
            .await
            .unwrap()
            .into_inner()
    };
    let ids = |page: &proto::ListCamerasResponse| {
        page.cameras
            .iter()
            .map(|camera| camera.id.clone())
            .collect::<Vec<_>>()
    };
    let first = list(String::new()).await;
    assert_eq!(ids(&first), ["three", "two"]);
    let second = list(first.next_page_token).await;
    assert_eq!(
        (ids(&second), second.next_page_token.as_str()),
        (vec!["one".to_owned()], "")
    );
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}
