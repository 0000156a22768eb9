//! Names of each recorder, templates of users and names of attackers.

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use proptest::prelude::*;

use super::template::{Field, Open, Token};
use super::*;
use crate::domain::camera::CameraId;

fn template(text: &str) -> PathTemplate {
    PathTemplate::parse(text).unwrap()
}

fn named(name: &str) -> PathTemplate {
    NamedLayout::named(name).unwrap().template()
}

/// Checks that `path` is of `camera` and starts at `start` when its names are in `zone`.
fn check(template: &PathTemplate, zone: &str, path: &str, camera: &str, start: &str) {
    let found = template
        .match_path(path)
        .unwrap_or_else(|why| panic!("{path}: {why}"));
    assert_eq!(found.camera_name.as_deref().unwrap_or(""), camera, "{path}");
    let time = found
        .time
        .resolve(Some(zone.parse().unwrap()), None)
        .unwrap();
    assert_eq!(
        time.start_time,
        start.parse::<DateTime<Utc>>().unwrap(),
        "{path}"
    );
}

#[test]
fn the_names_of_each_known_recorder_are_read() {
    for (layout, zone, path, camera, start) in [
        (
            "heldar",
            "UTC",
            "gate_a_01/20261122_103000.mp4",
            "gate_a_01",
            "2026-11-22T10:30:00Z",
        ),
        (
            "mediamtx",
            "UTC",
            "cam1/2026-11-22_10-30-00-123456.mp4",
            "cam1",
            "2026-11-22T10:30:00.123456Z",
        ),
        (
            "mediamtx",
            "+01:00",
            "a/b/c/2026-11-22_10-30-00-000001.ts",
            "a/b/c",
            "2026-11-22T09:30:00.000001Z",
        ),
        (
            "frigate",
            "UTC",
            "2026-11-22/10/Front Door/30.07.mp4",
            "Front Door",
            "2026-11-22T10:30:07Z",
        ),
        (
            "lightnvr",
            "Europe/Zurich",
            "cam/recording_20261122_103000.mp4",
            "cam",
            "2026-11-22T09:30:00Z",
        ),
        (
            "lightnvr",
            "UTC",
            "cam/2026/11/recording_20261122_103000.mp4",
            "cam",
            "2026-11-22T10:30:00Z",
        ),
        (
            "lightnvr",
            "UTC",
            "cam/2026/11/22/recording_20261122_103000.mp4",
            "cam",
            "2026-11-22T10:30:00Z",
        ),
        (
            "shinobi",
            "UTC",
            "group/mon/2026-11-22T10-30-00.mp4",
            "group/mon",
            "2026-11-22T10:30:00Z",
        ),
        (
            "kerberos",
            "UTC",
            "1795343400_6-967003_yard_200-200-400-400_24_769.mp4",
            "",
            "2026-11-22T10:30:00Z",
        ),
        (
            "ex_nvr",
            "UTC",
            "hi_quality/2026/11/22/1795343400123456.mp4",
            "hi_quality",
            "2026-11-22T10:30:00.123456Z",
        ),
    ] {
        check(&named(layout), zone, path, camera, start);
    }
}

#[test]
fn all_named_layouts_parse_and_say_whether_they_need_a_zone() {
    for layout in NamedLayout::all() {
        let template = layout.template();
        assert_eq!(
            template.names_camera(),
            layout.name != "kerberos",
            "{}",
            layout.name
        );
        if layout.zone().is_none() {
            assert!(template.needs_zone(), "{}", layout.name);
        }
    }
    assert!(NamedLayout::named("nonesuch").is_none());
}

#[test]
fn segments_of_the_last_file_of_a_camera_close_after_their_length_and_a_margin() {
    let length = std::time::Duration::from_secs(60);
    let quiet = std::time::Duration::from_secs(75);
    let rule = |name| NamedLayout::named(name).unwrap().closed_rule(length);
    assert_eq!(rule("heldar"), ClosedRule::LaterFileExists { quiet });
    assert_eq!(rule("mediamtx"), ClosedRule::DurationInside { quiet });
    assert_eq!(rule("kerberos"), ClosedRule::DurationInName { quiet });
    assert!(matches!(rule("frigate"), ClosedRule::StableFor { .. }));
}

