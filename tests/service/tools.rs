//! The service as stock tools see it: reflection, comments, examples, error details, health.

#![allow(clippy::disallowed_methods, reason = "the tests call a stock tool")]

use std::process::Command;
use std::time::Duration;

use heldar_footage::proto;
use prost::Message as _;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::recorder::{heldar_name, import, place, unfollowed};
use super::server::{Server, Site, clip_request, eventually, twelve_seconds};
use super::stand_in::Gate;

const PACKAGE: &str = "heldar.footage.v1";
const SERVICES: [&str; 5] = [
    "ArchiveService",
    "BackupService",
    "CatalogService",
    "ClipService",
    "JobService",
];

/// Calls grpcurl, which must be installed: exit code, standard output, standard error.
fn grpcurl(server: &Server, options: &[&str], arguments: &[&str]) -> (i32, String, String) {
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

fn contract() -> prost_types::FileDescriptorSet {
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

/// The grpcurl lines in the comments of the contract: what goes before the address and what goes after it.
fn examples() -> Vec<(Vec<String>, Vec<String>)> {
    let mut found = Vec::new();
    for file in contract()
        .file
        .iter()
        .filter(|file| file.package() == PACKAGE)
    {
        for location in file.source_code_info.iter().flat_map(|info| &info.location) {
            let detached = location
                .leading_detached_comments
                .iter()
                .map(String::as_str);
            for comment in detached.chain([location.leading_comments()]) {
                let joined = comment.replace("\\\n", " ");
                // Examples are indented like code; a sentence may begin with the tool's name too.
                for line in joined
                    .lines()
                    .filter(|line| line.starts_with("     grpcurl "))
                    .map(str::trim)
                {
                    let words = words(line);
                    let at = words
                        .iter()
                        .position(|word| word == "127.0.0.1:50051")
                        .unwrap_or_else(|| panic!("{line}"));
                    found.push((words[1..at].to_vec(), words[at + 1..].to_vec()));
                }
            }
        }
    }
    found
}

/// The words of a line of a shell that has no quotes but single ones.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    assert!(!quoted, "{line}");
    words.extend(word);
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_in_the_contract_can_be_called_as_it_stands() {
    let site = Site::new();
    let server = site.start().await;
    let examples = examples();
    let methods: Vec<_> = contract()
        .file
        .iter()
        .filter(|file| file.package() == PACKAGE)
        .flat_map(|file| &file.service)
        .flat_map(|service| {
            service
                .method
                .iter()
                .map(|method| format!("{PACKAGE}.{}/{}", service.name(), method.name()))
        })
        .collect();
    for method in &methods {
        assert!(
            examples
                .iter()
                .any(|(_, after)| after.last() == Some(method)),
            "{method} has no example"
        );
    }
    for (before, after) in examples {
        let options: Vec<_> = before
            .iter()
            .map(String::as_str)
            .filter(|word| *word != "-plaintext")
            .collect();
        // A watch of all jobs does not end by itself.
        let endless = after.iter().any(|word| word.ends_with("/WatchJobs"));
        let limit: &[&str] = if endless { &["-max-time", "1"] } else { &[] };
        let arguments: Vec<_> = after.iter().map(String::as_str).collect();
        let (code, out, err) = grpcurl(&server, &[&options, limit].concat(), &arguments);
        let accepted = ["NotFound", "FailedPrecondition", "Unimplemented"]
            .iter()
            .any(|code| err.contains(&format!("Code: {code}")))
            || (endless && err.contains("Code: DeadlineExceeded"));
        assert!(
            code == 0 || accepted,
            "{before:?} {after:?}: {code}\n{out}\n{err}"
        );
    }
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_archives_make_one_fetch_it_verify_it_and_delete_it() {
    let site = unfollowed();
    // The footage of which the examples speak.
    let start = chrono::DateTime::parse_from_rfc3339("2026-11-22T10:00:00Z").unwrap();
    for camera in ["gate_a_01", "yard_02"] {
        for segment in &twelve_seconds().segments {
            let name = heldar_name(camera, start.to_utc() + segment.start);
            place(&site, &name, &segment.path);
        }
    }
    import(&site, &[]);
    let server = site.start().await;
    let examples = examples();
    let call = |method: &str, id: &str| {
        let method = format!("{PACKAGE}.ArchiveService/{method}");
        let (before, after) = examples
            .iter()
            .find(|(_, after)| after.last() == Some(&method))
            .unwrap();
        let options: Vec<_> = before
            .iter()
            .filter(|word| *word != "-plaintext")
            .map(|word| word.replace("bkj_…", id))
            .collect();
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let after: Vec<_> = after.iter().map(String::as_str).collect();
        let (code, out, err) = grpcurl(&server, &options, &after);
        assert_eq!(code, 0, "{method}: {out}\n{err}");
        out
    };
    let made: serde_json::Value = serde_json::from_str(&call("CreateArchive", "")).unwrap();
    assert_eq!(made["state"], "JOB_STATE_SUCCEEDED", "{made}");
    let archive = &made["archive"];
    let id = archive["id"].as_str().unwrap();
    let told: serde_json::Value = serde_json::from_str(&call("GetArchive", id)).unwrap();
    assert_eq!(&told, archive);
    let listed: serde_json::Value = serde_json::from_str(&call("ListArchives", id)).unwrap();
    assert_eq!(listed["archives"], serde_json::json!([archive]));
    let parts = call("DownloadArchive", id);
    assert!(
        parts.contains("\"header\"") && parts.contains("\"data\""),
        "{parts}"
    );
    let verified: serde_json::Value = serde_json::from_str(&call("VerifyArchive", id)).unwrap();
    let verdict = &verified["archiveVerification"]["verdict"];
    assert_eq!(verdict, "ARCHIVE_VERDICT_INTACT", "{verified}");
    let parts = call("StreamArchive", id);
    assert!(
        parts.contains("\"header\"") && parts.contains("\"trailer\""),
        "{parts}"
    );
    call("DeleteArchive", id);
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
