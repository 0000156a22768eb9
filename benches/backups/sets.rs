//! The footage that is sent: many small files, and some large ones.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::{DateTime, TimeDelta};

use crate::server::age;

const SEGMENT_S: i64 = 10;
const FIRST_S: i64 = 1_790_000_000;
/// Header of a box: length and type.
const HEADER_BYTES: u64 = 8;

/// Files of one size, those of one camera.
pub struct Set {
    pub camera: &'static str,
    pub folder: PathBuf,
    pub file_bytes: u64,
    pub files: Vec<PathBuf>,
    /// How many are enough to tell what one by one takes.
    pub few: usize,
}

/// Makes both sets below a folder, as a Heldar recorder leaves them.
pub fn make(recordings: &Path) -> [Set; 2] {
    [
        set(recordings, "gate_a_01", 500, 200 << 10, "130k", 20),
        set(recordings, "gate_a_02", 40, 20 << 20, "15M", 4),
    ]
}

/// Makes files that are all different and all footage: one recording, and behind it a box that players skip, with the
/// number of the file and as many bytes as are missing.
fn set(
    recordings: &Path,
    camera: &'static str,
    count: usize,
    file_bytes: u64,
    bit_rate: &str,
    few: usize,
) -> Set {
    let folder = recordings.join(camera);
    std::fs::create_dir_all(&folder).unwrap();
    let encoded = recordings.with_file_name("encoded.mp4");
    encode(&encoded, bit_rate);
    let footage = std::fs::read(&encoded).unwrap();
    std::fs::remove_file(encoded).unwrap();
    let filling = file_bytes
        .checked_sub(footage.len() as u64 + HEADER_BYTES)
        .expect("the bit rate leaves room for the box");
    let first = DateTime::from_timestamp(FIRST_S, 0).unwrap();
    let files = (0..count)
        .map(|number| {
            let start = first + TimeDelta::seconds(SEGMENT_S * i64::try_from(number).unwrap());
            let path = folder.join(start.format("%Y%m%d_%H%M%S.mp4").to_string());
            let mut file = std::fs::File::create(&path).unwrap();
            file.write_all(&footage).unwrap();
            let length = u32::try_from(HEADER_BYTES + filling).unwrap();
            file.write_all(&length.to_be_bytes()).unwrap();
            file.write_all(b"free").unwrap();
            let word = format!("{number:08}");
            let filling = word.bytes().cycle().take(usize::try_from(filling).unwrap());
            file.write_all(&filling.collect::<Vec<_>>()).unwrap();
            drop(file);
            age(&path);
            path
        })
        .collect();
    Set {
        camera,
        folder,
        file_bytes,
        files,
        few,
    }
}

fn encode(to: &Path, bit_rate: &str) {
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i"])
        .arg("testsrc2=size=640x360:rate=10")
        .args(["-t", &SEGMENT_S.to_string(), "-pix_fmt", "yuv420p"])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "20"])
        .args(["-b:v", bit_rate, "-minrate", bit_rate])
        .args(["-maxrate", bit_rate, "-bufsize", bit_rate])
        .args(["-x264-params", "nal-hrd=cbr"])
        .arg(to)
        .status()
        .unwrap();
    assert!(status.success());
}
