//! `footage archive`: have footage of several cameras packed into one zip, and say what is in it and what is missing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use heldar_footage::proto::{
    ArchiveLayout, ArchiveSpec, CreateArchiveRequest, StreamArchiveRequest,
};

use super::archive_stream;
use super::connection::{Server, asking};
use super::delivery::{Delivery, DeliveryArgs};
use super::failure::CliError;
use super::last_window::{self, Bounds};
use super::time_argument;

/// Pack footage of any number of cameras into one zip that proves what it holds
#[derive(Debug, clap::Args)]
#[command(override_usage = "\
footage archive [OPTIONS] --camera CAMERA… --from TIME --to TIME
       footage archive [OPTIONS] --camera CAMERA… --last LENGTH
       footage archive [OPTIONS] --all")]
#[command(group = clap::ArgGroup::new("selection").required(true).multiple(true))]
#[command(after_help = "\
The zip holds the footage as CAMERA/FILE, stored without compression; a manifest of what is in it \
and what is missing; the SHA-256 of each file, signed; and a README with the commands that check \
them. `footage verify FILE` checks them too.

The archive is made on the server and stays there until it expires. The command shows the \
progress and waits for the end; Ctrl-C cancels the job. With --stream the server sends the zip \
while it makes it and keeps nothing; what breaks off must then be asked for again from the start. \
Times need a zone: 2026-11-22T10:00:00Z or 2026-11-22T11:00:00+01:00.

Examples:
  footage archive --camera gate_a_01 --camera yard_02 --last 1h --plan
  footage archive --camera gate_a_01 --camera yard_02 --from 2026-11-22T10:00:00Z \\
    --to 2026-11-22T10:05:00Z --trim --layout both --case 2026-117 --output evidence.zip
  footage archive --evidence-only --stream --output - | ssh vault 'cat > evidence.zip'")]
pub struct ArchiveArgs {
    /// Id of a camera, can be given several times; all cameras unless given
    #[arg(long, value_name = "CAMERA", group = "selection")]
    camera: Vec<String>,
    /// First instant wanted; the oldest footage unless given
    #[arg(long, value_name = "TIME", value_parser = time_argument::moment, group = "selection")]
    from: Option<DateTime<Utc>>,
    /// First instant no longer wanted; the newest footage unless given
    #[arg(long, value_name = "TIME", value_parser = time_argument::moment, group = "selection")]
    to: Option<DateTime<Utc>>,
    /// This long, up to the end of the newest footage: 90s, 1m, 1h
    #[arg(long, value_name = "LENGTH", value_parser = time_argument::length, group = "selection",
          conflicts_with_all = ["from", "to"])]
    last: Option<Duration>,
    /// Only footage that is held as evidence
    #[arg(long, group = "selection")]
    evidence_only: bool,
    /// All footage of all cameras
    #[arg(long, group = "selection", conflicts_with_all = ["camera", "from", "to", "last", "evidence_only"])]
    all: bool,
    /// Cut away what lies outside of the window; else recorded files are taken whole
    #[arg(long)]
    trim: bool,
    /// The recorder's own files, one playable clip per camera, or both
    #[arg(long, value_enum, value_name = "LAYOUT", default_value_t = LayoutArg::Segments)]
    layout: LayoutArg,
    /// Fail when a recording is missing or damaged; else it is left out and listed
    #[arg(long)]
    all_or_nothing: bool,
    /// Case or incident, for the manifest
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    case: String,
    /// Person who asks for the export, for the manifest
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    operator: String,
    /// Why the export is made, for the manifest
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
    /// Send the zip to FILE, or `-` for standard output, while it is made; no job, no file on the server
    #[arg(long, requires = "output", conflicts_with_all = ["plan", "no_wait", "keep_for"])]
    stream: bool,
    #[command(flatten)]
    delivery: DeliveryArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LayoutArg {
    Segments,
    Clips,
    Both,
}

