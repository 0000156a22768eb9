//! Hashing a clip while ffmpeg still writes it, where a hash is wanted.
//!
//! SHA-256 takes longer than the copy on processors without instructions for it, so it must not wait for
//! the end. The header is in front and ours to write last, but it can be foreseen: ffmpeg writes the samples
//! in the order in which they are needed. The follower hashes the header that will be there, then the
//! media as it appears. When ffmpeg is done the file is measured as ever; only if it is byte for byte what was
//! foreseen does the hash stand, else it is computed again. The disk is told to begin with what was hashed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::finish::padded;
use super::interleave::{Places, by_need, media_bytes};
use super::movie::{self, Label, Times};
use super::plan::Plan;
use crate::disk::Writeback;
use crate::hashing::{Hasher, Sha256};

/// How often the growing file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const BUFFER_BYTES: usize = 256 << 10;

/// Tells who follows a file that it will not grow any more.
#[derive(Clone, Default)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.set();
    }
}

/// What the follower foresaw.
pub(super) struct Foreseen {
    /// Everything in front of the media.
    pub(super) head: Vec<u8>,
    /// If it was asked for.
    pub(super) sha256: Option<Sha256>,
    pub(super) size_bytes: u64,
}

/// What is done with the file.
#[derive(Clone, Copy)]
pub(super) struct FollowOptions {
    pub(super) is_durable: bool,
    pub(super) hashes: bool,
}

/// The thread that works on the file while ffmpeg writes it. Dropping it stops that.
pub(super) struct Follower {
    stop: Stop,
    hashing: Option<tokio::task::JoinHandle<io::Result<Option<Foreseen>>>>,
}

impl Follower {
    /// Follows the file at `path`, in which ffmpeg reserves `room_bytes` for the header.
    pub(super) fn start(
        path: &Path,
        plan: &Arc<Plan>,
        with_sound: bool,
        label: Label,
        room_bytes: usize,
        options: FollowOptions,
    ) -> io::Result<Self> {
        let file = File::open(path)?;
        let stop = Stop::default();
        let hashing = tokio::task::spawn_blocking({
            let (stop, plan) = (stop.clone(), Arc::clone(plan));
            move || hash_growing(&file, &stop, &plan, with_sound, &label, room_bytes, options)
        });
        Ok(Self {
            stop,
            hashing: Some(hashing),
        })
    }

    /// Waits for the hash; the file is complete. `None` when it is not what was foreseen.
    pub(super) async fn finish(mut self) -> Option<Foreseen> {
        let hashing = self.hashing.take()?;
        self.stop.set();
        match hashing.await {
            Ok(Ok(foreseen)) => foreseen,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a growing clip could not be hashed");
                None
            }
            Err(_) => None,
        }
    }
}

fn hash_growing(
    file: &File,
    stop: &Stop,
    plan: &Plan,
    with_sound: bool,
    label: &Label,
    room_bytes: usize,
    options: FollowOptions,
) -> io::Result<Option<Foreseen>> {
    let mut growing = Growing {
        file,
        stop,
        length: 0,
    };
    let Some(head) = foresee_head(&mut growing, plan, with_sound, label, room_bytes)? else {
        return Ok(None);
    };
    let mut writeback = options.is_durable.then(Writeback::default);
    let mut hasher = options.hashes.then(Hasher::default);
    if let Some(hasher) = &mut hasher {
        hasher.update(&head);
    }
    let mut at = head.len() as u64;
    let size_bytes = at + media_bytes(plan, with_sound);
    let mut buffer = vec![0; BUFFER_BYTES];
    while at < size_bytes {
        let available = growing.at_least(at + 1)?.min(size_bytes);
        if available <= at {
            return Ok(None);
        }
        if let Some(hasher) = &mut hasher {
            let part = &mut buffer[..(available - at).min(BUFFER_BYTES as u64) as usize];
            file.read_exact_at(part, at)?;
            hasher.update(part);
            at += part.len() as u64;
        } else {
            at = available;
        }
        if let Some(writeback) = &mut writeback {
            writeback.written_to(file, at);
        }
    }
    Ok(Some(Foreseen {
        head,
        sha256: hasher.map(Hasher::finish),
        size_bytes,
    }))
}

struct Growing<'a> {
    file: &'a File,
    stop: &'a Stop,
    length: u64,
}

impl Growing<'_> {
    /// The length of the file once it is at least `wanted`, or its final length if that is less.
    fn at_least(&mut self, wanted: u64) -> io::Result<u64> {
        while self.length < wanted {
            // Asked in this order, the length is final when the stop was set before.
            let stopped = self.stop.is_set();
            self.length = self.file.metadata()?.len();
            if stopped {
                break;
            }
            if self.length < wanted {
                std::thread::sleep(LOOK_EVERY);
            }
        }
        Ok(self.length)
    }
}

/// All bytes in front of the media as they will stand in the end. `None` when the file does not begin as
/// expected.
fn foresee_head(
    growing: &mut Growing<'_>,
    plan: &Plan,
    with_sound: bool,
    label: &Label,
    room_bytes: usize,
) -> io::Result<Option<Vec<u8>>> {
    if growing.at_least(room_bytes as u64 + 64)? < room_bytes as u64 + 64 {
        return Ok(None);
    }
    let mut first = [0; 8];
    growing.file.read_exact_at(&mut first, 0)?;
    let [a, b, c, d, kind @ ..] = first;
    let type_bytes = u32::from_be_bytes([a, b, c, d]) as usize;
    if &kind != b"ftyp" || !(16..=64).contains(&type_bytes) {
        return Ok(None);
    }
    let mut head = vec![0; type_bytes];
    growing.file.read_exact_at(&mut head, 0)?;
    // ffmpeg leaves eight bytes free in front of the media for a size of 64 bits.
    let media_size = media_bytes(plan, with_sound);
    let media_header: Vec<u8> = match u32::try_from(media_size + 8) {
        Ok(size) => [&size.to_be_bytes(), b"mdat".as_slice()].concat(),
        Err(_) => return Ok(None),
    };
    let room = room_bytes + 8;
    let media_start = (type_bytes + room + media_header.len()) as u64;
    let (mut places, _) = Places::of(plan, by_need(plan, with_sound));
    places.move_back(media_start);
    let tracks = super::feed::placed(plan, with_sound, &places.video, &places.sound);
    let Ok(moov) = movie::encode(&tracks, Times::Shown, Some(label)) else {
        return Ok(None);
    };
    let Some(moov) = padded(moov, room) else {
        return Ok(None);
    };
    head.extend_from_slice(&moov);
    head.extend_from_slice(&media_header);
    Ok(Some(head))
}
