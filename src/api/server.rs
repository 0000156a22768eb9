//! Everything on one port: gRPC, gRPC-Web, reflection, health, and media and the page for people over HTTP/1.1 and HTTP/2.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::codec::CompressionEncoding;
use tonic::server::NamedService as _;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic_health::server::HealthReporter;
use tonic_web::GrpcWebLayer;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};
use tracing::info;

use super::{Services, media, web_page};
use crate::domain::backup::alert::PresentAlerts;
use crate::proto;
use crate::proto::archive_service_server::ArchiveServiceServer;
use crate::proto::backup_service_server::BackupServiceServer;
use crate::proto::catalog_service_server::CatalogServiceServer;
use crate::proto::clip_service_server::ClipServiceServer;
use crate::proto::job_service_server::JobServiceServer;

/// A client that froze is noticed after this long without a sign of life.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(25);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What health says of backups, beside whether their methods are served: NOT_SERVING while there is an alert.
const BACKUPS_HEALTH: &str = "backups";
/// Headers that a page in a browser must be allowed to read: gRPC's end of a call, and what a download is.
const EXPOSED_HEADERS: [&str; 7] = [
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "content-range",
    "content-length",
    "content-disposition",
    "etag",
];

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ServeError {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("the contract's descriptors cannot be served")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("{origin:?} is not an origin")]
    Origin { origin: String },
    #[error("serving failed")]
    Transport(#[from] tonic::transport::Error),
}

/// A port that is listened on, with nothing served yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Takes the port; port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let refused = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the jobs are drained; then waits for open calls, but no longer than `grace`.
    ///
    /// Pages from `origins` may call from a browser, `*` for all; without any, only pages from this port may.
    pub async fn serve(
        self,
        services: Services,
        origins: &[String],
        grace: Duration,
    ) -> Result<(), ServeError> {
        let draining = services.jobs.draining();
        let (mut health, health_service) = tonic_health::server::health_reporter();
        mark_serving(&health).await;
        let alerts = services.alerts.clone();
        let backups_health = health.clone();

        let grpc = Routes::new(health_service)
            .add_service(reflection_v1()?)
            .add_service(reflection_v1alpha()?)
            .add_service(
                CatalogServiceServer::new(services.clone())
                    .send_compressed(CompressionEncoding::Gzip),
            )
            .add_service(ClipServiceServer::new(services.clone()))
            .add_service(ArchiveServiceServer::new(services.clone()))
            .add_service(BackupServiceServer::new(services.clone()))
            .add_service(JobServiceServer::new(services.clone()));
        // gRPC-Web refuses every HTTP/1.1 request that is not its own, so media and the page stay outside of its layer.
        let router: Router = grpc
            .into_axum_router()
            .layer(GrpcWebLayer::new())
            .merge(media::routes(services.clone()))
            .merge(web_page::routes())
            .layer(cross_origin(origins)?);

        // Small answers would wait for the acknowledgement of the packet before, 40 ms on Linux.
        let incoming = TcpIncoming::from(self.listener).with_nodelay(Some(true));
        let drained = draining.clone();
        let serving = tonic::transport::Server::builder()
            .accept_http1(true)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_routes(Routes::from(router))
            .serve_with_incoming_shutdown(incoming, async move {
                drained.cancelled().await;
                mark_draining(&mut health).await;
            });
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => return Ok(ended?),
            () = show_backups(backups_health, alerts) => {}
            () = draining.cancelled() => {}
        }
        if tokio::time::timeout(grace, serving).await.is_err() {
            info!("closing connections whose calls did not end in time");
        }
        Ok(())
    }
}

async fn mark_serving(health: &HealthReporter) {
    health.set_serving::<CatalogServiceServer<Services>>().await;
    health.set_serving::<ClipServiceServer<Services>>().await;
    health.set_serving::<ArchiveServiceServer<Services>>().await;
    health.set_serving::<JobServiceServer<Services>>().await;
    health.set_serving::<BackupServiceServer<Services>>().await;
    health
        .set_service_status(BACKUPS_HEALTH, tonic_health::ServingStatus::Serving)
        .await;
}

/// Shows whether there are alerts, for as long as somebody looks for them: until the server is told to stop.
async fn show_backups(health: HealthReporter, mut alerts: watch::Receiver<PresentAlerts>) {
    let mut shown = tonic_health::ServingStatus::Serving;
    loop {
        let status = if alerts.borrow_and_update().is_empty() {
            tonic_health::ServingStatus::Serving
        } else {
            tonic_health::ServingStatus::NotServing
        };
        if std::mem::replace(&mut shown, status) != status {
            health.set_service_status(BACKUPS_HEALTH, status).await;
        }
        if alerts.changed().await.is_err() {
            return;
        }
    }
}

/// Tells whoever watches, and ends what they watch: open streams would hold the stop for as long as the server waits.
async fn mark_draining(health: &mut HealthReporter) {
    for name in [
        "",
        BACKUPS_HEALTH,
        CatalogServiceServer::<Services>::NAME,
        ClipServiceServer::<Services>::NAME,
        ArchiveServiceServer::<Services>::NAME,
        BackupServiceServer::<Services>::NAME,
        JobServiceServer::<Services>::NAME,
    ] {
        let not_serving = tonic_health::ServingStatus::NotServing;
        health.set_service_status(name, not_serving).await;
        health.clear_service_status(name).await;
        health.set_service_status(name, not_serving).await;
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        // Without the error details' own descriptors grpcurl prints them as base64.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

fn reflection_v1() -> Result<
    tonic_reflection::server::v1::ServerReflectionServer<
        impl tonic_reflection::server::v1::ServerReflection,
    >,
    ServeError,
> {
    Ok(reflection().build_v1()?)
}

fn reflection_v1alpha() -> Result<
    tonic_reflection::server::v1alpha::ServerReflectionServer<
        impl tonic_reflection::server::v1alpha::ServerReflection,
    >,
    ServeError,
> {
    Ok(reflection().build_v1alpha()?)
}

fn cross_origin(origins: &[String]) -> Result<CorsLayer, ServeError> {
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let parsed = origins
            .iter()
            .map(|origin| {
                HeaderValue::from_str(origin).map_err(|_| ServeError::Origin {
                    origin: origin.clone(),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        AllowOrigin::list(parsed)
    };
    let exposed: Vec<axum::http::HeaderName> = EXPOSED_HEADERS
        .into_iter()
        .map(axum::http::HeaderName::from_static)
        .collect();
    Ok(CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods(Any)
        .allow_headers(Any)
        .expose_headers(exposed))
}
