//! `footage restore`: footage back from a destination alone, on a machine that has nothing else.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat, Utc};
use heldar_footage::api;
use heldar_footage::domain::backup::destination::{DEFAULT_TRANSFERS, DestinationSettings};
use heldar_footage::domain::backup::ledger;
use heldar_footage::domain::backup::run::BackupSelection;
use heldar_footage::domain::camera::CameraId;
use heldar_footage::proto;
use heldar_footage::transfer::{DescriptorLinks, Engine, TransferError};
use heldar_footage::work::backup::{
    BackupError, LedgerContents, RestoreIntoError, RestoreOrder, restore_into,
};
use tokio_util::sync::CancellationToken;

use super::failure::{CliError, EXIT_NOT_INTACT};
use super::progress::ProgressView;
use super::signals::Signals;
use super::time_argument;
use super::{description, json, words};

/// Longest description of a destination; certificates are the longest part of one.
const SETTINGS_BYTES_MAX: u64 = 1 << 20;

/// Cameras of a ledger that are named when it has nothing of the selection.
const CAMERAS_NAMED: usize = 10;

/// Bring footage back from a backup destination, without a server and without its database
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is at the destination is read from the copy of the ledger that lies there. Every file is compared \
with its SHA-256 before it gets its name. A restore that was interrupted goes on with the same command; \
files that are there already are never overwritten. When files are missing or not right, the exit code \
is 5 and the files are named.

FILE describes the destination as CreateDestination takes it, with its secrets; - reads it from standard \
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
    let place = ledger_place(&order.settings);
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
    restored
        .map(Into::into)
        .map_err(|error| failure(error, &place))
}

/// `place` is where the ledger was looked for.
fn failure(error: RestoreIntoError, place: &str) -> CliError {
    match error {
        RestoreIntoError::NoLedger => CliError::Usage(format!(
            "there is no ledger at {place}; is this the path that the backups were sent to?"
        )),
        RestoreIntoError::LedgerUnreadable => CliError::Usage(format!(
            "no file of the ledger at {place} can be read: they are damaged, or of a newer version"
        )),
        RestoreIntoError::NothingMatches(None) => CliError::Usage(format!(
            "the ledger at {place} says that all footage was removed from the destination"
        )),
        RestoreIntoError::NothingMatches(Some(contents)) => CliError::Usage(format!(
            "the ledger at {place} has nothing of the selection; it has {}",
            contents_in_words(&contents)
        )),
        RestoreIntoError::Backup(BackupError::Transfer(TransferError::Settings(fault))) => {
            CliError::Usage(fault)
        }
        RestoreIntoError::Backup(error) => CliError::local("cannot restore", error),
    }
}

/// Where a destination has its ledger, as an operator would say it.
fn ledger_place(settings: &DestinationSettings) -> String {
    let (before, path) = match settings {
        DestinationSettings::Local(local) => (String::new(), &local.path),
        DestinationSettings::Sftp(sftp) => (format!("{}:", sftp.host), &sftp.path),
        DestinationSettings::Ftp(ftp) => (format!("{}:", ftp.host), &ftp.path),
        DestinationSettings::S3(s3) => (format!("{}/", s3.bucket), &s3.prefix),
        DestinationSettings::Rclone(rclone) => (format!("{}:", rclone.remote), &rclone.path),
    };
    let path = match path.trim_end_matches('/') {
        "" if path.is_empty() => String::new(),
        path => format!("{path}/"),
    };
    words::plain(&format!("{before}{path}{}", ledger::folder()))
}

/// The cameras and the time of a ledger: `gate, yard and 3 more cameras, from 2026-…Z to 2026-…Z`.
fn contents_in_words(contents: &LedgerContents) -> String {
    let cameras = &contents.camera_ids;
    let named = cameras.len().min(CAMERAS_NAMED);
    let mut text = words::plain(&cameras[..named].join(", "));
    if cameras.len() > named {
        let more = i64::try_from(cameras.len() - named).unwrap_or(i64::MAX);
        text.push_str(&format!(" and {}", words::count(more, "more camera")));
    }
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let (start, end) = (contents.window.start(), contents.window.end());
    format!("{text}, from {} to {}", time(start), time(end))
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

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use heldar_footage::api;
    use heldar_footage::domain::time::TimeRange;
    use heldar_footage::work::backup::{LedgerContents, RestoreIntoError};

    use super::{failure, json, ledger_place};

    #[test]
    fn the_place_of_the_ledger_is_named_as_the_description_names_it() {
        for (described, place) in [
            (r#"{"local":{"path":"/mnt/nas/"}}"#, "/mnt/nas/"),
            (
                r#"{"sftp":{"host":"nas","user":"a","password":"b","path":"backup"}}"#,
                "nas:backup/",
            ),
            (
                r#"{"ftp":{"host":"nas","user":"a","password":"b"}}"#,
                "nas:",
            ),
            (
                r#"{"s3":{"bucket":"vault","prefix":"site/1","region":"eu","accessKey":"a","secretKey":"b"}}"#,
                "vault/site/1/",
            ),
            (r#"{"rclone":{"remote":"cloud","path":"x"}}"#, "cloud:x/"),
        ] {
            let described = json::read("Destination", described).unwrap();
            let roots = [std::path::PathBuf::from("/")];
            let settings = api::destination_settings(described, &roots).unwrap();
            let expected = format!("{place}.heldar-footage/ledger");
            assert_eq!(ledger_place(&settings), expected);
        }
    }

    #[test]
    fn what_the_ledger_has_is_named_within_bounds_when_it_has_nothing_of_the_selection() {
        let at = |s: i64| DateTime::from_timestamp(1_795_341_600 + s, 0).unwrap();
        let contents = LedgerContents {
            camera_ids: (0..13).map(|number| format!("gate_{number:02}")).collect(),
            window: TimeRange::new(at(0), at(60)).unwrap(),
        };
        let error = RestoreIntoError::NothingMatches(Some(contents));
        let said = failure(error, "nas:.heldar-footage/ledger").to_string();
        assert!(
            said.ends_with(
                "it has gate_00, gate_01, gate_02, gate_03, gate_04, gate_05, gate_06, gate_07, gate_08, gate_09 \
                 and 3 more cameras, from 2026-11-22T10:00:00Z to 2026-11-22T10:01:00Z"
            ),
            "{said}"
        );
    }
}
