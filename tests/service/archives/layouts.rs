//! What is selected, how it is divided into entries, and what is said to be missing.

use chrono::TimeDelta;
use heldar_footage::proto::{self, ArchiveLayout, GapReason};

use super::asking::{OTHER, ask, everything, make, plan, trimmed};
use super::unpacked::{Unpacked, fetch, of, window};
use crate::footage::{Frame, Recipe, Recording, decode, epoch, ms};
use crate::recorder::{
    CAMERA, check_decodes, check_frames, delta, heldar_name, import, lay, place, since_epoch,
    unfollowed,
};
use crate::server::{Server, Site, time};

/// A camera that recorded only an hour later.
const LATE: &str = "late_03";
const HOUR: TimeDelta = TimeDelta::hours(1);

/// Forty seconds of one camera, the first and the third ten of another, ten of a third one an hour later.
fn three_cameras(recording: &Recording) -> Site {
    let site = unfollowed();
    lay(&site, CAMERA, recording);
    for number in [0, 2] {
        let segment = &recording.segments[number];
        place(
            &site,
            &heldar_name(OTHER, epoch() + segment.start),
            &segment.path,
        );
    }
    place(
        &site,
        &heldar_name(LATE, epoch() + HOUR),
        &recording.segments[0].path,
    );
    import(&site, &[]);
    site
}

/// The entry of a camera's recording that begins so many seconds after the epoch.
fn entry(camera: &str, seconds: i64) -> String {
    heldar_name(camera, epoch() + TimeDelta::seconds(seconds))
}

