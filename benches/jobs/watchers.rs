//! Watchers of the running server, over TCP.

use std::time::{Duration, Instant};

use heldar_footage::proto::job_service_client::JobServiceClient;
use heldar_footage::proto::watch_job_response::Event;
use heldar_footage::proto::{self, JobState};
use tonic::Streaming;
use tonic::transport::Channel;

use crate::server::{Server, Site, clip_request, twelve_seconds};
use crate::stand_in::Gate;

/// Streams on one connection.
const STREAMS: usize = 100;
/// Jobs cancelled a second.
const CHANGES_A_SECOND: u32 = 20;

/// Watches `jobs` waiting jobs with `watchers` streams in all, then changes one job after the other.
pub async fn measure(jobs: usize, watchers: usize) {
    let mut site = Site::new().with("HELDAR_MEDIA_JOB_CONCURRENCY", "1");
    let _gate = Gate::of(&mut site);
    site.record("gate", &twelve_seconds());
    let server = site.start().await;
    server.imported("recordings", 1).await;
    // The first has the only place, and all others wait.
    let mut ids = Vec::new();
    for _ in 0..=jobs {
        let request = clip_request("gate", 1_000, 2_000);
        let made = server.clips().create_clip(request).await.unwrap();
        ids.push(made.into_inner().id);
    }
    ids.remove(0);
    let before = server.memory_bytes();
    let began = Instant::now();
    let streams = open(&server, &ids, watchers).await;
    let opened = began.elapsed();
    let memory = server.memory_bytes().saturating_sub(before);
    let mut readers = tokio::task::JoinSet::new();
    for (at, stream) in streams {
        readers.spawn(async move { (at, cancelled(stream).await) });
    }
    let mut pace = tokio::time::interval(Duration::from_secs(1) / CHANGES_A_SECOND);
    let mut asked = Vec::new();
    for id in &ids {
        pace.tick().await;
        asked.push(Instant::now());
        let request = proto::CancelJobRequest { job_id: id.clone() };
        server.jobs().cancel_job(request).await.unwrap();
    }
    let mut delays: Vec<Duration> = readers
        .join_all()
        .await
        .into_iter()
        .map(|(at, heard)| heard.duration_since(asked[at]))
        .collect();
    delays.sort_unstable();
    let at = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!(
        "\n{watchers} watchers over {jobs} jobs, over TCP, {CHANGES_A_SECOND} jobs changed a second\n\
         {:>26} {:>8.0}/s\n{:>26} {:>8.1} KiB of the server for each, connections included\n\
         {:>26} p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms, from the call that changes the job",
        "opened",
        watchers as f64 / opened.as_secs_f64(),
        "memory",
        memory as f64 / 1024.0 / watchers as f64,
        "heard of the change",
        at(0.5),
        at(0.99),
        at(1.0),
    );
    server.kill();
}

/// Streams that have sent the present state, with the place of their job in `ids`.
async fn open(
    server: &Server,
    ids: &[String],
    count: usize,
) -> Vec<(usize, Streaming<proto::WatchJobResponse>)> {
    let mut streams = Vec::new();
    while streams.len() < count {
        let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap();
        let mut jobs = JobServiceClient::new(channel.connect().await.unwrap());
        for _ in 0..STREAMS {
            let at = streams.len() % ids.len();
            let request = proto::WatchJobRequest {
                job_id: ids[at].clone(),
                after_revision: 0,
            };
            let mut stream = jobs.watch_job(request).await.unwrap().into_inner();
            stream.message().await.unwrap().expect("the present state");
            streams.push((at, stream));
        }
    }
    streams
}

/// When the stream said that its job was cancelled.
async fn cancelled(mut stream: Streaming<proto::WatchJobResponse>) -> Instant {
    while let Some(message) = stream.message().await.unwrap() {
        if let Some(Event::Job(job)) = message.event
            && job.state() == JobState::Cancelled
        {
            return Instant::now();
        }
    }
    panic!("the stream ended before the job");
}
