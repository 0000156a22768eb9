//! `footage jobs` and `footage watch`: look at jobs, follow, cancel and retry them.

use std::io::Write as _;

use heldar_footage::proto::{
    BackupAlert, CancelJobRequest, GetJobRequest, Job, JobFilter, JobKind, JobState,
    ListJobsRequest, RetryJobRequest, WatchJobsRequest, WatchJobsResponse, watch_jobs_response,
};

use super::connection::{Patience, Server, asking};
use super::description::{self, row};
use super::failure::{self, CliError};
use super::follow::{self, OnInterrupt};
use super::outcome;
use super::progress::{self, ProgressView, state_word};
use super::signals::Signals;
use super::table::Table;
use super::{ServerArgs, json, words};

/// List, show, cancel and retry jobs
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct JobsArgs {
    #[command(flatten)]
    list: ListArgs,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List jobs, newest first (also without the word `list`)
    List(ListArgs),
    /// Show one job: state, progress, result, error
    Show(OneJob),
    /// Cancel a job; what it had not finished is removed
    Cancel(OneJob),
    /// Try a failed or cancelled job again, as a new job
    Retry(OneJob),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only jobs in this state; can be given several times
    #[arg(long, value_name = "STATE", value_enum)]
    state: Vec<StateArg>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Most jobs to list, newest first
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(i32).range(1..=1000))]
    count: i32,
    #[command(flatten)]
    server: ServerArgs,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct FilterArgs {
    /// Only jobs of this kind; can be given several times
    #[arg(long, value_name = "KIND", value_enum)]
    kind: Vec<KindArg>,
    /// Only jobs of this camera
    #[arg(
        long,
        value_name = "CAMERA",
        default_value = "",
        hide_default_value = true
    )]
    camera: String,
}

#[derive(Debug, clap::Args)]
struct OneJob {
    /// Id of the job
    #[arg(value_name = "JOB")]
    id: String,
    #[command(flatten)]
    server: ServerArgs,
    /// Print the job as JSON
    #[arg(long)]
    json: bool,
}

