//! Clips: what is checked before a job is accepted (`ask`), the job itself (`cut`), and the files it leaves.
//!
//! A clip's file gets its final name only when it is whole; its row is written together with the end of its job. A virtual
//! clip has no file: `virtual_clip` makes it, `virtual_content` reads it. Where the file can be made again (`remake`) or may be
//! lost, it is put on the disk later (`unsynced`). `materialize` gives a clip what it lacks of file and hash.

mod ask;
mod cut;
mod engine;
mod error;
mod finder;
mod held_sources;
mod kept_layouts;
mod layouts;
mod materialize;
mod open_recordings;
mod remake;
mod render;
mod unsynced;
mod virtual_clip;
mod virtual_content;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use self::error::internal;
use self::layouts::Layouts;
use self::open_recordings::OpenRecordings;
use self::remake::Tries;
use self::unsynced::Refused;
use super::ffmpeg::Ffmpeg;
use super::indexes;
use super::output::remove_if_there;
use super::roots::{OpenRoots, Roots};
use super::source_file::open_beneath;
use super::{Attempt, Done, Work, WorkError};
use crate::domain::camera::CameraId;
use crate::domain::catalog::{Segment, SegmentState};
use crate::domain::clip::{Clip, ClipSpec};
use crate::domain::job::{JobSpec, Progress};
use crate::domain::time::TimeRange;
use crate::media::{self, Engine};
use crate::repository::Store;

pub use ask::Preview;
pub use error::ClipError;
pub use virtual_content::{Content, VirtualContent};

/// How far around a window segments are looked for: the start of one may be later than its name says, and the key
/// frame that the window needs may be in the segment before.
pub(super) const LOOK_AROUND: TimeDelta = TimeDelta::seconds(5);

/// What the operator decides about clips.
#[derive(Clone, Debug)]
pub struct ClipSettings {
    /// Where finished clips lie.
    pub folder: PathBuf,
    /// How long a clip is kept unless its request says otherwise; `None` is until it is deleted.
    pub keep_for: Option<Duration>,
    /// How long one cut may take.
    pub timeout: Duration,
}

/// Everything about clips but their queue.
pub struct ClipWork {
    store: Store,
    settings: ClipSettings,
    engine: Engine,
    ffmpeg: Ffmpeg,
    layouts: Layouts,
    open_recordings: OpenRecordings,
    /// Held while a file is put on the disk.
    securing: Mutex<()>,
    refused: Refused,
    tries: Tries,
}

impl ClipWork {
    /// Cuts with `engine` into the folder of `settings`.
    pub fn new(store: Store, settings: ClipSettings, engine: Engine) -> Self {
        let ffmpeg = Ffmpeg::new(engine.ffmpeg.clone());
        Self {
            store,
            settings,
            engine,
            ffmpeg,
            layouts: Layouts::default(),
            open_recordings: OpenRecordings::default(),
            securing: Mutex::default(),
            refused: Refused::default(),
            tries: Tries::default(),
        }
    }

    /// How long a clip is kept unless its request says otherwise, seconds; 0 is until it is deleted.
    pub fn default_keep_for_s(&self) -> u64 {
        self.settings
            .keep_for
            .map_or(0, |keep_for| keep_for.as_secs())
    }

