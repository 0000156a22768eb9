//! Servers that are killed or told to stop while they work.

use super::*;

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
