//! `manifest.json`, field by field, against what was recorded and asked for.

use chrono::{DateTime, TimeDelta, Utc};
use heldar_footage::proto;
use serde_json::{Value, json};

use super::asking::{OTHER, ask, make, thirty_seconds, trimmed};
use super::unpacked::{fetch, of};
use crate::footage::{epoch, ms};
use crate::recorder::{CAMERA, heldar_name, import, lay, place, sha256, unfollowed};

fn text(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[tokio::test]
async fn the_manifest_says_what_was_asked_for_what_is_there_and_where_it_comes_from() {
    let recording = thirty_seconds().record();
    let site = unfollowed();
    lay(&site, CAMERA, &recording);
    let gone = heldar_name(OTHER, epoch() + ms(10_000));
    place(
        &site,
        &heldar_name(OTHER, epoch()),
        &recording.segments[0].path,
    );
    let gone_path = place(&site, &gone, &recording.segments[1].path);
    import(&site, &[]);
    std::fs::remove_file(gone_path).unwrap();
    let server = site.start().await;
    let camera = proto::Camera {
        id: CAMERA.to_owned(),
        display_name: "Gate A, \u{fc}ber \"01\"".to_owned(),
        ..Default::default()
    };
    let request = proto::UpsertCameraRequest {
        camera: Some(camera),
        ..Default::default()
    };
    server.catalog().upsert_camera(request).await.unwrap();
    let spec = proto::ArchiveSpec {
        case_id: "2026-117".to_owned(),
        operator: "control room \u{2013} Jos\u{e9}".to_owned(),
        reason: "collision at \"gate A\"\nsecond line".to_owned(),
        ..of(&[OTHER, CAMERA], trimmed(1_400, 25_000))
    };
    let (_, archive) = make(&server, ask(spec)).await;
    let unpacked = fetch(&server, &archive).await;
    let mut manifest = unpacked.manifest();

    let sources = manifest["sources"].take();
    let cut = manifest["cut"].take();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let segments = server.segments(CAMERA).await;
    let others = server.segments(OTHER).await;
    let window = |from_ms, to_ms| json!({"start_time": text(epoch() + ms(from_ms)), "end_time": text(epoch() + ms(to_ms))});
    assert_eq!(
        manifest,
        json!({
            "format": "heldar-footage archive",
            "version": 1,
            "tool": {"name": "heldar-footage", "version": env!("CARGO_PKG_VERSION")},
            "host": host.trim(),
            "case_id": "2026-117",
            "operator": "control room \u{2013} Jos\u{e9}",
            "reason": "collision at \"gate A\"\nsecond line",
            "requested": {
                "start_time": text(epoch() + ms(1_400)),
                "end_time": text(epoch() + ms(25_000)),
                "camera_ids": [CAMERA, OTHER],
                "evidence_only": false,
                "trim": true,
                "layout": "segments",
                "all_or_nothing": false,
            },
            "delivered": window(1_400, 25_000),
            "gap_tolerance_ms": 1000,
            "signing_key": archive.signing_key_fingerprint,
            "cameras": [
                {
                    "camera_id": CAMERA,
                    "display_name": "Gate A, \u{fc}ber \"01\"",
                    "delivered": window(1_400, 25_000),
                    "covered_s": 23.6,
                    "segment_count": 3,
                    "gaps": [],
                },
                {
                    "camera_id": OTHER,
                    "display_name": "",
                    "delivered": window(1_400, 10_000),
                    "covered_s": 8.6,
                    "segment_count": 1,
                    "gaps": [
                        {
                            "start_time": text(epoch() + ms(10_000)),
                            "end_time": text(epoch() + ms(20_000)),
                            "reason": "file missing",
                            "segment_ids": [others[1].id],
                        },
                        {
                            "start_time": text(epoch() + ms(20_000)),
                            "end_time": text(epoch() + ms(25_000)),
                            "reason": "not recorded",
                        },
                    ],
                },
            ],
            "faults": [{
                "kind": "missing",
                "segment_id": others[1].id,
                "camera_id": OTHER,
                "start_time": text(epoch() + ms(10_000)),
                "end_time": text(epoch() + ms(20_000)),
                "entry": gone,
                "message": format!("{gone}: the recording's file is gone"),
            }],
            "sources": null,
            "cut": null,
        })
    );

    // Every source is there with its hash, whether it is an entry itself or was only cut from.
    let whole = heldar_name(CAMERA, epoch() + ms(10_000));
    let expected = [
        (CAMERA, &segments[1]),
        (CAMERA, &segments[0]),
        (CAMERA, &segments[2]),
        (OTHER, &others[0]),
    ];
    let found = sources.as_array().unwrap();
    assert_eq!(found.len(), expected.len());
    for (source, (camera, segment)) in found.iter().zip(expected) {
        let bytes = std::fs::read(site.recordings().join(&segment.path)).unwrap();
        let start = time_of(segment.start_time);
        let end = time_of(segment.end_time);
        let entry = if segment.path == whole {
            json!(whole)
        } else {
            Value::Null
        };
        assert_eq!(
            *source,
            json!({
                "segment_id": segment.id,
                "camera_id": camera,
                "entry": entry,
                "source_id": "still",
                "path": segment.path,
                "start_time": text(start),
                "end_time": text(end),
                "start_accuracy_ms": 1000,
                "size_bytes": bytes.len(),
                "sha256": sha256(&bytes),
                "codec": "h264+aac",
                "evidence": false,
                "incident_ids": [],
            })
        );
    }

    let parts = [
        (CAMERA, 0, 1_400, 10_000),
        (CAMERA, 2, 20_000, 25_000),
        (OTHER, 0, 1_400, 10_000),
    ];
    let found = cut.as_array().unwrap();
    assert_eq!(found.len(), parts.len());
    for (part, (camera, number, from_ms, to_ms)) in found.iter().zip(parts) {
        let start = epoch() + TimeDelta::seconds(number * 10);
        let entry = heldar_name(camera, start).replace(".mp4", "_trimmed.mp4");
        let bytes = unpacked.read(&entry);
        let segment = if camera == CAMERA {
            &segments[number as usize]
        } else {
            &others[0]
        };
        let hidden = if number == 0 { 0.4 } else { 0.0 };
        assert_eq!(
            *part,
            json!({
                "entry": entry,
                "camera_id": camera,
                "start_time": text(epoch() + ms(from_ms)),
                "end_time": text(epoch() + ms(to_ms)),
                "hidden_lead_s": hidden,
                "size_bytes": bytes.len(),
                "sha256": sha256(&bytes),
                "engine": concat!("heldar-footage ", env!("CARGO_PKG_VERSION")),
                "segment_ids": [segment.id],
            })
        );
    }
    server.stop_with_archives(&site, &[&archive]);
}

fn time_of(time: Option<prost_types::Timestamp>) -> DateTime<Utc> {
    let time = time.unwrap();
    DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).unwrap()).unwrap()
}
