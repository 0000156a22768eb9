//! What has to be cut for an archive: recordings trimmed to the window, and clips to look at, by the rules of a clip.
//!
//! Cuts lie in the scratch folder and have no name there as soon as they are whole, so that nothing stays behind.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ArchiveError;
use super::hold::Finding;
use super::outline::{Part, Role, role_in};
use crate::domain::archive::{ArchiveContent, ArchiveFaultKind, ArchiveSegment};
use crate::domain::clip::{GapMode, LONGEST_CLIP};
use crate::domain::coverage::{GAP_TOLERANCE, Gap, GapReason};
use crate::domain::time::TimeRange;
use crate::media::plan::{Parameters, PlanError, Wanted};
use crate::media::{
    self, CUT_PREFIX, CutError, CutOrder, CutOutcome, Engine, EngineChoice, Prepared, Source,
};
use crate::repository::Store;
use crate::work::clip::LOOK_AROUND;
use crate::work::indexes;
use crate::work::roots::Roots;

/// Windows longer than the longest clip are refined near their ends only: further names make no difference there.
const EDGE: TimeDelta = TimeDelta::minutes(30);

/// Cuts made at the same time: one waits for its process to start and to end while another copies.
const AT_ONCE: usize = 2;

/// A finished cut.
#[derive(Debug)]
pub(super) struct Cut {
    /// Index of its camera's part.
    pub(super) part: usize,
    /// Number of the segment that it stands for; `None` for a clip.
    pub(super) piece: Option<usize>,
    pub(super) file: File,
    pub(super) outcome: CutOutcome,
}

/// Everything that cutting needs.
pub(super) struct Cutter<'a> {
    pub(super) store: &'a Store,
    pub(super) engine: &'a Engine,
    pub(super) roots: &'a Roots,
    pub(super) content: &'a ArchiveContent,
    pub(super) timeout: Duration,
    pub(super) cancel: &'a CancellationToken,
}

struct Order {
    part: usize,
    piece: Option<usize>,
    sources: Vec<Source>,
    window: TimeRange,
    title: String,
}

