//! Taking single files into the catalog: open beneath the source, read what the file says of itself, work out when it
//! was recorded. Imports, the follower of sources and recorders that call in all come through here.

mod looking;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::scan;
use super::source_file::open_beneath;
use crate::clock;
use crate::domain::camera::CameraId;
use crate::domain::catalog::{NewSegment, Taken};
use crate::domain::layout::{
    ClosedRule, NamedLayout, PathTemplate, SourceZone, check_relative_path,
};
use crate::domain::source::Source;
use crate::domain::time::to_microseconds;
use crate::media::{self, Engine, FileFacts, ReadError};
use crate::repository::{Store, StoreError};

/// The source of files that come without one: the recordings folder.
pub const DEFAULT_SOURCE: &str = "recordings";

/// The source of footage that was brought back from a backup.
pub const RESTORES: &str = "restores";

/// How long beyond the longest segment a file of an unknown recorder must be quiet to count as closed.
const QUIET_MARGIN: Duration = Duration::from_secs(15);

/// Files that ffmpeg repacks at the same time, over all looks at sources.
const REPACKED_AT_ONCE: usize = 4;

/// Why a source cannot be read as it is described.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The layout is no named one and no template.
    #[error("the layout {layout:?} is neither a known one nor a template: {fault}")]
    Layout {
        /// What was given.
        layout: String,
        /// What is wrong with it as a template.
        fault: String,
    },
    /// The zone is unknown.
    #[error("the zone {zone:?}: {fault}")]
    Zone {
        /// What was given.
        zone: String,
        /// What is wrong with it.
        fault: String,
    },
    /// The names hold local times, and no zone was given.
    #[error(
        "the names of layout {0:?} hold local times; give the time zone of the recorder, for example Europe/Berlin"
    )]
    NoZone(String),
}

/// How the files of a source are to be read.
#[derive(Clone, Debug)]
pub struct SourceRules {
    /// The source's id.
    pub source_id: String,
    /// Where and how to look.
    pub scan: scan::Source,
    closed: ClosedRule,
}

impl SourceRules {
    /// The rules of a source whose recorder writes at most `segment_length` to one file.
    pub fn of(source: &Source, segment_length: Duration) -> Result<Self, SourceError> {
        let named = NamedLayout::named(&source.layout);
        let template = match named {
            Some(layout) => layout.template(),
            None => PathTemplate::parse(&source.layout).map_err(|error| SourceError::Layout {
                layout: source.layout.clone(),
                fault: error.to_string(),
            })?,
        };
        let given = match source.zone.as_str() {
            "" => None,
            zone => Some(
                zone.parse::<SourceZone>()
                    .map_err(|error| SourceError::Zone {
                        zone: zone.to_owned(),
                        fault: error.to_string(),
                    })?,
            ),
        };
        let zone = given.or_else(|| named.and_then(NamedLayout::zone));
        if template.needs_zone() && zone.is_none() {
            return Err(SourceError::NoZone(source.layout.clone()));
        }
        let closed = match named {
            Some(layout) => layout.closed_rule(segment_length),
            None => ClosedRule::LaterFileExists {
                quiet: segment_length.saturating_add(QUIET_MARGIN),
            },
        };
        Ok(Self {
            source_id: source.id.clone(),
            scan: scan::Source {
                root: source.root.clone(),
                template,
                zone,
                camera: None,
            },
            closed,
        })
    }
}

/// What became of a file that was looked at.
#[derive(Debug)]
pub enum Looked {
    /// The catalog knows it, and it has not changed.
    Known,
    /// It can be taken in.
    Segment(Box<NewSegment>),
    /// The recorder may still write to it; look again after this time.
    StillWritten(Duration),
    /// It cannot be taken in; why, in words.
    LeftOut(String),
}

