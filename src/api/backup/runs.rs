//! Jobs on destinations: runs with and without a policy, verifications, restores.

use tonic::{Response, Status};

use super::read_selection::{check, folder, in_order, ledger_source, selection};
use super::require_cameras;
use crate::api::Services;
use crate::api::fields::Fields;
use crate::api::job::request_key;
use crate::api::status::ApiError;
use crate::clock;
use crate::domain::backup::run::{
    BackupSelection, BackupSpec, BackupVerificationSpec, LedgerSource, RestoreSpec,
};
use crate::domain::id;
use crate::domain::job::JobSpec;
use crate::jobs::{PRIORITY_INTERACTIVE, RunDefaults, Submission, run_of};
use crate::proto;

/// What a job gets from its caller, whatever it does.
type Answer = Result<Response<proto::Job>, Status>;

pub(super) async fn run_policy(services: &Services, mut asked: proto::RunPolicyRequest) -> Answer {
    let mut fields = Fields::default();
    fields.required("policy_id", &asked.policy_id);
    let wait = fields.wait(asked.wait.take());
    let request_id = fields.request_id(&std::mem::take(&mut asked.request_id));
    let created_by = fields.text("created_by", asked.created_by.clone());
    fields.check()?;
    let request = request_key(request_id, &asked);
    if let Some(earlier) = services.earlier(request.as_ref(), wait).await? {
        return Ok(earlier);
    }
    let policy = services.policy("policy_id", &asked.policy_id).await?;
    services
        .backups
        .ready(&policy.destination_id)
        .await
        .map_err(ApiError::from)?;
    let defaults = RunDefaults {
        run_timeout: services.backups.run_timeout(),
    };
    let submission = run_of(&policy, None, defaults, &created_by, request, clock::now());
    services.submit(submission, wait).await
}

pub(super) async fn create_backup(
    services: &Services,
    mut asked: proto::CreateBackupRequest,
) -> Answer {
    let mut fields = Fields::default();
    fields.required("destination_id", &asked.destination_id);
    let selection = selection(
        &mut fields,
        asked.start_time,
        asked.end_time,
        &asked.camera_ids,
        asked.evidence_only,
    );
    let check = check(&mut fields, "check", asked.check);
    let bandwidth = fields.not_negative(
        "bandwidth_limit_bytes_per_second",
        asked.bandwidth_limit_bytes_per_second,
    );
    fields.chosen_id("job_id", id::EXPORT, &asked.job_id);
    let wait = fields.wait(asked.wait.take());
    let request_id = fields.request_id(&std::mem::take(&mut asked.request_id));
    let labels = fields.labels("labels", asked.labels.clone());
    let created_by = fields.text("created_by", asked.created_by.clone());
    fields.check()?;
    in_order(selection.start, selection.end)?;
    let request = request_key(request_id, &asked);
    if let Some(earlier) = services.earlier(request.as_ref(), wait).await? {
        return Ok(earlier);
    }
    let destination = services
        .destination("destination_id", &asked.destination_id)
        .await?;
    services
        .backups
        .ready(&destination.id)
        .await
        .map_err(ApiError::from)?;
    require_cameras(services, &selection.camera_ids).await?;
    let totals = services
        .store
        .selection_totals(&destination.id, &selection)
        .await
        .map_err(ApiError::from)?;
    if totals.files_selected == 0 {
        return Err(ApiError::no_footage("no recorded footage in the requested range").into());
    }
    let spec = BackupSpec {
        destination_id: destination.id,
        policy_id: String::new(),
        due_time: None,
        selection,
        check,
        bandwidth_limit_bytes_per_second: bandwidth,
        run_timeout_s: services.backups.run_timeout().as_secs(),
        created_by: created_by.clone(),
        labels: labels.clone(),
    };
    let submission = Submission {
        job_id: Some(asked.job_id).filter(|id| !id.is_empty()),
        spec: JobSpec::Backup(spec),
        priority: PRIORITY_INTERACTIVE,
        created_by,
        labels,
        retry_of: String::new(),
        request,
    };
    services.submit(submission, wait).await
}