    /// Opens a finished clip's file, after a look at its size.
    pub async fn open(&self, clip: &Clip) -> Result<File, ClipError> {
        if self.is_in_doubt(clip) {
            return Err(ClipError::Corrupted(
                "may not be whole; it is made again if it can be",
            ));
        }
        let (folder, name, size_bytes) = (
            self.settings.folder.clone(),
            clip.file_name.clone(),
            clip.size_bytes,
        );
        blocking(move || {
            let file = match open_beneath(&folder, Path::new(&name)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(ClipError::Corrupted("is gone"));
                }
                Err(error) => return Err(ClipError::Folder(error)),
            };
            if file.metadata().map_err(ClipError::Folder)?.len() != size_bytes {
                return Err(ClipError::Corrupted("no longer has its size"));
            }
            Ok(file)
        })
        .await
    }

    /// Deletes a clip with its file; whether it was there.
    pub async fn delete(&self, clip: &Clip) -> Result<bool, ClipError> {
        let remake = self.store.clip_remake(&clip.id).await?;
        if !self.store.delete_clip(clip).await? {
            // What is there may be the file, links and layout of a new clip with the same id.
            return Ok(false);
        }
        let path = self.settings.folder.join(&clip.file_name);
        blocking(move || remove_if_there(&path).map_err(ClipError::Folder)).await?;
        if clip.is_virtual {
            self.layouts.forget(&clip.id);
            self.open_recordings.forget(&clip.id);
            self.discard_layout(&clip.id).await;
            self.release_sources(&clip.id).await?;
        }
        self.refused.forget(&clip.id);
        self.tries.forget(&clip.id);
        if let Some((_, held_in)) = remake {
            self.release_sources(&held_in).await?;
        }
        Ok(true)
    }

    /// The segments that overlap the window, when at least one of them can be read.
    async fn footage(
        &self,
        camera_id: &CameraId,
        window: TimeRange,
    ) -> Result<Vec<Segment>, ClipError> {
        let segments = self.store.segments_in(camera_id, window).await?;
        self.check_footage(camera_id, &segments).await?;
        Ok(segments)
    }

    /// The same, and with them in order those just around the window.
    async fn footage_around(
        &self,
        camera_id: &CameraId,
        window: TimeRange,
    ) -> Result<(Vec<Segment>, Vec<Segment>), ClipError> {
        let wider = TimeRange::new(window.start() - LOOK_AROUND, window.end() + LOOK_AROUND)
            .unwrap_or(window);
        let around = self.store.segments_in(camera_id, wider).await?;
        let touching = around.iter().filter(|segment| touches(segment, window));
        let touching: Vec<Segment> = touching.cloned().collect();
        self.check_footage(camera_id, &touching).await?;
        Ok((touching, around))
    }

    /// Refuses a window of which nothing can be read.
    async fn check_footage(
        &self,
        camera_id: &CameraId,
        segments: &[Segment],
    ) -> Result<(), ClipError> {
        if segments
            .iter()
            .any(|segment| segment.state == SegmentState::Available)
        {
            return Ok(());
        }
        match self.store.camera(camera_id).await? {
            None => Err(ClipError::CameraNotFound(camera_id.clone())),
            Some(_) => Err(ClipError::NoFootage),
        }
    }

    async fn roots(&self) -> Result<Roots, ClipError> {
        Ok(Roots::read(&self.store).await?)
    }

    /// Opens every segment, so that a file which is deleted from now on is still cut whole.
    async fn open_sources(
        &self,
        roots: Roots,
        segments: &[Segment],
    ) -> Result<Vec<media::Source>, ClipError> {
        let roots = OpenRoots::new(roots);
        let segments = segments.to_vec();
        let opened = blocking(move || {
            segments
                .into_iter()
                .map(|segment| {
                    let end_time = segment.file.end_time();
                    let file = roots
                        .look_for(&segment.file.source_id, &segment.file.path)
                        .map_err(ClipError::Machine)?;
                    Ok(media::Source {
                        id: segment.id,
                        name: segment.file.path,
                        start: segment.file.start_time,
                        start_accuracy: segment.file.start_accuracy,
                        expected_end: Some(end_time),
                        file: file.map(Arc::new),
                        index: None,
                    })
                })
                .collect::<Result<Vec<_>, ClipError>>()
        });
        let mut sources = opened.await?;
        indexes::attach(&self.store, &mut sources).await?;
        Ok(sources)
    }

    async fn make(&self, attempt: Attempt) -> Result<Done, WorkError> {
        match &attempt.spec {
            JobSpec::MaterializeClip(spec) => self.materialize(&attempt, spec).await,
            JobSpec::Clip(spec) if spec.is_virtual => self.make_virtual(&attempt, spec).await,
            JobSpec::Clip(spec) => self.cut(&attempt, spec).await,
            _ => Err(internal("not a clip")),
        }
    }
}

/// Lets the API and the runner share one [`ClipWork`].
impl Work for Arc<ClipWork> {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, Result<Done, WorkError>> {
        self.make(attempt).boxed()
    }
}

/// Tells that a clip is begun; its window.
fn begin(attempt: &Attempt, spec: &ClipSpec) -> Result<TimeRange, WorkError> {
    attempt.report(Progress {
        phase: "opening".to_owned(),
        fraction: Some(0.0),
        ..Progress::default()
    });
    spec.window()
        .ok_or_else(|| internal("the job holds no window"))
}

fn touches(segment: &Segment, window: TimeRange) -> bool {
    segment.file.start_time < window.end() && window.start() < segment.file.end_time()
}

fn microseconds(duration: TimeDelta) -> i64 {
    duration.num_microseconds().unwrap_or(i64::MAX)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClipError> + Send + 'static,
) -> Result<T, ClipError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(ClipError::Folder(io::Error::other(error))))
}
