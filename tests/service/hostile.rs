//! Hostile input: names, files that lie, and requests.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use heldar_footage::proto::{self, GapReason, JobState};
use tonic::{Code, Status};

use crate::footage::{Frame, Layout, Recipe, decode, epoch, ms};
use crate::recorder::{
    CAMERA, age, ask, check, cut, fetch, gap_reasons, heldar_name, import, lay, place, run_job,
    unfollowed,
};
use crate::server::{Server, Site, clip_of, fields, notice_reason, reason, time};

const FRAME: TimeDelta = TimeDelta::milliseconds(40);

fn footage() -> Recipe {
    Recipe {
        length_s: 10,
        ..Recipe::plain()
    }
}

/// Names that lead out of folders, into options, or into other syntax.
fn odd_names() -> Vec<String> {
    let names = [
        "-y",
        "--config=evil",
        "#x",
        " x ",
        "it's",
        "say \"x\"",
        "a:b",
        "%d",
        "%03d",
        "$(touch evil)",
        "a;b|c&d",
        "back\\slash",
        "CON",
        "nul",
        "\u{202e}4pm",
        "Tu\u{308}r",
        "T\u{fc}r",
        "*?[a]",
        "file:x",
        "pipe:0",
        "concat:a|b",
    ];
    let mut names: Vec<String> = names.map(str::to_owned).to_vec();
    names.push("n".repeat(200));
    names
}

/// Segments of the catalog by path.
async fn segments(server: &Server) -> Vec<proto::Segment> {
    let request = proto::ListSegmentsRequest {
        page_size: 1000,
        ..Default::default()
    };
    server
        .catalog()
        .list_segments(request)
        .await
        .unwrap()
        .into_inner()
        .segments
}

/// Hands files in, each with its own camera unless told otherwise.
async fn register(
    server: &Server,
    messages: Vec<proto::RegisterSegmentsRequest>,
) -> proto::RegisterSegmentsResponse {
    server
        .catalog()
        .register_segments(tokio_stream::iter(messages))
        .await
        .unwrap()
        .into_inner()
}

fn message(camera: &str, path: &str, start_ms: i64) -> proto::RegisterSegmentsRequest {
    proto::RegisterSegmentsRequest {
        camera_id: camera.to_owned(),
        source_id: "still".to_owned(),
        path: path.to_owned(),
        start_time: time(epoch() + ms(start_ms)),
    }
}

/// Checks that the clip of a camera's ten seconds shows exactly its frames.
async fn check_camera(server: &Server, camera: &str, frames: &[Frame]) -> proto::Clip {
    let (_, clip) = cut(server, ask(camera, 0, 10_000)).await;
    check(server, &clip, frames, TimeDelta::zero(), FRAME).await;
    clip
}

