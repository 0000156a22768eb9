//! `footage clip`: cut a clip on the server, show how far it is, and say what was delivered.

use std::time::Duration;

use chrono::{DateTime, Utc};
use heldar_footage::proto::{self, CreateClipRequest};

use super::clip_render::RenderArgs;
use super::connection::asking;
use super::delivery::{Delivery, DeliveryArgs};
use super::failure::CliError;
use super::{last_window, time_argument};

/// Cut a clip: the exact footage of a camera between two moments, as one playable file
#[derive(Debug, clap::Args)]
#[command(override_usage = "\
footage clip [OPTIONS] CAMERA --from TIME --to TIME
       footage clip [OPTIONS] CAMERA --last LENGTH")]
#[command(after_help = "\
The clip is cut on the server and stays there until it expires. The command shows the progress \
and waits for the end; Ctrl-C cancels the job. Times need a zone: 2026-11-22T10:00:00Z or \
2026-11-22T11:00:00+01:00. A clip is at most an hour long.

A virtual clip is made in no time and takes next to no space: its bytes come from the recordings \
whenever it is fetched. When the recorder deletes those, the clip is gone; --hold keeps them as long \
as the clip, and `footage materialize` gives it a file of its own.

Most of the time of a clip is that of its SHA-256 and of the disk. A quick one does not wait for \
either; a loss of power within the next minute or two takes it with it.

Examples:
  footage clip gate_a_01 --from 2026-11-22T10:00:00Z --to 2026-11-22T10:01:00Z
  footage clip gate_a_01 --last 1m --output gate.mp4
  footage clip gate_a_01 --last 1h --gaps keep
  footage clip gate_a_01 --last 1h --plan
  footage clip gate_a_01 --last 1h --virtual --hold
  footage clip gate_a_01 --last 1h --render --speed 60 --burn-in-time --time-zone Europe/Berlin")]
pub struct ClipArgs {
    /// Id of the camera; `footage cameras` lists them
    camera: String,
    /// First instant wanted
    #[arg(long, value_name = "TIME", value_parser = time_argument::moment, requires = "to", required_unless_present = "last")]
    from: Option<DateTime<Utc>>,
    /// First instant no longer wanted
    #[arg(long, value_name = "TIME", value_parser = time_argument::moment, requires = "from")]
    to: Option<DateTime<Utc>>,
    /// This long, up to the end of the newest footage: 90s, 1m, 1h
    #[arg(long, value_name = "LENGTH", value_parser = time_argument::length, conflicts_with_all = ["from", "to"])]
    last: Option<Duration>,
    /// What makes the clip: the service itself where the footage allows and ffmpeg else, or one of the two
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// What becomes of stretches without footage: the clip goes on with what comes next, or the last picture stays
    #[arg(long, value_enum, default_value_t)]
    gaps: Gaps,
    /// Make no file: the clip is read from the recordings whenever it is fetched
    #[arg(long = "virtual")]
    is_virtual: bool,
    /// Keep the recordings of the virtual clip as long as the clip
    #[arg(long, requires = "is_virtual")]
    hold: bool,
    /// For a clip that is only looked at: no SHA-256, and no wait for the disk; `footage materialize` makes up for both
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    delivery: DeliveryArgs,
    #[command(flatten)]
    render: RenderArgs,
}

/// The words of `--engine`.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Engine {
    #[default]
    Auto,
    Native,
    Ffmpeg,
}

impl From<Engine> for proto::ClipEngine {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Auto => Self::Auto,
            Engine::Native => Self::Native,
            Engine::Ffmpeg => Self::Ffmpeg,
        }
    }
}

/// The words of `--gaps`.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Gaps {
    #[default]
    Close,
    Keep,
}

impl From<Gaps> for proto::GapMode {
    fn from(gaps: Gaps) -> Self {
        match gaps {
            Gaps::Close => Self::Close,
            Gaps::Keep => Self::Keep,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the clip was not made, or not fetched.
pub async fn run(args: ClipArgs) -> Result<(), CliError> {
    let delivery = Delivery::prepare(&args.delivery).await?;
    let server = &delivery.server;
    let camera = std::slice::from_ref(&args.camera);
    let bounds = (args.from, args.to);
    let (start, end) = last_window::or_bounds(server, camera, args.last, bounds).await?;
    let request = args.render.put_into(CreateClipRequest {
        camera_id: args.camera.clone(),
        start_time: start.map(time_argument::timestamp),
        end_time: end.map(time_argument::timestamp),
        engine: proto::ClipEngine::from(args.engine).into(),
        gap_mode: proto::GapMode::from(args.gaps).into(),
        validate_only: args.delivery.plan,
        created_by: args.delivery.created_by.clone(),
        keep_for: args.delivery.keep_for(),
        request_id: args.delivery.request_id(),
        r#virtual: args.is_virtual,
        hold_sources: args.hold,
        quick: args.quick,
        ..CreateClipRequest::default()
    });
    let job = server
        .insist(async || server.clips().create_clip(asking(request.clone())).await)
        .await?;
    delivery.of_job(job).await
}
