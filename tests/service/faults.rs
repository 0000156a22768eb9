//! What breaks around the service: ffmpeg, the disk, the database, the process itself.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use heldar_footage::proto::{self, JobState};
use rustix::process::Signal;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::footage::{Recipe, ms};
use crate::recorder::{CAMERA, ask, check, cut, lay, run_job};
use crate::server::{
    PATIENCE, Server, Site, children_of, clip_of, ended, eventually, is_running, next_job,
    nothing_left, notice_reason, reason,
};
use crate::small_disk::SmallDisk;
use crate::stand_in::{Gate, installed, script};

/// A site with thirty seconds of footage of one camera in its catalog.
fn with_footage(site: Site) -> Site {
    lay(&site, CAMERA, &footage().record());
    site.import();
    site
}

fn footage() -> Recipe {
    Recipe {
        length_s: 30,
        ..Recipe::plain()
    }
}

/// A request that does not wait for the job.
fn later(from_ms: i64, to_ms: i64) -> proto::CreateClipRequest {
    proto::CreateClipRequest {
        wait: None,
        ..ask(CAMERA, from_ms, to_ms)
    }
}

async fn submit(server: &Server, request: proto::CreateClipRequest) -> String {
    server
        .clips()
        .create_clip(request)
        .await
        .unwrap()
        .into_inner()
        .id
}

/// The error of a job that failed: its reason and message, which must not tell where things lie on the server.
fn failure(site: &Site, job: &proto::Job) -> (String, String) {
    assert_eq!(job.state(), JobState::Failed, "{job:?}");
    assert!(job.result.is_none());
    let error = job.error.as_ref().unwrap();
    let folder = site.path("");
    let told = format!("{error:?}");
    assert!(
        !told.contains(folder.to_str().unwrap()),
        "a path of the server is told: {told}"
    );
    assert!(told.len() < 16 << 10, "an error of {} bytes", told.len());
    (notice_reason(error), error.message.clone())
}

/// Checks that a server with the true ffmpeg cuts on the same site, and ends.
async fn goes_on(site: &mut Site) {
    site.set("HELDAR_FFMPEG_BIN", installed().to_str().unwrap());
    let server = site.start().await;
    let (_, clip) = cut(&server, ask(CAMERA, 1_000, 3_000)).await;
    server.stop_with(site, &[&clip]);
}

