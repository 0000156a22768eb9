//! Following recorders: files that are closed, vanish and come back; folders that appear; recorders that call in.

use std::path::Path;

use heldar_footage::proto::SegmentState::{Available, Missing};
use heldar_footage::proto::{self, GapReason};
use prost::Message as _;
use tonic::Code;

use super::{heldar, printed_counts, since_epoch, states, states_become, timeline};
use crate::footage::{epoch, ms};
use crate::server::{Server, Site, clip_request, put, reason, seconds, time, twelve_seconds};

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_takes_in_each_file_when_the_recorder_has_closed_it() {
    // A last file counts as closed only long after the end of this test.
    let site = Site::new().with("HELDAR_SEGMENT_LENGTH_S", "3600");
    let server = site.start().await;
    server.imported("recordings", 1).await;
    let recording = twelve_seconds();
    let [first, second, third] = [0, 1, 2].map(|number| recording.segments[number].path.clone());
    let at = |camera: &str, from| site.recordings().join(heldar(camera, ms(from)));
    std::fs::create_dir_all(site.recordings().join("gate")).unwrap();

    // A file of another camera that comes after it is taken in first: this one is still open.
    let write = |from: &Path, to: &Path| std::fs::write(to, std::fs::read(from).unwrap()).unwrap();
    write(&first, &at("gate", 0));
    let sign = |from| {
        let path = at("sign", from);
        let earlier = at("sign", from - 1_000);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&first, &earlier);
        write(&first, &path);
    };
    sign(1_000);
    states_become(&server, "sign", &[(0, Available)]).await;
    assert_eq!(states(&server, "gate").await, []);
    // A later file closes it, and is open itself.
    write(&second, &at("gate", 4_000));
    states_become(&server, "gate", &[(0, Available)]).await;

    // A file filled in later bears another name until it is whole.
    let part = at("gate", 2_000).with_extension("mp4.part");
    write(&third, &part);
    sign(11_000);
    states_become(
        &server,
        "sign",
        &[(0, Available), (1_000, Available), (10_000, Available)],
    )
    .await;
    assert_eq!(states(&server, "gate").await, [(0, Available)]);
    std::fs::rename(&part, at("gate", 2_000)).unwrap();
    states_become(&server, "gate", &[(0, Available), (2_000, Available)]).await;
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_vanish_are_missing_until_they_come_back() {
    let site = Site::new();
    let recording = twelve_seconds();
    site.record("gate", &recording);
    let server = site.start().await;
    server.imported("recordings", 1).await;
    let middle = site.recordings().join(heldar("gate", ms(4_000)));
    std::fs::remove_file(&middle).unwrap();
    states_become(
        &server,
        "gate",
        &[(0, Available), (4_000, Missing), (8_000, Available)],
    )
    .await;
    let with_gap = timeline(&server, "gate", 0, 12_000, 0).await;
    let gaps: Vec<_> = with_gap
        .gaps
        .iter()
        .map(|gap| {
            (
                since_epoch(&gap.start_time),
                since_epoch(&gap.end_time),
                gap.reason(),
            )
        })
        .collect();
    let [(from, to, why)] = gaps.as_slice() else {
        panic!("{gaps:?}")
    };
    assert!(
        (3_950..=4_050).contains(from) && (7_950..=8_050).contains(to),
        "{gaps:?}"
    );
    assert_eq!(*why, GapReason::FileMissing);
    let status = server
        .clips()
        .create_clip(clip_request("gate", 5_000, 7_000))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, "NO_FOOTAGE")
    );
    assert_eq!(
        status.message(),
        "no recorded footage in the requested range"
    );

    put(&recording.segments[1].path, &middle);
    let all = [(0, Available), (4_000, Available), (8_000, Available)];
    states_become(&server, "gate", &all).await;
    assert_eq!(timeline(&server, "gate", 0, 12_000, 0).await.gaps, []);

    // A folder that is moved away takes its files with it, and brings them back.
    let (folder, away) = (site.recordings().join("gate"), site.path("away"));
    std::fs::rename(&folder, &away).unwrap();
    states_become(
        &server,
        "gate",
        &[(0, Missing), (4_000, Missing), (8_000, Missing)],
    )
    .await;
    std::fs::rename(&away, &folder).unwrap();
    states_become(&server, "gate", &all).await;
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_folder_may_appear_after_the_start_and_is_followed_then() {
    let mut site = Site::new();
    let late = site.path("late");
    site.set("HELDAR_SOURCES", format!("late=heldar:{}", late.display()));
    let server = site.start().await;
    server.imported("recordings", 1).await;
    assert_eq!(server.segments("gate").await, []);
    // The folder appears whole, as a disk does that is mounted.
    let made = site.path("made");
    put(
        &twelve_seconds().segments[0].path,
        &made.join(heldar("gate", ms(0))),
    );
    std::fs::rename(&made, &late).unwrap();
    states_become(&server, "gate", &[(0, Available)]).await;
    assert_eq!(server.segments("gate").await[0].source_id, "late");
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_imported_to_be_followed_is_followed_by_the_running_server() {
    let site = Site::new();
    let recording = twelve_seconds();
    let more = site.path("more");
    put(
        &recording.segments[0].path,
        &more.join(heldar("gate", ms(0))),
    );
    let server = site.start().await;
    server.imported("recordings", 1).await;
    let (code, out, err) = site.run(&["import", more.to_str().unwrap(), "--follow", "--json"]);
    assert_eq!(
        (code, printed_counts(&out)),
        (0, [1, 0, 0, 0, 0]),
        "{out}\n{err}"
    );
    assert_eq!(states(&server, "gate").await, [(0, Available)]);
    put(
        &recording.segments[1].path,
        &more.join(heldar("gate", ms(4_000))),
    );
    states_become(&server, "gate", &[(0, Available), (4_000, Available)]).await;

    // A folder within one that is followed would bring its files in twice.
    let (code, _, err) = site.run(&[
        "import",
        more.join("gate").to_str().unwrap(),
        "--layout",
        "%Y%m%d_%H%M%S",
        "--zone",
        "UTC",
    ]);
    assert_ne!(code, 0);
    assert!(err.contains("overlaps with source more"), "{err}");
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

fn registration(camera: &str, path: &str, start: Option<i64>) -> proto::RegisterSegmentsRequest {
    proto::RegisterSegmentsRequest {
        camera_id: camera.to_owned(),
        path: path.to_owned(),
        start_time: start.and_then(|start| time(epoch() + ms(start))),
        ..Default::default()
    }
}

async fn register(
    server: &Server,
    messages: Vec<proto::RegisterSegmentsRequest>,
) -> proto::RegisterSegmentsResponse {
    server
        .catalog()
        .register_segments(futures::stream::iter(messages))
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_registers_files_as_it_closes_them_and_hears_of_each_that_is_refused() {
    let site = Site::new();
    let recording = twelve_seconds();
    let server = site.start().await;
    server.imported("recordings", 1).await;
    // Names that the layout does not read, and one that it reads but holds for open: only the calls take them in.
    let folder = site.recordings();
    put(&recording.segments[0].path, &folder.join("door/a.mp4"));
    put(&recording.segments[1].path, &folder.join("door/b.mp4"));
    let named = heldar("door", ms(8_000));
    std::fs::copy(&recording.segments[2].path, folder.join(&named)).unwrap();
    std::fs::write(folder.join("door/empty.mp4"), "").unwrap();
    let outside = site.path("outside.mp4");
    put(&recording.segments[0].path, &outside);
    std::os::unix::fs::symlink(&outside, folder.join("door/link.mp4")).unwrap();

    let exact = registration("door", "door/a.mp4", Some(500));
    let answer = register(
        &server,
        vec![
            exact.clone(),
            registration("door", "door/b.mp4", Some(4_500)),
            exact.clone(),
            registration("door", &named, None),
        ],
    )
    .await;
    assert_eq!(
        (
            answer.segments_added,
            answer.segments_unchanged,
            answer.files_rejected
        ),
        (3, 1, 0),
        "{answer:?}"
    );
    let known = server.segments("door").await;
    let starts: Vec<_> = known
        .iter()
        .map(|segment| (since_epoch(&segment.start_time), segment.start_accuracy))
        .collect();
    assert_eq!(
        starts,
        [(500, seconds(0)), (4_500, seconds(0)), (8_000, seconds(1))]
    );

    put(&recording.segments[2].path, &folder.join("door/a.mp4"));
    let answer = register(&server, vec![exact]).await;
    assert_eq!(
        (answer.segments_added, answer.segments_updated),
        (0, 1),
        "{answer:?}"
    );

    let source = proto::RegisterSegmentsRequest {
        source_id: "attic".to_owned(),
        ..registration("door", "door/b.mp4", Some(0))
    };
    let cases = [
        (
            registration("door", "door/gone.mp4", Some(0)),
            Code::NotFound,
            "FILE_MISSING",
        ),
        (
            registration("door", "../outside.mp4", Some(0)),
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            registration("door", "/etc/passwd", Some(0)),
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            registration("door", "", Some(0)),
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            registration("Door!", "door/b.mp4", Some(0)),
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            registration("door", "door/b.mp4", None),
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (source, Code::NotFound, "SOURCE_NOT_FOUND"),
        (
            registration("door", "door/empty.mp4", Some(0)),
            Code::DataLoss,
            "FILE_DAMAGED",
        ),
        (
            registration("door", "door/link.mp4", Some(0)),
            Code::DataLoss,
            "FILE_DAMAGED",
        ),
    ];
    let good = registration("door", "door/b.mp4", Some(4_500));
    let mut messages = vec![good.clone()];
    messages.extend(cases.iter().map(|(message, ..)| message.clone()));
    messages.push(good.clone());
    let answer = register(&server, messages).await;
    assert_eq!(
        (answer.segments_unchanged, answer.files_rejected),
        (2, 9),
        "{answer:?}"
    );
    for (number, ((message, code, why), rejected)) in cases.iter().zip(&answer.rejected).enumerate()
    {
        assert_eq!(rejected.message_number, i64::try_from(number + 2).unwrap());
        assert_eq!(rejected.path, message.path);
        let error = rejected.error.clone().unwrap();
        let info = error
            .details
            .iter()
            .find(|detail| detail.type_url.ends_with("ErrorInfo"))
            .unwrap();
        let info = tonic_types::pb::ErrorInfo::decode(info.value.as_slice()).unwrap();
        assert_eq!(
            (error.code, info.reason.as_str()),
            (i32::from(*code), *why),
            "{}: {}",
            message.path,
            error.message
        );
        assert!(
            !error.message.contains(site.recordings().to_str().unwrap()),
            "{}",
            error.message
        );
    }

    // However many are refused, the answer names a thousand.
    let mut many: Vec<_> = (0..1_200)
        .map(|number| registration("door", &format!("door/{number}.mp4"), Some(0)))
        .collect();
    many.push(good);
    let answer = register(&server, many).await;
    assert_eq!(
        (
            answer.files_rejected,
            answer.rejected.len(),
            answer.segments_unchanged
        ),
        (1_200, 1_000, 1)
    );
    assert_eq!(server.segments("door").await.len(), 3);
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}
