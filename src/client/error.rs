//! Errors of calls and of jobs, with what the server says about them.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use prost::Message as _;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::pb;

use crate::proto::{ErrorReason, Job};

/// Why something did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call was refused, or did not reach the server.
    #[error(transparent)]
    Call(#[from] Box<Failure>),
    /// A job ended without a result.
    #[error("job {} failed: {failure}", .job.id)]
    JobFailed {
        /// The job as it ended.
        job: Box<Job>,
        /// Why, with the same reasons as a failed call.
        failure: Box<Failure>,
    },
    /// A job was cancelled by somebody.
    #[error("job {} was cancelled", .job.id)]
    JobCancelled {
        /// The job as it ended.
        job: Box<Job>,
    },
    /// A job succeeded, and its result is of another kind than the caller expects.
    #[error("job {} has no result of this kind", .job.id)]
    OtherResult {
        /// The job as it ended.
        job: Box<Job>,
    },
    /// Ctrl-C came while a job was followed that is to be cancelled then.
    #[error("interrupted; {}", match .not_cancelled {
        None => format!("job {job_id} is being cancelled"),
        Some(failure) => format!("job {job_id} was not cancelled: {failure}"),
    })]
    Interrupted {
        /// The job.
        job_id: String,
        /// Why the server could not be told.
        not_cancelled: Option<Box<Failure>>,
    },
    /// A file of this machine could not be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The address or the TLS settings cannot be used.
    #[error("{0}")]
    Settings(String),
}

impl Error {
    /// What is known of the failure of a call or of a job.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Call(failure) | Self::JobFailed { failure, .. } => Some(failure),
            _ => None,
        }
    }

    /// The status code of gRPC; `Unknown` for what has none.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::JobCancelled { .. } | Self::Interrupted { .. } => Code::Cancelled,
            _ => self.failure().map_or(Code::Unknown, |failure| failure.code),
        }
    }

    /// Why, for programs; `Unspecified` when the server did not say, or is newer than this client.
    #[must_use]
    pub fn reason(&self) -> ErrorReason {
        match self {
            Self::JobCancelled { .. } => ErrorReason::Cancelled,
            _ => self
                .failure()
                .map_or(ErrorReason::Unspecified, Failure::reason),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Call(Box::new(failure))
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Failure::from(status).into()
    }
}

/// A field that is wrong: its path in the request, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path, such as `destination.local.path`.
    pub field: String,
    /// What would be right, for people.
    pub description: String,
}

/// What an error is about, such as the camera that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its kind, such as `camera`.
    pub kind: String,
    /// Its id.
    pub name: String,
}

/// What the server says about something that failed. A plain `google.rpc.Status`, such as a warning of a job, is one too.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// The status code of gRPC.
    pub code: Code,
    /// What happened, for people.
    pub message: String,
    /// Why, as it came over the wire: a name of [`ErrorReason`] without its prefix; empty when the server did not say.
    pub reason_name: String,
    /// The namespace of the reason, `footage.heldar`.
    pub domain: String,
    /// More about the reason, such as `job_id`.
    pub metadata: BTreeMap<String, String>,
    /// Every field that is wrong.
    pub field_violations: Vec<FieldViolation>,
    /// What the failure is about.
    pub resource: Option<Resource>,
    /// How long to wait before calling again.
    pub retry_after: Option<Duration>,
    /// Everything the server added, as it came.
    pub details: Vec<Any>,
    is_of_connection: bool,
}

impl Failure {
    /// Why, for programs; `Unspecified` when the server did not say, or is newer than this client.
    #[must_use]
    pub fn reason(&self) -> ErrorReason {
        ErrorReason::from_str_name(&format!("ERROR_REASON_{}", self.reason_name))
            .unwrap_or(ErrorReason::Unspecified)
    }

    /// Whether another attempt may go well: the server asks for one, is away, or the connection broke.
    pub(super) fn passes(&self) -> bool {
        self.retry_after.is_some() || self.is_away()
    }

    /// Whether the server is away, or the connection to it broke.
    pub(super) fn is_away(&self) -> bool {
        // What the server itself says has a reason. A connection that breaks in the middle of an answer has many codes.
        let may_be_broken =
            self.is_of_connection || matches!(self.code, Code::Internal | Code::Unknown);
        self.code == Code::Unavailable || (self.reason_name.is_empty() && may_be_broken)
    }

    /// The connection could not be made, or broke.
    pub(super) fn of_connection(error: tonic::transport::Error) -> Self {
        Self {
            is_of_connection: true,
            ..Self::here(Code::Unavailable, with_causes(&error))
        }
    }

