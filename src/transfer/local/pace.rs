//! A limit of bytes per second for threads that copy.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// A change of the limit is noticed after that long at most.
const LOOK: Duration = Duration::from_millis(50);

/// Hands out time: whoever moved bytes waits until the limit allows more.
pub(super) struct Pace {
    limit: watch::Receiver<u64>,
    next: Mutex<Next>,
}

struct Next {
    /// When the next bytes may move.
    at: Instant,
    /// The limit that this was reckoned with.
    limit: u64,
}

impl Pace {
    pub(super) fn new(limit: watch::Receiver<u64>) -> Self {
        Self {
            limit,
            next: Mutex::new(Next {
                at: Instant::now(),
                limit: 0,
            }),
        }
    }

    /// Waits until `bytes` more may have moved. Ends early when `goes_on` says so, which is asked again and again.
    pub(super) fn wait(&self, bytes: usize, goes_on: impl Fn() -> bool) {
        let mut ours = None;
        while goes_on() {
            let limit = *self.limit.borrow();
            if limit == 0 {
                return;
            }
            let now = Instant::now();
            // A new limit forgets what was reckoned with the old one.
            let until = match ours {
                Some((reckoned, until)) if reckoned == limit => until,
                _ => self.book(bytes, limit, now),
            };
            ours = Some((limit, until));
            let Some(left) = until
                .checked_duration_since(now)
                .filter(|left| !left.is_zero())
            else {
                return;
            };
            std::thread::sleep(left.min(LOOK));
        }
    }

    fn book(&self, bytes: usize, limit: u64, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.limit != limit || next.at < now {
            next.at = now;
            next.limit = limit;
        }
        let seconds = bytes as f64 / limit as f64;
        next.at += Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4);
        next.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_as_long_as_the_limit_says() {
        let pace = Pace::new(watch::channel(1000).1);
        let now = Instant::now();
        assert_eq!(pace.book(500, 1000, now) - now, Duration::from_millis(500));
        assert_eq!(pace.book(500, 1000, now) - now, Duration::from_secs(1));
        // Another limit holds at once.
        assert_eq!(pace.book(500, 500, now) - now, Duration::from_secs(1));
    }

    #[test]
    fn without_a_limit_nobody_waits_and_a_new_limit_frees_who_does() {
        let (limit, watched) = watch::channel(0);
        let pace = Pace::new(watched);
        pace.wait(usize::MAX, || true);
        limit.send_replace(1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pace.wait(1 << 30, || true));
            limit.send_replace(0);
            waiting.join().unwrap();
        });
        limit.send_replace(1);
        pace.wait(1 << 30, || false);
    }
}
