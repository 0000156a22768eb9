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
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::hold::{AT_THEIR_TURN, Finding, go_on};
use super::outline::{Part, Role, role_in};
use super::{ArchiveError, blocking};
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
    pub(super) roots: &'a Arc<Roots>,
    pub(super) turns: &'a Semaphore,
    pub(super) content: &'a ArchiveContent,
    pub(super) timeout: Duration,
    pub(super) cancel: &'a CancellationToken,
}

/// Something to be cut.
#[derive(Clone, Debug)]
struct Order {
    part: usize,
    window: TimeRange,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// A recording, and where it is taken to start.
    Recording {
        number: usize,
        start: DateTime<Utc>,
        start_accuracy: TimeDelta,
    },
    /// A clip, and the time of which the clips after it are cut.
    Clip { then: Option<TimeRange> },
}

/// Where segments whose names give only the second really start, by id.
type Starts = HashMap<String, DateTime<Utc>>;

/// A source of a cut. There may be many without a place: they are opened when they are cut.
struct Listed {
    source: Source,
    /// Id of the source whose file is to be opened.
    to_open: Option<Arc<str>>,
}

/// Open sources of a cut, with their turn where they needed one.
struct Opened<'a> {
    sources: Vec<Source>,
    _turn: Option<SemaphorePermit<'a>>,
}

