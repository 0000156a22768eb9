//! What a cut is made from: which recordings, opened when it is their turn.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::TimeDelta;
use tokio::sync::SemaphorePermit;

use super::orders::{Order, What};
use super::{Cutter, Starts};
use crate::domain::archive::{ArchiveFaultKind, ArchiveSegment};
use crate::domain::coverage::GapReason;
use crate::domain::time::TimeRange;
use crate::media::Source;
use crate::work::archive::hold::{AT_THEIR_TURN, go_on};
use crate::work::archive::outline::Part;
use crate::work::archive::{ArchiveError, blocking};
use crate::work::clip::LOOK_AROUND;

/// A source of a cut. There may be many without a place: they are opened when they are cut.
pub(super) struct Listed {
    source: Source,
    /// Id of the source whose file is to be opened.
    to_open: Option<Arc<str>>,
}

/// Open sources of a cut, with their turn where they needed one.
pub(super) struct Opened<'a> {
    pub(super) sources: Vec<Source>,
    _turn: Option<SemaphorePermit<'a>>,
}

impl Cutter<'_> {
    /// What an order is cut from; `starts` are those of the clip before.
    pub(super) async fn wanted(
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
    pub(super) async fn clip_sources(
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
    pub(super) async fn open(&self, mut wanted: Vec<Listed>) -> Result<Opened<'_>, ArchiveError> {
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

/// A window, and as much on both sides as a clip of it looks at.
fn around(window: TimeRange) -> TimeRange {
    TimeRange::new(window.start() - LOOK_AROUND, window.end() + LOOK_AROUND).unwrap_or(window)
}
