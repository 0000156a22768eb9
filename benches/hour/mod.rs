//! The footage that is measured: one hour of ten-second 1080p segments at 4 Mbit/s.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

pub const SEGMENT_S: i64 = 10;
pub const HOUR_S: i64 = 3600;
/// Different segments that are encoded; all others are copies of them.
pub const ENCODED: i64 = 6;

/// Makes the hour as a Heldar recorder leaves it.
pub fn make_hour(folder: &Path, first: DateTime<Utc>) {
    std::fs::create_dir_all(folder).unwrap();
    let encoded = folder.with_file_name("encoded");
    encode(&encoded);
    for number in 0..HOUR_S / SEGMENT_S {
        let start = first + TimeDelta::seconds(number * SEGMENT_S);
        let name = start.format("%Y%m%d_%H%M%S.mp4").to_string();
        std::fs::copy(
            encoded.join(format!("{}.mp4", number % ENCODED)),
            folder.join(name),
        )
        .unwrap();
    }
    std::fs::remove_dir_all(encoded).unwrap();
}

/// Encodes the segments that differ, as `0.mp4` and so on in a new folder.
pub fn encode(encoded: &Path) {
    std::fs::create_dir(encoded).unwrap();
    let status = Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=1920x1080:rate=25",
        ])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"])
        .args([
            "-t",
            &(ENCODED * SEGMENT_S).to_string(),
            "-pix_fmt",
            "yuv420p",
        ])
        .args([
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-b:v",
            "4M",
            "-maxrate",
            "4M",
            "-bufsize",
            "4M",
        ])
        .args([
            "-g",
            "50",
            "-sc_threshold",
            "0",
            "-c:a",
            "aac",
            "-b:a",
            "64k",
        ])
        .args([
            "-f",
            "segment",
            "-segment_time",
            &SEGMENT_S.to_string(),
            "-reset_timestamps",
            "1",
        ])
        .args([
            "-segment_format_options",
            "movflags=+frag_keyframe+empty_moov+default_base_moof",
        ])
        .arg(encoded.join("%d.mp4"))
        .status()
        .unwrap();
    assert!(status.success());
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
