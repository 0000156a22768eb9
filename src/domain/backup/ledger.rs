//! The copy of the ledger that lies at the destination: files of lines, each written once and never changed.
//!
//! A file is JSON Lines: a head with the format, one line per object that was stored or removed, and an end with the
//! number of lines, so that a file which was cut off is told from a whole one. All files together are the ledger; of
//! two lines about the same path the later one holds.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::naming::OWN_FOLDER;
use super::object::BackupObject;
use crate::domain::time::TimeRange;

/// Lines of one file at most.
pub const LINES_MAX: usize = 10_000;

/// Bytes of one file at most.
pub const FILE_BYTES_MAX: usize = 32 << 20;

const FORMAT: &str = "heldar-footage ledger";
const VERSION: u32 = 1;

/// Folder of the ledger's files at the destination.
pub fn folder() -> String {
    format!("{OWN_FOLDER}/ledger")
}

/// Path of a file that a job writes at `now`; `number` counts its files.
pub fn path(now: DateTime<Utc>, job_id: &str, number: usize) -> String {
    let time = now.format("%Y%m%dT%H%M%S%.6fZ");
    format!("{}/{time}_{job_id}_{number}.jsonl", folder())
}

/// One line: an object that was stored at the destination, or removed from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerLine {
    /// When this was said: of two lines about the same path the later one holds.
    pub time: DateTime<Utc>,
    /// True: the object was removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Path at the destination.
    pub path: String,
    /// The segment.
    pub segment_id: String,
    /// Its camera.
    pub camera_id: String,
    /// First instant of its footage.
    pub start_time: DateTime<Utc>,
    /// First instant after its footage.
    pub end_time: DateTime<Utc>,
    /// How far after `start_time` the footage may really begin, microseconds.
    #[serde(default)]
    pub start_accuracy_us: i64,
    /// Size of the file.
    pub size_bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Modification time of the recorder's file.
    pub modified_time: DateTime<Utc>,
}

impl LedgerLine {
    /// Says at `time` that an object is there.
    pub fn stored(object: &BackupObject, time: DateTime<Utc>) -> Self {
        Self {
            time,
            removed: false,
            path: object.remote_path.clone(),
            segment_id: object.segment_id.clone(),
            camera_id: object.camera_id.to_string(),
            start_time: object.window.start(),
            end_time: object.window.end(),
            start_accuracy_us: object.start_accuracy.num_microseconds().unwrap_or(0),
            size_bytes: object.size_bytes,
            sha256: object.sha256.clone(),
            modified_time: object.source_modified_time,
        }
    }

    /// Says at `time` that an object is removed.
    pub fn removed(object: &BackupObject, time: DateTime<Utc>) -> Self {
        Self {
            removed: true,
            ..Self::stored(object, time)
        }
    }

    /// The footage it covers; `None` when the times are reversed.
    pub fn window(&self) -> Option<TimeRange> {
        TimeRange::new(self.start_time, self.end_time)
    }

    /// How far after its start the footage may really begin.
    pub fn start_accuracy(&self) -> TimeDelta {
        TimeDelta::microseconds(self.start_accuracy_us.max(0))
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    job_id: String,
    time: String,
}

#[derive(Serialize, Deserialize)]
struct End {
    lines: usize,
}

/// Why bytes are not a file of a ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// It begins with something else.
    #[error("it is no file of a ledger")]
    Format,
    /// A newer version of the service wrote it.
    #[error("a newer version of the service wrote it (form {0})")]
    Version(u32),
    /// A line cannot be read.
    #[error("line {0} cannot be read")]
    Line(usize),
    /// It was cut off.
    #[error("it was cut off")]
    CutOff,
}

/// The bytes of a file with these lines.
pub fn write(job_id: &str, now: DateTime<Utc>, lines: &[LedgerLine]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let head = Head {
        format: FORMAT.to_owned(),
        version: VERSION,
        job_id: job_id.to_owned(),
        time: now.to_rfc3339_opts(SecondsFormat::Micros, true),
    };
    let end = End { lines: lines.len() };
    push(&mut bytes, &head);
    for line in lines {
        push(&mut bytes, line);
    }
    push(&mut bytes, &end);
    bytes
}

fn push(bytes: &mut Vec<u8>, line: &impl Serialize) {
    // Plain structs of text and numbers always become JSON, and a vector takes everything.
    let _ = serde_json::to_writer(&mut *bytes, line);
    bytes.push(b'\n');
}

