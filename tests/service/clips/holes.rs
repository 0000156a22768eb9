//! Recordings that are large and take no room: what was recorded, with holes in it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use heldar_footage::media::mp4::{Sample, SourceIndex, Track};

use super::*;

/// Where the holes are.
#[derive(Clone, Copy, Default)]
pub(super) struct Holes {
    /// Bytes in front of the media.
    pub(super) lead_bytes: u64,
    /// Bytes behind each picture: a NAL unit of filler data, which decoders skip. 0 for none.
    pub(super) filler_bytes: u32,
}

/// In front of a NAL unit of filler data stands its length; its first byte says what it is (ITU-T H.264, table 7-1).
const FILLER_TYPE: u8 = 12;

/// Writes a progressive recording of H.264 once more, as if it had been written long ago.
pub(super) fn write(recorded: &Path, target: &Path, holes: Holes) {
    let bytes = std::fs::read(recorded).unwrap();
    let index = SourceIndex::read(&File::open(recorded).unwrap()).unwrap();
    // ffmpeg numbers the tracks in the order in which they stand in the file.
    let mut tracks: Vec<&Track> = std::iter::once(&index.video).chain(&index.audio).collect();
    tracks.sort_by_key(|track| track.id);
    let mut order: Vec<(Sample, usize)> = (0..)
        .zip(&tracks)
        .flat_map(|(at, track)| track.samples.iter().map(move |sample| (*sample, at)))
        .collect();
    order.sort_by_key(|(sample, _)| sample.offset);

    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    let file = File::create(target).unwrap();
    let file_type = whole_box(&bytes, b"ftyp");
    file.write_all_at(file_type, 0).unwrap();
    let begin = file_type.len() as u64;
    let mut at = begin + 16 + holes.lead_bytes;
    let mut tables: Vec<Vec<(u32, u64)>> = vec![Vec::new(); tracks.len()];
    for (sample, track) in order {
        let media = &bytes[sample.offset as usize..][..sample.size as usize];
        file.write_all_at(media, at).unwrap();
        let is_picture = tracks[track].id == index.video.id;
        let filler_bytes = if is_picture { holes.filler_bytes } else { 0 };
        if filler_bytes > 0 {
            let length = (filler_bytes - 4).to_be_bytes();
            let head = [length.as_slice(), &[FILLER_TYPE]].concat();
            file.write_all_at(&head, at + media.len() as u64).unwrap();
        }
        tables[track].push((sample.size + filler_bytes, at));
        at += u64::from(sample.size + filler_bytes);
    }
    let media_head = [b"\0\0\0\x01mdat".as_slice(), &(at - begin).to_be_bytes()].concat();
    file.write_all_at(&media_head, begin).unwrap();
    let header = &whole_box(&bytes, b"moov")[8..];
    let header = boxed(b"moov", &rewritten(header, &mut tables.iter()));
    file.write_all_at(&header, at).unwrap();
    age(target);
}

fn boxes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let size = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let (first, others) = rest.split_at(size);
        rest = others;
        Some(first)
    })
}

fn whole_box<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> &'a [u8] {
    let found = boxes(bytes).find(|found| &found[4..8] == kind);
    found.expect("ffmpeg writes one")
}

fn boxed(kind: &[u8], payload: &[u8]) -> Vec<u8> {
    let size = (payload.len() as u32 + 8).to_be_bytes();
    [&size, kind, payload].concat()
}

/// The boxes of a movie header with other tables: every sample is a chunk of its own, with a position of 64 bits.
fn rewritten<'a>(
    bytes: &[u8],
    tables: &mut (impl Iterator<Item = &'a Vec<(u32, u64)>> + Clone),
) -> Vec<u8> {
    let mut written = Vec::new();
    for found in boxes(bytes) {
        let (kind, payload) = (&found[4..8], &found[8..]);
        let table = || tables.clone().next().expect("a table for each track");
        let count = || (table().len() as u32).to_be_bytes();
        match kind {
            b"moov" | b"mdia" | b"minf" | b"stbl" => {
                written.extend(boxed(kind, &rewritten(payload, tables)));
            }
            b"trak" => {
                written.extend(boxed(kind, &rewritten(payload, tables)));
                tables.next();
            }
            b"stsz" => {
                let sizes = table().iter().flat_map(|(size, _)| size.to_be_bytes());
                let sizes: Vec<u8> = sizes.collect();
                written.extend(boxed(kind, &[&[0; 8], &count()[..], &sizes].concat()));
            }
            b"stsc" => {
                let one = 1u32.to_be_bytes();
                written.extend(boxed(kind, &[[0; 4], one, one, one, one].concat()));
            }
            b"stco" | b"co64" => {
                let places = table().iter().flat_map(|(_, place)| place.to_be_bytes());
                let places: Vec<u8> = places.collect();
                written.extend(boxed(b"co64", &[&[0; 4], &count()[..], &places].concat()));
            }
            _ => written.extend(found),
        }
    }
    written
}
