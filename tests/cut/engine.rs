//! ffmpeg that does not do its work, and being called off.

use super::*;

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
