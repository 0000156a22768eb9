//! What is checked and recorded. Keeping and listing have files of their own.

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