/// The lines of a file.
///
/// # Errors
/// [`LedgerError`]: the file is not used at all then.
pub fn read(bytes: &[u8]) -> Result<Vec<LedgerLine>, LedgerError> {
    let Some(bytes) = bytes.strip_suffix(b"\n") else {
        return Err(LedgerError::CutOff);
    };
    let mut texts = bytes.split(|byte| *byte == b'\n');
    let head = texts.next().ok_or(LedgerError::Format)?;
    let head: Head = serde_json::from_slice(head).map_err(|_| LedgerError::Format)?;
    if head.format != FORMAT {
        return Err(LedgerError::Format);
    }
    if head.version != VERSION {
        return Err(LedgerError::Version(head.version));
    }
    let mut lines = Vec::new();
    let mut texts = texts.enumerate().peekable();
    while let Some((at, text)) = texts.next() {
        if texts.peek().is_none() {
            return match serde_json::from_slice::<End>(text) {
                Ok(end) if end.lines == lines.len() => Ok(lines),
                _ => Err(LedgerError::CutOff),
            };
        }
        lines.push(serde_json::from_slice(text).map_err(|_| LedgerError::Line(at + 2))?);
    }
    Err(LedgerError::CutOff)
}

/// What the lines of all files say is at the destination, by path.
#[derive(Debug, Default)]
pub struct LedgerCopy {
    by_path: BTreeMap<String, LedgerLine>,
    /// Files that could not be read and whose lines are not here.
    pub files_left_out: usize,
}

impl LedgerCopy {
    /// Adds the lines of a file; files may come in any order.
    pub fn add(&mut self, lines: Vec<LedgerLine>) {
        for line in lines {
            match self.by_path.get(&line.path) {
                // At the same moment a removal is the later one: it needs something to remove.
                Some(known) if (known.time, known.removed) >= (line.time, line.removed) => {}
                _ => {
                    self.by_path.insert(line.path.clone(), line);
                }
            }
        }
    }

    /// Whether no line was read, not even of an object that was removed.
    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }

    /// The objects that are there, in order of path.
    pub fn objects(&self) -> impl Iterator<Item = &LedgerLine> + Clone {
        self.by_path.values().filter(|line| !line.removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_341_600 + seconds, 5_000).expect("in range")
    }

    fn line(path: &str, time: i64, removed: bool) -> LedgerLine {
        LedgerLine {
            time: at(time),
            removed,
            path: path.to_owned(),
            segment_id: "seg_1".to_owned(),
            camera_id: "gate".to_owned(),
            start_time: at(0),
            end_time: at(10),
            start_accuracy_us: 1_000_000,
            size_bytes: 7,
            sha256: "00".repeat(32),
            modified_time: at(11),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let lines = vec![line("gate/a.mp4", 1, false), line("gate/b.mp4", 2, true)];
        assert_eq!(read(&write("bkj_1", at(3), &lines)), Ok(lines));
        assert_eq!(read(&write("bkj_1", at(3), &[])), Ok(Vec::new()));
    }

    #[test]
    fn a_file_that_was_cut_off_anywhere_is_not_read() {
        let whole = write("bkj_1", at(3), &[line("gate/a.mp4", 1, false)]);
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn other_files_and_newer_forms_are_told_apart() {
        assert_eq!(read(b"hello\n"), Err(LedgerError::Format));
        let newer = b"{\"format\":\"heldar-footage ledger\",\"version\":2,\"job_id\":\"\",\"time\":\"\"}\n{\"lines\":0}\n";
        assert_eq!(read(newer), Err(LedgerError::Version(2)));
        let mut odd = write("bkj_1", at(3), &[]);
        let end = odd.len() - "{\"lines\":0}\n".len();
        odd.splice(end..end, *b"{}\n");
        assert_eq!(read(&odd), Err(LedgerError::Line(2)));
    }

    #[test]
    fn the_later_line_holds_whatever_the_order_of_the_files() {
        let (stored, removed) = (line("gate/a.mp4", 1, false), line("gate/a.mp4", 2, true));
        for order in [
            [stored.clone(), removed.clone()],
            [removed.clone(), stored.clone()],
        ] {
            let mut copy = LedgerCopy::default();
            for line in order {
                copy.add(vec![line]);
            }
            assert_eq!(copy.objects().count(), 0);
        }
        let mut copy = LedgerCopy::default();
        copy.add(vec![removed]);
        copy.add(vec![line("gate/a.mp4", 3, false)]);
        assert_eq!(copy.objects().count(), 1);
    }
}
