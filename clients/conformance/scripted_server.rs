//! A server that says what the cases of `cases.json` for the server `scripted` say it does: for errors that the real server
//! does not make on demand. Its arguments are the table and the address to listen at; its first line on stdout ends with
//! its URL.

mod any_codec;

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use any_codec::AnyCodec;
use axum::body::Body;
use axum::extract::State;
use futures::future::BoxFuture;
use futures::stream::{self, Iter};
use heldar_footage::proto::{
    FILE_DESCRIPTOR_SET, GetJobRequest, ImportSummary, Job, JobState, WatchJobRequest,
    WatchJobResponse, job, watch_job_response,
};
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use serde_json::Value;
use tonic::server::{Grpc, StreamingService};
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _, pb};
use tonic_web::GrpcWebLayer;

type Failure = Box<dyn Error + Send + Sync>;

/// What a call gets: messages, or an error.
type Answer = Result<Vec<DynamicMessage>, Status>;

/// What is said to which request.
struct Script {
    pool: DescriptorPool,
    answers: HashMap<String, Vec<(DynamicMessage, Answer)>>,
}

impl Script {
    fn read(table: &Value) -> Result<Self, Failure> {
        let mut script = Self {
            pool: DescriptorPool::decode(FILE_DESCRIPTOR_SET)?,
            answers: HashMap::new(),
        };
        let cases = table["cases"].as_array().into_iter().flatten();
        for case in cases.filter(|case| case["server"] == "scripted") {
            for step in case["steps"].as_array().into_iter().flatten() {
                script
                    .add(table, step)
                    .map_err(|error| format!("{}: {error}", case["name"]))?;
            }
        }
        Ok(script)
    }

    fn add(&mut self, table: &Value, step: &Value) -> Result<(), Failure> {
        if let Some(job_id) = step["follow"].as_str() {
            return self.add_job(table, job_id, step);
        }
        let path = step["method"].as_str().ok_or("a step without a method")?;
        let method = self.method(path).ok_or("no such method")?;
        let answer = match (&step["error"], &step["stream"]["messages"]) {
            (Value::Null, Value::Null) => Ok(vec![read(&method, &step["response"])?]),
            (Value::Null, messages) => {
                let messages = messages.as_array().into_iter().flatten();
                Ok(messages
                    .map(|message| read(&method, message))
                    .collect::<Result<_, _>>()?)
            }
            (error, _) => Err(status(table, error)?),
        };
        let request = DynamicMessage::deserialize(method.input(), &step["request"])?;
        self.say(path, request, answer);
        Ok(())
    }

    /// A job that runs when it is asked for, and ends as the step says while it is watched.
    fn add_job(&mut self, table: &Value, job_id: &str, step: &Value) -> Result<(), Failure> {
        let running = Job {
            id: job_id.to_owned(),
            state: JobState::Running.into(),
            revision: 1,
            ..Job::default()
        };
        let mut ended = running.clone();
        ended.revision = 2;
        if !step["error"].is_null() {
            ended.set_state(JobState::Failed);
            ended.error = Some(on_the_wire(&status(table, &step["error"])?)?);
        } else if step["cancelled"] == true {
            ended.set_state(JobState::Cancelled);
        } else {
            ended.set_state(JobState::Succeeded);
            ended.result = Some(job::Result::Import(ImportSummary::default()));
            for warning in step["warnings"].as_array().into_iter().flatten() {
                ended.warnings.push(on_the_wire(&status(table, warning)?)?);
            }
        }
        let job_id = job_id.to_owned();
        let asked = GetJobRequest {
            job_id: job_id.clone(),
        };
        let watched = WatchJobRequest {
            job_id,
            after_revision: running.revision,
        };
        let told = WatchJobResponse {
            event: Some(watch_job_response::Event::Job(ended)),
        };
        self.say_typed("GetJob", &asked, &running)?;
        self.say_typed("WatchJob", &watched, &told)
    }

    fn say_typed(
        &mut self,
        name: &str,
        request: &impl Message,
        answer: &impl Message,
    ) -> Result<(), Failure> {
        let path = format!("heldar.footage.v1.JobService/{name}");
        let method = self.method(&path).ok_or("no such method")?;
        let request = DynamicMessage::decode(method.input(), request.encode_to_vec().as_slice())?;
        let answer = DynamicMessage::decode(method.output(), answer.encode_to_vec().as_slice())?;
        self.say(&path, request, Ok(vec![answer]));
        Ok(())
    }

    fn say(&mut self, path: &str, request: DynamicMessage, answer: Answer) {
        let said = self.answers.entry(path.to_owned()).or_default();
        said.push((request, answer));
    }

    fn method(&self, path: &str) -> Option<MethodDescriptor> {
        let (service, name) = path.split_once('/')?;
        let service = self.pool.get_service_by_name(service)?;
        service.methods().find(|method| method.name() == name)
    }

