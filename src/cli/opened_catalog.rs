//! The catalog as `serve` and `import` open it: its database, its jobs, its sources.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::data_folder::make_folder;
use super::followers::import_of;
use super::service::ServiceError;
use super::settings::Settings;
use super::work_settings::engine;
use heldar_footage::domain::job::{Job, JobKind, LEASE};
use heldar_footage::domain::source::Source;
use heldar_footage::jobs::{JobChange, JobSettings, Jobs, JobsError, KindLimits, Registry, Runner};
use heldar_footage::repository::Store;
use heldar_footage::work::import::ImportWork;
use heldar_footage::work::intake::Intake;

/// Imports at the same time: each reads from its own disk more often than not.
const IMPORTS_AT_ONCE: usize = 2;
/// How long an import that is told to stop may take.
const IMPORT_GRACE: Duration = Duration::from_secs(5);

/// What every command needs that works on the catalog itself.
pub(super) struct Catalog {
    pub(super) store: Store,
    pub(super) jobs: Jobs,
    pub(super) intake: Arc<Intake>,
    job_timeout: Duration,
}

impl Catalog {
    /// Opens the database of the settings, and makes it where it is missing.
    pub(super) async fn open(settings: &Settings) -> Result<Self, ServiceError> {
        make_folder(&settings.data_dir)?;
        let store = Store::open(settings.database_url.reveal())
            .await?
            .with_lease(TimeDelta::from_std(settings.lease).unwrap_or(LEASE))
            .with_secret_key(settings.secret_key.clone());
        let limits = JobSettings {
            queue_limit: settings.job_queue_limit,
            watch_limit: settings.watch_limit,
            ..JobSettings::default()
        };
        let jobs = Jobs::new(store.clone(), limits);
        let intake = Arc::new(Intake::new(
            store.clone(),
            engine(settings),
            settings.segment_length,
        ));
        Ok(Self {
            store,
            jobs,
            intake,
            job_timeout: settings.job_timeout,
        })
    }

    /// What this process can do about imports.
    pub(super) fn imports(&self) -> Registry {
        Registry::default().with(
            JobKind::Import,
            KindLimits {
                at_once: IMPORTS_AT_ONCE,
                deadline: Some(self.job_timeout),
            },
            ImportWork::new(Arc::clone(&self.intake)),
        )
    }

    /// Imports a source by a job of its own and returns the job's states, the end state last. A server on the same
    /// data folder may take the job instead; the states are the same. Cancelling asks the job to stop.
    pub(super) async fn import(
        self,
        source: Source,
        cancel: CancellationToken,
    ) -> Result<ReceiverStream<Result<Arc<Job>, JobsError>>, ServiceError> {
        let source = self.as_known(source).await?;
        self.put_source(&source).await?;
        let job = self.jobs.submit(import_of(source.id, "import")).await?;
        let mut watch = self.jobs.watch(&job.id, 0).await?;
        let running = tokio::spawn(Runner::new(&self.jobs, self.imports()).run(IMPORT_GRACE));
        let (states, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut cancelled = false;
            loop {
                tokio::select! {
                    change = watch.next() => match change {
                        Ok(Some(JobChange::Job(job))) => {
                            let _ = states.send(Ok(job)).await;
                        }
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(error) => {
                            let _ = states.send(Err(error)).await;
                            break;
                        }
                    },
                    () = cancel.cancelled(), if !cancelled => {
                        cancelled = true;
                        // A job that has just ended cannot be cancelled, and its end state is on its way.
                        let _ = self.jobs.cancel(&job.id).await;
                    }
                }
            }
            self.jobs.drain();
            let _ = running.await;
            self.store.close().await;
        });
        Ok(ReceiverStream::new(receiver))
    }

    /// A folder is one source: an import of one that is known goes on under its id, and does not end its being
    /// followed. A folder within another source, or around one, would bring the same files in twice.
    pub(super) async fn as_known(&self, source: Source) -> Result<Source, ServiceError> {
        let mut source = source;
        let root = canonical(&source.root);
        for known in self.store.sources().await? {
            let known_root = canonical(&known.root);
            if known_root == root {
                source.id = known.id;
                source.follow |= known.follow;
                return Ok(source);
            }
            if known.id != source.id
                && (root.starts_with(&known_root) || known_root.starts_with(&root))
            {
                return Err(ServiceError::Nested {
                    root: source.root,
                    other: known.id,
                    other_root: known.root,
                });
            }
        }
        Ok(source)
    }

    /// Writes a source, after a check that its files can be read as it says.
    pub(super) async fn put_source(&self, source: &Source) -> Result<(), ServiceError> {
        self.intake
            .rules(source)
            .map_err(|error| ServiceError::Source {
                id: source.id.clone(),
                source: error,
            })?;
        Ok(self.store.put_source(source).await?)
    }
}

/// The path without links, as far as it is there.
fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
