//! How fast jobs go through the queue, and how soon those who watch hear of it. Run it with `make bench`.
//!
//! All parts but the last run the queue in this process with work that does nothing, on databases of their own in SQLite
//! and PostgreSQL with a commit on the disk for every step; the last runs the server and counts streams over TCP.
//! `make bench ARGS=quick` makes less of everything.

#![allow(
    clippy::disallowed_methods,
    reason = "the harness starts the server, and the benchmark reads the clock as a watcher does"
)]

#[path = "../tests/support/footage.rs"]
#[allow(dead_code, reason = "only the harness uses it here")]
mod footage;
#[path = "../tests/support/postgres.rs"]
mod postgres;
#[path = "../tests/service/server/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the tests use more of the harness"
)]
mod server;
#[path = "../tests/service/stand_in.rs"]
#[allow(dead_code, reason = "only the gate is used here")]
mod stand_in;
#[path = "jobs/watchers.rs"]
mod watchers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use heldar_footage::domain::catalog::ImportSummary;
use heldar_footage::domain::job::{JobKind, JobResult, JobSpec, PRIORITY_INTERACTIVE};
use heldar_footage::domain::source::ImportSpec;
use heldar_footage::jobs::{
    JobChange, JobSettings, Jobs, KindLimits, Registry, Runner, Submission,
};
use heldar_footage::repository::Store;
use heldar_footage::work::{Attempt, Done, Work, WorkError};
use tempfile::TempDir;

use crate::postgres::Postgres;

/// Callers who submit at the same time.
const CALLERS: usize = 32;
/// Jobs that run at the same time.
const AT_ONCE: usize = 8;

fn main() {
    let quick = std::env::args().any(|argument| argument == "quick");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run(if quick { 10 } else { 1 }));
}

async fn run(part: usize) {
    println!("{CALLERS} callers, {AT_ONCE} jobs at once, and a commit on the disk for every step");
    let postgres = Postgres::start_durable();
    for place in [Place::Sqlite, Place::Postgres(&postgres)] {
        println!("\nJobs that do nothing on {place}");
        queue(place, 10_000 / part).await;
        claims(place, 5_000 / part).await;
    }
    for place in [Place::Sqlite, Place::Postgres(&postgres)] {
        println!(
            "\nFrom a change to a watcher in the same process on {place}, 50 jobs started a second"
        );
        delays(place, 500 / part.min(5)).await;
    }
    println!(
        "\nFrom a change to a watcher of another node on PostgreSQL, 10 jobs started a second"
    );
    let database = postgres.database();
    delays_between_nodes(&database, 200 / part.min(5)).await;
    watchers::measure(100, 10_000 / part).await;
}

/// Where a queue is.
#[derive(Clone, Copy)]
enum Place<'a> {
    Sqlite,
    Postgres(&'a Postgres),
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite (synchronous=FULL)",
            Self::Postgres(_) => "PostgreSQL (fsync=on)",
        })
    }
}

/// Work that is done at once.
struct Nothing;

impl Work for Nothing {
    fn run(&self, _: Attempt) -> BoxFuture<'_, Result<Done, WorkError>> {
        Box::pin(async {
            Ok(Done {
                result: JobResult::Import(ImportSummary::default()),
                warnings: Vec::new(),
            })
        })
    }
}

/// A queue on a database of its own.
struct Queue {
    jobs: Jobs,
    store: Store,
    _folder: TempDir,
}

impl Queue {
    async fn new(place: Place<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = match place {
            Place::Sqlite => format!("sqlite://{}/bench.db", folder.path().display()),
            Place::Postgres(server) => server.database(),
        };
        Self::at(&url, folder).await
    }

    async fn at(url: &str, folder: TempDir) -> Self {
        let store = Store::open(url).await.unwrap();
        let settings = JobSettings {
            queue_limit: 1_000_000,
            ..JobSettings::default()
        };
        Self {
            jobs: Jobs::new(store.clone(), settings),
            store,
            _folder: folder,
        }
    }

    fn start(&self) -> tokio::task::JoinHandle<()> {
        let limits = KindLimits {
            at_once: AT_ONCE,
            deadline: None,
        };
        let registry = Registry::default().with(JobKind::Import, limits, Nothing);
        tokio::spawn(Runner::new(&self.jobs, registry).run(Duration::from_secs(5)))
    }

    /// Submits `count` jobs of many callers at once; their ids, and how long each call took.
    async fn submit(&self, count: usize) -> (Vec<String>, Vec<Duration>) {
        futures::stream::iter(0..count)
            .map(|number| async move {
                let began = Instant::now();
                let job = self.jobs.submit(submission(number)).await.unwrap();
                (job.id.clone(), began.elapsed())
            })
            .buffer_unordered(CALLERS)
            .unzip()
            .await
    }

