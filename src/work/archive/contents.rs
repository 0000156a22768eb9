//! What is in the zip, in order, and what is said of it: ready to be packed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::account::Account;
use super::cuts::Cut;
use super::hold::{Finding, Look};
use super::outline::{Part, Role, clip_name, fault};
use super::{ArchiveError, blocking};
use crate::domain::archive::{
    ArchiveCamera, ArchiveContent, ArchiveFault, ArchiveFaultKind, ArchiveSegment, LISTED_MAX,
};
use crate::domain::camera::CameraId;
use crate::domain::coverage::{Gap, GapReason};
use crate::domain::entry_name::EntryNames;
use crate::domain::series::Series;
use crate::domain::time::TimeRange;
use crate::media::CutOutcome;
use crate::repository::Store;
use crate::work::roots::Roots;

/// One entry of footage, made when it is asked for.
#[derive(Debug)]
pub(super) struct FootageEntry<'a> {
    pub(super) name: String,
    pub(super) modified: DateTime<Utc>,
    pub(super) size_bytes: u64,
    pub(super) from: From<'a>,
}

/// Where the bytes of an entry come from.
#[derive(Debug)]
pub(super) enum From<'a> {
    /// A recording, untouched.
    Recording(Box<ArchiveSegment>),
    /// A cut.
    Cut(&'a Cut),
}

/// A recording that is only cut from: the manifest names it, the zip does not hold it.
#[derive(Debug)]
pub(super) struct CutSource {
    pub(super) segment: ArchiveSegment,
    pub(super) size_bytes: u64,
}

/// What an archive holds of a camera, and what is said of it.
#[derive(Debug)]
pub(super) struct Camera {
    pub(super) part: Part,
    pub(super) names: EntryNames,
    /// Trimmed segments, by number.
    pub(super) trimmed: BTreeMap<usize, Cut>,
    /// Clips with the names of their entries.
    pub(super) clips: Vec<(String, Cut)>,
    /// All gaps.
    pub(super) gaps: Series<Gap>,
    pub(super) delivered: Option<TimeRange>,
    pub(super) covered_us: i64,
    pub(super) segment_count: u64,
    pub(super) size_bytes: u64,
    /// Recordings that broke while they were read, by number.
    pub(super) broken: BTreeMap<usize, Broken>,
}

/// What is left of a recording that broke while it was read, or hashed beside the cuts that were made from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken {
    pub(super) finding: Finding,
    /// Bytes that are in the zip or were hashed; `None` when it has no entry or no hash.
    pub(super) size_bytes: Option<u64>,
}

/// Everything that goes into an archive.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) content: ArchiveContent,
    pub(super) delivered: Option<TimeRange>,
    pub(super) cameras: Vec<Camera>,
    pub(super) source_bytes: u64,
    pub(super) roots: Arc<Roots>,
}

impl Contents {
    /// Puts parts and their cuts in order. Without cuts, because they are not made yet, the account of each camera is
    /// what the catalog lets expect of them.
    pub(super) async fn assemble(
        store: &Store,
        content: ArchiveContent,
        parts: Vec<Part>,
        cuts: Option<Vec<Cut>>,
        roots: Arc<Roots>,
    ) -> Result<Self, ArchiveError> {
        let mut contents = Self {
            content,
            delivered: None,
            cameras: Vec::with_capacity(parts.len()),
            source_bytes: 0,
            roots,
        };
        let is_cut = cuts.is_some();
        let mut cuts = cuts.into_iter().flatten().peekable();
        for (at, part) in parts.into_iter().enumerate() {
            let mut own = Vec::new();
            while let Some(cut) = cuts.next_if(|cut| cut.part == at) {
                own.push(cut);
            }
            let wanted = contents.content.clone();
            let (part, own, account) = blocking(move || {
                let account = Account::of(&part, is_cut.then_some(&own), &wanted);
                Ok((part, own, account))
            })
            .await?;
            let others = account
                .others(store, &part.camera_id, &contents.content)
                .await?;
            let wanted = contents.content.clone();
            let (camera, source_bytes) = blocking(move || {
                let gaps = account.gaps(&part, &wanted, others);
                Ok(Camera::new(part, own, &account, gaps))
            })
            .await?;
            contents.source_bytes += source_bytes;
            contents.cameras.push(camera);
        }
        contents.delivered = contents
            .cameras
            .iter()
            .filter_map(|camera| camera.delivered)
            .reduce(|one, other| {
                let (start, end) = (one.start().min(other.start()), one.end().max(other.end()));
                TimeRange::new(start, end).unwrap_or(one)
            });
        Ok(contents)
    }

