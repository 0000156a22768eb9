//! What an archive says about its footage: the manifest, the hashes, their signature, and how large all of it is.

use std::io::{self, Write};

use tokio_util::sync::CancellationToken;

use super::{Seal, still_wanted};
use crate::hashing::Sha256;
use crate::packing::{
    ALLOWED_SIGNERS, EntryHead, Hashing512, MANIFEST, Manifest, ManifestCamera, ManifestCut,
    ManifestSource, Packed, Packer, README, SIGNATURE_NAME, SUMS_NAME, Sink, ZipSize, readme,
    sums_line, sums_line_bytes,
};
use crate::work::archive::ArchiveError;
use crate::work::archive::contents::{Camera, Contents, From};
use crate::work::archive::hold::go_on;

/// Entries about the archive itself.
const OWN_ENTRIES: u64 = 5;

/// Entries that the zip will have.
pub(in crate::work::archive) fn entry_count(contents: &Contents) -> u64 {
    contents.entry_count() as u64 + OWN_ENTRIES
}

/// The size of the zip, to the byte, if no source breaks.
pub(in crate::work::archive) fn size(
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

/// Adds what is said about the footage, and ends the zip.
pub(super) fn seal_zip<S: Sink>(
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
        .map(|(camera_id, name, outcome)| {
            let unhashed = || io::Error::other("a cut of an archive was not hashed");
            Ok(ManifestCut {
                entry: name,
                camera_id,
                delivered: outcome.delivered,
                size_bytes: outcome.size_bytes,
                sha256: outcome.sha256.ok_or_else(unhashed)?,
                hidden_lead: outcome.hidden_lead,
                engine: &outcome.engine,
                segment_ids: &outcome.segment_ids,
            })
        })
        .collect::<io::Result<_>>()?;
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

pub(super) struct Counter<'a> {
    pub(super) bytes: u64,
    pub(super) cancel: &'a CancellationToken,
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
