//! Comparing a destination with its ledger.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::run::{named, window};
use super::{BackupError, BackupWork, FAULTS_LISTED, reading_error};
use crate::clock;
use crate::domain::backup::destination::Destination;
use crate::domain::backup::naming::OWN_FOLDER;
use crate::domain::backup::object::{BackupFault, BackupFaultKind, BackupObject, ObjectState};
use crate::domain::backup::run::{BackupSelection, BackupVerification, BackupVerificationSpec};
use crate::domain::job::{JobResult, JobSpec, Notice, Progress, Reason};
use crate::packing::parse_sha256;
use crate::transfer::{Expected, Place, is_unfinished};
use crate::work::{Attempt, Done, Work, WorkError};

/// Objects that are checked in one go.
const AT_ONCE: usize = 500;

/// Objects of which the paths are read in one go.
const PATHS_AT_ONCE: u32 = 10_000;

/// Verifies destinations.
pub struct BackupVerificationWork {
    backups: Arc<BackupWork>,
}

impl BackupVerificationWork {
    /// Verifies the destinations of `backups`.
    pub fn new(backups: Arc<BackupWork>) -> Self {
        Self { backups }
    }
}

impl Work for BackupVerificationWork {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, Result<Done, WorkError>> {
        async move {
            let JobSpec::VerifyBackup(spec) = &attempt.spec else {
                return Err(WorkError::Failed(Notice::new(
                    Reason::Internal,
                    "not a verification of a destination",
                )));
            };
            let backups = &self.backups;
            let destination = backups
                .readable(&spec.destination_id)
                .await
                .map_err(reading_error)?;
            let found = match self.verify(&attempt, spec, &destination).await {
                Ok(found) => found,
                Err(error) => return Err(backups.reading_failed(&destination, error).await),
            };
            Ok(Done {
                warnings: warnings(found.objects_unreadable),
                result: JobResult::BackupVerification(Box::new(found)),
            })
        }
        .boxed()
    }
}

impl BackupVerificationWork {
    async fn verify(
        &self,
        attempt: &Attempt,
        spec: &BackupVerificationSpec,
        destination: &Destination,
    ) -> Result<BackupVerification, BackupError> {
        let backups = &self.backups;
        let place = backups.place(destination, &attempt.cancel).await?;
        let total = backups
            .store
            .object_totals(&spec.destination_id, &spec.selection)
            .await?;
        let mut found = BackupVerification {
            destination_id: spec.destination_id.clone(),
            window: window(&spec.selection, total.window),
            check: spec.check,
            objects_checked: 0,
            bytes_read: 0,
            objects_missing: 0,
            objects_changed: 0,
            objects_unknown: 0,
            objects_unreadable: 0,
            faults: Vec::new(),
            verify_time: clock::now(),
        };
        let mut after = None;
        loop {
            let objects = backups
                .store
                .objects_in_order(
                    &spec.destination_id,
                    &spec.selection,
                    after
                        .as_ref()
                        .map(|(start, id): &(DateTime<Utc>, String)| (*start, id.as_str())),
                    AT_ONCE as u32,
                )
                .await?;
            let Some(end) = objects.last() else {
                break;
            };
            after = Some((end.window.start(), end.segment_id.clone()));
            self.check(&place, objects, &mut found, attempt, total.objects)
                .await?;
        }
        if spec.find_unknown {
            self.find_unknown(&place, &mut found, attempt).await?;
        }
        found.verify_time = clock::now();
        Ok(found)
    }

    /// Checks some objects and writes down in the ledger how they are.
    async fn check(
        &self,
        place: &Place,
        objects: Vec<BackupObject>,
        found: &mut BackupVerification,
        attempt: &Attempt,
        files_total: u64,
    ) -> Result<(), BackupError> {
        let expected = objects
            .iter()
            .map(expected)
            .collect::<Result<Vec<_>, _>>()?;
        let checked = found.objects_checked;
        let mut bytes_here = 0;
        let before = found.bytes_read;
        let outcomes = place
            .check(&expected, found.check, &attempt.cancel, |bytes| {
                bytes_here = bytes;
                attempt.report(Progress {
                    phase: "verifying".to_owned(),
                    files_done: checked,
                    files_total,
                    bytes_done: before + bytes,
                    fraction: Some(checked as f64 / files_total.max(1) as f64),
                    ..Progress::default()
                });
            })
            .await?;
        found.bytes_read += bytes_here;
        let now = clock::now();
        let mut verdicts = Vec::with_capacity(objects.len());
        for (object, outcome) in objects.into_iter().zip(outcomes) {
            found.objects_checked += 1;
            let (state, check) = match outcome {
                Ok(check) => (ObjectState::Present, Some(check)),
                Err(fault) => {
                    let state = match fault.kind {
                        BackupFaultKind::ObjectMissing => {
                            found.objects_missing += 1;
                            ObjectState::Missing
                        }
                        BackupFaultKind::ObjectChanged | BackupFaultKind::CheckFailed => {
                            found.objects_changed += 1;
                            ObjectState::Changed
                        }
                        // That it could not be read says nothing of its bytes.
                        _ => {
                            found.objects_unreadable += 1;
                            object.state
                        }
                    };
                    let fault = named(fault_of(&object), fault, &object.remote_path);
                    note(found, fault);
                    (state, None)
                }
            };
            verdicts.push(BackupObject {
                state,
                check: check.unwrap_or(object.check),
                check_time: if check.is_some() {
                    now
                } else {
                    object.check_time
                },
                ..object
            });
        }
        self.backups.store.set_object_states(&verdicts).await?;
        attempt.report(Progress {
            phase: "verifying".to_owned(),
            files_done: found.objects_checked,
            files_total,
            bytes_done: found.bytes_read,
            fraction: Some(found.objects_checked as f64 / files_total.max(1) as f64),
            ..Progress::default()
        });
        Ok(())
    }

