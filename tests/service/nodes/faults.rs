//! Servers that die, freeze or lose the database, while others go on.

use std::os::unix::fs::MetadataExt as _;

use rustix::process::Signal;

use super::*;
use crate::server::children_of;
use crate::servers::Proxy;
use crate::stand_in::script;

/// How long a job stays with a server that is not heard of, in these tests.
const LEASE_S: &str = "4";

#[tokio::test(flavor = "multi_thread")]
async fn the_job_and_the_duties_of_a_killed_server_go_to_another() {
    let mut cluster = Cluster::<2>::on(Postgres::shared());
    cluster.set("HELDAR_LEASE_S", LEASE_S);
    let mut gates = cluster.gates("");
    let servers = cluster.start().await;
    let made = create(&servers[0], 1_000, 9_000).await;
    let (here, there) = runner_of(&gates);
    gates[there].open();
    let mut servers = servers.map(Some);
    servers[here].take().unwrap().kill();
    let other = servers[there].take().unwrap();
    let job = ended(&other, &made.id).await;
    assert_eq!(
        (job.state(), job.attempt),
        (JobState::Succeeded, 2),
        "{job:?}"
    );
    let clip = clip_of(&job);

    // Whoever followed the recordings, somebody does.
    cluster.sites[0].record("yard", &twelve_seconds());
    eventually("the other server follows the recordings", || {
        Postgres::shared().execute(
            database_of(&cluster),
            "SELECT COUNT(*) FROM segments WHERE camera_id = 'yard'",
        ) == "3"
    });

    // The killed one comes back, and sweeps nothing but its own.
    let again = cluster.sites[here].start().await;
    assert_eq!(
        clip_of(&self::job(&again, &made.id).await).sha256,
        clip.sha256
    );
    let files = crate::server::files_in(&cluster.sites[0].path("shared/clips"));
    assert_eq!(files.len(), 1, "{files:?}");
    for server in [other, again] {
        assert_eq!(server.stop(), 0);
    }
}

