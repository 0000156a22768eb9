//! What the facts of a pass mean: which entries are not as recorded, and what the signature says.

use std::collections::HashSet;

use crate::domain::archive::{ArchiveDefect, ArchiveDefectKind, ArchiveSignature, LISTED_MAX};

use super::super::known_keys::KnownKeys;
use super::super::signing::{SignatureError, check_signature};
use super::super::sums::{SIGNATURE_NAME, SUMS_NAME, Sums, hex};
use super::Findings;
use super::piece::{Complaint, Piece};
use super::walk::Walked;
use crate::hashing::Sha256;

/// Gathers the findings of one verification.
pub(super) struct Report {
    walked: Walked,
    /// Contents of SHA256SUMS.
    sums: Option<Vec<u8>>,
    /// What is wrong with the directory.
    complaint: Option<String>,
    entries_checked: u64,
    defects: Vec<ArchiveDefect>,
    defect_count: u64,
}

/// What is said of an entry.
struct Verdict {
    kind: ArchiveDefectKind,
    expected: Option<Sha256>,
    message: String,
}

impl Verdict {
    fn new(kind: ArchiveDefectKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            expected: None,
            message: message.into(),
        }
    }
}

impl Report {
    pub(super) fn new(walked: Walked, sums: Option<Vec<u8>>, complaint: Option<String>) -> Self {
        Self {
            walked,
            sums,
            complaint,
            entries_checked: 0,
            defects: Vec::new(),
            defect_count: 0,
        }
    }

    pub(super) fn findings(mut self, known: &KnownKeys) -> Findings {
        let (signature, signing_key_fingerprint) = self.signature(known);
        let sums = self.sums.take();
        let is_sums_sound = self
            .walked
            .pieces
            .iter()
            .find(|piece| is_called(piece, SUMS_NAME))
            .is_some_and(|piece| piece.is_data_sound);
        let parsed = sums.as_deref().map(Sums::parse);
        // Damaged hashes prove nothing; what is left is the CRC-32 of each entry.
        let usable = match &parsed {
            Some(Ok(sums)) if is_sums_sound => Some(sums),
            _ => None,
        };
        let sums_fault = match &parsed {
            None => Some("it is too large to be read".to_owned()),
            Some(Err(error)) => Some(error.to_string()),
            Some(Ok(_)) => None,
        };
        self.entries(usable, sums_fault.as_deref());
        self.absent(usable);
        if let Some(message) = self.complaint.take() {
            let verdict = Verdict::new(ArchiveDefectKind::Unreadable, message);
            self.defect("", None, verdict);
        }
        Findings {
            signature,
            signing_key_fingerprint,
            entries_checked: self.entries_checked,
            bytes_checked: self.walked.data_bytes,
            defects: self.defects,
            defect_count: self.defect_count,
        }
    }

    fn signature(&self, known: &KnownKeys) -> (ArchiveSignature, String) {
        let Some(signature) = &self.walked.signature else {
            let is_there = self
                .walked
                .pieces
                .iter()
                .any(|piece| is_called(&piece, SIGNATURE_NAME));
            let what = if is_there {
                ArchiveSignature::Invalid
            } else {
                ArchiveSignature::Missing
            };
            return (what, String::new());
        };
        let sums = self.sums.as_deref().unwrap_or_default();
        match check_signature(sums, signature) {
            Ok(by) if known.contains(&by) => (ArchiveSignature::Valid, by.fingerprint),
            Ok(by) => (ArchiveSignature::UnknownKey, by.fingerprint),
            Err(SignatureError::DoesNotFit { fingerprint }) => {
                (ArchiveSignature::Invalid, fingerprint)
            }
            Err(SignatureError::Unreadable) => (ArchiveSignature::Invalid, String::new()),
        }
    }

    /// Judges each entry that was found.
    fn entries(&mut self, sums: Option<&Sums<'_>>, sums_fault: Option<&str>) {
        let pieces = std::mem::take(&mut self.walked.pieces);
        let digests = std::mem::take(&mut self.walked.digests);
        let mut names = Names::new(sums);
        for (piece, digest) in pieces.iter().zip(&digests) {
            let name = self.name_of(&piece, sums);
            let verdict = if !names.insert(name) {
                let message = "the zip has a second entry of this name";
                Some(Verdict::new(ArchiveDefectKind::Unlisted, message))
            } else {
                self.verdict(&piece, name, digest, sums, sums_fault)
            };
            if let Some(verdict) = verdict {
                self.defect(name, Some(digest), verdict);
            }
        }
        self.walked.pieces = pieces;
    }

    /// The name of an entry. Of two names, the one that is recorded is the right one, and the other is damaged.
    fn name_of<'a>(&mut self, piece: &'a Piece, sums: Option<&Sums<'_>>) -> &'a str {
        let is_recorded = |name: &str| {
            [SUMS_NAME, SIGNATURE_NAME].contains(&name)
                || sums.is_some_and(|sums| sums.get(name).is_some())
        };
        match &piece.local_name {
            Some(local_name) if !is_recorded(&piece.name) && is_recorded(local_name) => {
                self.complaint.get_or_insert_with(|| {
                    format!(
                        "the zip's directory has the name {} for {local_name}",
                        piece.name
                    )
                });
                local_name
            }
            _ => &piece.name,
        }
    }

