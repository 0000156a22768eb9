//! Children are given only what they should have, and always end.

use tokio::time::Instant;

use super::started::KEPT_STDERR_BYTES;
use super::*;

fn shell(script: &str) -> Job {
    Job::new("sh", Duration::from_secs(20)).arguments(["-c", script])
}

async fn lines_of(job: Job) -> Result<Vec<String>, ProcessError> {
    let mut lines = Vec::new();
    job.run(&CancellationToken::new(), |line| {
        lines.push(line.to_owned());
        Heard::Progress
    })
    .await?;
    Ok(lines)
}

#[tokio::test]
async fn a_child_sees_only_the_environment_it_is_given() {
    let job = shell("env").variable("HELDAR_TEST", "yes");
    let mut lines = lines_of(job).await.unwrap();
    lines.retain(|line| !line.starts_with("PATH=") && !line.starts_with("PWD="));
    lines.retain(|line| !line.starts_with("_=") && !line.starts_with("SHLVL="));
    lines.sort();
    assert_eq!(lines, ["HELDAR_TEST=yes", "LANG=C"]);
}

#[tokio::test]
async fn a_missing_program_is_not_found() {
    let error = lines_of(Job::new("heldar-no-such-program", Duration::from_secs(1)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ProcessError::NotFound { program } if program == "heldar-no-such-program")
    );
}

