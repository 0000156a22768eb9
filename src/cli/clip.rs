//! `footage clip`: cut a clip on the server, show how far it is, and say what was delivered.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use heldar_footage::proto::{
    Clip, ClipPlan, CreateClipRequest, Gap, GapReason, GetCameraRequest, Job, job,
};

use super::connection::{Patience, Server, asking};
use super::download::{self, Target};
use super::failure::{self, CliError};
use super::follow::{self, OnInterrupt};
use super::json;
use super::progress::ProgressView;
use super::signals::Signals;
use super::{ServerArgs, time_argument, words};

/// Cut a clip: the exact footage of a camera between two moments, as one playable file
#[derive(Debug, clap::Args)]
#[command(override_usage = "\
footage clip [OPTIONS] CAMERA --from TIME --to TIME
       footage clip [OPTIONS] CAMERA --last LENGTH")]
#[command(after_help = "\
The clip is cut on the server and stays there until it expires. The command shows the progress
and waits for the end; Ctrl-C cancels the job. Times need a zone: 2026-11-22T10:00:00Z or
2026-11-22T11:00:00+01:00. A clip is at most an hour long.

Examples:
  footage clip gate_a_01 --from 2026-11-22T10:00:00Z --to 2026-11-22T10:01:00Z
  footage clip gate_a_01 --last 1m --output gate.mp4
  footage clip gate_a_01 --last 1h --plan")]
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
    /// Fetch the clip into this file or folder, and check its SHA-256
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite FILE
    #[arg(long, requires = "output")]
    force: bool,
    /// Make nothing; show what would be delivered
    #[arg(long, conflicts_with_all = ["output", "no_wait"])]
    plan: bool,
    /// Only start the job, and print its id
    #[arg(long, conflicts_with = "output")]
    no_wait: bool,
    /// Who asks, for the record
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    created_by: String,
    #[command(flatten)]
    server: ServerArgs,
    /// Print the job as JSON, as grpcurl does
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the clip was not made, or not fetched.
pub async fn run(args: ClipArgs) -> Result<(), CliError> {
    let target = args
        .output
        .as_ref()
        .map(|path| Target::check(path, args.force))
        .transpose()?;
    // Listening begins before the job exists, so that Ctrl-C cannot leave a job behind unmentioned.
    let mut signals = Signals::listen()?;
    let server = args.server.connect().await?;
    let (start, end) = window(&args, &server).await?;
    let request = CreateClipRequest {
        camera_id: args.camera.clone(),
        start_time: Some(time_argument::timestamp(start)),
        end_time: Some(time_argument::timestamp(end)),
        validate_only: args.plan,
        created_by: args.created_by.clone(),
        // A repeated call after a broken connection must not cut the clip twice.
        request_id: if args.plan {
            String::new()
        } else {
            uuid::Uuid::now_v7().to_string()
        },
        ..CreateClipRequest::default()
    };
    let job = create(&server, request).await?;
    if args.plan {
        return print_plan(&job, args.json);
    }
    if args.no_wait {
        return if args.json {
            print_json(job)
        } else {
            print_lines(&[job.id])
        };
    }
    let mut view = ProgressView::new(args.json);
    let job = follow::to_end(
        &server,
        job,
        &mut view,
        &mut signals,
        OnInterrupt::CancelJob,
        |_| Ok(()),
    )
    .await?;
    let job = match follow::succeeded(job.clone()) {
        Ok(job) => job,
        Err(error) => {
            drop(view);
            if args.json {
                print_json(job)?;
            }
            return Err(error);
        }
    };
    let Some(job::Result::Clip(clip)) = &job.result else {
        return Err(CliError::local(
            "the clip is not in the answer",
            "the server sent a job without its result",
        ));
    };
    let file = match &target {
        Some(target) => {
            Some(download::fetch(&server, clip, target, &mut view, &mut signals).await?)
        }
        None => None,
    };
    drop(view);
    if args.json {
        return print_json(job);
    }
    let mut lines = clip_lines(clip, &server.url_of(&clip.url));
    if let Some(file) = file {
        lines.insert(
            1,
            row(
                "File",
                &words::plain(&super::settings::absolute(&file).to_string_lossy()),
            ),
        );
    }
    lines.extend(
        job.warnings
            .iter()
            .map(|warning| row("Warning", &failure::notice(warning))),
    );
    print_lines(&lines)
}

