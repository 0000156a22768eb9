//! Makes footage as recorders leave it, with a decode of the whole recording to compare against.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests call ffmpeg by themselves, to judge the clip by other means than those that made it"
)]

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use chrono::{DateTime, TimeDelta, Utc};
use heldar_footage::media::Source;

/// How a recording is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipe {
    pub codec: &'static str,
    pub rate: &'static str,
    pub size: &'static str,
    pub gop_frames: u32,
    pub b_frames: u32,
    pub open_gop: bool,
    pub sound: bool,
    pub sound_codec: &'static str,
    pub layout: Layout,
    pub segment_s: u32,
    pub length_s: u32,
}

/// How the segments are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    Fragmented,
    Progressive,
    /// Every other segment fragmented; the progressive ones with another clock.
    Mixed,
    MpegTs,
    Matroska,
}

impl Recipe {
    /// H.264 at 25 frames a second, key frame each second, no B-frames, ten-second fragmented segments.
    pub fn plain() -> Self {
        Self {
            codec: "libx264",
            rate: "25",
            size: "192x108",
            gop_frames: 25,
            b_frames: 0,
            open_gop: false,
            sound: true,
            sound_codec: "aac",
            layout: Layout::Fragmented,
            segment_s: 10,
            length_s: 40,
        }
    }

    /// The recording, made at the first call and shared by all tests of the binary.
    pub fn record(&self) -> Arc<Recording> {
        type Slot = Arc<OnceLock<Arc<Recording>>>;
        static MADE: LazyLock<Mutex<HashMap<Recipe, Slot>>> = LazyLock::new(Mutex::default);
        let slot = MADE
            .lock()
            .unwrap()
            .entry(self.clone())
            .or_default()
            .clone();
        slot.get_or_init(|| Arc::new(Recording::make(self))).clone()
    }
}

/// A recording cut into segments.
pub struct Recording {
    _folder: tempfile::TempDir,
    /// The sound by itself, from its own start.
    pub sound: PathBuf,
    pub segments: Vec<Segment>,
    /// Every frame of the recording in the order shown.
    pub frames: Vec<Frame>,
}

/// How much later than the picture the sound of a recording begins, in seconds.
pub const SOUND_DELAY_S: &str = "0.1";

/// One file of a recording.
#[derive(Clone)]
pub struct Segment {
    pub path: PathBuf,
    /// From the start of the recording.
    pub start: TimeDelta,
}

/// A decoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// From the start of the recording or clip.
    pub at: TimeDelta,
    /// Digest of the picture.
    pub digest: String,
}

/// When every recording of the tests begins.
pub fn epoch() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).unwrap()
}

pub fn ms(milliseconds: i64) -> TimeDelta {
    TimeDelta::milliseconds(milliseconds)
}

impl Recording {
    fn make(recipe: &Recipe) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let picture = folder.path().join("picture.mp4");
        let sound = folder.path().join("sound.mp4");
        encode(recipe, &picture, &sound);
        let frames = decode(&picture);
        let list = folder.path().join("list.csv");
        let (extension, format, options) = match recipe.layout {
            Layout::Fragmented | Layout::Mixed => (
                "mp4",
                "mp4",
                "movflags=+frag_keyframe+empty_moov+default_base_moof",
            ),
            Layout::Progressive => ("mp4", "mp4", "movflags=+faststart"),
            Layout::MpegTs => ("ts", "mpegts", ""),
            Layout::Matroska => ("mkv", "matroska", ""),
        };
        let mut command = ffmpeg();
        command.arg("-i").arg(&picture);
        if recipe.sound {
            command
                .args(["-itsoffset", SOUND_DELAY_S, "-i"])
                .arg(&sound)
                .args(["-map", "1"]);
        }
        command.args(["-map", "0", "-c", "copy", "-f", "segment"]);
        command.args(["-segment_time", &recipe.segment_s.to_string()]);
        command.args(["-reset_timestamps", "1", "-segment_format", format]);
        if !options.is_empty() {
            command.args(["-segment_format_options", options]);
        }
        command
            .args(["-segment_list_type", "csv", "-segment_list"])
            .arg(&list);
        command.arg(folder.path().join(format!("segment_%03d.{extension}")));
        run(&mut command);
        // The list tells which key frame begins each segment, but moves all but the first by the delay
        // of B-frames.
        let keys: Vec<TimeDelta> = frames
            .iter()
            .step_by(recipe.gop_frames as usize)
            .map(|frame| frame.at)
            .collect();
        let lines = std::fs::read_to_string(&list).unwrap();
        let starts: Vec<(String, f64)> = lines
            .lines()
            .map(|line| {
                let mut cells = line.split(',');
                (
                    cells.next().unwrap().to_owned(),
                    cells.next().unwrap().parse().unwrap(),
                )
            })
            .collect();
        let segments = starts
            .iter()
            .enumerate()
            .map(|(number, (name, start))| {
                let path = folder.path().join(name);
                if recipe.layout == Layout::Mixed && number % 2 == 1 {
                    repack(&path);
                }
                Segment {
                    path,
                    start: nearest(&keys, start - starts[0].1),
                }
            })
            .collect();
        Self {
            _folder: folder,
            sound,
            segments,
            frames,
        }
    }

    /// The segments as the catalog would name them, with exact starts.
    pub fn sources(&self) -> Vec<Source> {
        self.segments
            .iter()
            .map(|segment| source(&segment.path, epoch() + segment.start))
            .collect()
    }

    /// Frames shown in `[from, to)`, in milliseconds of the recording.
    pub fn between(&self, from: TimeDelta, to: TimeDelta) -> Vec<Frame> {
        self.frames
            .iter()
            .filter(|frame| frame.at >= from && frame.at < to)
            .cloned()
            .collect()
    }
}

