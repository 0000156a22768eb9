//! Which time of a camera an archive covers, which it lacks, and why.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};

use super::ArchiveError;
use super::cuts::{Cut, is_seam};
use super::outline::{Part, Role};
use crate::domain::archive::{ArchiveContent, ArchiveFaultKind, ArchiveSegment};
use crate::domain::camera::CameraId;
use crate::domain::coverage::{self, GAP_TOLERANCE, Gap, GapReason};
use crate::domain::series::Series;
use crate::domain::time::TimeRange;
use crate::repository::Store;

/// Which time of a camera the archive covers.
pub(super) struct Account {
    /// What is there, in order of start.
    there: Vec<TimeRange>,
    /// What the catalog knows and is not there, in order of start.
    lost: Vec<Lost>,
    /// What the cuts say is missing, with the reasons they found, in order of start.
    found_by_cuts: Vec<Gap>,
    /// From the first to the last instant that is there.
    pub(super) delivered: Option<TimeRange>,
    /// How much of that is there.
    pub(super) covered: TimeDelta,
}

/// A segment whose file cannot be read.
#[derive(Clone, Copy, Debug)]
struct Lost {
    range: TimeRange,
    /// The latest end of this one and all before it: recordings may overlap.
    reach: DateTime<Utc>,
    /// Number of the segment.
    number: u32,
    reason: GapReason,
}

impl Account {
    /// The account of a part; without cuts, as the catalog lets expect it.
    pub(super) fn of(part: &Part, cuts: Option<&Vec<Cut>>, content: &ArchiveContent) -> Self {
        let mut there: Vec<TimeRange> = Vec::new();
        let mut found_by_cuts = Vec::new();
        let mut show = |cut: &Cut| {
            let outcome = &cut.outcome;
            let missing = outcome.gaps.iter().map(|gap| gap.range);
            there.extend(without(outcome.delivered, missing));
            // What a clip leaves out because of its codec is a clip of its own.
            let is_real = |gap: &&Gap| cut.piece.is_some() || gap.reason != GapReason::CodecChange;
            found_by_cuts.extend(outcome.gaps.iter().filter(is_real).cloned());
        };
        let made = cuts.map_or(&[][..], Vec::as_slice);
        if content.layout.has_segments() {
            made.iter()
                .filter(|cut| cut.piece.is_some())
                .for_each(&mut show);
        } else {
            made.iter().for_each(&mut show);
            found_by_cuts.extend(part.without_clip.iter().cloned());
        }
        let mut lost = Vec::new();
        for (number, segment) in part.segments.iter().enumerate() {
            if part.roles[number] == Role::Whole || cuts.is_none() {
                add(&mut there, expected(part, number, &segment, content));
            }
            if part.held.has(number) {
                continue;
            }
            let is_gone = part.findings[number]
                .is_none_or(|finding| finding.kind() == ArchiveFaultKind::Missing);
            let before = lost.last().map(|lost: &Lost| lost.reach);
            lost.extend(segment.range().map(|range| Lost {
                range,
                reach: before.map_or(range.end(), |reach| reach.max(range.end())),
                number: u32::try_from(number).unwrap_or(u32::MAX),
                reason: if is_gone {
                    GapReason::FileMissing
                } else {
                    GapReason::FileDamaged
                },
            }));
        }
        there.sort_by_key(TimeRange::start);
        found_by_cuts.sort_by_key(|gap| gap.range.start());
        let delivered = there.first().and_then(|first| {
            let end = there.iter().map(TimeRange::end).max()?;
            TimeRange::new(first.start(), end)
        });
        let covered = delivered.map_or(TimeDelta::zero(), |delivered| {
            let gaps = coverage::gaps(delivered, there.iter().copied(), GAP_TOLERANCE);
            coverage::covered(delivered, &gaps)
        });
        Self {
            there,
            lost,
            found_by_cuts,
            delivered,
            covered,
        }
    }

    /// The window in which gaps are looked for; what was asked for, as far as it has bounds.
    fn window(&self, content: &ArchiveContent) -> Option<TimeRange> {
        let known = self
            .delivered
            .into_iter()
            .chain(self.lost.iter().map(|lost| lost.range));
        let start = content
            .start
            .or_else(|| known.clone().map(|range| range.start()).min());
        let end = content.end.or_else(|| known.map(|range| range.end()).max());
        start
            .zip(end)
            .and_then(|(start, end)| TimeRange::new(start, end))
    }

    /// Footage that was not asked for and is no gap: where only evidence was asked for, all other.
    pub(super) async fn others(
        &self,
        store: &Store,
        camera_id: &CameraId,
        content: &ArchiveContent,
    ) -> Result<Vec<TimeRange>, ArchiveError> {
        match self.window(content).filter(|_| content.evidence_only) {
            Some(window) => Ok(store.timeline(camera_id, window).await?.spans),
            None => Ok(Vec::new()),
        }
    }

