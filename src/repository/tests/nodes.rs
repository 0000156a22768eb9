//! What only several nodes on one database can show.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;

use super::backup_sample::{NAS, destination, fence, folder, policy, run};
use super::*;
use crate::domain::clip::{ClipEngine, ClipSpec, GapMode};
use crate::domain::job::{JobKind, JobSpec, NewJob, Notice, Reason};

fn clip_job(number: usize) -> NewJob {
    NewJob {
        id: format!("job_{number}"),
        spec: JobSpec::Clip(ClipSpec {
            clip_id: format!("clip_{number}"),
            camera_id: gate(),
            start_us: 0,
            end_us: 1,
            keep_for_s: 0,
            created_by: String::new(),
            labels: BTreeMap::new(),
            engine: ClipEngine::Auto,
            gap_mode: GapMode::Close,
            render: None,
            is_virtual: false,
            hold_sources: false,
            quick: false,
        }),
        priority: 10,
        max_attempts: 2,
        created_by: String::new(),
        labels: BTreeMap::new(),
        retry_of: String::new(),
        request: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_nodes_that_claim_at_once_each_job_goes_to_one() {
    const NODES: usize = 4;
    const JOBS: usize = 60;
    let url = new_postgres_url().await;
    let first = Store::open(&url).await.unwrap();
    for number in 0..JOBS {
        let inserted = first
            .insert_job(&clip_job(number), 1000, at_ms(0))
            .await
            .unwrap();
        assert!(matches!(inserted, InsertedJob::New(_)), "{inserted:?}");
    }
    let ready = Arc::new(Barrier::new(NODES));
    let nodes = (0..NODES).map(|node| {
        let (url, ready) = (url.clone(), Arc::clone(&ready));
        tokio::spawn(async move {
            let store = Store::open(&url).await.unwrap();
            ready.wait().await;
            let mut claimed = Vec::new();
            while let Some(job) = store
                .claim_job(JobKind::Clip, &format!("node {node}"), at_ms(0))
                .await
                .unwrap()
            {
                claimed.push(job.id);
            }
            claimed
        })
    });
    let mut claimed = Vec::new();
    for node in nodes.collect::<Vec<_>>() {
        claimed.extend(node.await.unwrap());
    }
    claimed.sort();
    let mut all: Vec<String> = (0..JOBS).map(|number| format!("job_{number}")).collect();
    all.sort();
    assert_eq!(claimed, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_runs_by_the_clock_of_the_database_whatever_a_node_believes() {
    let store = Store::open(&new_postgres_url().await).await.unwrap();
    store
        .insert_job(&clip_job(1), 1000, at_ms(0))
        .await
        .unwrap();
    // A node whose clock is years behind claims, and one whose clock is years ahead looks for abandoned jobs.
    let behind = DateTime::from_timestamp(1_000_000_000, 0).unwrap();
    let ahead = DateTime::from_timestamp(3_000_000_000, 0).unwrap();
    let job = store
        .claim_job(JobKind::Clip, "behind", behind)
        .await
        .unwrap()
        .unwrap();
    assert!(job.start_time.unwrap() > behind + TimeDelta::days(1000));
    assert!(
        store
            .rescue_jobs("", |_| false, ahead, ahead)
            .await
            .unwrap()
            .is_empty()
    );
    let present = store.present(behind).await.unwrap();
    assert!(present > behind && present < ahead);
}

/// As many nodes on one database as asked for, each with connections of its own.
async fn nodes(count: usize) -> (Vec<Store>, TempDir) {
    let url = new_postgres_url().await;
    let mut stores = Vec::new();
    for _ in 0..count {
        stores.push(Store::open(&url).await.unwrap().with_callers_clock());
    }
    let root = tempfile::tempdir().unwrap();
    stores[0].put_source(&recordings(&root)).await.unwrap();
    (stores, root)
}

/// Lets each node do its part at the same moment; what came of each.
async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    stores: &[Store],
    part: impl Fn(usize, Store) -> F,
) -> Vec<T> {
    let ready = Arc::new(Barrier::new(stores.len()));
    let parts = stores.iter().enumerate().map(|(number, store)| {
        let (ready, part) = (Arc::clone(&ready), part(number, store.clone()));
        tokio::spawn(async move {
            ready.wait().await;
            part.await
        })
    });
    let mut done = Vec::new();
    for part in parts.collect::<Vec<_>>() {
        done.push(part.await.unwrap());
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_nodes_that_claim_at_once_one_sends_to_a_destination() {
    let (stores, _folder) = nodes(4).await;
    let nas = destination(NAS, folder());
    let inserted = stores[0].insert_destination(&nas, None);
    assert!(matches!(
        inserted.await.unwrap(),
        InsertedDestination::New(_)
    ));
    for number in 0..4 {
        let policy_id = format!("bkp_{number}");
        stores[0]
            .insert_policy(&policy(&policy_id), None)
            .await
            .unwrap();
        let job = run(&format!("bkj_{number}"), &policy_id, None);
        let inserted = stores[0].insert_job(&job, 100, at_ms(0)).await.unwrap();
        assert!(matches!(inserted, InsertedJob::New(_)), "{inserted:?}");
    }
    let failed = Finish::Failed(Notice::new(Reason::Internal, "over"), Vec::new());
    for _ in 0..4 {
        let claimed = at_once(&stores, |number, store| async move {
            let owner = format!("node {number}");
            store
                .claim_job(JobKind::Backup, &owner, at_ms(0))
                .await
                .unwrap()
        })
        .await;
        let claimed: Vec<_> = claimed.into_iter().flatten().collect();
        assert_eq!(claimed.len(), 1, "{claimed:?}");
        let held = fence(&claimed[0]);
        let ended = stores[0].finish_job(&held, failed.clone(), None, 0, at_ms(99), at_ms(1));
        assert!(ended.await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_take_in_files_and_miss_others_at_once_keep_sums_and_spans_right() {
    const UNIT_MS: i64 = 3_000;
    const UNITS: i64 = 120;
    let (stores, _folder) = nodes(3).await;
    let file = |unit: i64| segment(&format!("{unit:03}.mp4"), unit * UNIT_MS, UNIT_MS);
    let even: Vec<_> = (0..UNITS).step_by(2).map(file).collect();
    stores[0].take_in(&even, at_ms(0)).await.unwrap();
    // Every fourth goes, while what is beside it comes: each change of one touches a span that the other changes.
    for first in (0..UNITS).step_by(4) {
        at_once(&stores, |node, store| async move {
            match node {
                0 => {
                    let path = format!("{first:03}.mp4");
                    store
                        .mark_missing("recordings", &[path], at_ms(1))
                        .await
                        .map(drop)
                }
                1 => store.take_in(&[file(first + 1)], at_ms(1)).await.map(drop),
                _ => store.take_in(&[file(first + 3)], at_ms(1)).await.map(drop),
            }
            .unwrap();
        })
        .await;
    }
    let camera = stores[0].camera(&gate()).await.unwrap().unwrap();
    assert_eq!(camera.segment_count, UNITS as u64);
    let window = range(-1, UNITS * UNIT_MS + 1);
    let timeline = stores[0].timeline(&gate(), window).await.unwrap();
    let expected: Vec<_> = (0..UNITS)
        .step_by(4)
        .map(|unit| range((unit + 1) * UNIT_MS, (unit + 4) * UNIT_MS))
        .collect();
    assert_eq!(timeline.spans, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_let_jobs_in_at_once_keep_the_limit_of_the_queue() {
    let (stores, _folder) = nodes(6).await;
    for round in 0..15 {
        let let_in = at_once(&stores, |node, store| async move {
            let job = clip_job(round * 10 + node);
            let inserted = store.insert_job(&job, 1, at_ms(0)).await.unwrap();
            matches!(inserted, InsertedJob::New(_)).then_some(job.id)
        })
        .await;
        let let_in: Vec<String> = let_in.into_iter().flatten().collect();
        assert_eq!(let_in.len(), 1, "{let_in:?}");
        stores[0]
            .cancel_job(&let_in[0], 0, at_ms(99), at_ms(1))
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duty_is_one_nodes_until_it_leaves_or_its_time_is_over() {
    let (stores, _folder) = nodes(2).await;
    let period = Duration::from_secs(20);
    let holds = async |node: usize, ms: i64| {
        let owner = format!("node {node}");
        stores[node]
            .hold_duty("tidy", &owner, period, at_ms(ms))
            .await
            .unwrap()
    };
    assert!(holds(0, 0).await && !holds(1, 0).await);
    assert!(holds(0, 19_000).await && !holds(1, 38_999).await);
    assert!(holds(1, 39_001).await && !holds(0, 39_001).await);
    stores[0].leave_duty("tidy", "node 0").await.unwrap();
    assert!(!holds(0, 39_002).await, "only the holder can leave it");
    stores[1].leave_duty("tidy", "node 1").await.unwrap();
    assert!(holds(0, 39_003).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hint_of_one_node_is_heard_by_others() {
    let (stores, _folder) = nodes(2).await;
    let mut hints = stores[1].listen().await.unwrap().unwrap();
    for hint in [Hint::Queued, Hint::Changed, Hint::Watched] {
        stores[0].announce(hint).await.unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(20), hints.next()).await;
        assert_eq!(heard.unwrap().unwrap(), hint);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_given_up_leaves_nothing_behind_and_no_lock() {
    let (stores, _folder) = nodes(1).await;
    for _ in 0..30 {
        let mut transaction = stores[0].write(Area::Catalog).await.unwrap();
        sql("UPDATE sources SET layout = 'other'")
            .execute(&mut transaction)
            .await
            .unwrap();
        drop(transaction);
    }
    assert_eq!(
        stores[0]
            .source("recordings")
            .await
            .unwrap()
            .unwrap()
            .layout,
        "heldar"
    );
}

#[tokio::test]
async fn no_error_of_a_database_that_cannot_be_reached_has_its_password() {
    // Nobody listens on this port: it is taken, and given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for url in [
        format!("postgres://user:canary@127.0.0.1:{port}/footage"),
        "postgres://user:canary@127.0.0.1:notaport/footage".to_owned(),
    ] {
        let error = Store::open(&url).await.unwrap_err();
        let mut text = format!("{error:?}");
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            text.push_str(&error.to_string());
            cause = error.source();
        }
        assert!(!text.contains("canary"), "{text}");
    }
}
