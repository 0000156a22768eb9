//! Importing what recorders left: layouts, reasons for leaving out, repetition, interruption.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use chrono::{DateTime, TimeDelta, Utc};
use heldar_footage::proto::{self, SegmentState};
use rustix::process::{Pid, Signal, kill_process};

use super::{counts, heldar, printed_counts, since_epoch, utc};
use crate::footage::{epoch, ffmpeg, ms, run};
use crate::server::{Site, age, children_of, eventually, is_running, put, seconds, twelve_seconds};
use crate::stand_in::Gate;

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

#[test]
fn an_import_goes_on_while_its_progress_is_saved() {
    let site = Site::new();
    let recording = twelve_seconds();
    let first = site.recordings().join(heldar("gate", TimeDelta::zero()));
    put(&recording.segments[0].path, &first);
    // So many that reading them takes longer than the second after which progress is saved.
    for number in 1..4_000 {
        let name = heldar("gate", TimeDelta::seconds(number * 4));
        std::fs::hard_link(&first, site.recordings().join(name)).unwrap();
    }
    let folder = site.recordings();
    let (code, out, err) = site.run(&["import", folder.to_str().unwrap(), "--json"]);
    assert_eq!(code, 0, "{out}\n{err}");
    assert!(out.contains(r#""segmentsAdded":"4000""#), "{out}");
    assert!(!err.contains("WARN") && !err.contains("ERROR"), "{err}");
}
