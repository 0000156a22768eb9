//! Answers as JSON for scripts: the JSON mapping of protobuf, as grpcurl prints it.

use std::io::{IsTerminal as _, Write as _};
use std::sync::LazyLock;

use heldar_footage::proto;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde::Serialize;

use super::failure::CliError;

/// The contract, and the types of error details that its `Any` fields hold.
static TYPES: LazyLock<Result<DescriptorPool, String>> = LazyLock::new(|| {
    let mut types =
        DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET).map_err(|error| error.to_string())?;
    let details: prost_types::FileDescriptorSet =
        Message::decode(tonic_types::pb::FILE_DESCRIPTOR_SET).map_err(|error| error.to_string())?;
    // The two sets name the files that they share differently, so what is known is told by the messages.
    let is_known = |file: &prost_types::FileDescriptorProto| {
        file.message_type.iter().any(|message| {
            let name = format!("{}.{}", file.package(), message.name());
            types.get_message_by_name(&name).is_some()
        })
    };
    let missing: Vec<_> = details
        .file
        .into_iter()
        .filter(|file| !is_known(file))
        .collect();
    types
        .add_file_descriptor_protos(missing)
        .map_err(|error| error.to_string())?;
    Ok(types)
});

/// Prints a message of the contract, named without its package, on one line (in a terminal: indented).
///
/// # Errors
/// When standard output cannot be written.
pub fn print<M: Message>(name: &str, message: &M) -> Result<(), CliError> {
    print_plain(&Dynamic(dynamic(name, message)?))
}

/// Reads a message of the contract, named without its package, from its JSON; what is wrong with it, in words.
pub fn read<M: Message + Default>(name: &str, text: &str) -> Result<M, String> {
    let types = TYPES.as_ref().map_err(Clone::clone)?;
    let descriptor = types
        .get_message_by_name(&format!("heldar.footage.v1.{name}"))
        .ok_or_else(|| format!("the contract has no message {name}"))?;
    let mut from = serde_json::Deserializer::from_str(text);
    let message =
        DynamicMessage::deserialize(descriptor, &mut from).map_err(|error| error.to_string())?;
    from.end().map_err(|error| error.to_string())?;
    message.transcode_to().map_err(|error| error.to_string())
}

/// Prints a job.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_job(mut job: proto::Job) -> Result<(), CliError> {
    keep_known_details(&mut job);
    print("Job", &job)
}

/// Prints a job as one of several: always on one line.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_job_line(mut job: proto::Job) -> Result<(), CliError> {
    keep_known_details(&mut job);
    print_line("Job", &job)
}

/// Prints a message of a stream: always on one line.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_line<M: Message>(name: &str, message: &M) -> Result<(), CliError> {
    let text = serde_json::to_string(&Dynamic(dynamic(name, message)?)).map_err(unwritable)?;
    write_line(&text)
}

/// Prints what is not part of the contract.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_plain(value: &impl Serialize) -> Result<(), CliError> {
    let text = if std::io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    write_line(&text.map_err(unwritable)?)
}

/// Prints what is not part of the contract as one of several: always on one line.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_plain_line(value: &impl Serialize) -> Result<(), CliError> {
    write_line(&serde_json::to_string(value).map_err(unwritable)?)
}

fn write_line(text: &str) -> Result<(), CliError> {
    writeln!(std::io::stdout().lock(), "{text}").map_err(CliError::output)
}

fn unwritable(error: impl std::error::Error + Send + Sync + 'static) -> CliError {
    CliError::local("the answer cannot be written as JSON", error)
}

fn dynamic<M: Message>(name: &str, message: &M) -> Result<DynamicMessage, CliError> {
    let types = TYPES
        .as_ref()
        .map_err(|error| CliError::local("the contract cannot be read", error.as_str()))?;
    let descriptor = types
        .get_message_by_name(&format!("heldar.footage.v1.{name}"))
        .ok_or_else(|| {
            CliError::local("the contract cannot be read", format!("no message {name}"))
        })?;
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).map_err(unwritable)
}

struct Dynamic(DynamicMessage);

impl Serialize for Dynamic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Drops details of a newer server whose types this version does not know: they could not be written as JSON.
fn keep_known_details(job: &mut proto::Job) {
    let Ok(types) = TYPES.as_ref() else { return };
    for status in job.error.iter_mut().chain(&mut job.warnings) {
        status.details.retain(|detail| {
            let name = detail.type_url.rsplit('/').next().unwrap_or_default();
            types.get_message_by_name(name).is_some()
        });
    }
}

#[cfg(test)]
mod tests {
    use heldar_footage::proto;
    use tonic_types::{ErrorDetails, RpcStatusExt as _, StatusExt as _};

    use super::{Dynamic, dynamic, keep_known_details};

    #[test]
    fn a_failed_job_is_json_as_grpcurl_prints_it() {
        let details = ErrorDetails::with_error_info(
            "TIMED_OUT",
            "footage.heldar",
            std::collections::HashMap::new(),
        );
        let status = tonic::Status::with_error_details(
            tonic::Code::Internal,
            "clip export timed out",
            details,
        );
        let mut error = <tonic_types::Status as prost::Message>::decode(status.details()).unwrap();
        assert_eq!(error.get_details_error_info().unwrap().reason, "TIMED_OUT");
        let unknown = prost_types::Any {
            type_url: "type.googleapis.com/of.a.Newer".into(),
            value: vec![8, 1],
        };
        error.details.push(unknown);
        let mut job = proto::Job {
            id: "job_1".into(),
            state: proto::JobState::Failed.into(),
            revision: 4,
            error: Some(error),
            ..proto::Job::default()
        };
        keep_known_details(&mut job);
        let json = serde_json::to_value(Dynamic(dynamic("Job", &job).unwrap())).unwrap();
        assert_eq!(json["state"], "JOB_STATE_FAILED");
        assert_eq!(json["revision"], "4");
        assert_eq!(json["error"]["details"][0]["reason"], "TIMED_OUT");
        assert_eq!(json["error"]["details"].as_array().unwrap().len(), 1);
    }
}
