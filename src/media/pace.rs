//! How often who waits is told how far a copy is. Each time wakes threads, which share the processors with the copy and its
//! hash.

use std::time::{Duration, Instant};

const TELL_EVERY: Duration = Duration::from_millis(50);

/// When it was told the last time.
#[derive(Debug)]
pub struct Pace(Instant);

impl Pace {
    /// Of a copy that begins now.
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// Whether it is time to tell, which the caller then does.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.0.elapsed() >= TELL_EVERY;
        if is_due {
            self.0 = Instant::now();
        }
        is_due
    }
}