#[tokio::test]
async fn files_with_odd_names_are_imported_and_cut_and_bad_ones_are_left_out() {
    let recording = footage().record();
    let file = &recording.segments[0].path;
    let site = unfollowed();
    let stamp = epoch().format("%Y%m%d_%H%M%S");
    let names = odd_names();
    for (number, name) in names.iter().enumerate() {
        place(&site, &format!("camera{number}/{name}_{stamp}.mp4"), file);
        place(&site, &format!("{name}/x_{stamp}.mp4"), file);
    }
    for bad in [&b"a\nb"[..], b"a\xffb", b"a\rb", b"a\x1bb"] {
        for path in [
            [b"c/", bad, b"_20250615_150640.mp4"].concat(),
            [bad, b"/x_20250615_150640.mp4"].concat(),
        ] {
            let target = site.recordings().join(Path::new(OsStr::from_bytes(&path)));
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(file, &target).unwrap();
            age(&target);
        }
    }
    let told = import(
        &site,
        &[
            "--layout",
            "{camera}/{any}_%Y%m%d_%H%M%S.mp4",
            "--zone",
            "UTC",
        ],
    );
    assert!(
        !told.chars().any(|c| c.is_control() && c != '\n'),
        "control characters in the summary: {told:?}"
    );
    assert!(
        told.contains("control character") && told.contains("UTF-8"),
        "{told}"
    );
    let server = site.start().await;
    let found = segments(&server).await;
    assert_eq!(found.len(), 2 * names.len());
    let mut clips = Vec::new();
    for segment in &found {
        let id = &segment.camera_id;
        assert!(
            id.bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')),
            "{id}"
        );
    }
    let mut cameras: Vec<&str> = found
        .iter()
        .map(|segment| segment.camera_id.as_str())
        .collect();
    cameras.sort_unstable();
    cameras.dedup();
    assert_eq!(
        cameras.len(),
        2 * names.len(),
        "no two names become one camera"
    );
    for camera in cameras {
        clips.push(check_camera(&server, camera, &recording.frames).await);
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
    assert!(!site.path("evil").exists());
}

#[tokio::test]
async fn files_with_odd_names_can_be_handed_in_and_cut() {
    let recording = footage().record();
    let site = unfollowed();
    place(
        &site,
        "known/20250615_150640.mp4",
        &recording.segments[0].path,
    );
    import(&site, &[]);
    let server = site.start().await;
    let names = odd_names();
    let messages: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(number, name)| {
            place(
                &site,
                &format!("odd/{name}.mp4"),
                &recording.segments[0].path,
            );
            message(&format!("odd{number}"), &format!("odd/{name}.mp4"), 0)
        })
        .collect();
    let answer = register(&server, messages).await;
    assert_eq!(
        (answer.segments_added, answer.rejected.len()),
        (names.len() as i64, 0),
        "{answer:?}"
    );
    let mut clips = Vec::new();
    for number in 0..names.len() {
        clips.push(check_camera(&server, &format!("odd{number}"), &recording.frames).await);
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
}

/// A file outside of the recordings, with other pictures.
fn secret(site: &Site) -> (PathBuf, Vec<Frame>) {
    let secret = Recipe {
        size: "192x108",
        rate: "25",
        gop_frames: 50,
        ..footage()
    }
    .record();
    let path = site.path("secret.mp4");
    std::fs::copy(&secret.segments[0].path, &path).unwrap();
    age(&path);
    (path, secret.frames.clone())
}

#[tokio::test]
async fn paths_that_leave_the_source_cannot_be_handed_in() {
    let recording = footage().record();
    let site = unfollowed();
    place(
        &site,
        "known/20250615_150640.mp4",
        &recording.segments[0].path,
    );
    let (secret, _) = secret(&site);
    symlink(&secret, site.recordings().join("known/link.mp4")).unwrap();
    symlink(
        "20250615_150640.mp4",
        site.recordings().join("known/inside.mp4"),
    )
    .unwrap();
    symlink(site.path(""), site.recordings().join("out")).unwrap();
    std::fs::create_dir(site.recordings().join("folder.mp4")).unwrap();
    import(&site, &[]);
    let server = site.start().await;
    let long = format!("known/{}.mp4", "n".repeat(300));
    let too_long = "a/".repeat(600) + "x.mp4";
    let cases = [
        ("", Code::InvalidArgument),
        ("../secret.mp4", Code::InvalidArgument),
        ("known/../../secret.mp4", Code::InvalidArgument),
        ("known/../known/20250615_150640.mp4", Code::InvalidArgument),
        ("./known/20250615_150640.mp4", Code::InvalidArgument),
        ("known//20250615_150640.mp4", Code::InvalidArgument),
        ("/etc/passwd", Code::InvalidArgument),
        (secret.to_str().unwrap(), Code::InvalidArgument),
        (".", Code::InvalidArgument),
        ("..", Code::InvalidArgument),
        ("known/a\nb.mp4", Code::InvalidArgument),
        ("known/a\0b.mp4", Code::InvalidArgument),
        (too_long.as_str(), Code::InvalidArgument),
        ("known/link.mp4", Code::DataLoss),
        ("known/inside.mp4", Code::DataLoss),
        ("out/secret.mp4", Code::DataLoss),
        ("folder.mp4", Code::DataLoss),
        ("known/nothing.mp4", Code::NotFound),
        ("~/secret.mp4", Code::NotFound),
        ("http://127.0.0.1/x.mp4", Code::InvalidArgument),
        ("file:known/20250615_150640.mp4", Code::NotFound),
        (long.as_str(), Code::DataLoss),
    ];
    let answer = register(
        &server,
        cases
            .iter()
            .map(|(path, _)| message("cam", path, 0))
            .collect(),
    )
    .await;
    assert_eq!(
        (answer.segments_added, answer.files_rejected),
        (0, cases.len() as i64)
    );
    for ((path, code), rejected) in cases.iter().zip(&answer.rejected) {
        let error = rejected.error.as_ref().unwrap();
        assert_eq!(rejected.path, *path);
        assert_eq!(Code::from_i32(error.code), *code, "{path}: {error:?}");
        assert!(
            !format!("{error:?}").contains(site.path("").to_str().unwrap()),
            "a path of the server: {error:?}"
        );
        notice_reason(error);
    }
    let unknown = proto::RegisterSegmentsRequest {
        source_id: "../x".to_owned(),
        ..message("../x", "../x", 0)
    };
    let answer = register(&server, vec![unknown]).await;
    assert_eq!(answer.files_rejected, 1);
    assert_eq!(segments(&server).await.len(), 1);
    let clip = check_camera(&server, "known", &recording.frames).await;
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn links_put_in_the_place_of_known_files_are_never_followed() {
    let recording = footage().record();
    let site = unfollowed();
    let kept = place(
        &site,
        &heldar_name(CAMERA, epoch()),
        &recording.segments[0].path,
    );
    let file = place(
        &site,
        &heldar_name(CAMERA, epoch() + ms(10_000)),
        &recording.segments[0].path,
    );
    let folder = place(
        &site,
        &heldar_name("gate_b", epoch()),
        &recording.segments[0].path,
    );
    import(&site, &[]);
    let (secret, _) = secret(&site);
    std::fs::remove_file(&file).unwrap();
    symlink(&secret, &file).unwrap();
    let folder = folder.parent().unwrap();
    std::fs::create_dir(site.path("elsewhere")).unwrap();
    std::fs::copy(&secret, site.path("elsewhere").join("20250615_150640.mp4")).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    symlink(site.path("elsewhere"), folder).unwrap();
    let server = site.start().await;
    let (job, clip) = cut(&server, ask(CAMERA, 0, 20_000)).await;
    check(&server, &clip, &recording.frames, TimeDelta::zero(), FRAME).await;
    assert_eq!(gap_reasons(&clip), [GapReason::FileDamaged]);
    assert_eq!(
        job.warnings.iter().map(notice_reason).collect::<Vec<_>>(),
        ["FILE_DAMAGED"]
    );
    let failed = run_job(&server, ask("gate_b", 0, 10_000)).await;
    assert_eq!(notice_reason(failed.error.as_ref().unwrap()), "NO_FOOTAGE");
    assert!(kept.exists());
    server.stop_with(&site, &[&clip]);
}

/// Files that are named `.mp4` and are none; what some of them point to must never be read.
fn impostors(secret: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let at = secret.display();
    vec![
        (
            "hls",
            format!(
                "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{at}\n#EXT-X-ENDLIST\n"
            )
            .into_bytes(),
        ),
        (
            "hls_relative",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n../../secret.mp4\n#EXT-X-ENDLIST\n"
                .to_vec(),
        ),
        (
            "concat",
            format!("ffconcat version 1.0\nfile '{at}'\n").into_bytes(),
        ),
        (
            "dash",
            format!("<?xml version=\"1.0\"?><MPD><BaseURL>file://{at}</BaseURL></MPD>")
                .into_bytes(),
        ),
        (
            "sdp",
            b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n".to_vec(),
        ),
        ("text", b"this is no footage\n".repeat(100)),
        ("zeros", vec![0; 100_000]),
        ("one_byte", vec![0x47]),
        ("empty", Vec::new()),
        (
            "sync_bytes",
            [&[0x47][..], &[0xff; 187]].concat().repeat(500),
        ),
        (
            "ebml",
            [&[0x1a, 0x45, 0xdf, 0xa3][..], &[0xff; 5_000]].concat(),
        ),
        (
            "ftyp_alone",
            b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2".to_vec(),
        ),
    ]
}

#[tokio::test]
async fn files_that_only_pretend_to_be_footage_are_left_out_and_nothing_they_name_is_read() {
    let recording = footage().record();
    let site = unfollowed();
    let (secret, _) = secret(&site);
    let good = place(
        &site,
        &heldar_name(CAMERA, epoch()),
        &recording.segments[0].path,
    );
    let impostors = impostors(&secret);
    for (name, bytes) in &impostors {
        let path = place(&site, &heldar_name(&name.replace('_', "-"), epoch()), &good);
        std::fs::write(&path, bytes).unwrap();
        age(&path);
        // The same, put in the place of a file that was footage when it was imported.
        place(
            &site,
            &heldar_name(&format!("was-{}", name.replace('_', "-")), epoch()),
            &good,
        );
    }
    let told = import(&site, &[]);
    for (name, _) in &impostors {
        assert!(
            told.contains(&format!("{}/", name.replace('_', "-"))),
            "{name} is named: {told}"
        );
    }
    for (name, bytes) in &impostors {
        std::fs::write(
            site.recordings().join(heldar_name(
                &format!("was-{}", name.replace('_', "-")),
                epoch(),
            )),
            bytes,
        )
        .unwrap();
    }
    let server = site.start().await;
    let mut messages = Vec::new();
    for (name, _) in &impostors {
        messages.push(message(
            "handed-in",
            &heldar_name(&name.replace('_', "-"), epoch()),
            0,
        ));
    }
    let answer = register(&server, messages).await;
    assert_eq!(
        (answer.segments_added, answer.files_rejected),
        (0, impostors.len() as i64),
        "{answer:?}"
    );
    for rejected in &answer.rejected {
        assert_eq!(
            notice_reason(rejected.error.as_ref().unwrap()),
            "FILE_DAMAGED",
            "{}",
            rejected.path
        );
    }
    for (name, _) in &impostors {
        let camera = name.replace('_', "-");
        let refused = server
            .clips()
            .create_clip(ask(&camera, 0, 5_000))
            .await
            .unwrap_err();
        assert!(
            ["NO_FOOTAGE", "CAMERA_NOT_FOUND"].contains(&reason(&refused).as_str()),
            "{camera}"
        );
        let job = run_job(&server, ask(&format!("was-{camera}"), 0, 5_000)).await;
        assert_eq!(job.state(), JobState::Failed, "{camera}");
        assert_eq!(
            notice_reason(job.error.as_ref().unwrap()),
            "NO_FOOTAGE",
            "{camera}"
        );
    }
    let clip = check_camera(&server, CAMERA, &recording.frames).await;
    server.stop_with(&site, &[&clip]);
}

/// Offsets and names of the boxes of a file and of what is inside of containers.
fn boxes(bytes: &[u8], from: usize, to: usize, found: &mut Vec<(usize, [u8; 4])>) {
    let mut at = from;
    while at + 8 <= to {
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let name: [u8; 4] = bytes[at + 4..at + 8].try_into().unwrap();
        let end = if size < 8 { to } else { (at + size).min(to) };
        found.push((at, name));
        if [
            b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex", b"moof", b"traf",
            b"dinf",
        ]
        .contains(&&name)
        {
            boxes(bytes, at + 8, end, found);
        } else if &name == b"stsd" {
            boxes(bytes, at + 16, end, found);
        }
        at = end;
    }
}

#[tokio::test]
async fn files_cut_at_every_box_give_their_beginning_or_nothing_and_never_a_false_frame() {
    for layout in [Layout::Fragmented, Layout::Progressive] {
        let recording = Recipe {
            layout,
            ..footage()
        }
        .record();
        let whole = std::fs::read(&recording.segments[0].path).unwrap();
        let mut found = Vec::new();
        boxes(&whole, 0, whole.len(), &mut found);
        let mut cuts: Vec<usize> = found
            .iter()
            .flat_map(|(at, _)| [*at, at + 4, at + 9])
            .collect();
        cuts.push(whole.len() - 1);
        cuts.sort_unstable();
        cuts.dedup();
        // Of the many fragments the first ones and the last show all that can happen.
        let cuts: Vec<usize> = if cuts.len() > 90 {
            cuts.iter()
                .copied()
                .take(70)
                .chain(cuts.iter().copied().rev().take(15))
                .collect()
        } else {
            cuts
        };
        let site = unfollowed();
        place(
            &site,
            &heldar_name(CAMERA, epoch()),
            &recording.segments[0].path,
        );
        import(&site, &[]);
        let server = site.start().await;
        let mut messages = Vec::new();
        for at in &cuts {
            let path = place(&site, &format!("cut/{at}.mp4"), &recording.segments[0].path);
            std::fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(*at as u64)
                .unwrap();
            age(&path);
            messages.push(message(&format!("cut{at}"), &format!("cut/{at}.mp4"), 0));
        }
        let answer = register(&server, messages).await;
        assert_eq!(
            answer.segments_added + answer.files_rejected,
            cuts.len() as i64
        );
        assert!(
            answer.segments_added >= 1 && answer.files_rejected >= 5,
            "{answer:?}"
        );
        for rejected in &answer.rejected {
            assert_eq!(
                notice_reason(rejected.error.as_ref().unwrap()),
                "FILE_DAMAGED",
                "{}",
                rejected.path
            );
        }
        let cameras: Vec<String> = segments(&server)
            .await
            .into_iter()
            .map(|segment| segment.camera_id)
            .filter(|id| id != CAMERA)
            .collect();
        let mut clips = Vec::new();
        for camera in cameras {
            // The catalog knows how far such a file goes, so its end is no gap within a shorter window.
            let job = run_job(&server, ask(&camera, 0, 10_000)).await;
            if job.state() == JobState::Succeeded {
                let clip = clip_of(&job);
                let shown = decode(&fetch(&server, &clip).await.path());
                crate::recorder::check_frames(&shown, &recording.frames[..shown.len()]);
                clips.push(clip);
            } else {
                assert_eq!(
                    notice_reason(job.error.as_ref().unwrap()),
                    "NO_FOOTAGE",
                    "{camera}: {:?}",
                    job.error
                );
            }
        }
        clips.push(check_camera(&server, CAMERA, &recording.frames).await);
        server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn boxes_that_lie_cost_neither_memory_nor_the_server_nor_make_internal_errors() {
    for layout in [Layout::Fragmented, Layout::Progressive] {
        let recording = Recipe {
            layout,
            ..footage()
        }
        .record();
        let whole = std::fs::read(&recording.segments[0].path).unwrap();
        let mut found = Vec::new();
        boxes(&whole, 0, whole.len(), &mut found);
        let mut seen = Vec::new();
        let mut lies = Vec::new();
        for (at, name) in found {
            // The same box of the second track or of a later fragment lies as the first one does.
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            // Size, flags and version, and the fields after them: counts, time scales, times, offsets.
            for offset in [0, 8, 12, 16, 20, 24] {
                for lie in [0_u32, 1, 0x7fff_ffff, 0xffff_ffff] {
                    let place = at + offset;
                    if place + 4 <= whole.len() && whole[place..place + 4] != lie.to_be_bytes() {
                        lies.push((
                            format!("{}-{offset}-{lie}", String::from_utf8_lossy(&name)),
                            place,
                            lie,
                        ));
                    }
                }
            }
        }
        let site = unfollowed();
        place(
            &site,
            &heldar_name(CAMERA, epoch()),
            &recording.segments[0].path,
        );
        import(&site, &[]);
        let server = site.start().await;
        let mut messages = Vec::new();
        for (number, (name, at, lie)) in lies.iter().enumerate() {
            let mut bytes = whole.clone();
            bytes[*at..at + 4].copy_from_slice(&lie.to_be_bytes());
            let relative = format!("lies/{number}_{name}.mp4");
            let path = place(&site, &relative, &recording.segments[0].path);
            std::fs::write(&path, bytes).unwrap();
            // All of one camera, one after another, so that few clips read them all.
            messages.push(message("liar", &relative, number as i64 * 10_000));
        }
        let answer = register(&server, messages).await;
        assert_eq!(
            answer.segments_added + answer.files_rejected,
            lies.len() as i64,
            "{answer:?}"
        );
        for rejected in &answer.rejected {
            assert_eq!(
                notice_reason(rejected.error.as_ref().unwrap()),
                "FILE_DAMAGED",
                "{}",
                rejected.path
            );
        }
        let mut clips = Vec::new();
        for first in (0..lies.len()).step_by(40) {
            let (from, to) = (first as i64 * 10_000, (first as i64 + 40) * 10_000);
            match server.clips().create_clip(ask("liar", from, to)).await {
                Err(refused) => assert_eq!(reason(&refused), "NO_FOOTAGE", "{refused:?}"),
                Ok(job) => {
                    let job = crate::server::ended(&server, &job.into_inner().id).await;
                    match job.state() {
                        JobState::Succeeded => clips.push(clip_of(&job)),
                        _ => assert_eq!(
                            notice_reason(job.error.as_ref().unwrap()),
                            "NO_FOOTAGE",
                            "{first}: {:?}",
                            job.error
                        ),
                    }
                }
            }
        }
        assert!(!clips.is_empty(), "many lies do no harm to the pictures");
        assert!(
            server.peak_memory_bytes() < 400 << 20,
            "{} bytes of memory",
            server.peak_memory_bytes()
        );
        clips.push(check_camera(&server, CAMERA, &recording.frames).await);
        server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
    }
}

/// Texts that are no id of anything.
fn bad_ids() -> Vec<String> {
    let ids = [
        "..",
        ".",
        "../../etc/passwd",
        "/abs",
        "a/b",
        "it's",
        "a\"b",
        "a\nb",
        "a\r\nb",
        "a\0b",
        "-rf",
        "--help",
        "A",
        "a b",
        " a",
        "a:b",
        "\u{202e}a",
        "u\u{308}",
        "%00",
        "a;DROP TABLE clips",
        "' OR 1=1 --",
        "\u{7f}",
        "a.mp4",
        "#x",
    ];
    let mut ids: Vec<String> = ids.map(str::to_owned).to_vec();
    ids.push("a".repeat(300));
    ids
}

fn check_told(status: &Status) {
    assert!(
        !status.message().chars().any(char::is_control),
        "control characters are told: {:?}",
        status.message()
    );
    assert!(
        status.message().len() < 1_000,
        "{} bytes are told",
        status.message().len()
    );
}

fn check_invalid(what: &str, answer: Result<(), Status>, field: &str) {
    let status = answer.expect_err(what);
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "INVALID_FIELD"),
        "{what}: {status:?}"
    );
    assert_eq!(fields(&status), [field], "{what}");
    check_told(&status);
}

fn check_missing(what: &str, answer: Result<(), Status>, why: &str) {
    let status = answer.expect_err(what);
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, why),
        "{what}: {status:?}"
    );
    check_told(&status);
}

