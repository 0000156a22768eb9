//! The zip itself: what stock tools make of it, and the names in it.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use chrono::{DateTime, TimeDelta};
use heldar_footage::proto;

use super::asking::{OTHER, ask, everything, make, swell, thirty_seconds, two_cameras};
use super::unpacked::{
    OWN, check_seals, check_with_all_tools, entries, fetch, seven_zip, tool, tree, unzip,
    unzip_with_7zip, unzip_with_python,
};
use crate::footage::{epoch, ms};
use crate::hostile::odd_names;
use crate::recorder::{CAMERA, heldar_name, import, place, unfollowed};
use crate::server::time;

/// What three tools unpack of a zip, which must be the same; in folders below `into`.
fn unpack_with_all_tools(zip: &Path, into: &Path) -> BTreeMap<String, Vec<u8>> {
    check_with_all_tools(zip);
    let folders = ["unzip", "python", "7zip"].map(|tool| into.join(tool));
    unzip(zip, &folders[0]);
    unzip_with_python(zip, &folders[1]);
    unzip_with_7zip(zip, &folders[2]);
    let [first, second, third] = folders.each_ref().map(|folder| tree(folder));
    assert!(first == second && first == third, "the tools agree");
    for folder in folders {
        check_seals(&folder);
    }
    first
}

#[tokio::test]
async fn unzip_python_and_7zip_unpack_the_recorders_own_files_and_the_readme_verifies_them() {
    let site = two_cameras();
    let server = site.start().await;
    let (_, archive) = make(&server, ask(everything())).await;
    let fetched = fetch(&server, &archive).await;
    let folder = tempfile::tempdir().unwrap();
    let unpacked = unpack_with_all_tools(&fetched.zip(), folder.path());

    let mut expected = tree(&site.recordings());
    assert_eq!(expected.len(), 6);
    for own in OWN {
        expected.insert(own.to_owned(), fetched.read(own));
    }
    assert!(unpacked == expected, "byte for byte, under the same names");
    let names = |camera: &str| {
        (0..3)
            .map(|number| heldar_name(camera, epoch() + TimeDelta::seconds(number * 10)))
            .collect::<Vec<_>>()
    };
    assert_eq!(fetched.footage(), [names(CAMERA), names(OTHER)].concat());
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn times_of_entries_are_those_of_the_files_in_utc() {
    let site = unfollowed();
    let recording = thirty_seconds().record();
    // Odd and even seconds, with and without a fraction, in winter and in summer.
    let times = [1_750_000_001, 1_735_707_600, 1_751_333_333];
    for (number, modified) in (0..).zip(times) {
        let name = heldar_name(CAMERA, epoch() + TimeDelta::seconds(number * 10));
        let path = place(&site, &name, &recording.segments[number as usize].path);
        let modified = DateTime::from_timestamp(modified, 400_000_000).unwrap();
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(modified.into()).unwrap();
    }
    import(&site, &[]);
    let server = site.start().await;
    let (_, archive) = make(&server, ask(everything())).await;
    let fetched = fetch(&server, &archive).await;
    let newest = *times.iter().max().unwrap();
    for (entry, modified) in entries(&fetched.zip())
        .iter()
        .zip(times.into_iter().chain([newest; OWN.len()]))
    {
        assert_eq!(entry.unix_s, modified, "{}", entry.name);
        let even = DateTime::from_timestamp(modified / 2 * 2, 0).unwrap();
        assert_eq!(entry.dos_time, even.format("%Y%m%d%H%M%S").to_string());
    }
    // Whoever unpacks far from here gets the same instants.
    let folder = tempfile::tempdir().unwrap();
    for (zone, mut command) in [
        ("America/New_York", std::process::Command::new("unzip")),
        ("Asia/Kathmandu", seven_zip()),
    ] {
        let target = folder.path().join(zone.replace('/', "_"));
        std::fs::create_dir(&target).unwrap();
        if zone.starts_with("America") {
            command.arg("-q").arg(fetched.zip());
        } else {
            command.arg("x").arg(fetched.zip());
        }
        tool(command.current_dir(&target).env("TZ", zone));
        for (name, modified) in fetched.footage().iter().zip(times) {
            let unpacked = std::fs::metadata(target.join(name)).unwrap().mtime();
            assert_eq!(unpacked, modified, "{name} in {zone}");
        }
    }
    server.stop_with_archives(&site, &[&archive]);
}

/// Checks that Windows can have a file of this name, by "Naming Files, Paths, and Namespaces" of Microsoft.
fn check_windows_name(path: &str) {
    assert!(path.len() < 200, "{path}");
    for step in path.split('/') {
        let is_bad = |c: char| c < ' ' || "<>:\"\\|?*".contains(c);
        assert!(!step.is_empty() && !step.contains(is_bad), "{path:?}");
        assert!(!step.ends_with(['.', ' ']), "{path:?}");
        let stem = step.split('.').next().unwrap().trim().to_lowercase();
        assert!(
            !["con", "prn", "aux", "nul", "com1", "lpt9"].contains(&stem.as_str()),
            "{path:?}"
        );
    }
}

#[tokio::test]
async fn recordings_with_odd_names_are_all_there_under_names_that_every_system_can_have() {
    let site = unfollowed();
    let recording = thirty_seconds().record();
    let file = &recording.segments[0].path;
    place(&site, &heldar_name("known", epoch()), file);
    import(&site, &[]);
    let server = site.start().await;
    let further = [
        "con",
        "COM1",
        "x.",
        "x. .",
        "T\u{fc}R",
        "..x",
        "a\u{2028}b",
        "\u{200f}x",
        "x",
    ];
    let names = odd_names()
        .into_iter()
        .chain(further.map(str::to_owned))
        .map(|name| format!("odd/{name}.mp4"))
        .chain(["odd/y.mp4.", "odd/y.mp4", "odd/Y.MP4"].map(str::to_owned));
    let mut sources = Vec::new();
    let messages: Vec<_> = (0..)
        .zip(names)
        .map(|(number, path)| {
            let placed = place(&site, &path, file);
            // No two have the same bytes.
            swell(&placed, 16 + number);
            sources.push(std::fs::read(placed).unwrap());
            proto::RegisterSegmentsRequest {
                camera_id: "con".to_owned(),
                source_id: "still".to_owned(),
                path,
                start_time: time(epoch() + ms(number as i64 * 10_000)),
            }
        })
        .collect();
    let mut catalog = server.catalog();
    let answer = catalog
        .register_segments(tokio_stream::iter(messages))
        .await;
    let answer = answer.unwrap().into_inner();
    assert_eq!(answer.segments_added, sources.len() as i64, "{answer:?}");

    let (_, archive) = make(&server, ask(super::asking::all_of("con"))).await;
    assert_eq!(archive.fault_count, 0, "{:?}", archive.faults);
    let fetched = fetch(&server, &archive).await;
    let footage = fetched.footage();
    let folded: HashSet<String> = footage.iter().map(|name| name.to_lowercase()).collect();
    assert_eq!(
        folded.len(),
        sources.len(),
        "names that differ not only in case"
    );
    footage.iter().for_each(|name| check_windows_name(name));
    let folder = tempfile::tempdir().unwrap();
    let unpacked = unpack_with_all_tools(&fetched.zip(), folder.path());
    for (name, source) in footage.iter().zip(&sources) {
        assert!(unpacked[name] == *source, "{name} is another recording");
    }
    server.stop_with_archives(&site, &[&archive]);
}
