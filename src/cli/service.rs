//! Putting the service together: folders, database, jobs, followers, server; and taking it apart again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::data_folder::{lock_data_folder, lock_path, make_folder, signer, write_owner};
use super::followers::{follow_sources, import_of};
use super::open_files;
use super::settings::Settings;
use super::systemd;
use heldar_footage::api::{ServeError, Server, Services};
use heldar_footage::clock;
use heldar_footage::domain::job::{Job, JobKind, LEASE};
use heldar_footage::domain::source::Source;
use heldar_footage::jobs::{
    JobChange, JobSettings, Jobs, JobsError, KindLimits, Registry, RunDefaults, Runner, Scheduler,
};
use heldar_footage::media::{self, Engine};
use heldar_footage::packing::{KeyError, KnownKeysError};
use heldar_footage::repository::{OpenError, Store, StoreError};
use heldar_footage::transfer;
use heldar_footage::work::archive::{ArchiveSettings, ArchiveWork};
use heldar_footage::work::backup::{
    AlertWatch, BackupSettings, BackupWork, RestoreWork, RunWork, Webhook, WebhookError,
};
use heldar_footage::work::clip::{ClipSettings, ClipWork};
use heldar_footage::work::housekeeping::{Housekeeping, Inherited, TidyError};
use heldar_footage::work::import::ImportWork;
use heldar_footage::work::intake::{Intake, RESTORES, SourceError};
use heldar_footage::work::verify::VerifyWork;

/// Imports at the same time: each reads from its own disk more often than not.
const IMPORTS_AT_ONCE: usize = 2;
/// How long an import that is told to stop may take.
const IMPORT_GRACE: Duration = Duration::from_secs(5);
/// What work that watches its own time gets beyond it, to say itself that it took too long.
const ENDS_BY_ITSELF: Duration = Duration::from_secs(60);

