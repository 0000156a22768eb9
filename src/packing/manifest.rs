//! `manifest.json`: what was asked for, what is in the archive, where it comes from and what is missing.
//!
//! Its length depends on no hash and no clock, so that the size of an archive is known before its sources are read,
//! and the same input gives the same bytes. Each source is one line; sources, faults and gaps are written as they come,
//! because there may be hundreds of thousands.

use std::cell::RefCell;
use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Serialize, Serializer};

use super::sums::hex;
use crate::domain::archive::{
    ArchiveContent, ArchiveFault, ArchiveFaultKind, ArchiveLayout, ArchiveSegment,
};
use crate::domain::camera::CameraId;
use crate::domain::coverage::{GAP_TOLERANCE, Gap, GapReason};
use crate::domain::series::Series;
use crate::domain::time::TimeRange;
use crate::hashing::Sha256;

/// Version of the form of the manifest. It grows when a field changes its meaning or goes.
const VERSION: u32 = 1;

/// Everything that the manifest says but its faults and sources.
#[derive(Clone, Debug)]
pub struct Manifest<'a> {
    /// Name of the machine.
    pub host: &'a str,
    /// What was asked for.
    pub content: &'a ArchiveContent,
    /// From the first to the last instant over all cameras.
    pub delivered: Option<TimeRange>,
    /// What is there of each camera, with all gaps.
    pub cameras: Vec<ManifestCamera<'a>>,
    /// Entries that were cut from sources.
    pub cut: Vec<ManifestCut<'a>>,
    /// Fingerprint of the key that signs.
    pub signing_key: &'a str,
}

/// What is there of a camera.
#[derive(Clone, Debug)]
pub struct ManifestCamera<'a> {
    /// The camera.
    pub camera_id: &'a CameraId,
    /// Its name for people.
    pub display_name: &'a str,
    /// From its first to its last instant.
    pub delivered: Option<TimeRange>,
    /// How much of that is there, microseconds.
    pub covered_us: i64,
    /// Segments that are there.
    pub segment_count: u64,
    /// All gaps.
    pub gaps: &'a Series<Gap>,
}

/// An entry that was cut from sources.
#[derive(Clone, Debug)]
pub struct ManifestCut<'a> {
    /// The entry.
    pub entry: String,
    /// Its camera.
    pub camera_id: &'a CameraId,
    /// From the first frame shown to the end of the last.
    pub delivered: TimeRange,
    /// Size of the entry.
    pub size_bytes: u64,
    /// SHA-256 of the entry.
    pub sha256: Sha256,
    /// Footage in front of the first frame shown that players hide.
    pub hidden_lead: TimeDelta,
    /// How it was made.
    pub engine: &'a str,
    /// The segments that it shows.
    pub segment_ids: &'a [String],
}

/// One source.
#[derive(Clone, Debug)]
pub struct ManifestSource<'a> {
    /// Its camera.
    pub camera_id: &'a CameraId,
    /// What the catalog says of it.
    pub segment: ArchiveSegment,
    /// The entry that is this file, byte for byte; `None` when it was only cut from.
    pub entry: Option<String>,
    /// Bytes of it that were read.
    pub size_bytes: u64,
    /// SHA-256 of these bytes.
    pub sha256: Sha256,
}

impl Manifest<'_> {
    /// Writes the manifest with all sources that are absent or not whole, and with these sources.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write<'s>(
        &self,
        out: &mut dyn Write,
        faults: impl Iterator<Item = ArchiveFault>,
        sources: impl Iterator<Item = ManifestSource<'s>>,
    ) -> io::Result<()> {
        let mut open = Open {
            out,
            end: Vec::new(),
        };
        let faults = Passing(RefCell::new(faults.map(Fault::of)));
        serde_json::to_writer_pretty(&mut open, &self.head(&faults))?;
        // The sources go into the same object, as its last member.
        out.write_all(b",\n  \"sources\": [")?;
        let mut separator = "\n";
        for source in sources {
            let line = serde_json::to_string(&Source::of(&source))?;
            write!(out, "{separator}    {line}")?;
            separator = ",\n";
        }
        out.write_all(b"\n  ]\n}\n")
    }

    fn head<'h, F: Iterator<Item = Fault>>(&'h self, faults: &'h Passing<F>) -> Head<'h, F> {
        let content = self.content;
        Head {
            format: "heldar-footage archive",
            version: VERSION,
            tool: Tool {
                name: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
            },
            host: self.host,
            case_id: &content.case_id,
            operator: &content.operator,
            reason: &content.reason,
            requested: Requested {
                start_time: content.start.map(text),
                end_time: content.end.map(text),
                camera_ids: &content.camera_ids,
                evidence_only: content.evidence_only,
                trim: content.trim,
                layout: match content.layout {
                    ArchiveLayout::Segments => "segments",
                    ArchiveLayout::Clips => "clips",
                    ArchiveLayout::SegmentsAndClips => "segments and clips",
                },
                all_or_nothing: content.all_or_nothing,
            },
            delivered: self.delivered.map(Window::of),
            gap_tolerance_ms: GAP_TOLERANCE.num_milliseconds(),
            signing_key: self.signing_key,
            cameras: self.cameras.iter().map(Camera::of).collect(),
            faults,
            cut: self.cut.iter().map(Cut::of).collect(),
        }
    }
}

/// What ends an object that is written with line breaks.
const END_BYTES: usize = "\n}".len();

/// Passes an object on but for its end.
struct Open<'a> {
    out: &'a mut dyn Write,
    end: Vec<u8>,
}

impl Write for Open<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.end.extend_from_slice(data);
        let sure = self.end.len().saturating_sub(END_BYTES);
        self.out.write_all(&self.end[..sure])?;
        self.end.drain(..sure);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A list that is written while it is made, once.
