//! Backups as the contract's messages, and back.

use super::convert::{int64, timestamp, window};
use crate::domain::backup::alert::{AlertChange, AlertKind};
use crate::domain::backup::object::{
    BackupCheck, BackupFault, BackupFaultKind, BackupObject, ObjectState,
};
use crate::domain::backup::run::{BackupRun, BackupVerification, RestoreSummary};
use crate::domain::camera::CameraId;
use crate::proto;

/// A check on the wire.
pub(super) fn check(check: BackupCheck) -> proto::BackupCheck {
    match check {
        BackupCheck::Size => proto::BackupCheck::Size,
        BackupCheck::Hash => proto::BackupCheck::Hash,
        BackupCheck::ReadBack => proto::BackupCheck::ReadBack,
    }
}

/// An object's state on the wire.
pub(super) fn object_state(state: ObjectState) -> proto::BackupObjectState {
    match state {
        ObjectState::Present => proto::BackupObjectState::Present,
        ObjectState::Missing => proto::BackupObjectState::Missing,
        ObjectState::Changed => proto::BackupObjectState::Changed,
    }
}

fn fault_kind(kind: BackupFaultKind) -> proto::BackupFaultKind {
    match kind {
        BackupFaultKind::SourceMissing => proto::BackupFaultKind::SourceMissing,
        BackupFaultKind::SourceUnreadable => proto::BackupFaultKind::SourceUnreadable,
        BackupFaultKind::TransferFailed => proto::BackupFaultKind::TransferFailed,
        BackupFaultKind::CheckFailed => proto::BackupFaultKind::CheckFailed,
        BackupFaultKind::ObjectMissing => proto::BackupFaultKind::ObjectMissing,
        BackupFaultKind::ObjectChanged => proto::BackupFaultKind::ObjectChanged,
        BackupFaultKind::ObjectUnknown => proto::BackupFaultKind::ObjectUnknown,
        BackupFaultKind::NameUnsafe => proto::BackupFaultKind::NameUnsafe,
        BackupFaultKind::NameTaken => proto::BackupFaultKind::NameTaken,
    }
}

/// An alert on the wire, as it stands after a change.
pub(super) fn alert(change: AlertChange) -> proto::BackupAlert {
    let (alert, cleared) = match change {
        AlertChange::Raised(alert) | AlertChange::Updated(alert) => (alert, false),
        AlertChange::Cleared(alert) => (alert, true),
    };
    let kind = match alert.kind {
        AlertKind::PolicyOverdue => proto::BackupAlertKind::PolicyOverdue,
        AlertKind::DestinationPaused => proto::BackupAlertKind::DestinationPaused,
        AlertKind::FootageAtRisk => proto::BackupAlertKind::FootageAtRisk,
    };
    proto::BackupAlert {
        kind: kind.into(),
        policy_id: alert.policy_id,
        destination_id: alert.destination_id,
        since_time: Some(timestamp(alert.since)),
        message: alert.message,
        cleared,
    }
}

impl From<BackupObject> for proto::BackupObject {
    fn from(object: BackupObject) -> Self {
        Self {
            destination_id: object.destination_id,
            segment_id: object.segment_id,
            camera_id: CameraId::into(object.camera_id),
            window: Some(window(object.window)),
            remote_path: object.remote_path,
            size_bytes: int64(object.size_bytes),
            sha256: object.sha256,
            state: object_state(object.state).into(),
            check: check(object.check).into(),
            check_time: Some(timestamp(object.check_time)),
            create_time: Some(timestamp(object.create_time)),
            job_id: object.job_id,
            evidence: object.evidence,
            locked_until_time: object.locked_until_time.map(timestamp),
        }
    }
}

impl From<BackupFault> for proto::BackupFault {
    fn from(fault: BackupFault) -> Self {
        Self {
            kind: fault_kind(fault.kind).into(),
            segment_id: fault.segment_id,
            camera_id: fault.camera_id,
            remote_path: fault.remote_path,
            expected_size_bytes: fault.expected_size_bytes.map(int64),
            found_size_bytes: fault.found_size_bytes.map(int64),
            expected_sha256: fault.expected_sha256,
            found_sha256: fault.found_sha256,
            message: fault.message,
        }
    }
}

fn faults(faults: Vec<BackupFault>) -> Vec<proto::BackupFault> {
    faults.into_iter().map(Into::into).collect()
}

impl From<BackupRun> for proto::BackupRun {
    fn from(run: BackupRun) -> Self {
        Self {
            nothing_to_do: run.is_nothing_to_do(),
            job_id: run.job_id,
            policy_id: run.policy_id,
            destination_id: run.destination_id,
            window: run.window.map(window),
            files_selected: int64(run.files_selected),
            files_present: int64(run.files_present),
            files_sent: int64(run.files_sent),
            files_failed: int64(run.files_failed),
            bytes_sent: int64(run.bytes_sent),
            bytes_moved: int64(run.bytes_moved),
            retries: int64(run.retries),
            files_removed: int64(run.files_removed),
            bytes_removed: int64(run.bytes_removed),
            faults: faults(run.faults),
            ledger_path: run.ledger_path,
        }
    }
}

impl From<BackupVerification> for proto::BackupVerification {
    fn from(found: BackupVerification) -> Self {
        Self {
            intact: found.is_intact(),
            destination_id: found.destination_id,
            window: found.window.map(window),
            check: check(found.check).into(),
            objects_checked: int64(found.objects_checked),
            bytes_read: int64(found.bytes_read),
            objects_missing: int64(found.objects_missing),
            objects_changed: int64(found.objects_changed),
            objects_unknown: int64(found.objects_unknown),
            objects_unreadable: int64(found.objects_unreadable),
            faults: faults(found.faults),
            verify_time: Some(timestamp(found.verify_time)),
        }
    }
}

impl From<RestoreSummary> for proto::RestoreSummary {
    fn from(restored: RestoreSummary) -> Self {
        Self {
            destination_id: restored.destination_id,
            window: restored.window.map(window),
            folder: restored.folder,
            files_selected: int64(restored.files_selected),
            files_restored: int64(restored.files_restored),
            files_present: int64(restored.files_present),
            files_failed: int64(restored.files_failed),
            bytes_restored: int64(restored.bytes_restored),
            segments_registered: int64(restored.segments_registered),
            faults: faults(restored.faults),
        }
    }
}
