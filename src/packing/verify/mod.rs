//! Verification of an archive: everything in it is read once, SHA256SUMS twice, and every byte of the zip is compared with
//! something.
//!
//! The data of each entry is hashed and compared with SHA256SUMS, and SHA256SUMS with its signature. The form of the
//! zip is fixed to the byte (see `zip.rs`), so the records between the data are written anew and compared with those of
//! the file: [`walk`] does that for the records around each entry, [`directory`] for what follows the last one, and
//! [`report`] says what it all means. Whatever the file holds, what is wrong with it is a finding and no error.

mod directory;
mod piece;
mod proof;
mod records;
mod report;
mod source;
#[cfg(test)]
mod tests;
mod walk;

use std::fs::File;
use std::io;

use crate::domain::archive::{ArchiveDefect, ArchiveDefectKind, ArchiveSignature};

use super::known_keys::KnownKeys;
use super::packer::Stop;
use super::sums::{SIGNATURE_NAME, SUMS_NAME};
use directory::Directory;
use report::Report;
use source::Source;

/// Why an archive could not be verified. That it is damaged is none of the reasons.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The caller wanted it to end.
    #[error("stopped")]
    Stopped,
    /// The disk does not give the file.
    #[error("the archive cannot be read")]
    Read(#[from] io::Error),
    /// Nothing in the file is as in a zip.
    #[error("this is no zip")]
    NotAZip,
}

impl From<Stop> for VerifyError {
    fn from(Stop: Stop) -> Self {
        Self::Stopped
    }
}

/// What a verification found; the fields are those of
/// [`ArchiveVerification`](crate::domain::archive::ArchiveVerification).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// What the signature says.
    pub signature: ArchiveSignature,
    /// Fingerprint of the key that the signature names, `SHA256:…`; empty when there is no signature.
    pub signing_key_fingerprint: String,
    /// Entries that were compared with SHA256SUMS.
    pub entries_checked: u64,
    /// Bytes of all entries that were read.
    pub bytes_checked: u64,
    /// What is not as recorded, in the order of the zip; at most [`LISTED_MAX`](crate::domain::archive::LISTED_MAX).
    pub defects: Vec<ArchiveDefect>,
    /// Number of all defects.
    pub defect_count: u64,
}

impl Findings {
    /// Whether every byte is as it was recorded and the signature is by a known key.
    pub fn is_intact(&self) -> bool {
        self.defect_count == 0 && self.signature == ArchiveSignature::Valid
    }
}

/// Verifies an archive. `on_bytes` is called with the bytes that have been passed and the size of the file.
///
/// Memory is bounded by the number of entries, some 250 bytes for each, whatever they hold.
///
/// # Errors
/// [`VerifyError`]; whatever is wrong with the archive is among the findings.
pub fn verify(
    file: &File,
    known: &KnownKeys,
    mut on_bytes: impl FnMut(u64, u64) -> Result<(), Stop>,
) -> Result<Findings, VerifyError> {
    let source = Source::new(file)?;
    let directory = Directory::read(source)?;
    if directory.start.is_none() && !begins_as_zip(source)? {
        return Err(VerifyError::NotAZip);
    }
    if is_foreign(&directory) {
        return Ok(foreign());
    }
    let walked = walk::walk(source, &directory, &mut on_bytes)?;
    let start = directory.start.unwrap_or(walked.end);
    let complaint = match directory.complaint.or_else(|| walked.complaint.clone()) {
        Some(complaint) => Some(complaint),
        None => directory::first_difference(source, start, &walked.pieces)?.map(|at| {
            if at < source.size_bytes() {
                format!("the zip's directory or end is not as it was written, at byte {at}")
            } else {
                "the zip was cut off in its directory".to_owned()
            }
        }),
    };
    drop(directory.records);
    let sums = walked.sums.as_ref();
    let sums = sums.map(|place| place.read(source, &walked.digests));
    let sums = sums.transpose()?;
    on_bytes(source.size_bytes(), source.size_bytes())?;
    Ok(Report::new(walked, sums, complaint).findings(known))
}

fn begins_as_zip(source: Source<'_>) -> io::Result<bool> {
    let mut signature = [0; 4];
    let read = source.fill(&mut signature, 0, u64::MAX)?;
    Ok(signature[..read] == *b"PK\x03\x04")
}

/// Whether this is a sound zip, but made by something else: one damaged byte cannot hide both names.
fn is_foreign(directory: &Directory) -> bool {
    let is_ours = |name: &str| [SUMS_NAME, SIGNATURE_NAME].contains(&name);
    directory.complaint.is_none() && !directory.records.iter().any(|record| is_ours(&record.name))
}

fn foreign() -> Findings {
    Findings {
        signature: ArchiveSignature::Missing,
        signing_key_fingerprint: String::new(),
        entries_checked: 0,
        bytes_checked: 0,
        defects: vec![ArchiveDefect {
            entry_name: SUMS_NAME.to_owned(),
            kind: ArchiveDefectKind::Missing,
            expected_sha256: String::new(),
            found_sha256: String::new(),
            message: "it is not in this zip: this is not an archive of footage, or it was packed again without what \
                      proves its contents"
                .to_owned(),
        }],
        defect_count: 1,
    }
}
