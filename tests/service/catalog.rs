//! The catalog from outside: importing, following, registering, timelines, evidence locks, cameras.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use chrono::{DateTime, TimeDelta, Utc};
use heldar_footage::proto::{self, GapReason, SegmentState};
use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};
use tonic::Code;

use super::footage::{epoch, ffmpeg, ms, run};
use super::gate::Gate;
use super::server::{
    Server, Site, age, becomes, children_of, clip_request, eventually, fields, is_running, put,
    reason, seconds, time, twelve_seconds,
};

/// Path of a recorded file in the Heldar layout.
fn heldar(camera: &str, at: TimeDelta) -> String {
    (epoch() + at)
        .format(&format!("{camera}/%Y%m%d_%H%M%S.mp4"))
        .to_string()
}

fn utc(time: &Option<prost_types::Timestamp>) -> DateTime<Utc> {
    let time = time.as_ref().expect("a time");
    DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).unwrap()).unwrap()
}

/// From the start of the recordings, in milliseconds.
fn since_epoch(time: &Option<prost_types::Timestamp>) -> i64 {
    (utc(time) - epoch()).num_milliseconds()
}

fn counts(summary: &proto::ImportSummary) -> [i64; 5] {
    [
        summary.segments_added,
        summary.segments_updated,
        summary.segments_unchanged,
        summary.segments_missing,
        summary.files_left_out,
    ]
}

/// The summary in the JSON of `footage import --json`, the way `counts` gives it.
fn printed_counts(printed: &str) -> [i64; 5] {
    let job: serde_json::Value =
        serde_json::from_str(printed.lines().last().expect("a job")).unwrap();
    let summary = &job["import"];
    [
        "segmentsAdded",
        "segmentsUpdated",
        "segmentsUnchanged",
        "segmentsMissing",
        "filesLeftOut",
    ]
    .map(|name| {
        summary[name]
            .as_str()
            .map_or(0, |count| count.parse().unwrap())
    })
}

