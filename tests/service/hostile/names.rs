//! Names that lead out of folders, into options, or into other syntax; links; paths that are handed in.

use super::*;

/// Names that lead out of folders, into options, or into other syntax.
pub fn odd_names() -> Vec<String> {
    let names = [
        "-y",
        "--config=evil",
        "#x",
        " x ",
        "it's",
        "say \"x\"",
        "a:b",
        "%d",
        "%03d",
        "$(touch evil)",
        "a;b|c&d",
        "back\\slash",
        "CON",
        "nul",
        "\u{202e}4pm",
        "Tu\u{308}r",
        "T\u{fc}r",
        "*?[a]",
        "file:x",
        "pipe:0",
        "concat:a|b",
    ];
    let mut names: Vec<String> = names.map(str::to_owned).to_vec();
    names.push("n".repeat(200));
    names
}

#[tokio::test]
async fn files_with_odd_names_are_imported_and_cut_and_bad_ones_are_left_out() {
    let recording = footage().record();
    let file = &recording.segments[0].path;
    let site = unfollowed();
    let stamp = epoch().format("%Y%m%d_%H%M%S");
    let names = odd_names();
    for (number, name) in names.iter().enumerate() {
        place(&site, &format!("camera{number}/{name}_{stamp}.mp4"), file);
        place(&site, &format!("{name}/x_{stamp}.mp4"), file);
    }
    for bad in [&b"a\nb"[..], b"a\xffb", b"a\rb", b"a\x1bb"] {
        for path in [
            [b"c/", bad, b"_20250615_150640.mp4"].concat(),
            [bad, b"/x_20250615_150640.mp4"].concat(),
        ] {
            let target = site.recordings().join(Path::new(OsStr::from_bytes(&path)));
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(file, &target).unwrap();
            age(&target);
        }
    }
    let told = import(
        &site,
        &[
            "--layout",
            "{camera}/{any}_%Y%m%d_%H%M%S.mp4",
            "--zone",
            "UTC",
        ],
    );
    assert!(
        !told.chars().any(|c| c.is_control() && c != '\n'),
        "control characters in the summary: {told:?}"
    );
    assert!(
        told.contains("control character") && told.contains("UTF-8"),
        "{told}"
    );
    let server = site.start().await;
    let found = segments(&server).await;
    assert_eq!(found.len(), 2 * names.len());
    let mut clips = Vec::new();
    for segment in &found {
        let id = &segment.camera_id;
        assert!(
            id.bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')),
            "{id}"
        );
    }
    let mut cameras: Vec<&str> = found
        .iter()
        .map(|segment| segment.camera_id.as_str())
        .collect();
    cameras.sort_unstable();
    cameras.dedup();
    assert_eq!(
        cameras.len(),
        2 * names.len(),
        "no two names become one camera"
    );
    for camera in cameras {
        clips.push(check_camera(&server, camera, &recording.frames).await);
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
    assert!(!site.path("evil").exists());
}

#[tokio::test]
async fn files_with_odd_names_can_be_handed_in_and_cut() {
    let recording = footage().record();
    let site = unfollowed();
    place(
        &site,
        "known/20250615_150640.mp4",
        &recording.segments[0].path,
    );
    import(&site, &[]);
    let server = site.start().await;
    let names = odd_names();
    let messages: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(number, name)| {
            place(
                &site,
                &format!("odd/{name}.mp4"),
                &recording.segments[0].path,
            );
            message(&format!("odd{number}"), &format!("odd/{name}.mp4"), 0)
        })
        .collect();
    let answer = register(&server, messages).await;
    assert_eq!(
        (answer.segments_added, answer.rejected.len()),
        (names.len() as i64, 0),
        "{answer:?}"
    );
    let mut clips = Vec::new();
    for number in 0..names.len() {
        clips.push(check_camera(&server, &format!("odd{number}"), &recording.frames).await);
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn paths_that_leave_the_source_cannot_be_handed_in() {
    let recording = footage().record();
    let site = unfollowed();
    place(
        &site,
        "known/20250615_150640.mp4",
        &recording.segments[0].path,
    );
    let (secret, _) = secret(&site);
    symlink(&secret, site.recordings().join("known/link.mp4")).unwrap();
    symlink(
        "20250615_150640.mp4",
        site.recordings().join("known/inside.mp4"),
    )
    .unwrap();
    symlink(site.path(""), site.recordings().join("out")).unwrap();
    std::fs::create_dir(site.recordings().join("folder.mp4")).unwrap();
    import(&site, &[]);
    let server = site.start().await;
    let long = format!("known/{}.mp4", "n".repeat(300));
    let too_long = "a/".repeat(600) + "x.mp4";
    let cases = [
        ("", Code::InvalidArgument),
        ("../secret.mp4", Code::InvalidArgument),
        ("known/../../secret.mp4", Code::InvalidArgument),
        ("known/../known/20250615_150640.mp4", Code::InvalidArgument),
        ("./known/20250615_150640.mp4", Code::InvalidArgument),
        ("known//20250615_150640.mp4", Code::InvalidArgument),
        ("/etc/passwd", Code::InvalidArgument),
        (secret.to_str().unwrap(), Code::InvalidArgument),
        (".", Code::InvalidArgument),
        ("..", Code::InvalidArgument),
        ("known/a\nb.mp4", Code::InvalidArgument),
        ("known/a\0b.mp4", Code::InvalidArgument),
        (too_long.as_str(), Code::InvalidArgument),
        ("known/link.mp4", Code::DataLoss),
        ("known/inside.mp4", Code::DataLoss),
        ("out/secret.mp4", Code::DataLoss),
        ("folder.mp4", Code::DataLoss),
        ("known/nothing.mp4", Code::NotFound),
        ("~/secret.mp4", Code::NotFound),
        ("http://127.0.0.1/x.mp4", Code::InvalidArgument),
        ("file:known/20250615_150640.mp4", Code::NotFound),
        (long.as_str(), Code::DataLoss),
    ];
    let answer = register(
        &server,
        cases
            .iter()
            .map(|(path, _)| message("cam", path, 0))
            .collect(),
    )
    .await;
    assert_eq!(
        (answer.segments_added, answer.files_rejected),
        (0, cases.len() as i64)
    );
    for ((path, code), rejected) in cases.iter().zip(&answer.rejected) {
        let error = rejected.error.as_ref().unwrap();
        assert_eq!(rejected.path, *path);
        assert_eq!(Code::from_i32(error.code), *code, "{path}: {error:?}");
        assert!(
            !format!("{error:?}").contains(site.path("").to_str().unwrap()),
            "a path of the server: {error:?}"
        );
        notice_reason(error);
    }
    let unknown = proto::RegisterSegmentsRequest {
        source_id: "../x".to_owned(),
        ..message("../x", "../x", 0)
    };
    let answer = register(&server, vec![unknown]).await;
    assert_eq!(answer.files_rejected, 1);
    assert_eq!(segments(&server).await.len(), 1);
    let clip = check_camera(&server, "known", &recording.frames).await;
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn links_put_in_the_place_of_known_files_are_never_followed() {
    let recording = footage().record();
    let site = unfollowed();
    let kept = place(
        &site,
        &heldar_name(CAMERA, epoch()),
        &recording.segments[0].path,
    );
    let file = place(
        &site,
        &heldar_name(CAMERA, epoch() + ms(10_000)),
        &recording.segments[0].path,
    );
    let folder = place(
        &site,
        &heldar_name("gate_b", epoch()),
        &recording.segments[0].path,
    );
    import(&site, &[]);
    let (secret, _) = secret(&site);
    std::fs::remove_file(&file).unwrap();
    symlink(&secret, &file).unwrap();
    let folder = folder.parent().unwrap();
    std::fs::create_dir(site.path("elsewhere")).unwrap();
    std::fs::copy(&secret, site.path("elsewhere").join("20250615_150640.mp4")).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    symlink(site.path("elsewhere"), folder).unwrap();
    let server = site.start().await;
    let (job, clip) = cut(&server, ask(CAMERA, 0, 20_000)).await;
    check(&server, &clip, &recording.frames, TimeDelta::zero(), FRAME).await;
    assert_eq!(gap_reasons(&clip), [GapReason::FileDamaged]);
    assert_eq!(
        job.warnings.iter().map(notice_reason).collect::<Vec<_>>(),
        ["FILE_DAMAGED"]
    );
    let failed = run_job(&server, ask("gate_b", 0, 10_000)).await;
    assert_eq!(notice_reason(failed.error.as_ref().unwrap()), "NO_FOOTAGE");
    assert!(kept.exists());
    server.stop_with(&site, &[&clip]);
}
