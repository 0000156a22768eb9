//! Sample entries: which codec a track holds and what its decoder must be told.

use sha2::{Digest, Sha256};
use shiguredo_mp4::Decode;
use shiguredo_mp4::boxes::{AvccBox, EsdsBox, HvccBox};

use super::bytes::{Child, Children, FourCc, malformed};
use super::top_level::ReadError;

/// Length of the fixed part of a visual sample entry (section 12.1.3), before its boxes.
const VISUAL_FIXED_BYTES: usize = 78;
/// Length of the fixed part of an audio sample entry (section 12.2.3).
const AUDIO_FIXED_BYTES: usize = 28;

/// Stands for everything a decoder must be told before the first sample. Two files with the same
/// fingerprint can be joined; what changes from file to file without meaning to a decoder (bit rates,
/// the order of optional boxes) does not enter it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// 32 lower-case hexadecimal digits, as the catalog keeps it.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        Self(short)
    }
}

/// A sample entry (section 8.5.2) as it stands in the file, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleEntry {
    /// Box type, for example `avc1`.
    pub four_cc: [u8; 4],
    /// Codec name in ffmpeg's spelling where there is one: `h264`, `hevc`, `aac`.
    pub codec: String,
    /// What must be equal for two tracks to be joined.
    pub fingerprint: Fingerprint,
    /// Coded width in pixels; 0 for sound.
    pub width: u16,
    /// Coded height in pixels; 0 for sound.
    pub height: u16,
    /// Samples a second; 0 for video.
    pub sample_rate_hz: u32,
    /// Sound channels; 0 for video.
    pub channels: u16,
    /// Length of the prefix before each NAL unit, for H.264 and H.265.
    pub nal_length_bytes: Option<u8>,
    /// The whole box, byte for byte.
    pub(crate) bytes: Vec<u8>,
    /// Whether this is a QuickTime sound entry (version 1 or 2), which has no place in an MP4.
    pub(crate) quicktime_sound: bool,
}

impl SampleEntry {
    pub(super) fn read_video(entry: Child<'_>) -> Result<Self, ReadError> {
        let mut fields = entry.fields();
        fields.skip(24)?;
        let width = fields.u16()?;
        let height = fields.u16()?;
        let boxes = entry
            .payload
            .get(VISUAL_FIXED_BYTES..)
            .ok_or_else(|| malformed(entry.kind, "ends inside a field"))?;
        let config = VideoConfig::read(entry.kind, boxes)?;
        let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
        let mut parts: Vec<&[u8]> = vec![&entry.kind, &size];
        parts.extend(config.parts.iter().map(Vec::as_slice));
        Ok(Self {
            four_cc: entry.kind,
            codec: video_codec(entry.kind),
            fingerprint: Fingerprint::of(&parts),
            width,
            height,
            sample_rate_hz: 0,
            channels: 0,
            nal_length_bytes: config.nal_length_bytes,
            bytes: with_narrow_size(entry),
            quicktime_sound: false,
        })
    }

    pub(super) fn read_sound(entry: Child<'_>) -> Result<Self, ReadError> {
        let mut fields = entry.fields();
        fields.skip(8)?;
        let version = fields.u16()?;
        fields.skip(6)?;
        let stated_channels = fields.u16()?;
        fields.skip(6)?;
        let sample_rate_hz = fields.u32()? >> 16;
        // QuickTime File Format, "Sound sample description": versions 1 and 2 have more fixed fields.
        let fixed = match version {
            1 => AUDIO_FIXED_BYTES + 16,
            2 => AUDIO_FIXED_BYTES + 36,
            _ => AUDIO_FIXED_BYTES,
        };
        let boxes = entry.payload.get(fixed..).unwrap_or_default();
        let (codec, config) = sound_config(entry.kind, boxes);
        // The entry of MP4 states two channels whatever the sound has; AAC says itself how many there are.
        let channels = match config.split_first() {
            Some((0x40, aac)) if &entry.kind == b"mp4a" => aac_channels(aac),
            _ => None,
        }
        .unwrap_or(stated_channels);
        let shape = [
            stated_channels.to_be_bytes().as_slice(),
            &sample_rate_hz.to_be_bytes(),
        ]
        .concat();
        Ok(Self {
            four_cc: entry.kind,
            codec,
            fingerprint: Fingerprint::of(&[&entry.kind, &shape, &config]),
            width: 0,
            height: 0,
            sample_rate_hz,
            channels,
            nal_length_bytes: None,
            bytes: with_narrow_size(entry),
            quicktime_sound: version != 0,
        })
    }
}

/// The whole box with a size of 32 bits: of those who copy it, none looks for a wider one.
fn with_narrow_size(entry: Child<'_>) -> Vec<u8> {
    const NARROW_HEADER_BYTES: usize = 8;
    if entry.whole.len() - entry.payload.len() == NARROW_HEADER_BYTES {
        return entry.whole.to_vec();
    }
    let size = (entry.payload.len() + NARROW_HEADER_BYTES) as u32;
    [&size.to_be_bytes(), &entry.kind[..], entry.payload].concat()
}

struct VideoConfig {
    parts: Vec<Vec<u8>>,
    nal_length_bytes: Option<u8>,
}

