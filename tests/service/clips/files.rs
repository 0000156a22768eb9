//! The files of clips: downloads, and sources and clips that are damaged or vanish.

use super::*;

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
                .create_clip(later(ask_ffmpeg(CAMERA, 0, 2_000)))
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
        .create_clip(later(ask_ffmpeg(CAMERA, 5_000, 35_000)))
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
        ..ask_ffmpeg(CAMERA, 1_400, 35_000)
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
