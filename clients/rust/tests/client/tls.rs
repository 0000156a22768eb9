//! TLS and tokens, against a stand-in that tells what it heard.

#![allow(
    clippy::disallowed_methods,
    reason = "the children of tests are not those of the service"
)]

use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt as _;
use heldar_footage::client::{Code, Footage, Settings, Tls};
use heldar_footage::proto::WatchJobsRequest;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Makes a certificate for `footage.test`, and its key.
fn certificate(folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args([
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=footage.test",
            "-keyout",
            "key.pem",
        ])
        .args([
            "-addext",
            "subjectAltName=DNS:footage.test,DNS:localhost",
            "-out",
            "certificate.pem",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let read = |name| std::fs::read(folder.join(name)).unwrap();
    (read("certificate.pem"), read("key.pem"))
}

/// Answers every call over TLS with NOT_FOUND and what it says of who calls.
async fn tell_the_token(listener: tokio::net::TcpListener, certificate: &[u8], key: &[u8]) {
    let certificates = vec![CertificateDer::from_pem_slice(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth();
    let mut config = config.with_single_cert(certificates, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let nobody = http::HeaderValue::from_static("nobody is known here");
    while let Ok((stream, _)) = listener.accept().await {
        // A client that does not trust the certificate ends here.
        let Ok(stream) = acceptor.accept(stream).await else {
            continue;
        };
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut answer))) = connection.accept().await {
            let token = request.headers().get("authorization").cloned();
            let head = http::Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "5")
                .header("grpc-message", token.unwrap_or(nobody.clone()));
            answer.send_response(head.body(()).unwrap(), true).unwrap();
        }
    }
}

#[tokio::test]
async fn the_token_goes_with_every_call_and_tls_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(folder.path());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let trusted = Tls::new()
        .ca_certificates(&certificate)
        .server_name("footage.test");
    tokio::spawn(async move { tell_the_token(listener, &certificate, &key).await });

    let settings = Settings::new(&address)
        .token("secret")
        .timeout(Duration::from_secs(5));
    let footage = Footage::connect(settings.clone().tls(trusted)).unwrap();
    let error = footage.cameras().try_next().await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error}");
    assert_eq!(error.failure().unwrap().message, "Bearer secret");
    let watched = footage.jobs().watch_jobs(WatchJobsRequest::default()).await;
    assert_eq!(watched.unwrap_err().message(), "Bearer secret");

    let footage = Footage::connect(settings.timeout(Duration::from_secs(1))).unwrap();
    let error = footage.cameras().try_next().await.unwrap_err();
    assert_ne!(
        error.code(),
        Code::NotFound,
        "a certificate of nobody was trusted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_calls_a_server_behind_tls_that_the_machine_trusts() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(folder.path());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { tell_the_token(listener, &certificate, &key).await });

    let command = || {
        let mut command = std::process::Command::new(std::env::var_os("FOOTAGE_BIN").unwrap());
        command.args(["cameras", "--server", &format!("https://localhost:{port}")]);
        command
    };
    let said = |mut command: std::process::Command| {
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let mut trusting = command();
    trusting.env("SSL_CERT_FILE", folder.path().join("certificate.pem"));
    let heard = said(trusting);
    assert!(heard.contains("nobody is known here"), "{heard}");
    let heard = said(command());
    assert!(
        !heard.contains("nobody is known here"),
        "a certificate of nobody was trusted"
    );
    assert!(heard.contains("UnknownIssuer"), "{heard}");
}