    /// Gaps of a part in the window asked for; `others` are what [`Account::others`] found.
    pub(super) fn gaps(
        &self,
        part: &Part,
        content: &ArchiveContent,
        others: Vec<TimeRange>,
    ) -> Series<Gap> {
        let Some(window) = self.window(content) else {
            return Series::default();
        };
        let mut there = Cow::from(&self.there);
        if !others.is_empty() {
            there.to_mut().extend(others);
            there.to_mut().sort_by_key(TimeRange::start);
        }
        let mut gaps = Joining {
            part,
            last: None,
            gaps: Series::default(),
        };
        let mut found_by_cuts = self.found_by_cuts.as_slice();
        for gap in coverage::gaps(window, there.iter().copied(), GAP_TOLERANCE) {
            // What a cut found out counts more than what the catalog says. A jump of up to the tolerance is no gap of
            // its own, it belongs to the one beside it.
            let mut from = gap.start();
            // What ends before this gap ends before all that follow.
            let is_past = |found: &Gap| found.range.end() <= gap.start();
            while let [first, rest @ ..] = found_by_cuts
                && is_past(first)
            {
                found_by_cuts = rest;
            }
            let is_near = |found: &&Gap| found.range.start() < gap.end();
            for found in found_by_cuts.iter().take_while(is_near) {
                let Some(range) = found.range.intersect(&gap) else {
                    continue;
                };
                if range.start() - from > GAP_TOLERANCE {
                    self.explain(part, TimeRange::new(from, range.start()), &mut gaps);
                    from = range.start();
                }
                let end = if gap.end() - range.end() > GAP_TOLERANCE {
                    range.end()
                } else {
                    gap.end()
                };
                if let Some(range) = TimeRange::new(from, end) {
                    gaps.push(Gap {
                        range,
                        clip_offset: None,
                        ..found.clone()
                    });
                }
                from = from.max(end);
            }
            self.explain(part, TimeRange::new(from, gap.end()), &mut gaps);
        }
        gaps.finish()
    }

    /// Says why nothing is there in a range, as far as the catalog knows.
    fn explain(&self, part: &Part, range: Option<TimeRange>, gaps: &mut Joining<'_>) {
        let Some(range) = range else { return };
        let first = self.lost.partition_point(|gap| gap.reach <= range.start());
        let lost: Vec<&Lost> = self.lost[first..]
            .iter()
            .take_while(|gap| gap.range.start() < range.end())
            .collect();
        let mut ranges: Vec<TimeRange> = Vec::with_capacity(lost.len());
        for lost in &lost {
            match ranges.last_mut() {
                Some(last) if lost.range.start() < last.end() => {
                    let end = last.end().max(lost.range.end());
                    *last = TimeRange::new(last.start(), end).unwrap_or(*last);
                }
                _ => ranges.push(lost.range),
            }
        }
        for (range, reason) in coverage::explained(range, &ranges) {
            let mut gap = Gap {
                range,
                reason,
                clip_offset: None,
                segment_ids: Vec::new(),
            };
            if reason == GapReason::FileMissing {
                for lost in lost.iter().filter(|lost| lost.range.overlaps(&range)) {
                    gap.reason = lost.reason;
                    let segment = part.segments.get(lost.number as usize);
                    gap.segment_ids.extend(segment.map(|segment| segment.id));
                }
            }
            gaps.push(gap);
        }
    }
}

/// Gaps on their way into a list, in order. Where one clip ends and the next begins is no end of a gap.
struct Joining<'a> {
    part: &'a Part,
    last: Option<Gap>,
    gaps: Series<Gap>,
}

impl Joining<'_> {
    fn push(&mut self, gap: Gap) {
        match &mut self.last {
            Some(last)
                if last.reason == gap.reason
                    && last.range.end() == gap.range.start()
                    && is_seam(self.part, gap.range.start()) =>
            {
                if let Some(range) = TimeRange::new(last.range.start(), gap.range.end()) {
                    last.range = range;
                }
                for id in gap.segment_ids {
                    if !last.segment_ids.contains(&id) {
                        last.segment_ids.push(id);
                    }
                }
            }
            last => {
                if let Some(before) = last.replace(gap) {
                    self.gaps.push(&before);
                }
            }
        }
    }

    fn finish(mut self) -> Series<Gap> {
        if let Some(last) = &self.last {
            self.gaps.push(last);
        }
        self.gaps
    }
}

/// What a segment will show by the catalog, if its file is there.
fn expected(
    part: &Part,
    number: usize,
    segment: &ArchiveSegment,
    content: &ArchiveContent,
) -> Option<TimeRange> {
    let whole = segment.range().filter(|_| part.held.has(number))?;
    match part.roles[number] {
        Role::Whole => Some(whole),
        Role::Trimmed => whole.intersect(&content.window()?),
        Role::InClip => whole.intersect(&part.clip?),
        Role::Absent => None,
    }
}

/// Adds a range in order of start. What leaves no gap to the one before becomes one with it, so that hundreds of
/// thousands of segments are as many ranges only where there are as many gaps.
fn add(there: &mut Vec<TimeRange>, range: Option<TimeRange>) {
    let Some(range) = range else { return };
    match there.last_mut() {
        Some(last)
            if last.start() <= range.start() && range.start() - last.end() <= GAP_TOLERANCE =>
        {
            let end = last.end().max(range.end());
            *last = TimeRange::new(last.start(), end).unwrap_or(*last);
        }
        _ => there.push(range),
    }
}

/// `whole` less `holes`, which are in order.
fn without(whole: TimeRange, holes: impl Iterator<Item = TimeRange>) -> Vec<TimeRange> {
    let mut left = Vec::new();
    let mut from = whole.start();
    for hole in holes {
        left.extend(TimeRange::new(from, hole.start().min(whole.end())));
        from = from.max(hole.end());
    }
    left.extend(TimeRange::new(from, whole.end()));
    left
}
