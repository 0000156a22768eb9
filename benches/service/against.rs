//! This build against another one of the same program.

use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;
use heldar_footage::proto;

use crate::cuts::{Way, timed_cut};
use crate::first;
use crate::hour::{make_hour, median, ms};
use crate::server::Site;

/// Clips that are cut by two builds in turns, each with footage and a catalog of its own.
pub async fn against(program: &Path, quick: bool) {
    let mut sites = [Site::new(), Site::new()];
    program.clone_into(&mut sites[1].program);
    let first = first();
    let mut servers = Vec::new();
    for site in &sites {
        make_hour(&site.recordings().join("gate_a_01"), first);
        site.import();
        servers.push(site.start().await);
    }
    println!(
        "{:>8} {:>12} {:>12} {:>12}",
        "window", "this", "other", "other/this"
    );
    let mut windows = vec![(10, 100), (60, 60)];
    if !quick {
        windows.extend([(600, 15), (3590, 5)]);
    }
    for (length_s, runs) in windows {
        let mut times: [Vec<Duration>; 2] = Default::default();
        for run in 0..=runs {
            for (server, times) in servers.iter().zip(&mut times) {
                let from = first + TimeDelta::milliseconds(1_400);
                let to = from + TimeDelta::seconds(length_s);
                let (clip, time) = timed_cut(server, Way::Native, from, to).await;
                let request = proto::DeleteClipRequest { clip_id: clip.id };
                server.clips().delete_clip(request).await.unwrap();
                // The first run only warms the caches.
                if run > 0 {
                    times.push(time);
                }
            }
        }
        let [this, other] = times.map(median);
        println!(
            "{:>6} s {:>9.1} ms {:>9.1} ms {:>12.2}",
            length_s,
            ms(this),
            ms(other),
            other.as_secs_f64() / this.as_secs_f64(),
        );
    }
    for server in servers {
        assert_eq!(server.stop(), 0);
    }
}
