//! Runs of backup policies: by the schedule, and by hand.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::runner::Chain;
use super::{Jobs, JobsError, PRIORITY_BACKGROUND, PRIORITY_INTERACTIVE, Submission};
use crate::clock;
use crate::domain::backup::policy::Policy;
use crate::domain::backup::run::BackupSpec;
use crate::domain::job::{Job, JobSpec, RequestKey};
use crate::repository::InsertedJob;

/// Policies that are started in one look.
const AT_ONCE: u32 = 100;

/// Who asks for a run that the schedule asks for.
const SCHEDULE: &str = "schedule";

/// What holds for runs whose policy does not say otherwise.
#[derive(Clone, Copy, Debug)]
pub struct RunDefaults {
    /// How long a run may take.
    pub run_timeout: Duration,
}

/// Makes jobs of policies that have come due, until it is told to stop.
pub struct Scheduler {
    /// Where the jobs go.
    pub jobs: Jobs,
    /// How often to look.
    pub every: Duration,
    /// What policies leave open.
    pub defaults: RunDefaults,
}

impl Scheduler {
    /// Looks for policies that are due until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {
                    if let Err(error) = self.start_due().await {
                        warn!(error = %Chain(&error), "starting the policies that are due failed");
                    }
                }
            }
        }
    }

    async fn start_due(&self) -> Result<(), JobsError> {
        let store = &self.jobs.shared.store;
        let now = store.present(clock::now()).await?;
        self.bring_forward(now).await?;
        for policy in store.due_policies(now, AT_ONCE).await? {
            let Some(due) = policy.status.next_run_time else {
                continue;
            };
            let next = policy.schedule.next_after_run(due, now);
            let submission = run_of(&policy, Some(due), self.defaults, SCHEDULE, None, now);
            match self.jobs.submit_run(submission, due, next).await {
                Ok(Some(job)) => info!(policy_id = policy.id, job_id = job.id, "a run is due"),
                // Somebody else started it, or a run is under way: one that follows makes up for this moment.
                Ok(None) | Err(JobsError::PolicyRunning { .. }) => {}
                Err(error) => {
                    warn!(policy_id = policy.id, error = %Chain(&error), "a run could not be started");
                }
            }
        }
        Ok(())
    }

    /// Brings forward runs that only a clock which was far ahead can have put off.
    async fn bring_forward(&self, now: DateTime<Utc>) -> Result<(), JobsError> {
        let store = &self.jobs.shared.store;
        for policy in store.policies_due_after(now).await? {
            let Some(stored) = policy.status.next_run_time else {
                continue;
            };
            let due = policy.schedule.believable_due(stored, now);
            if due != stored && store.move_next_run(&policy.id, stored, due).await? {
                warn!(policy_id = policy.id, %stored, %due, "the next run was put off by a clock that was ahead; it is brought forward");
            }
        }
        Ok(())
    }
}

/// The job of a run of `policy` that begins at `now`. `due` is `None` for a run by hand.
pub fn run_of(
    policy: &Policy,
    due: Option<DateTime<Utc>>,
    defaults: RunDefaults,
    created_by: &str,
    request: Option<RequestKey>,
    now: DateTime<Utc>,
) -> Submission {
    let run_timeout = policy.run_timeout.unwrap_or(defaults.run_timeout);
    Submission {
        job_id: None,
        spec: JobSpec::Backup(BackupSpec {
            destination_id: policy.destination_id.clone(),
            policy_id: policy.id.clone(),
            due_time: due,
            selection: policy.selection(now),
            check: policy.check,
            bandwidth_limit_bytes_per_second: 0,
            run_timeout_s: run_timeout.as_secs(),
            created_by: created_by.to_owned(),
            labels: policy.labels.clone(),
        }),
        priority: if due.is_some() {
            PRIORITY_BACKGROUND
        } else {
            PRIORITY_INTERACTIVE
        },
        created_by: created_by.to_owned(),
        labels: policy.labels.clone(),
        retry_of: String::new(),
        request,
    }
}

impl Jobs {
    /// Writes the run of a policy that was due at `due`, and that it is due next at `next`. `None`: its due moment is
    /// another one by now, so somebody else wrote this run.
    pub(super) async fn submit_run(
        &self,
        submission: Submission,
        due: DateTime<Utc>,
        next: Option<DateTime<Utc>>,
    ) -> Result<Option<Arc<Job>>, JobsError> {
        let new = self.new_job(submission)?;
        let limit = self.shared.settings.queue_limit;
        let claimed = self
            .shared
            .store
            .claim_run(new.spec.policy_id(), due, next, &new, limit, clock::now())
            .await?;
        match claimed {
            Some(inserted) => {
                if let InsertedJob::New(job) = &inserted {
                    self.shared.announce(job);
                }
                self.written(inserted, &new).map(Some)
            }
            None => Ok(None),
        }
    }
}
