//! `footage materialize`: give a clip on the server what it lacks of file and SHA-256.

use heldar_footage::proto::MaterializeClipRequest;

use super::connection::asking;
use super::description;
use super::failure::CliError;
use super::follow::{self, OnInterrupt};
use super::progress::ProgressView;
use super::signals::Signals;
use super::{ServerArgs, json, outcome};

/// Give a virtual clip a file, so that it no longer depends on the recordings, or a clip its SHA-256
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file holds the bytes that the clip was fetched with before; id, name and URL stay. The command \
shows the progress and waits for the end; Ctrl-C cancels the job and leaves the clip as it was. A \
clip that was made without a SHA-256 gets it; one that has both is shown as it is.

Examples:
  footage materialize clip_0198c0de
  footage materialize clip_0198c0de --json")]
pub struct MaterializeArgs {
    /// Id of the clip; `footage clip` prints it
    clip_id: String,
    /// Only start the job, and print its id
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    server: ServerArgs,
    /// Print the job as JSON, as grpcurl does
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the clip lacks something afterwards.
pub async fn run(args: MaterializeArgs) -> Result<(), CliError> {
    // Listening begins before the job exists, so that Ctrl-C cannot leave a job behind unmentioned.
    let mut signals = Signals::listen()?;
    let server = args.server.connect().await?;
    let request = MaterializeClipRequest {
        clip_id: args.clip_id.clone(),
        wait: None,
        request_id: uuid::Uuid::now_v7().to_string(),
    };
    let job = server
        .insist(async || {
            let request = asking(request.clone());
            server.clips().materialize_clip(request).await
        })
        .await?;
    if args.no_wait {
        return if args.json {
            json::print_job(job)
        } else {
            description::print(&[job.id])
        };
    }
    let mut view = ProgressView::new(args.json);
    let on_interrupt = OnInterrupt::CancelJob;
    let job = follow::to_end(&server, job, &mut view, &mut signals, on_interrupt, |_| {
        Ok(())
    })
    .await?;
    drop(view);
    if args.json {
        json::print_job(job.clone())?;
    }
    let job = follow::succeeded(job)?;
    if args.json {
        return Ok(());
    }
    description::print(&outcome::result_lines(&server, &job, None))
}
