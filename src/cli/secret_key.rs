//! `footage secret-key`: makes and changes the key that seals the secrets of backup destinations.

use std::io::{IsTerminal as _, Read as _, Write as _};

use heldar_footage::repository::{SecretKey, Store, StoreError};

use super::data_folder::lock_data_folder;
use super::failure::CliError;
use super::settings::Settings;
use super::words;

const NEW_KEY: &str = "HELDAR_SECRET_KEY_NEW";
/// A key has 44 characters; what is longer holds none.
const LONGEST_KEY_BYTES: u64 = 1024;

/// Make or change the key that seals the secrets of backup destinations
#[derive(Debug, clap::Subcommand)]
pub enum SecretKeyCommand {
    /// Print a fresh key
    #[command(after_help = "\
Set HELDAR_SECRET_KEY to it for the server and keep a copy: without the key, passwords of destinations \
have to be written again. It is stored nowhere.")]
    New,
    /// Seal all secrets with another key
    #[command(after_help = "\
HELDAR_SECRET_KEY is the present key; the new one is read from HELDAR_SECRET_KEY_NEW or, when that is \
not set, from standard input. The server must be stopped; start it again with HELDAR_SECRET_KEY set to \
the new key. If the secrets of one destination cannot be opened, nothing is changed.")]
    Change {
        /// Folder of everything that the service keeps, instead of HELDAR_DATA_DIR
        #[arg(long, value_name = "DIR")]
        data_dir: Option<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when there is no key or no database, a server runs, or secrets cannot be opened.
pub async fn run(command: SecretKeyCommand) -> Result<(), CliError> {
    match command {
        SecretKeyCommand::New => {
            let key = SecretKey::generate()
                .map_err(|error| CliError::local("cannot make a key", error))?;
            writeln!(std::io::stdout(), "{}", key.reveal()).map_err(CliError::output)
        }
        SecretKeyCommand::Change { data_dir } => {
            let (settings, unknown) = Settings::of_process(&[("HELDAR_DATA_DIR", data_dir)])?;
            super::warn_of_unknown(&unknown);
            change(&settings).await
        }
    }
}

async fn change(settings: &Settings) -> Result<(), CliError> {
    let old = settings.secret_key.clone().ok_or_else(|| {
        CliError::Usage("HELDAR_SECRET_KEY, the present key, is not set".to_owned())
    })?;
    let new = SecretKey::parse(&new_key()?)
        .map_err(|error| CliError::Usage(format!("the new key {error}")))?;
    if let Some(path) = settings.database_url.file().filter(|path| !path.exists()) {
        let shown = words::plain(&path.to_string_lossy());
        return Err(CliError::Usage(format!(
            "there is no database {shown}; name the server's data folder with --data-dir or HELDAR_DATA_DIR"
        )));
    }
    let unchanged = "the key was not changed";
    // A server that runs would go on with the old key.
    let _lock =
        lock_data_folder(&settings.data_dir).map_err(|error| CliError::local(unchanged, error))?;
    let store = Store::open(settings.database_url.reveal())
        .await
        .map_err(|error| CliError::local(unchanged, error))?;
    let resealed = store.reseal(&old, &new).await;
    store.close().await;
    let count = resealed.map_err(|error: StoreError| CliError::local(unchanged, error))?;
    let what = match count {
        0 => "no destination has secrets".to_owned(),
        1 => "the secrets of 1 destination were sealed anew".to_owned(),
        count => format!("the secrets of {count} destinations were sealed anew"),
    };
    writeln!(
        std::io::stdout(),
        "{what}; set HELDAR_SECRET_KEY to the new key before the server starts"
    )
    .map_err(CliError::output)
}

fn new_key() -> Result<String, CliError> {
    if let Some(key) = std::env::var(NEW_KEY)
        .ok()
        .filter(|key| !key.trim().is_empty())
    {
        return Ok(key);
    }
    let input = std::io::stdin();
    if input.is_terminal() {
        eprintln!("the new key, then Enter and Ctrl-D:");
    }
    let mut key = String::new();
    input
        .lock()
        .take(LONGEST_KEY_BYTES)
        .read_to_string(&mut key)
        .map_err(|error| CliError::local("cannot read the new key", error))?;
    if key.trim().is_empty() {
        return Err(CliError::Usage(format!(
            "there is no new key; set {NEW_KEY} or write it to standard input"
        )));
    }
    Ok(key)
}
