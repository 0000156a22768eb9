//! The cases that every client must see alike, from `clients/conformance/cases.json`.

#[path = "../../conformance/any_codec.rs"]
mod any_codec;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use any_codec::AnyCodec;
use futures::stream;
use heldar_footage::client::{Error, Failure, Footage};
use heldar_footage::proto::{ErrorReason, FILE_DESCRIPTOR_SET, job};
use prost_reflect::prost::Message;
use prost_reflect::prost_types::{FileDescriptorProto, FileDescriptorSet};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use support::Server;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

/// The contract, and the types of error details that its `Any` fields hold.
fn types() -> DescriptorPool {
    let mut types = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let details = tonic_types::pb::FILE_DESCRIPTOR_SET;
    let details: FileDescriptorSet = Message::decode(details).unwrap();
    // The two sets name the files that they share differently, so what is known is told by the messages.
    let is_new = |file: &FileDescriptorProto| {
        let mut names = file
            .message_type
            .iter()
            .map(|message| format!("{}.{}", file.package(), message.name()));
        names.all(|name| types.get_message_by_name(&name).is_none())
    };
    let new = details.file.into_iter().filter(is_new);
    let new: Vec<_> = new.collect();
    types.add_file_descriptor_protos(new).unwrap();
    types
}

/// Makes a call of any shape and returns its messages in the JSON form of proto3.
async fn call(
    channel: &Channel,
    pool: &DescriptorPool,
    step: &Value,
) -> Result<Vec<Value>, Failure> {
    let path = step["method"].as_str().unwrap();
    let (service, name) = path.split_once('/').unwrap();
    let service = pool.get_service_by_name(service).unwrap();
    let method = service
        .methods()
        .find(|method| method.name() == name)
        .unwrap();
    let read = |json: &Value| DynamicMessage::deserialize(method.input(), json).unwrap();
    let requests: Vec<_> = match step.get("requests") {
        Some(requests) => requests.as_array().unwrap().iter().map(read).collect(),
        None => vec![read(&step["request"])],
    };
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let answers = grpc
        .streaming(
            Request::new(stream::iter(requests)),
            format!("/{path}").parse().unwrap(),
            AnyCodec(method.output()),
        )
        .await?;
    let mut answers = answers.into_inner();
    let leave_after = step["stream"]["leaveAfter"].as_u64();
    let mut messages = Vec::new();
    while let Some(answer) = answers.message().await? {
        let options = SerializeOptions::new();
        let json = answer.serialize_with_options(serde_json::value::Serializer, &options);
        messages.push(json.unwrap());
        if leave_after == Some(messages.len() as u64) {
            break;
        }
    }
    Ok(messages)
}

/// Replaces each `${name}` by what was saved under the name.
fn fill(value: &Value, saved: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => {
            let mut text = text.clone();
            for (name, saved) in saved {
                text = text.replace(&format!("${{{name}}}"), saved);
            }
            Value::String(text)
        }
        Value::Array(items) => items.iter().map(|item| fill(item, saved)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), fill(value, saved)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_true) => !is_true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// Everything expected is found; a default may be absent, and what is not expected may be there.
fn assert_within(expected: &Value, found: &Value, place: &str) {
    if found.is_null() && is_default(expected) {
        return;
    }
    match expected {
        Value::Object(fields) => {
            assert!(found.is_object(), "{place}: {found}");
            for (name, value) in fields {
                assert_within(value, &found[name], &format!("{place}.{name}"));
            }
        }
        Value::Array(items) => {
            let length = found.as_array().map(Vec::len);
            assert_eq!(length, Some(items.len()), "{place}: {found}");
            for (number, value) in items.iter().enumerate() {
                assert_within(value, &found[number], &format!("{place}[{number}]"));
            }
        }
        Value::Number(number) => assert_eq!(number.as_f64(), found.as_f64(), "{place}"),
        other => assert_eq!(other, found, "{place}"),
    }
}

