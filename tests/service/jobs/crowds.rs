//! Many who watch, and some of them who never read.

use std::time::{Duration, Instant};

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
/// The end must be with all who read within this, on a machine that does other things too.
const IN_TIME: Duration = Duration::from_secs(5);
/// Says for about four seconds how far it is.
const NOISE: &str = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); \
    printf 'out_time_us=%d\\ntotal_size=%d\\nprogress=continue\\n' $((i * 30000)) $((i * 1000)); sleep 0.02; done";

type Watch = Streaming<proto::WatchJobResponse>;

/// Watches of one job, each of which has sent the present state, on connections of their own.
async fn watches(server: &Server, job_id: &str, count: usize) -> Vec<Watch> {
    let mut watches = Vec::new();
    while watches.len() < count {
        let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap();
        let mut jobs = JobServiceClient::new(channel.connect().await.unwrap());
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

    let mut readers = tokio::task::JoinSet::new();
    for mut watch in awake {
        readers.spawn(async move {
            let mut seen = 0;
            while let Some(job) = next(&mut watch).await {
                seen += 1;
                if is_end(&job) {
                    return (Instant::now(), seen, job);
                }
            }
            panic!("the stream ended before the job");
        });
    }
    gate.open();
    let mut ends = Vec::new();
    while let Some(read) = readers.join_next().await {
        let (at, seen, job) = read.unwrap();
        assert_eq!(job.state(), JobState::Succeeded);
        assert!(seen >= 2, "it heard of the end alone");
        ends.push((at, job));
    }
    let memory = server.memory_bytes().saturating_sub(before);
    assert!(
        memory < MOST_BYTES_EACH * WATCHERS as u64,
        "{} KiB for each watcher",
        memory / WATCHERS as u64 / 1024
    );
    let first = ends.iter().map(|(at, _)| *at).min().unwrap();
    let last = ends.iter().map(|(at, _)| *at).max().unwrap();
    assert!(last - first < IN_TIME, "{:?} later", last - first);

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
