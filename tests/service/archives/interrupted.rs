//! A server that ends while it makes an archive, in a hurry or in order.

use heldar_footage::proto::JobState;
use rustix::process::Signal;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::asking::{
    archive_of, entry, everything, later, one_cut, submit, thirty_seconds_for_ffmpeg,
};
use super::jobs::{packing, with_a_long_recording};
use crate::footage::epoch;
use crate::recorder::{CAMERA, heldar_name, import, lay, unfollowed};
use crate::server::{PATIENCE, children_of, ended, files_in, is_running, nothing_left, reason};
use crate::stand_in::Gate;

#[tokio::test]
async fn an_archive_whose_server_was_killed_or_stopped_is_made_anew_at_the_next_start() {
    // A processor with SHA instructions packs all of it within a second, so any grace could let the job end.
    let site = with_a_long_recording().with("HELDAR_SHUTDOWN_GRACE_S", "0");
    let server = site.start().await;
    let job_id = submit(&server, later(everything())).await;
    packing(&server, &job_id).await;
    server.kill();
    let unfinished = files_in(&site.archives());
    assert!(
        unfinished.len() == 1 && unfinished[0].ends_with(".part"),
        "a killed server cannot tidy up: {unfinished:?}"
    );

    let server = site.start().await;
    let job = packing(&server, &job_id).await;
    assert_eq!((job.attempt, job.state()), (2, JobState::Running));
    let begun = files_in(&site.archives());
    assert!(
        begun.len() == 1 && begun != unfinished,
        "what the dead server left is gone: {begun:?}"
    );
    let request = heldar_footage::proto::WatchJobRequest {
        job_id: job_id.clone(),
        ..Default::default()
    };
    let mut watch = server.jobs().watch_job(request).await.unwrap().into_inner();
    server.signal(Signal::TERM);
    let watched = tokio::time::timeout(PATIENCE, async {
        loop {
            match watch.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the watch ends as if the job had"),
                Err(status) => break status,
            }
        }
    });
    let told = watched.await.unwrap();
    assert_eq!(
        (told.code(), reason(&told).as_str()),
        (Code::Unavailable, "DRAINING")
    );
    assert!(told.get_details_retry_info().is_some());
    let mut server = server;
    assert_eq!(server.wait(), 0);
    drop(server);
    nothing_left(&site, &[]);

    let server = site.start().await;
    let job = ended(&server, &job_id).await;
    assert_eq!(job.attempt, 2, "a shutdown costs no attempt");
    let archive = archive_of(&job);
    let zip = site.archives().join(&archive.file_name);
    let first = heldar_name(CAMERA, epoch());
    assert!(
        entry(&zip, &first) == std::fs::read(site.recordings().join(&first)).unwrap(),
        "the zip has what the recorder wrote"
    );
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn an_archive_whose_server_was_killed_while_it_cut_is_made_anew_at_the_next_start() {
    let mut site = unfollowed();
    let mut gate = Gate::of(&mut site);
    lay(&site, CAMERA, &thirty_seconds_for_ffmpeg().record());
    import(&site, &[]);
    let server = site.start().await;
    let job_id = submit(&server, later(one_cut())).await;
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
    assert_eq!(job.attempt, 2);
    let archive = archive_of(&job);
    server.stop_with_archives(&site, &[&archive]);
}