    async fn all_ended(&self, ids: &[String]) {
        for id in ids {
            let job = self.jobs.get(id).await.unwrap();
            let ended = self.jobs.wait(job, Duration::from_secs(600)).await.unwrap();
            assert!(ended.state.is_terminal());
        }
    }

    async fn end(self, running: Option<tokio::task::JoinHandle<()>>) {
        self.jobs.drain();
        if let Some(running) = running {
            running.await.unwrap();
        }
        self.store.close().await;
    }
}

fn submission(number: usize) -> Submission {
    Submission {
        job_id: None,
        spec: JobSpec::Import(ImportSpec {
            source_id: "recordings".to_owned(),
        }),
        priority: PRIORITY_INTERACTIVE,
        created_by: format!("caller {}", number % 7),
        labels: BTreeMap::new(),
        retry_of: String::new(),
        request: None,
    }
}

/// Jobs a second: only accepted, only finished, and both at the same time.
async fn queue(place: Place<'_>, count: usize) {
    let queue = Queue::new(place).await;
    let began = Instant::now();
    let (ids, times) = queue.submit(count).await;
    line("accepted, nothing runs", &times, began.elapsed());
    let began = Instant::now();
    let running = queue.start();
    queue.all_ended(&ids).await;
    rate("finished, nothing comes", count, began.elapsed());
    queue.end(Some(running)).await;

    let queue = Queue::new(place).await;
    let running = queue.start();
    let began = Instant::now();
    let (ids, times) = queue.submit(count).await;
    line("accepted while they run", &times, began.elapsed());
    queue.all_ended(&ids).await;
    rate("accepted and finished", count, began.elapsed());
    queue.end(Some(running)).await;
}

/// What one claim takes, with as many jobs waiting.
async fn claims(place: Place<'_>, count: usize) {
    let queue = Queue::new(place).await;
    queue.submit(count).await;
    let began = Instant::now();
    let mut times = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        let claimed = queue.store.claim_job(JobKind::Import, "bench", Utc::now());
        claimed.await.unwrap().unwrap();
        times.push(began.elapsed());
    }
    line("claimed", &times, began.elapsed());
    queue.end(None).await;
}

/// How long after a job's end was written down its watcher has it.
async fn delays(place: Place<'_>, count: usize) {
    let queue = Arc::new(Queue::new(place).await);
    let running = queue.start();
    delays_of(Arc::clone(&queue), Duration::from_millis(20), count).await;
    let queue = Arc::into_inner(queue).expect("every watcher is done");
    queue.end(Some(running)).await;
}

/// The same for jobs that run on another node than the one that is asked.
async fn delays_between_nodes(database: &str, count: usize) {
    let works = Queue::at(database, tempfile::tempdir().unwrap()).await;
    let asked = Arc::new(Queue::at(database, tempfile::tempdir().unwrap()).await);
    let working = works.start();
    // It does no work itself, but hears what others do.
    let hearing =
        tokio::spawn(Runner::new(&asked.jobs, Registry::default()).run(Duration::from_secs(5)));
    delays_of(Arc::clone(&asked), Duration::from_millis(100), count).await;
    let asked = Arc::into_inner(asked).expect("every watcher is done");
    asked.end(Some(hearing)).await;
    works.end(Some(working)).await;
}

async fn delays_of(queue: Arc<Queue>, every: Duration, count: usize) {
    let mut pace = tokio::time::interval(every);
    let mut watching = tokio::task::JoinSet::new();
    for number in 0..count {
        pace.tick().await;
        let queue = Arc::clone(&queue);
        watching.spawn(async move {
            let job = queue.jobs.submit(submission(number)).await.unwrap();
            let mut watch = queue.jobs.watch(&job.id, 0).await.unwrap();
            loop {
                if let Some(JobChange::Job(job)) = watch.next().await.unwrap()
                    && job.state.is_terminal()
                {
                    // Taken before the commit: the commit is in the delay.
                    return (Utc::now() - job.update_time).to_std().unwrap_or_default();
                }
            }
        });
    }
    let times = watching.join_all().await;
    println!(
        "{:>26} {:>10}   {}",
        "heard of the end",
        "",
        middle_and_worst(&times)
    );
}

fn rate(name: &str, count: usize, wall: Duration) {
    println!("{name:>26} {:>8.0}/s", count as f64 / wall.as_secs_f64());
}

fn line(name: &str, times: &[Duration], wall: Duration) {
    let rate = times.len() as f64 / wall.as_secs_f64();
    println!("{name:>26} {rate:>8.0}/s   {}", middle_and_worst(times));
}

fn middle_and_worst(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at_ms = |part: f64| {
        let time = sorted[((sorted.len() - 1) as f64 * part) as usize];
        time.as_secs_f64() * 1000.0
    };
    format!("p50 {:>7.2} ms   p99 {:>7.2} ms", at_ms(0.5), at_ms(0.99))
}