impl VideoConfig {
    /// Only the parameter sets count for H.264 and H.265: recorders differ in how they fill the
    /// optional fields of `avcC` and `hvcC` for the same stream.
    fn read(kind: FourCc, boxes: &[u8]) -> Result<Self, ReadError> {
        let mut other = Vec::new();
        for child in Children::new(boxes, kind) {
            let child = child?;
            match &child.kind {
                b"avcC" => {
                    if let Ok((config, _)) = AvccBox::decode(child.whole) {
                        let length = config.length_size_minus_one.get() + 1;
                        let mut parts = vec![vec![length]];
                        parts.extend(config.sps_list);
                        parts.push(b"pps".to_vec());
                        parts.extend(config.pps_list);
                        return Ok(Self {
                            parts,
                            nal_length_bytes: Some(length),
                        });
                    }
                    other.push(child.payload.to_vec());
                }
                b"hvcC" => {
                    if let Ok((config, _)) = HvccBox::decode(child.whole) {
                        return Ok(Self::of_hevc(config));
                    }
                    other.push(child.payload.to_vec());
                }
                // Bit rates, pixel shape and colour do not change what the decoder does.
                b"btrt" | b"pasp" | b"colr" | b"fiel" | b"clap" => {}
                _ => other.push(child.whole.to_vec()),
            }
        }
        Ok(Self {
            parts: other,
            nal_length_bytes: None,
        })
    }

    fn of_hevc(config: HvccBox) -> Self {
        /// Video, sequence and picture parameter sets (ITU-T H.265 table 7-1). Encoders also put
        /// a greeting of theirs into `hvcC` as SEI, which does not count.
        const PARAMETER_SETS: std::ops::RangeInclusive<u8> = 32..=34;
        let length = config.length_size_minus_one.get() + 1;
        let mut parts = vec![vec![length]];
        let mut sets: Vec<(u8, Vec<u8>)> = config
            .nalu_arrays
            .into_iter()
            .filter(|array| PARAMETER_SETS.contains(&array.nal_unit_type.get()))
            .flat_map(|array| {
                let kind = array.nal_unit_type.get();
                array.nalus.into_iter().map(move |nal| (kind, nal))
            })
            .collect();
        sets.sort_by_key(|(kind, _)| *kind);
        parts.extend(sets.into_iter().map(|(_, nal)| nal));
        Self {
            parts,
            nal_length_bytes: Some(length),
        }
    }
}

fn video_codec(kind: FourCc) -> String {
    match &kind {
        b"avc1" | b"avc2" | b"avc3" | b"avc4" => "h264",
        b"hvc1" | b"hev1" | b"dvh1" | b"dvhe" => "hevc",
        b"av01" => "av1",
        b"vp08" => "vp8",
        b"vp09" => "vp9",
        b"mp4v" => "mpeg4",
        b"jpeg" | b"mjpa" | b"mjpb" | b"mjpg" => "mjpeg",
        _ => return super::bytes::printable(kind),
    }
    .to_owned()
}

/// The codec name, and the part of the configuration that a decoder depends on.
fn sound_config(kind: FourCc, boxes: &[u8]) -> (String, Vec<u8>) {
    let name = match &kind {
        b"Opus" => "opus",
        b"fLaC" => "flac",
        b"ac-3" => "ac3",
        b"ec-3" => "eac3",
        b"alaw" => "pcm_alaw",
        b"ulaw" => "pcm_mulaw",
        b"sowt" => "pcm_s16le",
        b"twos" => "pcm_s16be",
        b"samr" => "amr_nb",
        b"sawb" => "amr_wb",
        b".mp3" => "mp3",
        b"mp4a" => return mp4a_config(boxes),
        _ => return (super::bytes::printable(kind), boxes.to_vec()),
    };
    let config = Children::new(boxes, kind)
        .filter_map(Result::ok)
        .filter(|child| &child.kind != b"btrt")
        .flat_map(|child| child.whole.to_vec())
        .collect();
    (name.to_owned(), config)
}

/// Channels by an AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1); `None` where it leaves them to the stream.
fn aac_channels(config: &[u8]) -> Option<u16> {
    let mut bytes = [0; 8];
    let length = config.len().min(8);
    bytes[..length].copy_from_slice(&config[..length]);
    let bits = u64::from_be_bytes(bytes);
    let read = |at: u32, count: u32| (bits << at) >> (64 - count);
    // An object type of 31 is followed by six bits of another, a frequency index of 15 by the frequency itself.
    let at_frequency = if read(0, 5) == 31 { 11 } else { 5 };
    let at_channels = at_frequency + if read(at_frequency, 4) == 15 { 28 } else { 4 };
    match read(at_channels, 4) {
        count @ 1..=6 => Some(count as u16),
        7 => Some(8),
        _ => None,
    }
}

/// `mp4a` holds whatever its `esds` says (ISO/IEC 14496-1, object type indications).
fn mp4a_config(boxes: &[u8]) -> (String, Vec<u8>) {
    let direct = Children::new(boxes, *b"mp4a").filter_map(Result::ok);
    // QuickTime wraps `esds` in `wave`.
    let esds = direct
        .flat_map(|child| match &child.kind {
            b"wave" => child.children().filter_map(Result::ok).collect(),
            _ => vec![child],
        })
        .find(|child| &child.kind == b"esds");
    let Some(Ok((config, _))) = esds.map(|esds| EsdsBox::decode(esds.whole)) else {
        return ("aac".to_owned(), boxes.to_vec());
    };
    let decoder = config.es.dec_config_descr;
    let object_type = decoder.object_type_indication;
    let name = match object_type {
        0x40 | 0x66..=0x68 => "aac".to_owned(),
        0x69 | 0x6b => "mp3".to_owned(),
        0xdd => "vorbis".to_owned(),
        other => format!("mp4a.{other:02x}"),
    };
    let mut bytes = vec![object_type];
    bytes.extend(
        decoder
            .dec_specific_info
            .into_iter()
            .flat_map(|info| info.payload),
    );
    (name, bytes)
}
