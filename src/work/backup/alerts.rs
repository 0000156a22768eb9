//! Watches over policies and destinations, whether or not the scheduler runs, and tells what somebody has to look at.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{BackupError, BackupWork};
use crate::clock;
use crate::domain::backup::alert::{Alert, AlertChange, PresentAlerts, changes};
use crate::domain::backup::destination::Destination;
use crate::domain::backup::policy::{Policy, PolicyStatus};
use crate::repository::{DestinationFilter, Page, PolicyFilter, Store, StoreError};

/// How often to look at policies and destinations: a few rows.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often to compare catalog and ledger for footage at risk, which may read a whole backlog.
const RISK_EVERY: Duration = Duration::from_secs(300);
/// Rows read at a time.
const PAGE_SIZE: u32 = 1000;

/// Finds the alerts that are present and tells whoever subscribes.
pub struct AlertWatch {
    backups: Arc<BackupWork>,
    is_scheduled: bool,
    present: watch::Sender<PresentAlerts>,
    /// What was found at risk, by policy.
    risks: HashMap<String, Risk>,
}

/// Footage of a policy that is at risk, as it was found last.
struct Risk {
    looked_at: Instant,
    /// The policy as it was then.
    revision: u64,
    status: PolicyStatus,
    files: u64,
    /// When the first of it was found.
    since: DateTime<Utc>,
}

impl AlertWatch {
    /// Watches over what is in the store of `backups`. `is_scheduled`: whether this server starts runs by itself.
    pub fn new(backups: Arc<BackupWork>, is_scheduled: bool) -> Self {
        Self {
            backups,
            is_scheduled,
            present: watch::Sender::new(PresentAlerts::default()),
            risks: HashMap::new(),
        }
    }

    /// The alerts that are present, now and whenever they change.
    pub fn subscribe(&self) -> watch::Receiver<PresentAlerts> {
        self.present.subscribe()
    }

    /// Looks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let look = async {
                ticks.tick().await;
                // What was found stays as it was while the database does not answer.
                match self.find().await {
                    Ok(found) => self.tell(found),
                    Err(error) => warn!(%error, "looking for alerts of backups failed"),
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = look => {}
            }
        }
    }

    async fn find(&mut self) -> Result<Vec<Alert>, StoreError> {
        let store = &self.backups.store;
        let destinations = destinations(store).await?;
        let policies = policies(store).await?;
        let now = clock::now();
        let mut found: Vec<Alert> = destinations.values().filter_map(Alert::paused).collect();
        found.extend(policies.iter().filter_map(|policy| {
            let destination = destinations.get(&policy.destination_id);
            Alert::overdue(policy, destination, self.is_scheduled, now)
        }));
        self.risks.retain(|id, _| {
            policies
                .iter()
                .any(|policy| policy.enabled && policy.id == *id)
        });
        for policy in policies.iter().filter(|policy| policy.enabled) {
            if let Err(error) = self.look_for_risk(policy, now).await {
                warn!(policy_id = policy.id, %error, "looking for footage at risk failed");
            }
            if let Some(risk) = self.risks.get(&policy.id).filter(|risk| risk.files > 0) {
                found.push(Alert::at_risk(policy, risk.files, risk.since));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Brings up to date what of a policy is at risk, if it is time to.
    async fn look_for_risk(
        &mut self,
        policy: &Policy,
        now: DateTime<Utc>,
    ) -> Result<(), BackupError> {
        let last = self.risks.get(&policy.id);
        let is_known = last.is_some_and(|risk| {
            // A run that has just sent what was at risk ends the alert at once, and one that did not raises it.
            let is_concerned = risk.files > 0 || policy.status.files_at_risk > 0;
            let has_changed = risk.revision != policy.revision || risk.status != policy.status;
            risk.looked_at.elapsed() < RISK_EVERY && !(is_concerned && has_changed)
        });
        if is_known {
            return Ok(());
        }
        let since = last
            .filter(|risk| risk.files > 0)
            .map_or(now, |risk| risk.since);
        let files = self
            .backups
            .files_at_risk(policy, &policy.selection(now), now)
            .await?;
        let risk = Risk {
            looked_at: Instant::now(),
            revision: policy.revision,
            status: policy.status.clone(),
            files,
            since,
        };
        self.risks.insert(policy.id.clone(), risk);
        Ok(())
    }

    fn tell(&self, found: Vec<Alert>) {
        let changes = changes(&self.present.borrow(), &found);
        if changes.is_empty() {
            return;
        }
        for change in &changes {
            match change {
                AlertChange::Raised(alert) => warn!(
                    kind = alert.kind.as_str(),
                    policy_id = alert.policy_id,
                    destination_id = alert.destination_id,
                    since = %alert.since,
                    "{}",
                    alert.message
                ),
                AlertChange::Cleared(alert) => info!(
                    kind = alert.kind.as_str(),
                    policy_id = alert.policy_id,
                    destination_id = alert.destination_id,
                    "no longer: {}",
                    alert.message
                ),
                AlertChange::Updated(_) => {}
            }
        }
        self.present.send_replace(found.into());
    }
}

async fn policies(store: &Store) -> Result<Vec<Policy>, StoreError> {
    let (filter, mut after, mut all) = (PolicyFilter::default(), None, Vec::new());
    loop {
        let page = Page {
            size: PAGE_SIZE,
            after,
        };
        let (policies, next) = store.policies(&filter, &page).await?;
        all.extend(policies);
        after = next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// All destinations by their id.
async fn destinations(store: &Store) -> Result<HashMap<String, Destination>, StoreError> {
    let (filter, mut after, mut all) = (DestinationFilter::default(), None, HashMap::new());
    loop {
        let page = Page {
            size: PAGE_SIZE,
            after,
        };
        let (destinations, next) = store.destinations(&filter, &page).await?;
        all.extend(destinations.into_iter().map(|one| (one.id.clone(), one)));
        after = next;
        if after.is_none() {
            return Ok(all);
        }
    }
}
