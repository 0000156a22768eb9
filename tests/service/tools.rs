//! The service as stock tools see it: reflection, comments, error details, health.

#![allow(clippy::disallowed_methods, reason = "the tests call a stock tool")]

use std::process::Command;
use std::time::Duration;

use heldar_footage::proto;
use prost::Message as _;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::server::{Server, Site, clip_request, eventually, twelve_seconds};
use super::stand_in::Gate;

pub(super) const PACKAGE: &str = "heldar.footage.v1";
const SERVICES: [&str; 5] = [
    "ArchiveService",
    "BackupService",
    "CatalogService",
    "ClipService",
    "JobService",
];

/// Calls grpcurl, which must be installed: exit code, standard output, standard error.
pub(super) fn grpcurl(
    server: &Server,
    options: &[&str],
    arguments: &[&str],
) -> (i32, String, String) {
    let output = Command::new("grpcurl")
        .args(["-plaintext", "-max-time", "20"])
        .args(options)
        .arg(&server.address)
        .args(arguments)
        .output()
        .expect("grpcurl is on the PATH; `make test` installs it");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

pub(super) fn contract() -> prost_types::FileDescriptorSet {
    prost_types::FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_every_service_and_describes_all_with_their_comments() {
    let site = Site::new();
    let server = site.start().await;
    let (code, list, err) = grpcurl(&server, &[], &["list"]);
    assert_eq!(code, 0, "{err}");
    let services = SERVICES.map(|service| format!("{PACKAGE}.{service}"));
    for service in services.iter().map(String::as_str).chain([
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ]) {
        assert!(
            list.lines().any(|line| line == service),
            "{service} in\n{list}"
        );
    }
    for service in &services {
        let (code, described, err) = grpcurl(&server, &[], &["describe", service]);
        assert_eq!(code, 0, "{service}: {err}");
        let mut before = "";
        let mut methods = 0;
        for line in described.lines().map(str::trim) {
            if line.starts_with("rpc ") {
                methods += 1;
                assert!(before.starts_with("//"), "{service}: {line} has no comment");
            }
            before = line;
        }
        let declared = contract().file.into_iter().flat_map(|file| file.service);
        let declared = declared
            .filter(|known| service.ends_with(&format!(".{}", known.name())))
            .map(|known| known.method.len());
        assert_eq!(declared.sum::<usize>(), methods, "{service}");
        assert!(
            described.contains("grpcurl -plaintext"),
            "{service} has examples"
        );
    }
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

/// Every message, enum, field and value of a file with its path in the descriptor (descriptor.proto, SourceCodeInfo).
fn things(file: &prost_types::FileDescriptorProto) -> Vec<(Vec<i32>, String)> {
    let index = |index: usize| i32::try_from(index).unwrap();
    let mut found = Vec::new();
    for (m, message) in file.message_type.iter().enumerate() {
        found.push((vec![4, index(m)], message.name().to_owned()));
        for (f, field) in message.field.iter().enumerate() {
            found.push((
                vec![4, index(m), 2, index(f)],
                format!("{}.{}", message.name(), field.name()),
            ));
        }
    }
    for (e, values) in file.enum_type.iter().enumerate() {
        found.push((vec![5, index(e)], values.name().to_owned()));
        for (v, value) in values.value.iter().enumerate() {
            found.push((vec![5, index(e), 2, index(v)], value.name().to_owned()));
        }
    }
    for (s, service) in file.service.iter().enumerate() {
        found.push((vec![6, index(s)], service.name().to_owned()));
        for (m, method) in service.method.iter().enumerate() {
            found.push((
                vec![6, index(s), 2, index(m)],
                format!("{}/{}", service.name(), method.name()),
            ));
        }
    }
    found
}

/// Asks the server's reflection for the file of a symbol, by both versions of the protocol.
async fn reflected(channel: Channel, symbol: &str) -> [Vec<prost_types::FileDescriptorProto>; 2] {
    let decode = |files: Vec<Vec<u8>>| {
        files
            .iter()
            .map(|file| prost_types::FileDescriptorProto::decode(file.as_slice()).unwrap())
            .collect()
    };
    let v1 = {
        use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
        let message_request = Some(MessageRequest::FileContainingSymbol(symbol.to_owned()));
        let request = tonic_reflection::pb::v1::ServerReflectionRequest {
            host: String::new(),
            message_request,
        };
        let mut client = ServerReflectionClient::new(channel.clone());
        let mut answers = client
            .server_reflection_info(tokio_stream::iter([request]))
            .await
            .unwrap()
            .into_inner();
        match answers.message().await.unwrap().unwrap().message_response {
            Some(MessageResponse::FileDescriptorResponse(found)) => {
                decode(found.file_descriptor_proto)
            }
            other => panic!("{symbol}: {other:?}"),
        }
    };
    let v1alpha = {
        use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;
        let message_request = Some(MessageRequest::FileContainingSymbol(symbol.to_owned()));
        let request = tonic_reflection::pb::v1alpha::ServerReflectionRequest {
            host: String::new(),
            message_request,
        };
        let mut client = ServerReflectionClient::new(channel);
        let mut answers = client
            .server_reflection_info(tokio_stream::iter([request]))
            .await
            .unwrap()
            .into_inner();
        match answers.message().await.unwrap().unwrap().message_response {
            Some(MessageResponse::FileDescriptorResponse(found)) => {
                decode(found.file_descriptor_proto)
            }
            other => panic!("{symbol}: {other:?}"),
        }
    };
    [v1, v1alpha]
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_the_contract_has_a_comment_that_both_versions_of_reflection_give() {
    let site = Site::new();
    let server = site.start().await;
    let ours = contract()
        .file
        .into_iter()
        .filter(|file| file.package() == PACKAGE);
    let mut files = 0;
    for file in ours {
        let first = file
            .message_type
            .first()
            .map(|message| message.name())
            .or(file.enum_type.first().map(|first| first.name()));
        let symbol = format!(
            "{PACKAGE}.{}",
            first.expect("every file declares a message or an enum")
        );
        for answer in reflected(server.channel(), &symbol).await {
            let told = answer
                .iter()
                .find(|told| told.name() == file.name())
                .expect("the file itself");
            let source = told.source_code_info.clone().expect("comments");
            for (path, thing) in things(told) {
                let comment = source
                    .location
                    .iter()
                    .find(|location| location.path == path);
                let comment = comment
                    .map(|location| location.leading_comments().trim())
                    .unwrap_or_default();
                assert!(
                    !comment.is_empty(),
                    "{thing} in {} has no comment",
                    file.name()
                );
            }
        }
        files += 1;
    }
    assert!(files >= SERVICES.len());
    for symbol in [
        "google.rpc.ErrorInfo",
        "google.rpc.BadRequest",
        "google.rpc.RetryInfo",
        "grpc.health.v1.Health",
    ] {
        for answer in reflected(server.channel(), symbol).await {
            assert!(!answer.is_empty(), "{symbol}");
        }
    }
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn error_details_are_readable_in_a_stock_tool() {
    let site = Site::new();
    let server = site.start().await;
    let method = format!("{PACKAGE}.ClipService/CreateClip");
    let (code, _, err) = grpcurl(
        &server,
        &["-d", r#"{"camera_id":"../x","wait":"61s"}"#],
        &[&method],
    );
    assert_ne!(code, 0);
    assert!(err.contains("Code: InvalidArgument"), "{err}");
    for told in [
        "google.rpc.ErrorInfo",
        "INVALID_FIELD",
        "footage.heldar",
        "google.rpc.BadRequest",
        "camera_id",
        "start_time",
        "end_time",
        "wait",
    ] {
        assert!(err.contains(told), "{told} in\n{err}");
    }
    let unknown = r#"{"camera_id":"nobody","start_time":"2026-11-22T10:00:00Z","end_time":"2026-11-22T10:01:00Z"}"#;
    let (_, _, err) = grpcurl(&server, &["-d", unknown], &[&method]);
    for told in [
        "Code: NotFound",
        "Message: camera nobody not found",
        "google.rpc.ResourceInfo",
        "CAMERA_NOT_FOUND",
    ] {
        assert!(err.contains(told), "{told} in\n{err}");
    }
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

async fn health(
    client: &mut HealthClient<Channel>,
    service: &str,
) -> Result<ServingStatus, tonic::Code> {
    let request = tonic_health::pb::HealthCheckRequest {
        service: service.to_owned(),
    };
    client
        .check(request)
        .await
        .map(|answer| answer.into_inner().status())
        .map_err(|status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_for_each_service_and_ends_when_the_server_drains() {
    let mut site = Site::new().with("HELDAR_SHUTDOWN_GRACE_S", "1");
    let gate = Gate::before(&mut site, "");
    site.record("gate", &twelve_seconds());
    let mut server = site.start().await;
    server.imported("recordings", 1).await;
    let mut client = HealthClient::new(server.channel());
    for service in [
        "",
        "heldar.footage.v1.ArchiveService",
        "heldar.footage.v1.BackupService",
        "heldar.footage.v1.CatalogService",
        "heldar.footage.v1.ClipService",
        "heldar.footage.v1.JobService",
    ] {
        assert_eq!(
            health(&mut client, service).await,
            Ok(ServingStatus::Serving),
            "{service:?}"
        );
    }
    assert_eq!(
        health(&mut client, "nobody").await,
        Err(tonic::Code::NotFound)
    );
    let (code, out, err) = grpcurl(
        &server,
        &["-d", r#"{"service":"heldar.footage.v1.ClipService"}"#],
        &["grpc.health.v1.Health/Check"],
    );
    assert!(code == 0 && out.contains("SERVING"), "{out}{err}");

    // Somebody who watches is told at once when the server is asked to stop.
    let request = tonic_health::pb::HealthCheckRequest {
        service: "heldar.footage.v1.ClipService".to_owned(),
    };
    let mut changes = client.watch(request).await.unwrap().into_inner();
    assert_eq!(
        changes.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    server
        .clips()
        .create_clip(clip_request("gate", 0, 2_000))
        .await
        .unwrap();
    eventually("a job runs", || gate.arrived() == 1);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(
        changes.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    // Then the watch ends, and does not hold the stop for as long as the server would wait for it.
    let last = tokio::time::timeout(Duration::from_millis(500), changes.message()).await;
    assert!(matches!(last, Ok(Ok(None))), "{last:?}");
    assert_eq!(server.wait(), 0);
    site.check_left(&[]);
}