    /// A failure that was found on this side.
    pub(super) fn here(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            reason_name: String::new(),
            domain: String::new(),
            metadata: BTreeMap::new(),
            field_violations: Vec::new(),
            resource: None,
            retry_after: None,
            details: Vec::new(),
            is_of_connection: false,
        }
    }

    fn with_details(mut self, details: Vec<Any>) -> Self {
        for detail in &details {
            self.read(detail);
        }
        self.details = details;
        self
    }

    /// Takes up a detail of a type that the contract uses; a newer server may send others.
    fn read(&mut self, detail: &Any) {
        let bytes = detail.value.as_slice();
        let name = detail.type_url.rsplit('/').next().unwrap_or_default();
        match name {
            "google.rpc.ErrorInfo" => {
                if let Ok(info) = pb::ErrorInfo::decode(bytes) {
                    self.reason_name = info.reason;
                    self.domain = info.domain;
                    self.metadata = info.metadata.into_iter().collect();
                }
            }
            "google.rpc.BadRequest" => {
                if let Ok(bad) = pb::BadRequest::decode(bytes) {
                    let violations = bad.field_violations.into_iter();
                    self.field_violations = violations
                        .map(|violation| FieldViolation {
                            field: violation.field,
                            description: violation.description,
                        })
                        .collect();
                }
            }
            "google.rpc.ResourceInfo" => {
                if let Ok(info) = pb::ResourceInfo::decode(bytes) {
                    self.resource = Some(Resource {
                        kind: info.resource_type,
                        name: info.resource_name,
                    });
                }
            }
            "google.rpc.RetryInfo" => {
                if let Ok(info) = pb::RetryInfo::decode(bytes) {
                    self.retry_after = info.retry_delay.and_then(|delay| delay.try_into().ok());
                }
            }
            _ => {}
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.message)?;
        if self.reason_name.is_empty() {
            write!(f, "{:?}", self.code)?;
        } else {
            f.write_str(&self.reason_name)?;
        }
        for (number, violation) in self.field_violations.iter().enumerate() {
            let before = if number == 0 { ": " } else { ", " };
            write!(f, "{before}{}", violation.field)?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for Failure {}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        // Details that cannot be read are none: code and message stand for themselves.
        let details = pb::Status::decode(status.details()).unwrap_or_default();
        let mut failure = Self::here(status.code(), status.message());
        if let Some(source) = status.source() {
            failure.is_of_connection = true;
            failure.message = with_causes(source);
        }
        failure.with_details(details.details)
    }
}

impl From<pb::Status> for Failure {
    fn from(status: pb::Status) -> Self {
        Self::here(Code::from_i32(status.code), status.message).with_details(status.details)
    }
}

/// An error of the transport with its causes: "transport error" alone tells nobody anything.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::Code;
    use tonic_types::pb;

    use super::Failure;
    use crate::proto::ErrorReason;

    fn detail(name: &str, message: &impl prost::Message) -> prost_types::Any {
        prost_types::Any {
            type_url: format!("type.googleapis.com/google.rpc.{name}"),
            value: message.encode_to_vec(),
        }
    }

    fn status(details: Vec<prost_types::Any>) -> pb::Status {
        pb::Status {
            code: Code::ResourceExhausted.into(),
            message: "full".to_owned(),
            details,
        }
    }

    #[test]
    fn details_become_fields_and_unknown_ones_stay() {
        let info = pb::ErrorInfo {
            reason: "QUEUE_FULL".to_owned(),
            domain: "footage.heldar".to_owned(),
            metadata: [("a".to_owned(), "b".to_owned())].into(),
        };
        let retry = pb::RetryInfo {
            retry_delay: Some(prost_types::Duration {
                seconds: 1,
                nanos: 500_000_000,
            }),
        };
        let failure = Failure::from(status(vec![
            detail("ErrorInfo", &info),
            detail("RetryInfo", &retry),
            detail("OfTheFuture", &info),
        ]));
        assert_eq!(failure.reason(), ErrorReason::QueueFull);
        assert_eq!(failure.metadata["a"], "b");
        assert_eq!(failure.retry_after, Some(Duration::from_millis(1500)));
        assert_eq!(failure.details.len(), 3);
        assert_eq!(failure.to_string(), "full (QUEUE_FULL)");
        assert!(failure.passes());
    }

    #[test]
    fn an_error_in_words_names_the_fields_that_are_wrong() {
        let info = pb::ErrorInfo {
            reason: "INVALID_FIELD".to_owned(),
            ..Default::default()
        };
        let fields = ["camera_id", "wait"].map(|field| pb::bad_request::FieldViolation {
            field: field.to_owned(),
            ..Default::default()
        });
        let bad = pb::BadRequest {
            field_violations: fields.into(),
        };
        let failure = Failure::from(status(vec![
            detail("ErrorInfo", &info),
            detail("BadRequest", &bad),
        ]));
        assert_eq!(failure.to_string(), "full (INVALID_FIELD: camera_id, wait)");
    }

    #[test]
    fn a_reason_of_a_newer_server_and_a_detail_that_is_damaged_are_no_obstacle() {
        let info = pb::ErrorInfo {
            reason: "OF_THE_FUTURE".to_owned(),
            ..Default::default()
        };
        let mut damaged = detail("RetryInfo", &info);
        damaged.value = vec![0xff];
        let failure = Failure::from(status(vec![detail("ErrorInfo", &info), damaged]));
        assert_eq!(failure.reason(), ErrorReason::Unspecified);
        assert_eq!(failure.reason_name, "OF_THE_FUTURE");
        assert_eq!(failure.retry_after, None);
        assert!(!failure.passes());
    }
}
