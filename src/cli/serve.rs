//! `footage serve`: the server, from its settings to its last call.

use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::failure::{CliError, EXIT_INTERRUPTED};
use super::logging;
use super::service::{Service, ServiceError};
use super::settings::Settings;
use super::signals::Signals;
use super::systemd;

/// How much longer than the grace interrupted jobs may take to go back to the queue.
const WIND_DOWN: Duration = Duration::from_secs(5);

/// Run the server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything else is set by variables of the environment; `footage settings` lists them. SIGTERM or \
Ctrl-C lets running calls end (HELDAR_SHUTDOWN_GRACE_S); a second one ends at once. Unfinished jobs \
go on at the next start.")]
pub struct ServeArgs {
    /// Address and port, instead of HELDAR_LISTEN (127.0.0.1:50051)
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Folder of everything that the service keeps, instead of HELDAR_DATA_DIR (./data)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
}

impl ServeArgs {
    /// The values that go before variables of the environment.
    pub fn overrides(&self) -> [(&'static str, Option<String>); 2] {
        [
            ("HELDAR_LISTEN", self.listen.clone()),
            ("HELDAR_DATA_DIR", self.data_dir.clone()),
        ]
    }
}

/// Runs the server until a signal ends it.
///
/// # Errors
/// [`CliError`] when it cannot start, or stopped by itself.
pub async fn run(settings: Settings, unknown: &[String]) -> Result<ExitCode, CliError> {
    logging::start(&settings)?;
    for name in unknown {
        tracing::warn!(
            variable = name,
            "this variable has no meaning; is it a typing error? `footage settings` lists those that have"
        );
    }
    let signals = Signals::listen()?;
    let drain = CancellationToken::new();
    tokio::select! {
        served = serve(&settings, drain.clone()) => served.map(|()| ExitCode::SUCCESS),
        exit_code = until_signal(signals, drain, settings.shutdown_grace) => Ok(exit_code),
    }
}

/// Serves until `drain` is cancelled and what was running then has ended.
async fn serve(settings: &Settings, drain: CancellationToken) -> Result<(), CliError> {
    let service = Service::prepare(settings).await.map_err(cannot_serve)?;
    // Whoever starts the server by a program reads this line: the port may have been chosen by the system.
    println!(
        "footage {} listening on http://{}",
        env!("CARGO_PKG_VERSION"),
        service.address()
    );
    systemd::ready(service.address()).await;
    service.run(settings, drain).await.map_err(cannot_serve)
}

fn cannot_serve(error: ServiceError) -> CliError {
    CliError::local("cannot serve", error)
}

/// Turns the first signal into `drain`, and returns at the second or when the grace is over: the server is then left
/// as it is, and jobs are taken up again at the next start.
async fn until_signal(mut signals: Signals, drain: CancellationToken, grace: Duration) -> ExitCode {
    let signal = signals.next().await;
    tracing::info!(
        signal,
        grace_s = grace.as_secs(),
        "shutting down; running calls may end"
    );
    drain.cancel();
    // A manager that does not listen must not hold up the second signal.
    tokio::spawn(systemd::stopping(grace + WIND_DOWN));
    tokio::select! {
        signal = signals.next() => {
            tracing::warn!(signal, "ending at once");
            ExitCode::from(EXIT_INTERRUPTED)
        }
        () = tokio::time::sleep(grace + WIND_DOWN) => {
            tracing::warn!("the grace is over; ending what still runs");
            ExitCode::SUCCESS
        }
    }
}
