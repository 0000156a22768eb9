//! ffmpeg that does not do its work, and being called off.

use super::*;

#[test]
fn a_cut_without_a_hash_writes_the_same_bytes_with_both_engines() {
    let recording = Recipe::plain().record();
    for engine in [EngineChoice::Native, EngineChoice::Ffmpeg] {
        let folder = tempfile::tempdir().unwrap();
        let [hashed, bare] = [true, false].map(|hashes| {
            let output = folder.path().join(format!("{hashes}.mp4"));
            let outcome = run_order(CutOrder {
                output: output.clone(),
                engine,
                hashes,
                ..order(recording.sources(), ms(1_400), ms(8_200))
            });
            (outcome.unwrap(), std::fs::read(output).unwrap())
        });
        assert!(hashed.1 == bare.1, "{engine:?}");
        assert_eq!(
            (bare.0.sha256, bare.0.size_bytes),
            (None, hashed.0.size_bytes)
        );
        let digest = <[u8; 32]>::from(Sha256::digest(&bare.1));
        assert_eq!(hashed.0.sha256, Some(digest));
    }
}

/// Runs a cut with a shell script in ffmpeg's place; nothing must be left behind.
fn cut_with_script(script: &str, deadline: Duration, cancel: &CancellationToken) -> CutError {
    let recording = Recipe::plain().record();
    let folder = tempfile::tempdir().unwrap();
    let stand_in = folder.path().join("stand-in");
    std::fs::write(&stand_in, format!("#!/bin/sh\n{script}\n")).unwrap();
    make_executable(&stand_in);
    let output = folder.path().join("clip.part");
    let order = CutOrder {
        output: output.clone(),
        deadline,
        ..order(recording.sources(), ms(0), ms(5_000))
    };
    let error = run_order_with(&stand_in, order, cancel).unwrap_err();
    assert!(!output.exists());
    error
}

#[test]
fn an_ffmpeg_that_hangs_is_killed_at_the_deadline() {
    let error = cut_with_script(
        "exec sleep 600",
        Duration::from_millis(200),
        &CancellationToken::new(),
    );
    assert_eq!(error.to_string(), "clip export timed out");
}

#[test]
fn an_ffmpeg_that_floods_its_error_output_fails_with_the_end_of_it() {
    let script =
        "cat >/dev/null; head -c 3000000 /dev/zero | tr '\\0' x >&2; echo the reason >&2; exit 5";
    let error = cut_with_script(script, Duration::from_secs(60), &CancellationToken::new());
    let told = error.to_string();
    assert!(
        told.starts_with("ffmpeg clip export failed: exit status: 5"),
        "{}",
        &told[..60]
    );
    assert!(told.ends_with("the reason") && told.len() < 9_000);
}

#[test]
fn an_ffmpeg_that_writes_nothing_is_found_out() {
    let error = cut_with_script(
        "cat >/dev/null; exit 0",
        Duration::from_secs(60),
        &CancellationToken::new(),
    );
    assert!(matches!(error, CutError::Mismatch { .. }), "{error}");
}

#[test]
fn a_missing_ffmpeg_is_named() {
    let recording = Recipe::plain().record();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("clip.part");
    let order = CutOrder {
        output: output.clone(),
        ..order(recording.sources(), ms(0), ms(5_000))
    };
    let error = run_order_with(
        Path::new("/nowhere/ffmpeg"),
        order,
        &CancellationToken::new(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "ffmpeg binary `/nowhere/ffmpeg` is not available; install ffmpeg or set HELDAR_FFMPEG_BIN"
    );
    assert!(!output.exists());
}

#[test]
fn cancelling_kills_ffmpeg_and_leaves_nothing() {
    let cancel = CancellationToken::new();
    let waiting = cancel.clone();
    let canceller = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        waiting.cancel();
    });
    let error = cut_with_script("exec sleep 600", Duration::from_secs(60), &cancel);
    canceller.join().unwrap();
    assert!(matches!(error, CutError::Cancelled), "{error}");
}