impl LayoutArg {
    fn on_the_wire(self) -> i32 {
        let layout = match self {
            Self::Segments => ArchiveLayout::Segments,
            Self::Clips => ArchiveLayout::Clips,
            Self::Both => ArchiveLayout::SegmentsAndClips,
        };
        layout.into()
    }
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the archive was not made, or not fetched.
pub async fn run(args: ArchiveArgs) -> Result<(), CliError> {
    if args.stream {
        return archive_stream::run(&args.delivery, async |server| {
            Ok(StreamArchiveRequest {
                spec: Some(spec(&args, server).await?),
                created_by: args.delivery.created_by.clone(),
            })
        })
        .await;
    }
    let delivery = Delivery::prepare(&args.delivery).await?;
    let server = &delivery.server;
    let request = CreateArchiveRequest {
        spec: Some(spec(&args, server).await?),
        validate_only: args.delivery.plan,
        created_by: args.delivery.created_by.clone(),
        keep_for: args.delivery.keep_for(),
        request_id: args.delivery.request_id(),
        ..CreateArchiveRequest::default()
    };
    let job = server
        .insist(async || {
            server
                .archives()
                .create_archive(asking(request.clone()))
                .await
        })
        .await?;
    delivery.of_job(job).await
}

async fn spec(args: &ArchiveArgs, server: &Server) -> Result<ArchiveSpec, CliError> {
    let bounds = (args.from, args.to);
    let bounds = last_window::or_bounds(server, &args.camera, args.last, bounds).await?;
    Ok(args.spec_for(bounds))
}

impl ArchiveArgs {
    fn spec_for(&self, (start, end): Bounds) -> ArchiveSpec {
        ArchiveSpec {
            start_time: start.map(time_argument::timestamp),
            end_time: end.map(time_argument::timestamp),
            camera_ids: self.camera.clone(),
            evidence_only: self.evidence_only,
            trim: self.trim,
            layout: self.layout.on_the_wire(),
            all_or_nothing: self.all_or_nothing,
            case_id: self.case.clone(),
            operator: self.operator.clone(),
            reason: self.reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use heldar_footage::proto::{ArchiveLayout, ArchiveSpec};

    use super::ArchiveArgs;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: ArchiveArgs,
    }

    fn read(line: &str) -> Result<ArchiveArgs, clap::Error> {
        let words = std::iter::once("archive").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn the_options_become_the_request() {
        let args = read(
            "--camera gate_a_01 --camera yard_02 --from 2026-11-22T10:00:00Z --to 2026-11-22T10:05:00Z --trim \
             --layout both --all-or-nothing --evidence-only --case 2026-117 --operator desk --reason collision",
        )
        .unwrap();
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let expected = ArchiveSpec {
            start_time: at(1_795_341_600),
            end_time: at(1_795_341_900),
            camera_ids: vec!["gate_a_01".into(), "yard_02".into()],
            evidence_only: true,
            trim: true,
            layout: ArchiveLayout::SegmentsAndClips.into(),
            all_or_nothing: true,
            case_id: "2026-117".into(),
            operator: "desk".into(),
            reason: "collision".into(),
        };
        assert_eq!(args.spec_for((args.from, args.to)), expected);
    }

    #[test]
    fn everything_that_is_recorded_must_be_asked_for_in_words() {
        for nothing in ["", "--trim", "--layout clips --output x.zip"] {
            assert!(read(nothing).is_err(), "{nothing}");
        }
        let all = read("--all").unwrap();
        let spec = all.spec_for((all.from, all.to));
        assert!(spec.camera_ids.is_empty() && spec.start_time.is_none());
        for both in [
            "--all --camera gate_a_01",
            "--all --last 1h",
            "--all --evidence-only",
        ] {
            assert!(read(both).is_err(), "{both}");
        }
    }

    #[test]
    fn one_bound_or_one_camera_is_selection_enough() {
        for some in [
            "--camera gate_a_01",
            "--to 2026-11-22T10:00:00Z",
            "--last 1h",
            "--evidence-only --keep-for forever",
        ] {
            assert!(read(some).is_ok(), "{some}");
        }
        assert!(read("--last 1h --to 2026-11-22T10:00:00Z").is_err());
    }

    #[test]
    fn a_stream_needs_a_place_and_leaves_nothing_to_keep() {
        assert!(read("--camera c --stream --output - --force").is_ok());
        for wrong in [
            "--camera c --stream",
            "--camera c --stream --plan",
            "--camera c --stream --output x.zip --no-wait",
            "--camera c --stream --output x.zip --keep-for 2d",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
