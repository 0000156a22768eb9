//! The only place that reads the wall clock, so that every time in the service has the catalog's precision.

use chrono::{DateTime, Utc};

use crate::domain::time::to_microseconds;

/// The present moment, to the whole microsecond.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the clock that the lint sends everybody to"
)]
pub fn now() -> DateTime<Utc> {
    to_microseconds(Utc::now())
}
