//! What jobs made, or would make, in words: one place for all kinds of jobs.

use std::path::Path;

use heldar_footage::proto::{Job, job};

use super::archive_report::{archive_lines, archive_plan_lines, verification_lines};
use super::clip_report::{clip_lines, clip_plan_lines};
use super::connection::Server;
use super::description;
use super::failure::CliError;
use super::{backup_report, import_report, json};

/// The result of a job, line by line. `file` is where it was fetched to, if it was.
pub fn result_lines(server: &Server, job: &Job, file: Option<&Path>) -> Vec<String> {
    match &job.result {
        Some(job::Result::Clip(clip)) => clip_lines(clip, &server.url_of(&clip.url), file),
        Some(job::Result::Archive(archive)) => {
            let url = server.url_of(&archive.url);
            archive_lines(archive, Some(&url), file)
        }
        Some(job::Result::ArchiveVerification(found)) => verification_lines(found),
        Some(job::Result::Import(summary)) => import_report::summary_lines(summary, false),
        Some(job::Result::Backup(run)) => backup_report::run_lines(run),
        Some(job::Result::BackupVerification(found)) => backup_report::verification_lines(found),
        Some(job::Result::Restore(summary)) => backup_report::restore_lines(summary),
        None => Vec::new(),
    }
}

/// Prints what a job would make.
///
/// # Errors
/// When the server's answer lacks it, or standard output cannot be written.
pub fn print_plan(job: &Job, as_json: bool) -> Result<(), CliError> {
    match &job.plan {
        Some(job::Plan::ClipPlan(plan)) if as_json => json::print("ClipPlan", plan),
        Some(job::Plan::ClipPlan(plan)) => description::print(&clip_plan_lines(plan)),
        Some(job::Plan::ArchivePlan(plan)) if as_json => json::print("ArchivePlan", plan),
        Some(job::Plan::ArchivePlan(plan)) => description::print(&archive_plan_lines(plan)),
        None => Err(CliError::local(
            "the plan is not in the answer",
            "the server sent a job without it",
        )),
    }
}