impl Cutter<'_> {
    /// Makes every cut. Segments of which nothing can be shown get a finding, and those that turn out to lie outside of
    /// the window or wholly inside get their role. `on_progress` hears how much footage is cut, and of how much.
    ///
    /// Sources are opened and their samples read for one cut at a time, and the clips of a camera are cut one after
    /// another, so that memory and open files do not grow with the length of the footage.
    pub(super) async fn cut_all(
        &self,
        parts: &mut [Part],
        mut on_progress: impl FnMut(TimeDelta, TimeDelta) + Send,
    ) -> Result<Vec<Cut>, ArchiveError> {
        let mut orders = VecDeque::new();
        let mut total = TimeDelta::zero();
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
                total += window.duration();
                orders.extend(Order::next_clip(at, part, window));
            }
        }
        total += orders
            .iter()
            .filter(|order| order.number().is_some())
            .map(|order| order.window.duration())
            .sum();
        let progress = Mutex::new(Progress {
            total,
            done: Vec::new(),
            tell: &mut on_progress,
        });
        let cut = |number: usize, order: Order, wanted: Vec<Listed>, title: String| {
            let progress = &progress;
            async move {
                let tell = move |cut| lock(progress).report(number, cut);
                let made = self.cut(&order, wanted, title, tell).await;
                lock(progress).report(number, order.window.duration());
                (order, made)
            }
        };
        let mut cuts = Vec::new();
        let mut number = 0;
        let mut running = FuturesUnordered::new();
        // By part, of the clip that was cut last: the one after it begins with the same recordings, and every frame has
        // to be in one of the two.
        let mut starts: Vec<Starts> = parts.iter().map(|_| Starts::new()).collect();
        loop {
            while running.len() < AT_ONCE
                && let Some(order) = orders.pop_front()
            {
                let part = &parts[order.part];
                let wanted = self.wanted(part, &order, &starts[order.part]).await?;
                running.push(cut(number, order, wanted, part.camera_id.to_string()));
                number += 1;
            }
            let Some((order, made)) = running.next().await else {
                break;
            };
            let part = order.part;
            let (found, made) = match made {
                Ok((found, made)) => (found, Ok(made)),
                Err(error) => (Starts::new(), Err(error)),
            };
            match made {
                Ok((file, outcome)) => {
                    orders.extend(order.others(&outcome));
                    cuts.push(Cut {
                        part,
                        piece: order.number(),
                        file,
                        outcome,
                    });
                }
                Err(ArchiveError::Cut(CutError::NoFootage(PlanError::NoFootage {
                    gaps, ..
                }))) => match order.number() {
                    Some(number) => {
                        let part = &mut parts[part];
                        part.roles[number] = Role::Absent;
                        part.findings[number].get_or_insert(Finding::NothingDecodable);
                    }
                    None => parts[part].without_clip.extend(gaps),
                },
                Err(error) => return Err(error),
            }
            if let What::Clip { then: Some(rest) } = order.what {
                starts[part] = found;
                if let Some(next) = Order::next_clip(part, &parts[part], rest) {
                    orders.push_front(next);
                }
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
    async fn true_starts(&self, part: &Part, window: TimeRange) -> Result<Starts, ArchiveError> {
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
            let wanted = self.clip_sources(part, edge, &Starts::new()).await?;
            let opened = self.open(wanted).await?;
            starts.extend(self.starts_in(opened.sources, edge).await?);
        }
        Ok(starts)
    }

    /// Where the sources of a clip of the window start; nothing when nothing of them can be shown.
    async fn starts_in(
        &self,
        mut sources: Vec<Source>,
        window: TimeRange,
    ) -> Result<Starts, ArchiveError> {
        indexes::attach(self.store, &mut sources).await?;
        let prepared = Prepared::open(self.engine, sources, self.cancel).await?;
        let plan = tokio::task::spawn_blocking(move || {
            let ids = prepared.segment_ids();
            prepared.plan(&closed_up(window)).map(|plan| {
                plan.pieces
                    .iter()
                    .map(|piece| (ids[piece.segment].clone(), piece.effective_start))
                    .collect::<Starts>()
            })
        })
        .await
        .map_err(|_| ArchiveError::Cancelled)?;
        Ok(plan.unwrap_or_default())
    }

    /// The segments that the window cuts through.
    fn trims(&self, at: usize, part: &mut Part, window: TimeRange, starts: &Starts) -> Vec<Order> {
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
            orders.push(Order {
                part: at,
                window: TimeRange::new(start.max(window.start()), end.min(window.end()))
                    .unwrap_or(window),
                what: What::Recording {
                    number,
                    start,
                    start_accuracy: known.map_or(segment.start_accuracy, |_| TimeDelta::zero()),
                },
            });
        }
        orders
    }

    /// What an order is cut from; `starts` are those of the clip before.
    async fn wanted(
        &self,
        part: &Part,
        order: &Order,
        starts: &Starts,
    ) -> Result<Vec<Listed>, ArchiveError> {
        let What::Recording {
            number,
            start,
            start_accuracy,
        } = order.what
        else {
            return self.clip_sources(part, order.window, starts).await;
        };
        let Some(segment) = part.segments.get(number) else {
            return Ok(Vec::new());
        };
        let mut wanted = wanted(part, number, &segment);
        wanted.source.start = start;
        wanted.source.start_accuracy = start_accuracy;
        wanted.source.expected_end = Some(start + (segment.end_time - segment.start_time));
        Ok(vec![wanted])
    }

    /// What a clip of the window is cut from: the segments of the part, and those around it, of which the clip may need
    /// a key frame, unless only evidence was asked for.
    async fn clip_sources(
        &self,
        part: &Part,
        window: TimeRange,
        starts: &Starts,
    ) -> Result<Vec<Listed>, ArchiveError> {
        let wider = around(window);
        let mut sources: Vec<Listed> = part
            .segments
            .iter()
            .enumerate()
            .filter(|(_, segment)| segment.range().is_some_and(|range| range.overlaps(&wider)))
            .map(|(number, segment)| wanted(part, number, &segment))
            .collect();
        if self.content.trim && !self.content.evidence_only {
            let own: HashSet<String> = sources
                .iter()
                .map(|wanted| wanted.source.id.clone())
                .collect();
            for segment in self.store.segments_in(&part.camera_id, wider).await? {
                if own.contains(&segment.id) {
                    continue;
                }
                sources.push(Listed {
                    to_open: Some(segment.file.source_id.as_str().into()),
                    source: Source {
                        start: segment.file.start_time,
                        start_accuracy: segment.file.start_accuracy,
                        expected_end: Some(segment.file.end_time()),
                        file: Err(GapReason::FileMissing),
                        index: None,
                        id: segment.id,
                        name: segment.file.path,
                    },
                });
            }
        }
        for Listed { source, .. } in &mut sources {
            if let Some(start) = starts.get(&source.id) {
                source.expected_end = source.expected_end.map(|end| end + (*start - source.start));
                source.start = *start;
                source.start_accuracy = TimeDelta::zero();
            }
        }
        sources.sort_by(|one, other| {
            let key = |wanted: &Listed| (wanted.source.start, wanted.source.id.clone());
            key(one).cmp(&key(other))
        });
        Ok(sources)
    }

    /// Opens what is not open yet, when it is its turn.
    async fn open(&self, mut wanted: Vec<Listed>) -> Result<Opened<'_>, ArchiveError> {
        let to_open = wanted.iter().filter(|wanted| wanted.to_open.is_some());
        let count = to_open.count().min(AT_THEIR_TURN) as u32;
        let mut turn = None;
        if count > 0 {
            tokio::select! {
                // The semaphore is never closed.
                taken = self.turns.acquire_many(count) => turn = taken.ok(),
                () = self.cancel.cancelled() => return Err(ArchiveError::Cancelled),
            }
            let (roots, cancel) = (Arc::clone(self.roots), self.cancel.clone());
            wanted = blocking(move || {
                for Listed { source, to_open } in &mut wanted {
                    go_on(&cancel)?;
                    if let Some(source_id) = to_open {
                        let file = roots
                            .look_for(source_id, &source.name)
                            .map_err(ArchiveError::Machine)?;
                        source.file = file.map(Arc::new);
                    }
                }
                Ok(wanted)
            })
            .await?;
        }
        Ok(Opened {
            sources: wanted.into_iter().map(|wanted| wanted.source).collect(),
            _turn: turn,
        })
    }

    /// Cuts into a file that has no name any more when it is returned. With it comes where the sources start, when a
    /// clip follows that begins with some of them.
    async fn cut(
        &self,
        order: &Order,
        wanted: Vec<Listed>,
        title: String,
        mut on_progress: impl FnMut(TimeDelta) + Send,
    ) -> Result<(Starts, (File, CutOutcome)), ArchiveError> {
        let scratch = std::path::absolute(&self.engine.scratch).map_err(ArchiveError::Folder)?;
        std::fs::create_dir_all(&scratch).map_err(ArchiveError::Folder)?;
        let output = scratch.join(format!("{CUT_PREFIX}{}.part", Uuid::now_v7().simple()));
        let hours = order.window.duration().num_hours().unsigned_abs() + 1;
        let mut opened = self.open(wanted).await?;
        // Not before this cut's turn: the indexes of all cuts together may be more than fits into memory.
        indexes::attach(self.store, &mut opened.sources).await?;
        let is_exact = |source: &Source| source.start_accuracy.is_zero();
        let starts = if order.is_followed() && !opened.sources.iter().all(is_exact) {
            self.starts_in(opened.sources.clone(), order.window).await?
        } else {
            Starts::new()
        };
        let cut_order = CutOrder {
            sources: opened.sources,
            wanted: closed_up(order.window),
            output: output.clone(),
            title,
            engine: EngineChoice::Auto,
            is_durable: false,
            deadline: self
                .timeout
                .saturating_mul(u32::try_from(hours).unwrap_or(u32::MAX)),
        };
        let outcome = media::cut(self.engine, cut_order, self.cancel, |progress| {
            on_progress(progress.media_done);
        })
        .await?;
        let file = take(&output).map_err(ArchiveError::Folder)?;
        Ok((starts, (file, outcome)))
    }
}