struct Passing<I>(RefCell<I>);

impl<I: Iterator<Item: Serialize>> Serialize for Passing<I> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(&mut *self.0.borrow_mut())
    }
}

/// Gaps, each made when it is written.
struct Gaps<'a>(&'a Series<Gap>);

impl Serialize for Gaps<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(Missing::of))
    }
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

#[derive(Serialize)]
#[serde(bound = "")]
struct Head<'a, F: Iterator<Item = Fault>> {
    format: &'static str,
    version: u32,
    tool: Tool,
    host: &'a str,
    case_id: &'a str,
    operator: &'a str,
    reason: &'a str,
    requested: Requested<'a>,
    delivered: Option<Window>,
    gap_tolerance_ms: i64,
    signing_key: &'a str,
    cameras: Vec<Camera<'a>>,
    faults: &'a Passing<F>,
    cut: Vec<Cut<'a>>,
}

#[derive(Serialize)]
struct Tool {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Requested<'a> {
    start_time: Option<String>,
    end_time: Option<String>,
    camera_ids: &'a [CameraId],
    evidence_only: bool,
    trim: bool,
    layout: &'static str,
    all_or_nothing: bool,
}

#[derive(Serialize)]
struct Window {
    start_time: String,
    end_time: String,
}

impl Window {
    fn of(range: TimeRange) -> Self {
        Self {
            start_time: text(range.start()),
            end_time: text(range.end()),
        }
    }
}

#[derive(Serialize)]
struct Camera<'a> {
    camera_id: &'a CameraId,
    display_name: &'a str,
    delivered: Option<Window>,
    covered_s: f64,
    segment_count: u64,
    gaps: Gaps<'a>,
}

impl<'a> Camera<'a> {
    fn of(camera: &ManifestCamera<'a>) -> Self {
        Self {
            camera_id: camera.camera_id,
            display_name: camera.display_name,
            delivered: camera.delivered.map(Window::of),
            covered_s: seconds(camera.covered_us),
            segment_count: camera.segment_count,
            gaps: Gaps(camera.gaps),
        }
    }
}

#[derive(Serialize)]
struct Missing {
    start_time: String,
    end_time: String,
    reason: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    segment_ids: Vec<String>,
}

impl Missing {
    fn of(gap: Gap) -> Self {
        Self {
            start_time: text(gap.range.start()),
            end_time: text(gap.range.end()),
            reason: match gap.reason {
                GapReason::NotRecorded => "not recorded",
                GapReason::FileMissing => "file missing",
                GapReason::FileDamaged => "file damaged",
                GapReason::CodecChange => "codec change",
                GapReason::NoKeyFrame => "no key frame",
            },
            segment_ids: gap.segment_ids,
        }
    }
}

#[derive(Serialize)]
struct Fault {
    kind: &'static str,
    segment_id: String,
    camera_id: CameraId,
    start_time: String,
    end_time: String,
    entry: String,
    message: String,
}

impl Fault {
    fn of(fault: ArchiveFault) -> Self {
        Self {
            kind: match fault.kind {
                ArchiveFaultKind::Missing => "missing",
                ArchiveFaultKind::Unreadable => "unreadable",
                ArchiveFaultKind::Damaged => "damaged",
                ArchiveFaultKind::Changed => "changed",
            },
            segment_id: fault.segment_id,
            camera_id: fault.camera_id,
            start_time: text(fault.window.start()),
            end_time: text(fault.window.end()),
            entry: fault.entry_name,
            message: fault.message,
        }
    }
}

#[derive(Serialize)]
struct Cut<'a> {
    entry: &'a str,
    camera_id: &'a CameraId,
    start_time: String,
    end_time: String,
    hidden_lead_s: f64,
    size_bytes: u64,
    sha256: String,
    engine: &'a str,
    segment_ids: &'a [String],
}

impl<'a> Cut<'a> {
    fn of(cut: &'a ManifestCut<'a>) -> Self {
        Self {
            entry: &cut.entry,
            camera_id: cut.camera_id,
            start_time: text(cut.delivered.start()),
            end_time: text(cut.delivered.end()),
            hidden_lead_s: seconds(cut.hidden_lead.num_microseconds().unwrap_or_default()),
            size_bytes: cut.size_bytes,
            sha256: hex(&cut.sha256),
            engine: cut.engine,
            segment_ids: cut.segment_ids,
        }
    }
}

#[derive(Serialize)]
struct Source<'a> {
    segment_id: &'a str,
    camera_id: &'a CameraId,
    entry: Option<&'a str>,
    source_id: &'a str,
    path: &'a str,
    start_time: String,
    end_time: String,
    start_accuracy_ms: i64,
    size_bytes: u64,
    sha256: String,
    codec: &'a str,
    evidence: bool,
    incident_ids: Vec<&'a str>,
}

impl<'a> Source<'a> {
    fn of(source: &'a ManifestSource<'_>) -> Self {
        let segment = &source.segment;
        Self {
            segment_id: &segment.id,
            camera_id: source.camera_id,
            entry: source.entry.as_deref(),
            source_id: &segment.source_id,
            path: &segment.path,
            start_time: text(segment.start_time),
            end_time: text(segment.end_time),
            start_accuracy_ms: segment.start_accuracy.num_milliseconds(),
            size_bytes: source.size_bytes,
            sha256: hex(&source.sha256),
            codec: &segment.codec,
            evidence: !segment.incident_ids.is_empty(),
            incident_ids: segment
                .incident_ids
                .iter()
                .map(String::as_str)
                .filter(|incident| !incident.is_empty())
                .collect(),
        }
    }
}
