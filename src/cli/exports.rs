//! `footage exports`: who exported and who took what, and when, from the data folder's own record.

use chrono::SecondsFormat;
use heldar_footage::domain::export_record::ExportRecord;
use heldar_footage::repository::Store;
use serde::Serialize;

use super::failure::CliError;
use super::settings::Settings;
use super::table::Table;
use super::{json, words};

/// Show who exported and who downloaded which archive, and when
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The record is in the database of the data folder, so this runs on the server's machine, also while the \
server runs. Lines are only ever added to it; deleting an archive adds one.")]
pub struct ExportsArgs {
    /// Only of this archive
    #[arg(long, value_name = "ID")]
    archive: Option<String>,
    /// Only of this case
    #[arg(long, value_name = "ID")]
    case: Option<String>,
    /// The newest lines, at most this many
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    limit: u32,
    /// Folder of everything that the service keeps, instead of HELDAR_DATA_DIR
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

impl ExportsArgs {
    /// The data folder, when it was named.
    pub fn data_dir(&self) -> Option<String> {
        self.data_dir.clone()
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    action: String,
    archive_id: &'a str,
    case_id: &'a str,
    operator: &'a str,
    reason: &'a str,
    created_by: &'a str,
    peer: &'a str,
    note: &'a str,
    size_bytes: u64,
    sha256: &'a str,
}

impl<'a> Line<'a> {
    fn of(record: &'a ExportRecord) -> Self {
        Self {
            time: record.time.to_rfc3339_opts(SecondsFormat::Micros, true),
            action: record.action.as_str().to_lowercase(),
            archive_id: &record.archive_id,
            case_id: &record.case_id,
            operator: &record.operator,
            reason: &record.reason,
            created_by: &record.created_by,
            peer: &record.peer,
            note: &record.note,
            size_bytes: record.size_bytes,
            sha256: &record.sha256,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when there is no database, or it cannot be read.
pub async fn run(settings: &Settings, args: &ExportsArgs) -> Result<(), CliError> {
    if let Some(path) = settings.database_url.file().filter(|path| !path.exists()) {
        let shown = words::plain(&path.to_string_lossy());
        return Err(CliError::Usage(format!(
            "there is no database {shown}; name the server's data folder with --data-dir or HELDAR_DATA_DIR"
        )));
    }
    let unreadable = "the record of exports cannot be read";
    let store = Store::open(settings.database_url.reveal())
        .await
        .map_err(|error| CliError::local(unreadable, error))?;
    let records = store
        .export_records(args.archive.as_deref(), args.case.as_deref(), args.limit)
        .await
        .map_err(|error| CliError::local(unreadable, error))?;
    store.close().await;
    if args.json {
        return records
            .iter()
            .try_for_each(|record| json::print_plain_line(&Line::of(record)));
    }
    let mut table = Table::new(&[
        "TIME", "ACTION", "ARCHIVE", "CASE", "OPERATOR", "BY", "FROM", "NOTE",
    ]);
    for record in &records {
        let line = Line::of(record);
        table.push(vec![
            line.time.clone(),
            line.action.clone(),
            words::plain(line.archive_id),
            words::plain(line.case_id),
            words::plain(line.operator),
            words::plain(line.created_by),
            words::plain(line.peer),
            words::plain(line.note),
        ]);
    }
    table.print("nothing was exported yet")
}