#[test]
fn a_duration_in_the_name_is_read_also_when_it_is_still_zero() {
    let kerberos = named("kerberos");
    let duration = |path: &str| kerberos.match_path(path).unwrap().duration_ms;
    assert_eq!(duration("1795343400_6-967003_yard_0_24_769.mp4"), Some(769));
    assert_eq!(duration("1795343400_6-967003_yard_0_24_0.mp4"), Some(0));
}

#[test]
fn offsets_and_counts_from_the_epoch_need_no_zone() {
    for (text, path, start) in [
        (
            "%path/%Y%m%d_%H%M%S%z",
            "cam/20261122_103000+0530.mp4",
            "2026-11-22T05:00:00Z",
        ),
        (
            "%path/%Y%m%d_%H%M%S%z",
            "cam/20261122_103000Z.mp4",
            "2026-11-22T10:30:00Z",
        ),
        (
            "%path/%Y%m%d_%H%M%S%z",
            "cam/20261122_103000-0300.mp4",
            "2026-11-22T13:30:00Z",
        ),
        (
            "{camera}-%s.mkv",
            "a-b-1795343400.mkv",
            "2026-11-22T10:30:00Z",
        ),
        (
            "{camera}/%s-%f",
            "a/1795343400-500000.ts",
            "2026-11-22T10:30:00.5Z",
        ),
    ] {
        let template = template(text);
        assert!(!template.needs_zone(), "{text}");
        let found = template.match_path(path).unwrap();
        let time = found.time.resolve(None, None).unwrap();
        assert_eq!(
            time.start_time,
            start.parse::<DateTime<Utc>>().unwrap(),
            "{path}"
        );
    }
}

#[test]
fn the_accuracy_is_that_of_the_digits() {
    for (text, path, accuracy_us) in [
        ("%Y%m%d_%H%M%S.mp4", "20261122_103000.mp4", 1_000_000),
        ("%Y%m%d_%H%M.mp4", "20261122_1030.mp4", 60_000_000),
        ("%Y%m%d_%H%M%S_%f.mp4", "20261122_103000_000000.mp4", 0),
        ("%s.mp4", "1795343400.mp4", 1_000_000),
        ("%s.%f.mp4", "1795343400.123456.mp4", 0),
        ("{unix_us}.mp4", "1795343400123456.mp4", 0),
    ] {
        let found = template(text).match_path(path).unwrap();
        let time = found.time.resolve(Some(SourceZone::Utc), None).unwrap();
        assert_eq!(time.accuracy_us, accuracy_us, "{text}");
    }
}

#[test]
fn a_camera_name_may_hold_the_separator_that_follows_it() {
    let flat = template("{camera}_%Y%m%d_%H%M%S.mp4");
    check(
        &flat,
        "UTC",
        "front_door_20261122_103000.mp4",
        "front_door",
        "2026-11-22T10:30:00Z",
    );
    check(
        &flat,
        "UTC",
        "cam_20260101_000000_20261122_103000.mp4",
        "cam_20260101_000000",
        "2026-11-22T10:30:00Z",
    );
}

#[test]
fn the_template_of_a_recorders_settings_can_be_pasted() {
    let pasted = template("./%path/%F_%T");
    check(
        &pasted,
        "UTC",
        "cam/2026-11-22_10:30:00.MP4",
        "cam",
        "2026-11-22T10:30:00Z",
    );
    assert_eq!(pasted.to_string(), "./%path/%F_%T");
    let percent = template("100%%/%s");
    assert!(percent.match_path("100%/1795343400.mp4").is_ok());
}