    fn answer(&self, path: &str, request: &DynamicMessage) -> Answer {
        let said = self.answers.get(path).into_iter().flatten();
        let mut fitting = said.filter(|(asked, _)| asked == request);
        fitting.next().map_or_else(
            || Err(Status::unknown(format!("no case says {path} {request:?}"))),
            |(_, answer)| answer.clone(),
        )
    }
}

fn read(method: &MethodDescriptor, json: &Value) -> Result<DynamicMessage, serde_json::Error> {
    DynamicMessage::deserialize(method.output(), json)
}

/// The error that a case expects, with all that it expects to be said of it.
fn status(table: &Value, expected: &Value) -> Result<Status, Failure> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let family = &table["families"][text(&expected["code"])];
    let code = (1..=16)
        .map(Code::from_i32)
        .find(|code| *family == format!("{code:?}"))
        .ok_or_else(|| format!("no code is called {}", expected["code"]))?;
    let reason = text(&expected["reason"]);
    let message = match expected["message"].as_str() {
        Some(message) => message.to_owned(),
        None => format!("{reason} on purpose"),
    };
    let metadata = expected["metadata"].as_object().into_iter().flatten();
    let metadata = metadata.map(|(key, value)| (key.clone(), text(value)));
    let mut details = ErrorDetails::with_error_info(
        &reason,
        text(&table["domain"]),
        metadata.collect::<HashMap<_, _>>(),
    );
    for detail in expected["details"].as_array().into_iter().flatten() {
        match detail.as_str().unwrap_or_default() {
            "BadRequest" => {
                let fields = expected["fieldViolations"].as_array().into_iter().flatten();
                let violations = fields.map(|field| FieldViolation::new(text(field), "is wrong"));
                details.set_bad_request(violations.collect::<Vec<_>>());
            }
            "ResourceInfo" => {
                let resource = &expected["resource"];
                details.set_resource_info(
                    text(&resource["type"]),
                    text(&resource["name"]),
                    "",
                    &message,
                );
            }
            "PreconditionFailure" => {
                details.add_precondition_failure_violation(&reason, "on purpose", &message);
            }
            "QuotaFailure" => {
                details.add_quota_failure_violation("on purpose", &message);
            }
            "RetryInfo" => {
                let seconds = text(&expected["retryAfter"])
                    .trim_end_matches('s')
                    .parse()?;
                details.set_retry_info(Some(Duration::from_secs_f64(seconds)));
            }
            "RequestInfo" => {
                details.set_request_info("on purpose", "");
            }
            other => return Err(format!("a detail {other}, which no answer has").into()),
        }
    }
    Ok(Status::with_error_details(code, message, details))
}

fn on_the_wire(status: &Status) -> Result<pb::Status, Failure> {
    Ok(pb::Status::decode(status.details())?)
}

/// One call.
struct Saying {
    script: Arc<Script>,
    path: String,
}

impl StreamingService<DynamicMessage> for Saying {
    type Response = DynamicMessage;
    type ResponseStream = Iter<std::vec::IntoIter<Result<DynamicMessage, Status>>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<DynamicMessage>>) -> Self::Future {
        let (script, path) = (Arc::clone(&self.script), self.path.clone());
        let mut requests = request.into_inner();
        Box::pin(async move {
            let request = requests.message().await?;
            let request = request.ok_or_else(|| Status::unknown("a call without a request"))?;
            let messages = script.answer(&path, &request)?;
            let messages: Vec<_> = messages.into_iter().map(Ok).collect();
            Ok(Response::new(stream::iter(messages)))
        })
    }
}

async fn say(
    State(script): State<Arc<Script>>,
    request: axum::extract::Request,
) -> axum::response::Response {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let Some(method) = script.method(&path) else {
        return Status::unimplemented(path).into_http();
    };
    let saying = Saying { script, path };
    // A single answer is, on the wire, a stream of one.
    let response = Grpc::new(AnyCodec(method.input()))
        .streaming(saying, request)
        .await;
    response.map(Body::new)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: scripted_server TABLE ADDRESS";
    let table = arguments.next().ok_or(usage)?;
    let address = arguments.next().ok_or(usage)?.parse()?;
    let table = serde_json::from_str(&std::fs::read_to_string(table)?)?;
    let script = Arc::new(Script::read(&table)?);
    let routes = axum::Router::new().fallback(say).with_state(script);
    let incoming = TcpIncoming::bind(address)?;
    println!(
        "scripted server listening on http://{}",
        incoming.local_addr()?
    );
    tonic::transport::Server::builder()
        .accept_http1(true)
        .add_routes(Routes::from(routes.layer(GrpcWebLayer::new())))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
