//! Packing the contents of an archive into a sink, and saying what was packed.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::ArchiveError;
use super::contents::{Broken, Camera, Contents, FootageEntry, From};
use super::cuts::Cut;
use super::hold::{Finding, Held, Look, Looks, go_on, has_changed};
use crate::domain::archive::ArchiveSegment;
use crate::domain::series::Series;
use crate::packing::{
    ALLOWED_SIGNERS, Added, EntryHead, Hashing512, MANIFEST, Manifest, ManifestCamera, ManifestCut,
    ManifestSource, PackError, Packed, Packer, README, SIGNATURE_NAME, SUMS_NAME, Sha256,
    SigningKey, Sink, Stop, ZipSize, readme, sha256, sums_line, sums_line_bytes,
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
    contents.entry_count() as u64 + OWN_ENTRIES
}

/// The size of the zip, to the byte, if no source breaks.
pub(super) fn size(
    contents: &Contents,
    seal: Seal<'_>,
    cancel: &CancellationToken,
) -> Result<u64, ArchiveError> {
    let nothing = Sha256::default();
    let mut manifest = Counter { bytes: 0, cancel };
    let counted = write_manifest(
        contents,
        seal,
        std::iter::repeat(&nothing),
        std::iter::repeat(&nothing),
        &mut manifest,
    );
    go_on(cancel)?;
    counted.map_err(ArchiveError::Folder)?;
    let mut zip = ZipSize::default();
    let mut sums_bytes = 0;
    for (_, entry) in contents.entries() {
        go_on(cancel)?;
        sums_bytes += sums_line_bytes(&entry.name);
        let head = EntryHead {
            name: &entry.name,
            modified: entry.modified,
            size_bytes: entry.size_bytes,
        };
        zip.add(&head).map_err(ArchiveError::Folder)?;
    }
    sums_bytes += [MANIFEST, README, ALLOWED_SIGNERS]
        .map(sums_line_bytes)
        .iter()
        .sum::<u64>();
    let readme = readme(seal.key.fingerprint());
    let signers = seal.key.allowed_signers();
    // A signature is as long whatever was signed.
    let signature = seal.key.sign(b"").map_err(ArchiveError::Sign)?;
    let modified = contents.newest();
    for (name, size_bytes) in [
        (MANIFEST, manifest.bytes),
        (README, readme.len() as u64),
        (ALLOWED_SIGNERS, signers.len() as u64),
        (SUMS_NAME, sums_bytes),
        (SIGNATURE_NAME, signature.len() as u64),
    ] {
        let head = EntryHead {
            name,
            modified,
            size_bytes,
        };
        zip.add(&head).map_err(ArchiveError::Folder)?;
    }
    zip.finish().map_err(ArchiveError::Folder)
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
    let capacity = contents.entry_count();
    // What is said about the footage can take seconds, too, and has no steps of its own.
    let sink = UntilCancelled { sink, cancel };
    let mut packer = Packer::with_capacity(sink, capacity).map_err(ArchiveError::Folder)?;
    let to_hash: Vec<ToHash> = contents.cameras.iter().map(ToHash::of).collect();
    let roots = Arc::clone(&contents.roots);
    let is_over = AtomicBool::new(false);
    let must_stop = || is_over.load(Ordering::Relaxed) || cancel.is_cancelled();
    // Recordings that are only cut from are hashed beside the packing: the manifest, which names them, comes last.
    let (packed, hashed) = std::thread::scope(|scope| {
        let hashing = scope.spawn(|| hash_cut_sources(to_hash, &roots, on_broken, must_stop));
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
    // A sink that takes no more says so in words of its own.
    go_on(cancel)?;
    packed?;
    let hashed =
        hashed.map_err(|_| ArchiveError::Folder(io::Error::other("a hashing thread ended")))??;
    for (camera, number, broken) in hashed.broken {
        contents.cameras[camera].broken.insert(number, broken);
    }
    let sealed = seal_zip(contents, &hashed.digests, seal, packer);
    go_on(cancel)?;
    let (UntilCancelled { sink, .. }, packed) = sealed?;
    Ok((sink, packed))
}

/// A sink that takes no more once the work is cancelled.
struct UntilCancelled<'a, S> {
    sink: S,
    cancel: &'a CancellationToken,
}

impl<S: Sink> Sink for UntilCancelled<'_, S> {
    fn put(&mut self, bytes: &Bytes) -> io::Result<()> {
        still_wanted(self.cancel)?;
        self.sink.put(bytes)
    }
}

