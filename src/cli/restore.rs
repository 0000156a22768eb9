//! `footage restore`: footage back from a destination alone, on a machine that has nothing else.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use heldar_footage::api;
use heldar_footage::domain::backup::destination::DEFAULT_TRANSFERS;
use heldar_footage::domain::backup::run::BackupSelection;
use heldar_footage::domain::camera::CameraId;
use heldar_footage::proto;
use heldar_footage::transfer::{DescriptorLinks, Engine, TransferError};
use heldar_footage::work::backup::{BackupError, RestoreOrder, restore_into};
use tokio_util::sync::CancellationToken;

use super::failure::{CliError, EXIT_NOT_INTACT};
use super::progress::ProgressView;
use super::signals::Signals;
use super::time_argument;
use super::{description, json, words};

/// Longest description of a destination; certificates are the longest part of one.
const SETTINGS_BYTES_MAX: u64 = 1 << 20;

/// Bring footage back from a backup destination, without a server and without its database
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is at the destination is read from the copy of the ledger that lies there. Every file is compared
with its SHA-256 before it gets its name. A restore that was interrupted goes on with the same command;
files that are there already are never overwritten. When files are missing or not right, the exit code
is 5 and the files are named.

FILE describes the destination as CreateDestination takes it, with its secrets; - reads it from standard
input, so that it need not lie on the disk:
  {\"local\":{\"path\":\"/mnt/nas\"}}
  {\"sftp\":{\"host\":\"nas.example\",\"user\":\"footage\",\"password\":\"…\",\"path\":\"backup\"}}

To bring footage back into a server's catalog, call RestoreBackup of the server instead.

Examples:
  footage restore --destination nas.json --into /srv/restored
  footage restore --destination - --into case-17 --camera gate_a_01 \\
    --from 2026-11-22T10:00:00Z --to 2026-11-22T11:00:00Z < nas.json")]
pub struct RestoreArgs {
    /// Description of the destination, JSON
    #[arg(long, value_name = "FILE")]
    destination: PathBuf,
    /// Folder to restore into; made where it is missing
    #[arg(long, value_name = "FOLDER")]
    into: PathBuf,
    /// Id of a camera, can be given several times; all cameras unless given
    #[arg(long, value_name = "CAMERA", value_parser = camera)]
    camera: Vec<CameraId>,
    /// First instant wanted; the oldest footage unless given
    #[arg(long, value_name = "TIME", value_parser = time_argument::moment)]
    from: Option<DateTime<Utc>>,
    /// First instant no longer wanted; the newest footage unless given
    #[arg(long, value_name = "TIME", value_parser = time_argument::moment)]
    to: Option<DateTime<Utc>>,
    /// Name or path of rclone; local destinations need none
    #[arg(
        long,
        value_name = "PROGRAM",
        env = "HELDAR_RCLONE_BIN",
        default_value = "rclone"
    )]
    rclone: String,
    /// rclone's configuration, for a destination of kind rclone
    #[arg(long, value_name = "FILE", env = "HELDAR_RCLONE_CONFIG")]
    rclone_config: Option<PathBuf>,
    /// Print what came back as JSON
    #[arg(long)]
    json: bool,
}

fn camera(text: &str) -> Result<CameraId, String> {
    CameraId::parse(text).map_err(|error| error.to_string())
}