fn texts(value: &Value) -> Vec<&str> {
    let items = value.as_array().unwrap().iter();
    items.map(|item| item.as_str().unwrap()).collect()
}

fn assert_error(expected: &Value, failure: &Failure, table: &Value) {
    let code = expected["code"].as_str().unwrap();
    // The class of an error is its code here.
    assert_eq!(
        format!("{:?}", failure.code),
        table["families"][code],
        "{failure}"
    );
    assert_eq!(failure.reason_name, expected["reason"], "{failure}");
    assert_eq!(
        failure.reason().as_str_name(),
        format!("ERROR_REASON_{}", failure.reason_name),
        "every reason of the server is one of the contract"
    );
    assert_eq!(failure.domain, table["domain"]);
    assert!(!failure.message.is_empty());
    let mut kinds: Vec<_> = failure
        .details
        .iter()
        .map(|detail| detail.type_url.as_str())
        .collect();
    let mut wanted: Vec<_> = texts(&expected["details"])
        .into_iter()
        .chain(["ErrorInfo"])
        .map(|name| format!("type.googleapis.com/google.rpc.{name}"))
        .collect();
    kinds.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(kinds, wanted);
    if let Some(message) = expected.get("message") {
        assert_eq!(failure.message, *message);
    }
    if let Some(paths) = expected.get("fieldViolations") {
        let fields: Vec<_> = failure
            .field_violations
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        assert_eq!(fields, texts(paths));
        assert!(
            failure
                .field_violations
                .iter()
                .all(|violation| !violation.description.is_empty())
        );
    }
    if let Some(resource) = expected.get("resource") {
        let found = failure.resource.as_ref().unwrap();
        assert_eq!(
            (&resource["type"], &resource["name"]),
            (&found.kind.as_str().into(), &found.name.as_str().into())
        );
    }
    if let Some(delay) = expected.get("retryAfter") {
        let found = failure.retry_after.unwrap().as_secs_f64();
        assert_eq!(
            delay.as_str().unwrap().trim_end_matches('s').parse(),
            Ok(found)
        );
    }
    let metadata: Map<_, _> = failure
        .metadata
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    let none = Value::Object(Map::new());
    assert_eq!(
        expected.get("metadata").unwrap_or(&none),
        &Value::Object(metadata)
    );
}

fn assert_stream(expected: &Value, messages: &[Value]) {
    if !expected["messages"].is_null() {
        assert_within(&expected["messages"], &messages.into(), "messages");
    }
    if let Some(first) = expected.get("first") {
        assert_within(first, &messages[0], "first");
    }
    if let Some(last) = expected.get("last") {
        assert_within(last, &messages[messages.len() - 1], "last");
    }
    let parts = messages
        .iter()
        .filter_map(|message| message["data"].as_str());
    let content: Vec<u8> = parts.flat_map(decoded).collect();
    if let Some(bytes) = expected.get("bytes") {
        assert_eq!(bytes.as_str().unwrap(), content.len().to_string());
    }
    if let Some(sha256) = expected.get("sha256") {
        let found: String = Sha256::digest(&content)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(*sha256, found);
    }
}

/// Bytes of their form in JSON, which is base64.
fn decoded(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter_map(|letter| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    });
    let digits: Vec<u8> = digits.collect();
    let groups = digits.chunks(4).flat_map(|group| {
        let bits = group.iter().enumerate().fold(0_u32, |bits, (at, digit)| {
            bits | u32::from(*digit) << (18 - 6 * at)
        });
        bits.to_be_bytes()[1..group.len()].to_vec()
    });
    groups.collect()
}

