//! An ffmpeg that is missing, hangs, floods, lies or dies.

use super::*;

#[tokio::test]
async fn without_ffmpeg_a_clip_that_needs_it_is_refused_with_words_that_help_and_all_else_works() {
    let mut site = with_footage(Site::new().with("HELDAR_FFMPEG_BIN", "/nowhere/ffmpeg"));
    let server = site.start().await;
    for validate_only in [false, true] {
        let request = proto::CreateClipRequest {
            validate_only,
            ..ask(CAMERA, 0, 2_000)
        };
        let refused = server.clips().create_clip(request).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::FailedPrecondition, "FFMPEG_UNAVAILABLE")
        );
        assert_eq!(
            refused.message(),
            "ffmpeg binary `/nowhere/ffmpeg` is not available; install ffmpeg or set HELDAR_FFMPEG_BIN"
        );
        let precondition = refused
            .get_details_precondition_failure()
            .expect("a PreconditionFailure");
        let [violation] = precondition.violations.as_slice() else {
            panic!("{precondition:?}")
        };
        assert_eq!(
            (violation.r#type.as_str(), violation.subject.as_str()),
            ("FFMPEG_UNAVAILABLE", "ffmpeg")
        );
    }
    // What cameras write is cut without it.
    let (_, native) = cut(&server, recorder::ask(CAMERA, 1_400, 8_200)).await;
    let expected = footage().record().between(ms(1_400), ms(8_200));
    check(&server, &native, &expected, ms(0), ms(40)).await;
    assert_eq!(native.engine_used(), proto::ClipEngine::Native);
    // The window is checked before the program.
    let empty = server
        .clips()
        .create_clip(ask(CAMERA, 90_000, 95_000))
        .await
        .unwrap_err();
    assert_eq!(reason(&empty), "NO_FOOTAGE");
    let timeline = proto::GetTimelineRequest {
        camera_id: CAMERA.to_owned(),
        ..Default::default()
    };
    assert_eq!(
        server
            .catalog()
            .get_timeline(timeline)
            .await
            .unwrap()
            .into_inner()
            .spans
            .len(),
        1
    );
    server
        .clips()
        .delete_clip(proto::DeleteClipRequest { clip_id: native.id })
        .await
        .unwrap();
    server.stop_with(&site, &[]);
    goes_on(&mut site).await;
}

#[tokio::test]
async fn an_ffmpeg_that_hangs_is_killed_at_once_by_a_cancel() {
    let mut site = Site::new();
    let gate = Gate::of(&mut site);
    let mut site = with_footage(site);
    let server = site.start().await;
    let job_id = submit(&server, later(0, 5_000)).await;
    gate.reached_by(1);
    let hanging = gate.waiting();
    let asked = Instant::now();
    server
        .jobs()
        .cancel_job(proto::CancelJobRequest {
            job_id: job_id.clone(),
        })
        .await
        .unwrap();
    let job = ended(&server, &job_id).await;
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "cancelled after {:?}",
        asked.elapsed()
    );
    assert_eq!(job.state(), JobState::Cancelled);
    assert!(
        hanging.iter().all(|pid| !is_running(*pid)),
        "ffmpeg outlives its job"
    );
    server.stop_with(&site, &[]);
    goes_on(&mut site).await;
}

#[tokio::test]
async fn an_ffmpeg_that_hangs_is_ended_by_the_time_limit() {
    let mut site = Site::new().with("HELDAR_CLIP_TIMEOUT_S", "5");
    let gate = Gate::of(&mut site);
    let mut site = with_footage(site);
    let server = site.start().await;
    let begun = Instant::now();
    let job_id = submit(&server, later(0, 5_000)).await;
    gate.reached_by(1);
    let hanging = gate.waiting();
    let job = ended(&server, &job_id).await;
    assert!(
        (Duration::from_secs(5)..Duration::from_secs(20)).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        failure(&site, &job),
        ("TIMED_OUT".to_owned(), "clip export timed out".to_owned())
    );
    assert!(
        hanging.iter().all(|pid| !is_running(*pid)),
        "ffmpeg outlives its job"
    );
    server.stop_with(&site, &[]);
    goes_on(&mut site).await;
}