/// Why the service cannot start, or ended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ServiceError {
    #[error("cannot make the folder {}", path.display())]
    Folder {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("another server already uses the data folder {}", path.display())]
    InUse { path: PathBuf },
    #[error("cannot lock the data folder with {}", path.display())]
    Lock {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Database(#[from] OpenError),
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    #[error("source {id}")]
    Source { id: String, source: SourceError },
    #[error("{} overlaps with source {other}, {}: its files would be taken in twice", root.display(), other_root.display())]
    Nested {
        root: PathBuf,
        other: String,
        other_root: PathBuf,
    },
    #[error("cannot remove unfinished files of an earlier run from {}", path.display())]
    Sweep {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot remove unfinished files of an earlier run")]
    Unfinished(#[source] TidyError),
    #[error("archives cannot be signed")]
    SigningKey(#[from] KeyError),
    #[error("archives cannot be signed with the key that HELDAR_SIGNING_KEY names")]
    GivenKey(#[source] KeyError),
    #[error("the list of signing keys cannot be kept")]
    KnownKeys(#[from] KnownKeysError),
    #[error("alerts cannot be reported to HELDAR_BACKUP_WEBHOOK_URL")]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Jobs(#[from] JobsError),
}

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
    async fn as_known(&self, source: Source) -> Result<Source, ServiceError> {
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

fn engine(settings: &Settings) -> Engine {
    Engine {
        ffmpeg: settings.ffmpeg_bin.clone().into(),
        scratch: settings.data_dir.join("scratch"),
    }
}

fn archive_settings(settings: &Settings) -> ArchiveSettings {
    ArchiveSettings {
        folder: settings.archive_dir.clone(),
        keep_for: settings.archive_retention,
        max_bytes: settings.archive_max_bytes,
        max_segments: settings.archive_max_segments,
        folder_max_bytes: settings.archive_dir_max_bytes,
        timeout: settings.archive_timeout,
        cut_timeout: settings.clip_timeout,
    }
}

fn backup_settings(settings: &Settings) -> BackupSettings {
    let backup = &settings.backup;
    BackupSettings {
        run_timeout: backup.job_timeout,
        stall_limit: backup.stall_limit,
        local_roots: backup.local_roots.clone(),
        networks: backup.networks.clone(),
        restore_folder: backup.restore_dir.clone(),
    }
}

fn transfer_engine(settings: &Settings) -> transfer::Engine {
    transfer::Engine {
        rclone: settings.rclone_bin.clone().into(),
        rclone_config: settings.backup.rclone_config.clone(),
        scratch: settings.data_dir.join("scratch"),
        links: transfer::DescriptorLinks::default(),
    }
}

/// The source of footage that was brought back. Its files come with their times, so that its layout says nothing.
fn restores(settings: &Settings) -> Source {
    Source {
        id: RESTORES.to_owned(),
        root: settings.backup.restore_dir.clone(),
        layout: "heldar".to_owned(),
        zone: "UTC".to_owned(),
        follow: false,
        create_time: clock::now(),
    }
}

/// The running service.
pub(super) struct Service {
    catalog: Catalog,
    clips: Arc<ClipWork>,
    archives: Arc<ArchiveWork>,
    backups: Arc<BackupWork>,
    webhook: Option<Webhook>,
    server: Server,
    runner: Runner,
    housekeeping: Housekeeping,
    inherited: Inherited,
    _lock: File,
}

impl Service {
    /// Makes everything ready; nothing runs yet, but the port is taken.
    pub(super) async fn prepare(settings: &Settings) -> Result<Self, ServiceError> {
        make_folder(&settings.data_dir)?;
        make_folder(&settings.clips_dir)?;
        make_folder(&settings.archive_dir)?;
        make_folder(&settings.backup.restore_dir)?;
        open_files::allow();
        let (mut lock, dead_owner) = lock_data_folder(&settings.data_dir)?;
        let catalog = Catalog::open(settings).await?;
        let clip_settings = ClipSettings {
            folder: settings.clips_dir.clone(),
            keep_for: settings.clip_retention,
            timeout: settings.clip_timeout,
        };
        let clips = Arc::new(ClipWork::new(
            catalog.store.clone(),
            clip_settings,
            engine(settings),
        ));
        let archives = Arc::new(ArchiveWork::new(
            catalog.store.clone(),
            archive_settings(settings),
            engine(settings),
            signer(settings)?,
        ));
        let backups = Arc::new(BackupWork::new(
            catalog.store.clone(),
            backup_settings(settings),
            transfer_engine(settings),
        ));
        let webhook = settings.backup.webhook_url.as_ref();
        let webhook = webhook.map(Webhook::new).transpose()?;
        let media = |deadline| KindLimits {
            at_once: settings.media_job_concurrency,
            deadline: Some(deadline),
        };
        let transfers = |deadline| KindLimits {
            at_once: settings.backup.concurrency,
            deadline,
        };
        let registry = catalog
            .imports()
            .with(
                JobKind::Clip,
                media(settings.clip_timeout * 2),
                Arc::clone(&clips),
            )
            .with(
                JobKind::Archive,
                media(settings.archive_timeout + ENDS_BY_ITSELF),
                Arc::clone(&archives),
            )
            .with(
                JobKind::Verify,
                media(settings.job_timeout),
                VerifyWork::new(Arc::clone(&archives), Arc::clone(&backups)),
            )
            .with(
                JobKind::Backup,
                transfers(None),
                RunWork::new(Arc::clone(&backups)),
            )
            .with(
                JobKind::Restore,
                transfers(Some(settings.job_timeout)),
                RestoreWork::new(Arc::clone(&backups), Arc::clone(&catalog.intake)),
            );
        let runner = Runner::new(&catalog.jobs, registry);
        if !dead_owner.is_empty() {
            runner.take_over_from(&dead_owner).await?;
        }
        write_owner(&mut lock, catalog.jobs.owner()).map_err(|source| ServiceError::Lock {
            path: lock_path(&settings.data_dir),
            source,
        })?;

        let housekeeping = Housekeeping {
            store: catalog.store.clone(),
            clips: Arc::clone(&clips),
            clips_folder: settings.clips_dir.clone(),
            archives: Arc::clone(&archives),
            archive_folder: settings.archive_dir.clone(),
            restore_folder: settings.backup.restore_dir.clone(),
        };
        let swept = housekeeping
            .sweep_at_start()
            .await
            .map_err(ServiceError::Unfinished)?;
        let inherited = housekeeping
            .inherited()
            .map_err(|source| ServiceError::Sweep {
                path: settings.clips_dir.clone(),
                source,
            })?;
        let scratch = engine(settings).scratch;
        let swept = swept
            + media::sweep_scratch(&scratch)
                .and_then(|files| Ok(files + transfer::sweep_scratch(&scratch)?))
                .map_err(|source| ServiceError::Sweep {
                    path: scratch,
                    source,
                })?;
        if swept > 0 {
            info!(files = swept, "removed unfinished files of an earlier run");
        }
        catalog.put_source(&restores(settings)).await?;
        for source in sources(settings)? {
            let source = Source {
                follow: true,
                ..catalog.as_known(source).await?
            };
            catalog.put_source(&source).await?;
        }
        let server = Server::bind(settings.listen).await?;
        Ok(Self {
            catalog,
            clips,
            archives,
            backups,
            webhook,
            server,
            runner,
            housekeeping,
            inherited,
            _lock: lock,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> std::net::SocketAddr {
        self.server.address()
    }

    /// Serves until `stop`, then ends what runs within the grace of the settings.
    pub(super) async fn run(
        self,
        settings: &Settings,
        stop: CancellationToken,
    ) -> Result<(), ServiceError> {
        let Self {
            catalog,
            clips,
            archives,
            backups,
            webhook,
            server,
            runner,
            housekeeping,
            inherited,
            _lock,
        } = self;
        let alerts = AlertWatch::new(Arc::clone(&backups), settings.backup.enabled);
        let services = Services {
            store: catalog.store.clone(),
            jobs: catalog.jobs.clone(),
            clips,
            archives,
            backups,
            alerts: alerts.subscribe(),
            intake: Arc::clone(&catalog.intake),
        };
        let draining = catalog.jobs.draining();
        let drain = async {
            tokio::select! {
                () = stop.cancelled() => {
                    info!("stopping");
                    catalog.jobs.drain();
                }
                () = draining.cancelled() => {}
            }
        };
        let grace = settings.shutdown_grace;
        let serving = async {
            let served = server.serve(services, &settings.cors_origins, grace).await;
            // A server that ended by itself takes everything else down with it.
            catalog.jobs.drain();
            served
        };
        let present = alerts.subscribe();
        // What nodes on one database would only do twice, one of them does.
        let jobs = &catalog.jobs;
        let reporting = async {
            if let Some(webhook) = &webhook {
                let report = |over| webhook.run(present.clone(), over);
                jobs.on_duty("report", draining.clone(), report).await;
            }
        };
        let ended = CancellationToken::new();
        let pulse = runner.pulse();
        // The watchdog is told to the very end: stopping takes its time too.
        let working = async {
            let end = ended.clone().drop_guard();
            let (served, ()) = tokio::join!(serving, runner.run(grace));
            drop(end);
            served
        };
        let tidy = |over| housekeeping.run(inherited.clone(), over);
        let follow = |over| follow_sources(&catalog, over);
        let (served, (), (), (), (), (), (), ()) = tokio::join!(
            working,
            systemd::keep_alive(&catalog.store, pulse, ended.clone()),
            jobs.on_duty("tidy", draining.clone(), tidy),
            jobs.on_duty("follow", draining.clone(), follow),
            schedule(jobs, settings, draining.clone()),
            alerts.run(draining.clone()),
            reporting,
            drain,
        );
        catalog.store.close().await;
        Ok(served?)
    }
}

/// Runs the policies that are due, unless the operator switched that off.
async fn schedule(jobs: &Jobs, settings: &Settings, stop: CancellationToken) {
    if !settings.backup.enabled {
        info!("the scheduler of backups is off (HELDAR_BACKUP_ENABLED)");
        return;
    }
    let scheduler = || Scheduler {
        jobs: jobs.clone(),
        every: settings.backup.scheduler_interval,
        defaults: RunDefaults {
            run_timeout: settings.backup.job_timeout,
        },
    };
    jobs.on_duty("schedule", stop, |over| scheduler().run(over))
        .await;
}

fn sources(settings: &Settings) -> Result<Vec<Source>, ServiceError> {
    settings
        .sources
        .iter()
        .map(|source| {
            if source.root == settings.recordings_dir && !settings.recordings_dir_given {
                make_folder(&source.root)?;
            }
            Ok(source.clone().into_source(true))
        })
        .collect()
}

/// The path without links, as far as it is there.
fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
