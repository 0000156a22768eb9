//! What is written into the pictures.

use std::fmt::Write as _;

use super::*;

const LARGE: (usize, usize) = (640, 360);

fn large() -> Recipe {
    Recipe {
        size: "640x360",
        ..thirty_seconds()
    }
}

/// Twice as large, so that digits are told apart for sure.
const DOUBLE: (usize, usize) = (1280, 720);

/// The corner of a picture where the time stands, bright on a dark box.
fn corner(picture: &[u8]) -> Vec<u8> {
    let rows = picture.chunks_exact(DOUBLE.0).take(68);
    rows.flat_map(|row| row[DOUBLE.0 * 6 / 10..].to_vec())
        .collect()
}

/// The same corner with each of these texts, which the test writes by itself.
fn corners_with(folder: &Path, texts: &[String]) -> Vec<Vec<u8>> {
    let style = "DejaVu Sans Mono,13,&H00FFFFFF,&H00FFFFFF,&H40000000,&H40000000,0,0,0,0,100,100,0,0,3,2,0,9,6,6,6,1";
    let mut script = format!(
        "[Script Info]\nScriptType: v4.00+\nPlayResX: 640\nPlayResY: 360\nWrapStyle: 2\nScaledBorderAndShadow: yes\n\
         [V4+ Styles]\nFormat: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, \
         Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, \
         MarginL, MarginR, MarginV, Encoding\nStyle: Time,{style}\n[Events]\n\
         Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    );
    for (second, text) in texts.iter().enumerate() {
        let (start, end) = (
            format!("0:00:{second:02}.00"),
            format!("0:00:{:02}.00", second + 1),
        );
        writeln!(script, "Dialogue: 0,{start},{end},Time,,0,0,0,,{text}").unwrap();
    }
    let path = folder.join("time.ass");
    std::fs::write(&path, script).unwrap();
    let drawn = format!("subtitles={},format=gray", path.display());
    let mut command = ffmpeg();
    command.args(["-f", "lavfi", "-i", "color=black:size=1280x720:rate=1"]);
    command.args(["-frames:v", &texts.len().to_string()]);
    let pictures = run(command.args(["-vf", &drawn, "-f", "rawvideo", "-"]));
    pictures
        .chunks_exact(DOUBLE.0 * DOUBLE.1)
        .map(corner)
        .collect()
}

/// How much the inner parts of two corners differ when one is shifted by up to two pixels, of which one is none; of more
/// than `most` only that it is more.
fn differing(one: &[u8], other: &[u8], (dx, dy): (usize, usize), most: u64) -> u64 {
    let width = DOUBLE.0 - DOUBLE.0 * 6 / 10;
    let height = one.len() / width;
    let mut sum = 0;
    for y in 1..height - 1 {
        let row = &one[y * width + 1..][..width - 2];
        let found = &other[(y + dy - 1) * width + dx..][..width - 2];
        sum += difference(row, found, most);
        if sum > most {
            break;
        }
    }
    sum
}

#[tokio::test]
async fn the_time_in_the_picture_is_right_before_and_after_a_gap_in_every_zone() {
    let recording = large().record();
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    std::fs::remove_file(&paths[1]).unwrap();
    import(&site, &[]);
    let server = site.start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut clips = Vec::new();
    for (zone, hour, tail) in [("", 15, "UTC"), ("Asia/Kathmandu", 20, "+05:45")] {
        let options = RenderOptions {
            width: DOUBLE.0 as i32,
            burn_in_time: true,
            time_zone: zone.to_owned(),
            ..fine()
        };
        // The recordings begin at 15:06:40 UTC; in Kathmandu it is 5:45 h later.
        let text = |second: i64| {
            let minute = if zone.is_empty() { 6 } else { 51 };
            format!(
                "2025-06-15 {hour}:{:02}:{:02} {tail}",
                minute + (40 + second) / 60,
                (40 + second) % 60
            )
        };
        let texts: Vec<String> = (0..30).map(text).collect();
        let known = corners_with(folder.path(), &texts);
        assert_eq!(known.len(), texts.len());
        let (_, clip) = cut(&server, ask_rendered(7_400, 23_000, options)).await;
        assert_eq!(gap_reasons(&clip), [GapReason::NotRecorded]);
        let fetched = fetch(&server, &clip).await;
        let shown = pictures(&fetched.path(), DOUBLE, true);
        let due: Vec<usize> = (185..250).chain(500..575).map(|frame| frame / 25).collect();
        let mut second = 0;
        let mut read_in = |picture: &Picture| {
            let found = corner(picture);
            // The two may be drawn a pixel apart.
            let differs = |at: usize, most| {
                (0..9).fold(u64::MAX, |least, shift| {
                    let shift = (shift % 3, shift / 3);
                    least.min(differing(&known[at], &found, shift, least.min(most)))
                })
            };
            second = nearest(known.len(), second, differs);
            second
        };
        let read: Vec<usize> = shown.iter().map(&mut read_in).collect();
        assert_eq!(
            read, due,
            "the time of every picture, in seconds of the recording"
        );
        clips.push(clip);
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn no_name_of_a_camera_and_no_path_of_the_server_is_more_than_text() {
    let recording = large().record();
    let mut site = Site::new();
    let data = site.path("it's [a],b;c:d\\e%{f}=g");
    site.set("HELDAR_DATA_DIR", data.to_str().unwrap());
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let (_, plain) = cut(&server, ask_rendered(1_000, 1_400, fine())).await;
    let plain = pictures(&fetch(&server, &plain).await.path(), LARGE, true);
    for name in [
        "{\\an2\\fs200}below",
        "\\N\\N\\N\\N\\N\\N\\N\\N\\N\\N\\N\\N\\N\\Nbelow",
        "',drawbox=0:0:640:360:red:fill,ass='",
        ":fontsdir=/etc;[in]negate[out]",
        "m 0 0 l 640 0 640 360 0 360{\\p1}",
        "%{metadata:x} $(id) `id` \u{202e}drawkcab",
    ] {
        let camera = proto::Camera {
            id: CAMERA.to_owned(),
            display_name: name.to_owned(),
            ..Default::default()
        };
        let change = proto::UpsertCameraRequest {
            camera: Some(camera),
            ..Default::default()
        };
        server.catalog().upsert_camera(change).await.unwrap();
        let options = RenderOptions {
            burn_in_camera_name: true,
            ..fine()
        };
        let (_, clip) = cut(&server, ask_rendered(1_000, 1_400, options)).await;
        let shown = pictures(&fetch(&server, &clip).await.path(), LARGE, true);
        assert_eq!(shown.len(), plain.len());
        let top = 40 * LARGE.0;
        for (shown, plain) in shown.iter().zip(&plain) {
            assert!(
                difference(&shown[..top], &plain[..top], 20_000) > 20_000,
                "{name:?} is not there"
            );
            let below = (LARGE.0 * LARGE.1 - top) as u64;
            let differs = difference(&shown[top..], &plain[top..], u64::MAX);
            assert!(
                differs < below * 2,
                "{name:?} does more than stand at the top: {differs}"
            );
        }
    }
    assert_eq!(files_in(&data.join("scratch")), Vec::<String>::new());
    assert_eq!(server.stop(), 0);
}