    /// Looks for files at the destination that the ledger does not know.
    async fn find_unknown(
        &self,
        place: &Place,
        found: &mut BackupVerification,
        attempt: &Attempt,
    ) -> Result<(), BackupError> {
        attempt.report(Progress {
            phase: "looking for unknown files".to_owned(),
            ..Progress::default()
        });
        let known = self.known_paths(&found.destination_id).await?;
        let own = format!("{OWN_FOLDER}/");
        place
            .list("", &attempt.cancel, |file| {
                if file.path.starts_with(&own)
                    || is_unfinished(&file.path)
                    || known.contains(&digest(&file.path))
                {
                    return Ok(());
                }
                found.objects_unknown += 1;
                let fault = BackupFault {
                    kind: BackupFaultKind::ObjectUnknown,
                    segment_id: String::new(),
                    camera_id: String::new(),
                    message: format!("{}: the ledger does not know this file", file.path),
                    remote_path: file.path,
                    expected_size_bytes: None,
                    found_size_bytes: Some(file.size_bytes),
                    expected_sha256: String::new(),
                    found_sha256: String::new(),
                };
                note(found, fault);
                Ok(())
            })
            .await?;
        Ok(())
    }

    /// Digests of all paths of the ledger: a listing cannot wait for the database, and millions of paths would take too
    /// much memory.
    async fn known_paths(&self, destination_id: &str) -> Result<HashSet<u64>, BackupError> {
        let mut known = HashSet::new();
        let mut after: Option<(DateTime<Utc>, String)> = None;
        loop {
            let objects = self
                .backups
                .store
                .objects_in_order(
                    destination_id,
                    &BackupSelection::default(),
                    after.as_ref().map(|(start, id)| (*start, id.as_str())),
                    PATHS_AT_ONCE,
                )
                .await?;
            let Some(last) = objects.last() else {
                return Ok(known);
            };
            after = Some((last.window.start(), last.segment_id.clone()));
            known.extend(objects.iter().map(|object| digest(&object.remote_path)));
        }
    }
}

fn warnings(objects_unreadable: u64) -> Vec<Notice> {
    let words = match objects_unreadable {
        0 => return Vec::new(),
        1 => "1 object could not be read back".to_owned(),
        count => format!("{count} objects could not be read back"),
    };
    vec![
        Notice::new(
            Reason::ObjectsUnreadable,
            format!("{words}; `faults` says which"),
        )
        .with("fault_count", objects_unreadable.to_string()),
    ]
}

fn digest(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(path.as_bytes());
    hasher.finish()
}

fn note(found: &mut BackupVerification, fault: BackupFault) {
    if found.faults.len() < FAULTS_LISTED {
        found.faults.push(fault);
    }
}

/// What an object should be at the destination.
pub(super) fn expected(object: &BackupObject) -> Result<Expected, BackupError> {
    Ok(Expected {
        path: object.remote_path.clone(),
        size_bytes: object.size_bytes,
        sha256: parse_sha256(&object.sha256).ok_or_else(|| {
            std::io::Error::other(format!(
                "the ledger's hash of {} is none",
                object.segment_id
            ))
        })?,
    })
}

fn fault_of(object: &BackupObject) -> BackupFault {
    BackupFault {
        kind: BackupFaultKind::ObjectMissing,
        segment_id: object.segment_id.clone(),
        camera_id: object.camera_id.to_string(),
        remote_path: object.remote_path.clone(),
        expected_size_bytes: Some(object.size_bytes),
        found_size_bytes: None,
        expected_sha256: object.sha256.clone(),
        found_sha256: String::new(),
        message: String::new(),
    }
}
