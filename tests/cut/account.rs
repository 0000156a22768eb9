//! What the clip says of itself, and its sound.

use super::*;

#[test]
fn the_absolute_start_is_in_the_file_and_the_index_in_front() {
    for engine in [EngineChoice::Ffmpeg, EngineChoice::Auto] {
        let sources = Recipe::plain().record().sources();
        let clip = finished(cut_sources_with(engine, sources, ms(1_400), ms(8_200)));
        check_description(&clip);
    }
}

fn check_description(clip: &Clip) {
    let told = run(std::process::Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-show_entries",
            "format=start_time,duration:format_tags",
            "-of",
            "default=nk=0",
        ])
        .arg(clip.path()));
    let told = String::from_utf8(told).unwrap();
    for line in [
        "TAG:date=2025-06-15T15:06:41.400000Z",
        "TAG:creation_time=2025-06-15T15:06:41.000000Z",
        "TAG:title=gate_a_01",
        "duration=6.800000",
        "start_time=0.000000",
    ] {
        assert!(
            told.lines().any(|told| told == line),
            "{line} is not in\n{told}"
        );
    }
    let bytes = std::fs::read(clip.path()).unwrap();
    let at = |name: &[u8]| bytes.windows(4).position(|four| four == name).unwrap();
    assert!(at(b"moov") < at(b"mdat"));
    check_onvif_start(&bytes);
}

/// Checks that a box of the file tells when each of the two tracks starts, as ONVIF's export format has it: units of
/// 100 ns since 1601.
fn check_onvif_start(bytes: &[u8]) {
    let children = |bytes: &[u8]| -> Vec<([u8; 4], Vec<u8>)> {
        let mut rest = bytes;
        let mut found = Vec::new();
        while rest.len() >= 8 {
            let size = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            found.push((rest[4..8].try_into().unwrap(), rest[8..size].to_vec()));
            rest = &rest[size..];
        }
        found
    };
    let the = |boxes: Vec<([u8; 4], Vec<u8>)>, kind: &[u8; 4]| {
        let mut of_kind = boxes.into_iter().filter(|found| found.0 == *kind);
        let found = of_kind.next().unwrap_or_else(|| panic!("no {kind:?}"));
        assert_eq!(of_kind.next(), None);
        found.1
    };
    let meta = the(children(bytes), b"meta");
    assert_eq!(meta[..4], [0; 4], "version and flags");
    let starts = the(children(&meta[4..]), b"cstb");
    // 2025-06-15T15:06:41.4Z.
    let start = (1_750_000_001u64 + 11_644_473_600) * 10_000_000 + 4_000_000;
    let mut expected = vec![0, 0, 0, 2];
    for track in [1u32, 2] {
        expected.extend(track.to_be_bytes());
        expected.extend(start.to_be_bytes());
    }
    assert_eq!(starts, expected);
}

#[test]
fn the_sound_stays_with_the_picture() {
    // The pitch of the test sound rises steadily, so it tells the time: compared with the whole recording
    // the clip's sound must match best at no shift.
    const RATE_HZ: u32 = 8_000;
    let recipe = Recipe {
        length_s: 30,
        ..Recipe::plain()
    };
    for layout in [Layout::Fragmented, Layout::Progressive, Layout::Mixed] {
        let recording = Recipe {
            layout,
            ..recipe.clone()
        }
        .record();
        let clip = check_window(&recording, 3_400, 23_000);
        assert_eq!(warning_kinds(&clip), []);
        let whole = footage::decode_sound(&recording.sound, RATE_HZ);
        let heard = footage::decode_sound(&clip.path(), RATE_HZ);
        let delay_ms = 100;
        for clip_ms in [500, 6_400, 12_000, 19_000] {
            let at = |time_ms: i64| usize::try_from(time_ms * i64::from(RATE_HZ) / 1000).unwrap();
            let part = &heard[at(clip_ms)..][..at(300)];
            let likeness = |shift: i64| -> i64 {
                let from = at(3_400 + clip_ms - delay_ms)
                    .checked_add_signed(shift as isize)
                    .unwrap();
                let other = &whole[from..];
                part.iter()
                    .zip(other)
                    .map(|(a, b)| -(i64::from(*a) - i64::from(*b)).abs())
                    .sum()
            };
            let best = (-200..=200).max_by_key(|shift| likeness(*shift)).unwrap();
            assert!(
                best.abs() <= 24,
                "{layout:?} at {clip_ms} ms: {best} samples of 1/8000 s off"
            );
        }
    }
}