    /// The entries with the number of the camera of each, in the order of the zip.
    pub(super) fn entries(&self) -> impl Iterator<Item = (usize, FootageEntry<'_>)> {
        self.cameras
            .iter()
            .enumerate()
            .flat_map(|(at, camera)| camera.entries().map(move |entry| (at, entry)))
    }

    /// How many entries there are.
    pub(super) fn entry_count(&self) -> usize {
        self.cameras.iter().map(Camera::entry_count).sum()
    }

    /// Recordings that are only cut from, with the number of the camera of each.
    pub(super) fn cut_sources(&self) -> impl Iterator<Item = (usize, CutSource)> {
        self.cameras
            .iter()
            .enumerate()
            .flat_map(|(at, camera)| camera.cut_sources().map(move |source| (at, source)))
    }

    /// Sources that are absent or not whole: those that were known before anything was packed, and behind them those
    /// that broke while they were read.
    pub(super) fn faults(&self) -> impl Iterator<Item = ArchiveFault> {
        let known = self.cameras.iter().flat_map(Camera::known_faults);
        known.chain(self.cameras.iter().flat_map(Camera::found_faults))
    }

    /// How many faults there are.
    pub(super) fn fault_count(&self) -> u64 {
        self.fault_kinds().values().sum()
    }

    /// How many faults there are of each kind.
    pub(super) fn fault_kinds(&self) -> HashMap<ArchiveFaultKind, u64> {
        let mut kinds = HashMap::new();
        for finding in self.cameras.iter().flat_map(Camera::findings) {
            *kinds.entry(finding.kind()).or_default() += 1;
        }
        kinds
    }

    /// Faults as a record lists them.
    pub(super) fn listed_faults(&self) -> Vec<ArchiveFault> {
        self.faults().take(LISTED_MAX).collect()
    }

    /// The cameras with as many of their gaps as a record lists: so many of each, and not too many of all together,
    /// because a record has to fit into a message.
    pub(super) fn listed_cameras(&self) -> Vec<ArchiveCamera> {
        let mut left = 10 * LISTED_MAX;
        let listed = self.cameras.iter().map(|camera| {
            let gaps: Vec<Gap> = camera.gaps.iter().take(LISTED_MAX.min(left)).collect();
            left -= gaps.len();
            ArchiveCamera {
                camera_id: camera.part.camera_id.clone(),
                display_name: camera.part.display_name.clone(),
                delivered_window: camera.delivered,
                covered_us: camera.covered_us,
                gap_count: camera.gaps.len() as u64,
                gaps,
                segment_count: camera.segment_count,
                size_bytes: camera.size_bytes,
            }
        });
        listed.collect()
    }

    /// The time that the entries about the archive have: that of the newest file in it, so that it follows from them.
    pub(super) fn newest(&self) -> DateTime<Utc> {
        self.entries()
            .map(|(_, entry)| entry.modified)
            .max()
            .unwrap_or_default()
    }
}

