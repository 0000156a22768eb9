//! How long clips are kept, and what is left of those that are deleted.

use super::*;

#[tokio::test]
async fn an_expired_clip_goes_with_its_file_and_others_stay() {
    let recording = thirty_seconds().record();
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let keep = |keep_for| proto::CreateClipRequest {
        keep_for,
        ..ask(CAMERA, 0, 2_000)
    };
    let (_, short) = cut(&server, keep(seconds(1))).await;
    let (_, usual) = cut(&server, keep(None)).await;
    let (_, forever) = cut(&server, keep(seconds(0))).await;
    let kept = |clip: &proto::Clip| {
        let seconds = |time: &prost_types::Timestamp| time.seconds;
        clip.expire_time
            .as_ref()
            .map(|expires| seconds(expires) - seconds(clip.create_time.as_ref().unwrap()))
    };
    assert_eq!(
        (kept(&short), kept(&usual), kept(&forever)),
        (Some(1), Some(168 * 3600), None)
    );
    server.stop_with(&site, &[&short, &usual, &forever]);

    let expires = short.expire_time.unwrap();
    eventually("the clip has expired", || {
        Utc::now().timestamp() > expires.seconds + 1
    });
    // Expired clips are looked for at every start.
    let server = site.start().await;
    eventually("the file of the expired clip is gone", || {
        site.clip_files().len() == 2
    });
    let gone = server
        .clips()
        .get_clip(proto::GetClipRequest { clip_id: short.id })
        .await
        .unwrap_err();
    assert_eq!(
        (gone.code(), reason(&gone).as_str()),
        (Code::NotFound, "CLIP_NOT_FOUND")
    );
    assert_eq!(http_get(&server, &short.url).0, 404);
    fetch(&server, &usual).await;
    server.stop_with(&site, &[&usual, &forever]);
}

#[tokio::test]
async fn a_clip_to_be_kept_for_less_than_a_second_is_not_kept_for_ever() {
    let recording = thirty_seconds().record();
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let keep_for = Some(prost_types::Duration {
        seconds: 0,
        nanos: 500_000_000,
    });
    let (_, clip) = cut(
        &server,
        proto::CreateClipRequest {
            keep_for,
            ..ask(CAMERA, 0, 2_000)
        },
    )
    .await;
    assert!(clip.expire_time.is_some(), "zero alone means until deleted");
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn a_deleted_clip_is_gone_everywhere_and_the_footage_stays() {
    let recording = thirty_seconds().record();
    let site = Site::new();
    let paths = lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let (_, clip) = cut(&server, ask(CAMERA, 0, 2_000)).await;
    let before = SystemTime::now();
    let delete = || proto::DeleteClipRequest {
        clip_id: clip.id.clone(),
    };
    server.clips().delete_clip(delete()).await.unwrap();
    assert_eq!(site.clip_files(), Vec::<String>::new());
    let get = proto::GetClipRequest {
        clip_id: clip.id.clone(),
    };
    for refused in [
        server.clips().delete_clip(delete()).await.unwrap_err(),
        server.clips().get_clip(get).await.unwrap_err(),
        download(&server, &clip.id, 0, 0).await.unwrap_err(),
    ] {
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::NotFound, "CLIP_NOT_FOUND")
        );
        assert_eq!(refused.message(), format!("clip {} not found", clip.id));
        assert_eq!(
            refused.get_details_resource_info().unwrap().resource_name,
            clip.id
        );
    }
    assert_eq!(http_get(&server, &clip.url).0, 404);
    let listed = server
        .clips()
        .list_clips(proto::ListClipsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .clips;
    assert_eq!(listed, []);
    for path in paths {
        assert!(std::fs::metadata(path).unwrap().modified().unwrap() < before);
    }
    server.stop_with(&site, &[]);
}
