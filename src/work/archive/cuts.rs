//! What has to be cut for an archive: recordings trimmed to the window, and clips to look at, by the rules of a clip.
//!
//! Cuts lie in the scratch folder and have no name there as soon as they are whole, so that nothing stays behind.

mod orders;
mod sources;

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::orders::{Order, What};
pub(super) use self::orders::{clip_windows, is_seam};
use self::sources::Listed;
use super::ArchiveError;
use super::hold::Finding;
use super::outline::{Part, Role, role_in};
use crate::domain::archive::{ArchiveContent, ArchiveSegment};
use crate::domain::clip::{GapMode, LONGEST_CLIP};
use crate::domain::coverage::GAP_TOLERANCE;
use crate::domain::time::TimeRange;
use crate::media::plan::{Parameters, PlanError, Wanted};
use crate::media::{
    self, CUT_PREFIX, CutError, CutOrder, CutOutcome, Engine, EngineChoice, Prepared, Source,
};
use crate::repository::Store;
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

/// Where segments whose names give only the second really start, by id.
type Starts = HashMap<String, DateTime<Utc>>;

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
            // For the manifest.
            hashes: true,
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

/// The footage of a window, without its gaps, in files that play everywhere: each has one set of codec parameters.
fn closed_up(window: TimeRange) -> Wanted {
    Wanted {
        requested: window,
        gap_tolerance: GAP_TOLERANCE,
        gap_mode: GapMode::Close,
        parameters: Parameters::One,
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

/// Opens a file and takes its name away.
fn take(path: &Path) -> io::Result<File> {
    let file = File::open(path);
    std::fs::remove_file(path)?;
    file
}
