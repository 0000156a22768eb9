//! `footage cameras` and `footage timeline`: what was recorded.

use chrono::{DateTime, Utc};
use heldar_footage::proto::{Camera, GetTimelineRequest, ListCamerasRequest, TimeWindow, Timeline};

use super::connection::{Server, asking};
use super::description::{self, gap_line, row};
use super::failure::CliError;
use super::table::Table;
use super::{ServerArgs, json, time_argument, words};

/// List the cameras that have footage
#[derive(Debug, clap::Args)]
pub struct CamerasArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Show when a camera recorded, and its gaps
#[derive(Debug, clap::Args)]
pub struct TimelineArgs {
    /// Id of the camera; `footage cameras` lists them
    camera: String,
    /// Begin of the window; the oldest footage unless given
    #[arg(long, value_name = "TIME", value_parser = time_argument::moment)]
    from: Option<DateTime<Utc>>,
    /// End of the window; the newest footage unless given
    #[arg(long, value_name = "TIME", value_parser = time_argument::moment)]
    to: Option<DateTime<Utc>>,
    #[command(flatten)]
    server: ServerArgs,
    /// Print the timeline as JSON, as grpcurl does
    #[arg(long)]
    json: bool,
}

/// Runs `footage cameras`.
///
/// # Errors
/// [`CliError`] when the server refuses or cannot be reached.
pub async fn cameras(args: CamerasArgs) -> Result<(), CliError> {
    let server = args.server.connect().await?;
    let cameras = all_cameras(&server).await?;
    if args.json {
        return cameras
            .iter()
            .try_for_each(|camera| json::print_line("Camera", camera));
    }
    let mut table = Table::new(&["CAMERA", "NAME", "SEGMENTS", "SIZE", "FIRST", "LAST"]);
    for camera in cameras {
        table.push(vec![
            words::plain(&camera.id),
            words::plain(&camera.display_name),
            words::grouped(camera.segment_count),
            words::bytes(camera.size_bytes),
            words::time(camera.first_segment_time.as_ref()),
            words::time(camera.last_segment_time.as_ref()),
        ]);
    }
    table.print("no cameras; `footage import DIR` takes recordings in")
}

/// All cameras that the server knows, page by page.
///
/// # Errors
/// [`CliError`] when the server refuses or cannot be reached.
pub async fn all_cameras(server: &Server) -> Result<Vec<Camera>, CliError> {
    let mut cameras = Vec::new();
    let mut request = ListCamerasRequest {
        page_size: 1000,
        page_token: String::new(),
    };
    loop {
        let page = server.catalog().list_cameras(asking(request.clone())).await;
        let page = page.map_err(|status| server.failure(status))?.into_inner();
        cameras.extend(page.cameras);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(cameras);
        }
    }
}

/// Runs `footage timeline`.
///
/// # Errors
/// [`CliError`] when the server refuses or cannot be reached.
pub async fn timeline(args: TimelineArgs) -> Result<(), CliError> {
    let server = args.server.connect().await?;
    let request = GetTimelineRequest {
        camera_id: args.camera,
        start_time: args.from.map(time_argument::timestamp),
        end_time: args.to.map(time_argument::timestamp),
        resolution: None,
    };
    let timeline = server.catalog().get_timeline(asking(request)).await;
    let timeline = timeline
        .map_err(|status| server.failure(status))?
        .into_inner();
    if args.json {
        return json::print("Timeline", &timeline);
    }
    description::print(&lines(&timeline))
}

fn lines(timeline: &Timeline) -> Vec<String> {
    let mut lines = vec![
        row("Camera", &words::plain(&timeline.camera_id)),
        row("Window", &words::window(timeline.window.as_ref())),
        row(
            "Covered",
            &timeline
                .covered
                .as_ref()
                .map_or_else(|| "-".to_owned(), words::seconds),
        ),
        row("Recorded", &spans(timeline.spans.len())),
    ];
    lines.extend(
        timeline
            .spans
            .iter()
            .map(|span| format!("  {}", words::window(Some(span)))),
    );
    lines.push(row("Gaps", &timeline.gaps.len().to_string()));
    lines.extend(timeline.gaps.iter().map(gap_line));
    if !timeline.locks.is_empty() {
        lines.push(row("Held", &timeline.locks.len().to_string()));
    }
    lines.extend(timeline.locks.iter().map(|lock| {
        let window = TimeWindow {
            start_time: lock.start_time,
            end_time: lock.end_time,
        };
        let incident = if lock.incident_id.is_empty() {
            "no incident"
        } else {
            &lock.incident_id
        };
        format!(
            "  {}: {}",
            words::window(Some(&window)),
            words::plain(incident)
        )
    }));
    lines
}

fn spans(number: usize) -> String {
    words::count(i64::try_from(number).unwrap_or(i64::MAX), "span")
}