fn database_of(cluster: &Cluster<2>) -> &str {
    cluster.sites[0]
        .variable("HELDAR_DATABASE_URL")
        .rsplit('/')
        .next()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_frozen_past_its_lease_writes_nothing_about_the_job_it_had() {
    let mut cluster = Cluster::<2>::on(Postgres::shared());
    cluster.set("HELDAR_LEASE_S", LEASE_S);
    let mut gates = cluster.gates("");
    let servers = cluster.start().await;
    let made = create(&servers[0], 1_000, 9_000).await;
    let (here, there) = runner_of(&gates);
    servers[here].signal(Signal::STOP);
    eventually("the other server took the job", || {
        gates[there].arrived() == 1
    });
    servers[here].signal(Signal::CONT);
    // It learns that the job is not its own any more, and kills what it had started for it.
    eventually("the ffmpeg of the first attempt is gone", || {
        gates[here].waiting().is_empty()
    });
    gates.iter_mut().for_each(Gate::open);
    let job = ended(&servers[here], &made.id).await;
    assert_eq!(
        (job.state(), job.attempt),
        (JobState::Succeeded, 2),
        "{job:?}"
    );
    let again = create(&servers[here], 0, 2_000).await;
    clip_of(&ended(&servers[there], &again.id).await);
    let files = crate::server::files_in(&cluster.sites[0].path("shared/clips"));
    assert_eq!(files.len(), 2, "{files:?}");
    for server in servers {
        assert_eq!(server.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hears_nothing_of_the_database_stops_its_job_before_another_has_it() {
    let postgres = Postgres::shared();
    let proxy = Proxy::to(postgres.port()).await;
    let mut cluster = Cluster::<2>::on(postgres);
    cluster.set("HELDAR_LEASE_S", LEASE_S);
    let direct = cluster.sites[0].variable("HELDAR_DATABASE_URL").to_owned();
    let through = direct.replace(
        &format!(":{}/", postgres.port()),
        &format!(":{}/", proxy.port()),
    );
    cluster.sites[1].set("HELDAR_DATABASE_URL", through);
    let mut gates = cluster.gates("");
    let first = cluster.sites[0].start().await;
    first.imported("recordings", 1).await;
    // The first one has a job already, so that the second one has to take the next.
    let blocker = create(&first, 0, 2_000).await;
    eventually("the first server is at work", || gates[0].arrived() == 1);
    let second = cluster.sites[1].start().await;
    let made = create(&first, 1_000, 9_000).await;
    eventually("the second server is at work", || gates[1].arrived() == 1);

    // Short cuts do no harm, on idle connections and on busy ones.
    for _ in 0..3 {
        proxy.cut();
        tokio::time::timeout(PATIENCE, async {
            while second
                .jobs()
                .get_job(proto::GetJobRequest {
                    job_id: made.id.clone(),
                })
                .await
                .is_err()
            {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("it connects again");
    }
    assert_eq!(gates[1].waiting().len(), 1);

    proxy.swallow();
    gates[0].open();
    clip_of(&ended(&first, &blocker.id).await);
    // The first server now has a free place: it takes the job as soon as its lease is over.
    eventually("the first server took the job", || gates[0].arrived() == 2);
    assert_eq!(
        children_of(second.pid()),
        Vec::<u32>::new(),
        "it stopped in time"
    );
    let job = ended(&first, &made.id).await;
    assert_eq!(
        (job.state(), job.attempt),
        (JobState::Succeeded, 2),
        "{job:?}"
    );

    proxy.pass();
    gates[1].open();
    eventually("the second server hears of the database again", || {
        second.log().contains("stopping the job")
    });
    assert_eq!(first.stop(), 0);
    let alone = create(once_it_answers(&second).await, 2_000, 4_000).await;
    clip_of(&ended(&second, &alone.id).await);
    assert_eq!(second.stop(), 0);
}

/// The server, when its calls reach the database again.
async fn once_it_answers(server: &Server) -> &Server {
    let answers = async {
        while server
            .jobs()
            .list_jobs(proto::ListJobsRequest::default())
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, answers)
        .await
        .expect("it answers");
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_database_in_the_middle_of_jobs_costs_nothing() {
    let mut postgres = Postgres::start();
    let mut cluster = Cluster::<2>::on(&postgres);
    let mut gates = cluster.gates("");
    let servers = cluster.start().await;
    let made = [
        create(&servers[0], 0, 2_000).await,
        create(&servers[0], 2_000, 4_000).await,
    ];
    eventually("both servers run a job", || {
        gates.iter().all(|gate| gate.arrived() == 1)
    });
    let attempt_failed = |server: &Server| {
        server
            .log()
            .contains("writing the end of the job failed; trying again")
    };
    postgres.stop();
    gates.iter_mut().for_each(Gate::open);
    eventually("the ends of both jobs cannot be written", || {
        servers.iter().all(attempt_failed)
    });
    postgres.start_again();
    for server in &servers {
        let server = once_it_answers(server).await;
        for made in &made {
            let job = ended(server, &made.id).await;
            assert_eq!(
                (job.state(), job.attempt),
                (JobState::Succeeded, 1),
                "{job:?}"
            );
        }
    }
    for server in servers {
        assert_eq!(server.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_database_in_the_middle_of_jobs_loses_none_of_them() {
    let mut postgres = Postgres::start_durable();
    let mut cluster = Cluster::<2>::on(&postgres);
    let mut gates = cluster.gates("");
    let servers = cluster.start().await;
    let made = [
        create(&servers[0], 0, 2_000).await,
        create(&servers[0], 2_000, 4_000).await,
        create(&servers[1], 4_000, 6_000).await,
    ];
    eventually("both servers run a job", || {
        gates.iter().all(|gate| gate.arrived() == 1)
    });
    postgres.crash();
    gates.iter_mut().for_each(Gate::open);
    for made in &made {
        for server in &servers {
            let job = ended(once_it_answers(server).await, &made.id).await;
            assert_eq!(
                (job.state(), job.attempt),
                (JobState::Succeeded, 1),
                "{job:?}"
            );
        }
    }
    let files = crate::server::files_in(&cluster.sites[0].path("shared/clips"));
    assert_eq!(files.len(), made.len(), "{files:?}");
    for server in servers {
        assert_eq!(server.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_went_silent_at_the_end_of_a_job_cost_it_no_attempt() {
    let postgres = Postgres::shared();
    let proxy = Proxy::to(postgres.port()).await;
    let mut cluster = Cluster::<1>::on(postgres);
    cluster.set("HELDAR_LEASE_S", "20");
    let direct = cluster.sites[0].variable("HELDAR_DATABASE_URL").to_owned();
    let through = direct.replace(
        &format!(":{}/", postgres.port()),
        &format!(":{}/", proxy.port()),
    );
    cluster.sites[0].set("HELDAR_DATABASE_URL", through);
    let mut gates = cluster.gates("");
    let [server] = cluster.start().await;
    let made = create(&server, 1_000, 9_000).await;
    eventually("the job runs", || gates[0].arrived() == 1);
    proxy.swallow();
    gates[0].open();
    eventually("a silent connection is given up", || {
        server
            .log()
            .contains("writing the end of the job failed; trying again")
    });
    proxy.pass();
    let job = ended(once_it_answers(&server).await, &made.id).await;
    assert_eq!(
        (job.state(), job.attempt),
        (JobState::Succeeded, 1),
        "{job:?}"
    );
    assert_eq!(server.stop(), 0);
}

/// An ffmpeg that, the first time, freezes the server that started it when the clip is cut.
fn freezes_when_done(site: &mut Site) {
    let mark = shown(&site.path("frozen"));
    script(
        site,
        "freezing-ffmpeg",
        &format!(
            "[ -e '{mark}' ] && exec \"$ffmpeg\" \"$@\"\n\"$ffmpeg\" \"$@\"\ncode=$?\n: > '{mark}'\n\
             kill -STOP $PPID\nexit $code"
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wakes_before_its_finished_file_has_a_name_changes_nothing_that_another_delivered()
 {
    let postgres = Postgres::shared();
    let proxy = Proxy::to(postgres.port()).await;
    let mut cluster = Cluster::<2>::on(postgres);
    cluster.set("HELDAR_LEASE_S", LEASE_S);
    let direct = cluster.sites[0].variable("HELDAR_DATABASE_URL").to_owned();
    let through = direct.replace(
        &format!(":{}/", postgres.port()),
        &format!(":{}/", proxy.port()),
    );
    cluster.sites[0].set("HELDAR_DATABASE_URL", through);
    freezes_when_done(&mut cluster.sites[0]);
    let first = cluster.sites[0].start().await;
    first.imported("recordings", 1).await;
    let made = create(&first, 1_000, 9_000).await;
    eventually("the first server is frozen", || {
        cluster.sites[0].path("frozen").exists()
    });
    let second = cluster.sites[1].start().await;
    let job = ended(&second, &made.id).await;
    assert_eq!(job.attempt, 2, "{job:?}");
    let clip = clip_of(&job);
    let folder = cluster.sites[0].path("shared/clips");
    let file = || {
        std::fs::metadata(folder.join(&clip.file_name))
            .unwrap()
            .ino()
    };
    let delivered = file();

    // It cannot hear that the job is another's, and so it goes on for a moment.
    proxy.swallow();
    first.signal(Signal::CONT);
    eventually("it finished its file, or gave up", || {
        crate::server::files_in(&folder).len() == 2 && children_of(first.pid()).is_empty()
            || first.log().contains("stopping the job")
    });
    eventually("no unfinished file is left", || {
        crate::server::files_in(&folder)
            .iter()
            .all(|name| !name.ends_with(".part"))
    });
    assert_eq!(file(), delivered, "the delivered file was replaced");
    let bytes = std::fs::read(folder.join(&clip.file_name)).unwrap();
    assert_eq!(crate::recorder::sha256(&bytes), clip.sha256);
    first.kill();
    assert_eq!(second.stop(), 0);

    // What it made is nobody's, and goes with the next start.
    let again = cluster.sites[1].start().await;
    eventually("the file that no row knows is gone", || {
        crate::server::files_in(&folder) == [clip.file_name.as_str()]
    });
    assert_eq!(again.stop(), 0);
}