#[test]
fn templates_that_mean_nothing_are_refused_with_a_reason() {
    let unknown = |field: &str| TemplateError::UnknownField(field.to_owned());
    for (text, why) in [
        ("", TemplateError::Empty),
        ("./", TemplateError::Empty),
        ("heldar", TemplateError::NoTime),
        ("/rec/%s", TemplateError::NotBeneathRoot),
        ("../%s", TemplateError::NotBeneathRoot),
        ("a//%s", TemplateError::NotBeneathRoot),
        ("%s/", TemplateError::NotBeneathRoot),
        ("%s\n", TemplateError::ControlCharacter),
        ("%Y%m%d.mp4", TemplateError::NoTime),
        ("%Y%m%d%H%M%f.mp4", TemplateError::NoTime),
        ("{camera}/%q", unknown("%q")),
        ("%s%", unknown("%")),
        ("%s%é", unknown("%é")),
        ("{cam}/%s", unknown("{cam}")),
        ("{camera/%s", unknown("{camera/%s")),
        ("{camera}/{camera}/%s", TemplateError::CameraTwice),
        ("%path/{camera}/%s", TemplateError::CameraTwice),
        ("{camera}%s", TemplateError::NoSeparator("{camera}")),
        ("{any}{any}/%s", TemplateError::NoSeparator("{any}")),
        ("%path%s", TemplateError::NoSeparator("%path")),
        (
            "{duration_ms}%s",
            TemplateError::NoSeparator("{duration_ms}"),
        ),
        ("%s.avi", TemplateError::UnknownExtension("avi".to_owned())),
    ] {
        assert_eq!(PathTemplate::parse(text), Err(why), "{text:?}");
    }
    assert_eq!(
        PathTemplate::parse(&format!("{}%s", "{any}-".repeat(9))),
        Err(TemplateError::TooManyOpenFields)
    );
    assert_eq!(
        PathTemplate::parse(&"x".repeat(1025)),
        Err(TemplateError::TooLong)
    );
    assert_eq!(
        PathTemplate::parse_alternatives(&[]),
        Err(TemplateError::Empty)
    );
}

#[test]
fn digits_that_are_no_time_are_refused() {
    let heldar = named("heldar");
    for digits in [
        "20261322_103000",
        "20260230_103000",
        "20261122_243000",
        "20261122_106000",
        "20261231_235960",
        "19691231_235959",
        "00000000_000000",
    ] {
        let path = format!("cam/{digits}.mp4");
        assert_eq!(heldar.match_path(&path), Err(WhyNot::NotATime), "{path}");
    }
}

#[test]
fn a_time_that_contradicts_itself_is_refused() {
    let twice = template("{camera}/%Y-%m-%d/%Y%m%d_%H%M%S");
    assert!(
        twice
            .match_path("cam/2026-11-22/20261122_103000.mp4")
            .is_ok()
    );
    assert_eq!(
        twice.match_path("cam/2026-11-21/20261122_103000.mp4"),
        Err(WhyNot::PartsDisagree { field: "%d" })
    );
}

#[test]
fn names_of_attackers_are_refused_or_become_a_safe_camera_id() {
    let time = "20261122_103000.mp4";
    let heldar = named("heldar");
    let at = |camera: &str| heldar.match_path(&format!("{camera}/{time}"));
    for (camera, why) in [
        ("..", UnsafePath::Steps),
        ("../../etc", UnsafePath::Steps),
        (".", UnsafePath::Steps),
        ("a/", UnsafePath::Steps),
        ("/abs", UnsafePath::Absolute),
        ("", UnsafePath::Absolute),
        ("a\nb", UnsafePath::ControlCharacter),
        ("a\0b", UnsafePath::ControlCharacter),
        (&"x".repeat(1010), UnsafePath::TooLong),
    ] {
        assert_eq!(at(camera), Err(WhyNot::Unsafe(why)), "{camera:?}");
    }
    assert!(matches!(at("a/b"), Err(WhyNot::DoesNotFit { .. })));

    let mut ids = std::collections::HashSet::new();
    let long = "x".repeat(300);
    let names = [
        "-y",
        "--config=evil",
        "#x",
        " x ",
        "x",
        "it's",
        "a:b",
        "CON",
        "con",
        "\u{202e}gpj",
        "caf\u{e9}",
        "cafe\u{301}",
        "a\\b",
        "$(id)",
        "*",
        long.as_str(),
    ];
    for camera in names {
        let found = at(camera).unwrap();
        assert_eq!(found.camera_name.as_deref(), Some(camera));
        let id = CameraId::from_recorder_name(camera).unwrap();
        assert_eq!(CameraId::parse(id.as_str()), Ok(id.clone()));
        assert!(ids.insert(id), "{camera:?} shares the id of another camera");
    }
}

#[test]
fn file_names_of_attackers_do_not_fit() {
    let heldar = named("heldar");
    for name in [
        "-y.mp4",
        "--config=evil.mp4",
        "20261122_103000.mp4.part",
        "20261122_103000.mp4\u{202e}",
        "２０２６1122_103000.mp4",
        "20261122_103000.MP4",
        "20261122_103000",
        "a20261122_103000.mp4",
        "2026112é_103000.mp4",
        "+0261122_103000.mp4",
    ] {
        let found = heldar.match_path(&format!("cam/{name}"));
        assert!(
            matches!(found, Err(WhyNot::DoesNotFit { .. })),
            "{name:?}: {found:?}"
        );
    }
    assert_eq!(
        heldar.match_path(""),
        Err(WhyNot::Unsafe(UnsafePath::Empty))
    );
}