/// Why a file that was handed in is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// No such source.
    #[error("source {0} not found")]
    SourceNotFound(String),
    /// The source's description is wrong; the operator has to put it right.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The path cannot be a file of the source.
    #[error("{0}")]
    Path(String),
    /// The file is not there.
    #[error("there is no such file in the source")]
    Missing,
    /// The file is there, but is not footage that can be used.
    #[error("{0}")]
    Unreadable(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes files into the catalog.
pub struct Intake {
    store: Store,
    engine: Engine,
    segment_length: Duration,
    repacks: Semaphore,
}

impl Intake {
    /// For recorders that write at most `segment_length` to one file.
    pub fn new(store: Store, engine: Engine, segment_length: Duration) -> Self {
        Self {
            store,
            engine,
            segment_length,
            repacks: Semaphore::new(REPACKED_AT_ONCE),
        }
    }

    /// The catalog it takes files into.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The rules for the files of a source.
    pub fn rules(&self, source: &Source) -> Result<SourceRules, SourceError> {
        SourceRules::of(source, self.segment_length)
    }

    /// Takes in one file that a recorder has closed. `start_time` is exact where the recorder gives it.
    pub async fn register(
        &self,
        camera_id: &CameraId,
        source_id: &str,
        path: &str,
        start_time: Option<DateTime<Utc>>,
    ) -> Result<Taken, IntakeError> {
        let source_id = if source_id.is_empty() {
            DEFAULT_SOURCE
        } else {
            source_id
        };
        let (rules, opened, read) = self.handed_in(source_id, path).await?;
        let (start_time, start_accuracy) = match (start_time, read.time_inside) {
            (Some(exact), _) | (None, Some(exact)) => (exact, TimeDelta::zero()),
            (None, None) => time_of_name(&rules, path)?,
        };
        let segment = NewSegment {
            camera_id: camera_id.clone(),
            source_id: source_id.to_owned(),
            path: path.to_owned(),
            start_time: to_microseconds(start_time),
            start_accuracy,
            size_bytes: opened.size_bytes,
            modified_time: opened.modified_time,
            facts: read.media,
        };
        let taken = self.store.take_in(&[segment], clock::now()).await?;
        Ok(taken.first().copied().unwrap_or(Taken::Unchanged))
    }

    /// Takes in a file that was brought back, as the segment that it was: under its old id, with its old time. False
    /// when the catalog has the segment with a file.
    pub async fn take_back(
        &self,
        segment_id: &str,
        camera_id: &CameraId,
        path: &str,
        start_time: DateTime<Utc>,
        start_accuracy: TimeDelta,
    ) -> Result<bool, IntakeError> {
        let (_, opened, read) = self.handed_in(RESTORES, path).await?;
        let segment = NewSegment {
            camera_id: camera_id.clone(),
            source_id: RESTORES.to_owned(),
            path: path.to_owned(),
            start_time: to_microseconds(start_time),
            start_accuracy,
            size_bytes: opened.size_bytes,
            modified_time: opened.modified_time,
            facts: read.media,
        };
        Ok(self
            .store
            .take_back(segment_id, &segment, clock::now())
            .await?)
    }

    /// Opens and reads a file that somebody names.
    async fn handed_in(
        &self,
        source_id: &str,
        path: &str,
    ) -> Result<(SourceRules, Opened, FileFacts), IntakeError> {
        check_relative_path(path).map_err(|error| IntakeError::Path(error.to_string()))?;
        let source = self.store.source(source_id).await?.ok_or_else(|| {
            IntakeError::SourceNotFound(source_id.escape_debug().take(100).collect())
        })?;
        let rules = self.rules(&source)?;
        let opened = self
            .open(&rules, path)
            .await
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => IntakeError::Missing,
                _ => IntakeError::Unreadable(format!("cannot be opened: {error}")),
            })?;
        let read = self.read(&opened).await.map_err(IntakeError::Unreadable)?;
        Ok((rules, opened, read))
    }

    /// A time from inside a file, for names that do not settle it. Blocks.
    pub fn time_inside(&self, rules: &SourceRules, path: &str) -> Option<DateTime<Utc>> {
        let file = open_beneath(&rules.scan.root, Path::new(path)).ok()?;
        media::read_facts(&file).ok()?.time_inside
    }

    async fn open(&self, rules: &SourceRules, path: &str) -> std::io::Result<Opened> {
        let (root, path) = (rules.scan.root.clone(), path.to_owned());
        tokio::task::spawn_blocking(move || Opened::beneath(&root, &path))
            .await
            .map_err(std::io::Error::other)?
    }

    /// What the file says of itself; why it is no footage, in words.
    async fn read(&self, opened: &Opened) -> Result<FileFacts, String> {
        let file = Arc::clone(&opened.file);
        let read = tokio::task::spawn_blocking(move || media::read_facts(&file))
            .await
            .map_err(|error| error.to_string())?;
        match read {
            Err(ReadError::NotMp4) => self.read_repacked(opened, &CancellationToken::new()).await,
            read => read.map_err(|error| error.to_string()),
        }
    }

    /// Reads what is no MP4 by way of one that ffmpeg makes of it.
    async fn read_repacked(
        &self,
        opened: &Opened,
        cancel: &CancellationToken,
    ) -> Result<FileFacts, String> {
        // Never closed; without its turn a file would only be read a little early.
        let _turn = self.repacks.acquire().await;
        let footage = media::open_footage(&self.engine, Arc::clone(&opened.file), None, cancel)
            .await
            .map_err(|error| error.to_string())?;
        media::facts_of_open(&opened.file, &footage).map_err(|error| error.to_string())
    }
}

struct Opened {
    file: Arc<File>,
    size_bytes: u64,
    modified_time: DateTime<Utc>,
}

fn time_of_name(
    rules: &SourceRules,
    path: &str,
) -> Result<(DateTime<Utc>, TimeDelta), IntakeError> {
    let unclear = |why: String| IntakeError::Path(format!("{why}; give `start_time`"));
    let matched = rules
        .scan
        .template
        .match_path(path)
        .map_err(|why| unclear(why.to_string()))?;
    let time = matched
        .time
        .resolve(rules.scan.zone, None)
        .map_err(|why| unclear(why.to_string()))?;
    Ok((time.start_time, TimeDelta::microseconds(time.accuracy_us)))
}
