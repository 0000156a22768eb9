//! Lists of jobs, by what they are and who asked for them.

use std::collections::BTreeMap;

use super::error::to_json;
use super::job_rows::{JobRow, columns};
use super::statement::{Statement, sql};
use super::{Page, Store, StoreError};
use crate::domain::camera::CameraId;
use crate::domain::job::{Job, JobKind, JobState};

/// Which jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Any of these kinds; empty for all.
    pub kinds: Vec<JobKind>,
    /// Any of these states; empty for all.
    pub states: Vec<JobState>,
    /// Of this camera.
    pub camera_id: Option<String>,
    /// Runs of this policy.
    pub policy_id: Option<String>,
    /// On this destination.
    pub destination_id: Option<String>,
    /// Asked for by.
    pub created_by: Option<String>,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
}

impl JobFilter {
    /// Whether `job` passes; the same rule that the database applies.
    pub fn matches(&self, job: &Job) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&job.spec.kind()))
            && (self.states.is_empty() || self.states.contains(&job.state))
            && self
                .camera_id
                .as_deref()
                .is_none_or(|id| job.spec.camera().map(CameraId::as_str) == Some(id))
            && self
                .policy_id
                .as_deref()
                .is_none_or(|id| job.spec.policy_id() == id)
            && self
                .destination_id
                .as_deref()
                .is_none_or(|id| job.spec.destination_id() == id)
            && self
                .created_by
                .as_deref()
                .is_none_or(|who| job.created_by == who)
            && self
                .labels
                .iter()
                .all(|(key, value)| job.labels.get(key) == Some(value))
    }
}

impl Store {
    /// A page of jobs, newest first, and where the next page begins.
    pub async fn jobs(
        &self,
        filter: &JobFilter,
        page: &Page,
    ) -> Result<(Vec<Job>, Option<(i64, String)>), StoreError> {
        let mut query = sql(concat!("SELECT ", columns!(), " FROM jobs WHERE 1 = 1"));
        if !filter.kinds.is_empty() {
            let names: Vec<_> = filter.kinds.iter().map(|kind| kind.as_str()).collect();
            query
                .push(" AND kind IN (SELECT value FROM json_each(")
                .push_bind(to_json(&names))
                .push("))");
        }
        if !filter.states.is_empty() {
            let names: Vec<_> = filter.states.iter().map(|state| state.as_str()).collect();
            query
                .push(" AND state IN (SELECT value FROM json_each(")
                .push_bind(to_json(&names))
                .push("))");
        }
        if let Some(camera_id) = &filter.camera_id {
            query.push(" AND camera_id = ").push_bind(camera_id);
        }
        if let Some(policy_id) = &filter.policy_id {
            query.push(" AND policy_id = ").push_bind(policy_id);
        }
        if let Some(destination_id) = &filter.destination_id {
            query
                .push(" AND destination_id = ")
                .push_bind(destination_id);
        }
        if let Some(created_by) = &filter.created_by {
            query.push(" AND created_by = ").push_bind(created_by);
        }
        push_labels(&mut query, &filter.labels);
        page.end(&mut query, "create_time_us");
        let mut rows: Vec<JobRow> = query.fetch_all(&mut self.read().await?).await?;
        let next = page.cut(&mut rows, |row| (row.create_time_us, row.id.clone()));
        Ok((
            rows.into_iter()
                .map(Job::try_from)
                .collect::<Result<_, _>>()?,
            next,
        ))
    }
}

/// Adds the condition that a row's `labels` hold all of `labels`.
pub(super) fn push_labels(query: &mut Statement, labels: &BTreeMap<String, String>) {
    for (key, value) in labels {
        query
            .push(" AND EXISTS (SELECT 1 FROM json_each(labels) AS label WHERE label.key = ")
            .push_bind(key.clone())
            .push(" AND label.value = ")
            .push_bind(value.clone())
            .push(")");
    }
}
