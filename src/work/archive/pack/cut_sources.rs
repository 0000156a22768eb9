//! Hashes of recordings that are only cut from: the manifest names them, and no entry of the zip has their bytes.

use std::fs::File;
use std::sync::Arc;

use super::OnBroken;
use crate::domain::archive::ArchiveSegment;
use crate::domain::series::Series;
use crate::hashing::Sha256;
use crate::packing::sha256;
use crate::work::archive::ArchiveError;
use crate::work::archive::contents::{Broken, Camera};
use crate::work::archive::hold::{Finding, Look, Looks, has_changed};
use crate::work::roots::Roots;

/// Recordings of a camera that are only cut from.
pub(super) struct ToHash {
    segments: Arc<Series<ArchiveSegment>>,
    looks: Arc<Looks>,
    /// Their numbers, in order, with the files; `None`: it is opened at its turn.
    files: Vec<(u32, Option<Arc<File>>)>,
}

/// What became of recordings that are only cut from.
#[derive(Default)]
pub(super) struct Hashed {
    /// Of those that could be read, in order.
    pub(super) digests: Vec<Sha256>,
    /// Number of the camera, number of the segment, and what is wrong with it.
    pub(super) broken: Vec<(usize, usize, Broken)>,
}

impl ToHash {
    pub(super) fn of(camera: &Camera) -> Self {
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

pub(super) fn hash_cut_sources(
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
