//! Clips from end to end: real recordings, a real server, and the file that comes back compared frame by frame.

use std::time::SystemTime;

use chrono::{TimeDelta, Utc};
use heldar_footage::proto::{self, GapReason};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::footage::{Frame, Layout, Recipe, decode, epoch, ms};
use crate::recorder::{
    CAMERA, age, ask, check, check_decodes, cut, delta, download, fetch, gap_reasons, heldar_name,
    import, lay, place, probe, run_job, sha256, since_epoch, unfollowed,
};
use crate::server::{
    Server, Site, clip_of, ended, eventually, fields, files_in, http_get, notice_reason, reason,
    seconds, states_of, time,
};
use crate::stand_in::Gate;

/// Length of a frame of the plain recipe.
const FRAME: TimeDelta = TimeDelta::milliseconds(40);
const START: TimeDelta = TimeDelta::zero();

/// At a key frame, between key frames, across two segments, inside one frame, nearly everything.
const WINDOWS: [(i64, i64); 5] = [
    (0, 5_000),
    (1_400, 8_200),
    (3_010, 14_005),
    (9_960, 10_040),
    (400, 29_000),
];

fn thirty_seconds() -> Recipe {
    Recipe {
        length_s: 30,
        ..Recipe::plain()
    }
}

/// Cuts each window out of a recording and checks it; nothing may be missing.
async fn check_windows(recipe: Recipe, windows: &[(i64, i64)]) {
    let recording = recipe.record();
    let frame = recording.frames[1].at - recording.frames[0].at;
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let mut clips = Vec::new();
    for (from, to) in windows {
        let (job, clip) = cut(&server, ask(CAMERA, *from, *to)).await;
        check(
            &server,
            &clip,
            &recording.between(ms(*from), ms(*to)),
            START,
            frame,
        )
        .await;
        assert_eq!(
            (clip.gaps.as_slice(), job.warnings.as_slice()),
            (&[][..], &[][..])
        );
        assert_eq!(clip.audio.is_some(), recipe.sound);
        clips.push(clip);
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn fragmented_h264_with_b_frames_comes_back_frame_by_frame() {
    check_windows(
        Recipe {
            b_frames: 2,
            ..thirty_seconds()
        },
        &WINDOWS,
    )
    .await;
}

#[tokio::test]
async fn progressive_h264_comes_back_frame_by_frame() {
    check_windows(
        Recipe {
            layout: Layout::Progressive,
            ..thirty_seconds()
        },
        &WINDOWS,
    )
    .await;
}

#[tokio::test]
async fn mixed_layouts_and_clocks_come_back_frame_by_frame() {
    check_windows(
        Recipe {
            layout: Layout::Mixed,
            gop_frames: 250,
            ..thirty_seconds()
        },
        &WINDOWS,
    )
    .await;
}

#[tokio::test]
async fn fragmented_h265_comes_back_frame_by_frame() {
    check_windows(
        Recipe {
            codec: "libx265",
            gop_frames: 50,
            ..thirty_seconds()
        },
        &WINDOWS,
    )
    .await;
}

#[tokio::test]
async fn progressive_h265_with_b_frames_and_without_sound_comes_back_frame_by_frame() {
    let recipe = Recipe {
        codec: "libx265",
        b_frames: 3,
        layout: Layout::Progressive,
        gop_frames: 50,
        sound: false,
        ..thirty_seconds()
    };
    check_windows(recipe, &WINDOWS).await;
}

#[tokio::test]
async fn segments_of_two_seconds_come_back_frame_by_frame() {
    let recipe = Recipe {
        segment_s: 2,
        gop_frames: 50,
        b_frames: 2,
        ..thirty_seconds()
    };
    check_windows(recipe, &[(3_010, 14_005), (400, 29_000)]).await;
}

/// An hour at one frame a second, a key frame every ten seconds.
fn an_hour() -> Recipe {
    Recipe {
        rate: "1",
        gop_frames: 10,
        sound: false,
        segment_s: 4_000,
        length_s: 3_600,
        ..Recipe::plain()
    }
}

#[tokio::test]
async fn a_segment_of_an_hour_and_a_window_of_exactly_3600_s_come_back_frame_by_frame() {
    check_windows(an_hour(), &[(0, 3_600_000), (1_801_400, 1_815_000)]).await;
}

#[tokio::test]
async fn a_window_longer_than_3600_s_by_a_microsecond_is_refused() {
    let recording = thirty_seconds().record();
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let mut request = ask(CAMERA, 0, 3_600_000);
    let (_, clip) = cut(&server, request.clone()).await;
    assert_eq!(gap_reasons(&clip), [GapReason::NotRecorded]);
    check(&server, &clip, &recording.frames, START, FRAME).await;
    request.end_time.as_mut().unwrap().nanos += 1_000;
    let refused = server.clips().create_clip(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), "clip too long (3601s); max 3600s");
    assert_eq!(
        (reason(&refused).as_str(), fields(&refused)),
        ("WINDOW_TOO_LONG", vec!["end_time".to_owned()])
    );
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn mediamtx_names_place_the_frames_to_the_microsecond() {
    let recording = Recipe {
        b_frames: 2,
        ..thirty_seconds()
    }
    .record();
    let begins = TimeDelta::microseconds(123_457);
    let site = unfollowed();
    for segment in &recording.segments {
        let start = epoch() + begins + segment.start;
        place(
            &site,
            &format!("yard/north/{}.mp4", start.format("%Y-%m-%d_%H-%M-%S-%6f")),
            &segment.path,
        );
    }
    import(&site, &["--layout", "mediamtx", "--zone", "UTC"]);
    let server = site.start().await;
    let cameras = server
        .catalog()
        .list_cameras(proto::ListCamerasRequest::default())
        .await
        .unwrap()
        .into_inner();
    let [camera] = cameras.cameras.as_slice() else {
        panic!("one camera: {cameras:?}")
    };
    let mut clips = Vec::new();
    for (from, to) in [(123, 5_124), (2_000, 12_000), (1_523, 28_000)] {
        let (_, clip) = cut(&server, ask(&camera.id, from, to)).await;
        let expected = recording.between(ms(from) - begins, ms(to) - begins);
        check(&server, &clip, &expected, begins, FRAME).await;
        assert_eq!(clip.gaps, []);
        clips.push(clip);
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn defect_1_a_window_that_begins_between_key_frames_loses_nothing_at_its_start() {
    for gop_frames in [50, 100] {
        let recording = Recipe {
            gop_frames,
            ..thirty_seconds()
        }
        .record();
        let site = Site::new();
        lay(&site, CAMERA, &recording);
        site.import();
        let server = site.start().await;
        let (_, clip) = cut(&server, ask(CAMERA, 9_400, 19_400)).await;
        check(
            &server,
            &clip,
            &recording.between(ms(9_400), ms(19_400)),
            START,
            FRAME,
        )
        .await;
        assert_eq!(delta(clip.duration.as_ref()), ms(10_000));
        assert!(
            delta(clip.hidden_lead.as_ref()) >= ms(1_000),
            "{:?}",
            clip.hidden_lead
        );
        server.stop_with(&site, &[&clip]);
    }
}

#[tokio::test]
async fn defect_2_a_gap_does_not_move_the_end_and_nothing_after_the_window_is_shown() {
    let recipe = Recipe {
        rate: "5",
        gop_frames: 10,
        segment_s: 60,
        length_s: 120,
        ..Recipe::plain()
    };
    let recording = recipe.record();
    let site = Site::new();
    let [first, second] = recording.segments.as_slice() else {
        panic!("two segments")
    };
    place(&site, &heldar_name(CAMERA, epoch()), &first.path);
    place(
        &site,
        &heldar_name(CAMERA, epoch() + ms(120_000)),
        &second.path,
    );
    site.import();
    let server = site.start().await;
    let (_, clip) = cut(&server, ask(CAMERA, 50_000, 130_000)).await;
    let expected: Vec<Frame> = moved(&recording.frames, ms(60_000), ms(60_000))
        .into_iter()
        .filter(|frame| frame.at >= ms(50_000) && frame.at < ms(130_000))
        .collect();
    check(&server, &clip, &expected, START, ms(200)).await;
    assert_eq!(delta(clip.duration.as_ref()), ms(20_000));
    let [gap] = clip.gaps.as_slice() else {
        panic!("one gap: {:?}", clip.gaps)
    };
    assert_eq!(gap.reason(), GapReason::NotRecorded);
    assert_eq!(since_epoch(gap.start_time.as_ref()), ms(60_000));
    assert_eq!(since_epoch(gap.end_time.as_ref()), ms(120_000));
    assert_eq!(delta(gap.clip_offset.as_ref()), ms(10_000));
    server.stop_with(&site, &[&clip]);
}

/// Frames from `from` on, put later by `by`; those before stay.
fn moved(frames: &[Frame], from: TimeDelta, by: TimeDelta) -> Vec<Frame> {
    let later = |frame: &Frame| {
        if frame.at >= from {
            frame.at + by
        } else {
            frame.at
        }
    };
    frames
        .iter()
        .map(|frame| Frame {
            at: later(frame),
            digest: frame.digest.clone(),
        })
        .collect()
}

/// Frames of a recording of ten-second segments without those of some segments.
fn without(frames: &[Frame], segments: &[i64]) -> Vec<Frame> {
    frames
        .iter()
        .filter(|frame| !segments.contains(&(frame.at.num_seconds() / 10)))
        .cloned()
        .collect()
}

#[tokio::test]
async fn defect_3_a_file_missing_in_the_middle_is_a_gap_and_the_rest_is_delivered() {
    let recording = Recipe::plain().record();
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    std::fs::remove_file(&paths[1]).unwrap();
    let server = site.start().await;
    let (job, clip) = cut(&server, ask(CAMERA, 5_000, 35_000)).await;
    let expected = without(&recording.between(ms(5_000), ms(35_000)), &[1]);
    check(&server, &clip, &expected, START, FRAME).await;
    assert_eq!(gap_reasons(&clip), [GapReason::FileMissing]);
    assert_eq!(
        clip.gaps[0].segment_ids.len(),
        1,
        "the segment that is missing is named"
    );
    assert_eq!(delta(clip.covered.as_ref()), ms(20_000));
    assert_eq!(
        job.warnings.iter().map(notice_reason).collect::<Vec<_>>(),
        ["FILE_MISSING"]
    );
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn a_truncated_file_in_the_middle_is_delivered_as_far_as_it_goes_and_the_rest_after_it() {
    for layout in [Layout::Fragmented, Layout::Progressive] {
        let recording = Recipe {
            layout,
            ..Recipe::plain()
        }
        .record();
        let site = unfollowed();
        let paths = lay(&site, CAMERA, &recording);
        import(&site, &[]);
        let half = std::fs::metadata(&paths[1]).unwrap().len() / 2;
        std::fs::File::options()
            .write(true)
            .open(&paths[1])
            .unwrap()
            .set_len(half)
            .unwrap();
        let server = site.start().await;
        let (job, clip) = cut(&server, ask(CAMERA, 5_000, 35_000)).await;
        let fetched = fetch(&server, &clip).await;
        check_decodes(&fetched.path());
        let shown = decode(&fetched.path()).len();
        // All frames before the tear, all after the file, and of the file itself a beginning without a hole.
        let within = shown - (5 + 15) * 25;
        assert!(
            (25..=225).contains(&within),
            "{within} frames of the truncated file"
        );
        let mut expected = recording.between(ms(5_000), ms(10_000) + FRAME * within as i32);
        expected.extend(recording.between(ms(20_000), ms(35_000)));
        check(&server, &clip, &expected, START, FRAME).await;
        assert_eq!(gap_reasons(&clip), [GapReason::FileDamaged]);
        assert_eq!(
            job.warnings.iter().map(notice_reason).collect::<Vec<_>>(),
            ["FILE_DAMAGED"]
        );
        server.stop_with(&site, &[&clip]);
    }
}

#[tokio::test]
async fn defect_4_a_change_of_picture_size_or_codec_is_a_gap_and_what_is_delivered_plays() {
    let recording = Recipe::plain().record();
    for other in [
        Recipe {
            size: "160x90",
            ..Recipe::plain()
        },
        Recipe {
            codec: "libx265",
            ..thirty_seconds()
        },
    ] {
        let other = other.record();
        let site = Site::new();
        for (at, segment) in recording.segments.iter().enumerate() {
            let path = if at == 2 {
                &other.segments[2].path
            } else {
                &segment.path
            };
            place(&site, &heldar_name(CAMERA, epoch() + segment.start), path);
        }
        site.import();
        let server = site.start().await;
        let (job, clip) = cut(&server, ask(CAMERA, 1_400, 38_000)).await;
        let expected = without(&recording.between(ms(1_400), ms(38_000)), &[2]);
        let fetched = check(&server, &clip, &expected, START, FRAME).await;
        check_decodes(&fetched.path());
        assert_eq!(gap_reasons(&clip), [GapReason::CodecChange]);
        assert_eq!(
            job.warnings.iter().map(notice_reason).collect::<Vec<_>>(),
            ["CODEC_CHANGE"]
        );
        // Another clip of just this stretch delivers it.
        let (_, rest) = cut(&server, ask(CAMERA, 20_000, 30_000)).await;
        check(
            &server,
            &rest,
            &other.between(ms(20_000), ms(30_000)),
            START,
            FRAME,
        )
        .await;
        server.stop_with(&site, &[&clip, &rest]);
    }
}

#[tokio::test]
async fn defect_5_relative_folders_work() {
    let recording = thirty_seconds().record();
    let site = Site::new()
        .with("HELDAR_DATA_DIR", "data")
        .with("HELDAR_RECORDINGS_DIR", "recordings");
    lay(&site, CAMERA, &recording);
    let (code, out, err) = site.run(&["import", "recordings", "--source-id", "recordings"]);
    assert_eq!(code, 0, "{out}\n{err}");
    let server = site.start().await;
    let (_, clip) = cut(&server, ask(CAMERA, 1_400, 22_000)).await;
    check(
        &server,
        &clip,
        &recording.between(ms(1_400), ms(22_000)),
        START,
        FRAME,
    )
    .await;
    server.stop_with(&site, &[&clip]);
}

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
    let (_, clip) = cut(&server, ask(CAMERA, 1_400, 8_200)).await;
    let fetched = fetch(&server, &clip).await;
    let tags = probe(&fetched.path(), "format_tags");
    assert!(tags.lines().any(|line| line == CAMERA), "title: {tags}");
    // 2025-06-15T15:06:40Z is the epoch of the tests.
    let start = probe(&fetched.path(), "format_tags=creation_time");
    assert!(start.starts_with("2025-06-15T15:06:41"), "{start}");
    assert!(
        tags.contains("2025-06-15T15:06:41.400") && tags.contains("2025-06-15T15:06:48.200"),
        "{tags}"
    );
    assert!(clip.engine.starts_with("ffmpeg "), "{}", clip.engine);
    assert!(
        clip.file_name
            .starts_with("gate_a_01_20250615T150641Z_clip_"),
        "{}",
        clip.file_name
    );
    server.stop_with(&site, &[&clip]);
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

#[tokio::test]
async fn a_download_can_be_taken_in_parts_and_goes_on_where_it_broke() {
    let recording = Recipe::plain().record();
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let (_, clip) = cut(&server, ask(CAMERA, 0, 40_000)).await;
    let (size, id) = (clip.size_bytes, clip.id.as_str());
    assert!(
        size > 600 << 10,
        "more than two messages of a download: {size} bytes"
    );
    let (_, whole) = download(&server, id, 0, 0).await.unwrap();
    for (offset, limit) in [
        (0, 1),
        (1, 300_000),
        (size - 1, 0),
        (size - 10, 100),
        (size, 0),
        (size, 5),
        (7, i64::MAX),
    ] {
        let (header, part) = download(&server, id, offset, limit).await.unwrap();
        assert_eq!(
            (header.total_size_bytes, header.sha256.as_str()),
            (size, clip.sha256.as_str())
        );
        let end = if limit == 0 {
            size
        } else {
            offset.saturating_add(limit).min(size)
        };
        assert_eq!(
            part,
            whole[offset as usize..end as usize],
            "{offset} {limit}"
        );
    }
    // A client goes away in the middle and comes back for the rest.
    let request = proto::DownloadClipRequest {
        clip_id: id.to_owned(),
        ..Default::default()
    };
    let mut messages = server
        .clips()
        .download_clip(request)
        .await
        .unwrap()
        .into_inner();
    let mut received = Vec::new();
    while received.len() < 100_000 {
        if let Some(proto::download_clip_response::Content::Data(data)) =
            messages.message().await.unwrap().unwrap().content
        {
            received.extend(data);
        }
    }
    drop(messages);
    let (_, rest) = download(&server, id, received.len() as i64, 0)
        .await
        .unwrap();
    received.extend(rest);
    assert_eq!(sha256(&received), clip.sha256);

    let past = download(&server, id, size + 1, 0).await.unwrap_err();
    assert_eq!(
        (past.code(), reason(&past).as_str()),
        (Code::OutOfRange, "OFFSET_PAST_END")
    );
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn a_file_deleted_between_acceptance_and_cut_is_a_gap() {
    let recording = Recipe::plain().record();
    let mut site = unfollowed().with("HELDAR_MEDIA_JOB_CONCURRENCY", "1");
    let mut gate = Gate::of(&mut site);
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let server = site.start().await;
    let later = |request| proto::CreateClipRequest {
        wait: None,
        ..request
    };
    let mut jobs = Vec::new();
    // As many as may run at the same time wait in ffmpeg; the last is accepted and not begun.
    for _ in 0..4 {
        jobs.push(
            server
                .clips()
                .create_clip(later(ask(CAMERA, 0, 2_000)))
                .await
                .unwrap()
                .into_inner(),
        );
        if jobs.len() == 1 {
            gate.reached_by(1);
        }
    }
    let last = server
        .clips()
        .create_clip(later(ask(CAMERA, 5_000, 35_000)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(last.state(), proto::JobState::Queued);
    std::fs::remove_file(&paths[1]).unwrap();
    gate.open();
    let job = ended(&server, &last.id).await;
    let mut clips = vec![clip_of(&job)];
    assert_eq!(gap_reasons(&clips[0]), [GapReason::FileMissing]);
    let expected = without(&recording.between(ms(5_000), ms(35_000)), &[1]);
    check(&server, &clips[0], &expected, START, FRAME).await;
    for job in jobs {
        clips.push(clip_of(&ended(&server, &job.id).await));
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_deleted_while_it_is_cut_is_delivered_whole() {
    let recording = Recipe::plain().record();
    let mut site = unfollowed();
    let mut gate = Gate::of(&mut site);
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let server = site.start().await;
    let request = proto::CreateClipRequest {
        wait: None,
        ..ask(CAMERA, 1_400, 35_000)
    };
    let job = server
        .clips()
        .create_clip(request)
        .await
        .unwrap()
        .into_inner();
    gate.reached_by(1);
    for path in paths {
        std::fs::remove_file(path).unwrap();
    }
    gate.open();
    let clip = clip_of(&ended(&server, &job.id).await);
    assert_eq!(clip.gaps, []);
    check(
        &server,
        &clip,
        &recording.between(ms(1_400), ms(35_000)),
        START,
        FRAME,
    )
    .await;
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn a_clip_whose_file_was_damaged_or_removed_is_data_loss_and_gone_over_http() {
    let recording = thirty_seconds().record();
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let (_, whole) = cut(&server, ask(CAMERA, 0, 2_000)).await;
    let (_, cut_short) = cut(&server, ask(CAMERA, 0, 3_000)).await;
    let (_, removed) = cut(&server, ask(CAMERA, 0, 4_000)).await;
    let path = site.clips().join(&cut_short.file_name);
    std::fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(cut_short.size_bytes as u64 - 1)
        .unwrap();
    std::fs::remove_file(site.clips().join(&removed.file_name)).unwrap();
    for clip in [&cut_short, &removed] {
        let lost = download(&server, &clip.id, 0, 0).await.unwrap_err();
        assert_eq!(
            (lost.code(), reason(&lost).as_str()),
            (Code::DataLoss, "FILE_CORRUPTED")
        );
        let resource = lost.get_details_resource_info().unwrap();
        assert_eq!(
            (
                resource.resource_type.as_str(),
                resource.resource_name.as_str()
            ),
            ("clip", clip.id.as_str())
        );
        assert_eq!(http_get(&server, &clip.url).0, 410);
        // The record stays, so that it can be seen what was lost, and can be deleted.
        server
            .clips()
            .get_clip(proto::GetClipRequest {
                clip_id: clip.id.clone(),
            })
            .await
            .unwrap();
        server
            .clips()
            .delete_clip(proto::DeleteClipRequest {
                clip_id: clip.id.clone(),
            })
            .await
            .unwrap();
    }
    fetch(&server, &whole).await;
    server.stop_with(&site, &[&whole]);
}

#[tokio::test]
async fn a_window_with_nothing_but_broken_files_fails_as_no_footage() {
    let recording = thirty_seconds().record();
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    std::fs::write(&paths[0], "no footage at all").unwrap();
    age(&paths[0]);
    std::fs::remove_file(&paths[1]).unwrap();
    let server = site.start().await;
    let job = run_job(&server, ask(CAMERA, 2_000, 18_000)).await;
    assert_eq!(job.state(), proto::JobState::Failed);
    let error = job.error.as_ref().unwrap();
    assert_eq!(notice_reason(error), "NO_FOOTAGE");
    assert!(
        error
            .message
            .starts_with("no recorded footage in the requested range"),
        "{}",
        error.message
    );
    server.stop_with(&site, &[]);
}