/// Makes an archive that must keep what its plan says.
async fn made(server: &Server, spec: proto::ArchiveSpec) -> (proto::Archive, Unpacked) {
    let planned = plan(server, spec.clone()).await;
    let (job, archive) = make(server, ask(spec)).await;
    assert_eq!(job.warnings, []);
    let unpacked = fetch(server, &archive).await;
    assert_eq!(planned.spec, archive.spec);
    assert_eq!(
        planned.source_bytes, archive.source_bytes,
        "bytes of sources"
    );
    assert_eq!(
        planned.delivered_window, archive.delivered_window,
        "delivered"
    );
    let sums = |cameras: &[proto::ArchiveCamera]| {
        cameras
            .iter()
            .map(|camera| {
                let gaps = camera
                    .gaps
                    .iter()
                    .map(|gap| (gap.start_time, gap.end_time, gap.reason));
                let gaps: Vec<_> = gaps.collect();
                let id = camera.camera_id.clone();
                (
                    id,
                    camera.delivered_window,
                    camera.covered,
                    gaps,
                    camera.segment_count,
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(sums(&planned.cameras), sums(&archive.cameras));
    if planned.size_exact {
        assert_eq!(planned.size_bytes, archive.size_bytes, "size");
        assert_eq!(planned.cameras, archive.cameras);
    }
    (archive, unpacked)
}

/// From and to of a window, in milliseconds from the epoch.
fn bounds(window: Option<&proto::TimeWindow>) -> (i64, i64) {
    let window = window.expect("a window");
    (
        since_epoch(window.start_time.as_ref()).num_milliseconds(),
        since_epoch(window.end_time.as_ref()).num_milliseconds(),
    )
}

fn gaps(camera: &proto::ArchiveCamera) -> Vec<(i64, i64, GapReason)> {
    assert_eq!(camera.gap_count, camera.gaps.len() as i64);
    let of = |gap: &proto::Gap| {
        let at = |time| since_epoch(Some(time)).num_milliseconds();
        (
            at(gap.start_time.as_ref().unwrap()),
            at(gap.end_time.as_ref().unwrap()),
            gap.reason(),
        )
    };
    camera.gaps.iter().map(of).collect()
}

#[tokio::test]
async fn whole_segments_of_the_cameras_asked_for_and_a_camera_without_footage_is_listed() {
    let recording = Recipe::plain().record();
    let site = three_cameras(&recording);
    let server = site.start().await;
    // An id given twice counts once, and the order is that of the ids.
    let spec = of(&[OTHER, LATE, CAMERA, OTHER], window(5_000, 25_000));
    let (archive, unpacked) = made(&server, spec).await;
    assert_eq!(
        unpacked.footage(),
        [
            entry(CAMERA, 0),
            entry(CAMERA, 10),
            entry(CAMERA, 20),
            entry(OTHER, 0),
            entry(OTHER, 20)
        ]
    );
    for name in unpacked.footage() {
        let recorded = std::fs::read(site.recordings().join(&name)).unwrap();
        assert!(unpacked.read(&name) == recorded, "{name}");
    }
    let [first, late, other] = archive.cameras.as_slice() else {
        panic!("{:?}", archive.cameras)
    };
    let ids = [&first.camera_id, &late.camera_id, &other.camera_id];
    assert_eq!(ids, [CAMERA, LATE, OTHER]);
    let counts = [first, late, other].map(|camera| camera.segment_count);
    assert_eq!(counts, [3, 0, 2]);
    assert_eq!(late.delivered_window, None);
    assert_eq!(late.size_bytes, 0);
    assert_eq!(gaps(late), [(5_000, 25_000, GapReason::NotRecorded)]);
    assert_eq!(gaps(first), []);
    assert_eq!(gaps(other), [(10_000, 20_000, GapReason::NotRecorded)]);
    assert_eq!(bounds(other.delivered_window.as_ref()), (0, 30_000));
    assert_eq!(delta(other.covered.as_ref()), ms(20_000));
    assert_eq!(bounds(archive.delivered_window.as_ref()), (0, 30_000));
    let bytes: i64 = [first, other].map(|camera| camera.size_bytes).iter().sum();
    assert_eq!(bytes, archive.source_bytes);
    let recorded: i64 = unpacked
        .footage()
        .iter()
        .map(|name| unpacked.read(name).len() as i64)
        .sum();
    assert_eq!(recorded, archive.source_bytes);

    // Nobody asked for the camera without footage here.
    let (unnamed, again) = made(&server, window(5_000, 25_000)).await;
    assert_eq!(again.footage(), unpacked.footage());
    assert_eq!(unnamed.cameras.len(), 2, "{:?}", unnamed.cameras);
    server.stop_with_archives(&site, &[&archive, &unnamed]);
}

#[tokio::test]
async fn either_bound_may_be_open() {
    let recording = Recipe::plain().record();
    let site = three_cameras(&recording);
    let server = site.start().await;
    let late = entry(LATE, 3600);
    let all: Vec<String> = [0, 10, 20, 30].map(|at| entry(CAMERA, at)).into();
    let from = |milliseconds| proto::ArchiveSpec {
        start_time: time(epoch() + ms(milliseconds)),
        ..everything()
    };
    let to = |milliseconds| proto::ArchiveSpec {
        end_time: time(epoch() + ms(milliseconds)),
        ..everything()
    };
    let (with_late, to_the_end) = made(&server, from(20_000)).await;
    assert_eq!(
        to_the_end.footage(),
        [
            entry(CAMERA, 20),
            entry(CAMERA, 30),
            late.clone(),
            entry(OTHER, 20)
        ]
    );
    // From the start of the window to the end of the last footage of this camera.
    assert_eq!(gaps(&with_late.cameras[0]), []);
    let (up_to, from_the_start) = made(&server, to(20_000)).await;
    assert_eq!(
        from_the_start.footage(),
        [entry(CAMERA, 0), entry(CAMERA, 10), entry(OTHER, 0)]
    );
    assert_eq!(
        gaps(&up_to.cameras[1]),
        [(10_000, 20_000, GapReason::NotRecorded)]
    );
    let (whole, everything) = made(&server, everything()).await;
    let others = [late, entry(OTHER, 0), entry(OTHER, 20)];
    assert_eq!(everything.footage(), [all, others.into()].concat());
    assert_eq!(
        gaps(&whole.cameras[2]),
        [(10_000, 20_000, GapReason::NotRecorded)]
    );
    server.stop_with_archives(&site, &[&with_late, &up_to, &whole]);
}

#[tokio::test]
async fn only_what_is_held_as_evidence_when_only_that_is_wanted() {
    let recording = Recipe::plain().record();
    let site = three_cameras(&recording);
    let server = site.start().await;
    let evidence = proto::ArchiveSpec {
        evidence_only: true,
        ..window(0, 40_000)
    };
    for (camera, from, to, incident) in [(CAMERA, 12_000, 13_000, "case 7"), (OTHER, 0, 30_000, "")]
    {
        let held = proto::CameraWindow {
            camera_id: camera.to_owned(),
            start_time: time(epoch() + ms(from)),
            end_time: time(epoch() + ms(to)),
        };
        let request = proto::SetEvidenceLockRequest {
            selection: Some(proto::set_evidence_lock_request::Selection::Window(held)),
            incident_id: incident.to_owned(),
            ..Default::default()
        };
        server.catalog().set_evidence_lock(request).await.unwrap();
    }
    let (archive, unpacked) = made(&server, evidence).await;
    assert_eq!(
        unpacked.footage(),
        [entry(CAMERA, 10), entry(OTHER, 0), entry(OTHER, 20)]
    );
    // What is recorded and no evidence is no gap; what was never recorded is one.
    assert_eq!(gaps(&archive.cameras[0]), []);
    assert_eq!(
        gaps(&archive.cameras[1]),
        [
            (10_000, 20_000, GapReason::NotRecorded),
            (30_000, 40_000, GapReason::NotRecorded)
        ]
    );
    let manifest = unpacked.manifest();
    let held: Vec<_> = manifest["sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|source| {
            (
                source["evidence"].as_bool().unwrap(),
                source["incident_ids"].clone(),
            )
        })
        .collect();
    let (none, case) = (serde_json::json!([]), serde_json::json!(["case 7"]));
    assert_eq!(held, [(true, case), (true, none.clone()), (true, none)]);
    server.stop_with_archives(&site, &[&archive]);
}

/// Checks the frames of one entry, and that a player finds nothing to complain of.
fn check_entry(unpacked: &Unpacked, entry: &str, expected: &[Frame]) {
    check_decodes(&unpacked.path(entry));
    check_frames(&decode(&unpacked.path(entry)), expected);
}

#[tokio::test]
async fn one_clip_per_camera_beside_the_segments_or_in_their_place() {
    let recording = Recipe::plain().record();
    let site = three_cameras(&recording);
    let server = site.start().await;
    let clips = |spec, layout: ArchiveLayout| proto::ArchiveSpec {
        layout: layout.into(),
        ..of(&[CAMERA, OTHER, LATE], spec)
    };
    let exactly = recording.between(ms(5_400), ms(24_000));
    let of_other = [
        recording.between(ms(5_400), ms(10_000)),
        recording.between(ms(20_000), ms(24_000)),
    ]
    .concat();
    let clip = |camera: &str, at: &str| format!("{camera}/clip_20250615T1506{at}Z.mp4");

    let spec = clips(trimmed(5_400, 24_000), ArchiveLayout::Clips);
    let (only_clips, unpacked) = made(&server, spec).await;
    assert_eq!(unpacked.footage(), [clip(CAMERA, "45"), clip(OTHER, "45")]);
    check_entry(&unpacked, &clip(CAMERA, "45"), &exactly);
    check_entry(&unpacked, &clip(OTHER, "45"), &of_other);
    let [first, late, other] = only_clips.cameras.as_slice() else {
        panic!("{:?}", only_clips.cameras)
    };
    assert_eq!(bounds(first.delivered_window.as_ref()), (5_400, 24_000));
    assert_eq!(
        [first, late, other].map(|camera| camera.segment_count),
        [3, 0, 2]
    );
    assert_eq!(gaps(first), []);
    assert_eq!(gaps(other), [(10_000, 20_000, GapReason::NotRecorded)]);
    assert_eq!(delta(other.covered.as_ref()), ms(8_600));
    assert_eq!(gaps(late), [(5_400, 24_000, GapReason::NotRecorded)]);

    let spec = clips(trimmed(5_400, 24_000), ArchiveLayout::SegmentsAndClips);
    let (both, unpacked) = made(&server, spec).await;
    assert_eq!(
        unpacked.footage(),
        [
            entry(CAMERA, 0),
            entry(CAMERA, 10),
            entry(CAMERA, 20),
            clip(CAMERA, "45"),
            entry(OTHER, 0),
            entry(OTHER, 20),
            clip(OTHER, "45"),
        ]
    );
    for name in unpacked
        .footage()
        .iter()
        .filter(|name| !name.contains("clip_"))
    {
        let recorded = std::fs::read(site.recordings().join(name)).unwrap();
        assert!(
            unpacked.read(name) == recorded,
            "the evidence is whole: {name}"
        );
    }
    check_entry(&unpacked, &clip(CAMERA, "45"), &exactly);
    check_entry(&unpacked, &clip(OTHER, "45"), &of_other);

    // Without trimming, a clip shows all that its segments hold.
    let spec = clips(window(5_400, 14_000), ArchiveLayout::Clips);
    let (whole, unpacked) = made(&server, spec).await;
    assert_eq!(unpacked.footage(), [clip(CAMERA, "40"), clip(OTHER, "40")]);
    check_entry(
        &unpacked,
        &clip(CAMERA, "40"),
        &recording.between(ms(0), ms(20_000)),
    );
    check_entry(
        &unpacked,
        &clip(OTHER, "40"),
        &recording.between(ms(0), ms(10_000)),
    );
    server.stop_with_archives(&site, &[&only_clips, &both, &whole]);
}

#[tokio::test]
async fn more_than_an_hour_is_several_clips_with_every_frame_in_one_of_them() {
    let recording = Recipe {
        rate: "10",
        gop_frames: 24,
        segment_s: 2,
        length_s: 14,
        sound: false,
        ..Recipe::plain()
    }
    .record();
    let site = unfollowed();
    let hour = epoch() + HOUR;
    place(
        &site,
        &heldar_name(CAMERA, epoch()),
        &recording.segments[0].path,
    );
    // Where the names narrow down when the recording starts, the second clip no longer looks.
    for segment in &recording.segments {
        let start = hour - ms(12_300) + segment.start;
        place(&site, &heldar_name(CAMERA, start), &segment.path);
    }
    import(&site, &[]);
    let server = site.start().await;
    let up_to = |until| proto::ArchiveSpec {
        layout: ArchiveLayout::Clips.into(),
        ..trimmed(0, until)
    };
    let hour_ms = HOUR.num_milliseconds();
    let (_, archive) = make(&server, ask(up_to(hour_ms + 10_000))).await;
    let unpacked = fetch(&server, &archive).await;
    let clips = [15, 16].map(|hour| format!("{CAMERA}/clip_20250615T{hour}0640Z.mp4"));
    assert_eq!(unpacked.footage(), clips);
    let mut shown = Vec::new();
    for clip in &clips {
        check_decodes(&unpacked.path(clip));
        shown.extend(decode(&unpacked.path(clip)));
    }
    let first = recording.between(ms(0), recording.segments[1].start);
    check_frames(&shown, &[first, recording.frames.clone()].concat());
    let reasons: Vec<_> = gaps(&archive.cameras[0]).iter().map(|gap| gap.2).collect();
    assert_eq!(reasons, [GapReason::NotRecorded; 2]);

    // Time without footage between two clips is one gap, however many clips could have been in it.
    let late = hour + HOUR * 3;
    place(
        &site,
        &heldar_name(CAMERA, late),
        &recording.segments[0].path,
    );
    import(&site, &[]);
    let (_, later) = make(&server, ask(up_to(hour_ms * 4 + 10_000))).await;
    let unpacked = fetch(&server, &later).await;
    assert_eq!(unpacked.footage().len(), 3);
    let told = gaps(&later.cameras[0]);
    let reasons: Vec<_> = told.iter().map(|gap| gap.2).collect();
    assert_eq!(reasons, [GapReason::NotRecorded; 3], "{told:?}");
    server.stop_with_archives(&site, &[&archive, &later]);
}

#[tokio::test]
async fn a_plan_counts_no_clip_of_a_camera_whose_files_are_gone() {
    let recording = Recipe::plain().record();
    let site = three_cameras(&recording);
    std::fs::remove_file(site.recordings().join(entry(LATE, 3600))).unwrap();
    let server = site.start().await;
    let spec = proto::ArchiveSpec {
        layout: ArchiveLayout::Clips.into(),
        ..everything()
    };
    let planned = plan(&server, spec.clone()).await;
    let (_, archive) = make(&server, ask(spec)).await;
    assert_eq!(planned.entry_count, archive.entry_count);
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn a_size_is_exact_only_where_nothing_can_turn_out_to_need_a_cut() {
    let recording = Recipe::plain().record();
    let site = three_cameras(&recording);
    let server = site.start().await;
    for (spec, is_exact) in [
        // Names that give the second leave open on which side of the edge a recording begins.
        (of(&[CAMERA], trimmed(10_000, 30_000)), false),
        (of(&[CAMERA], trimmed(-5_000, 60_000)), true),
        (of(&[CAMERA], window(10_000, 30_000)), true),
    ] {
        let planned = plan(&server, spec.clone()).await;
        assert_eq!(planned.size_exact, is_exact, "{spec:?}");
    }
    server.stop_with_archives(&site, &[]);
}
