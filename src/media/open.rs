//! From an open file to a file whose samples can be indexed: MP4 as it is, other containers repacked.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::ffmpeg::Format;
use super::mp4::{ReadError, SourceIndex, sniff};
use crate::domain::catalog::Container;
use crate::process::{Feeder, Heard, Job, Limits, ProcessError};

/// Repacking copies at the speed of the disk; a file that takes longer than this is stuck.
const REPACK_DEADLINE: Duration = Duration::from_secs(120);
const REPACK_IDLE_LIMIT: Duration = Duration::from_secs(20);
/// Address space of an ffmpeg that copies. Measured: below 300 MB with Debian's, shared libraries included.
pub(super) const FFMPEG_MEMORY_BYTES: u64 = 2 << 30;

/// Beginning of the names of repacked footage, which lies in the scratch folder and ends in `.part`.
const REPACK_PREFIX: &str = "repack-";
/// Beginning of the names of cuts that are only made to be put somewhere else. They lie in the scratch folder and end
/// in `.part`.
pub const CUT_PREFIX: &str = "cut-";

/// Where the tools of this room are.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Name or path of ffmpeg.
    pub ffmpeg: OsString,
    /// Folder for files that live only while a job runs. They are unlinked as soon as they are open.
    pub scratch: PathBuf,
}

/// Footage whose samples are known.
#[derive(Clone, Debug)]
pub struct OpenFootage {
    /// The file that holds the samples: the recorded one, or its repacked copy.
    pub file: Arc<File>,
    /// Its samples.
    pub index: Arc<SourceIndex>,
    /// What the recorded file is.
    pub container: Container,
}

