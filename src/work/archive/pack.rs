//! Packing the contents of an archive into a sink, and saying what was packed.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use super::ArchiveError;
use super::contents::{Contents, CutSource, From};
use super::hold::Finding;
use super::outline;
use crate::domain::archive::ArchiveFaultKind;
use crate::packing::{
    ALLOWED_SIGNERS, EntryHead, MANIFEST, Manifest, ManifestCut, ManifestSource, PackError, Packed,
    Packer, README, SIGNATURE_NAME, SUMS_NAME, Sha256, SigningKey, Sink, Stop, readme, sha256,
    sums_line, sums_line_bytes, zip_size,
};
use crate::work::roots::Roots;

/// Entries about the archive itself.
const OWN_ENTRIES: u64 = 5;

/// How far a pass is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'a> {
    pub(super) files_done: u64,
    pub(super) bytes_done: u64,
    pub(super) entry: &'a str,
}

/// Who signs, and where.
#[derive(Clone, Copy)]
pub(super) struct Seal<'a> {
    pub(super) key: &'a SigningKey,
    /// Name of the machine.
    pub(super) host: &'a str,
}

/// What to do with a source that breaks while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnBroken {
    /// Keep what could be read, and note a fault.
    Note,
    /// End, because the size was promised or every byte was asked for.
    Fail,
}

/// Entries that the zip will have.
pub(super) fn entry_count(contents: &Contents) -> u64 {
    contents.entries.len() as u64 + OWN_ENTRIES
}

/// The size of the zip, to the byte, if no source breaks.
pub(super) fn size(contents: &Contents, seal: Seal<'_>) -> Result<u64, ArchiveError> {
    let nothing = Sha256::default();
    let digests = vec![nothing; contents.entries.len()];
    let cut_digests = vec![nothing; contents.cut_sources.len()];
    let mut manifest = Counter(0);
    write_manifest(contents, seal, &digests, &cut_digests, &mut manifest)
        .map_err(ArchiveError::Folder)?;
    let readme = readme(seal.key.fingerprint());
    let signers = seal.key.allowed_signers();
    let names = contents.entries.iter().map(|entry| entry.name.as_str());
    let sums_bytes: u64 = names
        .chain([MANIFEST, README, ALLOWED_SIGNERS])
        .map(sums_line_bytes)
        .sum();
    // A signature is as long whatever was signed.
    let signature = seal.key.sign(b"").map_err(ArchiveError::Sign)?;
    let modified = contents.newest();
    let own = [
        (MANIFEST, manifest.0),
        (README, readme.len() as u64),
        (ALLOWED_SIGNERS, signers.len() as u64),
        (SUMS_NAME, sums_bytes),
        (SIGNATURE_NAME, signature.len() as u64),
    ];
    let heads = contents
        .entries
        .iter()
        .map(|entry| EntryHead {
            name: &entry.name,
            modified: entry.modified,
            size_bytes: entry.size_bytes,
        })
        .chain(own.into_iter().map(|(name, size_bytes)| EntryHead {
            name,
            modified,
            size_bytes,
        }));
    zip_size(heads).map_err(ArchiveError::Folder)
}

