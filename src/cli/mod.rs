//! The command line: settings, wiring, signals, commands. No logic of the service is here.
//!
//! Client commands (`clip`, `materialize`, `archive`, `jobs`, `watch`, `cameras`, `timeline`) talk to a server over gRPC, as any other
//! client does. `serve`, `import`, `exports`, `secret-key` and `doctor` work on the data folder of this machine, `verify` on files.
//! Results go to standard output, progress and errors to standard error.

mod archive;
mod archive_report;
mod archive_stream;
mod backup_report;
mod backup_settings;
mod catalog;
#[cfg(test)]
mod client_tests;
mod clip;
mod clip_render;
mod clip_report;
mod colour;
mod connection;
mod data_folder;
mod database;
mod database_url;
mod delivery;
mod description;
mod doctor;
mod doctor_checks;
mod doctor_secrets;
mod download;
mod exports;
mod failure;
mod follow;
mod followers;
mod import;
mod import_report;
mod jobs;
mod json;
mod last_window;
mod logging;
mod materialize;
mod open_files;
mod opened_catalog;
mod outcome;
mod part_file;
mod progress;
mod restore;
#[cfg(test)]
mod scripted_server;
mod secret_key;
mod serve;
mod service;
mod settings;
mod signals;
mod sources;
mod systemd;
mod table;
mod time_argument;
mod variables;
mod verify;
mod words;
mod work_settings;

use std::process::ExitCode;

use clap::Parser;

use connection::Server;
use failure::CliError;
use settings::Settings;

const AFTER_HELP: &str = "\
`footage COMMAND --help` explains a command. `footage settings` lists the variables of the
environment that are read, with meaning, default and present value.";

/// Gets footage out of video recorders: clips cut to the frame, archives that prove what they hold, over gRPC, with live progress
#[derive(Debug, Parser)]
#[command(name = "footage", version, max_term_width = 110, after_help = format!("{AFTER_HELP}\n\n{}", failure::EXIT_CODES))]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Import(import::ImportArgs),
    Clip(clip::ClipArgs),
    Materialize(materialize::MaterializeArgs),
    Archive(archive::ArchiveArgs),
    Verify(verify::VerifyArgs),
    Restore(restore::RestoreArgs),
    Jobs(jobs::JobsArgs),
    Watch(jobs::WatchArgs),
    Cameras(catalog::CamerasArgs),
    Timeline(catalog::TimelineArgs),
    Exports(exports::ExportsArgs),
    Doctor(doctor::DoctorArgs),
    #[command(subcommand)]
    Database(database::DatabaseCommand),
    #[command(subcommand)]
    SecretKey(secret_key::SecretKeyCommand),
    /// List the variables of the environment: meaning, default, present value
    #[command(after_help = sources::SYNTAX)]
    Settings {
        /// Print the variables as JSON
        #[arg(long)]
        json: bool,
    },
}

/// The server that a client command calls.
#[derive(Debug, clap::Args)]
struct ServerArgs {
    /// Server to call
    #[arg(long, env = "HELDAR_SERVER", hide_env_values = true, value_name = "URL", value_parser = server_argument,
          default_value = connection::DEFAULT_SERVER)]
    server: String,
}

impl ServerArgs {
    async fn connect(&self) -> Result<Server, CliError> {
        Server::connect(&self.server).await
    }
}

/// A blank variable counts as unset.
fn server_argument(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Ok(connection::DEFAULT_SERVER.to_owned()),
        text => connection::server_url(text),
    }
}

/// Runs the command that the arguments of the process name, and returns its exit code.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return CliError::local("cannot start", error).report(),
    };
    let result = runtime.block_on(command(cli.command));
    // Work that did not end in time must not hold up the process.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| error.report())
}

async fn command(command: Command) -> Result<ExitCode, CliError> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Serve(args) => {
            let (settings, unknown) = Settings::of_process(&args.overrides())?;
            serve::run(settings, &unknown).await
        }
        Command::Import(args) => {
            let (settings, unknown) =
                Settings::of_process(&[("HELDAR_DATA_DIR", args.data_dir())])?;
            warn_of_unknown(&unknown);
            import::run(&settings, &args).await.map(done)
        }
        Command::Clip(args) => clip::run(args).await.map(done),
        Command::Materialize(args) => materialize::run(args).await.map(done),
        Command::Verify(args) => verify::run(args).await,
        Command::Restore(args) => restore::run(args).await,
        Command::Archive(args) => archive::run(args).await.map(done),
        Command::Jobs(args) => jobs::run(args).await.map(done),
        Command::Watch(args) => jobs::watch(args).await.map(done),
        Command::Cameras(args) => catalog::cameras(args).await.map(done),
        Command::Timeline(args) => catalog::timeline(args).await.map(done),
        Command::Exports(args) => {
            let (settings, unknown) =
                Settings::of_process(&[("HELDAR_DATA_DIR", args.data_dir())])?;
            warn_of_unknown(&unknown);
            exports::run(&settings, &args).await.map(done)
        }
        Command::Doctor(args) => doctor::run(&args).await.map(done),
        Command::Database(command) => database::run(command).await.map(done),
        Command::SecretKey(command) => secret_key::run(command).await.map(done),
        Command::Settings { json } => variables::print(json).map(done),
    }
}

/// Names variables that begin like ours and mean nothing: mostly typing errors.
fn warn_of_unknown(unknown: &[String]) {
    for name in unknown {
        eprintln!(
            "warning: {} has no meaning; is it a typing error? `footage settings` lists those that have",
            words::plain(name)
        );
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_commands_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
