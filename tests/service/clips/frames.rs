//! Clips against their footage, frame by frame, and the defects of the predecessor by name.

use super::*;

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
async fn defect_4_a_change_of_picture_size_or_codec_is_a_gap_for_ffmpeg_and_what_is_delivered_plays()
 {
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
        let (job, clip) = cut(&server, ask_ffmpeg(CAMERA, 1_400, 38_000)).await;
        let expected = without(&recording.between(ms(1_400), ms(38_000)), &[2]);
        let fetched = check(&server, &clip, &expected, START, FRAME).await;
        check_decodes(&fetched.path());
        assert_eq!(gap_reasons(&clip), [GapReason::CodecChange]);
        assert_eq!(
            job.warnings.iter().map(notice_reason).collect::<Vec<_>>(),
            ["CODEC_CHANGE"]
        );
        // Another clip of just this stretch delivers it.
        let (_, rest) = cut(&server, ask_ffmpeg(CAMERA, 20_000, 30_000)).await;
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
async fn a_change_of_picture_size_is_shown_where_the_service_cuts_by_itself() {
    let recording = Recipe::plain().record();
    let other = Recipe {
        size: "160x90",
        ..Recipe::plain()
    }
    .record();
    let site = Site::new();
    for (at, segment) in recording.segments.iter().enumerate() {
        let from = if at == 2 { &other.segments[2] } else { segment };
        let name = heldar_name(CAMERA, epoch() + segment.start);
        place(&site, &name, &from.path);
    }
    site.import();
    let server = site.start().await;
    let (job, clip) = cut(&server, ask(CAMERA, 1_400, 38_000)).await;
    let expected = [
        recording.between(ms(1_400), ms(20_000)),
        other.between(ms(20_000), ms(30_000)),
        recording.between(ms(30_000), ms(38_000)),
    ]
    .concat();
    check(&server, &clip, &expected, START, FRAME).await;
    assert_eq!(clip.engine_used(), proto::ClipEngine::Native);
    assert_eq!((clip.gaps.len(), job.warnings.len()), (0, 0));
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn a_gap_that_is_kept_is_time_of_the_clip_and_none_of_what_is_covered() {
    let recording = thirty_seconds().record();
    let site = Site::new();
    let paths = lay(&site, CAMERA, &recording);
    std::fs::remove_file(&paths[1]).unwrap();
    site.import();
    let server = site.start().await;
    let kept = |request| proto::CreateClipRequest {
        gap_mode: proto::GapMode::Keep.into(),
        ..request
    };
    let mut clips = Vec::new();
    for request in [
        ask(CAMERA, 7_400, 23_200),
        ask_ffmpeg(CAMERA, 7_400, 23_200),
    ] {
        let (_, clip) = cut(&server, kept(request)).await;
        assert_eq!(clip.gap_mode(), proto::GapMode::Keep);
        assert_eq!(delta(clip.duration.as_ref()), ms(15_800));
        assert_eq!(delta(clip.covered.as_ref()), ms(5_800));
        assert_eq!(gap_reasons(&clip), [GapReason::NotRecorded]);
        assert_eq!(delta(clip.gaps[0].clip_offset.as_ref()), ms(2_600));
        let fetched = fetch(&server, &clip).await;
        let shown = decode(&fetched.path());
        let expected = without(&recording.between(ms(7_400), ms(23_200)), &[1]);
        assert_eq!(shown.len(), expected.len());
        for (shown, expected) in shown.iter().zip(&expected) {
            assert_eq!(shown.digest, expected.digest);
            assert!(
                (shown.at + ms(7_400) - expected.at).abs() <= ms(1),
                "{shown:?}"
            );
        }
        clips.push(clip);
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
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
