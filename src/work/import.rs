//! Import jobs: a whole source into the catalog.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::intake::Intake;
use super::look::{self, LookError, Scope};
use super::{Attempt, Done, Work, WorkError};
use crate::domain::job::{JobResult, JobSpec, Notice, Progress, Reason};
use crate::repository::StoreError;

/// Reads sources into the catalog. Repeating an import reads only what changed; an interrupted one keeps what it took
/// in.
pub struct ImportWork {
    intake: Arc<Intake>,
}

impl ImportWork {
    /// Imports through `intake`.
    pub fn new(intake: Arc<Intake>) -> Self {
        Self { intake }
    }

    async fn import(&self, attempt: Attempt) -> Result<Done, WorkError> {
        let JobSpec::Import(spec) = &attempt.spec else {
            return Err(WorkError::Failed(Notice::new(
                Reason::Internal,
                "not an import",
            )));
        };
        let source = self
            .intake
            .store()
            .source(&spec.source_id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| {
                WorkError::Failed(Notice::new(
                    Reason::SourceNotFound,
                    format!("source {} not found", spec.source_id),
                ))
            })?;
        let rules = self.intake.rules(&source).map_err(|error| {
            WorkError::Failed(Notice::new(Reason::SourceNotFound, error.to_string()))
        })?;

        attempt.report(Progress {
            phase: "counting".to_owned(),
            ..Progress::default()
        });
        let (files_total, bytes_total) = look::count(&rules, &attempt.cancel)
            .await
            .map_err(look_failed)?;
        let reading = Progress {
            phase: "reading".to_owned(),
            files_total,
            bytes_total,
            fraction: Some(0.0),
            ..Progress::default()
        };
        attempt.report(reading.clone());
        let mut found = look::look(&self.intake, &rules, Scope::All, &attempt.cancel, |step| {
            attempt.report(Progress {
                files_done: step.files_done,
                bytes_done: step.bytes_done,
                fraction: Some(
                    step.files_done as f64 / files_total.max(step.files_done).max(1) as f64,
                ),
                current_item: step.current_item,
                ..reading.clone()
            });
        })
        .await
        .map_err(look_failed)?;
        attempt.report(Progress {
            phase: "looking for vanished files".to_owned(),
            ..reading
        });
        look::note_vanished(&self.intake, &rules, &mut found, &attempt.cancel)
            .await
            .map_err(look_failed)?;

        let summary = found.summary;
        let mut warnings = Vec::new();
        if summary.files_left_out > 0 {
            warnings.push(
                Notice::new(
                    Reason::FilesLeftOut,
                    format!("{} files were left out", summary.files_left_out),
                )
                .with("files_left_out", summary.files_left_out.to_string()),
            );
        }
        Ok(Done {
            result: JobResult::Import(summary),
            warnings,
        })
    }
}

impl Work for ImportWork {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, Result<Done, WorkError>> {
        self.import(attempt).boxed()
    }
}

fn store_failed(error: StoreError) -> WorkError {
    WorkError::Retry(Notice::new(
        Reason::Internal,
        format!("the catalog cannot be used: {error}"),
    ))
}

fn look_failed(error: LookError) -> WorkError {
    match error {
        LookError::Stopped => WorkError::Stopped,
        LookError::Store(error) => store_failed(error),
        LookError::Scan(error) => {
            let cause = std::error::Error::source(&error)
                .map_or_else(String::new, |cause| format!(": {cause}"));
            WorkError::Failed(Notice::new(
                Reason::SourceNotFound,
                format!("{error}{cause}"),
            ))
        }
        LookError::Thread(error) => {
            WorkError::Retry(Notice::new(Reason::Internal, error.to_string()))
        }
    }
}