impl Camera {
    /// Puts a part and its cuts in order, and says how many bytes its sources have.
    fn new(mut part: Part, cuts: Vec<Cut>, account: &Account, gaps: Series<Gap>) -> (Self, u64) {
        let mut trimmed: BTreeMap<usize, Cut> = BTreeMap::new();
        let mut whole_clips = Vec::new();
        for cut in cuts {
            match cut.piece {
                Some(number) => drop(trimmed.insert(number, cut)),
                None => whole_clips.push(cut),
            }
        }
        let called: Vec<_> = whole_clips
            .iter()
            .map(|cut| {
                let outcome = &cut.outcome;
                (outcome.delivered.start(), outcome.format.extension())
            })
            .collect();
        let names = part.names(|number| extension_of(&trimmed, number), &called);
        let clips = whole_clips
            .into_iter()
            .zip(called)
            .zip(part.segments.len()..)
            .map(|((cut, (start, extension)), at)| {
                (names.name(at, &clip_name(start, extension), start), cut)
            })
            .collect();
        note_damage(&mut part, &gaps);
        let mut camera = Self {
            part,
            names,
            trimmed,
            clips,
            gaps,
            delivered: account.delivered,
            covered_us: account.covered.num_microseconds().unwrap_or(i64::MAX),
            segment_count: 0,
            size_bytes: 0,
            broken: BTreeMap::new(),
        };
        let mut source_bytes = 0;
        for (number, segment) in camera.part.segments.iter().enumerate() {
            if camera.part.roles[number] == Role::Absent {
                continue;
            }
            if let Some(look) = camera.part.held.look(number, &segment) {
                camera.segment_count += 1;
                source_bytes += look.size_bytes;
            }
        }
        camera.size_bytes = camera.entries().map(|entry| entry.size_bytes).sum();
        (camera, source_bytes)
    }

