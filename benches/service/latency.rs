//! Calls by many callers at the same time: how many a second, and how long each takes.

use std::time::{Duration, Instant};

use crate::hour::ms;

/// Callers at the same time, on one connection.
pub const CALLERS: usize = 8;

pub struct Measured {
    pub times: Vec<Duration>,
    pub wall: Duration,
    pub last: String,
}

pub async fn measure<F: Future<Output = String>>(calls: i64, call: impl Fn(i64) -> F) -> Measured {
    measure_with(CALLERS, calls, call).await
}

/// The same with this many callers at once.
pub async fn measure_with<F: Future<Output = String>>(
    callers: usize,
    calls: i64,
    call: impl Fn(i64) -> F,
) -> Measured {
    use futures::StreamExt as _;
    let began = Instant::now();
    let done: Vec<(Duration, String)> = futures::stream::iter(0..calls)
        .map(|number| {
            let call = call(number);
            async move {
                let began = Instant::now();
                let answer = call.await;
                (began.elapsed(), answer)
            }
        })
        .buffer_unordered(callers)
        .collect()
        .await;
    let wall = began.elapsed();
    let last = done
        .last()
        .map(|(_, answer)| answer.clone())
        .unwrap_or_default();
    Measured {
        times: done.into_iter().map(|(time, _)| time).collect(),
        wall,
        last,
    }
}

pub fn report(name: &str, times: &[Duration], wall: Duration) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |part: f64| sorted[((sorted.len() - 1) as f64 * part) as usize];
    println!(
        "{:>26} {:>10.0} {:>7.2} ms {:>7.2} ms",
        name,
        times.len() as f64 / wall.as_secs_f64(),
        ms(at(0.5)),
        ms(at(0.99)),
    );
}
