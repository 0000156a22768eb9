//! Virtual clips: how many can be made, and how soon they can be read.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use heldar_footage::proto;

use crate::hour::{median, ms};
use crate::latency::{measure_with, report};
use crate::server::{KEPT_LAYOUTS, Server, Site, clip_of, seconds, time};

/// Virtual clips of an hour: how many can be made in a second, and how soon the first byte of one is there.
pub async fn virtual_clips(site: &Site, server: Server, first: DateTime<Utc>) {
    let window = TimeDelta::seconds(3_590);
    let from = first + TimeDelta::milliseconds(1_400);
    println!("\nVirtual clips of 3590 s");
    println!("{:>26} {:>10} {:>10} {:>10}", "", "a second", "p50", "p99");
    for (name, callers, count) in [("made, one caller", 1, 60), ("made, eight callers", 8, 200)] {
        let made = measure_with(callers, count, |_| {
            let mut clips = server.clips();
            async move {
                let request = proto::CreateClipRequest {
                    camera_id: "gate_a_01".to_owned(),
                    start_time: time(from),
                    end_time: time(from + window),
                    wait: seconds(60),
                    r#virtual: true,
                    ..Default::default()
                };
                clip_of(&clips.create_clip(request).await.unwrap().into_inner()).id
            }
        })
        .await;
        report(name, &made.times, made.wall);
        if callers == 1 {
            first_bytes("first byte, just made", &server, &made.last, 1, 200).await;
            first_bytes("the same, eight callers", &server, &made.last, 8, 2_000).await;
            let whole = whole_of(&server, &made.last).await;
            println!("{:>26} {:>10.0} MB/s", "all of it over gRPC", whole);
        }
    }
    let clip = clip_id(&server).await;
    assert_eq!(server.stop(), 0);
    let kept = site.clips().join(KEPT_LAYOUTS).join(&clip);
    let kept_bytes = kept.metadata().unwrap().len();
    for (name, is_kept) in [
        ("first byte, after a start", true),
        ("the same, laid out anew", false),
    ] {
        let mut cold = Vec::new();
        for _ in 0..3 {
            if !is_kept {
                std::fs::remove_file(&kept).unwrap();
            }
            let server = site.start().await;
            cold.push(first_byte(&server, &clip).await);
            assert_eq!(server.stop(), 0);
        }
        println!("{:>26} {:>21.2} ms", name, ms(median(cold)));
    }
    println!(
        "{:>26} {:>21.2} MB",
        "kept of each",
        kept_bytes as f64 / 1e6
    );
}

/// The newest clip.
async fn clip_id(server: &Server) -> String {
    let request = proto::ListClipsRequest {
        page_size: 1,
        ..Default::default()
    };
    let page = server.clips().list_clips(request).await.unwrap();
    page.into_inner().clips[0].id.clone()
}

/// From the call to the first message with bytes.
async fn first_byte(server: &Server, clip_id: &str) -> Duration {
    let request = proto::DownloadClipRequest {
        clip_id: clip_id.to_owned(),
        limit_bytes: 1,
        ..Default::default()
    };
    let began = Instant::now();
    let answer = server.clips().download_clip(request).await.unwrap();
    let mut messages = answer.into_inner();
    messages.message().await.unwrap().expect("a header");
    messages.message().await.unwrap().expect("a byte");
    began.elapsed()
}

async fn first_bytes(name: &str, server: &Server, clip_id: &str, callers: usize, count: i64) {
    let fetched = measure_with(callers, count, |_| async move {
        first_byte(server, clip_id).await;
        String::new()
    })
    .await;
    report(name, &fetched.times, fetched.wall);
}

/// Megabytes a second of a whole download.
async fn whole_of(server: &Server, clip_id: &str) -> f64 {
    let request = proto::DownloadClipRequest {
        clip_id: clip_id.to_owned(),
        ..Default::default()
    };
    let began = Instant::now();
    let answer = server.clips().download_clip(request).await.unwrap();
    let mut messages = answer.into_inner();
    let mut bytes = 0;
    while let Some(message) = messages.message().await.unwrap() {
        if let Some(proto::download_clip_response::Content::Data(data)) = message.content {
            bytes += data.len();
        }
    }
    bytes as f64 / 1e6 / began.elapsed().as_secs_f64()
}