/// Packs everything into `sink`, until `cancel`. Faults that show while reading are added to those of `contents`.
pub(super) fn pack<S: Sink>(
    contents: &mut Contents,
    seal: Seal<'_>,
    sink: S,
    on_broken: OnBroken,
    cancel: &CancellationToken,
    mut on_step: impl FnMut(Step<'_>),
) -> Result<(S, Packed), ArchiveError> {
    let capacity = usize::try_from(entry_count(contents)).unwrap_or(0);
    let mut packer = Packer::with_capacity(sink, capacity).map_err(ArchiveError::Folder)?;
    let cut_sources = std::mem::take(&mut contents.cut_sources);
    let roots = Arc::clone(&contents.roots);
    let is_over = AtomicBool::new(false);
    let must_stop = || is_over.load(Ordering::Relaxed) || cancel.is_cancelled();
    // Recordings that are only cut from are hashed beside the packing: the manifest, which names them, comes last.
    let (packed, cut_digests) = std::thread::scope(|scope| {
        let hashing = scope.spawn(|| hash_cut_sources(&cut_sources, &roots, must_stop));
        let packed = add_footage(contents, &mut packer, on_broken, |step| {
            if cancel.is_cancelled() {
                return Err(Stop);
            }
            on_step(step);
            Ok(())
        });
        is_over.store(packed.is_err(), Ordering::Relaxed);
        (packed, hashing.join())
    });
    packed?;
    let cut_digests = cut_digests
        .map_err(|_| ArchiveError::Folder(io::Error::other("a hashing thread ended")))??;
    contents.cut_sources = cut_sources;
    seal_zip(contents, &cut_digests, seal, packer)
}

fn hash_cut_sources(
    sources: &[CutSource],
    roots: &Roots,
    must_stop: impl Fn() -> bool,
) -> Result<Vec<Sha256>, ArchiveError> {
    let mut digests = Vec::with_capacity(sources.len());
    for source in sources {
        let broken = |_| ArchiveError::Incomplete {
            kind: ArchiveFaultKind::Unreadable,
            message: format!(
                "{}: the recording's file cannot be read",
                source.segment.path
            ),
        };
        let file = source
            .held
            .file(roots, &source.segment)
            .map_err(|_| broken(io::ErrorKind::NotFound.into()))?;
        match sha256(&file, source.held.size_bytes, &must_stop).map_err(broken)? {
            Some(digest) => digests.push(digest),
            None => return Err(ArchiveError::Cancelled),
        }
    }
    Ok(digests)
}

/// Adds every entry of footage, and keeps those that are in the zip.
fn add_footage<S: Sink>(
    contents: &mut Contents,
    packer: &mut Packer<S>,
    on_broken: OnBroken,
    mut on_step: impl FnMut(Step<'_>) -> Result<(), Stop>,
) -> Result<(), ArchiveError> {
    let Contents {
        entries,
        cameras,
        faults,
        roots,
        source_bytes,
        ..
    } = contents;
    let mut bytes_done = 0;
    let mut gone = Vec::new();
    for (number, entry) in entries.iter_mut().enumerate() {
        let head = EntryHead {
            name: &entry.name,
            modified: entry.modified,
            size_bytes: entry.size_bytes,
        };
        let on_bytes = |count: u64| {
            bytes_done += count;
            on_step(Step {
                files_done: number as u64,
                bytes_done,
                entry: head.name,
            })
        };
        let added = match &entry.from {
            From::Cut { file, .. } => {
                let added = packer.add_file(&head, file, on_bytes)?;
                if let Some(error) = added.cut_short {
                    // A cut is ours: that it cannot be read is a fault of this machine, not of a recording.
                    return Err(ArchiveError::Folder(error));
                }
                Some(added.size_bytes)
            }
            From::Recording { segment, held } => {
                let (added, broken) = match held.file(roots, segment) {
                    // Only a file for which there was no place at the start can be gone now.
                    Err(_) => (None, Some((ArchiveFaultKind::Missing, "is gone"))),
                    Ok(file) => {
                        let added = packer.add_file(&head, &file, on_bytes)?;
                        let broken = match added.cut_short {
                            Some(_) => {
                                Some((ArchiveFaultKind::Unreadable, "could not be read to its end"))
                            }
                            None if held.has_changed(&file) => {
                                Some((ArchiveFaultKind::Changed, "was changed while it was read"))
                            }
                            None => None,
                        };
                        (Some(added.size_bytes), broken)
                    }
                };
                if let Some((kind, what)) = broken {
                    let message = format!("the recording's file {what}");
                    if on_broken == OnBroken::Fail {
                        let message = format!("{}: {message}", segment.path);
                        return Err(ArchiveError::Incomplete { kind, message });
                    }
                    let camera = &mut cameras[entry.camera];
                    let finding = Finding { kind, message };
                    let fault = outline::fault(&camera.camera_id, segment, &finding, &entry.name);
                    // A source has one fault: what reading it showed says more than what was known before.
                    faults.retain(|known| known.segment_id != segment.id);
                    faults.extend(fault);
                    let lost = entry.size_bytes - added.unwrap_or(0);
                    camera.size_bytes -= lost;
                    camera.segment_count -= u64::from(added.is_none());
                    *source_bytes -= lost;
                }
                added
            }
            // Nothing is told before everything is packed.
            From::Told => continue,
        };
        if let Some(size_bytes) = added {
            entry.size_bytes = size_bytes;
            // The file is no longer needed, and another archive may need its place.
            if let From::Recording { held, .. } = &mut entry.from {
                held.release();
            }
        } else {
            gone.push(number);
        }
    }
    for number in gone.into_iter().rev() {
        entries.remove(number);
    }
    Ok(())
}

/// Adds what is said about the footage, and ends the zip.
fn seal_zip<S: Sink>(
    contents: &mut Contents,
    cut_digests: &[Sha256],
    seal: Seal<'_>,
    mut packer: Packer<S>,
) -> Result<(S, Packed), ArchiveError> {
    let mut digests = Vec::with_capacity(contents.entries.len());
    for _ in &contents.entries {
        digests.push(packer.next_digest().map_err(ArchiveError::Folder)?);
    }
    let modified = contents.newest();
    let head = |name| EntryHead {
        name,
        modified,
        size_bytes: 0,
    };
    packer.add_written(&head(MANIFEST), |out| {
        write_manifest(contents, seal, &digests, cut_digests, out)
    })?;
    // SHA256SUMS takes the room of what is told.
    for entry in &mut contents.entries {
        entry.from = From::Told;
    }
    let readme = readme(seal.key.fingerprint());
    packer.add_written(&head(README), |out| out.write_all(readme.as_bytes()))?;
    let signers = seal.key.allowed_signers();
    packer.add_written(&head(ALLOWED_SIGNERS), |out| {
        out.write_all(signers.as_bytes())
    })?;

    let names = contents.entries.iter().map(|entry| entry.name.as_str());
    let sums_bytes: u64 = names
        .chain([MANIFEST, README, ALLOWED_SIGNERS])
        .map(sums_line_bytes)
        .sum();
    // As large as it will be: a text that grows is there twice whenever it moves.
    let mut sums = String::with_capacity(usize::try_from(sums_bytes).unwrap_or(0));
    for (entry, digest) in contents.entries.iter().zip(&digests) {
        sums_line(&mut sums, digest, &entry.name);
    }
    for name in [MANIFEST, README, ALLOWED_SIGNERS] {
        let digest = packer.next_digest().map_err(ArchiveError::Folder)?;
        sums_line(&mut sums, &digest, name);
    }
    packer.add_written(&head(SUMS_NAME), |out| out.write_all(sums.as_bytes()))?;
    let signature = seal.key.sign(sums.as_bytes()).map_err(ArchiveError::Sign)?;
    packer.add_written(&head(SIGNATURE_NAME), |out| {
        out.write_all(signature.as_bytes())
    })?;
    Ok(packer.finish()?)
}

fn write_manifest(
    contents: &Contents,
    seal: Seal<'_>,
    digests: &[Sha256],
    cut_digests: &[Sha256],
    out: &mut dyn Write,
) -> io::Result<()> {
    let camera_of = |index: usize| &contents.cameras[index].camera_id;
    let cut = contents
        .entries
        .iter()
        .filter_map(|entry| match &entry.from {
            From::Cut { outcome, .. } => Some(ManifestCut {
                entry: &entry.name,
                camera_id: camera_of(entry.camera),
                delivered: outcome.delivered,
                size_bytes: outcome.size_bytes,
                sha256: outcome.sha256,
                hidden_lead: outcome.hidden_lead,
                engine: &outcome.engine,
                segment_ids: &outcome.segment_ids,
            }),
            From::Recording { .. } | From::Told => None,
        })
        .collect();
    let manifest = Manifest {
        host: seal.host,
        content: &contents.content,
        delivered: contents.delivered,
        cameras: &contents.cameras,
        faults: &contents.faults,
        cut,
        signing_key: seal.key.fingerprint(),
    };
    let whole = contents
        .entries
        .iter()
        .zip(digests)
        .filter_map(|(entry, digest)| match &entry.from {
            From::Recording { segment, .. } => Some(ManifestSource {
                camera_id: camera_of(entry.camera),
                segment,
                entry: Some(&entry.name),
                size_bytes: entry.size_bytes,
                sha256: *digest,
            }),
            From::Cut { .. } | From::Told => None,
        });
    let cut_from = contents
        .cut_sources
        .iter()
        .zip(cut_digests)
        .map(|(source, digest)| ManifestSource {
            camera_id: camera_of(source.camera),
            segment: &source.segment,
            entry: None,
            size_bytes: source.held.size_bytes,
            sha256: *digest,
        });
    manifest.write(out, whole.chain(cut_from).map(Ok))
}

struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0 += data.len() as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::convert::From<PackError> for ArchiveError {
    fn from(error: PackError) -> Self {
        match error {
            PackError::Stopped => Self::Cancelled,
            PackError::Write(error) => Self::written(error),
        }
    }
}
