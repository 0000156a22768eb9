//! What goes over the wire: times, requests, and the reasons of what was refused or failed.

use heldar_footage::proto;

use crate::footage::{epoch, ms};

/// The reason in an error's details.
pub fn reason(status: &tonic::Status) -> String {
    use tonic_types::StatusExt as _;
    let info = status
        .get_details_error_info()
        .expect("every error has an ErrorInfo");
    assert_eq!(info.domain, "footage.heldar");
    info.reason
}

/// The field paths in an error's details.
pub fn fields(status: &tonic::Status) -> Vec<String> {
    use tonic_types::StatusExt as _;
    let request = status.get_details_bad_request().expect("a BadRequest");
    request
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

/// Seconds on the wire.
pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// A time on the wire.
pub fn time(time: chrono::DateTime<chrono::Utc>) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap(),
    })
}

/// The reason in the error or warning of a job.
pub fn notice_reason(notice: &tonic_types::pb::Status) -> String {
    use tonic_types::RpcStatusExt as _;
    let info = notice.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.domain, "footage.heldar");
    info.reason
}

/// A request for a clip of milliseconds `from` to `to` of a recording, cut by ffmpeg: a test can hold that up.
pub fn clip_request(camera_id: &str, from: i64, to: i64) -> proto::CreateClipRequest {
    proto::CreateClipRequest {
        camera_id: camera_id.to_owned(),
        start_time: time(epoch() + ms(from)),
        end_time: time(epoch() + ms(to)),
        engine: proto::ClipEngine::Ffmpeg.into(),
        ..Default::default()
    }
}