    /// The entries of the camera, in the order of the zip.
    fn entries(&self) -> impl Iterator<Item = FootageEntry<'_>> {
        let of_segments = self
            .part
            .segments
            .iter()
            .enumerate()
            .filter_map(|(number, segment)| self.entry(number, segment));
        let clips = self
            .clips
            .iter()
            .map(|(name, cut)| cut_entry(name.clone(), cut.outcome.delivered.end(), cut));
        of_segments.chain(clips)
    }

    /// The entry of a segment, if it has one.
    pub(super) fn entry(&self, number: usize, segment: ArchiveSegment) -> Option<FootageEntry<'_>> {
        let role = self.part.roles[number];
        let trimmed = self.trimmed.get(&number).filter(|_| role != Role::Absent);
        if role != Role::Whole && trimmed.is_none() {
            return None;
        }
        let look = self.part.held.look(number, &segment)?;
        if let Some(cut) = trimmed.filter(|_| role != Role::Whole) {
            return Some(cut_entry(self.name(number, &segment), look.modified, cut));
        }
        let size_bytes = match self.broken.get(&number) {
            Some(broken) => broken.size_bytes?,
            None => look.size_bytes,
        };
        Some(FootageEntry {
            name: self.name(number, &segment),
            modified: look.modified,
            size_bytes,
            from: From::Recording(Box::new(segment)),
        })
    }

    /// Entries that were cut, in the order of the zip, with their camera.
    pub(super) fn cut_entries(&self) -> impl Iterator<Item = (&CameraId, String, &CutOutcome)> {
        let trimmed = self.trimmed.iter().filter_map(|(number, cut)| {
            let segment = self.part.segments.get(*number)?;
            let entry = self.entry(*number, segment)?;
            matches!(entry.from, From::Cut(_)).then_some((entry.name, cut))
        });
        let clips = self.clips.iter().map(|(name, cut)| (name.clone(), cut));
        trimmed
            .chain(clips)
            .map(|(name, cut)| (&self.part.camera_id, name, &cut.outcome))
    }

    /// What the entry of a segment is called, or would be.
    pub(super) fn name(&self, number: usize, segment: &ArchiveSegment) -> String {
        let extension = extension_of(&self.trimmed, number);
        let recorded = self.part.recorded_name(number, segment, extension);
        self.names.name(number, &recorded, segment.start_time)
    }

    fn entry_count(&self) -> usize {
        let is_entry = |number: &usize| match self.part.roles[*number] {
            Role::Whole => {
                let broken = self.broken.get(number);
                self.part.held.has(*number)
                    && broken.is_none_or(|broken| broken.size_bytes.is_some())
            }
            Role::Absent => false,
            Role::Trimmed | Role::InClip => self.trimmed.contains_key(number),
        };
        (0..self.part.roles.len()).filter(is_entry).count() + self.clips.len()
    }

    /// Numbers of the recordings that are only cut from, but for those that could not be read after all.
    pub(super) fn numbers_of_cut_sources(&self) -> impl Iterator<Item = usize> {
        (0..self.part.roles.len()).filter(|number| self.is_cut_from(*number))
    }

    fn is_cut_from(&self, number: usize) -> bool {
        match self.part.roles[number] {
            Role::Trimmed | Role::InClip => {
                let broken = self.broken.get(&number);
                self.part.held.has(number)
                    && broken.is_none_or(|broken| broken.size_bytes.is_some())
            }
            Role::Whole | Role::Absent => false,
        }
    }

    fn cut_sources(&self) -> impl Iterator<Item = CutSource> {
        // Most cameras of most archives have none, and need not be read for that.
        let count = self.numbers_of_cut_sources().count();
        self.part
            .segments
            .iter()
            .enumerate()
            .filter(|(number, _)| self.is_cut_from(*number))
            .take(count)
            .map(|(number, segment)| CutSource {
                size_bytes: self
                    .look(number, &segment)
                    .map_or(0, |look| look.size_bytes),
                segment,
            })
    }

    fn look(&self, number: usize, segment: &ArchiveSegment) -> Option<Look> {
        self.part.held.look(number, segment)
    }

    /// Faults that were known before anything was packed. A source has one fault: what reading it showed says more.
    fn known_faults(&self) -> impl Iterator<Item = ArchiveFault> {
        let finding_of = |number: usize| {
            self.part.findings[number].filter(|_| !self.broken.contains_key(&number))
        };
        let count = (0..self.part.findings.len())
            .filter(|number| finding_of(*number).is_some())
            .count();
        self.part
            .segments
            .iter()
            .enumerate()
            .filter_map(move |(number, segment)| Some((finding_of(number)?, number, segment)))
            .take(count)
            .filter_map(|(finding, number, segment)| self.fault(number, &segment, finding))
    }

    /// Faults that showed while the recordings were read.
    fn found_faults(&self) -> impl Iterator<Item = ArchiveFault> {
        self.broken.iter().filter_map(|(number, broken)| {
            let segment = self.part.segments.get(*number)?;
            self.fault(*number, &segment, broken.finding)
        })
    }

    fn fault(
        &self,
        number: usize,
        segment: &ArchiveSegment,
        finding: Finding,
    ) -> Option<ArchiveFault> {
        let look = self.look(number, segment);
        let name = self.name(number, segment);
        fault(&self.part.camera_id, segment, finding, look, name)
    }

    /// What is wrong with its sources, each once.
    fn findings(&self) -> impl Iterator<Item = Finding> {
        let known = self.part.findings.iter().zip(0..);
        let known = known
            .filter_map(|(finding, number)| finding.filter(|_| !self.broken.contains_key(&number)));
        known.chain(self.broken.values().map(|broken| broken.finding))
    }
}

/// Notes a fault of each source that a cut found to be damaged and of which nothing was known.
fn note_damage(part: &mut Part, gaps: &Series<Gap>) {
    let damaged: HashSet<String> = gaps
        .iter()
        .filter(|gap| gap.reason == GapReason::FileDamaged)
        .flat_map(|gap| gap.segment_ids)
        .collect();
    if damaged.is_empty() {
        return;
    }
    for (number, segment) in part.segments.iter().enumerate() {
        if damaged.contains(&segment.id) {
            part.findings[number].get_or_insert(Finding::PartlyUndecodable);
        }
    }
}

/// What a trimmed segment ends in.
fn extension_of(trimmed: &BTreeMap<usize, Cut>, number: usize) -> Option<&'static str> {
    Some(trimmed.get(&number)?.outcome.format.extension())
}

fn cut_entry(name: String, modified: DateTime<Utc>, cut: &Cut) -> FootageEntry<'_> {
    FootageEntry {
        name,
        modified,
        size_bytes: cut.outcome.size_bytes,
        from: From::Cut(cut),
    }
}
