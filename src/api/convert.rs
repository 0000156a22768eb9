//! The domain's types as the contract's messages, and back.

use chrono::{DateTime, TimeDelta, Utc};
use prost_types::{Duration, Timestamp};

use super::status::notice_status;
use crate::domain::catalog::{
    AudioFormat, Camera, Container, ImportSummary, Segment, SegmentState, Timeline, VideoFormat,
};
use crate::domain::clip::{Clip, ClipEngine, GapMode, RenderOptions};
use crate::domain::coverage::{self, Gap, GapReason};
use crate::domain::job::{Job, JobKind, JobResult, JobState, Progress};
use crate::domain::time::TimeRange;
use crate::proto;

/// A time on the wire.
pub(super) fn timestamp(time: DateTime<Utc>) -> Timestamp {
    // Sub-second nanoseconds are below 2·10⁹ even in a leap second, so they fit.
    Timestamp {
        seconds: time.timestamp(),
        nanos: time.timestamp_subsec_nanos() as i32,
    }
}

/// A duration on the wire.
pub(super) fn duration(duration: TimeDelta) -> Duration {
    Duration {
        seconds: duration.num_seconds(),
        nanos: duration.subsec_nanos(),
    }
}

pub(super) fn duration_us(us: i64) -> Duration {
    duration(TimeDelta::microseconds(us))
}