#[tokio::test]
async fn a_failure_carries_the_end_of_a_flood_of_errors() {
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i >&2; i=$((i+1)); done; exit 3";
    let error = lines_of(shell(script)).await.unwrap_err();
    let ProcessError::Failed { status, stderr, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(status.code(), Some(3));
    assert!(stderr.ends_with("line 19999"), "{stderr}");
    assert!(stderr.len() <= KEPT_STDERR_BYTES);
}

#[tokio::test]
async fn a_child_past_its_deadline_is_killed() {
    let job = Job::new("sleep", Duration::from_millis(50)).arguments(["600"]);
    let error = lines_of(job).await.unwrap_err();
    assert!(matches!(error, ProcessError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn a_child_without_progress_is_killed() {
    let job = shell("echo begun; sleep 600").idle_limit(Duration::from_millis(50));
    let error = lines_of(job).await.unwrap_err();
    assert!(matches!(error, ProcessError::Stalled { .. }), "{error}");
}

#[tokio::test]
async fn cancelling_kills_the_whole_group_at_once() {
    let cancel = CancellationToken::new();
    let mut grandchild = None;
    let started = Instant::now();
    let error = shell("sleep 600 & echo $!; wait")
        .run(&cancel, |line| {
            grandchild = line.parse::<i32>().ok();
            cancel.cancel();
            Heard::Progress
        })
        .await
        .unwrap_err();
    assert!(matches!(error, ProcessError::Cancelled), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    let pid = grandchild.expect("the script names its child");
    assert!(has_ended(pid).await);
}

#[tokio::test]
async fn a_child_with_grace_may_tidy_up_and_one_that_will_not_end_is_killed() {
    for (script, tidied) in [
        (
            "trap 'i=0; while [ $i -lt 3000 ]; do echo still here, line $i; echo and here >&2; i=$((i+1)); done; echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.01; done",
            true,
        ),
        (
            "trap '' TERM; echo ready; while :; do sleep 0.01; done",
            false,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("tidied");
        let script = script.replace("echo tidied", &format!("echo > '{}'", mark.display()));
        let cancel = CancellationToken::new();
        let error = shell(&script)
            .grace(Duration::from_millis(if tidied { 10_000 } else { 50 }))
            .run(&cancel, |_| {
                cancel.cancel();
                Heard::Progress
            })
            .await
            .unwrap_err();
        assert!(matches!(error, ProcessError::Cancelled), "{error}");
        assert_eq!(mark.exists(), tidied);
    }
}

#[tokio::test]
async fn both_outputs_are_heard_line_by_line() {
    let mut heard = Vec::new();
    shell("echo out; echo err >&2")
        .run_hearing_both(&CancellationToken::new(), |stream, line| {
            heard.push((stream, line.to_owned()));
            Heard::Progress
        })
        .await
        .unwrap();
    heard.sort_by_key(|(_, line)| line.clone());
    let expected = [(Stream::Error, "err"), (Stream::Output, "out")];
    assert_eq!(
        heard,
        expected.map(|(stream, line)| (stream, line.to_owned()))
    );
}

/// Waits until the process is gone or only its entry is left.
async fn has_ended(pid: i32) -> bool {
    for _ in 0..2_000 {
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) if !stat.contains(") Z ") => tokio::task::yield_now().await,
            _ => return true,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    false
}

#[tokio::test]
async fn dropping_the_future_kills_the_child() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let running = tokio::spawn(async move {
        shell("echo $$; sleep 600")
            .run(&CancellationToken::new(), |line| {
                sender.send(line.parse::<i32>()).unwrap();
                Heard::Progress
            })
            .await
    });
    let pid = receiver.recv().await.unwrap().unwrap();
    running.abort();
    assert!(has_ended(pid).await);
}

#[tokio::test]
async fn input_reaches_the_child_and_a_broken_pipe_ends_the_feeder() {
    use std::io::Write;
    let feed = |count: usize| -> Feeder {
        Box::new(move |pipe| {
            let mut pipe = std::fs::File::from(pipe);
            for _ in 0..count {
                if pipe.write_all(&[b'x'; 1 << 16]).is_err() {
                    break;
                }
            }
        })
    };
    let lines = lines_of(shell("wc -c").input(feed(16))).await.unwrap();
    assert_eq!(lines, ["1048576"]);
    let lines = lines_of(shell("exec head -c 3").input(feed(usize::MAX))).await;
    assert!(lines.is_ok());
}

#[tokio::test]
async fn a_child_that_is_started_early_waits_for_its_input_and_ends_when_nobody_wants_it() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("pid");
    let script = format!("echo $$ > '{}'; exec cat", told.display());
    let waiting = || {
        let (give, given) = tokio::sync::oneshot::channel::<&str>();
        let feeder: Feeder = Box::new(move |pipe| {
            if let Ok(input) = given.blocking_recv() {
                let _ = std::fs::File::from(pipe).write_all(input.as_bytes());
            }
        });
        (give, shell(&script).input(feeder).start())
    };
    let (give, starting) = waiting();
    let started = starting.await.unwrap();
    give.send("go").unwrap();
    let output = started.output(&CancellationToken::new(), 100).await;
    assert_eq!(output.unwrap(), b"go");

    std::fs::remove_file(&told).unwrap();
    let (_give, starting) = waiting();
    let unwanted = starting.await.unwrap();
    let pid: i32 = loop {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        if text.ends_with('\n') {
            break text.trim().parse().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    drop(unwanted);
    assert!(has_ended(pid).await);
}

#[tokio::test]
async fn output_beyond_the_limit_is_an_error() {
    let output = shell("echo 12345")
        .output(&CancellationToken::new(), 6)
        .await
        .unwrap();
    assert_eq!(output, b"12345\n");
    let error = shell("yes")
        .output(&CancellationToken::new(), 1 << 10)
        .await
        .unwrap_err();
    assert!(matches!(error, ProcessError::Output { .. }), "{error}");
}

#[tokio::test]
async fn a_file_beyond_its_limit_is_refused_by_the_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("large");
    // The child waits for input so that the limit is there before it writes.
    let script = format!("read go; head -c 100000 /dev/zero > '{}'", target.display());
    let limits = Limits {
        file_bytes: Some(1000),
        ..Limits::default()
    };
    let feeder: Feeder = Box::new(|pipe| {
        use std::io::Write;
        let _ = std::fs::File::from(pipe).write_all(b"go\n");
    });
    let error = lines_of(shell(&script).limits(limits).input(feeder))
        .await
        .unwrap_err();
    assert!(matches!(error, ProcessError::Failed { .. }), "{error}");
    assert!(std::fs::metadata(&target).unwrap().len() <= 1000);
}
