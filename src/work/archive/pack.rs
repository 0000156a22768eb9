//! Packing the contents of an archive into a sink, and saying what was packed.

mod about;
mod cut_sources;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use self::about::seal_zip;
pub(super) use self::about::{entry_count, size};
use self::cut_sources::{ToHash, hash_cut_sources};
use super::ArchiveError;
use super::contents::{Broken, Contents, FootageEntry, From};
use super::cuts::Cut;
use super::hold::{Finding, Held, go_on, has_changed};
use crate::domain::archive::ArchiveSegment;
use crate::packing::{Added, EntryHead, PackError, Packed, Packer, SigningKey, Sink, Stop};
use crate::work::roots::Roots;

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
    use std::io::Write as _;

    use super::about::Counter;
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