/// Follow one job until it ends, or all jobs live
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With a job: shows its progress, then its result. The exit code is 0 when it succeeded, 1 when it \
failed and 4 when it was cancelled. Without a job: one line for each change of any job, and for \
each alert of backups (overdue policies, paused destinations, footage at risk). \
Ctrl-C ends the watching, never a job.")]
pub struct WatchArgs {
    /// Id of the job; all jobs unless given
    #[arg(value_name = "JOB")]
    id: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    server: ServerArgs,
    /// Print each state as one JSON object a line; an alert is an object with the only member `alert`
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum StateArg {
    Queued,
    Running,
    Cancelling,
    Succeeded,
    Failed,
    Cancelled,
}

impl StateArg {
    fn on_the_wire(self) -> i32 {
        let state = match self {
            Self::Queued => JobState::Queued,
            Self::Running => JobState::Running,
            Self::Cancelling => JobState::Cancelling,
            Self::Succeeded => JobState::Succeeded,
            Self::Failed => JobState::Failed,
            Self::Cancelled => JobState::Cancelled,
        };
        state.into()
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum KindArg {
    Clip,
    Archive,
    Backup,
    Verify,
    Restore,
    Import,
}

impl KindArg {
    fn on_the_wire(self) -> i32 {
        match self {
            Self::Clip => JobKind::Clip.into(),
            Self::Archive => JobKind::Archive.into(),
            Self::Backup => JobKind::Backup.into(),
            Self::Verify => JobKind::Verify.into(),
            Self::Restore => JobKind::Restore.into(),
            Self::Import => JobKind::Import.into(),
        }
    }
}

impl FilterArgs {
    fn filter(&self, states: &[StateArg]) -> JobFilter {
        JobFilter {
            kinds: self.kind.iter().map(|kind| kind.on_the_wire()).collect(),
            states: states.iter().map(|state| state.on_the_wire()).collect(),
            camera_id: self.camera.clone(),
            ..JobFilter::default()
        }
    }
}

/// Runs `footage jobs`.
///
/// # Errors
/// [`CliError`] when the server refuses or cannot be reached.
pub async fn run(args: JobsArgs) -> Result<(), CliError> {
    match args.action.unwrap_or(Action::List(args.list)) {
        Action::List(list) => run_list(&list).await,
        Action::Show(one) => {
            let server = one.server.connect().await?;
            let request = asking(GetJobRequest {
                job_id: one.id.clone(),
            });
            let job = server
                .jobs()
                .get_job(request)
                .await
                .map_err(|status| server.failure(status))?
                .into_inner();
            print_job(&server, job, one.json)
        }
        Action::Cancel(one) => {
            let server = one.server.connect().await?;
            let request = asking(CancelJobRequest {
                job_id: one.id.clone(),
            });
            let job = server
                .jobs()
                .cancel_job(request)
                .await
                .map_err(|status| server.failure(status))?
                .into_inner();
            print_brief(job, one.json)
        }
        Action::Retry(one) => {
            let server = one.server.connect().await?;
            let request = RetryJobRequest {
                job_id: one.id.clone(),
                ..RetryJobRequest::default()
            };
            let job = server
                .jobs()
                .retry_job(asking(request))
                .await
                .map_err(|status| server.failure(status))?
                .into_inner();
            print_brief(job, one.json)
        }
    }
}

async fn run_list(args: &ListArgs) -> Result<(), CliError> {
    let server = args.server.connect().await?;
    let mut left = args.count;
    let mut page_token = String::new();
    let mut table = Table::new(&["JOB", "KIND", "STATE", "DONE", "CAMERA", "CREATED", "TOOK"]);
    while left > 0 {
        let request = ListJobsRequest {
            filter: Some(args.filter.filter(&args.state)),
            page_size: left,
            page_token: page_token.clone(),
        };
        let page = server
            .jobs()
            .list_jobs(asking(request))
            .await
            .map_err(|status| server.failure(status))?
            .into_inner();
        for job in page.jobs {
            left -= 1;
            if args.json {
                json::print_job_line(job)?;
            } else {
                table.push(job_cells(&job));
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if args.json {
        Ok(())
    } else {
        table.print("no jobs")
    }
}

fn job_cells(job: &Job) -> Vec<String> {
    vec![
        words::plain(&job.id),
        follow::kind_word(job.kind())
            .trim_end_matches(" job")
            .to_owned(),
        state_word(job.state()).to_owned(),
        progress::in_short(job),
        words::plain(&job.camera_id),
        words::time(job.create_time.map(without_fraction).as_ref()),
        took(job).map(words::roughly).unwrap_or_default(),
    ]
}

fn without_fraction(time: prost_types::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { nanos: 0, ..time }
}

/// How long the last attempt took, in milliseconds.
fn took(job: &Job) -> Option<i64> {
    let start = words::moment(job.start_time.as_ref()?)?;
    let end = words::moment(job.end_time.as_ref()?)?;
    Some((end - start).num_milliseconds())
}

fn print_brief(job: Job, as_json: bool) -> Result<(), CliError> {
    if as_json {
        return json::print_job(job);
    }
    let line = format!("{} is {}", words::plain(&job.id), state_word(job.state()));
    description::print(&[line])
}

fn print_job(server: &Server, job: Job, as_json: bool) -> Result<(), CliError> {
    if as_json {
        return json::print_job(job);
    }
    description::print(&job_lines(server, &job))
}

fn job_lines(server: &Server, job: &Job) -> Vec<String> {
    let mut lines = vec![
        row("Job", &words::plain(&job.id)),
        row(
            "Kind",
            follow::kind_word(job.kind()).trim_end_matches(" job"),
        ),
        row("State", state_word(job.state())),
        row("Created", &words::time(job.create_time.as_ref())),
    ];
    if !job.created_by.is_empty() {
        lines.push(row("Created by", &words::plain(&job.created_by)));
    }
    if !job.retry_of.is_empty() {
        lines.push(row("Retry of", &words::plain(&job.retry_of)));
    }
    if job.attempt > 0 {
        lines.push(row(
            "Attempt",
            &format!("{} of at most {}", job.attempt, job.max_attempts),
        ));
    }
    if let Some(took) = took(job) {
        lines.push(row("Took", &words::roughly(took)));
    } else if job.progress.is_some() {
        lines.push(row("Progress", &progress::in_words(job)));
    }
    if let Some(error) = &job.error {
        lines.push(row("Error", &failure::notice(error)));
    }
    lines.extend(
        job.warnings
            .iter()
            .map(|warning| row("Warning", &failure::notice(warning))),
    );
    lines.extend(outcome::result_lines(server, job, None));
    lines
}

/// Runs `footage watch`.
///
/// # Errors
/// [`CliError`] when the job did not succeed, the server cannot be reached, or Ctrl-C ended the watching.
pub async fn watch(args: WatchArgs) -> Result<(), CliError> {
    let mut signals = Signals::listen()?;
    let server = args.server.connect().await?;
    let Some(id) = &args.id else {
        return watch_all(&args, &server, &mut signals).await;
    };
    let request = asking(GetJobRequest { job_id: id.clone() });
    let job = server
        .jobs()
        .get_job(request)
        .await
        .map_err(|status| server.failure(status))?
        .into_inner();
    let mut view = ProgressView::new(args.json);
    let print_state = |job: &Job| {
        if args.json {
            json::print_job_line(job.clone())
        } else {
            Ok(())
        }
    };
    let job = follow::to_end(
        &server,
        job,
        &mut view,
        &mut signals,
        OnInterrupt::Leave,
        print_state,
    )
    .await?;
    drop(view);
    let job = follow::succeeded(job)?;
    if args.json {
        Ok(())
    } else {
        print_job(&server, job, false)
    }
}

async fn watch_all(
    args: &WatchArgs,
    server: &Server,
    signals: &mut Signals,
) -> Result<(), CliError> {
    let mut patience = Patience::new();
    loop {
        let request = WatchJobsRequest {
            filter: Some(args.filter.filter(&[])),
        };
        let status = tokio::select! {
            status = watch_until_broken(args.json, server, request, &mut patience) => status?,
            _ = signals.next() => return Err(CliError::Interrupted("interrupted; the jobs go on".into())),
        };
        let wait = patience
            .after(&status)
            .ok_or_else(|| server.failure(status))?;
        eprintln!("the server is away; trying again");
        tokio::time::sleep(wait).await;
    }
}

/// Prints changes until the stream breaks, and returns why it did.
async fn watch_until_broken(
    as_json: bool,
    server: &Server,
    request: WatchJobsRequest,
    patience: &mut Patience,
) -> Result<tonic::Status, CliError> {
    let mut stream = match server.jobs().watch_jobs(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Ok(status),
    };
    let mut is_snapshot = true;
    loop {
        let event = match stream.message().await {
            Ok(Some(message)) => message.event,
            Ok(None) => return Ok(tonic::Status::unavailable("the watch ended")),
            Err(status) => return Ok(status),
        };
        patience.renew();
        match event {
            Some(watch_jobs_response::Event::Job(job)) if as_json => json::print_job_line(job)?,
            // The first part is for scripts; a person asked for what happens from now on.
            Some(watch_jobs_response::Event::Job(job))
                if is_snapshot && progress::has_ended(job.state()) => {}
            Some(watch_jobs_response::Event::Job(job)) => print_change(&job)?,
            Some(watch_jobs_response::Event::SnapshotEnd(_)) => {
                if is_snapshot && !as_json {
                    eprintln!("watching; Ctrl-C ends it");
                }
                is_snapshot = false;
            }
            Some(watch_jobs_response::Event::Alert(alert)) if as_json => {
                let event = Some(watch_jobs_response::Event::Alert(alert));
                // Named, so that scripts that read jobs can tell it from one.
                json::print_line("WatchJobsResponse", &WatchJobsResponse { event })?;
            }
            Some(watch_jobs_response::Event::Alert(alert)) => print_alert(&alert)?,
            Some(watch_jobs_response::Event::Heartbeat(_)) | None => {}
        }
    }
}

fn print_alert(alert: &BackupAlert) -> Result<(), CliError> {
    let time = words::time(alert.since_time.map(without_fraction).as_ref());
    let words = if alert.cleared { "no longer" } else { "alert" };
    let message = words::plain(&alert.message);
    writeln!(std::io::stdout().lock(), "{time}  {words}: {message}").map_err(CliError::output)
}

fn print_change(job: &Job) -> Result<(), CliError> {
    let time = words::time(job.update_time.map(without_fraction).as_ref());
    let camera = if job.camera_id.is_empty() {
        String::new()
    } else {
        format!("  {}", words::plain(&job.camera_id))
    };
    let error = job
        .error
        .as_ref()
        .map(|error| format!(": {}", failure::notice(error)))
        .unwrap_or_default();
    let words = progress::in_words(job);
    writeln!(
        std::io::stdout().lock(),
        "{time}  {}{camera}  {words}{error}",
        super::words::plain(&job.id)
    )
    .map_err(CliError::output)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use heldar_footage::proto::JobKind;

    use super::KindArg;

    #[test]
    fn every_kind_of_job_can_be_asked_for() {
        let known = KindArg::value_variants().iter();
        let known: Vec<i32> = known.map(|kind| kind.on_the_wire()).collect();
        let all: Vec<i32> = (1..)
            .take_while(|kind| JobKind::try_from(*kind).is_ok())
            .collect();
        assert_eq!(known, all);
    }
}
