//! Several servers on one PostgreSQL database: work is shared, and whatever runs on one is seen and ended from another.

mod duties;
mod faults;

use std::path::Path;
use std::time::{Duration, Instant};

use heldar_footage::proto::watch_job_response::Event;
use heldar_footage::proto::{self, JobState};

use crate::postgres::Postgres;
use crate::server::{
    PATIENCE, Server, Site, clip_of, clip_request, eventually, seconds, twelve_seconds,
};
use crate::stand_in::Gate;

/// Folders of several servers, with what they share: database, recordings, and what they make.
struct Cluster<const COUNT: usize> {
    sites: [Site; COUNT],
}

impl<const COUNT: usize> Cluster<COUNT> {
    /// Servers on an empty database of `postgres`, each of which makes one clip at a time.
    fn on(postgres: &Postgres) -> Self {
        let url = postgres.database();
        let mut sites: [Site; COUNT] = std::array::from_fn(|_| Site::new());
        sites[0].record("gate", &twelve_seconds());
        let recordings = shown(&sites[0].recordings());
        for site in &mut sites[1..] {
            site.set("HELDAR_RECORDINGS_DIR", recordings.as_str());
        }
        let folders = [
            ("HELDAR_CLIPS_DIR", "shared/clips"),
            ("HELDAR_ARCHIVE_DIR", "shared/archives"),
            ("HELDAR_RESTORE_DIR", "shared/restores"),
        ]
        .map(|(name, folder)| (name, shown(&sites[0].path(folder))));
        for site in &mut sites {
            site.set("HELDAR_DATABASE_URL", url.as_str());
            site.set("HELDAR_MEDIA_JOB_CONCURRENCY", "1");
            for (name, folder) in &folders {
                site.set(name, folder.as_str());
            }
        }
        Self { sites }
    }

    fn set(&mut self, name: &str, value: &str) {
        for site in &mut self.sites {
            site.set(name, value);
        }
    }

    /// ffmpegs that wait, one for each server; before that they run the shell text `before`.
    fn gates(&mut self, before: &str) -> [Gate; COUNT] {
        self.sites.each_mut().map(|site| Gate::before(site, before))
    }

    /// Starts all; the recordings are in the catalog.
    async fn start(&self) -> [Server; COUNT] {
        let first = self.sites[0].start().await;
        assert_eq!(first.imported("recordings", 1).await.segments_added, 3);
        let mut servers = vec![first];
        for site in &self.sites[1..] {
            servers.push(site.start().await);
        }
        servers.try_into().ok().unwrap()
    }
}