/// An error that ends writing. Whoever gets it asks `cancel` why.
fn still_wanted(cancel: &CancellationToken) -> io::Result<()> {
    if cancel.is_cancelled() {
        return Err(io::Error::other("cancelled"));
    }
    Ok(())
}

/// Recordings of a camera that are only cut from.
struct ToHash {
    segments: Arc<Series<ArchiveSegment>>,
    looks: Arc<Looks>,
    /// Their numbers, in order, with the files; `None`: it is opened at its turn.
    files: Vec<(u32, Option<Arc<File>>)>,
}

/// What became of recordings that are only cut from.
#[derive(Default)]
struct Hashed {
    /// Of those that could be read, in order.
    digests: Vec<Sha256>,
    /// Number of the camera, number of the segment, and what is wrong with it.
    broken: Vec<(usize, usize, Broken)>,
}

impl ToHash {
    fn of(camera: &Camera) -> Self {
        let held = &camera.part.held;
        let numbers = camera.numbers_of_cut_sources();
        let files = numbers.filter_map(|number| {
            let file = held.shared(number);
            Some((u32::try_from(number).ok()?, file))
        });
        Self {
            segments: Arc::clone(&camera.part.segments),
            looks: held.looks(),
            files: files.collect(),
        }
    }
}

fn hash_cut_sources(
    cameras: Vec<ToHash>,
    roots: &Roots,
    on_broken: OnBroken,
    must_stop: impl Fn() -> bool,
) -> Result<Hashed, ArchiveError> {
    let mut hashed = Hashed::default();
    hashed
        .digests
        .reserve_exact(cameras.iter().map(|camera| camera.files.len()).sum());
    for (at, camera) in cameras.into_iter().enumerate() {
        let mut files = camera.files.into_iter().peekable();
        for (number, segment) in camera.segments.iter().enumerate() {
            let is_next = |(next, _): &(u32, _)| *next as usize == number;
            let Some((_, file)) = files.next_if(is_next) else {
                if files.peek().is_none() {
                    break;
                }
                continue;
            };
            let look = camera.looks.of(number, &segment);
            let (digest, finding) = match hash(&segment, file, look, roots, &must_stop)? {
                Ok(digest) => (Some(digest), None),
                Err((digest, finding)) => (digest, Some(finding)),
            };
            hashed.digests.extend(digest);
            let Some(finding) = finding else { continue };
            if on_broken == OnBroken::Fail {
                return Err(ArchiveError::Incomplete {
                    kind: finding.kind(),
                    message: finding.message(&segment, None),
                });
            }
            let size_bytes = digest.and(look).map(|look| look.size_bytes);
            let broken = Broken {
                finding,
                size_bytes,
            };
            hashed.broken.push((at, number, broken));
        }
    }
    Ok(hashed)
}

/// The hash of a recording that is only cut from; or what is wrong with it, and its hash if it has one.
fn hash(
    segment: &ArchiveSegment,
    file: Option<Arc<File>>,
    look: Option<Look>,
    roots: &Roots,
    must_stop: impl Fn() -> bool,
) -> Result<Result<Sha256, (Option<Sha256>, Finding)>, ArchiveError> {
    let file = match file {
        Some(file) => file,
        None => match roots
            .look_for(&segment.source_id, &segment.path)
            .map_err(ArchiveError::Machine)?
        {
            Ok(file) => Arc::new(file),
            Err(_) => return Ok(Err((None, Finding::Gone))),
        },
    };
    let size_bytes = look.map_or(0, |look| look.size_bytes);
    let digest = match sha256(&file, size_bytes, must_stop) {
        Ok(Some(digest)) => digest,
        Ok(None) => return Err(ArchiveError::Cancelled),
        Err(_) => return Ok(Err((None, Finding::NotToItsEnd))),
    };
    if look.is_none_or(|look| has_changed(&file, look)) {
        return Ok(Err((Some(digest), Finding::ChangedMeanwhile)));
    }
    Ok(Ok(digest))
}

