//! A clip encoded anew: exact in players that ignore edit lists, scaled, faster or slower, with name and time written in.
//!
//! The window is cut first, as every clip is, into a file of the scratch folder that loses its name at once. ffmpeg reads
//! that through a pipe: it sees a container of ours, whose edit list shows exactly the window, and opens no file but the
//! script of what is written into the picture (`burn_in`). What it wrote is measured before it counts.

mod burn_in;
mod encoder;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use self::burn_in::BurnIn;
use self::encoder::Encoding;
pub use self::encoder::{Part, needed_parts, picture_size};
use super::cut::{cut, process_error, write_error};
use super::ffmpeg::{Format, Progress};
use super::finish::hash;
use super::mp4::{SourceIndex, Track};
use super::open::{CUT_PREFIX, Engine, Scratch, scratch_path};
use super::order::{CutError, CutOrder, CutOutcome, CutProgress, EngineChoice};
use super::plan::{CutWarning, WarningKind};
use crate::domain::catalog::{AudioFormat, VideoFormat};
use crate::domain::clip::RenderOptions;
use crate::hashing::Sha256;
use crate::process::{Feeder, Heard, Job, Limits, ProcessError};

/// Silence this long means that ffmpeg hangs. It says nothing while it moves the header of a finished file to its front.
const IDLE_LIMIT: Duration = Duration::from_secs(120);
/// Address space of an ffmpeg that encodes: some dozens of pictures of the largest size.
const MEMORY_BYTES: u64 = 8 << 30;
const BUFFER_BYTES: usize = 256 << 10;

/// A clip to be encoded anew.
#[derive(Debug)]
pub struct RenderOrder {
    /// The footage, and where the clip is written. `engine` and `is_durable` are about that file.
    pub cut: CutOrder,
    /// How.
    pub options: RenderOptions,
    /// What is written into the picture as the camera's name.
    pub camera_name: String,
    /// How long encoding may take.
    pub deadline: Duration,
    /// How large the clip may become; more is [`CutError::DiskFull`].
    pub most_bytes: u64,
}

/// How far a clip is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenderProgress {
    /// The footage is cut out.
    Cutting(CutProgress),
    /// It is encoded.
    Encoding {
        /// Footage encoded.
        media_done: TimeDelta,
        /// Footage in all.
        media_total: TimeDelta,
        /// Bytes written.
        bytes_done: u64,
    },
}

/// Cuts a window and encodes it anew. The outcome is that of the finished file, but for `duration_shown`, which is the
/// length of the footage.
///
/// # Errors
/// [`CutError`]; nothing is left at the output or in the scratch folder then.
pub async fn render(
    engine: &Engine,
    order: RenderOrder,
    cancel: &CancellationToken,
    mut on_progress: impl FnMut(RenderProgress) + Send,
) -> Result<CutOutcome, CutError> {
    let output = std::path::absolute(&order.cut.output).map_err(CutError::Write)?;
    let (title, gap_mode, is_durable, hashes) = (
        order.cut.title.clone(),
        order.cut.wanted.gap_mode,
        order.cut.is_durable,
        order.cut.hashes,
    );
    let between = scratch_path(&engine.scratch, CUT_PREFIX).map_err(write_error)?;
    let cut_order = CutOrder {
        output: between.clone(),
        engine: EngineChoice::Auto,
        is_durable: false,
        hashes: false,
        ..order.cut
    };
    let footage = cut(engine, cut_order, cancel, |progress| {
        on_progress(RenderProgress::Cutting(progress));
    })
    .await?;
    let file = nameless(&between).map_err(CutError::Write)?;
    let reader = Arc::clone(&file);
    let index = blocking(cancel, move || {
        SourceIndex::read(&reader).map_err(unreadable)
    })
    .await?;

    let options = &order.options;
    let (width, height) = shown_size(&index.video);
    let (width, height) = picture_size(options, width, height);
    let burn_in = BurnIn {
        options,
        camera_name: &order.camera_name,
        footage: &footage,
        gap_mode,
        timescale: index.video.timescale,
        width,
        height,
    };
    let script = burn_in
        .script()
        .map(|text| write_script(&engine.scratch, &text));
    let script = script.transpose().map_err(write_error)?;
    let sound = footage.audio.as_ref().filter(|_| options.has_sound());
    let length = footage.duration_shown;
    let tags = tags(&title, &footage);
    let arguments = Encoding {
        options,
        timescale: index.video.timescale,
        width,
        height,
        frame_count: footage.video.frame_count,
        length_s: length.as_seconds_f64(),
        sound_channels: sound.map(|sound| sound.channels),
        script: script.as_ref().map(|script| script.path.as_path()),
        tags: &tags,
    }
    .arguments(&output);

    let draft = Draft::create(output)?;
    let shown = command_line(&engine.ffmpeg, &arguments, script.as_ref());
    let encoder = Encoder {
        engine,
        file,
        length,
        speed_milli: options.speed_milli,
        deadline: order.deadline,
        most_bytes: order.most_bytes,
    };
    encoder
        .run(arguments, cancel, &mut on_progress)
        .await
        .map_err(|error| failure(error, &draft.path, script.as_ref()))?;
    drop(script);
    let path = draft.path.clone();
    let written = blocking(cancel, move || measure(&path, is_durable, hashes)).await?;
    let outcome = outcome(footage, options, written, shown)?;
    draft.keep();
    Ok(outcome)
}