impl Order {
    /// The first clip of a part that has footage and lies in what is `left` of its window.
    fn next_clip(at: usize, part: &Part, left: TimeRange) -> Option<Self> {
        let first = part
            .segments
            .iter()
            .filter(|segment| segment.range().is_some_and(|range| range.overlaps(&left)))
            .map(|segment| segment.start_time.max(left.start()))
            .min()?;
        let window = clip_at(part.clip?, first);
        Some(Self {
            part: at,
            window,
            what: What::Clip {
                then: TimeRange::new(window.end(), left.end()),
            },
        })
    }

    /// Number of the recording that is cut.
    fn number(&self) -> Option<usize> {
        match self.what {
            What::Recording { number, .. } => Some(number),
            What::Clip { .. } => None,
        }
    }

    /// Whether another clip follows.
    fn is_followed(&self) -> bool {
        matches!(self.what, What::Clip { then: Some(_) })
    }

    /// One file has one set of parameters; what the others cover becomes clips of its own. Each of these windows is
    /// shorter than this one, so there is an end to them.
    fn others(&self, outcome: &CutOutcome) -> Vec<Self> {
        let is_other = |gap: &&Gap| {
            self.number().is_none()
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
                window: gap.range,
                what: What::Clip { then: None },
            })
            .collect()
    }
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

