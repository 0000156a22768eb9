//! Lists of clips: filters and pages.

use super::*;

async fn page(server: &Server, request: &proto::ListClipsRequest) -> (Vec<String>, String) {
    let page = server
        .clips()
        .list_clips(request.clone())
        .await
        .unwrap()
        .into_inner();
    (
        page.clips.into_iter().map(|clip| clip.id).collect(),
        page.next_page_token,
    )
}

#[tokio::test]
async fn pages_of_clips_are_newest_first_and_stay_right_while_clips_are_added() {
    let recording = thirty_seconds().record();
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    lay(&site, "gate_b", &recording);
    site.import();
    let server = site.start().await;
    let mut clips = Vec::new();
    for number in 0..5 {
        let from = number * 2_000;
        let id = format!("clip_{number}");
        clips.push(
            cut(
                &server,
                proto::CreateClipRequest {
                    clip_id: id,
                    ..ask(CAMERA, from, from + 1_000)
                },
            )
            .await
            .1,
        );
    }
    let other = proto::CreateClipRequest {
        clip_id: "clip_b".to_owned(),
        ..ask("gate_b", 0, 1_000)
    };
    clips.push(cut(&server, other).await.1);

    let mut request = proto::ListClipsRequest {
        camera_id: CAMERA.to_owned(),
        page_size: 2,
        ..Default::default()
    };
    let (first, token) = page(&server, &request).await;
    assert_eq!(first, ["clip_4", "clip_3"]);
    let added = proto::CreateClipRequest {
        clip_id: "clip_5".to_owned(),
        ..ask(CAMERA, 20_000, 21_000)
    };
    clips.push(cut(&server, added).await.1);
    request.page_token = token.clone();
    let (second, token) = page(&server, &request).await;
    assert_eq!(second, ["clip_2", "clip_1"]);
    request.page_token = token.clone();
    assert_eq!(
        page(&server, &request).await,
        (vec!["clip_0".to_owned()], String::new())
    );

    let everything = page(&server, &proto::ListClipsRequest::default()).await;
    assert_eq!(
        everything.0,
        [
            "clip_5", "clip_b", "clip_4", "clip_3", "clip_2", "clip_1", "clip_0"
        ]
    );
    // Windows [2,3) and [4,5) touch [2.5,5).
    let window = proto::ListClipsRequest {
        camera_id: CAMERA.to_owned(),
        start_time: time(epoch() + ms(2_500)),
        end_time: time(epoch() + ms(5_000)),
        ..Default::default()
    };
    assert_eq!(page(&server, &window).await.0, ["clip_2", "clip_1"]);

    for wrong in [
        proto::ListClipsRequest {
            camera_id: "gate_b".to_owned(),
            page_token: token.clone(),
            ..Default::default()
        },
        proto::ListClipsRequest {
            page_token: token,
            ..Default::default()
        },
        proto::ListClipsRequest {
            page_token: "bm9uc2Vuc2U".to_owned(),
            ..Default::default()
        },
    ] {
        let refused = server.clips().list_clips(wrong).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::InvalidArgument, "PAGE_TOKEN_INVALID")
        );
        assert_eq!(fields(&refused), ["page_token"]);
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
}
