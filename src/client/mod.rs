//! The client for Rust programs: what every caller would write around the generated code.
//!
//! ```no_run
//! use std::time::{Duration, SystemTime};
//!
//! use heldar_footage::client::{Footage, progress_line};
//! use heldar_footage::proto::CreateClipRequest;
//!
//! # async fn example() -> Result<(), heldar_footage::client::Error> {
//! let footage = Footage::connect("127.0.0.1:50051")?;
//! let end = SystemTime::now();
//! let request = CreateClipRequest::of("gate_a_01", end - Duration::from_secs(60), end);
//! let mut job = footage.create_clip(request).await?;
//! let clip = job.result_with(|state| println!("{}", progress_line(state))).await?;
//! println!("{}", footage.download(&clip, ".").await?.display());
//! # Ok(())
//! # }
//! ```
//!
//! [`Footage::call`] makes any call with one answer: with a deadline, a `request_id`, and again while the server is away
//! where that is safe. A [`RunningJob`] is followed through broken streams and restarts of the server, and a download goes
//! on where it stopped. Each error says why, by a reason of the contract.

mod call;
mod download;
mod error;
mod footage;
mod job;
mod patience;
mod progress;
mod requests;
mod settings;

pub use call::Call;
pub use download::Downloadable;
pub use error::{Error, Failure, FieldViolation, Resource};
pub use footage::Footage;
pub use job::{JobResult, RunningJob};
pub use progress::progress_line;
pub use settings::{Settings, Tls};
pub use tonic::Code;