pub(super) async fn verify_backup(
    services: &Services,
    mut asked: proto::VerifyBackupRequest,
) -> Answer {
    let mut fields = Fields::default();
    fields.required("destination_id", &asked.destination_id);
    let selection = selection(
        &mut fields,
        asked.start_time,
        asked.end_time,
        &asked.camera_ids,
        false,
    );
    let check = check(&mut fields, "check", asked.check);
    let wait = fields.wait(asked.wait.take());
    let request_id = fields.request_id(&std::mem::take(&mut asked.request_id));
    let labels = fields.labels("labels", asked.labels.clone());
    let created_by = fields.text("created_by", asked.created_by.clone());
    fields.check()?;
    in_order(selection.start, selection.end)?;
    let request = request_key(request_id, &asked);
    if let Some(earlier) = services.earlier(request.as_ref(), wait).await? {
        return Ok(earlier);
    }
    let destination = services
        .destination("destination_id", &asked.destination_id)
        .await?;
    services
        .backups
        .readable(&destination.id)
        .await
        .map_err(ApiError::from)?;
    let submission = Submission {
        job_id: None,
        spec: JobSpec::VerifyBackup(BackupVerificationSpec {
            destination_id: destination.id,
            selection,
            check,
            find_unknown: asked.find_unknown,
        }),
        priority: PRIORITY_INTERACTIVE,
        created_by,
        labels,
        retry_of: String::new(),
        request,
    };
    services.submit(submission, wait).await
}

pub(super) async fn restore_backup(
    services: &Services,
    mut asked: proto::RestoreBackupRequest,
) -> Answer {
    let mut fields = Fields::default();
    fields.required("destination_id", &asked.destination_id);
    let selection = selection(
        &mut fields,
        asked.start_time,
        asked.end_time,
        &asked.camera_ids,
        false,
    );
    folder(&mut fields, &asked.folder);
    let ledger_source = ledger_source(&mut fields, asked.ledger_source);
    let wait = fields.wait(asked.wait.take());
    let request_id = fields.request_id(&std::mem::take(&mut asked.request_id));
    let labels = fields.labels("labels", asked.labels.clone());
    let created_by = fields.text("created_by", asked.created_by.clone());
    fields.check()?;
    in_order(selection.start, selection.end)?;
    let request = request_key(request_id, &asked);
    if let Some(earlier) = services.earlier(request.as_ref(), wait).await? {
        return Ok(earlier);
    }
    let destination = services
        .destination("destination_id", &asked.destination_id)
        .await?;
    services
        .backups
        .readable(&destination.id)
        .await
        .map_err(ApiError::from)?;
    require_objects(services, &destination.id, &selection, ledger_source).await?;
    let job_id = id::new(id::JOB);
    let spec = RestoreSpec {
        destination_id: destination.id,
        selection,
        folder: if asked.folder.is_empty() {
            job_id.clone()
        } else {
            asked.folder
        },
        register_segments: asked.register_segments.unwrap_or(true),
        ledger_source,
    };
    let submission = Submission {
        job_id: Some(job_id),
        spec: JobSpec::Restore(spec),
        priority: PRIORITY_INTERACTIVE,
        created_by,
        labels,
        retry_of: String::new(),
        request,
    };
    services.submit(submission, wait).await
}

/// Fails when this server's ledger is the one to go by and has nothing of the selection. What the destination's copy
/// has, only the job finds out.
async fn require_objects(
    services: &Services,
    destination_id: &str,
    selection: &BackupSelection,
    ledger_source: LedgerSource,
) -> Result<(), ApiError> {
    if ledger_source == LedgerSource::Destination {
        return Ok(());
    }
    let selected = services
        .store
        .object_totals(destination_id, selection)
        .await?;
    if selected.objects > 0 {
        return Ok(());
    }
    let is_ledger_empty = services
        .store
        .destination(destination_id)
        .await?
        .is_some_and(|destination| destination.status.object_count == 0);
    if ledger_source == LedgerSource::Either && is_ledger_empty {
        return Ok(());
    }
    Err(ApiError::no_footage(
        "the ledger has nothing of the selection",
    ))
}