/// ffmpeg, and what it is held to.
struct Encoder<'a> {
    engine: &'a Engine,
    file: Arc<File>,
    length: TimeDelta,
    speed_milli: u32,
    deadline: Duration,
    most_bytes: u64,
}

impl Encoder<'_> {
    async fn run(
        self,
        arguments: Vec<OsString>,
        cancel: &CancellationToken,
        on_progress: &mut (impl FnMut(RenderProgress) + Send),
    ) -> Result<(), ProcessError> {
        let fed_bytes = Arc::new(AtomicU64::new(0));
        let feeder: Feeder = {
            let (file, fed_bytes) = (Arc::clone(&self.file), Arc::clone(&fed_bytes));
            Box::new(move |pipe| feed(&file, File::from(pipe), &fed_bytes))
        };
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let mut progress = Progress::default();
        let mut fed_before = 0;
        let tell = |progress: Progress| {
            let us = i128::try_from(progress.media.as_micros()).unwrap_or(i128::MAX / 1_000_000)
                * i128::from(self.speed_milli)
                / 1000;
            let media_done = TimeDelta::microseconds(i64::try_from(us).unwrap_or(i64::MAX));
            RenderProgress::Encoding {
                media_done: media_done.min(self.length),
                media_total: self.length,
                bytes_done: progress.bytes,
            }
        };
        on_progress(tell(progress));
        Job::new(self.engine.ffmpeg.clone(), self.deadline)
            .arguments(arguments)
            .idle_limit(IDLE_LIMIT)
            .limits(Limits {
                memory_bytes: Some(MEMORY_BYTES),
                cpu_s: Some((self.deadline.as_secs() + 1).saturating_mul(processors)),
                file_bytes: Some(self.most_bytes),
            })
            .input(feeder)
            .run(cancel, |line| {
                // A thousand frames may go in until one comes out.
                let fed = fed_bytes.load(Ordering::Relaxed);
                let reads_on = fed != fed_before;
                fed_before = fed;
                if progress.hear(line) {
                    on_progress(tell(progress));
                    Heard::Progress
                } else if reads_on {
                    Heard::Progress
                } else {
                    Heard::Nothing
                }
            })
            .await
    }
}

/// Copies a file into a pipe until its end, or until the reader is gone.
fn feed(file: &File, mut pipe: File, fed_bytes: &AtomicU64) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut at = 0;
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return,
            Ok(count) if pipe.write_all(&buffer[..count]).is_err() => return,
            Ok(count) => {
                at += count as u64;
                fed_bytes.store(at, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // ffmpeg sees an early end, and the clip's frames are counted.
            Err(_) => return,
        }
    }
}

/// A finished file, measured.
struct Written {
    size_bytes: u64,
    /// If it was asked for.
    sha256: Option<Sha256>,
    video: VideoFormat,
    audio: Option<AudioFormat>,
}

/// Reads what ffmpeg wrote, and puts it on disk. Blocks.
fn measure(path: &Path, is_durable: bool, hashes: bool) -> Result<Written, CutError> {
    let file = File::open(path).map_err(CutError::Write)?;
    let index = SourceIndex::read(&file).map_err(unreadable)?;
    let video = &index.video;
    let first = video.samples.iter().map(super::mp4::Sample::pts).min();
    let begins = first.is_some_and(|first| first == 0 && video.edits.place(first) == 0);
    if index.truncated || !begins {
        return Err(mismatch(
            "the picture does not begin with the file, or ends too early",
        ));
    }
    if is_durable {
        file.sync_data().map_err(write_error)?;
    }
    let entry = &video.entry;
    Ok(Written {
        size_bytes: index.size_bytes,
        sha256: hashes
            .then(|| hash(path))
            .transpose()
            .map_err(write_error)?,
        video: VideoFormat {
            codec: entry.codec.clone(),
            width: u32::from(entry.width),
            height: u32::from(entry.height),
            frame_count: video.samples.len() as u64,
        },
        audio: index.audio.map(|track| AudioFormat {
            codec: track.entry.codec,
            sample_rate_hz: track.entry.sample_rate_hz,
            channels: u32::from(track.entry.channels),
        }),
    })
}

