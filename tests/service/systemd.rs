//! What a service manager sees: sd_notify(3) over a true socket, and signals.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use heldar_footage::proto::{self, JobState};
use rustix::process::Signal;
use sqlx::{Connection as _, Executor as _};

use crate::server::{
    PATIENCE, Server, Site, children_of, clip_of, clip_request, ended, eventually, is_running,
    nothing_left, twelve_seconds,
};
use crate::stand_in::Gate;

/// What the watchdog of the unit would wait for.
const WATCHDOG: Duration = Duration::from_millis(600);

/// The manager's end of the socket.
struct Manager(UnixDatagram);

impl Manager {
    /// Listens, and has the site's servers told where, and that a watchdog waits.
    fn of(site: &mut Site) -> Self {
        let path = site.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        site.set("NOTIFY_SOCKET", path.to_str().unwrap());
        site.set("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        Self(socket)
    }

    /// The next message within `patience`, line by line.
    fn next(&self, patience: Duration) -> Option<Vec<String>> {
        self.0.set_read_timeout(Some(patience)).unwrap();
        let mut bytes = [0; 4096];
        let count = self.0.recv(&mut bytes).ok()?;
        let text = std::str::from_utf8(&bytes[..count]).unwrap();
        Some(text.lines().map(str::to_owned).collect())
    }

    /// Reads until a message has this line, and returns that message.
    fn until(&self, line: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(message) = self.next(Duration::from_secs(1))
                && message.iter().any(|said| said == line)
            {
                return message;
            }
        }
        panic!("{line} was not said");
    }

    /// Reads until nothing was said for twice the time after which a manager acts.
    fn until_silent(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.next(WATCHDOG * 2).is_some() {
            assert!(Instant::now() < deadline, "the server goes on speaking");
        }
    }
}

fn site() -> Site {
    let site = Site::new();
    site.record("gate", &twelve_seconds());
    site
}

async fn submitted(server: &Server) -> String {
    let request = clip_request("gate", 0, 4_000);
    let made = server.clips().create_clip(request).await.unwrap();
    made.into_inner().id
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_hears_when_the_server_serves_that_it_lives_and_that_it_stops() {
    let mut site = site().with("HELDAR_SHUTDOWN_GRACE_S", "2");
    let manager = Manager::of(&mut site);
    let server = site.start().await;
    let ready = manager.next(PATIENCE).unwrap();
    assert!(ready.contains(&"READY=1".to_owned()), "{ready:?}");
    assert!(
        ready.contains(&format!("STATUS=listening on http://{}", server.address)),
        "{ready:?}"
    );
    let from = Instant::now();
    for _ in 0..4 {
        manager.until("WATCHDOG=1");
    }
    assert!(
        from.elapsed() < WATCHDOG * 4,
        "the watchdog was told four times in {:?}",
        from.elapsed()
    );
    server.signal(Signal::TERM);
    let stopping = manager.until("STOPPING=1");
    // The grace, and five seconds for jobs to go back to the queue.
    assert!(
        stopping.contains(&"EXTEND_TIMEOUT_USEC=7000000".to_owned()),
        "{stopping:?}"
    );
    let mut server = server;
    assert_eq!(server.wait(), 0);
    drop(server);
    nothing_left(&site, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_is_not_told_while_the_database_does_not_answer_and_is_told_again_when_it_does()
 {
    let mut site = site();
    let manager = Manager::of(&mut site);
    let server = site.start().await;
    server.imported("recordings", 1).await;
    manager.until("WATCHDOG=1");
    let url = format!("sqlite://{}", site.data().join("heldar.db").display());
    let mut other = sqlx::SqliteConnection::connect(&url).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    manager.until_silent();
    other.execute("ROLLBACK").await.unwrap();
    other.close().await.unwrap();
    manager.until("WATCHDOG=1");
    assert_eq!(server.stop(), 0);
    nothing_left(&site, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_server_at_once_with_its_children_and_the_job_goes_on_at_the_next_start()
 {
    let mut site = site().with("HELDAR_SHUTDOWN_GRACE_S", "600");
    let mut gate = Gate::of(&mut site);
    let server = site.start().await;
    server.imported("recordings", 1).await;
    let job_id = submitted(&server).await;
    gate.reached_by(1);
    let children = children_of(server.pid());
    assert!(!children.is_empty());
    server.signal(Signal::TERM);
    eventually("the first signal is heard", || {
        server.log().contains("shutting down")
    });
    assert!(
        children.iter().all(|pid| is_running(*pid)),
        "a running job may end"
    );
    let second = Instant::now();
    server.signal(Signal::TERM);
    let mut server = server;
    assert_eq!(server.wait(), 130);
    assert!(
        second.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        second.elapsed()
    );
    drop(server);
    gate.open();
    let server = site.start().await;
    let clip = clip_of(&ended(&server, &job_id).await);
    server.stop_with(&site, &[&clip]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ends_within_the_grace_is_kept_and_the_server_waits_no_longer() {
    let mut site = site().with("HELDAR_SHUTDOWN_GRACE_S", "60");
    let mut gate = Gate::of(&mut site);
    let server = site.start().await;
    server.imported("recordings", 1).await;
    let job_id = submitted(&server).await;
    gate.reached_by(1);
    let all = proto::WatchJobsRequest::default();
    let mut watch = server.jobs().watch_jobs(all).await.unwrap().into_inner();
    server.signal(Signal::TERM);
    while watch.message().await.is_ok_and(|message| message.is_some()) {}
    gate.open();
    let mut server = server;
    assert_eq!(
        server.wait(),
        0,
        "it does not wait for the end of the grace"
    );
    drop(server);
    let server = site.start().await;
    let job = server
        .jobs()
        .get_job(proto::GetJobRequest { job_id })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((job.state(), job.attempt), (JobState::Succeeded, 1));
    let clip = clip_of(&job);
    server.stop_with(&site, &[&clip]);
}