#[tokio::test]
async fn without_ffmpeg_a_clip_is_refused_with_words_that_help_and_all_else_works() {
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

#[tokio::test]
async fn a_job_whose_server_was_killed_is_taken_up_at_the_next_start() {
    let mut site = Site::new();
    let mut gate = Gate::of(&mut site);
    let site = with_footage(site);
    let server = site.start().await;
    let job_id = submit(&server, later(1_400, 25_000)).await;
    gate.reached_by(1);
    let children = children_of(server.pid());
    assert!(!children.is_empty());
    server.kill();
    assert!(
        children.iter().all(|pid| !is_running(*pid)),
        "a child survives the server"
    );
    gate.open();
    let server = site.start().await;
    let job = ended(&server, &job_id).await;
    let clip = clip_of(&job);
    assert_eq!(job.attempt, 2);
    check(
        &server,
        &clip,
        &footage().record().between(ms(1_400), ms(25_000)),
        ms(0),
        ms(40),
    )
    .await;
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn a_job_that_takes_the_server_down_three_times_is_given_up() {
    let mut site = Site::new();
    let mut gate = Gate::of(&mut site);
    let site = with_footage(site);
    let mut server = site.start().await;
    let job_id = submit(&server, later(0, 5_000)).await;
    for attempt in 1..=3 {
        gate.reached_by(1);
        let job = server
            .jobs()
            .get_job(proto::GetJobRequest {
                job_id: job_id.clone(),
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (job.state(), job.attempt, job.max_attempts),
            (JobState::Running, attempt, 3)
        );
        server.kill();
        server = site.start().await;
    }
    gate.open();
    let job = ended(&server, &job_id).await;
    let (why, message) = failure(&site, &job);
    assert_eq!(
        (why.as_str(), job.attempt),
        ("ATTEMPTS_USED_UP", 3),
        "{message}"
    );
    // The next job is not held up by it.
    let (_, clip) = cut(&server, ask(CAMERA, 0, 5_000)).await;
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn a_job_interrupted_by_shutdown_goes_back_to_the_queue_without_losing_an_attempt() {
    let mut site = Site::new().with("HELDAR_SHUTDOWN_GRACE_S", "1");
    let mut gate = Gate::of(&mut site);
    let site = with_footage(site);
    let server = site.start().await;
    let job_id = submit(&server, later(0, 5_000)).await;
    gate.reached_by(1);
    let request = proto::WatchJobRequest {
        job_id: job_id.clone(),
        ..Default::default()
    };
    let mut watch = server.jobs().watch_job(request).await.unwrap().into_inner();
    assert_eq!(
        next_job(&mut watch).await.unwrap().state(),
        JobState::Running
    );
    server.signal(Signal::TERM);
    let ended_with = tokio::time::timeout(PATIENCE, async {
        loop {
            match watch.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the watch ends as if the job had"),
                Err(status) => break status,
            }
        }
    });
    let status = ended_with.await.unwrap();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "DRAINING")
    );
    assert!(
        status
            .get_details_retry_info()
            .is_some_and(|info| info.retry_delay.is_some())
    );
    let mut server = server;
    assert_eq!(server.wait(), 0);
    drop(server);
    nothing_left(&site, &[]);

    gate.open();
    let server = site.start().await;
    let job = ended(&server, &job_id).await;
    let clip = clip_of(&job);
    assert_eq!(job.attempt, 1, "a shutdown costs no attempt");
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn a_call_that_waits_is_answered_when_the_server_shuts_down_and_new_work_is_refused() {
    let mut site = Site::new().with("HELDAR_SHUTDOWN_GRACE_S", "2");
    let gate = Gate::of(&mut site);
    let site = with_footage(site);
    let server = site.start().await;
    let mut clips = server.clips();
    let waiting = tokio::spawn(async move { clips.create_clip(ask(CAMERA, 0, 5_000)).await });
    tokio::task::spawn_blocking(move || gate.reached_by(1))
        .await
        .unwrap();
    server.signal(Signal::TERM);
    let job = waiting
        .await
        .unwrap()
        .expect("the job is durable, so the answer is the job")
        .into_inner();
    assert_eq!(job.state(), JobState::Running);
    let mut server = server;
    assert_eq!(server.wait(), 0);
    drop(server);
    nothing_left(&site, &[]);
}

/// Runs `serve` in a way that must be refused: exit code and what it wrote to standard error.
fn refused(mut command: Command) -> (i32, String) {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!(
                "the server serves: {}",
                String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr)
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[tokio::test]
async fn a_second_server_on_the_same_data_folder_is_refused_and_the_first_goes_on() {
    let site = with_footage(Site::new());
    let server = site.start().await;
    let (code, told) = refused(site.footage(&["serve"]));
    assert_eq!(code, 1, "{told}");
    assert!(
        told.contains("another server already uses the data folder"),
        "{told}"
    );
    assert!(told.contains(site.data().to_str().unwrap()), "{told}");
    let (_, clip) = cut(&server, ask(CAMERA, 0, 5_000)).await;
    server.stop_with(&site, &[&clip]);
}

/// A command that is held to the permission bits of files, also when the tests run as root.
fn held_to_permissions(command: &Command) -> Command {
    let mut held = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        held.args([
            "--bounding-set=-dac_override,-dac_read_search",
            "--inh-caps=-dac_override,-dac_read_search",
        ]);
    }
    held.arg("--")
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear();
    for (name, value) in command.get_envs() {
        held.env(name, value.unwrap());
    }
    held.current_dir(command.get_current_dir().unwrap())
        .stdin(Stdio::null());
    held
}

#[tokio::test]
async fn a_database_that_cannot_be_written_stops_the_start_with_a_message_that_names_the_file() {
    let mut site = with_footage(Site::new());
    let database = site.data().join("heldar.db");
    let allow = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap()
    };
    allow(&database, 0o444);
    let (code, told) = refused(held_to_permissions(&site.footage(&["serve"])));
    allow(&database, 0o644);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains(database.to_str().unwrap()), "{told}");
    assert!(told.contains("cannot be written"), "{told}");
    goes_on(&mut site).await;
}

#[tokio::test]
async fn a_database_that_is_none_stops_the_start_and_is_left_as_it_is() {
    let site = with_footage(Site::new());
    let database = site.data().join("heldar.db");
    let rubbish = "this is no database; ".repeat(1_000);
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(site.data().join(format!("heldar.db{suffix}")));
    }
    std::fs::write(&database, &rubbish).unwrap();
    let (code, told) = refused(site.footage(&["serve"]));
    assert_eq!(code, 1, "{told}");
    assert!(told.contains(database.to_str().unwrap()), "{told}");
    assert_eq!(std::fs::read_to_string(&database).unwrap(), rubbish);
}

#[tokio::test]
async fn a_disk_with_too_little_room_refuses_a_clip_before_any_work() {
    let site = Site::new();
    let Some(disk) = SmallDisk::mount(site.path("disk"), 32 << 20) else {
        return;
    };
    let mut site = with_footage(site.with("HELDAR_CLIPS_DIR", disk.at.to_str().unwrap()));
    let server = site.start().await;
    let refused = server
        .clips()
        .create_clip(ask(CAMERA, 0, 5_000))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "DISK_FULL")
    );
    assert!(
        refused
            .message()
            .starts_with("not enough free disk for this export: need ~"),
        "{}",
        refused.message()
    );
    assert!(
        refused.message().ends_with(" free"),
        "{}",
        refused.message()
    );
    assert!(
        refused.get_details_quota_failure().is_some() && refused.get_details_retry_info().is_some()
    );
    server.stop_with(&site, &[]);
    site.set("HELDAR_CLIPS_DIR", site.clips().to_str().unwrap());
    goes_on(&mut site).await;
}

