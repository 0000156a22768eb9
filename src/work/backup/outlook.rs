//! What a policy has still to send after a run, and what of it will not wait for the next one.

use chrono::{DateTime, Utc};

use super::{BackupError, BackupWork};
use crate::clock;
use crate::domain::backup::policy::Policy;
use crate::domain::backup::risk::at_risk;
use crate::domain::backup::run::{BackupSelection, BackupSpec};
use crate::repository::RunEnd;

/// Segments that are read from the catalog at a time.
const PAGE: u32 = 1000;

impl BackupWork {
    /// Notes with its policy how a run ended.
    pub(super) async fn note_end(
        &self,
        job_id: &str,
        spec: &BackupSpec,
        is_complete: bool,
    ) -> Result<(), BackupError> {
        if spec.policy_id.is_empty() {
            return Ok(());
        }
        let Some(policy) = self.store.policy(&spec.policy_id).await? else {
            return Ok(());
        };
        let now = clock::now();
        let totals = self
            .store
            .selection_totals(&spec.destination_id, &spec.selection)
            .await?;
        let files_at_risk = if totals.files_unsent == 0 {
            0
        } else {
            self.files_at_risk(&policy, &spec.selection, now).await?
        };
        let end = RunEnd {
            job_id: job_id.to_owned(),
            due_time: spec.due_time,
            end_time: now,
            is_complete,
            files_unsent: totals.files_unsent,
            bytes_unsent: totals.bytes_unsent,
            files_at_risk,
        };
        Ok(self.store.note_run_end(&spec.policy_id, &end).await?)
    }

    /// How many segments that are not sent their recorder will have deleted before the next run of the policy.
    pub(super) async fn files_at_risk(
        &self,
        policy: &Policy,
        selection: &BackupSelection,
        now: DateTime<Utc>,
    ) -> Result<u64, BackupError> {
        let frontier = self.store.deletion_frontier().await?;
        let next_run = policy.status.next_run_time.unwrap_or(now).max(now);
        let Some(furthest) = frontier.values().max().map(|end| *end + (next_run - now)) else {
            return Ok(0);
        };
        let mut count = 0;
        let mut after: Option<(DateTime<Utc>, String)> = None;
        loop {
            let page = self
                .store
                .unsent_segments(
                    &policy.destination_id,
                    selection,
                    after.as_ref().map(|(start, id)| (*start, id.as_str())),
                    PAGE,
                )
                .await?;
            let Some(last) = page.last() else {
                return Ok(count);
            };
            let unsent = page
                .iter()
                .map(|segment| (&segment.camera_id, segment.window.end()));
            count += at_risk(unsent, &frontier, now, next_run);
            if last.window.start() > furthest {
                return Ok(count);
            }
            after = Some((last.window.start(), last.segment_id.clone()));
        }
    }
}