/// Follows a job by the helper, and holds how it ended.
async fn follow(footage: &Footage, step: &Value, table: &Value) {
    let job_id = step["follow"].as_str().unwrap().to_owned();
    let mut running = footage.follow::<job::Result>(job_id).await.unwrap();
    let ended = running.result().await;
    if let Some(expected) = step.get("error") {
        let Err(Error::JobFailed { failure, .. }) = ended else {
            panic!("the job did not fail: {ended:?}");
        };
        assert_error(expected, &failure, table);
    } else if step.get("cancelled").is_some() {
        let error = ended.unwrap_err();
        assert!(matches!(error, Error::JobCancelled { .. }), "{error}");
        assert_eq!(error.reason(), ErrorReason::Cancelled);
    } else {
        ended.unwrap();
        let expected = step["warnings"].as_array().unwrap();
        let warnings = running.job().warnings.clone();
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (expected, warning) in expected.iter().zip(warnings) {
            assert_error(expected, &warning.into(), table);
        }
    }
}

/// Every reason that an answer of a case has.
fn reasons_in(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| reasons_in(item, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(reason) if name == "reason" => _ = found.insert(reason.to_owned()),
                    _ => reasons_in(value, found),
                }
            }
            if fields.get("cancelled") == Some(&Value::Bool(true)) {
                found.insert("CANCELLED".to_owned());
            }
        }
        _ => {}
    }
}

fn table() -> Value {
    let table = std::fs::read_to_string(support::clients().join("conformance/cases.json")).unwrap();
    serde_json::from_str(&table).unwrap()
}

#[test]
fn every_reason_of_the_contract_is_in_a_case_of_the_table() {
    let mut found = BTreeSet::new();
    reasons_in(&table()["cases"], &mut found);
    let reasons = types().get_enum_by_name("heldar.footage.v1.ErrorReason");
    let without_case: Vec<_> = reasons
        .unwrap()
        .values()
        .filter(|reason| reason.number() != 0)
        .map(|reason| reason.name().trim_start_matches("ERROR_REASON_").to_owned())
        .filter(|reason| !found.contains(reason))
        .collect();
    assert_eq!(without_case, Vec::<String>::new());
}

async fn run_case(case: &Value, table: &Value, server: &Server, pool: &DescriptorPool) {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let channel = endpoint.connect_lazy();
    let mut saved = BTreeMap::from([("site".to_owned(), server.site().display().to_string())]);
    for step in case["steps"].as_array().unwrap() {
        let step = fill(step, &saved);
        if let Some(file) = step.get("truncate") {
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(file.as_str().unwrap());
            file.unwrap().set_len(1).unwrap();
            continue;
        }
        if step.get("follow").is_some() {
            follow(&server.footage(), &step, table).await;
            continue;
        }
        let answered = call(&channel, pool, &step).await;
        if let Some(expected) = step.get("error") {
            let failure = answered.expect_err("the call must fail");
            assert_error(expected, &failure, table);
            assert!(matches!(Error::from(failure), Error::Call(_)));
            continue;
        }
        let messages = answered.unwrap();
        match step.get("stream") {
            Some(expected) => assert_stream(expected, &messages),
            None => assert_within(&step["response"], &messages[0], "response"),
        }
        for (name, path) in step
            .get("save")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let at = format!("/{}", path.as_str().unwrap().replace('.', "/"));
            let value = messages[0].pointer(&at).unwrap();
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            saved.insert(name.clone(), text);
        }
    }
}

#[tokio::test]
async fn every_case_of_the_table_is_as_it_says() {
    let table = table();
    let pool = types();
    let mut servers = BTreeMap::new();
    for (name, settings) in table["servers"].as_object().unwrap() {
        let settings = settings.as_object().unwrap().iter();
        let settings: Vec<_> = settings
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        servers.insert(name.as_str(), Server::start(&settings).await);
    }
    let cases = table["cases"].as_array().unwrap();
    assert!(cases.len() > 30);
    for case in cases {
        println!("{}", case["name"]);
        run_case(
            case,
            &table,
            &servers[case["server"].as_str().unwrap()],
            &pool,
        )
        .await;
    }
}