/// Why footage cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not usable footage.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// ffmpeg could not repack it.
    #[error("the file cannot be repacked")]
    Repack(#[source] ProcessError),
    /// The scratch folder cannot be used.
    #[error("the scratch folder cannot be used")]
    Scratch(#[source] io::Error),
    /// The reading task was stopped.
    #[error("reading was stopped")]
    Stopped,
}

impl OpenError {
    /// Whether the file itself is at fault, so that trying it again cannot help.
    pub fn is_of_the_file(&self) -> bool {
        match self {
            Self::Read(error) => !matches!(error, ReadError::Io(_)),
            Self::Repack(error) => {
                matches!(
                    error,
                    ProcessError::Failed { .. } | ProcessError::Stalled { .. }
                )
            }
            Self::Scratch(_) | Self::Stopped => false,
        }
    }
}

/// Opens footage of any container. MPEG transport streams and Matroska are repacked by ffmpeg, which reads
/// them through a pipe and is told the format, so that it opens no file on the content's behalf. With the `known` index of
/// the file nothing of it is read.
///
/// # Errors
/// [`OpenError`], see there.
pub async fn open_footage(
    engine: &Engine,
    file: Arc<File>,
    known: Option<Arc<SourceIndex>>,
    cancel: &CancellationToken,
) -> Result<OpenFootage, OpenError> {
    if let Some(index) = known {
        let container = index.container;
        return Ok(OpenFootage {
            file,
            index,
            container,
        });
    }
    let source = Arc::clone(&file);
    let (container, index) = blocking(move || match sniff(&source)? {
        Container::Mp4 | Container::FragmentedMp4 => {
            let index = SourceIndex::read(&source)?;
            Ok((index.container, Some(index)))
        }
        other => Ok((other, None)),
    })
    .await?;
    if let Some(index) = index {
        return Ok(OpenFootage {
            file,
            index: Arc::new(index),
            container,
        });
    }
    let demuxer = if container == Container::MpegTs {
        "mpegts"
    } else {
        "matroska"
    };
    let repacked = match repack(engine, &file, demuxer, Format::Mp4, cancel).await {
        // Some sound has a place in QuickTime only.
        Err(OpenError::Repack(ProcessError::Failed { .. })) => {
            repack(engine, &file, demuxer, Format::QuickTime, cancel).await?
        }
        other => other?,
    };
    let source = Arc::new(repacked);
    let reader = Arc::clone(&source);
    let index = blocking(move || SourceIndex::read(&reader)).await?;
    Ok(OpenFootage {
        file: source,
        index: Arc::new(index),
        container,
    })
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, OpenError> {
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => result.map_err(OpenError::Read),
        Err(_) => Err(OpenError::Stopped),
    }
}

async fn repack(
    engine: &Engine,
    file: &Arc<File>,
    demuxer: &str,
    format: Format,
    cancel: &CancellationToken,
) -> Result<File, OpenError> {
    let scratch = Scratch::create(&engine.scratch, REPACK_PREFIX).map_err(OpenError::Scratch)?;
    let mut target = OsString::from("file:");
    target.push(&scratch.path);
    let arguments = [
        "-nostdin",
        "-hide_banner",
        "-loglevel",
        "error",
        "-nostats",
        "-progress",
        "pipe:1",
        "-y",
        "-protocol_whitelist",
        "pipe",
        "-format_whitelist",
        demuxer,
        "-f",
        demuxer,
        "-i",
        "pipe:0",
        "-map",
        "0:v:0",
        "-map",
        "0:a:0?",
        "-c",
        "copy",
        "-f",
        format.muxer(),
    ];
    let source = Arc::clone(file);
    let feeder: Feeder = Box::new(move |pipe| feed_whole(&source, File::from(pipe)));
    let mut heard_bytes = super::ffmpeg::Progress::default();
    Job::new(engine.ffmpeg.clone(), REPACK_DEADLINE)
        .arguments(arguments)
        .arguments([target])
        .idle_limit(REPACK_IDLE_LIMIT)
        .limits(Limits {
            memory_bytes: Some(FFMPEG_MEMORY_BYTES),
            ..Limits::default()
        })
        .input(feeder)
        .run(cancel, |line| {
            if heard_bytes.hear(line) {
                Heard::Progress
            } else {
                Heard::Nothing
            }
        })
        .await
        .map_err(OpenError::Repack)?;
    File::open(&scratch.path).map_err(OpenError::Scratch)
}

/// Removes what processes that were killed left in the scratch folder; how many files went. Files in use are locked.
///
/// # Errors
/// When the folder cannot be read or a file not be removed.
pub fn sweep_scratch(folder: &Path) -> io::Result<u64> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut swept = 0;
    for entry in entries {
        let path = entry?.path();
        let is_scratch = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| {
                [REPACK_PREFIX, CUT_PREFIX]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
                    && name.ends_with(".part")
            });
        if !is_scratch {
            continue;
        }
        // One that went meanwhile is as good as removed.
        let Ok(file) = File::open(&path) else {
            continue;
        };
        if file.try_lock().is_ok() {
            std::fs::remove_file(&path)?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// Copies a file into a pipe until its end, or until the reader is gone.
fn feed_whole(source: &File, mut pipe: File) {
    let mut buffer = vec![0; 256 << 10];
    let mut at = 0;
    loop {
        match source.read_at(&mut buffer, at) {
            Ok(0) => return,
            Ok(count) if pipe.write_all(&buffer[..count]).is_err() => return,
            Ok(count) => at += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // ffmpeg sees an early end; the index then shows what is missing.
            Err(_) => return,
        }
    }
}

/// A name in the scratch folder that nothing else has.
pub(super) fn scratch_path(folder: &Path, prefix: &str) -> io::Result<PathBuf> {
    let folder = std::path::absolute(folder)?;
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join(format!("{prefix}{}.part", uuid::Uuid::now_v7().simple())))
}

/// A file with a name of its own that goes away again.
pub(super) struct Scratch {
    pub(super) path: PathBuf,
    /// Locked, so that another process can tell that the file is in use.
    _held: File,
}

impl Scratch {
    pub(super) fn create(folder: &Path, prefix: &str) -> io::Result<Self> {
        let path = scratch_path(folder, prefix)?;
        let held = File::create_new(&path)?;
        held.lock()?;
        Ok(Self { path, _held: held })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a scratch file stays behind");
        }
    }
}
