//! How a client reaches the server, and how long it has patience.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::error::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of the service, where an address has neither a port nor a scheme that implies one.
const DEFAULT_PORT: &str = ":50051";
/// A server that froze is noticed after the interval and the timeout together, so that its streams end.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer is as good as for ever, and an instant that far away still has a number.
const A_YEAR: Duration = Duration::from_secs(365 * 86_400);

/// What all calls of a client have in common.
#[derive(Debug, Clone)]
pub struct Settings {
    address: String,
    token: Option<String>,
    tls: Option<Tls>,
    timeout: Duration,
    patience: Duration,
}

impl Settings {
    /// Settings for a server at `host:port`, `http://host:port`, or `https://host:port`, which means TLS.
    /// Without a port it is the scheme's, or that of the service where there is no scheme.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            token: None,
            tls: None,
            timeout: Duration::from_secs(30),
            patience: Duration::from_secs(120),
        }
    }

    /// Sends `authorization: Bearer …` with every call. The server itself knows no tokens: they are for a proxy before it.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Speaks TLS with these settings, whatever the scheme of the address.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The longest that a call may take, beyond the `wait` of its request: 30 s. Streams have no such limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(A_YEAR);
        self
    }

    /// How long a job or a download outlasts a server that is away: 120 s.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience.min(A_YEAR);
        self
    }

    pub(super) fn call_timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn how_patient(&self) -> Duration {
        self.patience
    }

    /// Where the server is, and whether it speaks TLS.
    fn endpoint(&self) -> Result<(Endpoint, bool), Error> {
        let (scheme, target) = match self.address.split_once("://") {
            Some((scheme, target)) => (scheme, target),
            None => ("", self.address.as_str()),
        };
        let is_secure = match scheme {
            "" | "http" => self.tls.is_some(),
            "https" => true,
            _ => {
                return Err(Error::Settings(format!(
                    "an address begins with http:// or https:// or has no scheme, not {scheme}://"
                )));
            }
        };
        let at = |port: &str| {
            let scheme = if is_secure { "https" } else { "http" };
            let url = format!("{scheme}://{}{port}", target.trim_end_matches('/'));
            Endpoint::from_shared(url)
                .map_err(|error| Error::Settings(format!("{}: {error}", self.address)))
        };
        let endpoint = at("")?;
        let endpoint = if scheme.is_empty() && endpoint.uri().port().is_none() {
            at(DEFAULT_PORT)?
        } else {
            endpoint
        };
        Ok((endpoint, is_secure))
    }

    /// The connection, which is made with the first call.
    pub(super) fn channel(&self) -> Result<Channel, Error> {
        let (endpoint, is_secure) = self.endpoint()?;
        let mut endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        if is_secure {
            endpoint = endpoint
                .tls_config(self.tls.clone().unwrap_or_default().config())
                .map_err(|error| Error::Settings(format!("the TLS settings: {error}")))?;
        }
        Ok(endpoint.connect_lazy())
    }

    /// The metadata of every call.
    pub(super) fn authorization(&self) -> Result<Option<MetadataValue<Ascii>>, Error> {
        let Some(token) = &self.token else {
            return Ok(None);
        };
        let mut value = MetadataValue::try_from(format!("Bearer {token}")).map_err(|_| {
            Error::Settings("the token has characters that no header may have".to_owned())
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl From<&str> for Settings {
    fn from(address: &str) -> Self {
        Self::new(address)
    }
}

impl From<String> for Settings {
    fn from(address: String) -> Self {
        Self::new(address)
    }
}

impl From<&String> for Settings {
    fn from(address: &String) -> Self {
        Self::new(address)
    }
}

/// TLS of a connection; everything in PEM form. By default the certificates are trusted that the machine trusts.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    ca_certificates: Option<Certificate>,
    identity: Option<Identity>,
    server_name: Option<String>,
}

impl Tls {
    /// TLS as the machine is set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these certificates alone.
    #[must_use]
    pub fn ca_certificates(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.ca_certificates = Some(Certificate::from_pem(pem));
        self
    }

    /// Certificate and key of this client, where the server wants them.
    #[must_use]
    pub fn identity(
        mut self,
        certificate_pem: impl AsRef<[u8]>,
        key_pem: impl AsRef<[u8]>,
    ) -> Self {
        self.identity = Some(Identity::from_pem(certificate_pem, key_pem));
        self
    }

    /// The name in the server's certificate, where it is not the host of the address.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    fn config(self) -> ClientTlsConfig {
        let mut config = match self.ca_certificates {
            Some(certificates) => ClientTlsConfig::new().ca_certificate(certificates),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some(identity) = self.identity {
            config = config.identity(identity);
        }
        if let Some(name) = self.server_name {
            config = config.domain_name(name);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Settings, Tls};

    #[tokio::test]
    async fn an_address_may_leave_out_its_scheme_and_no_other_than_http_is_taken() {
        for address in [
            "127.0.0.1:1",
            "http://a.example:1/",
            "https://a.example",
            "[::1]:50051",
        ] {
            assert!(Settings::new(address).channel().is_ok(), "{address}");
        }
        for address in ["ftp://a.example", "http://", "a b"] {
            let refused = Settings::new(address).channel();
            assert!(matches!(refused, Err(Error::Settings(_))), "{address}");
        }
    }

    #[test]
    fn an_address_without_a_port_means_that_of_the_service_or_of_its_scheme() {
        for (address, url) in [
            ("nas", "http://nas:50051/"),
            ("[::1]", "http://[::1]:50051/"),
            ("nas:7/", "http://nas:7/"),
            ("http://nas", "http://nas/"),
            ("https://nas", "https://nas/"),
        ] {
            let (endpoint, _) = Settings::new(address).endpoint().unwrap();
            assert_eq!(endpoint.uri(), url, "{address}");
        }
        let settings = Settings::new("nas").tls(Tls::new());
        assert_eq!(settings.endpoint().unwrap().0.uri(), "https://nas:50051/");
    }

    #[test]
    fn a_token_is_one_header() {
        let authorization = Settings::new("a").token("secret").authorization();
        assert_eq!(authorization.unwrap().unwrap(), "Bearer secret");
        assert!(Settings::new("a").token("a\nb").authorization().is_err());
    }
}
