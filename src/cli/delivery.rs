//! What `footage clip` and `footage archive` share: the options about the file that is made, and the way from the
//! server's first answer to the file.

use std::path::PathBuf;
use std::time::Duration;

use heldar_footage::proto::Job;

use super::connection::Server;
use super::description::{self, row};
use super::download::{self, StoredFile};
use super::failure::{self, CliError};
use super::follow::{self, OnInterrupt};
use super::part_file::Target;
use super::progress::ProgressView;
use super::signals::Signals;
use super::{ServerArgs, json, outcome, time_argument};

/// The options about the file that is made.
#[derive(Debug, clap::Args)]
pub struct DeliveryArgs {
    /// Fetch what was made into this file or folder, and check its SHA-256
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace FILE if it is a regular file; a link stays, and the file that it leads to is replaced
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Make nothing; show what would be delivered
    #[arg(long, conflicts_with_all = ["output", "no_wait"])]
    pub plan: bool,
    /// Only start the job, and print its id
    #[arg(long, conflicts_with = "output")]
    no_wait: bool,
    /// Keep it on the server this long (12h, 30d), or `forever`; else as the server is set
    #[arg(long, value_name = "LENGTH", value_parser = time_argument::keep_for, conflicts_with = "plan")]
    keep_for: Option<Duration>,
    /// Who asks, for the record
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub created_by: String,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Print what came of it as JSON, as grpcurl does
    #[arg(long)]
    pub json: bool,
}

impl DeliveryArgs {
    /// The id that keeps a call which is repeated after a broken connection from starting a second job. A plan starts
    /// none.
    pub fn request_id(&self) -> String {
        if self.plan {
            String::new()
        } else {
            uuid::Uuid::now_v7().to_string()
        }
    }

    /// `--keep-for` as it goes over the wire.
    pub fn keep_for(&self) -> Option<prost_types::Duration> {
        self.keep_for.map(|length| prost_types::Duration {
            seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(length.subsec_nanos()).unwrap_or_default(),
        })
    }
}

/// Everything that is needed once the server has answered with a job.
pub struct Delivery<'a> {
    args: &'a DeliveryArgs,
    target: Option<Target>,
    signals: Signals,
    /// The server that makes the file.
    pub server: Server,
}

impl<'a> Delivery<'a> {
    /// Checks the place of the file and connects, before anything is asked for.
    ///
    /// # Errors
    /// [`CliError`] when the file could not be written, or the server cannot be reached.
    pub async fn prepare(args: &'a DeliveryArgs) -> Result<Self, CliError> {
        let check = |path: &PathBuf| Target::check(path, args.force);
        let target = args.output.as_ref().map(check).transpose()?;
        // Listening begins before the job exists, so that Ctrl-C cannot leave a job behind unmentioned.
        let signals = Signals::listen()?;
        Ok(Self {
            args,
            target,
            signals,
            server: args.server.connect().await?,
        })
    }

    /// Follows the job to its end, fetches the file when that is wanted, and prints what was delivered; or only prints
    /// the plan or the id of the job.
    ///
    /// # Errors
    /// [`CliError`] when the file was not made, or not fetched.
    pub async fn of_job(mut self, job: Job) -> Result<(), CliError> {
        let as_json = self.args.json;
        if self.args.plan {
            return outcome::print_plan(&job, as_json);
        }
        if self.args.no_wait {
            return if as_json {
                json::print_job(job)
            } else {
                description::print(&[job.id])
            };
        }
        let mut view = ProgressView::new(as_json);
        let job = follow::to_end(
            &self.server,
            job,
            &mut view,
            &mut self.signals,
            OnInterrupt::CancelJob,
            |_| Ok(()),
        )
        .await?;
        let job = match follow::succeeded(job.clone()) {
            Ok(job) => job,
            Err(error) => {
                drop(view);
                if as_json {
                    json::print_job(job)?;
                }
                return Err(error);
            }
        };
        let Some(stored) = StoredFile::of(&job) else {
            return Err(CliError::local(
                "the result is not in the answer",
                "the server sent a job without what it made",
            ));
        };
        let file = match &self.target {
            Some(target) => {
                let signals = &mut self.signals;
                Some(download::fetch(&self.server, &stored, target, &mut view, signals).await?)
            }
            None => None,
        };
        drop(view);
        if as_json {
            return json::print_job(job);
        }
        let mut lines = outcome::result_lines(&self.server, &job, file.as_deref());
        lines.extend(
            job.warnings
                .iter()
                .map(|warning| row("Warning", &failure::notice(warning))),
        );
        description::print(&lines)
    }
}