async fn window(
    args: &ClipArgs,
    server: &Server,
) -> Result<(DateTime<Utc>, DateTime<Utc>), CliError> {
    if let (Some(from), Some(to)) = (args.from, args.to) {
        return Ok((from, to));
    }
    let length = args
        .last
        .ok_or_else(|| CliError::Usage("give --from and --to, or --last".into()))?;
    let request = asking(GetCameraRequest {
        camera_id: args.camera.clone(),
    });
    let camera = server
        .catalog()
        .get_camera(request)
        .await
        .map_err(|status| server.failure(status))?
        .into_inner();
    let newest = camera.last_segment_time.as_ref().and_then(words::moment);
    let end = newest.ok_or_else(|| {
        CliError::Usage(format!(
            "camera {} has no footage yet",
            words::plain(&args.camera)
        ))
    })?;
    let start = TimeDelta::from_std(length)
        .ok()
        .and_then(|length| end.checked_sub_signed(length));
    Ok((
        start.ok_or_else(|| CliError::Usage("--last reaches back too far".into()))?,
        end,
    ))
}

async fn create(server: &Server, request: CreateClipRequest) -> Result<Job, CliError> {
    let mut patience = Patience::new();
    loop {
        match server.clips().create_clip(asking(request.clone())).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => {
                let wait = patience
                    .after(&status)
                    .ok_or_else(|| server.failure(status))?;
                tokio::time::sleep(wait).await;
            }
        }
    }
}

fn print_json(mut job: Job) -> Result<(), CliError> {
    json::keep_known_details(&mut job);
    json::print("Job", &job)
}

fn print_lines(lines: &[String]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    lines
        .iter()
        .try_for_each(|line| writeln!(out, "{line}"))
        .map_err(CliError::output)
}

fn print_plan(job: &Job, as_json: bool) -> Result<(), CliError> {
    let Some(job::Plan::ClipPlan(plan)) = &job.plan else {
        return Err(CliError::local(
            "the plan is not in the answer",
            "the server sent a job without it",
        ));
    };
    if as_json {
        json::print("ClipPlan", plan)
    } else {
        print_lines(&plan_lines(plan))
    }
}

fn plan_lines(plan: &ClipPlan) -> Vec<String> {
    let mut lines = vec![
        row("Requested", &words::window(plan.requested_window.as_ref())),
        row(
            "Would deliver",
            &words::window(plan.delivered_window.as_ref()),
        ),
        row(
            "Covered",
            &covered(plan.covered.as_ref(), plan.requested.as_ref()),
        ),
    ];
    lines.extend(gap_lines(&plan.gaps));
    lines.push(row("Size, about", &words::bytes(plan.expected_bytes)));
    lines.push(row(
        "Segments",
        &words::grouped(i64::try_from(plan.segments.len()).unwrap_or(i64::MAX)),
    ));
    lines.extend(plan.segments.iter().map(|segment| {
        let window = heldar_footage::proto::TimeWindow {
            start_time: segment.start_time,
            end_time: segment.end_time,
        };
        format!(
            "  {}  {}  {}",
            words::window(Some(&window)),
            words::plain(&segment.source_id),
            words::plain(&segment.path)
        )
    }));
    lines
}

/// What a clip is, line by line. `url` is where it can be fetched over HTTP.
pub fn clip_lines(clip: &Clip, url: &str) -> Vec<String> {
    let mut lines = vec![
        row("Clip", &words::plain(&clip.id)),
        row("URL", &words::plain(url)),
        row("Camera", &words::plain(&clip.camera_id)),
        row("Requested", &words::window(clip.requested_window.as_ref())),
        row("Delivered", &words::window(clip.delivered_window.as_ref())),
        row(
            "Plays",
            &clip
                .duration
                .as_ref()
                .map_or_else(|| "-".to_owned(), words::seconds),
        ),
        row(
            "Covered",
            &covered(clip.covered.as_ref(), clip.requested.as_ref()),
        ),
    ];
    lines.extend(gap_lines(&clip.gaps));
    lines.push(row(
        "Size",
        &format!(
            "{} ({} bytes)",
            words::bytes(clip.size_bytes),
            words::grouped(clip.size_bytes)
        ),
    ));
    lines.push(row("SHA-256", &words::plain(&clip.sha256)));
    if clip.expire_time.is_some() {
        lines.push(row("Kept until", &words::time(clip.expire_time.as_ref())));
    }
    lines
}