#[tokio::test]
async fn an_ffmpeg_that_floods_its_error_output_costs_neither_memory_nor_tells_paths() {
    let mut site = Site::new();
    // 200 MB, and what matters at the end.
    script(
        &mut site,
        "flooding-ffmpeg",
        "yes \"cannot write $output\" | head -c 200000000 >&2\necho \"$output: Broken thing\" >&2\nexit 7",
    );
    let mut site = with_footage(site);
    let server = site.start().await;
    let job = run_job(&server, ask(CAMERA, 0, 5_000)).await;
    let (why, message) = failure(&site, &job);
    assert_eq!(why, "FFMPEG_FAILED");
    assert!(
        message.starts_with("ffmpeg clip export failed: "),
        "{message}"
    );
    assert!(
        message.contains('7') && message.contains("Broken thing"),
        "exit code and last words: {message}"
    );
    assert!(
        server.peak_memory_bytes() < 200 << 20,
        "{} bytes of memory",
        server.peak_memory_bytes()
    );
    assert!(
        server.log().len() < 1 << 20,
        "a log of {} bytes",
        server.log().len()
    );
    server.stop_with(&site, &[]);
    goes_on(&mut site).await;
}

#[tokio::test]
async fn an_ffmpeg_that_floods_its_output_costs_no_memory() {
    let mut site = Site::new();
    script(
        &mut site,
        "flooding-ffmpeg",
        "head -c 200000000 /dev/zero\nexit 7",
    );
    let mut site = with_footage(site);
    let server = site.start().await;
    let job = run_job(&server, ask(CAMERA, 0, 5_000)).await;
    assert_eq!(failure(&site, &job).0, "FFMPEG_FAILED");
    assert!(
        server.peak_memory_bytes() < 200 << 20,
        "{} bytes of memory",
        server.peak_memory_bytes()
    );
    server.stop_with(&site, &[]);
    goes_on(&mut site).await;
}

#[tokio::test]
async fn an_ffmpeg_that_claims_success_and_wrote_nothing_or_rubbish_makes_no_clip() {
    for (name, body) in [
        ("silent-ffmpeg", "exit 0"),
        ("reading-ffmpeg", "cat > /dev/null"),
        (
            "rubbish-ffmpeg",
            "cat > /dev/null\nhead -c 50000 /dev/urandom > \"$output\"",
        ),
        (
            "short-ffmpeg",
            "\"$ffmpeg\" \"$@\" || exit\ntruncate -s -1000 \"$output\"",
        ),
        ("removing-ffmpeg", "cat > /dev/null\nrm \"$output\""),
        (
            "replacing-ffmpeg",
            "cat > /dev/null\nrm \"$output\"\nln -s /etc/passwd \"$output\"",
        ),
    ] {
        let mut site = Site::new();
        script(&mut site, name, body);
        let mut site = with_footage(site);
        let server = site.start().await;
        let job = run_job(&server, ask(CAMERA, 0, 5_000)).await;
        let (why, message) = failure(&site, &job);
        assert!(
            ["FFMPEG_FAILED", "INTERNAL"].contains(&why.as_str()),
            "{name}: {why} {message}"
        );
        assert!(!message.is_empty(), "{name}");
        server.stop_with(&site, &[]);
        goes_on(&mut site).await;
    }
}

#[tokio::test]
async fn an_ffmpeg_that_is_killed_fails_the_job_and_costs_no_sound() {
    let mut site = Site::new();
    let gate = Gate::of(&mut site);
    let mut site = with_footage(site);
    let server = site.start().await;
    let job_id = submit(&server, later(0, 5_000)).await;
    gate.reached_by(1);
    // Whatever comes after it may work.
    gate.open_for_others();
    kill_process(gate.waiting()[0]);
    let job = ended(&server, &job_id).await;
    if job.state() == JobState::Succeeded {
        assert!(
            clip_of(&job).audio.is_some(),
            "a clip without its sound, because ffmpeg was killed: {:?}",
            job.warnings
        );
    } else {
        let (why, message) = failure(&site, &job);
        assert_eq!(why, "FFMPEG_FAILED");
        assert!(message.contains("signal: 9"), "{message}");
    }
    let clips: Vec<proto::Clip> = match &job.result {
        Some(proto::job::Result::Clip(clip)) => vec![clip.clone()],
        _ => Vec::new(),
    };
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
    for clip in clips {
        std::fs::remove_file(site.clips().join(clip.file_name)).unwrap();
    }
    goes_on(&mut site).await;
}

fn kill_process(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}
