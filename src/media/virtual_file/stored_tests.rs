//! What is kept comes back, and harms nobody when it was changed.

use proptest::prelude::*;
use proptest::sample;

use super::super::tests::layout;
use super::*;

fn encoded(layout: &Layout) -> Vec<u8> {
    let mut bytes = Vec::new();
    layout.encode(&mut bytes).expect("memory takes all");
    assert_eq!(bytes.len() as u64, layout.encoded_bytes());
    bytes
}

#[test]
fn the_form_stays_as_it_is() {
    let stored = encoded(&layout());
    // Files that were written with this version are read for as long as their clips are kept. What differs from this needs
    // another version.
    let golden = concat!(
        "4c41594f555400",
        "01",
        "0000000000000016",
        "000000000000000a",
        "0000000000000003",
        "0000000000000002",
        "30313233343536373839",
        "000000000000000a000000000000000200000001",
        "000000000000000f000000000000000000000000",
        "0000000000000012000000000000000700000001",
        "0000000000000004",
        "0000000000000007",
    );
    let hex: String = stored.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden);
    assert_eq!(Layout::decode(&stored), Ok(layout()));
}

#[test]
fn an_unknown_version_is_told_from_damage() {
    let mut stored = encoded(&layout());
    stored[MARK.len()] = VERSION + 1;
    let refused = Layout::decode(&stored);
    assert_eq!(refused, Err(UnreadableLayout::Version(VERSION + 1)));
    stored[0] = b'l';
    assert_eq!(Layout::decode(&stored), Err(NO_LAYOUT));
}

#[test]
fn bytes_that_end_too_early_or_go_on_are_refused() {
    let mut stored = encoded(&layout());
    for length in 0..stored.len() {
        assert!(Layout::decode(&stored[..length]).is_err(), "{length}");
    }
    stored.push(0);
    assert_eq!(Layout::decode(&stored), Err(OTHER_LENGTH));
}

#[test]
fn counts_that_no_file_could_have_are_refused_before_memory_is_taken() {
    for at in (MARK.len() + 1 + 8..PREFIX_BYTES).step_by(8) {
        for count in [u64::MAX, u64::MAX / 8, u64::MAX / 20 + 2, 1 << 62, 1 << 40] {
            let mut stored = encoded(&layout());
            stored[at..at + 8].copy_from_slice(&count.to_be_bytes());
            assert!(Layout::decode(&stored).is_err(), "{count} at {at}");
        }
    }
}

#[test]
fn places_outside_of_the_clip_or_its_sources_are_refused() {
    let refused = |change: fn(&mut Layout)| {
        let mut layout = layout();
        change(&mut layout);
        assert_eq!(Layout::decode(&encoded(&layout)), Err(OUT_OF_RANGE));
    };
    refused(|layout| layout.size_bytes = 17);
    refused(|layout| layout.extents[0].position = 9);
    refused(|layout| layout.extents[0].position = 11);
    refused(|layout| layout.extents[1].position = 19);
    refused(|layout| layout.extents[1].piece = 2);
    refused(|layout| layout.extents[2].offset = u64::MAX - 3);
    refused(|layout| layout.extents.clear());
    refused(|layout| layout.sources.clear());
}

fn layouts() -> impl Strategy<Value = Layout> {
    let extent = (0..1u64 << 40, any::<u64>(), any::<sample::Index>());
    (
        prop::collection::vec(any::<u8>(), 0..60),
        prop::collection::vec(extent, 0..20),
        prop::collection::vec(any::<u32>(), 1..5),
    )
        .prop_map(|(head, lengths, sources)| {
            let mut position = head.len() as u64;
            let mut extents = Vec::new();
            for (length, offset, piece) in lengths {
                extents.push(Extent {
                    position,
                    offset: offset.min(u64::MAX - length),
                    piece: piece.index(sources.len()) as u32,
                });
                position += length;
            }
            Layout {
                head,
                extents,
                size_bytes: position,
                sources: sources.into_iter().map(|source| source as usize).collect(),
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_a_layout_holds_comes_back_equal(layout in layouts()) {
        let decoded = Layout::decode(&encoded(&layout)).expect("what was encoded");
        prop_assert_eq!(decoded.digest(), layout.digest());
        prop_assert_eq!(decoded, layout);
    }

    #[test]
    fn changed_bytes_are_refused_or_can_be_read_from(
        layout in layouts(),
        changes in prop::collection::vec((any::<sample::Index>(), any::<u8>()), 1..4),
        from in any::<u64>(),
        length in 0..100u64,
    ) {
        let mut stored = encoded(&layout);
        for (at, value) in changes {
            let at = at.index(stored.len());
            stored[at] = value;
        }
        if let Ok(layout) = Layout::decode(&stored) {
            prop_assert!(layout.memory_bytes() <= size_of::<Layout>() + 2 * stored.len());
            let from = from % layout.size_bytes.max(1);
            let end = layout.size_bytes.min(from.saturating_add(length));
            for piece in layout.pieces_in(from..end) {
                prop_assert!(piece < layout.sources().len());
            }
            // The file is empty: what counts is that nothing is asked of it that a file cannot be asked.
            let (file, mut buffer) = (tempfile::tempfile()?, vec![0; (end - from) as usize]);
            let _ = layout.read(from, &mut buffer, |_| &file);
        }
    }

    #[test]
    fn bytes_of_any_kind_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Layout::decode(&bytes);
        let _ = Layout::decode(&[MARK.as_slice(), &[VERSION], &bytes].concat());
    }
}