impl Cutter<'_> {
    /// Makes every cut. Segments of which nothing can be shown get a finding, and those that turn out to lie outside of
    /// the window or wholly inside get their role. `on_progress` hears how much footage is cut, and of how much.
    pub(super) async fn cut_all(
        &self,
        parts: &mut [Part],
        mut on_progress: impl FnMut(TimeDelta, TimeDelta) + Send,
    ) -> Result<Vec<Cut>, ArchiveError> {
        let mut orders = VecDeque::new();
        for (at, part) in parts.iter_mut().enumerate() {
            if let Some(window) = self
                .content
                .window()
                .filter(|_| self.content.trims_segments())
            {
                let starts = self.true_starts(part, window).await?;
                orders.extend(self.trims(at, part, window, &starts));
            }
            if let Some(window) = part.clip {
                orders.push_back(Order {
                    part: at,
                    piece: None,
                    sources: self.clip_sources(part, window).await?,
                    window,
                    title: part.camera_id.to_string(),
                });
            }
        }
        let progress = Mutex::new(Progress {
            total: orders.iter().map(|order| order.window.duration()).sum(),
            done: Vec::new(),
            tell: &mut on_progress,
        });
        let cut = |number: usize, order: Order| {
            let progress = &progress;
            async move {
                let tell = move |cut| lock(progress).report(number, cut);
                let made = self.cut(&order, tell).await;
                lock(progress).report(number, order.window.duration());
                (order, made)
            }
        };
        let mut cuts = Vec::new();
        let mut number = 0;
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < AT_ONCE
                && let Some(order) = orders.pop_front()
            {
                running.push(cut(number, order));
                number += 1;
            }
            let Some((order, made)) = running.next().await else {
                break;
            };
            let part = order.part;
            match made {
                Ok((file, outcome)) => {
                    orders.extend(order.others(&outcome));
                    cuts.push(Cut {
                        part,
                        piece: order.piece,
                        file,
                        outcome,
                    });
                }
                Err(ArchiveError::Cut(CutError::NoFootage(PlanError::NoFootage {
                    gaps, ..
                }))) => match order.piece {
                    Some(number) => {
                        let part = &mut parts[part];
                        part.roles[number] = Role::Absent;
                        part.findings[number].get_or_insert(Finding::NothingDecodable);
                    }
                    None => parts[part].without_clip.extend(gaps),
                },
                Err(error) => return Err(error),
            }
        }
        drop(running);
        cuts.sort_by_key(|cut| {
            let start = cut.outcome.delivered.start();
            (cut.part, cut.piece.is_none(), cut.piece, start)
        });
        Ok(cuts)
    }

    /// Where segments whose names give only the second really start, as a clip of the window has it.
    async fn true_starts(
        &self,
        part: &Part,
        window: TimeRange,
    ) -> Result<HashMap<String, DateTime<Utc>>, ArchiveError> {
        let is_exact = |segment: ArchiveSegment| segment.start_accuracy.is_zero();
        let mut starts = HashMap::new();
        if part.segments.iter().all(is_exact) {
            return Ok(starts);
        }
        let edges = if window.duration() <= LONGEST_CLIP {
            vec![window]
        } else {
            let (from, to) = (window.start(), window.end());
            [
                TimeRange::new(from, from + EDGE),
                TimeRange::new(to - EDGE, to),
            ]
            .into_iter()
            .flatten()
            .collect()
        };
        for edge in edges {
            let mut sources = self.clip_sources(part, edge).await?;
            indexes::attach(self.store, &mut sources).await?;
            let prepared = Prepared::open(self.engine, sources, self.cancel).await?;
            let plan = tokio::task::spawn_blocking(move || {
                let ids = prepared.segment_ids();
                prepared.plan(&closed_up(edge)).map(|plan| {
                    plan.pieces
                        .iter()
                        .map(|piece| (ids[piece.segment].clone(), piece.effective_start))
                        .collect::<Vec<_>>()
                })
            })
            .await
            .map_err(|_| ArchiveError::Cancelled)?;
            starts.extend(plan.into_iter().flatten());
        }
        Ok(starts)
    }

    /// The segments that the window cuts through.
    fn trims(
        &self,
        at: usize,
        part: &mut Part,
        window: TimeRange,
        starts: &HashMap<String, DateTime<Utc>>,
    ) -> Vec<Order> {
        let title = part.camera_id.to_string();
        let mut orders = Vec::new();
        let segments = Arc::clone(&part.segments);
        for (number, segment) in segments.iter().enumerate() {
            let known = starts.get(&segment.id);
            let start = known.copied().unwrap_or(segment.start_time);
            let end = start + (segment.end_time - segment.start_time);
            if part.roles[number] == Role::Absent && !part.held.has(number) {
                continue;
            }
            part.roles[number] = role_in(window, start, end);
            if part.roles[number] != Role::Trimmed {
                continue;
            }
            let source = Source {
                start,
                start_accuracy: known.map_or(segment.start_accuracy, |_| TimeDelta::zero()),
                expected_end: Some(end),
                ..self.source(part, number, &segment)
            };
            orders.push(Order {
                part: at,
                piece: Some(number),
                sources: vec![source],
                window: TimeRange::new(start.max(window.start()), end.min(window.end()))
                    .unwrap_or(window),
                title: title.clone(),
            });
        }
        orders
    }

    /// What a clip of the window is cut from: the segments of the part, and those around it, of which the clip may need
    /// a key frame, unless only evidence was asked for.
    async fn clip_sources(
        &self,
        part: &Part,
        window: TimeRange,
    ) -> Result<Vec<Source>, ArchiveError> {
        let wider = around(window);
        let mut sources: Vec<Source> = part
            .segments
            .iter()
            .enumerate()
            .filter(|(_, segment)| segment.range().is_some_and(|range| range.overlaps(&wider)))
            .map(|(number, segment)| self.source(part, number, &segment))
            .collect();
        if self.content.trim && !self.content.evidence_only {
            let around = self.store.segments_in(&part.camera_id, wider).await?;
            let mut others: HashSet<String> =
                around.iter().map(|segment| segment.id.clone()).collect();
            for segment in part.segments.iter() {
                others.remove(&segment.id);
            }
            for segment in around {
                if !others.contains(&segment.id) {
                    continue;
                }
                let file = self.roots.open(&segment.file.source_id, &segment.file.path);
                sources.push(Source {
                    start: segment.file.start_time,
                    start_accuracy: segment.file.start_accuracy,
                    expected_end: Some(segment.file.end_time()),
                    file: file.map(Arc::new),
                    index: None,
                    id: segment.id,
                    name: segment.file.path,
                });
            }
            sources.sort_by(|one, other| (one.start, &one.id).cmp(&(other.start, &other.id)));
        }
        Ok(sources)
    }

    fn source(&self, part: &Part, number: usize, segment: &ArchiveSegment) -> Source {
        let file = if part.held.has(number) {
            part.held.shared(number).map_or_else(
                || {
                    self.roots
                        .open(&segment.source_id, &segment.path)
                        .map(Arc::new)
                },
                Ok,
            )
        } else {
            Err(match part.findings[number] {
                Some(finding) if finding.kind() != ArchiveFaultKind::Missing => {
                    GapReason::FileDamaged
                }
                _ => GapReason::FileMissing,
            })
        };
        Source {
            id: segment.id.clone(),
            name: segment.path.clone(),
            start: segment.start_time,
            start_accuracy: segment.start_accuracy,
            expected_end: Some(segment.end_time),
            file,
            index: None,
        }
    }

    /// Cuts into a file that has no name any more when it is returned.
    async fn cut(
        &self,
        order: &Order,
        mut on_progress: impl FnMut(TimeDelta) + Send,
    ) -> Result<(File, CutOutcome), ArchiveError> {
        let scratch = std::path::absolute(&self.engine.scratch).map_err(ArchiveError::Folder)?;
        std::fs::create_dir_all(&scratch).map_err(ArchiveError::Folder)?;
        let output = scratch.join(format!("{CUT_PREFIX}{}.part", Uuid::now_v7().simple()));
        let hours = order.window.duration().num_hours().unsigned_abs() + 1;
        // Not before this cut's turn: the indexes of all cuts together may be more than fits into memory.
        let mut sources = order.sources.clone();
        indexes::attach(self.store, &mut sources).await?;
        let order = CutOrder {
            sources,
            wanted: closed_up(order.window),
            output: output.clone(),
            title: order.title.clone(),
            engine: EngineChoice::Auto,
            is_durable: false,
            deadline: self
                .timeout
                .saturating_mul(u32::try_from(hours).unwrap_or(u32::MAX)),
        };
        let outcome = media::cut(self.engine, order, self.cancel, |progress| {
            on_progress(progress.media_done);
        })
        .await?;
        let file = take(&output).map_err(ArchiveError::Folder)?;
        Ok((file, outcome))
    }
}

