//! The contract, served: one file per gRPC service, plain HTTP for media, and the page for people. Convert, call, convert; nothing is decided here.
//!
//! `status` is the only place that builds a `tonic::Status`; `convert` holds the two-way street between the domain's
//! types and the messages; `server` puts everything on one port.

mod archive;
mod backup;
mod catalog;
mod clip;
mod convert;
mod convert_archive;
mod convert_backup;
mod convert_destination;
mod convert_policy;
mod download;
mod errors;
mod fields;
mod job;
mod media;
mod page;
mod read_clip;
mod server;
mod several_ranges;
mod status;
mod update_mask;
mod web_page;

use std::sync::Arc;

use tokio::sync::watch;

use crate::domain::backup::alert::PresentAlerts;
use crate::jobs::Jobs;
use crate::repository::Store;
use crate::work::archive::ArchiveWork;
use crate::work::backup::BackupWork;
use crate::work::clip::ClipWork;
use crate::work::intake::Intake;

pub use backup::destination_settings;
pub use server::{ServeError, Server};

/// What the services call.
#[derive(Clone)]
pub struct Services {
    /// The catalog and everything else that is stored.
    pub store: Store,
    /// Jobs.
    pub jobs: Jobs,
    /// Clips: what can be asked before and after their job.
    pub clips: Arc<ClipWork>,
    /// Archives: what can be asked before and after their job, and those that are only streamed.
    pub archives: Arc<ArchiveWork>,
    /// Backups: what can be asked before and after their jobs, and trials of destinations.
    pub backups: Arc<BackupWork>,
    /// What of backups somebody has to look at.
    pub alerts: watch::Receiver<PresentAlerts>,
    /// Files that recorders hand in.
    pub intake: Arc<Intake>,
}