/// Adds every entry of footage, and notes what is left of those that break.
fn add_footage<S: Sink>(
    contents: &mut Contents,
    packer: &mut Packer<S>,
    on_broken: OnBroken,
    on_step: impl FnMut(Step<'_>) -> Result<(), Stop>,
) -> Result<(), ArchiveError> {
    let mut adding = Adding {
        packer,
        roots: &contents.roots,
        on_step,
        files_done: 0,
        bytes_done: 0,
    };
    for camera in &mut contents.cameras {
        let segments = Arc::clone(&camera.part.segments);
        for (number, segment) in segments.iter().enumerate() {
            let Some(entry) = camera.entry(number, segment) else {
                continue;
            };
            let FootageEntry {
                name,
                modified,
                size_bytes,
                from,
            } = entry;
            let head = EntryHead {
                name: &name,
                modified,
                size_bytes,
            };
            let segment = match from {
                From::Cut(cut) => {
                    adding.cut(&head, cut)?;
                    continue;
                }
                From::Recording(segment) => segment,
            };
            let broken = adding.recording(&head, &camera.part.held, number, &segment)?;
            if let Some(broken) = broken {
                if on_broken == OnBroken::Fail {
                    return Err(ArchiveError::Incomplete {
                        kind: broken.finding.kind(),
                        message: broken.finding.message(&segment, None),
                    });
                }
                let lost = size_bytes - broken.size_bytes.unwrap_or(0);
                camera.size_bytes -= lost;
                camera.segment_count -= u64::from(broken.size_bytes.is_none());
                contents.source_bytes -= lost;
                camera.broken.insert(number, broken);
            }
            // The file is no longer needed, and another archive may need its place.
            camera.part.held.release(number);
        }
        for (name, cut) in &camera.clips {
            let head = EntryHead {
                name,
                modified: cut.outcome.delivered.end(),
                size_bytes: cut.outcome.size_bytes,
            };
            adding.cut(&head, cut)?;
        }
    }
    Ok(())
}

/// Entries on their way into the zip.
struct Adding<'a, S: Sink, F> {
    packer: &'a mut Packer<S>,
    roots: &'a Roots,
    on_step: F,
    files_done: u64,
    bytes_done: u64,
}

