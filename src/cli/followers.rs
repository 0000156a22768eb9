//! Followers of the sources: one for each that is to be followed, for as long as it is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use heldar_footage::domain::job::JobSpec;
use heldar_footage::domain::source::{ImportSpec, Source};
use heldar_footage::jobs::{Jobs, JobsError, PRIORITY_BACKGROUND, Submission};
use heldar_footage::work::follow::follow;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::opened_catalog::Catalog;

/// How often to look for sources that another command has added.
const SOURCES_EVERY: Duration = Duration::from_secs(5);
/// How long to hold on to one wait for a job; it is repeated.
const WAIT: Duration = Duration::from_secs(60);

/// Follows every source that is to be followed, also those that other commands add or end.
pub(super) async fn follow_sources(catalog: &Catalog, stop: CancellationToken) {
    let mut followed: HashMap<String, (Source, CancellationToken)> = HashMap::new();
    let mut followers = JoinSet::new();
    let mut ticks = tokio::time::interval(SOURCES_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
            Some(_) = followers.join_next() => continue,
        }
        let present = match catalog.store.sources().await {
            Ok(sources) => sources,
            Err(error) => {
                warn!(%error, "reading the sources failed");
                continue;
            }
        };
        let wanted: HashMap<_, _> = present
            .into_iter()
            .filter(|source| source.follow)
            .map(|source| (source.id.clone(), source))
            .collect();
        followed.retain(|id, (source, cancel)| {
            let same = wanted.get(id) == Some(source);
            if !same {
                cancel.cancel();
            }
            same
        });
        for (id, source) in wanted {
            if followed.contains_key(&id) {
                continue;
            }
            let rules = match catalog.intake.rules(&source) {
                Ok(rules) => rules,
                Err(error) => {
                    warn!(source_id = id, %error, "a source cannot be followed");
                    continue;
                }
            };
            info!(source_id = id, root = %source.root.display(), layout = source.layout, "following a source");
            let cancel = stop.child_token();
            let jobs = catalog.jobs.clone();
            let first_look = {
                let id = id.clone();
                move || import_once(jobs, id)
            };
            followers.spawn(follow(
                Arc::clone(&catalog.intake),
                rules,
                first_look,
                cancel.clone(),
            ));
            followed.insert(id, (source, cancel));
        }
    }
    while followers.join_next().await.is_some() {}
}

/// Imports a source by a job, which anybody can watch, and waits for its end.
async fn import_once(jobs: Jobs, source_id: String) {
    let ended = async {
        let mut job = jobs.submit(import_of(source_id.clone(), "serve")).await?;
        while !job.state.is_terminal() && !jobs.draining().is_cancelled() {
            job = jobs.wait(job, WAIT).await?;
        }
        Ok::<_, JobsError>(())
    };
    if let Err(error) = ended.await {
        warn!(source_id, %error, "importing a source failed");
    }
}

/// The job that imports a source.
pub(super) fn import_of(source_id: String, created_by: &str) -> Submission {
    Submission {
        job_id: None,
        spec: JobSpec::Import(ImportSpec { source_id }),
        priority: PRIORITY_BACKGROUND,
        created_by: created_by.to_owned(),
        labels: BTreeMap::new(),
        retry_of: String::new(),
        request: None,
    }
}