/// The windows of the clips of a part that have footage, as far as is known before they are cut.
pub(super) fn clip_windows(part: &Part) -> Vec<TimeRange> {
    let Some(clip) = part.clip else {
        return Vec::new();
    };
    let mut windows: Vec<TimeRange> = Vec::new();
    for (number, segment) in part.segments.iter().enumerate() {
        let shown = segment.range().filter(|_| part.held.has(number));
        let Some(mut left) = shown.and_then(|range| range.intersect(&clip)) else {
            continue;
        };
        loop {
            let window = clip_at(clip, left.start());
            windows.push(window);
            match TimeRange::new(window.end(), left.end()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        windows.dedup();
    }
    windows.sort_by_key(TimeRange::start);
    windows.dedup();
    windows
}

/// The window of the clip that shows an instant of `whole`. Clips are as long as CreateClip makes them at most, counted
/// from the start of the whole, because the samples of all of a clip are in memory while it is cut.
fn clip_at(whole: TimeRange, at: DateTime<Utc>) -> TimeRange {
    let us = |duration: TimeDelta| duration.num_microseconds().unwrap_or(i64::MAX);
    let before_us = us(at - whole.start()) / us(LONGEST_CLIP) * us(LONGEST_CLIP);
    let start = whole.start() + TimeDelta::microseconds(before_us);
    let end = whole.end().min(start + LONGEST_CLIP);
    TimeRange::new(start, end).unwrap_or(whole)
}

/// Whether one clip of a part ends at this instant and the next begins.
pub(super) fn is_seam(part: &Part, at: DateTime<Utc>) -> bool {
    part.clip
        .is_some_and(|clip| at > clip.start() && at < clip.end() && clip_at(clip, at).start() == at)
}

/// A segment of a part as a source. What cannot be read is a gap.
fn wanted(part: &Part, number: usize, segment: &ArchiveSegment) -> Listed {
    let mut to_open = None;
    let file = if !part.held.has(number) {
        Err(match part.findings[number] {
            Some(finding) if finding.kind() != ArchiveFaultKind::Missing => GapReason::FileDamaged,
            _ => GapReason::FileMissing,
        })
    } else if let Some(file) = part.held.shared(number) {
        Ok(file)
    } else {
        to_open = Some(Arc::clone(&segment.source_id));
        Err(GapReason::FileMissing)
    };
    Listed {
        source: Source {
            id: segment.id.clone(),
            name: segment.path.to_string(),
            start: segment.start_time,
            start_accuracy: segment.start_accuracy,
            expected_end: Some(segment.end_time),
            file,
            index: None,
        },
        to_open,
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

/// A window, and as much on both sides as a clip of it looks at.
fn around(window: TimeRange) -> TimeRange {
    TimeRange::new(window.start() - LOOK_AROUND, window.end() + LOOK_AROUND).unwrap_or(window)
}

/// Opens a file and takes its name away.
fn take(path: &Path) -> io::Result<File> {
    let file = File::open(path);
    std::fs::remove_file(path)?;
    file
}
