//! Clips against bare ffmpeg, and against copying, syncing and hashing as many bytes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use heldar_footage::proto;

use crate::hour::{median, ms};
use crate::server::{Server, Site, clip_of, files_in, seconds, time};

/// A clip from the call to the finished, recorded file, with ffmpeg and without it, hashed and synced but for the quick one,
/// against one bare ffmpeg of the same cut, which does neither, and against copying, syncing and hashing as many bytes with
/// `cp`, `sync` and `openssl`.
pub async fn cuts(site: &Site, server: &Server, first: DateTime<Utc>, quick: bool) {
    println!(
        "\nClip, from call to finished file (start 1.4 s after a key frame; medians; all in turns)"
    );
    println!(
        "{:>6}  {:>9} {:>9} {:>9} {:>11} {:>9} {:>9} {:>9} {:>11} {:>10} {:>13}",
        "window",
        "native",
        "quick",
        "by ffmpeg",
        "bare ffmpeg",
        "cp",
        "cp, sync",
        "openssl",
        "bare/native",
        "bare/quick",
        "native/longer"
    );
    let mut windows = vec![(10, 9), (60, 9)];
    if !quick {
        windows.extend([(600, 5), (3590, 3)]);
    }
    let list = concat_list(site);
    for (length_s, runs) in windows {
        let mut times: [Vec<Duration>; 7] = Default::default();
        for run in 0..=runs {
            let start_ms = 1_400;
            let from = first + TimeDelta::milliseconds(start_ms);
            let to = from + TimeDelta::seconds(length_s);
            let (native, native_time) = timed_cut(server, Way::Native, from, to).await;
            let (quick, quick_time) = timed_cut(server, Way::Quick, from, to).await;
            let (copied, copied_time) = timed_cut(server, Way::Ffmpeg, from, to).await;
            let began = Instant::now();
            let theirs = bare_ffmpeg(site, &list, start_ms as f64 / 1000.0, length_s);
            let their_time = began.elapsed();
            std::fs::remove_file(theirs).unwrap();
            let file = site.clips().join(&native.file_name);
            let copy = site.path("copy");
            let cp_time = timed(Command::new("cp").arg(&file).arg(&copy));
            let synced_time = cp_time + timed(Command::new("sync").arg(&copy));
            std::fs::remove_file(copy).unwrap();
            let openssl_time = timed(Command::new("openssl").args(["dgst", "-sha256"]).arg(&file));
            for clip_id in [native.id, quick.id, copied.id] {
                let request = proto::DeleteClipRequest { clip_id };
                server.clips().delete_clip(request).await.unwrap();
            }
            // The first run only warms the caches.
            if run > 0 {
                let measured = [
                    native_time,
                    quick_time,
                    copied_time,
                    their_time,
                    cp_time,
                    synced_time,
                    openssl_time,
                ];
                times
                    .iter_mut()
                    .zip(measured)
                    .for_each(|(times, time)| times.push(time));
            }
        }
        let [native, quick, copied, bare, cp, synced, openssl] = times.map(median);
        println!(
            "{:>5} s {:>7.1}ms {:>7.1}ms {:>7.1}ms {:>9.1}ms {:>7.1}ms {:>7.1}ms {:>7.1}ms {:>11.2} {:>10.2} {:>13.2}",
            length_s,
            ms(native),
            ms(quick),
            ms(copied),
            ms(bare),
            ms(cp),
            ms(synced),
            ms(openssl),
            bare.as_secs_f64() / native.as_secs_f64(),
            bare.as_secs_f64() / quick.as_secs_f64(),
            native.as_secs_f64() / cp.max(openssl).as_secs_f64(),
        );
    }
}

/// How long a program takes that must succeed and says nothing of use.
fn timed(command: &mut Command) -> Duration {
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}");
    began.elapsed()
}

/// How we make a clip.
#[derive(Clone, Copy)]
pub enum Way {
    /// By ourselves.
    Native,
    /// As well, neither hashed nor synced, as what bare ffmpeg makes.
    Quick,
    /// By ffmpeg.
    Ffmpeg,
}

pub async fn timed_cut(
    server: &Server,
    way: Way,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> (proto::Clip, Duration) {
    let engine = match way {
        Way::Native | Way::Quick => proto::ClipEngine::Native,
        Way::Ffmpeg => proto::ClipEngine::Ffmpeg,
    };
    let request = proto::CreateClipRequest {
        camera_id: "gate_a_01".to_owned(),
        start_time: time(start),
        end_time: time(end),
        wait: seconds(60),
        engine: engine.into(),
        quick: matches!(way, Way::Quick),
        ..Default::default()
    };
    let began = Instant::now();
    let job = server.clips().create_clip(request).await.unwrap();
    (clip_of(&job.into_inner()), began.elapsed())
}

/// What a good command line of ffmpeg would be for the same cut: input seeking, stream copy, faststart.
fn bare_ffmpeg(site: &Site, list: &Path, start_s: f64, length_s: i64) -> PathBuf {
    let output = site.path("bare.mp4");
    let status = Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-v",
            "error",
            "-y",
            "-ss",
            &start_s.to_string(),
            "-f",
            "concat",
            "-safe",
            "0",
            "-i",
        ])
        .arg(list)
        .args([
            "-t",
            &length_s.to_string(),
            "-map",
            "0",
            "-c",
            "copy",
            "-movflags",
            "+faststart",
        ])
        .arg(&output)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    output
}

fn concat_list(site: &Site) -> PathBuf {
    let folder = site.recordings().join("gate_a_01");
    let lines: String = files_in(&folder)
        .iter()
        .map(|name| format!("file '{}'\n", folder.join(name).display()))
        .collect();
    let list = site.path("list.txt");
    std::fs::write(&list, lines).unwrap();
    list
}
