//! Many who watch, and some of them who never read.

use std::time::Duration;

use heldar_footage::proto::job_service_client::JobServiceClient;
use heldar_footage::proto::{self, JobState};
use tonic::Streaming;
use tonic::transport::Channel;

use super::{create, is_end, next, site, started};
use crate::server::{Server, clip_of, clip_request, eventually};
use crate::stand_in::Gate;

/// Who watches in all; every second one never reads.
const WATCHERS: usize = 1_000;
/// Streams on one connection, fewer than a server takes.
const STREAMS: usize = 100;
/// What the server may keep for each watcher, connections and what was sent to readers that do not read included.
const MOST_BYTES_EACH: u64 = 64 << 10;
/// Who watches all jobs beside them; every second one never reads.
const WATCHERS_OF_ALL: usize = 200;
/// The end must be with all who read within this from when it was written, on a machine that does other things too.
const IN_TIME: Duration = Duration::from_secs(5);
/// Says for about four seconds how far it is.
const NOISE: &str = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); \
    printf 'out_time_us=%d\\ntotal_size=%d\\nprogress=continue\\n' $((i * 30000)) $((i * 1000)); sleep 0.02; done";

type Watch = Streaming<proto::WatchJobResponse>;

/// Watches of one job, each of which has sent the present state, on connections of their own.
async fn watches(server: &Server, job_id: &str, count: usize) -> Vec<Watch> {
    let mut watches = Vec::new();
    while watches.len() < count {
        let mut jobs = connect(server).await;
        for _ in 0..STREAMS {
            let request = proto::WatchJobRequest {
                job_id: job_id.to_owned(),
                after_revision: 0,
            };
            let mut watch = jobs.watch_job(request).await.unwrap().into_inner();
            next(&mut watch).await.unwrap();
            watches.push(watch);
        }
    }
    watches
}

async fn connect(server: &Server) -> JobServiceClient<Channel> {
    let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap();
    JobServiceClient::new(channel.connect().await.unwrap())
}

/// Watches of all jobs, each of which has sent something.
async fn watches_of_all(server: &Server, count: usize) -> Vec<Streaming<proto::WatchJobsResponse>> {
    let mut watches = Vec::new();
    while watches.len() < count {
        let mut jobs = connect(server).await;
        for _ in 0..STREAMS.min(count) {
            let all = proto::WatchJobsRequest::default();
            let mut watch = jobs.watch_jobs(all).await.unwrap().into_inner();
            watch.message().await.unwrap().unwrap();
            watches.push(watch);
        }
    }
    watches
}

/// How long ago a job ended, by the one clock of this machine.
fn since_its_end(job: &proto::Job) -> Duration {
    let end = job.end_time.as_ref().unwrap();
    let end = chrono::DateTime::from_timestamp(end.seconds, end.nanos as u32).unwrap();
    (chrono::Utc::now() - end).to_std().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_watchers_half_never_read_and_the_others_hear_of_the_end_in_time() {
    let mut site = site();
    let mut gate = Gate::before(&mut site, NOISE);
    let server = started(&site).await;
    let made = create(&server, clip_request("gate", 1_000, 9_000)).await;
    eventually("the job waits at the gate", || gate.arrived() == 1);
    let before = server.memory_bytes();
    let asleep = watches(&server, &made.id, WATCHERS / 2).await;
    let awake = watches(&server, &made.id, WATCHERS / 2).await;

    let _asleep_over_all = watches_of_all(&server, WATCHERS_OF_ALL / 2).await;
    let over_all = watches_of_all(&server, WATCHERS_OF_ALL / 2).await;

    let mut readers = tokio::task::JoinSet::new();
    for mut watch in over_all {
        let id = made.id.clone();
        readers.spawn(async move {
            loop {
                let message = watch.message().await.unwrap().expect("the end comes first");
                if let Some(proto::watch_jobs_response::Event::Job(job)) = message.event
                    && job.id == id
                    && is_end(&job)
                {
                    return (since_its_end(&job), job);
                }
            }
        });
    }
    for mut watch in awake {
        readers.spawn(async move {
            let mut seen = 0;
            while let Some(job) = next(&mut watch).await {
                seen += 1;
                if is_end(&job) {
                    assert!(seen >= 2, "it heard of the end alone");
                    return (since_its_end(&job), job);
                }
            }
            panic!("the stream ended before the job");
        });
    }
    gate.open();
    let mut delays = Vec::new();
    while let Some(read) = readers.join_next().await {
        let (delay, job) = read.unwrap();
        assert_eq!(job.state(), JobState::Succeeded);
        delays.push(delay);
    }
    assert_eq!(delays.len(), (WATCHERS + WATCHERS_OF_ALL) / 2);
    let memory = server.memory_bytes().saturating_sub(before);
    assert!(
        memory < MOST_BYTES_EACH * (WATCHERS + WATCHERS_OF_ALL) as u64,
        "{} KiB for each watcher",
        memory / (WATCHERS + WATCHERS_OF_ALL) as u64 / 1024
    );
    delays.sort();
    let (median, latest) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    println!(
        "the end came to {} readers {median:?} (median), {latest:?} (latest) later",
        delays.len()
    );
    assert!(latest < IN_TIME, "{latest:?} later");

    // Who reads at last gets the newest state, not all that it slept through.
    let mut late = asleep.into_iter().next().unwrap();
    let mut read = 0;
    let job = loop {
        let job = next(&mut late).await.expect("the end comes");
        read += 1;
        if is_end(&job) {
            break job;
        }
    };
    assert!(read < 40, "{read} states");
    let clip = clip_of(&job);
    assert_eq!(server.stop(), 0);
    site.check_left(&[&clip]);
}
