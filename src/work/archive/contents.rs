//! What is in the zip, in order, and what is said of it: ready to be packed.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::ArchiveError;
use super::account::Account;
use super::cuts::Cut;
use super::hold::Held;
use super::outline::{Part, Role, fault};
use crate::domain::archive::{
    ArchiveCamera, ArchiveContent, ArchiveFault, ArchiveFaultKind, ArchiveSegment,
};
use crate::domain::coverage::{Gap, GapReason};
use crate::domain::time::TimeRange;
use crate::media::CutOutcome;
use crate::repository::Store;
use crate::work::roots::Roots;

/// One entry of footage.
#[derive(Debug)]
pub(super) struct FootageEntry {
    pub(super) name: String,
    pub(super) modified: DateTime<Utc>,
    pub(super) size_bytes: u64,
    /// Index of its camera.
    pub(super) camera: usize,
    pub(super) from: From,
}

/// Where the bytes of an entry come from.
#[derive(Debug)]
pub(super) enum From {
    /// A recording, untouched.
    Recording {
        segment: Arc<ArchiveSegment>,
        held: Held,
    },
    /// A cut.
    Cut {
        file: File,
        outcome: Box<CutOutcome>,
    },
    /// The entry is in the zip and the manifest has told of it: nothing more is needed of where it came from.
    Told,
}

/// A recording that is only cut from: the manifest names it, the zip does not hold it.
#[derive(Debug)]
pub(super) struct CutSource {
    pub(super) camera: usize,
    pub(super) segment: Arc<ArchiveSegment>,
    pub(super) held: Held,
}

/// Everything that goes into an archive.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) content: ArchiveContent,
    pub(super) delivered: Option<TimeRange>,
    /// With all gaps.
    pub(super) cameras: Vec<ArchiveCamera>,
    pub(super) faults: Vec<ArchiveFault>,
    pub(super) entries: Vec<FootageEntry>,
    pub(super) cut_sources: Vec<CutSource>,
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
            faults: Vec::new(),
            entries: Vec::new(),
            cut_sources: Vec::new(),
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
            let account = Account::of(&part, is_cut.then_some(&own), &contents.content);
            contents.add(store, part, own, account).await?;
        }
        contents.delivered = contents
            .cameras
            .iter()
            .filter_map(|camera| camera.delivered_window)
            .reduce(|one, other| {
                let (start, end) = (one.start().min(other.start()), one.end().max(other.end()));
                TimeRange::new(start, end).unwrap_or(one)
            });
        Ok(contents)
    }

    /// The time that the entries about the archive have: that of the newest file in it, so that it follows from them.
    pub(super) fn newest(&self) -> DateTime<Utc> {
        self.entries
            .iter()
            .map(|entry| entry.modified)
            .max()
            .unwrap_or_default()
    }

    async fn add(
        &mut self,
        store: &Store,
        part: Part,
        cuts: Vec<Cut>,
        account: Account,
    ) -> Result<(), ArchiveError> {
        let extension_of = |piece| {
            let own = cuts.iter().find(|cut| cut.piece == Some(piece))?;
            Some(own.outcome.format.extension())
        };
        let clips: Vec<_> = cuts
            .iter()
            .filter(|cut| cut.piece.is_none())
            .map(|cut| {
                let outcome = &cut.outcome;
                (outcome.delivered.start(), outcome.format.extension())
            })
            .collect();
        let (names, clip_names) = part.names(extension_of, &clips);
        let gaps = account.gaps(store, &part.camera_id, &self.content).await?;
        self.note_faults(&part, &names, &gaps);

        let camera = self.cameras.len();
        let mut segment_count = 0;
        let mut trimmed: BTreeMap<usize, Cut> = BTreeMap::new();
        let mut whole_clips = Vec::new();
        for cut in cuts {
            match cut.piece {
                Some(piece) => drop(trimmed.insert(piece, cut)),
                None => whole_clips.push(cut),
            }
        }
        let first_entry = self.entries.len();
        self.entries.reserve(part.pieces.len());
        for ((number, piece), name) in part.pieces.into_iter().enumerate().zip(names) {
            let Some(held) = piece.held.filter(|_| piece.role != Role::Absent) else {
                continue;
            };
            segment_count += 1;
            self.source_bytes += held.size_bytes;
            let segment = piece.segment;
            if piece.role == Role::Whole {
                self.entries.push(FootageEntry {
                    name,
                    modified: held.modified,
                    size_bytes: held.size_bytes,
                    camera,
                    from: From::Recording { segment, held },
                });
                continue;
            }
            if let Some(cut) = trimmed.remove(&number) {
                self.entries
                    .push(cut_entry(name, camera, held.modified, cut));
            }
            self.cut_sources.push(CutSource {
                camera,
                segment,
                held,
            });
        }
        for (cut, name) in whole_clips.into_iter().zip(clip_names) {
            let modified = cut.outcome.delivered.end();
            self.entries.push(cut_entry(name, camera, modified, cut));
        }
        self.cameras.push(ArchiveCamera {
            camera_id: part.camera_id,
            display_name: part.display_name,
            delivered_window: account.delivered,
            covered_us: account.covered.num_microseconds().unwrap_or(i64::MAX),
            gap_count: gaps.len() as u64,
            gaps,
            segment_count,
            size_bytes: self.entries[first_entry..]
                .iter()
                .map(|entry| entry.size_bytes)
                .sum(),
        });
        Ok(())
    }

    /// Sources that were found to be missing or damaged, and those that a cut found so.
    fn note_faults(&mut self, part: &Part, names: &[String], gaps: &[Gap]) {
        for (piece, name) in part.pieces.iter().zip(names) {
            if let Some(finding) = &piece.finding {
                self.faults
                    .extend(fault(&part.camera_id, &piece.segment, finding, name));
                continue;
            }
            let damage = gaps.iter().find(|gap| {
                gap.reason == GapReason::FileDamaged && gap.segment_ids.contains(&piece.segment.id)
            });
            if damage.is_some() {
                let finding = super::hold::Finding {
                    kind: ArchiveFaultKind::Damaged,
                    message: "part of the recording cannot be decoded".to_owned(),
                };
                self.faults
                    .extend(fault(&part.camera_id, &piece.segment, &finding, name));
            }
        }
    }
}

fn cut_entry(name: String, camera: usize, modified: DateTime<Utc>, cut: Cut) -> FootageEntry {
    FootageEntry {
        name,
        modified,
        size_bytes: cut.outcome.size_bytes,
        camera,
        from: From::Cut {
            file: cut.file,
            outcome: Box::new(cut.outcome),
        },
    }
}
