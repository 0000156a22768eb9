//! Equal input and options give equal bytes, in whatever way they are had.

use heldar_footage::proto::{self, ArchiveLayout};

use super::asking::{
    ask, check_bytes, everything, header_of, make, plan, rest_of, stream, trimmed, two_cameras,
};
use super::unpacked::Unpacked;

#[tokio::test]
async fn the_same_request_gives_the_same_bytes_also_streamed_and_after_a_restart() {
    let site = two_cameras();
    let of_case = proto::ArchiveSpec {
        case_id: "2026-117".to_owned(),
        ..everything()
    };
    let with_layout = |layout: ArchiveLayout| proto::ArchiveSpec {
        layout: layout.into(),
        ..trimmed(1_400, 22_000)
    };
    let specs = [
        everything(),
        of_case,
        with_layout(ArchiveLayout::Segments),
        with_layout(ArchiveLayout::Clips),
        with_layout(ArchiveLayout::SegmentsAndClips),
    ];
    let mut archives = Vec::new();
    let server = site.start().await;
    for spec in &specs {
        let planned = plan(&server, spec.clone()).await;
        let (_, archive) = make(&server, ask(spec.clone())).await;
        let mut messages = stream(&server, spec.clone()).await.unwrap();
        let header = header_of(&mut messages).await;
        assert_eq!(header.size_bytes, archive.size_bytes, "announced first");
        let (bytes, trailer) = rest_of(messages).await;
        check_bytes(&archive, &bytes);
        let trailer = trailer.unwrap();
        assert_eq!(
            (trailer.size_bytes, &trailer.sha256),
            (archive.size_bytes, &archive.sha256)
        );
        Unpacked::of(&bytes);
        let is_cut = spec.trim;
        assert_eq!(planned.size_exact, !is_cut);
        assert!(
            is_cut || planned.size_bytes == archive.size_bytes,
            "{planned:?}"
        );
        archives.push(archive);
    }
    assert_eq!(server.stop(), 0);
    let server = site.start().await;
    for (at, spec) in specs.iter().enumerate() {
        let (_, again) = make(&server, ask(spec.clone())).await;
        assert_eq!(again.sha256, archives[at].sha256, "{spec:?}");
        assert_ne!(again.id, archives[at].id);
        archives.push(again);
    }
    let mut hashes: Vec<&str> = archives.iter().map(|made| made.sha256.as_str()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(
        hashes.len(),
        specs.len(),
        "another request gives other bytes"
    );
    server.stop_with_archives(&site, &archives.iter().collect::<Vec<_>>());
}
