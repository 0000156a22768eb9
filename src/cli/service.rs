//! Putting the service together: folders, database, jobs, followers, server; and taking it apart again.

use std::fs::File;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use super::data_folder::{lock_data_folder, lock_path, make_folder, signer, write_owner};
use super::followers::follow_sources;
use super::open_files;
use super::opened_catalog::Catalog;
use super::settings::Settings;
use super::systemd;
use super::work_settings::{archive_settings, backup_settings, engine, restores, transfer_engine};
use heldar_footage::api::{ServeError, Server, Services};
use heldar_footage::domain::job::JobKind;
use heldar_footage::domain::source::Source;
use heldar_footage::jobs::{Jobs, JobsError, KindLimits, RunDefaults, Runner, Scheduler};
use heldar_footage::media;
use heldar_footage::packing::{KeyError, KnownKeysError};
use heldar_footage::repository::{OpenError, StoreError};
use heldar_footage::transfer;
use heldar_footage::work::archive::ArchiveWork;
use heldar_footage::work::backup::{
    AlertWatch, BackupWork, RestoreWork, RunWork, Webhook, WebhookError,
};
use heldar_footage::work::clip::{ClipSettings, ClipWork};
use heldar_footage::work::housekeeping::{Housekeeping, Inherited, TidyError};
use heldar_footage::work::intake::SourceError;
use heldar_footage::work::verify::VerifyWork;

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
        // A task of its own is woken on the thread that has a job for it; the thread that waits here is another one.
        let running = AbortOnDropHandle::new(tokio::spawn(runner.run(grace)));
        let run = async {
            if let Err(died) = running.await {
                // Nobody cancels what is waited for. The server goes down with it.
                resume_unwind(died.into_panic());
            }
        };
        // The watchdog is told to the very end: stopping takes its time too.
        let working = async {
            let end = ended.clone().drop_guard();
            let (served, ()) = tokio::join!(serving, run);
            housekeeping.finish().await;
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