/// Runs the command.
///
/// # Errors
/// When nothing could be restored. Files that are missing or not right are told by the exit code.
pub async fn run(args: RestoreArgs) -> Result<ExitCode, CliError> {
    let described = described(&args)?;
    // Whoever runs this command may write wherever the system lets them.
    let settings =
        api::destination_settings(described.clone(), &[PathBuf::from("/")]).map_err(|faults| {
            let faults: Vec<String> = faults
                .iter()
                .map(|(field, fault)| format!("{field} {fault}"))
                .collect();
            CliError::Usage(format!(
                "the destination cannot be used: {}",
                faults.join("; ")
            ))
        })?;
    if args.from.zip(args.to).is_some_and(|(from, to)| from >= to) {
        return Err(CliError::Usage("--to must be after --from".to_owned()));
    }
    let scratch = std::env::temp_dir().join(format!("footage-restore-{}", std::process::id()));
    let engine = Engine {
        rclone: args.rclone.clone().into(),
        rclone_config: args.rclone_config.clone(),
        scratch: scratch.clone(),
        links: DescriptorLinks::default(),
    };
    let order = RestoreOrder {
        settings,
        selection: BackupSelection {
            start: args.from,
            end: args.to,
            camera_ids: args.camera.clone(),
            ..BackupSelection::default()
        },
        folder: std::path::absolute(&args.into)
            .map_err(|error| CliError::file("use", &args.into, error))?,
        transfers: described
            .transfers
            .and_then(|transfers| u32::try_from(transfers).ok())
            .unwrap_or(DEFAULT_TRANSFERS),
        bandwidth_limit_bytes_per_second: u64::try_from(described.bandwidth_limit_bytes_per_second)
            .unwrap_or(0),
    };
    let restored = restore(order, &engine, args.json).await;
    // Whatever is in there belongs to transfers that have ended.
    let _ = std::fs::remove_dir_all(&scratch);
    let summary = restored?;
    if args.json {
        json::print("RestoreSummary", &summary)?;
    } else {
        description::print(&lines(&summary, &args))?;
    }
    Ok(if summary.files_failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NOT_INTACT)
    })
}

fn described(args: &RestoreArgs) -> Result<proto::Destination, CliError> {
    let path = &args.destination;
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin()
            .take(SETTINGS_BYTES_MAX)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(SETTINGS_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| CliError::file("read", path, error))?;
    json::read("Destination", &text).map_err(|fault| {
        CliError::Usage(format!(
            "{} describes no destination: {fault}",
            words::plain(&path.to_string_lossy())
        ))
    })
}

async fn restore(
    order: RestoreOrder,
    engine: &Engine,
    json: bool,
) -> Result<proto::RestoreSummary, CliError> {
    let mut signals = Signals::listen()?;
    let cancel = CancellationToken::new();
    let mut view = ProgressView::new(json);
    let mut on_progress = |progress: heldar_footage::domain::job::Progress| {
        view.show(&proto::Job {
            kind: proto::JobKind::Restore.into(),
            state: proto::JobState::Running.into(),
            progress: Some(progress.into()),
            ..proto::Job::default()
        });
    };
    let restoring = restore_into(order, engine, &cancel, &mut on_progress);
    tokio::pin!(restoring);
    let restored = tokio::select! {
        restored = &mut restoring => restored,
        name = signals.next() => {
            cancel.cancel();
            // What was begun is taken away before anything is said.
            let _ = restoring.await;
            return Err(CliError::Interrupted(format!("ended by {name}; the same command goes on")));
        }
    };
    restored.map(Into::into).map_err(|error| match error {
        BackupError::NothingMatches => CliError::Usage(
            "the destination has no ledger, or the ledger has nothing of the selection".to_owned(),
        ),
        BackupError::Transfer(TransferError::Settings(fault)) => CliError::Usage(fault),
        error => CliError::local("cannot restore", error),
    })
}

fn lines(summary: &proto::RestoreSummary, args: &RestoreArgs) -> Vec<String> {
    let mut lines = vec![format!(
        "{} brought back into {}, {}; {} there already",
        words::count(summary.files_restored, "file"),
        words::plain(&args.into.to_string_lossy()),
        words::bytes(summary.bytes_restored),
        summary.files_present,
    )];
    if summary.files_failed > 0 {
        lines.push(format!(
            "{} not brought back:",
            words::count(summary.files_failed, "file")
        ));
        lines.extend(
            summary
                .faults
                .iter()
                .map(|fault| format!("  {}", words::plain(&fault.message))),
        );
        let unlisted = summary.files_failed - summary.faults.len() as i64;
        if unlisted > 0 {
            lines.push(format!("  and {} more", words::grouped(unlisted)));
        }
    }
    lines
}
