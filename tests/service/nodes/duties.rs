//! What one server at a time does for all: here the schedule of backups.

use super::*;
use crate::backups::asking::{SECRET_KEY, local_destination};
use crate::backups::policies::{create as create_policy, hourly, runs};
use crate::server::{becomes, ended as at_end};

/// The servers that have the duty of the schedule, by what they logged.
fn schedulers(servers: &[&Server]) -> Vec<usize> {
    let has_it = |server: &Server| server.log().contains("duty=\"schedule\"");
    (0..servers.len())
        .filter(|at| has_it(servers[*at]))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_servers_one_starts_what_is_due_and_when_it_is_killed_the_other_does() {
    let mut cluster = Cluster::<2>::on(Postgres::shared());
    let roots = shown(&cluster.sites[0].path(""));
    for (name, value) in [
        ("HELDAR_BACKUP_LOCAL_ROOTS", roots.trim_end_matches('/')),
        ("HELDAR_SECRET_KEY", SECRET_KEY),
        ("HELDAR_BACKUP_ENABLED", "true"),
        ("HELDAR_BACKUP_SCHEDULER_INTERVAL_S", "5"),
    ] {
        cluster.set(name, value);
    }
    let servers = cluster.start().await;
    let id = local_destination(&cluster.sites[0], &servers[0]).await;
    // Each is due at once, and one run at a time goes to a destination.
    let mut policies = Vec::new();
    for _ in 0..3 {
        policies.push(create_policy(&servers[0], hourly(&id)).await);
    }
    for policy in &policies {
        let run = becomes("the policy runs", async || {
            runs(&servers[1], &policy.id).await.into_iter().next()
        })
        .await;
        assert_eq!(
            at_end(&servers[1], &run.id).await.state(),
            JobState::Succeeded
        );
    }
    let [first, second] = servers;
    let one = schedulers(&[&first, &second]);
    assert_eq!(one.len(), 1, "one has the duty: {one:?}");
    let (scheduler, other) = if one == [0] {
        (first, second)
    } else {
        (second, first)
    };
    scheduler.kill();
    let late = create_policy(&other, hourly(&id)).await;
    becomes("the other server has the duty", async || {
        (!schedulers(&[&other]).is_empty()).then_some(())
    })
    .await;
    let run = becomes("the late policy runs", async || {
        runs(&other, &late.id).await.into_iter().next()
    })
    .await;
    assert_eq!(at_end(&other, &run.id).await.state(), JobState::Succeeded);
    for policy in policies.iter().chain([&late]) {
        assert_eq!(runs(&other, &policy.id).await.len(), 1, "{policy:?}");
    }
    assert_eq!(other.stop(), 0);
}