#[test]
fn progress_rises_to_the_end() {
    let recording = Recipe::plain().record();
    let folder = tempfile::tempdir().unwrap();
    let order = CutOrder {
        output: folder.path().join("clip.part"),
        ..order(recording.sources(), ms(0), ms(30_000))
    };
    let mut seen = Vec::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime
        .block_on(cut(
            &engine_at(Path::new("ffmpeg"), folder.path()),
            order,
            &CancellationToken::new(),
            |progress| seen.push(progress),
        ))
        .unwrap();
    assert!(seen.is_sorted_by_key(|progress| (progress.media_done, progress.bytes_done)));
    let last = seen.last().unwrap();
    assert_eq!(
        (last.media_done, last.bytes_done),
        (ms(30_000), last.bytes_total)
    );
}

/// Cuts without an ffmpeg to be found.
fn cut_without_ffmpeg(
    sources: Vec<Source>,
    deadline: Duration,
    cancel: &CancellationToken,
) -> (tempfile::TempDir, Result<CutOutcome, CutError>) {
    let folder = tempfile::tempdir().unwrap();
    let order = CutOrder {
        output: folder.path().join("clip.part"),
        engine: EngineChoice::Auto,
        deadline,
        ..order(sources, ms(1_400), ms(23_000))
    };
    let made = run_order_with(Path::new("/nowhere/ffmpeg"), order, cancel);
    if made.is_err() {
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
    (folder, made)
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn what_cameras_write_needs_no_ffmpeg() {
    for layout in [Layout::Fragmented, Layout::Progressive, Layout::Mixed] {
        let recording = Recipe {
            layout,
            b_frames: 2,
            ..Recipe::plain()
        }
        .record();
        let clip = finished(cut_without_ffmpeg(
            recording.sources(),
            MINUTE,
            &CancellationToken::new(),
        ));
        assert_eq!(clip.outcome.engine, OURS);
        check_frames(&clip, &recording.between(ms(1_400), ms(23_000)));
    }
}

#[test]
fn what_only_ffmpeg_can_repack_names_it_when_it_is_missing() {
    let recording = Recipe {
        layout: Layout::MpegTs,
        ..Recipe::plain()
    }
    .record();
    let (_, made) = cut_without_ffmpeg(recording.sources(), MINUTE, &CancellationToken::new());
    let error = made.unwrap_err();
    assert!(matches!(error, CutError::FfmpegMissing { .. }), "{error}");
}

#[test]
fn a_copy_is_the_same_to_the_byte_each_time() {
    let sources = Recipe::plain().record().sources();
    let [one, other] = [(); 2].map(|()| {
        let made = cut_without_ffmpeg(sources.clone(), MINUTE, &CancellationToken::new());
        std::fs::read(finished(made).path()).unwrap()
    });
    assert!(one == other);
}

#[test]
fn a_copy_ends_when_it_is_called_off_or_its_time_is_over_and_leaves_nothing() {
    let sources = Recipe::plain().record().sources();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let (_, made) = cut_without_ffmpeg(sources.clone(), MINUTE, &cancel);
    assert!(matches!(made, Err(CutError::Cancelled)), "{made:?}");
    let (_, made) = cut_without_ffmpeg(sources, Duration::ZERO, &CancellationToken::new());
    assert!(matches!(made, Err(CutError::TimedOut)), "{made:?}");
}

#[test]
fn the_progress_of_a_copy_rises_to_the_end() {
    let recording = Recipe::plain().record();
    let folder = tempfile::tempdir().unwrap();
    let order = CutOrder {
        output: folder.path().join("clip.part"),
        engine: EngineChoice::Auto,
        ..order(recording.sources(), ms(0), ms(30_000))
    };
    let mut seen = Vec::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let made = runtime.block_on(cut(
        &engine_at(Path::new("/nowhere/ffmpeg"), folder.path()),
        order,
        &CancellationToken::new(),
        |progress| seen.push(progress),
    ));
    assert_eq!(made.unwrap().engine, OURS);
    assert!(seen.is_sorted_by_key(|progress| (progress.media_done, progress.bytes_done)));
    let last = seen.last().unwrap();
    assert_eq!(
        (last.media_done, last.bytes_done),
        (ms(30_000), last.bytes_total)
    );
}