impl<S: Sink, F: FnMut(Step<'_>) -> Result<(), Stop>> Adding<'_, S, F> {
    fn file(&mut self, head: &EntryHead<'_>, file: &File) -> Result<Added, ArchiveError> {
        let (on_step, files_done) = (&mut self.on_step, self.files_done);
        let bytes_done = &mut self.bytes_done;
        let added = self.packer.add_file(head, file, |count: u64| {
            *bytes_done += count;
            on_step(Step {
                files_done,
                bytes_done: *bytes_done,
                entry: head.name,
            })
        })?;
        self.files_done += 1;
        Ok(added)
    }

    fn cut(&mut self, head: &EntryHead<'_>, cut: &Cut) -> Result<(), ArchiveError> {
        match self.file(head, &cut.file)?.cut_short {
            // A cut is ours: that it cannot be read is a fault of this machine, not of a recording.
            Some(error) => Err(ArchiveError::Folder(error)),
            None => Ok(()),
        }
    }

    /// Adds a recording; what is left of it when it broke.
    fn recording(
        &mut self,
        head: &EntryHead<'_>,
        held: &Held,
        number: usize,
        segment: &ArchiveSegment,
    ) -> Result<Option<Broken>, ArchiveError> {
        // Only a file for which there was no place at the start can be gone now.
        let opened = held.file(number, segment, self.roots);
        let Ok(file) = opened.map_err(ArchiveError::Machine)? else {
            self.files_done += 1;
            return Ok(Some(Broken {
                finding: Finding::Gone,
                size_bytes: None,
            }));
        };
        let added = self.file(head, &file)?;
        let has_changed = held
            .look(number, segment)
            .is_none_or(|look| has_changed(&file, look));
        let finding = match added.cut_short {
            Some(_) => Some(Finding::NotToItsEnd),
            None if has_changed => Some(Finding::ChangedMeanwhile),
            None => None,
        };
        Ok(finding.map(|finding| Broken {
            finding,
            size_bytes: Some(added.size_bytes),
        }))
    }
}

/// Adds what is said about the footage, and ends the zip.
fn seal_zip<S: Sink>(
    contents: &Contents,
    cut_digests: &[Sha256],
    seal: Seal<'_>,
    mut packer: Packer<S>,
) -> Result<(S, Packed), ArchiveError> {
    let digests = packer.digests().map_err(ArchiveError::Folder)?;
    let modified = contents.newest();
    let head = |name| EntryHead {
        name,
        modified,
        size_bytes: 0,
    };
    packer.add_written(&head(MANIFEST), |out| {
        write_manifest(contents, seal, &digests, cut_digests, out)
    })?;
    let readme = readme(seal.key.fingerprint());
    packer.add_written(&head(README), |out| out.write_all(readme.as_bytes()))?;
    let signers = seal.key.allowed_signers();
    packer.add_written(&head(ALLOWED_SIGNERS), |out| {
        out.write_all(signers.as_bytes())
    })?;

    let mut about = Vec::new();
    for name in [MANIFEST, README, ALLOWED_SIGNERS] {
        let digest = packer.next_digest().map_err(ArchiveError::Folder)?;
        about.push((digest, name));
    }
    let mut signed = Hashing512::default();
    packer.add_written(&head(SUMS_NAME), |out| {
        let mut line = String::new();
        let mut add = |digest: &Sha256, name: &str| {
            line.clear();
            sums_line(&mut line, digest, name);
            signed.update(line.as_bytes());
            out.write_all(line.as_bytes())
        };
        for ((_, entry), digest) in contents.entries().zip(&digests) {
            add(digest, &entry.name)?;
        }
        for (digest, name) in &about {
            add(digest, name)?;
        }
        Ok(())
    })?;
    let signature = seal
        .key
        .sign_hashed(&signed.finish())
        .map_err(ArchiveError::Sign)?;
    packer.add_written(&head(SIGNATURE_NAME), |out| {
        out.write_all(signature.as_bytes())
    })?;
    // They are no part of what the directory is made from.
    drop(digests);
    Ok(packer.finish()?)
}

fn write_manifest<'d>(
    contents: &Contents,
    seal: Seal<'_>,
    digests: impl IntoIterator<Item = &'d Sha256>,
    cut_digests: impl IntoIterator<Item = &'d Sha256>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let camera_of = |index: usize| &contents.cameras[index].part.camera_id;
    let cut = contents
        .cameras
        .iter()
        .flat_map(Camera::cut_entries)
        .map(|(camera_id, name, outcome)| ManifestCut {
            entry: name,
            camera_id,
            delivered: outcome.delivered,
            size_bytes: outcome.size_bytes,
            sha256: outcome.sha256,
            hidden_lead: outcome.hidden_lead,
            engine: &outcome.engine,
            segment_ids: &outcome.segment_ids,
        })
        .collect();
    let cameras = contents
        .cameras
        .iter()
        .map(|camera| ManifestCamera {
            camera_id: &camera.part.camera_id,
            display_name: &camera.part.display_name,
            delivered: camera.delivered,
            covered_us: camera.covered_us,
            segment_count: camera.segment_count,
            gaps: &camera.gaps,
        })
        .collect();
    let manifest = Manifest {
        host: seal.host,
        content: &contents.content,
        delivered: contents.delivered,
        cameras,
        cut,
        signing_key: seal.key.fingerprint(),
    };
    let whole = contents
        .entries()
        .zip(digests)
        .filter_map(|((camera, entry), digest)| match entry.from {
            From::Recording(segment) => Some(ManifestSource {
                camera_id: camera_of(camera),
                segment: *segment,
                entry: Some(entry.name),
                size_bytes: entry.size_bytes,
                sha256: *digest,
            }),
            From::Cut(_) => None,
        });
    let cut_from = contents
        .cut_sources()
        .zip(cut_digests)
        .map(|((camera, source), digest)| ManifestSource {
            camera_id: camera_of(camera),
            segment: source.segment,
            entry: None,
            size_bytes: source.size_bytes,
            sha256: *digest,
        });
    manifest.write(out, contents.faults(), whole.chain(cut_from))
}

struct Counter<'a> {
    bytes: u64,
    cancel: &'a CancellationToken,
}

impl Write for Counter<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        still_wanted(self.cancel)?;
        self.bytes += data.len() as u64;
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

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    impl Sink for Nowhere {
        fn put(&mut self, _: &Bytes) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_is_taken_or_counted_any_more_once_the_work_is_cancelled() {
        let cancel = CancellationToken::new();
        let mut sink = UntilCancelled {
            sink: Nowhere,
            cancel: &cancel,
        };
        let mut counter = Counter {
            bytes: 0,
            cancel: &cancel,
        };
        sink.put(&Bytes::from_static(b"abc"))
            .expect("not cancelled");
        counter.write_all(b"abc").expect("not cancelled");
        cancel.cancel();
        assert!(sink.put(&Bytes::from_static(b"def")).is_err());
        assert!(counter.write_all(b"def").is_err());
        assert_eq!(counter.bytes, 3);
    }
}
