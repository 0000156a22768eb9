//! Copies that go wrong or are stopped, sources that lie, and files that are not as planned.

use std::cell::Cell;

use super::form::{clip_of, with_other_parameters};
use super::*;
use crate::media::hashed::BLOCK_BYTES;

#[test]
fn a_source_that_ends_before_its_tables_say_is_named() {
    let plan = minute();
    let short = tempfile::tempfile().expect("a temporary file");
    short
        .write_all_at(&source_bytes()[..1000], 0)
        .expect("room");
    let files = [Arc::new(short)];
    for by_kernel in WAYS {
        let out = tempfile::tempfile().expect("a temporary file");
        let made = splice(&out, &plan, true, &label(), &files, unwatched(by_kernel));
        let Err(SpliceError::Broken(broken)) = made else {
            panic!("a clip of what is not there");
        };
        assert_eq!(broken.piece, 0);
        assert_eq!(broken.error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[test]
fn a_full_disk_is_told_as_such() {
    let full = File::options().read(true).write(true).open("/dev/full");
    let made = spliced(&minute(), true, &full.expect("Linux has it"));
    let Err(SpliceError::Write(error)) = made else {
        panic!("a clip on a full disk");
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_copy_stops_when_it_is_told_to() {
    // Larger than what is copied between three looks.
    let plan = long_stretches();
    for by_kernel in WAYS {
        let out = tempfile::tempfile().expect("a temporary file");
        let looks = Cell::new(0);
        let mut last = Copied::default();
        let caller = Caller {
            must_stop: || {
                looks.set(looks.get() + 1);
                looks.get() == 3
            },
            by_kernel,
            hashes: true,
            on_copied: |copied: Copied| {
                assert!(copied.written_bytes > last.written_bytes);
                assert!(copied.media_bytes >= last.media_bytes);
                assert!(copied.needed_at >= last.needed_at);
                last = copied;
            },
            on_written: || panic!("it is not written whole"),
        };
        let made = splice(&out, &plan, false, &label(), &[source()], caller);
        assert!(matches!(made, Err(SpliceError::Stopped)));
        assert_eq!(looks.get(), 3);
        // The room of the whole file may be taken; nothing stands in what comes after.
        let mut after = vec![1; 3 * BLOCK_BYTES];
        let limit = 3 * (STEP_BYTES + BLOCK_BYTES as u64);
        let found = out.read_at(&mut after, limit).expect("a readable file");
        assert!(after[..found].iter().all(|byte| *byte == 0));
        assert!(last.written_bytes <= limit);
        assert!(last.media_bytes > 0 && last.needed_at > 0);
    }
}

#[test]
fn the_room_of_a_clip_is_taken_before_its_first_byte_is_written() {
    let plan = long_stretches();
    let out = tempfile::tempfile().expect("a temporary file");
    let lengths = Cell::new(Vec::new());
    let caller = Caller {
        must_stop: || {
            let length = out.metadata().expect("a file").len();
            lengths.set([lengths.take(), vec![length]].concat());
            false
        },
        by_kernel: false,
        hashes: true,
        on_copied: |_| {},
        on_written: || Ok(()),
    };
    let made = splice(&out, &plan, false, &label(), &[source()], caller).expect("a clip");
    let lengths = lengths.take();
    assert!(lengths.len() > 3);
    assert!(lengths.iter().all(|length| *length == made.size_bytes));
}

#[test]
fn what_is_to_be_done_with_a_file_that_is_written_is_done_once_and_its_failure_is_that_of_the_clip()
{
    let plan = minute();
    for by_kernel in WAYS {
        let out = tempfile::tempfile().expect("a temporary file");
        let mut written_bytes = None;
        let caller = Caller {
            must_stop: || false,
            by_kernel,
            hashes: true,
            on_copied: |_| {},
            on_written: || {
                written_bytes = Some(out.metadata()?.len());
                Ok(())
            },
        };
        let made = splice(&out, &plan, true, &label(), &[source()], caller);
        assert_eq!(written_bytes, Some(made.expect("a clip").size_bytes));

        let out = tempfile::tempfile().expect("a temporary file");
        let caller = Caller {
            must_stop: || false,
            by_kernel,
            hashes: true,
            on_copied: |_| {},
            on_written: || Err(io::Error::from(io::ErrorKind::StorageFull)),
        };
        let made = splice(&out, &plan, true, &label(), &[source()], caller);
        assert!(matches!(made, Err(SpliceError::Write(_))));
    }
}

#[test]
fn a_file_that_is_not_as_planned_is_found_out() {
    let plan = minute();
    let out = tempfile::tempfile().expect("a temporary file");
    spliced(&plan, true, &out).expect("a clip");
    let Head {
        bytes, mut places, ..
    } = head(&plan, true, &label()).expect("a header");
    places.move_back(bytes.len() as u64);
    let is_fine = |plan: &Plan, places: &Places| check(&out, plan, true, places).is_ok();
    assert!(is_fine(&plan, &places));
    type Change = fn(&mut Plan);
    let changes: [Change; 6] = [
        |plan| plan.video.samples[7].size += 1,
        |plan| plan.video.samples[7].dts += 1,
        |plan| plan.video.samples[7].composition_offset += 1,
        |plan| plan.video.samples[7].sync = true,
        |plan| plan.sound = None,
        |plan| {
            plan.video.samples.pop();
        },
    ];
    for change in changes {
        let mut other = plan.clone();
        change(&mut other);
        assert!(!is_fine(&other, &places));
    }
    places.video[7] += 1;
    assert!(!is_fine(&plan, &places));
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 2_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_file_that_lies_is_refused_or_cut_and_never_a_panic(
        changes in prop::collection::vec((0usize..12_000, prop_oneof![any::<u8>(), Just(0u8), Just(255u8)]), 1..12),
        length in 0usize..200_000,
    ) {
        static HONEST: OnceLock<Vec<u8>> = OnceLock::new();
        let honest = HONEST.get_or_init(|| {
            clip_of(&with_other_parameters(), GapMode::Keep, Parameters::Several)
        });
        let mut bytes = honest.clone();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(length.max(1_000));
        let file = tempfile::tempfile().expect("a temporary file");
        file.write_all_at(&bytes, 0).expect("room for it");
        let Ok(index) = SourceIndex::read(&file) else {
            return Ok(());
        };
        let mut segment = plain(0, 10).segment(0);
        segment.footage = Footage::Indexed(Arc::new(index));
        for (gap_mode, parameters) in [(GapMode::Close, Parameters::One), (GapMode::Keep, Parameters::Several)] {
            let wanted = Wanted { gap_mode, parameters, ..wanted(1_000, 20_000) };
            let Ok(plan) = plan(std::slice::from_ref(&segment), &wanted) else {
                continue;
            };
            if plan.expected_bytes > 2 * bytes.len() as u64 {
                continue;
            }
            let shared = Arc::new(file.try_clone().expect("a descriptor"));
            let files = vec![shared; plan.pieces.len()];
            for by_kernel in WAYS {
                let out = tempfile::tempfile().expect("a temporary file");
                // Refused or not: what matters is that it ends.
                let _ = splice(&out, &plan, plan.sound.is_some(), &label(), &files, unwatched(by_kernel));
            }
        }
    }
}
