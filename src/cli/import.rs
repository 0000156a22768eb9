//! `footage import`: take a folder of recordings into the catalog.

use std::path::PathBuf;

use futures::{Stream, StreamExt as _};
use heldar_footage::proto::{Job, job};
use tokio_util::sync::CancellationToken;

use super::failure::CliError;
use super::opened_catalog::Catalog;
use super::progress::ProgressView;
use super::settings::{Settings, absolute};
use super::signals::Signals;
use super::sources::{self, SourceSetting};
use super::{description, follow, import_report, json, logging};

/// Take a folder of recordings into the catalog
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Duration, codec, size and key frames are read from each file; nothing in DIR is changed. An import \
can be interrupted and repeated: files that are known and unchanged are passed over. It works on the \
database of the data folder, whether or not a server runs on it.

Examples:
  footage import /srv/recordings
  footage import /recordings --layout mediamtx --zone Europe/Berlin --follow
  footage import /mnt/old --layout '{camera}/%Y-%m-%d/%H%M%S.mp4' --zone UTC --source-id old")]
pub struct ImportArgs {
    /// Folder of recordings
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// How the recorder names its files: heldar (the default), mediamtx, frigate, lightnvr, shinobi, kerberos, ex_nvr,
    /// or a path template
    #[arg(long, value_name = "LAYOUT")]
    layout: Option<String>,
    /// Zone of the times in file names: UTC, +01:00, Europe/Berlin; required where the layout leaves it open
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Short name of the source; the folder's name unless given, or its id in HELDAR_SOURCES
    #[arg(long, value_name = "ID")]
    source_id: Option<String>,
    /// From now on, let the server follow the folder as it grows
    #[arg(long)]
    follow: bool,
    /// Name every file that was left out, not only the first few
    #[arg(long)]
    left_out: bool,
    /// Folder of everything that the service keeps, instead of HELDAR_DATA_DIR
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Print the job as JSON, as grpcurl does
    #[arg(long)]
    json: bool,
}

impl ImportArgs {
    /// The value that goes before HELDAR_DATA_DIR.
    pub fn data_dir(&self) -> Option<String> {
        self.data_dir.clone()
    }
}

/// What is to be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRequest {
    /// The folder, its layout and its zone, checked.
    pub source: SourceSetting,
    /// Whether the server is to follow the folder from now on.
    pub follow: bool,
}

impl ImportArgs {
    fn request(&self, settings: &Settings) -> Result<ImportRequest, CliError> {
        let root = absolute(&self.dir);
        if !root.is_dir() {
            let shown = super::words::plain(&root.to_string_lossy());
            return Err(CliError::Usage(format!("there is no folder {shown}")));
        }
        let configured = settings.sources.iter().find(|source| source.root == root);
        let id = match (&self.source_id, configured) {
            (Some(id), _) => id.clone(),
            (None, Some(source)) => source.id.clone(),
            (None, None) => sources::id_of_folder(&root),
        };
        let (layout, zone) = match (&self.layout, configured) {
            (Some(layout), _) => (layout.as_str(), self.zone.as_deref()),
            (None, Some(source)) => (
                source.layout.as_str(),
                self.zone.as_deref().or(Some(&source.zone)),
            ),
            (None, None) => ("heldar", self.zone.as_deref()),
        };
        let source = SourceSetting::new(&id, layout, zone, root.clone())
            .map_err(|error| CliError::Usage(error.to_string()))?;
        let taken = settings
            .sources
            .iter()
            .find(|other| other.id == source.id && other.root != root);
        if let Some(other) = taken {
            let shown = super::words::plain(&other.root.to_string_lossy());
            return Err(CliError::Usage(format!(
                "source {} is {shown}; choose another --source-id",
                source.id
            )));
        }
        Ok(ImportRequest {
            source,
            follow: self.follow,
        })
    }
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the folder cannot be imported, or Ctrl-C ended the import. What was taken in stays.
pub async fn run(settings: &Settings, args: &ImportArgs) -> Result<(), CliError> {
    // Its progress says what it does; log lines between would only break it up.
    logging::start_for_command(settings)?;
    let request = args.request(settings)?;
    let mut signals = Signals::listen()?;
    let cancel = CancellationToken::new();
    let jobs = start(settings, request, cancel.clone()).await?;
    let job = render(jobs, args.json, &cancel, &mut signals).await?;
    if args.json {
        json::print_job(job.clone())?;
        return follow::succeeded(job).map(drop);
    }
    let job = follow::succeeded(job)?;
    let Some(job::Result::Import(summary)) = &job.result else {
        return Err(CliError::local(
            "the summary is missing",
            "the import ended without a result",
        ));
    };
    description::print(&import_report::summary_lines(summary, args.left_out))
}

/// Begins the import and returns the states of its job, the end state last. Cancelling stops it after the present file;
/// the job then ends as cancelled, and what was taken in stays.
async fn start(
    settings: &Settings,
    request: ImportRequest,
    cancel: CancellationToken,
) -> Result<impl Stream<Item = Result<Job, CliError>> + Unpin + use<>, CliError> {
    let failed = |error| CliError::local("cannot import", error);
    let catalog = Catalog::open(settings).await.map_err(failed)?;
    let states = catalog
        .import(request.source.into_source(request.follow), cancel)
        .await
        .map_err(failed)?;
    Ok(Box::pin(states.map(|state| {
        let job = state.map_err(|error| CliError::local("the import cannot be followed", error))?;
        Ok(Job::from(job.as_ref()))
    })))
}

/// Shows the states as they come and returns the last.
async fn render(
    mut jobs: impl Stream<Item = Result<Job, CliError>> + Unpin,
    as_json: bool,
    cancel: &CancellationToken,
    signals: &mut Signals,
) -> Result<Job, CliError> {
    let mut view = ProgressView::new(as_json);
    let mut newest = None;
    loop {
        tokio::select! {
            job = jobs.next() => match job {
                Some(job) => {
                    let job = job?;
                    view.show(&job);
                    newest = Some(job);
                }
                None => break,
            },
            _ = signals.next() => {
                if cancel.is_cancelled() {
                    return Err(CliError::Interrupted("interrupted; what was taken in stays".into()));
                }
                view.say("interrupted; stopping after the present file (Ctrl-C again leaves at once)");
                cancel.cancel();
            }
        }
    }
    if cancel.is_cancelled() {
        return Err(CliError::Interrupted(
            "interrupted; what was taken in stays, and the next import goes on".into(),
        ));
    }
    newest.ok_or_else(|| CliError::local("the import said nothing", "it ended before it began"))
}
