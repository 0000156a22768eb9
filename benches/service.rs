//! How fast the service is, against bare ffmpeg and in calls a second. Run it with `make bench`.
//!
//! Every comparison is made in this one run, ours and theirs in turns, because machines differ and are shared: read
//! the ratios, not the milliseconds. `make bench ARGS=quick` leaves out the longest windows, `make bench ARGS=cuts` all but
//! clips that are cut and `make bench ARGS=virtual` all but virtual clips, and `make bench ARGS=against=PATH` compares clips
//! with those of another build of the program alone.

#![allow(
    clippy::disallowed_methods,
    reason = "the benchmark runs bare ffmpeg to compare with"
)]

#[path = "service/against.rs"]
mod against;
#[path = "service/calls.rs"]
mod calls;
#[path = "service/cuts.rs"]
mod cuts;
#[path = "../tests/support/footage.rs"]
#[allow(dead_code, reason = "only the harness uses it here")]
mod footage;
mod hour;
#[path = "service/latency.rs"]
mod latency;
#[path = "../tests/support/postgres.rs"]
mod postgres;
#[path = "../tests/service/server/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the tests use more of the harness"
)]
mod server;
#[path = "service/synthetic.rs"]
mod synthetic;
#[path = "service/virtual_clips.rs"]
mod virtual_clips;

use std::path::Path;
use std::time::Instant;

use against::against;
use calls::{calls, timelines};
use chrono::{DateTime, Utc};
use cuts::cuts;
use hour::{HOUR_S, SEGMENT_S, make_hour};
use server::{Server, Site};
use synthetic::{SYNTHETIC_SEGMENTS, fill_catalog};
use virtual_clips::virtual_clips;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let other = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("against="));
    let asks = |what| arguments.iter().any(|argument| argument == what);
    let quick = asks("quick");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match other {
        Some(program) => runtime.block_on(against(Path::new(program), quick)),
        None if asks("cuts") => runtime.block_on(run_cuts(quick)),
        None if asks("virtual") => runtime.block_on(run_virtual()),
        None => runtime.block_on(run(quick)),
    }
}

/// When the hour of footage begins.
fn first() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 / SEGMENT_S * SEGMENT_S, 0).unwrap()
}

/// Waits until the disk has nothing left of what was measured before: gigabytes of clips were written and deleted.
fn settle() {
    rustix::fs::sync();
}

/// A server that knows one hour of footage.
async fn hour_alone() -> (Site, Server, DateTime<Utc>) {
    let site = Site::new();
    let first = first();
    make_hour(&site.recordings().join("gate_a_01"), first);
    site.import();
    let server = site.start().await;
    (site, server, first)
}

async fn run_cuts(quick: bool) {
    let (site, server, first) = hour_alone().await;
    cuts(&site, &server, first, quick).await;
    assert_eq!(server.stop(), 0);
}

async fn run_virtual() {
    let (site, server, first) = hour_alone().await;
    virtual_clips(&site, server, first).await;
}

async fn run(quick: bool) {
    let site = Site::new();
    println!("Making one hour of ten-second 1080p segments and a catalog of a million …");
    let first = first();
    make_hour(&site.recordings().join("gate_a_01"), first);
    let filled = Instant::now();
    fill_catalog(&site).await;
    println!(
        "Wrote {SYNTHETIC_SEGMENTS} segments into the catalog in {:.0} s",
        filled.elapsed().as_secs_f64()
    );

    let imported = Instant::now();
    site.import();
    let files = HOUR_S / SEGMENT_S;
    println!(
        "Imported {files} files in {:.2} s",
        imported.elapsed().as_secs_f64()
    );

    let server = site.start().await;
    cuts(&site, &server, first, quick).await;
    settle();
    virtual_clips(&site, server, first).await;
    let server = site.start().await;
    settle();
    calls(&server, first).await;
    timelines(&server).await;
    assert_eq!(server.stop(), 0);
}
