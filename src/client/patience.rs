//! How long to go on after failures that pass.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

use super::error::Failure;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pauses between attempts: as long as the server asks for, else longer each time, until time is up.
#[derive(Debug)]
pub struct Patience {
    lasts: Duration,
    failures: u32,
    give_up_at: Option<Instant>,
}

impl Patience {
    /// Full patience.
    pub fn new(lasts: Duration) -> Self {
        Self {
            lasts,
            failures: 0,
            give_up_at: None,
        }
    }

    /// Something was received: the next failure is a first one.
    pub fn renew(&mut self) {
        *self = Self::new(self.lasts);
    }

    /// How long to wait before going on. `None` stands for a stream that ended before all had come.
    ///
    /// # Errors
    /// The failure, when going on makes no sense.
    pub fn pause_after(&mut self, failure: Option<Failure>) -> Result<Duration, Box<Failure>> {
        let now = Instant::now();
        let give_up_at = *self.give_up_at.get_or_insert(now + self.lasts);
        let failure = failure.unwrap_or_else(|| {
            Failure::here(Code::Unavailable, "the stream ended before all had come")
        });
        if !failure.passes() {
            return Err(Box::new(failure));
        }
        let backoff = FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(LONGEST_PAUSE)
            .mul_f64(spread());
        let pause = failure.retry_after.unwrap_or_default().max(backoff);
        if now + pause > give_up_at {
            return Err(Box::new(failure));
        }
        self.failures += 1;
        Ok(pause)
    }
}

/// A number between a half and one, so that what failed together does not come back together.
fn spread() -> f64 {
    // The first half of such an id is the time; its end is random.
    let [.., byte] = *uuid::Uuid::now_v7().as_bytes();
    0.5 + f64::from(byte) / 510.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::Code;

    use super::{Failure, Patience};

    fn away() -> Option<Failure> {
        Some(Failure::here(Code::Unavailable, "away"))
    }

    #[test]
    fn pauses_grow_until_patience_ends() {
        let mut patience = Patience::new(Duration::from_secs(60));
        let pauses: Vec<_> = (0..10)
            .map(|_| patience.pause_after(away()).unwrap())
            .collect();
        assert!(pauses[0] <= Duration::from_millis(100));
        assert!(pauses[9] >= Duration::from_millis(2500));
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(5)));
        assert!(Patience::new(Duration::ZERO).pause_after(away()).is_err());
    }

    #[test]
    fn the_server_s_wish_is_the_least() {
        let mut failure = Failure::here(Code::ResourceExhausted, "full");
        failure.retry_after = Some(Duration::from_secs(7));
        let mut patience = Patience::new(Duration::from_secs(60));
        assert_eq!(
            patience.pause_after(Some(failure)).unwrap(),
            Duration::from_secs(7)
        );
    }

    #[test]
    fn what_does_not_pass_is_told_at_once() {
        let mut patience = Patience::new(Duration::from_secs(60));
        for code in [Code::NotFound, Code::DeadlineExceeded, Code::DataLoss] {
            let failure = Failure::here(code, "no");
            assert_eq!(patience.pause_after(Some(failure)).unwrap_err().code, code);
        }
        assert!(patience.pause_after(None).is_ok());
    }
}