/// A source of that file.
pub fn source(path: &Path, start: DateTime<Utc>) -> Source {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    Source {
        id: format!("seg_{name}"),
        name,
        start,
        start_accuracy: TimeDelta::zero(),
        expected_end: None,
        file: Ok(Arc::new(File::open(path).unwrap())),
        index: None,
    }
}

/// Frames of a file as a player that honours edit lists shows them, from the first on.
pub fn decode(path: &Path) -> Vec<Frame> {
    let output = run(ffmpeg().arg("-i").arg(path).args([
        "-map",
        "0:v:0",
        "-vsync",
        "passthrough",
        "-enc_time_base",
        "-1",
        "-autoscale",
        "0",
        "-f",
        "framemd5",
        "-",
    ]));
    let text = String::from_utf8(output).unwrap();
    let mut clock = (0i64, 0i64);
    let mut frames = Vec::new();
    for line in text.lines() {
        if let Some(fraction) = line.strip_prefix("#tb 0: ") {
            let (numerator, denominator) = fraction.split_once('/').unwrap();
            clock = (numerator.parse().unwrap(), denominator.parse().unwrap());
        } else if !line.starts_with('#') {
            let cells: Vec<&str> = line.split(',').map(str::trim).collect();
            let pts: i64 = cells[2].parse().unwrap();
            frames.push(Frame {
                at: TimeDelta::nanoseconds(
                    i64::try_from(
                        i128::from(pts) * i128::from(clock.0) * 1_000_000_000 / i128::from(clock.1),
                    )
                    .unwrap(),
                ),
                digest: cells[5].to_owned(),
            });
        }
    }
    let first = frames.first().map_or(TimeDelta::zero(), |frame| frame.at);
    for frame in &mut frames {
        frame.at -= first;
    }
    frames
}

/// Sound of a file as 16-bit mono at `rate_hz`, from the start of its presentation.
pub fn decode_sound(path: &Path, rate_hz: u32) -> Vec<i16> {
    let output = run(ffmpeg().arg("-i").arg(path).args([
        "-map",
        "0:a:0",
        "-af",
        "aresample=async=1:first_pts=0",
        "-ac",
        "1",
        "-ar",
        &rate_hz.to_string(),
        "-f",
        "s16le",
        "-",
    ]));
    output
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| i16::from_le_bytes(*pair))
        .collect()
}

fn nearest(times: &[TimeDelta], seconds: f64) -> TimeDelta {
    let wanted = TimeDelta::nanoseconds((seconds * 1e9) as i64);
    *times.iter().min_by_key(|at| (**at - wanted).abs()).unwrap()
}

/// Encodes picture and sound by themselves. The sound begins a little later than the picture, so that no
/// muxer has to move the first frame to make room for the encoder's run-in.
fn encode(recipe: &Recipe, picture: &Path, sound: &Path) {
    let pattern = format!("testsrc2=size={}:rate={}", recipe.size, recipe.rate);
    let mut command = ffmpeg();
    command.args(["-f", "lavfi", "-i", &pattern]);
    let (gop, b_frames) = (recipe.gop_frames, recipe.b_frames);
    let open = u8::from(recipe.open_gop);
    let common = format!(
        "keyint={gop}:min-keyint={gop}:scenecut=0:bframes={b_frames}:b-adapt=0:open-gop={open}"
    );
    command.args([
        "-t",
        &recipe.length_s.to_string(),
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        recipe.codec,
    ]);
    command.args(["-preset", "veryfast", "-threads", "1"]);
    match recipe.codec {
        "libx265" => command.args([
            "-x265-params",
            &format!("{common}:log-level=error:pools=none:frame-threads=1"),
        ]),
        _ => command.args(["-x264-params", &common]),
    };
    run(command.arg(picture));
    if !recipe.sound {
        return;
    }
    let mut command = ffmpeg();
    command.args([
        "-f",
        "lavfi",
        "-i",
        "aevalsrc='0.4*sin(2*PI*(200+20*t)*t)':s=48000",
    ]);
    command.args([
        "-t",
        &recipe.length_s.to_string(),
        "-c:a",
        recipe.sound_codec,
        "-b:a",
        "64k",
    ]);
    run(command.arg(sound));
}

/// Rewrites a fragmented segment as a progressive one with another clock, from another muxer's defaults.
fn repack(path: &Path) {
    let packed = path.with_extension("packed.mp4");
    let mut command = ffmpeg();
    command.arg("-i").arg(path).args([
        "-map",
        "0",
        "-c",
        "copy",
        "-video_track_timescale",
        "90000",
    ]);
    run(command.args(["-movflags", "+faststart"]).arg(&packed));
    std::fs::rename(packed, path).unwrap();
}

pub fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-v", "error", "-y"]);
    command
}

pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("ffmpeg is installed");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    output.stdout
}