fn covered(
    covered: Option<&prost_types::Duration>,
    requested: Option<&prost_types::Duration>,
) -> String {
    match (covered, requested) {
        (Some(covered), Some(requested)) if covered == requested => {
            format!("{}, all of it", words::seconds(requested))
        }
        (Some(covered), Some(requested)) => format!(
            "{} of {}",
            words::seconds(covered),
            words::seconds(requested)
        ),
        _ => "-".to_owned(),
    }
}

fn gap_lines(gaps: &[Gap]) -> Vec<String> {
    if gaps.is_empty() {
        return vec![row("Gaps", "none")];
    }
    let mut lines = vec![row("Gaps", &gaps.len().to_string())];
    lines.extend(gaps.iter().map(gap_line));
    lines
}

/// A gap: `  2026-…Z to 2026-…Z (30 s): not recorded; at 20.000 s of the clip`.
pub fn gap_line(gap: &Gap) -> String {
    let window = heldar_footage::proto::TimeWindow {
        start_time: gap.start_time,
        end_time: gap.end_time,
    };
    let moment = |time: &Option<prost_types::Timestamp>| time.as_ref().and_then(words::moment);
    let length = match (moment(&gap.start_time), moment(&gap.end_time)) {
        (Some(start), Some(end)) => {
            format!(" ({})", short_length((end - start).num_milliseconds()))
        }
        _ => String::new(),
    };
    let place = gap
        .clip_offset
        .as_ref()
        .map(|offset| format!("; at {} of the clip", words::seconds(offset)));
    format!(
        "  {}{length}: {}{}",
        words::window(Some(&window)),
        gap_reason(gap.reason()),
        place.unwrap_or_default()
    )
}

/// Rounding would make a short gap vanish.
fn short_length(milliseconds: i64) -> String {
    if milliseconds < 10_000 {
        format!("{milliseconds} ms")
    } else {
        words::roughly(milliseconds)
    }
}

fn gap_reason(reason: GapReason) -> &'static str {
    match reason {
        GapReason::Unspecified => "no reason given",
        GapReason::NotRecorded => "not recorded",
        GapReason::FileMissing => "the file is missing",
        GapReason::FileDamaged => "the file is damaged",
        GapReason::CodecChange => "another codec or picture size; ask for this stretch alone",
        GapReason::NoKeyFrame => "no key frame to begin with",
    }
}

/// A row of a description: a name and its value.
pub fn row(name: &str, value: &str) -> String {
    format!("{name:<14}{value}")
}

#[cfg(test)]
mod tests {
    use heldar_footage::proto::{Clip, Gap, GapReason, TimeWindow};

    use super::clip_lines;

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp {
            seconds: 1_795_341_600 + seconds,
            nanos: 0,
        })
    }

    fn lasting(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    #[test]
    fn a_clip_says_what_was_delivered_and_what_is_missing() {
        let window = TimeWindow {
            start_time: at(0),
            end_time: at(60),
        };
        let gap = Gap {
            start_time: at(20),
            end_time: at(50),
            reason: GapReason::NotRecorded.into(),
            clip_offset: lasting(20),
            ..Gap::default()
        };
        let clip = Clip {
            id: "clip_1".into(),
            camera_id: "gate_a_01".into(),
            requested_window: Some(window),
            delivered_window: Some(window),
            requested: lasting(60),
            covered: lasting(30),
            duration: lasting(30),
            gaps: vec![gap],
            size_bytes: 1_234_567,
            sha256: "ab".into(),
            ..Clip::default()
        };
        assert_eq!(
            clip_lines(&clip, "http://h:1/media/clips/clip_1.mp4"),
            [
                "Clip          clip_1",
                "URL           http://h:1/media/clips/clip_1.mp4",
                "Camera        gate_a_01",
                "Requested     2026-11-22T10:00:00Z to 2026-11-22T10:01:00Z",
                "Delivered     2026-11-22T10:00:00Z to 2026-11-22T10:01:00Z",
                "Plays         30.000 s",
                "Covered       30.000 s of 60.000 s",
                "Gaps          1",
                "  2026-11-22T10:00:20Z to 2026-11-22T10:00:50Z (30 s): not recorded; at 20.000 s of the clip",
                "Size          1.23 MB (1,234,567 bytes)",
                "SHA-256       ab",
            ]
        );
    }
}