async fn timeline(
    server: &Server,
    camera: &str,
    from: i64,
    to: i64,
    resolution: i64,
) -> proto::Timeline {
    let request = proto::GetTimelineRequest {
        camera_id: camera.to_owned(),
        start_time: time(epoch() + ms(from)),
        end_time: time(epoch() + ms(to)),
        resolution: (resolution > 0).then(|| seconds(resolution)).flatten(),
    };
    server
        .catalog()
        .get_timeline(request)
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_recorder_left_is_imported_with_the_facts_of_each_file_and_again_without_reading_it()
{
    let site = Site::new();
    let recording = twelve_seconds();
    site.record("gate", &recording);
    let server = site.start().await;
    let summary = server.imported("recordings", 1).await;
    assert_eq!((summary.files_seen, counts(&summary)), (3, [3, 0, 0, 0, 0]));
    let segments = server.segments("gate").await;
    for (segment, made) in segments.iter().zip(&recording.segments) {
        assert_eq!(segment.path, heldar("gate", made.start));
        assert_eq!(
            (segment.camera_id.as_str(), segment.source_id.as_str()),
            ("gate", "recordings")
        );
        assert_eq!(utc(&segment.start_time), epoch() + made.start);
        assert_eq!(segment.start_accuracy, seconds(1));
        let length = (utc(&segment.end_time) - utc(&segment.start_time)).num_milliseconds();
        assert!((3_960..=4_100).contains(&length), "{length} ms");
        assert_eq!(
            segment.size_bytes,
            i64::try_from(std::fs::metadata(&made.path).unwrap().len()).unwrap()
        );
        assert_eq!(segment.container(), proto::Container::FragmentedMp4);
        let video = segment.video.clone().unwrap();
        assert_eq!(
            (
                video.codec.as_str(),
                video.width,
                video.height,
                video.frame_count
            ),
            ("h264", 192, 108, 100)
        );
        let audio = segment.audio.clone().unwrap();
        assert_eq!(
            (audio.codec.as_str(), audio.sample_rate_hz, audio.channels),
            ("aac", 48_000, 1)
        );
        assert_eq!(
            (segment.key_frame_count, segment.state()),
            (4, SegmentState::Available)
        );
    }
    assert_eq!(segments.len(), 3);
    assert_eq!(server.stop(), 0);

    // Unchanged, then one file replaced by another and one gone.
    let again = ["import", site.recordings().to_str().unwrap(), "--json"].map(str::to_owned);
    let again = again.each_ref().map(String::as_str);
    let (code, out, err) = site.run(&again);
    assert_eq!(
        (code, printed_counts(&out)),
        (0, [0, 0, 3, 0, 0]),
        "{out}\n{err}"
    );
    let first = site.recordings().join(heldar("gate", ms(0)));
    run(ffmpeg()
        .arg("-i")
        .arg(&recording.segments[0].path)
        .args(["-c", "copy", "-t", "2"])
        .arg(&first));
    age(&first);
    std::fs::remove_file(site.recordings().join(heldar("gate", ms(4_000)))).unwrap();
    let (code, out, err) = site.run(&again);
    assert_eq!(
        (code, printed_counts(&out)),
        (0, [0, 1, 1, 1, 0]),
        "{out}\n{err}"
    );

    let server = site.start().await;
    assert_eq!(
        counts(&server.imported("recordings", 2).await),
        [0, 0, 2, 0, 0]
    );
    let changed = server.segments("gate").await;
    assert_eq!(
        changed
            .iter()
            .map(|segment| &segment.id)
            .collect::<Vec<_>>(),
        segments
            .iter()
            .map(|segment| &segment.id)
            .collect::<Vec<_>>()
    );
    assert_eq!(changed[0].container(), proto::Container::Mp4);
    assert!(
        changed[0].size_bytes < segments[0].size_bytes
            && changed[0].end_time != segments[0].end_time
    );
    assert_eq!(changed[1].state(), SegmentState::Missing);
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

/// Writes a fragmented MP4 as MediaMTX does: with its box of the segment's wall clock at the end of `moov`.
fn put_with_clock(from: &Path, to: &Path, clock: DateTime<Utc>) {
    let mut file = std::fs::read(from).unwrap();
    let mut content = vec![0; 4];
    content.extend([7; 16]);
    content.extend(3_u64.to_be_bytes());
    content.extend(12_000_000_000_i64.to_be_bytes());
    content.extend(clock.timestamp_nanos_opt().unwrap().to_be_bytes());
    let mut mtxi = u32::try_from(content.len() + 8)
        .unwrap()
        .to_be_bytes()
        .to_vec();
    mtxi.extend(b"mtxi");
    mtxi.extend(content);
    let mut at = 0;
    loop {
        let size = u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
        let end = at + size as usize;
        if &file[at + 4..at + 8] == b"moov" {
            file[at..at + 4]
                .copy_from_slice(&(size + u32::try_from(mtxi.len()).unwrap()).to_be_bytes());
            file.splice(end..end, mtxi);
            break;
        }
        at = end;
    }
    let with_clock = to.with_extension("part");
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::write(&with_clock, file).unwrap();
    age(&with_clock);
    std::fs::rename(with_clock, to).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_recorders_layouts_and_templates_are_read_in_their_zones() {
    let mut site = Site::new();
    let recording = twelve_seconds();
    let segment = &recording.segments[0].path;
    let [mediamtx, frigate, old] = ["mediamtx", "frigate", "old"].map(|name| site.path(name));
    // The recordings begin on 2025-06-15 at 15:06:40 UTC.
    put(
        segment,
        &mediamtx.join("yard/north/2025-06-15_17-06-40-250000.mp4"),
    );
    let exact = epoch() + TimeDelta::microseconds(5_123_456);
    put_with_clock(
        segment,
        &mediamtx.join("yard/north/2025-06-15_17-06-45-000000.mp4"),
        exact,
    );
    let stream = site.path("segment.ts");
    run(ffmpeg()
        .arg("-i")
        .arg(segment)
        .args(["-c", "copy", "-f", "mpegts"])
        .arg(&stream));
    put(
        &stream,
        &mediamtx.join("door/2025-06-15_17-06-40-000000.ts"),
    );
    put(segment, &frigate.join("2025-06-15/15/front/06.40.mp4"));
    put(segment, &frigate.join("2025-06-15/16/front/06.40.mp4"));
    put(segment, &old.join("hall/2025-06-15/110640.mp4"));
    site.set(
        "HELDAR_SOURCES",
        format!(
            "mtx=mediamtx@Europe/Berlin:{};frigate:{};old={{camera}}/%Y-%m-%d/%H%M%S.mp4@America/New_York:{}",
            mediamtx.display(),
            frigate.display(),
            old.display()
        ),
    );
    let server = site.start().await;
    for (source, added) in [("mtx", 3), ("frigate", 2), ("old", 1)] {
        let summary = server.imported(source, 1).await;
        assert_eq!(counts(&summary), [added, 0, 0, 0, 0], "{summary:?}");
    }
    let cameras = server
        .catalog()
        .list_cameras(proto::ListCamerasRequest::default())
        .await
        .unwrap()
        .into_inner()
        .cameras;
    let mut ids: Vec<_> = cameras.into_iter().map(|camera| camera.id).collect();
    ids.sort();
    // A name that is no slug gets digits of its hash, so that `yard/north` and `yard-north` stay two cameras.
    let [door, front, hall, yard] = ids.as_slice() else {
        panic!("{ids:?}")
    };
    assert_eq!(
        [door.as_str(), front.as_str(), hall.as_str()],
        ["door", "front", "hall"]
    );
    assert!(yard.starts_with("yard-north-"), "{yard}");

    let yard = server.segments(yard).await;
    assert_eq!(utc(&yard[0].start_time), epoch() + ms(250));
    assert_eq!(
        utc(&yard[1].start_time),
        exact,
        "the time inside goes before the name"
    );
    assert_eq!(yard[1].start_accuracy, seconds(0));
    let door = server.segments("door").await;
    assert_eq!(
        (door[0].container(), since_epoch(&door[0].start_time)),
        (proto::Container::MpegTs, 0)
    );
    assert_eq!(door[0].video.as_ref().unwrap().frame_count, 100);
    let front = server.segments("front").await;
    assert_eq!(
        front
            .iter()
            .map(|segment| since_epoch(&segment.start_time))
            .collect::<Vec<_>>(),
        [0, 3_600_000]
    );
    let hall = server.segments("hall").await;
    assert_eq!(
        (since_epoch(&hall[0].start_time), hall[0].source_id.as_str()),
        (0, "old")
    );
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_that_is_left_out_is_named_with_its_reason() {
    use std::os::unix::ffi::OsStrExt as _;
    let site = Site::new();
    let recording = twelve_seconds();
    let segment = &recording.segments[0].path;
    let folder = site.recordings().join("gate");
    put(segment, &folder.join("20250615_150640.mp4"));
    put(segment, &folder.join("holiday.mp4"));
    put(segment, &folder.join("20251399_000000.mp4"));
    put(segment, &folder.join("20250615_160000.mp4.part"));
    put(
        segment,
        &site.recordings().join(".trash/20250615_160000.mp4"),
    );
    put(segment, &folder.join("notes.txt"));
    put(segment, &folder.join(std::ffi::OsStr::from_bytes(b"x.mp4")));
    std::fs::rename(
        folder.join("x.mp4"),
        folder.join(std::ffi::OsStr::from_bytes(b"2025\xff.mp4")),
    )
    .unwrap();
    let outside = site.path("outside.mp4");
    put(segment, &outside);
    std::os::unix::fs::symlink(&outside, folder.join("20250615_161000.mp4")).unwrap();
    std::os::unix::fs::symlink("20250615_150640.mp4", folder.join("20250615_162000.mp4")).unwrap();
    let pipe = folder.join("20250615_163000.mp4");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let whole = std::fs::read(segment).unwrap();
    let texts: [(&str, &[u8]); 4] = [
        ("20250615_164000.mp4", b""),
        (
            "20250615_165000.mp4",
            b"not a video at all, only a line of text\n",
        ),
        ("20250615_170000.mp4", b"#EXTM3U\n#EXTINF:4,\n/etc/passwd\n"),
        ("20250615_171000.mp4", &whole[..40]),
    ];
    for (name, content) in texts {
        std::fs::write(folder.join(name), content).unwrap();
        age(&folder.join(name));
    }
    std::fs::copy(segment, folder.join("20250615_180000.mp4")).unwrap();

    let server = site.start().await;
    let summary = server.imported("recordings", 1).await;
    let reasons: BTreeMap<_, _> = summary
        .left_out
        .iter()
        .map(|file| (file.path.as_str(), file.reason.as_str()))
        .collect();
    let exact = [
        (
            "gate/holiday.mp4",
            "the path does not fit the template {camera}/%Y%m%d_%H%M%S.mp4",
        ),
        (
            "gate/20251399_000000.mp4",
            "the path states no possible time",
        ),
        (
            "gate/20250615_160000.mp4.part",
            "the name is that of an unfinished file",
        ),
        (".trash", "the name is that of a hidden file or folder"),
        ("gate/notes.txt", "the name is not that of a video"),
        ("gate/2025\u{fffd}.mp4", "the path is not UTF-8"),
        (
            "gate/20250615_161000.mp4",
            "a symbolic link that leads out of the source; make its target a source of its own",
        ),
        (
            "gate/20250615_162000.mp4",
            "a symbolic link within the source; its target is found at its own path",
        ),
        ("gate/20250615_163000.mp4", "not a regular file"),
        ("gate/20250615_180000.mp4", "still being written"),
    ];
    for (path, expected) in exact {
        assert_eq!(reasons.get(path), Some(&expected), "{path}: {reasons:#?}");
    }
    for (name, _) in texts {
        let told = reasons
            .get(format!("gate/{name}").as_str())
            .copied()
            .unwrap_or_default();
        assert!(!told.is_empty(), "{name}: {reasons:#?}");
        let site = site.recordings();
        assert!(
            !told.contains(site.to_str().unwrap()) && !told.contains('\n'),
            "{told}"
        );
    }
    let expected = i64::try_from(exact.len() + texts.len()).unwrap();
    assert_eq!(counts(&summary), [1, 0, 0, 0, expected], "{reasons:#?}");
    assert_eq!(server.segments("gate").await.len(), 1);
    assert_eq!(server.stop(), 0);

    // The command names them too.
    let (code, out, err) = site.run(&["import", site.recordings().to_str().unwrap(), "--left-out"]);
    assert_eq!(code, 0, "{err}");
    for (path, told) in exact.iter().filter(|(path, _)| path.is_ascii()) {
        assert!(out.contains(path) && out.contains(told), "{path} in\n{out}");
    }
    site.check_left(&[]);
}

/// A folder of MediaMTX with a file that only ffmpeg can read.
fn folder_with_a_stream(site: &Site) -> PathBuf {
    let recording = twelve_seconds();
    let folder = site.path("old");
    for second in 10..40 {
        put(
            &recording.segments[0].path,
            &folder.join(format!("yard/2025-06-15_15-06-{second}-000000.mp4")),
        );
    }
    let stream = site.path("segment.ts");
    run(ffmpeg()
        .arg("-i")
        .arg(&recording.segments[0].path)
        .args(["-c", "copy", "-f", "mpegts"])
        .arg(&stream));
    put(&stream, &folder.join("yard/2025-06-15_15-06-59-000000.ts"));
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_keeps_what_it_took_in_and_the_next_one_goes_on() {
    let mut site = Site::new();
    let folder = folder_with_a_stream(&site);
    // The target of ffmpeg is there before it waits, as it would be when ffmpeg is at work.
    let mut gate = Gate::before(&mut site, "for last; do :; done; : > \"${last#file:}\"");
    let import = [
        "import",
        folder.to_str().unwrap(),
        "--layout",
        "mediamtx",
        "--zone",
        "UTC",
        "--source-id",
        "old",
        "--json",
    ];
    for (signal, code) in [(Signal::INT, Some(130)), (Signal::KILL, None)] {
        let before = gate.arrived();
        let mut child = site
            .footage(&import)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the import waits at the stream", || gate.arrived() > before);
        let children = children_of(child.id());
        assert!(!children.is_empty());
        kill_process(
            Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(),
            signal,
        )
        .unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), code, "{signal:?}");
        eventually("ffmpeg ends with the import", || {
            !children.iter().any(|pid| is_running(*pid))
        });
    }
    gate.open();
    let (code, out, err) = site.run(&import);
    assert_eq!(code, 0, "{out}\n{err}");
    let [added, updated, unchanged, missing, left_out] = printed_counts(&out);
    assert_eq!(
        (added + unchanged, updated, missing, left_out),
        (31, 0, 0, 0),
        "{out}"
    );
    let (_, out, _) = site.run(&import);
    assert_eq!(printed_counts(&out), [0, 0, 31, 0, 0]);

    // The server takes away what the killed import left, and no job of it stays unfinished.
    let server = site.start().await;
    server.imported("recordings", 1).await;
    assert_eq!(server.segments("yard").await.len(), 31);
    let jobs = server
        .jobs()
        .list_jobs(proto::ListJobsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .jobs;
    let states: Vec<_> = jobs.iter().rev().map(proto::Job::state).collect();
    assert_eq!(states[0], proto::JobState::Cancelled, "{states:?}");
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

/// The state of each segment of a camera by its start, in milliseconds.
async fn states(server: &Server, camera: &str) -> Vec<(i64, SegmentState)> {
    let segments = server.segments(camera).await;
    segments
        .iter()
        .map(|segment| (since_epoch(&segment.start_time), segment.state()))
        .collect()
}

async fn states_become(server: &Server, camera: &str, expected: &[(i64, SegmentState)]) {
    becomes(&format!("{camera} has {expected:?}"), async || {
        (states(server, camera).await == expected).then_some(())
    })
    .await;
}

use SegmentState::{Available, Missing};

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

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_listed_by_each_filter_in_pages_that_survive_new_ones() {
    let site = Site::new();
    let recording = twelve_seconds();
    site.record("gate", &recording);
    site.record("yard", &recording);
    std::fs::remove_file(site.recordings().join(heldar("yard", ms(8_000)))).unwrap();
    let server = site.start().await;
    server.imported("recordings", 1).await;
    std::fs::remove_file(site.recordings().join(heldar("gate", ms(4_000)))).unwrap();
    states_become(
        &server,
        "gate",
        &[(0, Available), (4_000, Missing), (8_000, Available)],
    )
    .await;
    let window = proto::CameraWindow {
        camera_id: "gate".to_owned(),
        start_time: time(epoch()),
        end_time: time(epoch() + ms(1_000)),
    };
    let selection = Some(proto::set_evidence_lock_request::Selection::Window(window));
    server
        .catalog()
        .set_evidence_lock(proto::SetEvidenceLockRequest {
            selection,
            ..Default::default()
        })
        .await
        .unwrap();

    let list = async |request: proto::ListSegmentsRequest| {
        server
            .catalog()
            .list_segments(request)
            .await
            .map(tonic::Response::into_inner)
    };
    let found = async |request| {
        let segments = list(request).await.unwrap().segments;
        segments
            .iter()
            .map(|segment| (segment.camera_id.clone(), since_epoch(&segment.start_time)))
            .collect::<Vec<_>>()
    };
    let gate = |from: i64| ("gate".to_owned(), from);
    let yard = |from: i64| ("yard".to_owned(), from);
    let all = proto::ListSegmentsRequest::default;
    let of_gate = || proto::ListSegmentsRequest {
        camera_id: "gate".to_owned(),
        ..all()
    };
    assert_eq!(
        found(of_gate()).await,
        [gate(8_000), gate(4_000), gate(0)],
        "newest first"
    );
    assert_eq!(found(all()).await.len(), 5);
    assert_eq!(
        found(proto::ListSegmentsRequest {
            start_time: time(epoch() + ms(8_500)),
            ..all()
        })
        .await,
        [gate(8_000)]
    );
    let early = found(proto::ListSegmentsRequest {
        end_time: time(epoch() + ms(4_000)),
        ..all()
    })
    .await;
    assert_eq!(early.len(), 2, "the end is not inside: {early:?}");
    assert!(early.contains(&gate(0)) && early.contains(&yard(0)));
    assert_eq!(
        found(proto::ListSegmentsRequest {
            evidence_locked_only: true,
            ..all()
        })
        .await,
        [gate(0)]
    );
    assert_eq!(
        found(proto::ListSegmentsRequest {
            state: Missing.into(),
            ..all()
        })
        .await,
        [gate(4_000)]
    );
    assert_eq!(
        found(proto::ListSegmentsRequest {
            state: Available.into(),
            ..of_gate()
        })
        .await,
        [gate(8_000), gate(0)]
    );

    let page = list(proto::ListSegmentsRequest {
        page_size: 2,
        ..of_gate()
    })
    .await
    .unwrap();
    assert_eq!(page.segments.len(), 2);
    put(
        &recording.segments[0].path,
        &site.recordings().join(heldar("gate", ms(60_000))),
    );
    becomes("the new segment is there", async || {
        (server.segments("gate").await.len() == 4).then_some(())
    })
    .await;
    let token = page.next_page_token;
    let rest = proto::ListSegmentsRequest {
        page_size: 2,
        page_token: token.clone(),
        ..of_gate()
    };
    let page = list(rest.clone()).await.unwrap();
    assert_eq!(
        page.segments
            .iter()
            .map(|segment| since_epoch(&segment.start_time))
            .collect::<Vec<_>>(),
        [0]
    );
    assert_eq!(page.next_page_token, "");

    let wrong = [
        (
            proto::ListSegmentsRequest {
                camera_id: "yard".to_owned(),
                ..rest.clone()
            },
            Code::InvalidArgument,
            "PAGE_TOKEN_INVALID",
        ),
        (
            proto::ListSegmentsRequest {
                page_token: "x".to_owned(),
                ..rest
            },
            Code::InvalidArgument,
            "PAGE_TOKEN_INVALID",
        ),
        (
            proto::ListSegmentsRequest {
                page_size: 1001,
                ..all()
            },
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            proto::ListSegmentsRequest { state: 99, ..all() },
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            proto::ListSegmentsRequest {
                start_time: time(epoch()),
                end_time: time(epoch()),
                ..all()
            },
            Code::InvalidArgument,
            "WINDOW_REVERSED",
        ),
        (
            proto::ListSegmentsRequest {
                camera_id: "nobody".to_owned(),
                ..all()
            },
            Code::NotFound,
            "CAMERA_NOT_FOUND",
        ),
    ];
    for (request, code, why) in wrong {
        let status = list(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (code, why));
    }
    let of_cameras = proto::ListCamerasRequest {
        page_token: token,
        ..Default::default()
    };
    let status = server.catalog().list_cameras(of_cameras).await.unwrap_err();
    assert_eq!(reason(&status), "PAGE_TOKEN_INVALID");
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_has_spans_gaps_and_locks_that_fill_the_window() {
    let site = Site::new();
    site.record("gate", &twelve_seconds());
    std::fs::remove_file(site.recordings().join(heldar("gate", ms(4_000)))).unwrap();
    let server = site.start().await;
    server.imported("recordings", 1).await;
    let segments = server.segments("gate").await;
    let window = |from: &Option<prost_types::Timestamp>, to: &Option<prost_types::Timestamp>| {
        (since_epoch(from), since_epoch(to))
    };
    let spans = |timeline: &proto::Timeline| {
        timeline
            .spans
            .iter()
            .map(|span| window(&span.start_time, &span.end_time))
            .collect::<Vec<_>>()
    };
    let gaps = |timeline: &proto::Timeline| {
        timeline
            .gaps
            .iter()
            .map(|gap| {
                (
                    since_epoch(&gap.start_time),
                    since_epoch(&gap.end_time),
                    gap.reason(),
                )
            })
            .collect::<Vec<_>>()
    };
    let (first, second) = (
        window(&segments[0].start_time, &segments[0].end_time),
        window(&segments[1].start_time, &segments[1].end_time),
    );

    let wide = timeline(&server, "gate", -10_000, 20_000, 0).await;
    assert_eq!(spans(&wide), [first, second]);
    let none = GapReason::NotRecorded;
    assert_eq!(
        gaps(&wide),
        [
            (-10_000, 0, none),
            (first.1, 8_000, none),
            (second.1, 20_000, none)
        ]
    );
    let covered = wide.covered.unwrap();
    assert_eq!(
        covered.seconds * 1000 + i64::from(covered.nanos / 1_000_000),
        first.1 - first.0 + second.1 - second.0
    );
    assert_eq!(wide.resolution, seconds(1));

    let narrow = timeline(&server, "gate", 1_000, 9_000, 0).await;
    assert_eq!(
        spans(&narrow),
        [(1_000, first.1), (8_000, 9_000)],
        "cut to the window"
    );
    let coarse = timeline(&server, "gate", -10_000, 20_000, 5).await;
    assert_eq!(
        spans(&coarse),
        [(0, second.1)],
        "jumps below the resolution are closed"
    );
    assert_eq!((gaps(&coarse).len(), coarse.resolution), (2, seconds(5)));

    // Without bounds it is all that was recorded.
    let whole = proto::GetTimelineRequest {
        camera_id: "gate".to_owned(),
        ..Default::default()
    };
    let whole = server
        .catalog()
        .get_timeline(whole)
        .await
        .unwrap()
        .into_inner();
    let asked = whole.window.clone().unwrap();
    assert_eq!(window(&asked.start_time, &asked.end_time), (0, second.1));
    assert_eq!(spans(&whole), [first, second]);

    let request = |from, to| proto::GetTimelineRequest {
        camera_id: "gate".to_owned(),
        start_time: time(epoch() + ms(from)),
        end_time: time(epoch() + ms(to)),
        resolution: None,
    };
    let status = server
        .catalog()
        .get_timeline(request(5, 5))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "WINDOW_REVERSED")
    );
    assert_eq!(status.message(), "`to` must be after `from`");
    let nobody = proto::GetTimelineRequest {
        camera_id: "nobody".to_owned(),
        ..request(0, 5)
    };
    let status = server.catalog().get_timeline(nobody).await.unwrap_err();
    assert_eq!(
        (reason(&status).as_str(), status.message()),
        ("CAMERA_NOT_FOUND", "camera nobody not found")
    );
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_held_for_each_incident_until_that_incident_is_released() {
    use proto::set_evidence_lock_request::Selection;
    let site = Site::new();
    site.record("gate", &twelve_seconds());
    let server = site.start().await;
    server.imported("recordings", 1).await;
    let segments = server.segments("gate").await;
    let window = |from, to| {
        Some(Selection::Window(proto::CameraWindow {
            camera_id: "gate".to_owned(),
            start_time: time(epoch() + ms(from)),
            end_time: time(epoch() + ms(to)),
        }))
    };
    let ids = |numbers: &[usize]| {
        let segment_ids = numbers
            .iter()
            .map(|number| segments[*number].id.clone())
            .collect();
        Some(Selection::Segments(proto::SegmentSelection { segment_ids }))
    };
    let change = async |selection, incident: &str, release: bool, all: bool| {
        let request = proto::SetEvidenceLockRequest {
            selection,
            incident_id: incident.to_owned(),
            release,
            all_incidents: all,
        };
        server
            .catalog()
            .set_evidence_lock(request)
            .await
            .map(tonic::Response::into_inner)
    };
    let changed = async |selection, incident: &str, release, all| {
        let answer = change(selection, incident, release, all).await.unwrap();
        (answer.segments_selected, answer.segments_changed)
    };
    let held = async || {
        let segments = server.segments("gate").await;
        segments
            .into_iter()
            .map(|segment| (segment.evidence_locked, segment.incident_ids.join(" ")))
            .collect::<Vec<_>>()
    };
    let held_as = |incidents: [Option<&str>; 3]| {
        incidents.map(|incident| (incident.is_some(), incident.unwrap_or_default().to_owned()))
    };

    let answer = change(window(5_000, 9_000), "case-17", false, false)
        .await
        .unwrap();
    assert_eq!((answer.segments_selected, answer.segments_changed), (2, 2));
    let span = answer.span.unwrap();
    assert_eq!(
        (span.camera_id.as_str(), &span.start_time, &span.end_time),
        ("gate", &segments[1].start_time, &segments[2].end_time)
    );
    assert_eq!(
        held().await,
        held_as([None, Some("case-17"), Some("case-17")])
    );
    assert_eq!(
        changed(window(5_000, 9_000), "case-17", false, false).await,
        (2, 0),
        "again"
    );
    assert_eq!(changed(ids(&[0, 1]), "", false, false).await, (2, 2));
    assert_eq!(changed(ids(&[1]), "case-18", false, false).await, (1, 1));
    assert_eq!(
        held().await,
        held_as([Some(""), Some("case-17 case-18"), Some("case-17")])
    );
    let locks = timeline(&server, "gate", 6_000, 7_000, 0).await.locks;
    let locks: Vec<_> = locks
        .iter()
        .map(|lock| {
            (
                lock.incident_id.as_str(),
                since_epoch(&lock.start_time),
                since_epoch(&lock.end_time),
            )
        })
        .collect();
    assert_eq!(locks.len(), 3, "{locks:?}");
    for incident in ["", "case-17", "case-18"] {
        assert!(locks.contains(&(incident, 6_000, 7_000)), "{locks:?}");
    }

    // A release is that of one incident; a lock without one is an incident of its own.
    assert_eq!(
        changed(window(0, 12_000), "case-17", true, false).await,
        (3, 2)
    );
    assert_eq!(held().await, held_as([Some(""), Some("case-18"), None]));
    assert_eq!(changed(ids(&[0, 1, 2]), "", true, false).await, (3, 2));
    assert_eq!(held().await, held_as([None, Some("case-18"), None]));
    assert_eq!(changed(ids(&[1]), "", false, false).await, (1, 1));
    assert_eq!(changed(window(0, 12_000), "", true, true).await, (3, 1));
    assert_eq!(held().await, held_as([None, None, None]));

    let unknown = Some(Selection::Segments(proto::SegmentSelection {
        segment_ids: vec!["seg_unknown".to_owned()],
    }));
    let no_ids = Some(Selection::Segments(proto::SegmentSelection::default()));
    let wrong = [
        (
            change(None, "", false, false).await,
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            change(no_ids, "", false, false).await,
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            change(window(0, 1), "a\nb", false, false).await,
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            change(window(0, 1), &"x".repeat(201), false, false).await,
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            change(window(0, 1), "", false, true).await,
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            change(window(0, 1), "case-17", true, true).await,
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            change(window(1, 1), "", false, false).await,
            Code::InvalidArgument,
            "WINDOW_REVERSED",
        ),
        (
            change(window(60_000, 61_000), "", false, false).await,
            Code::NotFound,
            "NO_FOOTAGE",
        ),
        (
            change(unknown, "", false, false).await,
            Code::NotFound,
            "SEGMENT_NOT_FOUND",
        ),
    ];
    for (answer, code, why) in wrong {
        let status = answer.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (code, why),
            "{}",
            status.message()
        );
    }
    assert_eq!(held().await, held_as([None, None, None]));
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_changed_by_field_and_only_from_its_present_state() {
    let site = Site::new();
    let server = site.start().await;
    server.imported("recordings", 1).await;
    let camera = |name: &str, label: &str, etag: &str| proto::Camera {
        id: "gate".to_owned(),
        display_name: name.to_owned(),
        labels: if label.is_empty() {
            BTreeMap::new()
        } else {
            BTreeMap::from([("site".to_owned(), label.to_owned())])
        },
        etag: etag.to_owned(),
        ..Default::default()
    };
    let upsert = async |camera: proto::Camera, mask: Option<&[&str]>| {
        let paths = mask.map(|paths| paths.iter().map(|path| (*path).to_owned()).collect());
        let update_mask = paths.map(|paths| prost_types::FieldMask { paths });
        let request = proto::UpsertCameraRequest {
            camera: Some(camera),
            update_mask,
        };
        server
            .catalog()
            .upsert_camera(request)
            .await
            .map(tonic::Response::into_inner)
    };
    let told = |camera: &proto::Camera| {
        (
            camera.display_name.clone(),
            camera.labels.get("site").cloned().unwrap_or_default(),
        )
    };
    let texts = |name: &str, label: &str| (name.to_owned(), label.to_owned());

    let made = upsert(camera("Gate", "north", ""), None).await.unwrap();
    assert_eq!(told(&made), texts("Gate", "north"));
    assert!(made.create_time.is_some() && !made.etag.is_empty() && made.segment_count == 0);
    let unset = upsert(camera("", "", ""), None).await.unwrap();
    assert_eq!(
        told(&unset),
        texts("Gate", "north"),
        "what is not set stays"
    );
    let named = upsert(
        camera("Gate 1", "south", &unset.etag),
        Some(&["display_name"]),
    )
    .await
    .unwrap();
    assert_eq!(
        told(&named),
        texts("Gate 1", "north"),
        "only what the mask names"
    );
    assert_ne!(named.etag, made.etag);
    let cleared = upsert(camera("", "", ""), Some(&["labels"])).await.unwrap();
    assert_eq!(told(&cleared), texts("Gate 1", ""), "the mask clears");

    for etag in [made.etag.as_str(), "nonsense"] {
        let status = upsert(camera("Late", "", etag), None).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Aborted, "ETAG_STALE")
        );
    }
    let get = proto::GetCameraRequest {
        camera_id: "gate".to_owned(),
    };
    assert_eq!(
        server.catalog().get_camera(get).await.unwrap().into_inner(),
        cleared
    );

    // All that is wrong is said at once.
    let many = (0..65)
        .map(|number| (format!("key{number}"), String::new()))
        .collect();
    let wrong = proto::Camera {
        id: "../gate".to_owned(),
        display_name: "x".repeat(201),
        labels: many,
        ..Default::default()
    };
    let status = upsert(wrong, Some(&["id"])).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "INVALID_FIELD")
    );
    assert_eq!(
        fields(&status),
        [
            "camera.id",
            "camera.display_name",
            "camera.labels",
            "update_mask"
        ]
    );
    for (key, value) in [("", "a"), ("a\nb", "a"), ("a", "a\u{0}b")] {
        let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let status = upsert(
            proto::Camera {
                labels,
                ..camera("", "", "")
            },
            None,
        )
        .await
        .unwrap_err();
        assert_eq!(fields(&status), ["camera.labels"], "{key:?} {value:?}");
    }
    for (key, value, fits) in [(63, 255, true), (64, 255, false), (63, 256, false)] {
        let labels = BTreeMap::from([("ä".repeat(key), "ä".repeat(value))]);
        assert_eq!(
            upsert(
                proto::Camera {
                    labels,
                    ..camera("", "", "")
                },
                None
            )
            .await
            .is_ok(),
            fits,
            "{key} {value}"
        );
    }
    let status = server
        .catalog()
        .upsert_camera(proto::UpsertCameraRequest::default())
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["camera"]);
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_forgotten_only_when_nothing_of_it_is_needed_and_its_files_stay() {
    use proto::set_evidence_lock_request::Selection;
    let site = Site::new();
    site.record("gate", &twelve_seconds());
    let server = site.start().await;
    server.imported("recordings", 1).await;
    let delete = async |force, etag: &str| {
        let request = proto::DeleteCameraRequest {
            camera_id: "gate".to_owned(),
            force,
            etag: etag.to_owned(),
        };
        server
            .catalog()
            .delete_camera(request)
            .await
            .map(tonic::Response::into_inner)
    };
    let lock = async |release| {
        let window = proto::CameraWindow {
            camera_id: "gate".to_owned(),
            start_time: time(epoch()),
            end_time: time(epoch() + ms(1_000)),
        };
        let selection = Some(Selection::Window(window));
        let request = proto::SetEvidenceLockRequest {
            selection,
            release,
            incident_id: "case-17".to_owned(),
            ..Default::default()
        };
        server.catalog().set_evidence_lock(request).await.unwrap();
    };
    let refused = |status: tonic::Status| (status.code(), reason(&status));
    let in_use = || (Code::FailedPrecondition, "CAMERA_IN_USE".to_owned());
    assert_eq!(refused(delete(false, "").await.unwrap_err()), in_use());
    lock(false).await;
    assert_eq!(refused(delete(true, "").await.unwrap_err()), in_use());
    assert_eq!(server.segments("gate").await.len(), 3);
    lock(true).await;
    assert_eq!(
        refused(delete(true, "nonsense").await.unwrap_err()),
        (Code::Aborted, "ETAG_STALE".to_owned())
    );
    assert_eq!(delete(true, "").await.unwrap().segments_forgotten, 3);
    assert_eq!(
        refused(delete(true, "").await.unwrap_err()),
        (Code::NotFound, "CAMERA_NOT_FOUND".to_owned())
    );
    let get = proto::GetCameraRequest {
        camera_id: "gate".to_owned(),
    };
    assert_eq!(
        refused(server.catalog().get_camera(get).await.unwrap_err()).1,
        "CAMERA_NOT_FOUND"
    );
    assert_eq!(
        super::server::files_in(&site.recordings().join("gate")).len(),
        3
    );
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_are_listed_in_pages_the_newest_first() {
    let site = Site::new();
    let server = site.start().await;
    for id in ["one", "two", "three"] {
        let camera = Some(proto::Camera {
            id: id.to_owned(),
            ..Default::default()
        });
        server
            .catalog()
            .upsert_camera(proto::UpsertCameraRequest {
                camera,
                update_mask: None,
            })
            .await
            .unwrap();
    }
    let list = async |page_token: String| {
        let request = proto::ListCamerasRequest {
            page_size: 2,
            page_token,
        };
        server
            .catalog()
            .list_cameras(request)
            .await
            .unwrap()
            .into_inner()
    };
    let ids = |page: &proto::ListCamerasResponse| {
        page.cameras
            .iter()
            .map(|camera| camera.id.clone())
            .collect::<Vec<_>>()
    };
    let first = list(String::new()).await;
    assert_eq!(ids(&first), ["three", "two"]);
    let second = list(first.next_page_token).await;
    assert_eq!(
        (ids(&second), second.next_page_token.as_str()),
        (vec!["one".to_owned()], "")
    );
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}