fn shown(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_clip_that_gets_its_file_is_the_same_clip_by_whatever_clock() {
    let cluster = Cluster::<1>::on(Postgres::shared());
    let [server] = cluster.start().await;
    let request = proto::CreateClipRequest {
        r#virtual: true,
        engine: proto::ClipEngine::Native.into(),
        wait: seconds(60),
        ..clip_request("gate", 1_000, 9_000)
    };
    let made = server.clips().create_clip(request).await.unwrap();
    let made = clip_of(&made.into_inner());
    let request = proto::MaterializeClipRequest {
        clip_id: made.id.clone(),
        wait: seconds(60),
        ..Default::default()
    };
    let solid = server.clips().materialize_clip(request).await.unwrap();
    let solid = clip_of(&solid.into_inner());
    assert!(!solid.r#virtual && !solid.sha256.is_empty());
    assert_eq!(solid.create_time, made.create_time);
    assert_eq!(solid.expire_time, made.expire_time);
    assert_eq!(server.stop(), 0);
}

/// The server that runs the one job whose ffmpeg came to a gate, and the other.
fn runner_of(gates: &[Gate; 2]) -> (usize, usize) {
    eventually("the job runs", || {
        gates.iter().map(Gate::arrived).sum::<usize>() == 1
    });
    if gates[0].arrived() == 1 {
        (0, 1)
    } else {
        (1, 0)
    }
}

async fn create(server: &Server, from_ms: i64, to_ms: i64) -> proto::Job {
    server
        .clips()
        .create_clip(clip_request("gate", from_ms, to_ms))
        .await
        .unwrap()
        .into_inner()
}

async fn job(server: &Server, id: &str) -> proto::Job {
    let request = proto::GetJobRequest {
        job_id: id.to_owned(),
    };
    server.jobs().get_job(request).await.unwrap().into_inner()
}

/// Each state that a watch of the job tells, and when it came, to its end.
async fn watched(server: &Server, id: &str) -> Vec<(Instant, proto::Job)> {
    let request = proto::WatchJobRequest {
        job_id: id.to_owned(),
        after_revision: 0,
    };
    let mut states = server.jobs().watch_job(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    let all = async {
        while let Some(message) = states.message().await.unwrap() {
            if let Some(Event::Job(job)) = message.event {
                seen.push((Instant::now(), job));
            }
        }
    };
    tokio::time::timeout(PATIENCE * 2, all)
        .await
        .expect("the job ends");
    seen
}

async fn ended(server: &Server, id: &str) -> proto::Job {
    watched(server, id)
        .await
        .pop()
        .expect("a watch tells the end")
        .1
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_share_the_work_and_each_shows_all_of_it() {
    let mut cluster = Cluster::<3>::on(Postgres::shared());
    let mut gates = cluster.gates("");
    let servers = cluster.start().await;
    let made = [
        create(&servers[0], 0, 2_000).await,
        create(&servers[0], 2_000, 4_000).await,
        create(&servers[1], 4_000, 6_000).await,
    ];
    // Each server makes one clip at a time, so that all are at work.
    eventually("every server runs a job", || {
        gates.iter().all(|gate| gate.arrived() == 1)
    });
    for server in &servers {
        for made in &made {
            assert_eq!(job(server, &made.id).await.state(), JobState::Running);
        }
    }
    // Whoever waits for a job need not ask the server that runs it.
    let mut clips = servers[2].clips();
    let last = proto::CreateClipRequest {
        wait: seconds(60),
        ..clip_request("gate", 6_000, 8_000)
    };
    let waiting = tokio::spawn(async move { clips.create_clip(last).await.unwrap().into_inner() });
    gates.iter_mut().for_each(Gate::open);
    let last = waiting.await.unwrap();
    let mut ids: Vec<String> = made.iter().map(|job| job.id.clone()).collect();
    ids.push(last.id);
    for server in &servers {
        for id in &ids {
            let ended = ended(server, id).await;
            assert_eq!(ended.attempt, 1);
            let clip = clip_of(&ended);
            let request = proto::GetClipRequest {
                clip_id: clip.id.clone(),
            };
            let again = server.clips().get_clip(request).await.unwrap().into_inner();
            assert_eq!(again.sha256, clip.sha256);
        }
    }
    for server in servers {
        assert_eq!(server.stop(), 0);
    }
}

/// Says for about eight seconds how far it is, twenty times a second.
const PROGRESS: &str = "i=0; while [ $i -lt 160 ]; do i=$((i+1)); \
    printf 'out_time_us=%d\\ntotal_size=%d\\nprogress=continue\\n' $((i * 40000)) $((i * 1000)); sleep 0.05; done";

#[tokio::test(flavor = "multi_thread")]
async fn progress_reaches_watchers_of_another_server_within_half_a_second() {
    let mut cluster = Cluster::<2>::on(Postgres::shared());
    let mut gates = cluster.gates(PROGRESS);
    gates.iter_mut().for_each(Gate::open);
    let servers = cluster.start().await;
    let made = create(&servers[0], 1_000, 9_000).await;
    let (here, there) = runner_of(&gates);
    let (near, far) = tokio::join!(
        watched(&servers[here], &made.id),
        watched(&servers[there], &made.id)
    );
    assert_eq!(far.last().unwrap().1.state(), JobState::Succeeded);
    let bytes = |job: &proto::Job| {
        job.progress
            .as_ref()
            .map_or(0, |progress| progress.bytes_done)
    };
    // A state is as late as it came after the first one of its own server that was as far.
    let mut late: Vec<Duration> = far
        .iter()
        .filter(|(_, job)| bytes(job) > 0)
        .filter_map(|(at, job)| {
            let first = near.iter().find(|(_, other)| bytes(other) >= bytes(job))?;
            Some(at.saturating_duration_since(first.0))
        })
        .collect();
    assert!(late.len() >= 10, "progress is seen from afar: {far:?}");
    late.sort();
    // One of ten may be late because the machine does other things, too: the tests share its processors.
    let [median, most_of_them, latest] =
        [late.len() / 2, late.len() * 9 / 10, late.len() - 1].map(|at| late[at]);
    println!(
        "progress seen on another server: {} states, median {median:?}, p90 {most_of_them:?}, most {latest:?} later",
        late.len()
    );
    assert!(most_of_them < Duration::from_millis(500), "{late:?}");
    for pair in far.windows(2) {
        assert!(pair[0].1.revision < pair[1].1.revision && bytes(&pair[0].1) <= bytes(&pair[1].1));
    }
    for server in servers {
        assert_eq!(server.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_from_a_server_that_does_not_run_it() {
    let mut cluster = Cluster::<2>::on(Postgres::shared());
    let gates = cluster.gates("");
    let servers = cluster.start().await;
    let made = create(&servers[0], 1_000, 9_000).await;
    let (here, there) = runner_of(&gates);
    let from = Instant::now();
    let request = proto::CancelJobRequest {
        job_id: made.id.clone(),
    };
    servers[there].jobs().cancel_job(request).await.unwrap();
    assert_eq!(
        ended(&servers[there], &made.id).await.state(),
        JobState::Cancelled
    );
    println!(
        "cancelled from another server: ended {:?} later",
        from.elapsed()
    );
    assert!(
        from.elapsed() < Duration::from_secs(10),
        "{:?}",
        from.elapsed()
    );
    assert!(gates[here].waiting().is_empty(), "its ffmpeg is gone");
    for server in servers {
        assert_eq!(server.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_the_database_is_shown_nowhere() {
    let postgres = Postgres::shared();
    let with_password = |url: &str| url.replace("footage@", "footage:canary@");
    let mut site = Site::new();
    let url = postgres.database();
    site.set("HELDAR_DATABASE_URL", with_password(&url));
    site.set("HELDAR_LOG", "debug");
    let server = site.start().await;
    let (code, out, err) = site.run(&["doctor"]);
    assert!(out.contains("up to date, answers"), "{code}: {out}{err}");
    let mut told = out + &err;
    let (_, out, err) = site.run(&["settings"]);
    told += &(out + &err);
    told += &server.log();
    assert_eq!(server.stop(), 0);
    // A database that is not there.
    site.set("HELDAR_DATABASE_URL", with_password(&url) + "_none");
    for command in ["doctor", "serve", "exports"] {
        let (code, out, err) = site.run(&[command]);
        assert_ne!(code, 0, "{command}");
        told += &(out + &err);
    }
    assert!(!told.contains("canary"), "{told}");
}