fn outcome(
    footage: CutOutcome,
    options: &RenderOptions,
    written: Written,
    engine: String,
) -> Result<CutOutcome, CutError> {
    let (frames, due) = (written.video.frame_count, footage.video.frame_count);
    if frames > due {
        return Err(mismatch(&format!(
            "{frames} frames were written where {due} were due"
        )));
    }
    let mut warnings = footage.warnings;
    if !options.has_sound() {
        warnings.retain(|warning| {
            !matches!(
                warning.kind,
                WarningKind::SoundPartlyMissing | WarningKind::SoundLeftOut
            )
        });
    }
    if options.speed_milli <= 1000 && frames < due {
        warnings.push(CutWarning {
            kind: WarningKind::FileDamaged,
            range: None,
            message: format!(
                "{} of {due} frames of the footage could not be decoded",
                due - frames
            ),
        });
    }
    Ok(CutOutcome {
        warnings,
        size_bytes: written.size_bytes,
        sha256: written.sha256,
        format: Format::Mp4,
        hidden_lead: TimeDelta::zero(),
        video: written.video,
        audio: written.audio,
        engine,
        is_native: false,
        not_native: None,
        ..footage
    })
}

/// The footage as it is shown: turned, where its track says so.
fn shown_size(video: &Track) -> (u32, u32) {
    let (width, height) = (u32::from(video.entry.width), u32::from(video.entry.height));
    // A quarter turn leaves nothing on the diagonal.
    if video.display.matrix[0] == 0 && video.display.matrix[1] != 0 {
        (height, width)
    } else {
        (width, height)
    }
}

fn tags(title: &str, footage: &CutOutcome) -> Vec<(&'static str, String)> {
    let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
    let (asked, start) = (footage.requested, text(footage.delivered.start()));
    let comment = format!(
        "encoded anew from footage of {title} from {} to {}",
        text(asked.start()),
        text(asked.end())
    );
    vec![
        ("title", title.to_owned()),
        ("date", start.clone()),
        ("creation_time", start),
        ("comment", comment),
    ]
}

/// Opens a file and takes its name away, so that nothing stays behind. Whatever happens then, it goes with its last handle.
fn nameless(path: &Path) -> io::Result<Arc<File>> {
    let file = File::open(path);
    std::fs::remove_file(path)?;
    Ok(Arc::new(file?))
}

fn write_script(folder: &Path, text: &str) -> io::Result<Scratch> {
    let script = Scratch::create(folder, CUT_PREFIX)?;
    std::fs::write(&script.path, text)?;
    Ok(script)
}

/// The file being written, removed unless it is finished.
struct Draft {
    path: PathBuf,
    is_kept: bool,
}

impl Draft {
    fn create(path: PathBuf) -> Result<Self, CutError> {
        File::create_new(&path).map_err(write_error)?;
        Ok(Self {
            path,
            is_kept: false,
        })
    }

    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished clip stays behind");
        }
    }
}

/// Work that blocks, and is not waited for on cancellation.
async fn blocking<T: Send + 'static>(
    cancel: &CancellationToken,
    work: impl FnOnce() -> Result<T, CutError> + Send + 'static,
) -> Result<T, CutError> {
    tokio::select! {
        () = cancel.cancelled() => Err(CutError::Cancelled),
        done = tokio::task::spawn_blocking(work) => done.unwrap_or(Err(CutError::Cancelled)),
    }
}

fn failure(error: ProcessError, output: &Path, script: Option<&Scratch>) -> CutError {
    let ProcessError::Failed {
        program,
        status,
        stderr,
    } = error
    else {
        return process_error(error, output);
    };
    // The kernel ends who writes more than `most_bytes` with a signal of its own.
    if status.signal() == Some(Signal::XFSZ.as_raw()) || stderr.contains("File too large") {
        return CutError::DiskFull;
    }
    let stderr = match script.and_then(|script| script.path.to_str()) {
        Some(path) => stderr.replace(path, "the script"),
        None => stderr,
    };
    let error = ProcessError::Failed {
        program,
        status,
        stderr,
    };
    process_error(error, output)
}

fn unreadable(error: super::mp4::ReadError) -> CutError {
    mismatch(&error.to_string())
}

fn mismatch(reason: &str) -> CutError {
    CutError::Mismatch {
        reason: reason.to_owned(),
    }
}

/// For the record of how a clip was made; paths are the server's own business.
fn command_line(program: &OsString, arguments: &[OsString], script: Option<&Scratch>) -> String {
    let shown = arguments.split_last().map_or(&[][..], |(_, rest)| rest);
    let line = std::iter::once(program)
        .chain(shown)
        .map(|part| part.to_string_lossy().into_owned())
        .chain(std::iter::once("OUTPUT".to_owned()))
        .collect::<Vec<_>>()
        .join(" ");
    match script {
        Some(script) => line.replace(&*encoder::escaped(&script.path).to_string_lossy(), "SCRIPT"),
        None => line,
    }
}