/// A call whose answer does not matter.
macro_rules! called {
    ($client:expr, $method:ident, $request:expr) => {
        $client.$method($request).await.map(drop)
    };
}

#[tokio::test]
async fn ids_that_are_none_are_refused_by_every_method_with_the_path_of_the_field() {
    use heldar_footage::proto::set_evidence_lock_request::Selection;
    let recording = footage().record();
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let (mut catalog, mut clips, mut jobs) = (server.catalog(), server.clips(), server.jobs());
    let mut ids = bad_ids();
    ids.push(String::new());
    for id in &ids {
        let what = format!("{id:?}");
        let camera = Some(proto::Camera {
            id: id.clone(),
            ..Default::default()
        });
        check_invalid(
            &what,
            called!(
                catalog,
                upsert_camera,
                proto::UpsertCameraRequest {
                    camera,
                    update_mask: None
                }
            ),
            "camera.id",
        );
        check_invalid(
            &what,
            called!(
                catalog,
                get_camera,
                proto::GetCameraRequest {
                    camera_id: id.clone()
                }
            ),
            "camera_id",
        );
        let request = proto::DeleteCameraRequest {
            camera_id: id.clone(),
            force: true,
            ..Default::default()
        };
        check_invalid(&what, called!(catalog, delete_camera, request), "camera_id");
        let request = proto::GetTimelineRequest {
            camera_id: id.clone(),
            ..Default::default()
        };
        check_invalid(&what, called!(catalog, get_timeline, request), "camera_id");
        let window = proto::CameraWindow {
            camera_id: id.clone(),
            start_time: time(epoch()),
            end_time: time(epoch() + ms(1_000)),
        };
        let request = proto::SetEvidenceLockRequest {
            selection: Some(Selection::Window(window)),
            ..Default::default()
        };
        check_invalid(
            &what,
            called!(catalog, set_evidence_lock, request),
            "window.camera_id",
        );
        let chosen = proto::SegmentSelection {
            segment_ids: vec![id.clone()],
        };
        let request = proto::SetEvidenceLockRequest {
            selection: Some(Selection::Segments(chosen)),
            ..Default::default()
        };
        check_invalid(
            &what,
            called!(catalog, set_evidence_lock, request),
            "segments.segment_ids",
        );
        check_invalid(
            &what,
            called!(clips, create_clip, ask(id, 0, 1_000)),
            "camera_id",
        );
    }
    check_invalid(
        "empty",
        called!(clips, get_clip, proto::GetClipRequest::default()),
        "clip_id",
    );
    check_invalid(
        "empty",
        called!(clips, delete_clip, proto::DeleteClipRequest::default()),
        "clip_id",
    );
    check_invalid(
        "empty",
        called!(clips, download_clip, proto::DownloadClipRequest::default()),
        "clip_id",
    );
    check_invalid(
        "empty",
        called!(jobs, get_job, proto::GetJobRequest::default()),
        "job_id",
    );
    check_invalid(
        "empty",
        called!(jobs, watch_job, proto::WatchJobRequest::default()),
        "job_id",
    );
    check_invalid(
        "empty",
        called!(jobs, cancel_job, proto::CancelJobRequest::default()),
        "job_id",
    );
    check_invalid(
        "empty",
        called!(jobs, retry_job, proto::RetryJobRequest::default()),
        "job_id",
    );
    for id in bad_ids() {
        for id in [id.clone(), format!("clip_{id}\n"), format!("job_{id}/")] {
            let what = format!("{id:?}");
            check_missing(
                &what,
                called!(
                    clips,
                    get_clip,
                    proto::GetClipRequest {
                        clip_id: id.clone()
                    }
                ),
                "CLIP_NOT_FOUND",
            );
            check_missing(
                &what,
                called!(
                    clips,
                    delete_clip,
                    proto::DeleteClipRequest {
                        clip_id: id.clone()
                    }
                ),
                "CLIP_NOT_FOUND",
            );
            let request = proto::DownloadClipRequest {
                clip_id: id.clone(),
                ..Default::default()
            };
            check_missing(
                &what,
                called!(clips, download_clip, request),
                "CLIP_NOT_FOUND",
            );
            check_missing(
                &what,
                called!(jobs, get_job, proto::GetJobRequest { job_id: id.clone() }),
                "JOB_NOT_FOUND",
            );
            let request = proto::WatchJobRequest {
                job_id: id.clone(),
                ..Default::default()
            };
            check_missing(&what, called!(jobs, watch_job, request), "JOB_NOT_FOUND");
            check_missing(
                &what,
                called!(
                    jobs,
                    cancel_job,
                    proto::CancelJobRequest { job_id: id.clone() }
                ),
                "JOB_NOT_FOUND",
            );
            let request = proto::RetryJobRequest {
                job_id: id.clone(),
                ..Default::default()
            };
            check_missing(&what, called!(jobs, retry_job, request), "JOB_NOT_FOUND");
        }
        let what = format!("{id:?}");
        let request = proto::CreateClipRequest {
            clip_id: format!("clip_{id}/"),
            ..ask(CAMERA, 0, 1_000)
        };
        check_invalid(&what, called!(clips, create_clip, request), "clip_id");
        let request = proto::CreateClipRequest {
            request_id: id.clone(),
            ..ask(CAMERA, 0, 1_000)
        };
        check_invalid(&what, called!(clips, create_clip, request), "request_id");
        let request = proto::ListClipsRequest {
            camera_id: id.clone(),
            ..Default::default()
        };
        check_invalid(&what, called!(clips, list_clips, request), "camera_id");
        let request = proto::ListSegmentsRequest {
            camera_id: id.clone(),
            ..Default::default()
        };
        check_invalid(&what, called!(catalog, list_segments, request), "camera_id");
        let filter = Some(proto::JobFilter {
            camera_id: id.clone(),
            ..Default::default()
        });
        let request = proto::ListJobsRequest {
            filter: filter.clone(),
            ..Default::default()
        };
        check_invalid(&what, called!(jobs, list_jobs, request), "filter.camera_id");
        check_invalid(
            &what,
            called!(jobs, watch_jobs, proto::WatchJobsRequest { filter }),
            "filter.camera_id",
        );
        for token in [id.clone(), "////".to_owned()] {
            let tokens = [
                called!(
                    clips,
                    list_clips,
                    proto::ListClipsRequest {
                        page_token: token.clone(),
                        ..Default::default()
                    }
                ),
                called!(
                    jobs,
                    list_jobs,
                    proto::ListJobsRequest {
                        page_token: token.clone(),
                        ..Default::default()
                    }
                ),
                called!(
                    catalog,
                    list_cameras,
                    proto::ListCamerasRequest {
                        page_token: token.clone(),
                        ..Default::default()
                    }
                ),
                called!(
                    catalog,
                    list_segments,
                    proto::ListSegmentsRequest {
                        page_token: token.clone(),
                        ..Default::default()
                    }
                ),
            ];
            for answer in tokens {
                let status = answer.expect_err("a page token");
                assert_eq!(
                    (status.code(), reason(&status).as_str()),
                    (Code::InvalidArgument, "PAGE_TOKEN_INVALID")
                );
                assert_eq!(fields(&status), ["page_token"]);
                check_told(&status);
            }
        }
        let messages = vec![proto::RegisterSegmentsRequest {
            camera_id: id.clone(),
            ..message("x", "x.mp4", 0)
        }];
        let answer = register(&server, messages).await;
        assert_eq!(answer.files_rejected, 1, "{what}");
    }
    // Nothing of all that did any harm.
    let clip = check_camera(&server, CAMERA, &recording.frames).await;
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn all_bad_fields_of_a_clip_are_named_at_once() {
    let site = Site::new();
    let server = site.start().await;
    let bad_time = Some(prost_types::Timestamp {
        seconds: i64::MAX,
        nanos: -1,
    });
    let bad_duration = Some(prost_types::Duration {
        seconds: -1,
        nanos: 0,
    });
    let request = proto::CreateClipRequest {
        camera_id: "../x".to_owned(),
        start_time: bad_time,
        end_time: None,
        clip_id: "clip_../x".to_owned(),
        wait: Some(prost_types::Duration {
            seconds: 61,
            nanos: 0,
        }),
        request_id: "-y".to_owned(),
        keep_for: bad_duration,
        labels: [("a\nb".to_owned(), "x".repeat(256))].into(),
        created_by: "\u{1b}[2J".to_owned(),
        validate_only: false,
    };
    let status = server.clips().create_clip(request).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "INVALID_FIELD")
    );
    let mut named = fields(&status);
    named.sort();
    named.dedup();
    assert_eq!(
        named,
        [
            "camera_id",
            "clip_id",
            "created_by",
            "end_time",
            "keep_for",
            "labels",
            "request_id",
            "start_time",
            "wait"
        ]
    );
    assert!(
        !status.message().chars().any(char::is_control),
        "{:?}",
        status.message()
    );
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn all_bad_fields_are_named_at_once_by_every_other_method() {
    use heldar_footage::proto::set_evidence_lock_request::Selection;
    let site = Site::new();
    let server = site.start().await;
    let (mut catalog, mut clips, mut jobs) = (server.catalog(), server.clips(), server.jobs());
    let bad_time = Some(prost_types::Timestamp {
        seconds: 0,
        nanos: -1,
    });
    let bad = || "../x".to_owned();
    let filter = || {
        Some(proto::JobFilter {
            camera_id: bad(),
            kinds: vec![99],
            states: vec![99],
            created_by: "\n".to_owned(),
            ..Default::default()
        })
    };
    let window = proto::CameraWindow {
        camera_id: bad(),
        start_time: None,
        end_time: bad_time,
    };
    let camera = proto::Camera {
        id: bad(),
        display_name: "\n".to_owned(),
        labels: [(String::new(), String::new())].into(),
        ..Default::default()
    };
    let mask = prost_types::FieldMask {
        paths: vec!["id".to_owned()],
    };
    let answers: Vec<(&str, Result<(), Status>, &[&str])> = vec![
        (
            "UpsertCamera",
            called!(
                catalog,
                upsert_camera,
                proto::UpsertCameraRequest {
                    camera: Some(camera),
                    update_mask: Some(mask)
                }
            ),
            &[
                "camera.display_name",
                "camera.id",
                "camera.labels",
                "update_mask",
            ],
        ),
        (
            "ListSegments",
            called!(
                catalog,
                list_segments,
                proto::ListSegmentsRequest {
                    camera_id: bad(),
                    start_time: bad_time,
                    end_time: bad_time,
                    state: 99,
                    page_size: -1,
                    ..Default::default()
                }
            ),
            &["camera_id", "end_time", "page_size", "start_time", "state"],
        ),
        (
            "GetTimeline",
            called!(
                catalog,
                get_timeline,
                proto::GetTimelineRequest {
                    camera_id: bad(),
                    start_time: bad_time,
                    end_time: bad_time,
                    resolution: Some(prost_types::Duration {
                        seconds: -1,
                        nanos: 0
                    }),
                }
            ),
            &["camera_id", "end_time", "resolution", "start_time"],
        ),
        (
            "SetEvidenceLock",
            called!(
                catalog,
                set_evidence_lock,
                proto::SetEvidenceLockRequest {
                    selection: Some(Selection::Window(window)),
                    incident_id: "\n".to_owned(),
                    release: false,
                    all_incidents: true,
                }
            ),
            &[
                "all_incidents",
                "incident_id",
                "window.camera_id",
                "window.end_time",
                "window.start_time",
            ],
        ),
        (
            "ListClips",
            called!(
                clips,
                list_clips,
                proto::ListClipsRequest {
                    camera_id: bad(),
                    start_time: bad_time,
                    end_time: bad_time,
                    page_size: 1001,
                    ..Default::default()
                }
            ),
            &["camera_id", "end_time", "page_size", "start_time"],
        ),
        (
            "DownloadClip",
            called!(
                clips,
                download_clip,
                proto::DownloadClipRequest {
                    clip_id: String::new(),
                    offset_bytes: -1,
                    limit_bytes: -1
                }
            ),
            &["clip_id", "limit_bytes", "offset_bytes"],
        ),
        (
            "ListJobs",
            called!(
                jobs,
                list_jobs,
                proto::ListJobsRequest {
                    filter: filter(),
                    page_size: -1,
                    ..Default::default()
                }
            ),
            &[
                "filter.camera_id",
                "filter.created_by",
                "filter.kinds",
                "filter.states",
                "page_size",
            ],
        ),
        (
            "WatchJobs",
            called!(
                jobs,
                watch_jobs,
                proto::WatchJobsRequest { filter: filter() }
            ),
            &[
                "filter.camera_id",
                "filter.created_by",
                "filter.kinds",
                "filter.states",
            ],
        ),
        (
            "WatchJob",
            called!(
                jobs,
                watch_job,
                proto::WatchJobRequest {
                    job_id: String::new(),
                    after_revision: -1
                }
            ),
            &["after_revision", "job_id"],
        ),
        (
            "RetryJob",
            called!(
                jobs,
                retry_job,
                proto::RetryJobRequest {
                    job_id: String::new(),
                    wait: Some(prost_types::Duration {
                        seconds: -1,
                        nanos: 0
                    }),
                    request_id: bad(),
                }
            ),
            &["job_id", "request_id", "wait"],
        ),
    ];
    let mut wrong = Vec::new();
    for (method, answer, expected) in answers {
        let status = answer.expect_err(method);
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "INVALID_FIELD"),
            "{method}"
        );
        let mut named = fields(&status);
        named.sort();
        named.dedup();
        if named != expected {
            wrong.push(format!("{method} names {named:?} of {expected:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn times_at_the_edge_of_what_can_be_said_are_answered_and_do_no_harm() {
    let recording = footage().record();
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let (first, last) = (-62_135_596_800, 253_402_300_799);
    for (start, end, code) in [
        (at(first, 0), at(last, 999_999_999), Code::InvalidArgument),
        (at(first, 0), at(first + 3600, 0), Code::NotFound),
        (at(last - 3600, 0), at(last, 0), Code::NotFound),
        (at(first - 1, 0), at(first, 0), Code::InvalidArgument),
        (at(last, 0), at(last + 1, 0), Code::InvalidArgument),
        (
            at(i64::MIN, i32::MIN),
            at(i64::MAX, i32::MAX),
            Code::InvalidArgument,
        ),
        (at(0, 1), at(0, 2), Code::InvalidArgument),
        (at(0, 1_000_000_000), at(9, 0), Code::InvalidArgument),
    ] {
        let request = proto::CreateClipRequest {
            start_time: start,
            end_time: end,
            ..ask(CAMERA, 0, 0)
        };
        let status = server.clips().create_clip(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{start:?} {end:?}: {status:?}");
        let timeline = proto::GetTimelineRequest {
            camera_id: CAMERA.to_owned(),
            start_time: start,
            end_time: end,
            resolution: None,
        };
        if let Err(status) = server.catalog().get_timeline(timeline).await {
            assert_eq!(
                status.code(),
                Code::InvalidArgument,
                "{start:?} {end:?}: {status:?}"
            );
        }
        let mut register_at = message(CAMERA, "x.mp4", 0);
        register_at.start_time = start;
        register(&server, vec![register_at]).await;
    }
    let clip = check_camera(&server, CAMERA, &recording.frames).await;
    server.stop_with(&site, &[&clip]);
}