/// A count on the wire.
pub(super) fn int64(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn int32(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A range on the wire.
pub(super) fn window(range: TimeRange) -> proto::TimeWindow {
    proto::TimeWindow {
        start_time: Some(timestamp(range.start())),
        end_time: Some(timestamp(range.end())),
    }
}

/// The etag of a resource that callers change: its revision.
pub(super) fn revision_etag(revision: u64) -> String {
    format!("r{revision}")
}

/// The revision that an etag stands for, or `None` when no resource ever had it.
pub(super) fn etag_revision(etag: &str) -> Option<u64> {
    etag.strip_prefix('r')?.parse().ok()
}

impl From<Camera> for proto::Camera {
    fn from(camera: Camera) -> Self {
        Self {
            id: camera.id.to_string(),
            display_name: camera.display_name,
            labels: camera.labels.into_iter().collect(),
            segment_count: int64(camera.segment_count),
            size_bytes: int64(camera.size_bytes),
            first_segment_time: camera.recorded.map(|range| timestamp(range.start())),
            last_segment_time: camera.recorded.map(|range| timestamp(range.end())),
            create_time: Some(timestamp(camera.create_time)),
            update_time: Some(timestamp(camera.update_time)),
            etag: revision_etag(camera.revision),
        }
    }
}

impl From<VideoFormat> for proto::VideoFormat {
    fn from(video: VideoFormat) -> Self {
        Self {
            codec: video.codec,
            width: int32(video.width),
            height: int32(video.height),
            frame_count: int64(video.frame_count),
        }
    }
}

impl From<AudioFormat> for proto::AudioFormat {
    fn from(audio: AudioFormat) -> Self {
        Self {
            codec: audio.codec,
            sample_rate_hz: int32(audio.sample_rate_hz),
            channels: int32(audio.channels),
        }
    }
}

impl From<Segment> for proto::Segment {
    fn from(segment: Segment) -> Self {
        let file = segment.file;
        let end_time = file.end_time();
        Self {
            id: segment.id,
            camera_id: file.camera_id.into(),
            source_id: file.source_id,
            path: file.path,
            start_time: Some(timestamp(file.start_time)),
            end_time: Some(timestamp(end_time)),
            start_accuracy: Some(duration(file.start_accuracy)),
            size_bytes: int64(file.size_bytes),
            container: match file.facts.container {
                Container::Mp4 => proto::Container::Mp4,
                Container::FragmentedMp4 => proto::Container::FragmentedMp4,
                Container::MpegTs => proto::Container::MpegTs,
                Container::Matroska => proto::Container::Matroska,
            }
            .into(),
            video: Some(file.facts.video.into()),
            audio: file.facts.audio.map(|(format, _)| format.into()),
            key_frame_count: i32::try_from(segment.key_frame_count).unwrap_or(i32::MAX),
            state: match segment.state {
                SegmentState::Available => proto::SegmentState::Available,
                SegmentState::Missing => proto::SegmentState::Missing,
            }
            .into(),
            evidence_locked: !segment.locks.is_empty(),
            incident_ids: segment
                .locks
                .into_iter()
                .filter(|incident| !incident.is_empty())
                .collect(),
            create_time: Some(timestamp(segment.create_time)),
        }
    }
}

impl From<Gap> for proto::Gap {
    fn from(gap: Gap) -> Self {
        Self {
            start_time: Some(timestamp(gap.range.start())),
            end_time: Some(timestamp(gap.range.end())),
            reason: match gap.reason {
                GapReason::NotRecorded => proto::GapReason::NotRecorded,
                GapReason::FileMissing => proto::GapReason::FileMissing,
                GapReason::FileDamaged => proto::GapReason::FileDamaged,
                GapReason::CodecChange => proto::GapReason::CodecChange,
                GapReason::NoKeyFrame => proto::GapReason::NoKeyFrame,
            }
            .into(),
            clip_offset: gap.clip_offset.map(duration),
            segment_ids: gap.segment_ids,
        }
    }
}

impl From<Timeline> for proto::Timeline {
    fn from(timeline: Timeline) -> Self {
        let gaps = coverage::gaps(
            timeline.window,
            timeline.spans.iter().copied(),
            timeline.resolution,
        );
        let covered = coverage::covered(timeline.window, &gaps);
        Self {
            camera_id: timeline.camera_id.into(),
            window: Some(window(timeline.window)),
            spans: timeline.spans.into_iter().map(window).collect(),
            gaps: gaps
                .into_iter()
                .flat_map(|gap| coverage::explained(gap, &timeline.missing))
                .map(|(range, reason)| {
                    Gap {
                        range,
                        reason,
                        clip_offset: None,
                        segment_ids: Vec::new(),
                    }
                    .into()
                })
                .collect(),
            locks: timeline
                .locks
                .into_iter()
                .map(|(range, incident_id)| proto::LockedSpan {
                    start_time: Some(timestamp(range.start())),
                    end_time: Some(timestamp(range.end())),
                    incident_id,
                })
                .collect(),
            covered: Some(duration(covered)),
            resolution: Some(duration(timeline.resolution)),
        }
    }
}

impl From<Clip> for proto::Clip {
    fn from(clip: Clip) -> Self {
        Self {
            url: format!("{}/{}", super::media::CLIPS_URL, clip.file_name),
            id: clip.id,
            camera_id: clip.camera_id.into(),
            requested_window: Some(window(clip.requested_window)),
            delivered_window: Some(window(clip.delivered_window)),
            requested: Some(duration(clip.requested_window.duration())),
            covered: Some(duration_us(clip.covered_us)),
            gaps: clip.gaps.into_iter().map(proto::Gap::from).collect(),
            duration: Some(duration_us(clip.duration_us)),
            size_bytes: int64(clip.size_bytes),
            sha256: clip.sha256,
            media_type: clip.media_type,
            file_name: clip.file_name,
            segment_count: int32(clip.segment_count),
            video: Some(clip.video.into()),
            audio: clip.audio.map(proto::AudioFormat::from),
            hidden_lead: Some(duration_us(clip.hidden_lead_us)),
            engine: clip.engine,
            job_id: clip.job_id,
            created_by: clip.created_by,
            labels: clip.labels.into_iter().collect(),
            create_time: Some(timestamp(clip.create_time)),
            expire_time: clip.expire_time.map(timestamp),
            engine_used: clip_engine(clip.engine_used).into(),
            engine_reason: clip.engine_reason,
            gap_mode: match clip.gap_mode {
                GapMode::Close => proto::GapMode::Close,
                GapMode::Keep => proto::GapMode::Keep,
            }
            .into(),
            render: clip.render.map(proto::RenderOptions::from),
            r#virtual: clip.is_virtual,
            holds_sources: clip.holds_sources,
        }
    }
}

pub(super) fn clip_engine(engine: ClipEngine) -> proto::ClipEngine {
    match engine {
        ClipEngine::Auto => proto::ClipEngine::Auto,
        ClipEngine::Native => proto::ClipEngine::Native,
        ClipEngine::Ffmpeg => proto::ClipEngine::Ffmpeg,
        ClipEngine::Render => proto::ClipEngine::Render,
    }
}

impl From<RenderOptions> for proto::RenderOptions {
    fn from(options: RenderOptions) -> Self {
        Self {
            width: int32(options.width.unwrap_or_default()),
            height: int32(options.height.unwrap_or_default()),
            speed: f64::from(options.speed_milli) / 1000.0,
            burn_in_camera_name: options.burn_in_camera_name,
            burn_in_time: options.burn_in_time,
            time_zone: options.time_zone,
            audio_off: options.audio_off,
            crf: int32(options.crf),
        }
    }
}

impl From<ImportSummary> for proto::ImportSummary {
    fn from(summary: ImportSummary) -> Self {
        Self {
            source_id: summary.source_id,
            files_seen: int64(summary.files_seen),
            segments_added: int64(summary.segments_added),
            segments_updated: int64(summary.segments_updated),
            segments_unchanged: int64(summary.segments_unchanged),
            segments_missing: int64(summary.segments_missing),
            files_left_out: int64(summary.files_left_out),
            left_out: summary
                .left_out
                .into_iter()
                .map(|file| proto::LeftOutFile {
                    path: file.path,
                    reason: file.reason,
                })
                .collect(),
        }
    }
}

impl From<Progress> for proto::JobProgress {
    fn from(progress: Progress) -> Self {
        Self {
            phase: progress.phase,
            files_done: int64(progress.files_done),
            files_total: int64(progress.files_total),
            bytes_done: int64(progress.bytes_done),
            bytes_total: int64(progress.bytes_total),
            media_done: Some(duration_us(progress.media_done_us)),
            media_total: (progress.media_total_us > 0)
                .then(|| duration_us(progress.media_total_us)),
            fraction: progress.fraction,
            bytes_per_second: int64(progress.bytes_per_second),
            time_left: progress
                .time_left_ms
                .map(|ms| duration(TimeDelta::milliseconds(int64(ms)))),
            current_item: progress.current_item,
            retries: int64(progress.retries),
        }
    }
}

/// A kind of job on the wire.
pub(super) fn job_kind(kind: JobKind) -> proto::JobKind {
    match kind {
        JobKind::Clip => proto::JobKind::Clip,
        JobKind::Archive => proto::JobKind::Archive,
        JobKind::Backup => proto::JobKind::Backup,
        JobKind::Verify => proto::JobKind::Verify,
        JobKind::Restore => proto::JobKind::Restore,
        JobKind::Import => proto::JobKind::Import,
    }
}

/// A job's state on the wire.
pub(super) fn job_state(state: JobState) -> proto::JobState {
    match state {
        JobState::Queued => proto::JobState::Queued,
        JobState::Running => proto::JobState::Running,
        JobState::Cancelling => proto::JobState::Cancelling,
        JobState::Succeeded => proto::JobState::Succeeded,
        JobState::Failed => proto::JobState::Failed,
        JobState::Cancelled => proto::JobState::Cancelled,
    }
}

impl From<&Job> for proto::Job {
    fn from(job: &Job) -> Self {
        Self {
            id: job.id.clone(),
            kind: job_kind(job.spec.kind()).into(),
            state: job_state(job.state).into(),
            progress: job.progress.clone().map(proto::JobProgress::from),
            result: job.result.clone().map(|result| match result {
                JobResult::Clip(clip) => proto::job::Result::Clip((*clip).into()),
                JobResult::Archive(archive) => proto::job::Result::Archive((*archive).into()),
                JobResult::ArchiveVerification(verification) => {
                    proto::job::Result::ArchiveVerification((*verification).into())
                }
                JobResult::Backup(run) => proto::job::Result::Backup((*run).into()),
                JobResult::BackupVerification(verification) => {
                    proto::job::Result::BackupVerification((*verification).into())
                }
                JobResult::Restore(summary) => proto::job::Result::Restore((*summary).into()),
                JobResult::Import(summary) => proto::job::Result::Import(summary.into()),
            }),
            error: job.error.clone().map(notice_status),
            warnings: job.warnings.iter().cloned().map(notice_status).collect(),
            attempt: int32(job.attempt),
            max_attempts: int32(job.max_attempts),
            create_time: Some(timestamp(job.create_time)),
            start_time: job.start_time.map(timestamp),
            end_time: job.end_time.map(timestamp),
            update_time: Some(timestamp(job.update_time)),
            expire_time: job.expire_time.map(timestamp),
            next_attempt_time: job.next_attempt_time.map(timestamp),
            revision: int64(job.revision),
            created_by: job.created_by.clone(),
            labels: job.labels.clone().into_iter().collect(),
            camera_id: job
                .spec
                .camera()
                .map_or_else(String::new, ToString::to_string),
            policy_id: job.spec.policy_id().to_owned(),
            destination_id: job.spec.destination_id().to_owned(),
            retry_of: job.retry_of.clone(),
            request_id: job.request_id.clone(),
            plan: None,
        }
    }
}
