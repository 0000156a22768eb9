//! The operator's webhook: a POST for each alert that is raised or cleared.
//!
//! It follows the newest list of alerts on its own, so that a receiver that hangs delays nothing and what waits for it
//! never grows. What is over before it could be posted is not posted.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::uri::{Authority, Uri};
use http::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock;
use crate::domain::backup::alert::{Alert, AlertChange, PresentAlerts, changes};
use crate::domain::backup::destination::Secret;

/// How long the receiver may take to answer one POST.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The waits before a POST that failed is tried again; after the last it is given up.
const TRY_AGAIN_AFTER: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// Why there can be no webhook. The URL is not in it.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It is no URL of the web.
    #[error("is no URL of the web")]
    Url,
    /// Nothing on this machine says whom to trust.
    #[error("the certificates that this machine trusts cannot be read")]
    Certificates(#[source] std::io::Error),
}

/// Why one POST failed.
#[derive(Debug, thiserror::Error)]
enum PostError {
    #[error("no answer within {} s", ANSWER_WITHIN.as_secs())]
    TimedOut,
    #[error("the answer was {0}")]
    Refused(StatusCode),
    #[error("{}", root_cause(.0.as_ref()))]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

/// What is posted.
#[derive(Serialize)]
struct Report<'a> {
    event: &'static str,
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    policy_id: &'a str,
    destination_id: &'a str,
    since_time: DateTime<Utc>,
    message: &'a str,
    report_time: DateTime<Utc>,
}

/// Where alerts are reported to.
pub struct Webhook {
    client: Sender,
    uri: Uri,
    /// Of a URL with user and password.
    authorization: Option<HeaderValue>,
}

enum Sender {
    Plain(Client<HttpConnector, String>),
    Tls(Client<HttpsConnector<HttpConnector>, String>),
}

impl Webhook {
    /// Reports to `url`, `http` or `https`.
    ///
    /// # Errors
    /// [`WebhookError`] when it is no such URL, or TLS cannot be used.
    pub fn new(url: &Secret) -> Result<Self, WebhookError> {
        let (uri, authorization) = taken_apart(url.reveal()).ok_or(WebhookError::Url)?;
        let builder = || {
            let mut builder = Client::builder(TokioExecutor::new());
            // Reports are rare: a connection that is kept open would be dead by the next.
            builder.pool_max_idle_per_host(0);
            builder
        };
        let client = if uri.scheme_str() == Some("https") {
            let connector = HttpsConnectorBuilder::new()
                .with_native_roots()
                .map_err(WebhookError::Certificates)?
                .https_only()
                .enable_http1()
                .build();
            Sender::Tls(builder().build(connector))
        } else {
            Sender::Plain(builder().build(HttpConnector::new()))
        };
        Ok(Self {
            client,
            uri,
            authorization,
        })
    }

    /// Reports how the alerts change, until `stop`. Those that are there at the beginning are raised.
    pub async fn run(&self, mut alerts: watch::Receiver<PresentAlerts>, stop: CancellationToken) {
        let reporting = async {
            let mut told = PresentAlerts::default();
            loop {
                let present = PresentAlerts::clone(&alerts.borrow_and_update());
                for change in changes(&told, &present) {
                    match change {
                        AlertChange::Raised(alert) => self.report("raised", &alert).await,
                        AlertChange::Cleared(alert) => self.report("cleared", &alert).await,
                        AlertChange::Updated(_) => {}
                    }
                }
                told = present;
                if alerts.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = reporting => {}
        }
    }

    async fn report(&self, event: &'static str, alert: &Alert) {
        let report = Report {
            event,
            kind: alert.kind.as_str(),
            policy_id: &alert.policy_id,
            destination_id: &alert.destination_id,
            since_time: alert.since,
            message: &alert.message,
            report_time: clock::now(),
        };
        let body = match serde_json::to_string(&report) {
            Ok(body) => body,
            Err(error) => return warn!(%error, "an alert cannot be written as JSON"),
        };
        let mut waits = TRY_AGAIN_AFTER.into_iter();
        loop {
            let Err(error) = self.post(body.clone()).await else {
                return;
            };
            let Some(wait) = waits.next() else {
                warn!(webhook = %self, event, kind = report.kind, %error, "an alert was not reported; it is given up");
                return;
            };
            warn!(webhook = %self, event, kind = report.kind, %error, "an alert was not reported; trying again");
            tokio::time::sleep(wait).await;
        }
    }

    async fn post(&self, body: String) -> Result<(), PostError> {
        let mut request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(
                USER_AGENT,
                concat!("heldar-footage/", env!("CARGO_PKG_VERSION")),
            );
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(body).map_err(failed)?;
        let answering = async {
            match &self.client {
                Sender::Plain(client) => client.request(request).await,
                Sender::Tls(client) => client.request(request).await,
            }
        };
        let answer = tokio::time::timeout(ANSWER_WITHIN, answering)
            .await
            .map_err(|_| PostError::TimedOut)?
            .map_err(failed)?;
        // Another address is not followed: the operator named this one. What the answer says is not read.
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(PostError::Refused(status)),
        }
    }
}

/// The receiver without what may be a secret: user, password, path and query.
impl fmt::Display for Webhook {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map(Authority::as_str);
        write!(out, "{scheme}://{}", authority.unwrap_or_default())
    }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PostError {
    PostError::Failed(error.into())
}

/// What went wrong at the bottom: the client's own words are only that a request failed.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// The URL without user and password, and these as a header.
fn taken_apart(url: &str) -> Option<(Uri, Option<HeaderValue>)> {
    let mut parts = url.parse::<Uri>().ok()?.into_parts();
    if !matches!(parts.scheme.as_ref()?.as_str(), "http" | "https") {
        return None;
    }
    let authority = parts.authority.take()?;
    let (login, address) = match authority.as_str().rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, authority.as_str()),
    };
    parts.authority = Some(address.parse().ok()?);
    let authorization = match login.map(basic) {
        Some(value) => Some(value?),
        None => None,
    };
    Some((Uri::from_parts(parts).ok()?, authorization))
}

/// The header of a login as it stands in a URL.
fn basic(login: &str) -> Option<HeaderValue> {
    let login: Vec<u8> = percent_encoding::percent_decode_str(login).collect();
    let text = format!("Basic {}", BASE64_STANDARD.encode(login));
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_go_into_a_header_and_nothing_secret_is_shown() {
        let url = Secret::new("http://me:p%40ss@hooks.example:8080/path-canary?key=canary");
        let webhook = Webhook::new(&url).unwrap();
        assert_eq!(
            webhook.uri,
            "http://hooks.example:8080/path-canary?key=canary"
        );
        let expected = format!("Basic {}", BASE64_STANDARD.encode("me:p@ss"));
        assert_eq!(webhook.authorization.as_ref().unwrap(), &expected);
        assert_eq!(webhook.to_string(), "http://hooks.example:8080");
    }

    #[test]
    fn only_urls_of_the_web_are_taken() {
        for url in ["ftp://hooks.example/", "/path", "http://", "hooks.example"] {
            let refused = Webhook::new(&Secret::new(url));
            assert!(matches!(refused, Err(WebhookError::Url)), "{url}");
        }
    }
}
