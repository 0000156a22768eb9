//! The way to the server that client commands call.

use std::error::Error as _;
use std::time::Duration;

use heldar_footage::proto::archive_service_client::ArchiveServiceClient;
use heldar_footage::proto::catalog_service_client::CatalogServiceClient;
use heldar_footage::proto::clip_service_client::ClipServiceClient;
use heldar_footage::proto::job_service_client::JobServiceClient;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::failure::CliError;

/// The server that is called unless another one is named.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:50051";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that froze is noticed after the interval and the timeout together.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a call which only asks may take. Streams have no limit.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads the address of a server; `http://` may be left out. `https://` means a proxy that speaks TLS, by default on its
/// own port.
///
/// # Errors
/// What to write instead.
pub fn server_url(text: &str) -> Result<String, String> {
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let wrong =
        || format!("`{text}` is no address of a server; write, for example, {DEFAULT_SERVER}");
    let uri: axum::http::Uri = url.parse().map_err(|_| wrong())?;
    let is_plain = uri.path() == "/" && uri.query().is_none();
    let has_port = match uri.scheme_str() {
        Some("https") => uri.host().is_some_and(|host| !host.is_empty()),
        Some("http") => uri.port_u16().is_some(),
        _ => false,
    };
    if !has_port || !is_plain {
        return Err(wrong());
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// A server that has answered.
#[derive(Clone)]
pub struct Server {
    url: String,
    channel: Channel,
}

impl Server {
    /// Connects to the server at `url`.
    ///
    /// # Errors
    /// [`CliError::Unreachable`] when nothing answers there.
    pub async fn connect(url: &str) -> Result<Self, CliError> {
        let unreachable = |error: tonic::transport::Error| CliError::Unreachable {
            server: url.to_owned(),
            source: error.into(),
        };
        let mut endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(unreachable)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        if url.starts_with("https://") {
            let trusting_the_machine = ClientTlsConfig::new().with_native_roots();
            endpoint = endpoint
                .tls_config(trusting_the_machine)
                .map_err(unreachable)?;
        }
        let channel = endpoint.connect().await.map_err(unreachable)?;
        Ok(Self {
            url: url.to_owned(),
            channel,
        })
    }

    /// Clips of this server.
    pub fn clips(&self) -> ClipServiceClient<Channel> {
        ClipServiceClient::new(self.channel.clone())
    }

    /// Archives of this server.
    pub fn archives(&self) -> ArchiveServiceClient<Channel> {
        ArchiveServiceClient::new(self.channel.clone())
    }

    /// Jobs of this server.
    pub fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel.clone())
    }

    /// The catalog of this server.
    pub fn catalog(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.channel.clone())
    }

    /// Where a path of the server is over HTTP.
    pub fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Makes a call that can safely be made twice, again while the server is away, and returns its answer.
    ///
    /// # Errors
    /// [`CliError::Unreachable`] when the server stays away, or its refusal.
    pub async fn insist<T>(
        &self,
        mut call: impl AsyncFnMut() -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, CliError> {
        let mut patience = Patience::new();
        loop {
            match call().await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => {
                    let wait = patience
                        .after(&status)
                        .ok_or_else(|| self.failure(status))?;
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// The failure that a refused or broken call is.
    pub fn failure(&self, status: Status) -> CliError {
        if is_broken_connection(&status) {
            CliError::Unreachable {
                server: self.url.clone(),
                source: status.into(),
            }
        } else {
            CliError::Refused(Box::new(status))
        }
    }
}

/// A request with the deadline of calls that only ask.
pub fn asking<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

/// Whether the status was made on this side, because the connection broke.
fn is_broken_connection(status: &Status) -> bool {
    status.source().is_some()
}

/// Waits between attempts to go on with a stream or a call that can be repeated.
pub struct Patience {
    failures: u32,
    waited: Duration,
}

const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A server that restarts is back by then.
const PATIENCE: Duration = Duration::from_secs(60);

impl Patience {
    /// Full patience.
    pub fn new() -> Self {
        Self {
            failures: 0,
            waited: Duration::ZERO,
        }
    }

    /// Something came through.
    pub fn renew(&mut self) {
        *self = Self::new();
    }

    /// How long to wait before the next attempt; `None` when another attempt is useless or was tried long enough.
    /// The server's own wish (RetryInfo) goes first.
    pub fn after(&mut self, status: &Status) -> Option<Duration> {
        if status.code() != Code::Unavailable && !is_broken_connection(status) {
            return None;
        }
        let wished = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        let wait = wished
            .unwrap_or_else(|| FIRST_WAIT * 2_u32.pow(self.failures.min(8)))
            .min(LONGEST_WAIT);
        // A wish of zero must not become a busy loop.
        let wait = wait.max(FIRST_WAIT);
        self.failures += 1;
        self.waited += wait;
        (self.waited <= PATIENCE).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::{PATIENCE, Patience, server_url};

    #[test]
    fn an_address_may_lack_its_scheme_and_one_of_https_its_port() {
        assert_eq!(
            server_url("10.0.0.1:50051").unwrap(),
            "http://10.0.0.1:50051"
        );
        assert_eq!(
            server_url("http://[::1]:50051/").unwrap(),
            "http://[::1]:50051"
        );
        assert_eq!(server_url("https://nas/").unwrap(), "https://nas");
        assert_eq!(server_url("https://a:1").unwrap(), "https://a:1");
        for wrong in [
            "",
            "http://",
            "https://",
            "https://a:1/x",
            "ftp://a:1",
            "http://a",
            "http://a:1/x",
            "a b:1",
        ] {
            assert!(server_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_draining_server_is_asked_again_when_it_wishes_and_not_for_ever() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(2)));
        let draining = Status::with_error_details(Code::Unavailable, "draining", details);
        let mut patience = Patience::new();
        assert_eq!(patience.after(&draining), Some(Duration::from_secs(2)));
        let mut waited = Duration::from_secs(2);
        while let Some(wait) = patience.after(&draining) {
            waited += wait;
        }
        assert_eq!(waited, PATIENCE);
        assert_eq!(patience.after(&Status::not_found("gone")), None);
    }
}
