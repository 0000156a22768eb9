//! Archives as the contract's messages.

use super::convert::{duration_us, int64, timestamp, window};
use crate::domain::archive::{
    Archive, ArchiveCamera, ArchiveContent, ArchiveDefect, ArchiveDefectKind, ArchiveFault,
    ArchiveFaultKind, ArchiveLayout, ArchiveSignature, ArchiveVerification,
};
use crate::proto;
use crate::work::archive::{Preview, PreviewSource};

/// Where archives lie.
pub(super) const ARCHIVES_URL: &str = "/media/archives";
/// What an archive is.
pub(super) const MEDIA_TYPE: &str = "application/zip";
/// Digits of an archive's hash that its etag has: an archive never changes, but its id may be used again.
const ETAG_DIGITS: usize = 16;

/// An archive's etag.
pub(super) fn archive_etag(archive: &Archive) -> &str {
    archive.sha256.get(..ETAG_DIGITS).unwrap_or_default()
}

impl From<ArchiveContent> for proto::ArchiveSpec {
    fn from(content: ArchiveContent) -> Self {
        Self {
            start_time: content.start.map(timestamp),
            end_time: content.end.map(timestamp),
            camera_ids: content.camera_ids.into_iter().map(String::from).collect(),
            evidence_only: content.evidence_only,
            trim: content.trim,
            layout: match content.layout {
                ArchiveLayout::Segments => proto::ArchiveLayout::Segments,
                ArchiveLayout::Clips => proto::ArchiveLayout::Clips,
                ArchiveLayout::SegmentsAndClips => proto::ArchiveLayout::SegmentsAndClips,
            }
            .into(),
            all_or_nothing: content.all_or_nothing,
            case_id: content.case_id,
            operator: content.operator,
            reason: content.reason,
        }
    }
}

impl From<ArchiveCamera> for proto::ArchiveCamera {
    fn from(camera: ArchiveCamera) -> Self {
        Self {
            camera_id: camera.camera_id.into(),
            display_name: camera.display_name,
            delivered_window: camera.delivered_window.map(window),
            covered: Some(duration_us(camera.covered_us)),
            gaps: camera.gaps.into_iter().map(proto::Gap::from).collect(),
            gap_count: int64(camera.gap_count),
            segment_count: int64(camera.segment_count),
            size_bytes: int64(camera.size_bytes),
        }
    }
}

impl From<ArchiveFault> for proto::ArchiveFault {
    fn from(fault: ArchiveFault) -> Self {
        Self {
            kind: match fault.kind {
                ArchiveFaultKind::Missing => proto::ArchiveFaultKind::Missing,
                ArchiveFaultKind::Unreadable => proto::ArchiveFaultKind::Unreadable,
                ArchiveFaultKind::Damaged => proto::ArchiveFaultKind::Damaged,
                ArchiveFaultKind::Changed => proto::ArchiveFaultKind::Changed,
            }
            .into(),
            segment_id: fault.segment_id,
            camera_id: fault.camera_id.into(),
            window: Some(window(fault.window)),
            entry_name: fault.entry_name,
            message: fault.message,
        }
    }
}

impl From<Archive> for proto::Archive {
    fn from(archive: Archive) -> Self {
        // What is only streamed has no id, and nothing of it can be had later.
        let is_kept = !archive.id.is_empty();
        Self {
            url: if is_kept {
                format!("{ARCHIVES_URL}/{}", archive.file_name)
            } else {
                String::new()
            },
            etag: if is_kept {
                archive_etag(&archive).to_owned()
            } else {
                String::new()
            },
            id: archive.id,
            job_id: archive.job_id,
            spec: Some(archive.content.into()),
            delivered_window: archive.delivered_window.map(window),
            cameras: archive
                .cameras
                .into_iter()
                .map(proto::ArchiveCamera::from)
                .collect(),
            faults: archive
                .faults
                .into_iter()
                .map(proto::ArchiveFault::from)
                .collect(),
            fault_count: int64(archive.fault_count),
            entry_count: int64(archive.entry_count),
            source_bytes: int64(archive.source_bytes),
            size_bytes: int64(archive.size_bytes),
            sha256: archive.sha256,
            file_name: archive.file_name,
            signing_key_fingerprint: archive.signing_key_fingerprint,
            create_time: Some(timestamp(archive.create_time)),
            expire_time: archive.expire_time.map(timestamp),
            labels: archive.labels,
            created_by: archive.created_by,
        }
    }
}

impl From<PreviewSource> for proto::ArchivePlanSource {
    fn from(source: PreviewSource) -> Self {
        Self {
            segment_id: source.segment_id,
            camera_id: source.camera_id.into(),
            window: Some(window(source.window)),
            size_bytes: int64(source.size_bytes),
            entry_name: source.entry_name,
        }
    }
}

impl From<Preview> for proto::ArchivePlan {
    fn from(preview: Preview) -> Self {
        Self {
            spec: Some(preview.content.into()),
            delivered_window: preview.delivered.map(window),
            cameras: preview
                .cameras
                .into_iter()
                .map(proto::ArchiveCamera::from)
                .collect(),
            faults: preview
                .faults
                .into_iter()
                .map(proto::ArchiveFault::from)
                .collect(),
            fault_count: int64(preview.fault_count),
            sources: preview
                .sources
                .into_iter()
                .map(proto::ArchivePlanSource::from)
                .collect(),
            source_count: int64(preview.source_count),
            source_bytes: int64(preview.source_bytes),
            entry_count: int64(preview.entry_count),
            size_bytes: int64(preview.size_bytes),
            size_exact: preview.size_exact,
        }
    }
}

impl From<ArchiveDefect> for proto::ArchiveDefect {
    fn from(defect: ArchiveDefect) -> Self {
        Self {
            entry_name: defect.entry_name,
            kind: match defect.kind {
                ArchiveDefectKind::Changed => proto::ArchiveDefectKind::Changed,
                ArchiveDefectKind::Missing => proto::ArchiveDefectKind::Missing,
                ArchiveDefectKind::Unlisted => proto::ArchiveDefectKind::Unlisted,
                ArchiveDefectKind::Unreadable => proto::ArchiveDefectKind::Unreadable,
            }
            .into(),
            expected_sha256: defect.expected_sha256,
            found_sha256: defect.found_sha256,
            message: defect.message,
        }
    }
}

impl From<ArchiveVerification> for proto::ArchiveVerification {
    fn from(verification: ArchiveVerification) -> Self {
        Self {
            verdict: if verification.is_intact() {
                proto::ArchiveVerdict::Intact
            } else {
                proto::ArchiveVerdict::Damaged
            }
            .into(),
            signature: match verification.signature {
                ArchiveSignature::Valid => proto::ArchiveSignature::Valid,
                ArchiveSignature::Invalid => proto::ArchiveSignature::Invalid,
                ArchiveSignature::Missing => proto::ArchiveSignature::Missing,
                ArchiveSignature::UnknownKey => proto::ArchiveSignature::UnknownKey,
            }
            .into(),
            archive_id: verification.archive_id,
            signing_key_fingerprint: verification.signing_key_fingerprint,
            entries_checked: int64(verification.entries_checked),
            bytes_checked: int64(verification.bytes_checked),
            defects: verification
                .defects
                .into_iter()
                .map(proto::ArchiveDefect::from)
                .collect(),
            defect_count: int64(verification.defect_count),
            verify_time: Some(timestamp(verification.verify_time)),
        }
    }
}