impl Order {
    /// One file has one set of parameters; what the others cover becomes clips of its own. Each of these windows is
    /// shorter than this one, so there is an end to them.
    fn others(&self, outcome: &CutOutcome) -> Vec<Self> {
        let is_other = |gap: &&Gap| {
            self.piece.is_none()
                && gap.reason == GapReason::CodecChange
                && gap.range.duration() > GAP_TOLERANCE
                && gap.range != self.window
        };
        outcome
            .gaps
            .iter()
            .filter(is_other)
            .map(|gap| Self {
                part: self.part,
                piece: None,
                sources: near(&self.sources, gap.range),
                window: gap.range,
                title: self.title.clone(),
            })
            .collect()
    }
}

/// How much footage is cut, over all cuts.
struct Progress<'a> {
    total: TimeDelta,
    /// By the number of the cut.
    done: Vec<TimeDelta>,
    tell: &'a mut (dyn FnMut(TimeDelta, TimeDelta) + Send),
}

impl Progress<'_> {
    fn report(&mut self, number: usize, done: TimeDelta) {
        if self.done.len() <= number {
            self.done.resize(number + 1, TimeDelta::zero());
        }
        self.done[number] = done;
        (self.tell)(
            self.done.iter().sum::<TimeDelta>().min(self.total),
            self.total,
        );
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The footage of a window, without its gaps, in files that play everywhere: each has one set of codec parameters.
fn closed_up(window: TimeRange) -> Wanted {
    Wanted {
        requested: window,
        gap_tolerance: GAP_TOLERANCE,
        gap_mode: GapMode::Close,
        parameters: Parameters::One,
    }
}

/// A window, and as much on both sides as a clip of it looks at.
fn around(window: TimeRange) -> TimeRange {
    TimeRange::new(window.start() - LOOK_AROUND, window.end() + LOOK_AROUND).unwrap_or(window)
}

/// Those of `sources` that a clip of the window looks at.
fn near(sources: &[Source], window: TimeRange) -> Vec<Source> {
    let wider = around(window);
    sources
        .iter()
        .filter(|source| {
            let end = source.expected_end.unwrap_or(source.start);
            source.start < wider.end() && end > wider.start()
        })
        .cloned()
        .collect()
}

/// Opens a file and takes its name away.
fn take(path: &Path) -> io::Result<File> {
    let file = File::open(path);
    std::fs::remove_file(path)?;
    file
}