#[test]
fn footage_without_sound_among_footage_with_sound_is_silent_and_said_so() {
    let with = Recipe::plain().record();
    let without = Recipe {
        sound: false,
        ..Recipe::plain()
    }
    .record();
    let mut sources = with.sources();
    sources[1] = footage::source(&without.segments[1].path, epoch() + ms(10_000));
    let clip = cut_clip(sources, ms(8_000), ms(23_000));
    check_frames(&clip, &with.between(ms(8_000), ms(23_000)));
    assert_eq!(warning_kinds(&clip), [WarningKind::SoundPartlyMissing]);
    assert!(clip.outcome.audio.is_some());
}

#[test]
fn sound_that_mp4_cannot_hold_makes_a_quicktime_file() {
    let recording = Recipe {
        length_s: 20,
        ..Recipe::plain()
    }
    .record();
    let folder = tempfile::tempdir().unwrap();
    let sources = recording.segments.iter().map(|segment| {
        let packed = folder
            .path()
            .join(segment.path.with_extension("mkv").file_name().unwrap());
        run(footage::ffmpeg()
            .arg("-i")
            .arg(&segment.path)
            .args([
                "-c:v", "copy", "-c:a", "pcm_alaw", "-ar", "8000", "-ac", "1",
            ])
            .arg(&packed));
        footage::source(&packed, epoch() + segment.start)
    });
    let clip = cut_clip(sources.collect(), ms(3_010), ms(14_005));
    check_frames(&clip, &recording.between(ms(3_010), ms(14_005)));
    assert_eq!(clip.outcome.format, Format::QuickTime);
    assert_eq!(clip.outcome.audio.as_ref().unwrap().codec, "pcm_alaw");
    let heard = footage::decode_sound(&clip.path(), 8_000);
    let due = 8 * clip.outcome.duration_shown.num_milliseconds();
    assert!(
        (heard.len() as i64 - due).abs() < 8 * 100,
        "{} of {due}",
        heard.len()
    );
}

#[test]
fn g711_in_quicktime_is_cut_by_both_engines_and_sounds_the_same() {
    let recording = Recipe::plain().record();
    for codec in ["pcm_alaw", "pcm_mulaw"] {
        let folder = tempfile::tempdir().unwrap();
        let sources = recording.segments.iter().map(|segment| {
            let packed = folder.path().join(segment.path.file_name().unwrap());
            run(footage::ffmpeg()
                .arg("-i")
                .arg(&segment.path)
                .args(["-c:v", "copy", "-c:a", codec, "-ar", "8000", "-ac", "1"])
                .args(["-f", "mov"])
                .arg(&packed));
            footage::source(&packed, epoch() + segment.start)
        });
        let clip = cut_clip(sources.collect(), ms(3_010), ms(24_005));
        check_frames(&clip, &recording.between(ms(3_010), ms(24_005)));
        assert_eq!(clip.outcome.format, Format::QuickTime);
        assert_eq!(clip.outcome.audio.as_ref().unwrap().codec, codec);
        let heard = footage::decode_sound(&clip.path(), 8_000);
        let due = 8 * clip.outcome.duration_shown.num_milliseconds();
        assert!((heard.len() as i64 - due).abs() < 8 * 100);
    }
}

#[test]
fn the_hash_is_taken_while_ffmpeg_writes() {
    // With a header that was foreseen wrongly the file would be read and hashed a second time.
    for recipe in [
        Recipe::plain(),
        Recipe {
            layout: Layout::Mixed,
            b_frames: 2,
            ..Recipe::plain()
        },
    ] {
        let recording = recipe.record();
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || writer.clone())
            .finish();
        let folder = tempfile::tempdir().unwrap();
        let order = CutOrder {
            output: folder.path().join("clip.part"),
            ..order(recording.sources(), ms(1_400), ms(23_000))
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let cancel = CancellationToken::new();
            runtime
                .block_on(cut(
                    &engine_at(Path::new("ffmpeg"), folder.path()),
                    order,
                    &cancel,
                    |_| {},
                ))
                .unwrap();
        });
        let told = log.0.lock().unwrap();
        assert!(
            !String::from_utf8_lossy(&told).contains("hashed again"),
            "{recipe:?}"
        );
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
