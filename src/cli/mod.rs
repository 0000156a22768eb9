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
mod doctor_programs;
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

const SERVER_VARIABLE: &str = "HELDAR_SERVER";

const AFTER_HELP: &str = "\
`footage COMMAND --help` explains a command. `footage settings` lists the variables of the \
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
    // Were the variable read by clap, the usage in its errors would show this option as one that must be given.
    #[arg(long, value_name = "URL", value_parser = server_argument,
          help = format!("Server to call [env: {SERVER_VARIABLE}] [default: {}]", connection::DEFAULT_SERVER))]
    server: Option<String>,
}

impl ServerArgs {
    async fn connect(&self) -> Result<Server, CliError> {
        Server::connect(&self.url(std::env::var_os(SERVER_VARIABLE))?).await
    }

    /// The server of the option, else of the variable.
    fn url(&self, variable: Option<std::ffi::OsString>) -> Result<String, CliError> {
        if let Some(url) = &self.server {
            return Ok(url.clone());
        }
        server_argument(&variable.unwrap_or_default().to_string_lossy())
            .map_err(|reason| CliError::Usage(format!("{SERVER_VARIABLE}: {reason}")))
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

    fn check_paragraphs(command: &clap::Command) {
        let text = command.get_after_help().map(ToString::to_string);
        let text = text.unwrap_or_default();
        let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
        for (line, next) in text.lines().zip(text.lines().skip(1)) {
            let is_broken = is_prose(line) && is_prose(next) && !line.ends_with(':');
            assert!(!is_broken, "{}: {line}\n{next}", command.get_name());
        }
        command.get_subcommands().for_each(check_paragraphs);
    }

    #[test]
    fn paragraphs_of_a_help_are_broken_into_lines_by_the_width_of_the_terminal_alone() {
        check_paragraphs(&super::Cli::command());
    }

    #[test]
    fn the_server_is_that_of_the_option_else_of_the_variable_else_the_one_here() {
        let url = |option: Option<&str>, variable: Option<&str>| {
            let server = option.map(str::to_owned);
            super::ServerArgs { server }
                .url(variable.map(Into::into))
                .ok()
        };
        let (here, there) = (super::connection::DEFAULT_SERVER, "http://there:1");
        assert_eq!(
            url(Some(there), Some("http://other:1")).as_deref(),
            Some(there)
        );
        assert_eq!(url(None, Some("there:1")).as_deref(), Some(there));
        assert_eq!(url(None, Some(" ")).as_deref(), Some(here));
        assert_eq!(url(None, None).as_deref(), Some(here));
        assert_eq!(url(None, Some("ftp://there")), None);
    }
}
