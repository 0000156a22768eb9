//! `footage database`: copies of the database.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use heldar_footage::repository::copy_database;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::failure::CliError;
use super::settings::Settings;
use super::words;

/// Copy the database
#[derive(Debug, clap::Subcommand)]
pub enum DatabaseCommand {
    /// Write a copy of the database, also while the server runs
    #[command(after_help = "\
The copy is the database of one moment, checked, on the disk, and readable for this user alone. To go \
back to it: stop the server, remove heldar.db, heldar.db-wal and heldar.db-shm of the data folder, put \
the copy there as heldar.db, start the server. Clips and archives, and the signing key, are files of \
their own; those that the copy does not know are removed by the server.")]
    Backup {
        /// File to write; it must not exist
        file: PathBuf,
        /// Folder of everything that the service keeps, instead of HELDAR_DATA_DIR
        #[arg(long, value_name = "DIR")]
        data_dir: Option<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the file exists or cannot be written, or the database cannot be read or is damaged.
pub async fn run(command: DatabaseCommand) -> Result<(), CliError> {
    let DatabaseCommand::Backup { file, data_dir } = command;
    let (settings, unknown) = Settings::of_process(&[("HELDAR_DATA_DIR", data_dir)])?;
    super::warn_of_unknown(&unknown);
    let size_bytes = back_up(&settings, &file).await?;
    let size = words::bytes(i64::try_from(size_bytes).unwrap_or(i64::MAX));
    let path = words::plain(&file.to_string_lossy());
    writeln!(std::io::stdout(), "{path}: {size}, checked").map_err(CliError::output)
}

/// Writes the copy; its size in bytes.
async fn back_up(settings: &Settings, to: &Path) -> Result<u64, CliError> {
    if to.symlink_metadata().is_ok() {
        return Err(exists(to));
    }
    let name = to
        .file_name()
        .ok_or_else(|| CliError::Usage("the name of a file is missing".to_owned()))?;
    let part = Part(to.with_file_name(format!(".{}.part", name.to_string_lossy())));
    let cannot_write = |source| CliError::file("write", to, source);
    part.remove().map_err(cannot_write)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part.0)
        .map_err(cannot_write)?;
    copy_database(settings.database_url.reveal(), &part.0)
        .await
        .map_err(|error| CliError::local("cannot back the database up", error))?;
    file.sync_all().map_err(cannot_write)?;
    let size_bytes = file.metadata().map_err(cannot_write)?.len();
    match renameat_with(CWD, &part.0, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(exists(to)),
        // Some file systems lack the flag.
        Err(Errno::INVAL | Errno::NOSYS) => {
            std::fs::rename(&part.0, to).map_err(cannot_write)?;
        }
        Err(error) => return Err(cannot_write(error.into())),
    }
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))
        .and_then(|folder| folder.sync_all())
        .map_err(cannot_write)?;
    Ok(size_bytes)
}

fn exists(path: &Path) -> CliError {
    CliError::Usage(format!(
        "{} exists already; name another file",
        words::plain(&path.to_string_lossy())
    ))
}

/// The copy until it has its name; what is left of one that failed goes with it.
struct Part(PathBuf);

impl Part {
    fn remove(&self) -> std::io::Result<()> {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Under its name the file is no longer here; why the copy failed is told already.
        let _ = self.remove();
    }
}
