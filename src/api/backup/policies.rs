//! Policies: created, listed, changed, deleted.

use chrono::{DateTime, Utc};

use super::{read_policy, require_cameras};
use crate::api::Services;
use crate::api::catalog::unchecked;
use crate::api::convert::{etag_revision, revision_etag};
use crate::api::convert_policy;
use crate::api::fields::Fields;
use crate::api::job::request_key;
use crate::api::page::{Tokens, fit, page_size};
use crate::api::status::ApiError;
use crate::api::update_mask::{self, Rules};
use crate::clock;
use crate::domain::backup::policy::Policy;
use crate::domain::backup::schedule::OVERDUE_GRACE;
use crate::domain::id;
use crate::jobs::JobsError;
use crate::proto;
use crate::repository::{DeletedPolicy, InsertedPolicy, NextRun, PolicyFilter, UpdatedPolicy};

const UPDATES: Rules = Rules {
    message: "Policy",
    fixed: &["id", "status", "create_time", "update_time", "etag"],
    by_field: &[],
};

/// How often a change is made anew because another one came first.
const UPDATE_ATTEMPTS: u32 = 8;

pub(super) async fn create(
    services: &Services,
    mut asked: proto::CreatePolicyRequest,
) -> Result<proto::Policy, ApiError> {
    let now = clock::now();
    let mut fields = Fields::default();
    fields.chosen_id("policy_id", id::POLICY, &asked.policy_id);
    let request_id = fields.request_id(&std::mem::take(&mut asked.request_id));
    let request = request_key(request_id, &asked);
    let id = if asked.policy_id.is_empty() {
        id::new(id::POLICY)
    } else {
        asked.policy_id
    };
    if asked.policy.is_none() {
        fields.wrong("policy", "is required");
    }
    let read = asked
        .policy
        .and_then(|policy| read_policy::policy(&mut fields, id, policy, None, now));
    fields.check()?;
    let mut new = read.ok_or_else(|| unchecked("policy"))?;
    let destination_id = new.destination_id.clone();
    services
        .destination("policy.destination_id", &destination_id)
        .await?;
    require_cameras(services, &new.camera_ids).await?;
    if new.enabled {
        new.status.next_run_time = new.schedule.first_due(now);
    }
    match services.store.insert_policy(&new, request.as_ref()).await? {
        InsertedPolicy::New(made) | InsertedPolicy::Existing(made) => {
            Ok(convert_policy::policy(*made, now))
        }
        InsertedPolicy::RequestIdReused => Err(JobsError::RequestIdReused.into()),
        InsertedPolicy::IdTaken => Err(ApiError::Taken {
            kind: "policy",
            name: new.id,
        }),
        InsertedPolicy::NoDestination => Err(ApiError::destination_not_found(&destination_id)),
    }
}

pub(super) async fn get(services: &Services, id: &str) -> Result<proto::Policy, ApiError> {
    let policy = services.policy("policy_id", id).await?;
    Ok(convert_policy::policy(policy, clock::now()))
}

pub(super) async fn list(
    services: &Services,
    mut request: proto::ListPoliciesRequest,
) -> Result<proto::ListPoliciesResponse, ApiError> {
    let (asked_size, page_token) = (
        std::mem::take(&mut request.page_size),
        std::mem::take(&mut request.page_token),
    );
    let tokens = Tokens::of("ListPolicies", &request);
    let now = clock::now();
    let mut fields = Fields::default();
    let destination_id = fields.text("destination_id", request.destination_id);
    let filter = PolicyFilter {
        destination_id: (!destination_id.is_empty()).then_some(destination_id),
        overdue_at: request.overdue_only.then(|| now - OVERDUE_GRACE),
    };
    let size = page_size(&mut fields, asked_size);
    fields.check()?;
    let page = tokens.page(size, &page_token)?;
    let (policies, next) = services.store.policies(&filter, &page).await?;
    let row = |policy: Policy| {
        let key = (policy.create_time.timestamp_micros(), policy.id.clone());
        (key, convert_policy::policy(policy, now))
    };
    let (policies, next) = fit(policies.into_iter().map(row).collect(), next);
    Ok(proto::ListPoliciesResponse {
        policies,
        next_page_token: tokens.token(next),
    })
}

pub(super) async fn update(
    services: &Services,
    request: proto::UpdatePolicyRequest,
) -> Result<proto::Policy, ApiError> {
    let Some(asked) = request.policy else {
        return Err(ApiError::field("policy", "is required"));
    };
    let stale = || ApiError::Stale {
        kind: "policy",
        name: asked.id.clone(),
    };
    for _ in 0..UPDATE_ATTEMPTS {
        let now = clock::now();
        let present = services.policy("policy.id", &asked.id).await?;
        if !asked.etag.is_empty() && asked.etag != revision_etag(present.revision) {
            return Err(stale());
        }
        let mut fields = Fields::default();
        let shown = convert_policy::policy(present.clone(), now);
        let mask = request.update_mask.as_ref();
        let message = update_mask::updated(&mut fields, &UPDATES, &shown, &asked, mask)?;
        let read = read_policy::policy(
            &mut fields,
            present.id.clone(),
            message,
            Some(&present.destination_id),
            now,
        );
        fields.check()?;
        let read = read.ok_or_else(|| unchecked("policy"))?;
        // A camera that was deleted since the policy named it must not stand in the way of other changes.
        let mut added = read.camera_ids.clone();
        added.retain(|id| !present.camera_ids.contains(id));
        require_cameras(services, &added).await?;
        let next_run = next_run(&present, &read, now);
        let new = Policy {
            create_time: present.create_time,
            revision: present.revision,
            status: present.status,
            ..read
        };
        match services.store.update_policy(&new, next_run, now).await? {
            UpdatedPolicy::Updated(updated) => return Ok(convert_policy::policy(*updated, now)),
            UpdatedPolicy::NotFound => return Err(ApiError::policy_not_found(&new.id)),
            // Read again: the etag decides whether the caller minds what came in between.
            UpdatedPolicy::Stale => {}
        }
    }
    Err(stale())
}

pub(super) async fn delete(
    services: &Services,
    request: proto::DeletePolicyRequest,
) -> Result<(), ApiError> {
    let id = services.policy("policy_id", &request.policy_id).await?.id;
    let stale = || ApiError::Stale {
        kind: "policy",
        name: id.clone(),
    };
    let revision = match request.etag.as_str() {
        "" => None,
        etag => Some(etag_revision(etag).ok_or_else(stale)?),
    };
    match services.store.delete_policy(&id, revision).await? {
        DeletedPolicy::Deleted => Ok(()),
        DeletedPolicy::NotFound => Err(ApiError::policy_not_found(&id)),
        DeletedPolicy::Stale => Err(stale()),
    }
}

/// What a change does to the moment of the next run.
fn next_run(before: &Policy, after: &Policy, now: DateTime<Utc>) -> NextRun {
    if !after.enabled {
        return NextRun::Never;
    }
    if before.enabled && before.schedule == after.schedule {
        return NextRun::Keep;
    }
    after
        .schedule
        .due_after_change(before.status.last_run_time, now)
        .map_or(NextRun::Never, NextRun::At)
}
