//! Clips from end to end: real recordings, a real server, and the file that comes back compared frame by frame.

mod beyond_4_gib;
mod engines;
mod few_descriptors;
mod files;
mod frames;
mod holes;
mod indexes;
mod keeping;
mod likeness;
mod listing;
mod materializing;
mod players;
mod pulled_plug;
mod quick;
mod records;
mod remade;
mod render;
mod virtual_clips;
mod virtual_layouts;
mod virtual_sources;

use std::time::SystemTime;

use chrono::{TimeDelta, Utc};
use heldar_footage::proto::{self, GapReason};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::footage::{Frame, Layout, Recipe, decode, epoch, ms};
use crate::recorder::{
    CAMERA, age, ask, ask_ffmpeg, check, check_decodes, cut, delta, download, fetch, gap_reasons,
    heldar_name, import, lay, place, probe, run_job, sha256, since_epoch, unfollowed,
};
use crate::server::{
    KEPT_LAYOUTS, Server, Site, clip_of, ended, eventually, fields, files_in, http_get,
    notice_reason, reason, seconds, states_of, time,
};
use crate::small_disk::SmallDisk;
use crate::stand_in::Gate;

/// Length of a frame of the plain recipe.
const FRAME: TimeDelta = TimeDelta::milliseconds(40);
const START: TimeDelta = TimeDelta::zero();

/// At a key frame, between key frames, across two segments, inside one frame, nearly everything.
const WINDOWS: [(i64, i64); 5] = [
    (0, 5_000),
    (1_400, 8_200),
    (3_010, 14_005),
    (9_960, 10_040),
    (400, 29_000),
];

fn thirty_seconds() -> Recipe {
    Recipe {
        length_s: 30,
        ..Recipe::plain()
    }
}

/// Cuts each window out of a recording and checks it; nothing may be missing.
async fn check_windows(recipe: Recipe, windows: &[(i64, i64)]) {
    let recording = recipe.record();
    let frame = recording.frames[1].at - recording.frames[0].at;
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let mut clips = Vec::new();
    for (from, to) in windows {
        let (job, clip) = cut(&server, ask(CAMERA, *from, *to)).await;
        check(
            &server,
            &clip,
            &recording.between(ms(*from), ms(*to)),
            START,
            frame,
        )
        .await;
        assert_eq!(
            (clip.gaps.as_slice(), job.warnings.as_slice()),
            (&[][..], &[][..])
        );
        assert_eq!(clip.audio.is_some(), recipe.sound);
        clips.push(clip);
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
}

/// Frames of a recording of ten-second segments without those of some segments.
fn without(frames: &[Frame], segments: &[i64]) -> Vec<Frame> {
    frames
        .iter()
        .filter(|frame| !segments.contains(&(frame.at.num_seconds() / 10)))
        .cloned()
        .collect()
}
