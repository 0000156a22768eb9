//! What is checked, recorded, listed and deleted.

use super::*;

#[tokio::test]
async fn defect_6_a_clip_has_progress_a_record_a_hash_and_lies_alone_in_the_served_folder() {
    let recording = Recipe::plain().record();
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let mut request = ask(CAMERA, 1_400, 38_000);
    request.wait = None;
    request.created_by = "defect 6".to_owned();
    request.labels.insert("case".to_owned(), "4711".to_owned());
    let job = server
        .clips()
        .create_clip(request)
        .await
        .unwrap()
        .into_inner();
    let states = states_of(&server, &job.id).await;
    let clip = clip_of(states.last().unwrap());
    for pair in states.windows(2) {
        assert!(pair[0].revision < pair[1].revision, "revisions grow");
        let done = |job: &proto::Job| {
            job.progress
                .as_ref()
                .map_or(0, |progress| progress.bytes_done)
        };
        assert!(
            done(&pair[0]) <= done(&pair[1]),
            "progress does not go back"
        );
    }
    let progress = states.last().unwrap().progress.as_ref().expect("progress");
    assert_eq!(progress.media_total, clip.duration);
    assert_eq!(progress.media_done, clip.duration);
    assert!(progress.bytes_done > 0 && progress.bytes_done == progress.bytes_total);

    check(
        &server,
        &clip,
        &recording.between(ms(1_400), ms(38_000)),
        START,
        FRAME,
    )
    .await;
    assert_eq!(clip.created_by, "defect 6");
    assert_eq!(clip.labels["case"], "4711");
    assert_eq!(clip.job_id, job.id);
    assert_eq!(clip.segment_count, 4);
    let got = server
        .clips()
        .get_clip(proto::GetClipRequest {
            clip_id: clip.id.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    let listed = server
        .clips()
        .list_clips(proto::ListClipsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .clips;
    assert_eq!((&got, listed.as_slice()), (&clip, &[clip.clone()][..]));
    assert_eq!(clip.url, format!("/media/clips/{}", clip.file_name));
    let (status, body) = http_get(&server, &clip.url);
    assert_eq!((status, sha256(&body)), (200, clip.sha256.clone()));
    for folder in ["/media/clips/", "/media/clips", "/media/"] {
        let (status, body) = http_get(&server, folder);
        assert!((400..500).contains(&status), "{folder}: {status}");
        let body = String::from_utf8_lossy(&body);
        assert!(!body.contains(&clip.id), "{folder} lists clips: {body}");
    }
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn the_checks_come_in_their_order_with_the_known_words() {
    let recording = thirty_seconds().record();
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let (_, clip) = cut(
        &server,
        proto::CreateClipRequest {
            clip_id: "clip_taken".to_owned(),
            ..ask(CAMERA, 0, 1_000)
        },
    )
    .await;
    let reversed = "`to` must be after `from`";
    let no_footage = "no recorded footage in the requested range";
    // Each request is also wrong in the ways that are checked after the one it is refused for.
    for (camera, from, to, code, why, words) in [
        (
            "nowhere",
            9_000,
            8_999,
            Code::InvalidArgument,
            "WINDOW_REVERSED",
            reversed,
        ),
        (
            "nowhere",
            9_000,
            9_000,
            Code::InvalidArgument,
            "WINDOW_REVERSED",
            reversed,
        ),
        (
            "nowhere",
            9_000_000,
            -9_000_000,
            Code::InvalidArgument,
            "WINDOW_REVERSED",
            reversed,
        ),
        (
            "nowhere",
            0,
            3_601_000,
            Code::InvalidArgument,
            "WINDOW_TOO_LONG",
            "clip too long (3601s); max 3600s",
        ),
        (
            "nowhere",
            0,
            86_400_000,
            Code::InvalidArgument,
            "WINDOW_TOO_LONG",
            "clip too long (86400s); max 3600s",
        ),
        (
            "nowhere",
            50_000,
            60_000,
            Code::NotFound,
            "CAMERA_NOT_FOUND",
            "camera nowhere not found",
        ),
        (
            CAMERA,
            50_000,
            60_000,
            Code::NotFound,
            "NO_FOOTAGE",
            no_footage,
        ),
        (
            CAMERA,
            30_000,
            40_000,
            Code::NotFound,
            "NO_FOOTAGE",
            no_footage,
        ),
        (CAMERA, -10_000, 0, Code::NotFound, "NO_FOOTAGE", no_footage),
        (
            CAMERA,
            0,
            1_000,
            Code::AlreadyExists,
            "ID_TAKEN",
            "clip clip_taken already exists",
        ),
    ] {
        for validate_only in [false, true] {
            let request = proto::CreateClipRequest {
                clip_id: "clip_taken".to_owned(),
                validate_only,
                ..ask(camera, from, to)
            };
            let refused = server.clips().create_clip(request).await.unwrap_err();
            let what = format!("{camera} {from} {to} {validate_only}");
            assert_eq!((refused.code(), refused.message()), (code, words), "{what}");
            assert_eq!(reason(&refused), why, "{what}");
            match code {
                Code::InvalidArgument => assert_eq!(fields(&refused), ["end_time"], "{what}"),
                _ => assert!(refused.get_details_resource_info().is_some(), "{what}"),
            }
        }
    }
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn a_plan_makes_nothing_and_is_kept() {
    let recording = Recipe {
        b_frames: 2,
        ..Recipe::plain()
    }
    .record();
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    std::fs::remove_file(&paths[2]).unwrap();
    let server = site.start().await;
    let request = proto::CreateClipRequest {
        clip_id: "clip_planned".to_owned(),
        ..ask(CAMERA, 1_400, 45_000)
    };
    let planned = server
        .clips()
        .create_clip(proto::CreateClipRequest {
            validate_only: true,
            ..request.clone()
        })
        .await
        .unwrap()
        .into_inner();
    assert!(planned.id.is_empty() && planned.state() == proto::JobState::Unspecified);
    let Some(proto::job::Plan::ClipPlan(plan)) = planned.plan else {
        panic!("a plan")
    };
    let jobs = server
        .jobs()
        .list_jobs(proto::ListJobsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .jobs;
    assert!(
        jobs.iter().all(|job| job.kind() != proto::JobKind::Clip),
        "no job was made"
    );
    assert_eq!(files_in(&site.clips()), Vec::<String>::new());

    let (_, clip) = cut(&server, request).await;
    assert_eq!(
        gap_reasons(&clip),
        [GapReason::FileMissing, GapReason::NotRecorded]
    );
    assert_eq!(
        (
            plan.requested_window,
            plan.delivered_window,
            plan.requested,
            plan.covered,
            plan.gaps
        ),
        (
            clip.requested_window,
            clip.delivered_window,
            clip.requested,
            clip.covered,
            clip.gaps.clone()
        )
    );
    let off = (clip.size_bytes - plan.expected_bytes).abs();
    assert!(
        off < 64 << 10,
        "{} bytes expected, {} made",
        plan.expected_bytes,
        clip.size_bytes
    );
    check(
        &server,
        &clip,
        &without(&recording.between(ms(1_400), ms(40_000)), &[2]),
        START,
        FRAME,
    )
    .await;
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn a_clip_bears_the_id_that_was_chosen_or_one_of_the_service() {
    let recording = thirty_seconds().record();
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let longest = format!("clip_{}", "z".repeat(58));
    let chosen = |id: &str| proto::CreateClipRequest {
        clip_id: id.to_owned(),
        ..ask(CAMERA, 0, 2_000)
    };
    let (_, first) = cut(&server, chosen("clip_a-b_0")).await;
    let (_, second) = cut(&server, chosen(&longest)).await;
    let (_, third) = cut(&server, chosen("")).await;
    assert_eq!(
        (first.id.as_str(), second.id.as_str()),
        ("clip_a-b_0", longest.as_str())
    );
    assert!(
        third.id.len() > 20 && third.id.starts_with("clip_"),
        "{}",
        third.id
    );
    for clip in [&first, &second, &third] {
        assert!(clip.file_name.contains(&clip.id), "{}", clip.file_name);
    }
    // Also the id of a clip that another job is only going to make is taken.
    let refused = server
        .clips()
        .create_clip(chosen(&longest))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::AlreadyExists, "ID_TAKEN")
    );
    assert_eq!(
        refused.get_details_resource_info().unwrap().resource_name,
        longest
    );
    server.stop_with(&site, &[&first, &second, &third]);
}

#[tokio::test]
async fn the_time_the_title_and_the_window_are_in_the_file() {
    let recording = thirty_seconds().record();
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let (_, by_ffmpeg) = cut(&server, ask_ffmpeg(CAMERA, 1_400, 8_200)).await;
    assert!(
        by_ffmpeg.engine.starts_with("ffmpeg "),
        "{}",
        by_ffmpeg.engine
    );
    let (_, clip) = cut(&server, ask(CAMERA, 1_400, 8_200)).await;
    assert_eq!(
        clip.engine,
        concat!("heldar-footage ", env!("CARGO_PKG_VERSION"))
    );
    for clip in [&clip, &by_ffmpeg] {
        check_inside(&server, clip).await;
    }
    server.stop_with(&site, &[&clip, &by_ffmpeg]);
}

/// Checks what the file of a clip from 1.4 s to 8.2 s says of itself, and its name.
async fn check_inside(server: &Server, clip: &proto::Clip) {
    let fetched = fetch(server, clip).await;
    let tags = probe(&fetched.path(), "format_tags");
    assert!(tags.lines().any(|line| line == CAMERA), "title: {tags}");
    // 2025-06-15T15:06:40Z is the epoch of the tests.
    let start = probe(&fetched.path(), "format_tags=creation_time");
    assert!(start.starts_with("2025-06-15T15:06:41"), "{start}");
    assert!(
        tags.contains("2025-06-15T15:06:41.400") && tags.contains("2025-06-15T15:06:48.200"),
        "{tags}"
    );
    assert!(
        clip.file_name
            .starts_with("gate_a_01_20250615T150641Z_clip_"),
        "{}",
        clip.file_name
    );
}

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
