//! Jobs watched to their ends.

use heldar_footage::proto;

use super::processes::children_of;
use super::{PATIENCE, Server};

/// The clip of a job that succeeded.
pub fn clip_of(job: &proto::Job) -> proto::Clip {
    assert_eq!(job.state(), proto::JobState::Succeeded, "{:?}", job.error);
    match &job.result {
        Some(proto::job::Result::Clip(clip)) => clip.clone(),
        other => panic!("no clip: {other:?}"),
    }
}

/// The next state of a job that is watched.
pub async fn next_job(watch: &mut tonic::Streaming<proto::WatchJobResponse>) -> Option<proto::Job> {
    loop {
        match watch.message().await.unwrap()?.event {
            Some(proto::watch_job_response::Event::Job(job)) => return Some(job),
            Some(proto::watch_job_response::Event::Heartbeat(_)) => {}
            None => panic!("an event without content"),
        }
    }
}

/// The states that a job goes through from now on, to its end.
pub async fn states_of(server: &Server, job_id: &str) -> Vec<proto::Job> {
    let request = proto::WatchJobRequest {
        job_id: job_id.to_owned(),
        ..Default::default()
    };
    let mut states = Vec::new();
    let watched = async {
        let mut watch = server.jobs().watch_job(request).await.unwrap().into_inner();
        while let Some(job) = next_job(&mut watch).await {
            states.push(job);
        }
    };
    if tokio::time::timeout(PATIENCE, watched).await.is_err() {
        panic!(
            "the job does not end; last seen: {:?}; children: {:?}; log:\n{}",
            states.last(),
            children_of(server.pid()),
            server.log()
        );
    }
    states
}

/// A job at its end.
pub async fn ended(server: &Server, job_id: &str) -> proto::Job {
    states_of(server, job_id)
        .await
        .pop()
        .expect("a watch answers with the state at once")
}