#[tokio::test]
async fn a_disk_that_fills_up_during_a_clip_fails_the_job_and_leaves_nothing() {
    let mut site = Site::new();
    let mut gate = Gate::of(&mut site);
    let Some(disk) = SmallDisk::mount(site.path("disk"), 80 << 20) else {
        return;
    };
    let site = with_footage(site.with("HELDAR_CLIPS_DIR", disk.at.to_str().unwrap()));
    let server = site.start().await;
    let job_id = submit(&server, later(0, 29_000)).await;
    gate.reached_by(1);
    disk.fill();
    gate.open();
    let job = ended(&server, &job_id).await;
    let (why, message) = failure(&site, &job);
    assert_eq!(why, "DISK_FULL", "{message}");
    assert_eq!(
        crate::server::files_in(&disk.at),
        ["filler"],
        "unfinished files"
    );
    disk.make_room();
    let (_, clip) = cut(&server, ask(CAMERA, 0, 29_000)).await;
    assert_eq!(crate::server::files_in(&disk.at), [clip.file_name.as_str()]);
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn an_ffmpeg_that_finds_the_disk_full_fails_the_job_as_such() {
    let mut site = Site::new();
    script(
        &mut site,
        "full-ffmpeg",
        "echo \"av_interleaved_write_frame(): No space left on device\" >&2\nexit 228",
    );
    let mut site = with_footage(site);
    let server = site.start().await;
    let job = run_job(&server, ask(CAMERA, 0, 5_000)).await;
    assert_eq!(failure(&site, &job).0, "DISK_FULL");
    server.stop_with(&site, &[]);
    goes_on(&mut site).await;
}

#[tokio::test]
async fn a_full_disk_under_the_database_refuses_writes_and_reading_goes_on() {
    let site = Site::new();
    let Some(disk) = SmallDisk::mount(site.path("disk"), 4 << 20) else {
        return;
    };
    let database = format!("sqlite://{}/heldar.db", disk.at.display());
    let site = with_footage(site.with("HELDAR_DATABASE_URL", database));
    let server = site.start().await;
    disk.fill();
    let upsert = |number: usize| {
        let labels = (0..64)
            .map(|key| (format!("{number}-{key}"), "x".repeat(255)))
            .collect();
        let camera = proto::Camera {
            id: format!("camera_{number}"),
            labels,
            ..Default::default()
        };
        proto::UpsertCameraRequest {
            camera: Some(camera),
            update_mask: None,
        }
    };
    let mut refused = None;
    for number in 0..1_000 {
        if let Err(status) = server.catalog().upsert_camera(upsert(number)).await {
            refused = Some((number, status));
            break;
        }
    }
    let (number, status) = refused.expect("the disk is full");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "DISK_FULL")
    );
    assert!(
        status.get_details_quota_failure().is_some() && status.get_details_retry_info().is_some()
    );
    let get = proto::GetCameraRequest {
        camera_id: CAMERA.to_owned(),
    };
    assert_eq!(
        server
            .catalog()
            .get_camera(get)
            .await
            .unwrap()
            .into_inner()
            .segment_count,
        3
    );
    let unknown = proto::GetCameraRequest {
        camera_id: format!("camera_{number}"),
    };
    assert_eq!(
        server
            .catalog()
            .get_camera(unknown)
            .await
            .unwrap_err()
            .code(),
        Code::NotFound,
        "nothing half-written"
    );
    disk.make_room();
    eventually_upserted(&server, upsert(number)).await;
    let (_, clip) = cut(&server, ask(CAMERA, 0, 5_000)).await;
    server.stop_with(&site, &[&clip]);
}

async fn eventually_upserted(server: &Server, request: proto::UpsertCameraRequest) {
    let answered = server.catalog().upsert_camera(request).await;
    assert!(answered.is_ok(), "writing works again: {answered:?}");
}

#[tokio::test]
async fn unfinished_files_of_a_dead_server_are_swept_and_foreign_files_stay() {
    let mut site = Site::new();
    let gate = Gate::of(&mut site);
    let mut site = with_footage(site);
    let server = site.start().await;
    submit(&server, later(0, 5_000)).await;
    gate.reached_by(1);
    let unfinished = site.clip_files();
    assert!(
        unfinished.len() == 1 && unfinished[0].ends_with(".part"),
        "{unfinished:?}"
    );
    server.kill();
    assert_eq!(
        site.clip_files(),
        unfinished,
        "a killed server cannot tidy up"
    );
    std::fs::write(site.clips().join("notes.part"), "not ours").unwrap();
    site.set("HELDAR_FFMPEG_BIN", installed().to_str().unwrap());
    let server = site.start().await;
    eventually("the job is done", || {
        site.clip_files().len() == 2
            && site
                .clip_files()
                .iter()
                .all(|name| !unfinished.contains(name))
    });
    assert!(site.clip_files().contains(&"notes.part".to_owned()));
    assert_eq!(server.stop(), 0);
}