    fn verdict(
        &mut self,
        piece: &Piece,
        name: &str,
        digest: &Sha256,
        sums: Option<&Sums<'_>>,
        sums_fault: Option<&str>,
    ) -> Option<Verdict> {
        let changed = |expected| Verdict {
            kind: ArchiveDefectKind::Changed,
            expected,
            message: "its bytes are not those that were archived".to_owned(),
        };
        let is_special = [SUMS_NAME, SIGNATURE_NAME].contains(&name);
        match sums.filter(|_| !is_special) {
            Some(sums) => {
                let Some(expected) = sums.get(name) else {
                    let message = format!("{SUMS_NAME} does not list it");
                    return Some(Verdict::new(ArchiveDefectKind::Unlisted, message));
                };
                self.entries_checked += 1;
                if expected != *digest {
                    return Some(changed(Some(expected)));
                }
            }
            None if piece.is_cut_off => {
                let message = "the zip ends before it does";
                return Some(Verdict::new(ArchiveDefectKind::Unreadable, message));
            }
            None if !piece.is_data_sound => return Some(changed(None)),
            None => {}
        }
        if let (SUMS_NAME, Some(fault)) = (name, sums_fault) {
            return Some(Verdict::new(ArchiveDefectKind::Unreadable, fault));
        }
        // A sound header with another name than the recorded one.
        let is_renamed = piece
            .local_name
            .as_deref()
            .is_some_and(|local_name| local_name != name && *piece.name == *name);
        let complaint = piece
            .complaint
            .map(Complaint::words)
            .or(is_renamed.then_some("its header in the zip has another name"));
        complaint.map(|complaint| Verdict::new(ArchiveDefectKind::Unreadable, complaint))
    }

    /// What should be there and is not.
    fn absent(&mut self, sums: Option<&Sums<'_>>) {
        let lost = std::mem::take(&mut self.walked.lost);
        let pieces = std::mem::take(&mut self.walked.pieces);
        for name in &lost {
            let message = "the zip's directory has it, but it is not where it should be";
            let verdict = Verdict::new(ArchiveDefectKind::Unreadable, message);
            self.defect(name, None, verdict);
        }
        let mut names = Names::new(sums);
        for piece in &pieces {
            names.insert(&piece.name);
            if let Some(name) = &piece.local_name {
                names.insert(name);
            }
        }
        for name in &lost {
            names.insert(name);
        }
        if !names.contains(SUMS_NAME) {
            let message = "without it nothing proves what was archived";
            self.defect(
                SUMS_NAME,
                None,
                Verdict::new(ArchiveDefectKind::Missing, message),
            );
        }
        let Some(sums) = sums else {
            return;
        };
        let mut missing: Vec<&str> = sums.names().filter(|name| !names.contains(name)).collect();
        missing.sort_unstable();
        for name in missing {
            let verdict = Verdict {
                kind: ArchiveDefectKind::Missing,
                expected: sums.get(name),
                message: format!("{SUMS_NAME} lists it, but the zip does not have it"),
            };
            self.defect(name, None, verdict);
        }
    }

    fn defect(&mut self, name: &str, found: Option<&Sha256>, verdict: Verdict) {
        self.defect_count += 1;
        if self.defects.len() < LISTED_MAX {
            self.defects.push(ArchiveDefect {
                entry_name: name.to_owned(),
                kind: verdict.kind,
                expected_sha256: verdict.expected.map(|sum| hex(&sum)).unwrap_or_default(),
                found_sha256: found.map(|sum| hex(sum)).unwrap_or_default(),
                message: verdict.message,
            });
        }
    }
}

/// Names that were come across.
struct Names<'a> {
    sums: Option<&'a Sums<'a>>,
    /// Of each that the hashes list, whether it was; nearly all are listed, and take no more than this.
    listed: Vec<bool>,
    others: HashSet<[u8; 16]>,
}

impl<'a> Names<'a> {
    fn new(sums: Option<&'a Sums<'a>>) -> Self {
        Self {
            sums,
            listed: vec![false; sums.map_or(0, Sums::len)],
            others: HashSet::new(),
        }
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        self.sums?.place_of(name)
    }

    /// Whether it was not there before.
    fn insert(&mut self, name: &str) -> bool {
        match self.place_of(name) {
            Some(place) => !std::mem::replace(&mut self.listed[place], true),
            None => self.others.insert(key(name)),
        }
    }

    fn contains(&self, name: &str) -> bool {
        match self.place_of(name) {
            Some(place) => self.listed[place],
            None => self.others.contains(&key(name)),
        }
    }
}

/// What stands for a name where all of them are compared: half of its SHA-256, so that nobody finds two that are alike.
fn key(name: &str) -> [u8; 16] {
    let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&digest.as_ref()[..16]);
    key
}

fn is_called(piece: &Piece, name: &str) -> bool {
    *piece.name == *name || piece.local_name.as_deref() == Some(name)
}