/// A template with many names of open length, and a path that almost fits it in very many ways.
#[test]
fn a_path_that_fits_in_many_ways_is_settled_in_bounded_work() {
    let text = format!("{}%s.mp4", "{any}-".repeat(8));
    let path = format!("{}x.mp4", "a-".repeat(500));
    assert!(matches!(
        template(&text).match_path(&path),
        Err(WhyNot::DoesNotFit { .. })
    ));
}

/// Writes the path that a recorder with this template would write at `start`.
fn render(template: &PathTemplate, camera: &str, start: DateTime<Utc>, filler: &str) -> String {
    let field = |field: &Field| match field {
        Field::Year => start.format("%Y").to_string(),
        Field::Month => start.format("%m").to_string(),
        Field::Day => start.format("%d").to_string(),
        Field::Hour => start.format("%H").to_string(),
        Field::Minute => start.format("%M").to_string(),
        Field::Second => start.format("%S").to_string(),
        Field::Microsecond => format!("{:06}", start.nanosecond() / 1000),
        Field::Offset => "Z".to_owned(),
        Field::UnixSeconds => format!("{:010}", start.timestamp()),
        Field::UnixMicroseconds => format!("{:016}", start.timestamp_micros()),
        Field::DurationMs => "9000".to_owned(),
    };
    template.alternatives[0]
        .iter()
        .map(|token| match token {
            Token::Literal(text) => text.clone(),
            Token::Open(Open::Any) => filler.to_owned(),
            Token::Open(_) => camera.to_owned(),
            Token::Field(f) => field(f),
            Token::Extension => ".mp4".to_owned(),
        })
        .collect()
}

proptest! {
    #[test]
    fn a_name_rendered_from_a_time_parses_back_to_it(
        text in prop::sample::select(vec![
            "{camera}/%Y%m%d_%H%M%S.mp4",
            "%path/%Y-%m-%d_%H-%M-%S-%f",
            "%path/%Y-%m-%d_%H-%M-%S-%f_%z",
            "%Y-%m-%d/%H/{camera}/%M.%S.mp4",
            "{camera}_%s_%f.ts",
            "%s_{any}_{duration_ms}.mp4",
            "{any}/{camera}/{any}/{unix_us}.mkv",
            "{camera}.%FT%T%z",
            "%d.%m.%Y %H-%M",
        ]),
        camera in "[a-zA-Z0-9_ .é-]{0,20}[a-zA-Z0-9é]",
        filler in "[a-z][a-z0-9-]{0,10}",
        micros in 0_i64..9_000_000_000_000_000,
    ) {
        prop_assume!(!matches!(camera.as_str(), "." | ".."));
        let template = template(text);
        let start = DateTime::from_timestamp_micros(micros).unwrap();
        let path = render(&template, &camera, start, &filler);
        let found = template.match_path(&path).unwrap();
        if template.names_camera() {
            prop_assert_eq!(found.camera_name.as_deref(), Some(camera.as_str()));
        }
        let time = found.time.resolve(Some(SourceZone::Utc), None).unwrap();
        let lost = start - time.start_time;
        prop_assert!(lost >= TimeDelta::zero());
        if time.accuracy_us == 0 {
            prop_assert_eq!(lost, TimeDelta::zero());
        } else {
            prop_assert!(lost < TimeDelta::microseconds(time.accuracy_us));
        }
    }

    #[test]
    fn no_template_and_no_path_makes_the_reader_panic(
        text in "([a-z%{}./_-]|%[a-zA-Z]|\\{camera\\}|\\{any\\}|%path|\\PC){0,30}",
        path in "\\PC{0,80}",
    ) {
        if let Ok(template) = PathTemplate::parse(&text) {
            let _ = template.match_path(&path);
        }
    }

    #[test]
    fn no_path_that_fits_leads_out_of_the_root(path in "([a-z./]|\\.\\./){0,20}20261122_103000\\.mp4") {
        for name in ["heldar", "mediamtx", "lightnvr"] {
            if named(name).match_path(&path).is_ok() {
                prop_assert!(!path.starts_with('/') && path.split('/').all(|s| s != ".." && s != "." && !s.is_empty()));
            }
        }
    }
}
