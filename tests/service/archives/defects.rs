//! The archive defects of the predecessor, by their numbers: none of them is here. The tenth is in `jobs`.

use chrono::TimeDelta;
use heldar_footage::proto::{self, ArchiveFaultKind};
use tonic::Code;

use super::asking::{
    OTHER, ask, check_refused, create, everything, hollow, make, plan, thirty_seconds, trimmed,
    two_cameras, with_footage,
};
use super::unpacked::{entries, fetch, of};
use crate::footage::{Recipe, decode, epoch, ms};
use crate::recorder::{
    self, CAMERA, check_frames, cut, heldar_name, import, lay, place, unfollowed,
};
use crate::server::{nothing_left_but, notice_reason};
use crate::small_disk::SmallDisk;

#[tokio::test]
async fn defect_7_video_is_stored_and_not_deflated() {
    let site = unfollowed();
    let recording = thirty_seconds().record();
    let paths = lay(&site, CAMERA, &recording);
    // Deflate would make next to nothing of these.
    hollow(&paths[0], 8 << 20);
    import(&site, &[]);
    let server = site.start().await;
    let (_, archive) = make(&server, ask(everything())).await;
    let fetched = fetch(&server, &archive).await;
    for entry in entries(&fetched.zip()) {
        assert_eq!(
            (entry.method, entry.packed_bytes),
            (0, entry.size_bytes),
            "{}",
            entry.name
        );
    }
    assert!(archive.source_bytes > 8 << 20);
    let beside = archive.size_bytes - archive.source_bytes;
    assert!(
        (0..16_384).contains(&beside),
        "{beside} bytes beside the footage"
    );
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn defect_8_a_vanished_source_is_told_and_recordings_of_equal_name_are_all_there() {
    let recording = thirty_seconds().record();
    let site = unfollowed();
    // Frigate names a file only by minute and second; the hour and the camera are folders.
    let paths: Vec<_> = ["14", "15", "16"]
        .iter()
        .zip(&recording.segments)
        .map(|(hour, segment)| {
            let name = format!("2025-06-15/{hour}/front/06.40.mp4");
            place(&site, &name, &segment.path)
        })
        .collect();
    import(&site, &["--layout", "frigate"]);
    let server = site.start().await;
    let (job, archive) = make(&server, ask(everything())).await;
    assert_eq!((job.warnings.len(), archive.fault_count), (0, 0));
    let unpacked = fetch(&server, &archive).await;
    let names = ["14", "15", "16"].map(|hour| format!("front/06.40_20250615T{hour}0640Z.mp4"));
    assert_eq!(unpacked.footage(), names);
    for (name, path) in names.iter().zip(&paths) {
        assert!(
            unpacked.read(name) == std::fs::read(path).unwrap(),
            "{name}"
        );
    }

    std::fs::remove_file(&paths[1]).unwrap();
    let (job, fewer) = make(&server, ask(everything())).await;
    let unpacked = fetch(&server, &fewer).await;
    assert_eq!(unpacked.footage(), [names[0].clone(), names[2].clone()]);
    assert_eq!(fewer.entry_count, archive.entry_count - 1);
    let [fault] = fewer.faults.as_slice() else {
        panic!("one fault: {:?}", fewer.faults)
    };
    assert_eq!(
        (fault.kind(), &fault.entry_name),
        (ArchiveFaultKind::Missing, &names[1])
    );
    let reasons: Vec<_> = job.warnings.iter().map(notice_reason).collect();
    assert_eq!(reasons, ["FILE_MISSING"]);
    let done = job.progress.unwrap();
    assert_eq!(
        (done.files_done, done.files_total),
        (2, 2),
        "only what is there is claimed"
    );
    server.stop_with_archives(&site, &[&archive, &fewer]);
}

#[tokio::test]
async fn defect_9_trimming_cuts_like_a_clip_and_says_what_players_hide() {
    let recording = Recipe {
        gop_frames: 100,
        ..thirty_seconds()
    }
    .record();
    let site = unfollowed();
    lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let server = site.start().await;
    let (_, archive) = make(&server, ask(of(&[CAMERA], trimmed(3_000, 9_000)))).await;
    let (_, clip) = cut(&server, recorder::ask(CAMERA, 3_000, 9_000)).await;
    let unpacked = fetch(&server, &archive).await;
    let [entry] = &unpacked.footage()[..] else {
        panic!("one entry: {:?}", unpacked.footage())
    };
    let frames = decode(&unpacked.path(entry));
    check_frames(&frames, &recording.between(ms(3_000), ms(9_000)));
    check_frames(
        &frames,
        &decode(&recorder::fetch(&server, &clip).await.path()),
    );
    assert_eq!(archive.delivered_window, clip.delivered_window);
    // The key frame lies three seconds before: that so much is in the file and hidden is no secret.
    let told = &unpacked.manifest()["cut"][0];
    let hidden = recorder::delta(clip.hidden_lead.as_ref());
    assert_eq!(hidden, TimeDelta::seconds(3));
    assert_eq!(told["hidden_lead_s"], 3.0);
    assert_eq!(told["entry"], *entry);
    assert_eq!(server.stop(), 0);
    nothing_left_but(&site, &[&clip], &[&archive]);
}

#[tokio::test]
async fn defect_11_there_is_a_manifest_with_hashes_and_a_trim_asks_for_all_the_disk_it_needs() {
    let site = two_cameras();
    let server = site.start().await;
    let spec = trimmed(1_000, 29_000);
    let planned = plan(&server, spec.clone()).await;
    let (_, archive) = make(&server, ask(spec.clone())).await;
    let unpacked = fetch(&server, &archive).await;
    let manifest = unpacked.manifest();
    let told = |list: &str, entry: &str| {
        let list = manifest[list].as_array().unwrap().clone();
        let found = list.into_iter().find(|one| one["entry"] == entry);
        found.unwrap_or_else(|| panic!("{entry} in the manifest"))
    };
    let mut cut_bytes = 0;
    for name in unpacked.footage() {
        let bytes = unpacked.read(&name);
        let list = if name.contains("_trimmed") {
            "cut"
        } else {
            "sources"
        };
        assert_eq!(
            told(list, &name)["sha256"],
            recorder::sha256(&bytes),
            "{name}"
        );
        cut_bytes += if list == "cut" { bytes.len() as u64 } else { 0 };
    }
    server.stop_with_archives(&site, &[&archive]);

    // A disk that would hold the zip or the cuts, and not both, with what is always kept free.
    let headroom_bytes = 1 << 30;
    let site = unfollowed();
    let needed = headroom_bytes + archive.size_bytes as u64 + cut_bytes;
    let disk = SmallDisk::mount(site.path("disk"), needed - cut_bytes / 2);
    let site = site.with("HELDAR_ARCHIVE_DIR", disk.at.to_str().unwrap());
    with_footage(&site);
    std::os::unix::fs::symlink(&disk.at, site.data().join("scratch")).unwrap();
    let server = site.start().await;
    let refused = create(&server, ask(spec)).await.unwrap_err();
    let words = refused.message().to_owned();
    check_refused(&refused, Code::ResourceExhausted, "DISK_FULL", &words);
    let need: u64 = words
        .strip_prefix("not enough free disk for this export: need ~")
        .and_then(|rest| rest.split_once(' ')?.0.parse().ok())
        .unwrap_or_else(|| panic!("{words}"));
    assert!(need > headroom_bytes + planned.size_bytes as u64, "{need}");
    // What is cut is not known to the byte before; that it is there twice, as a file and in the zip, is.
    let slack = cut_bytes / 4;
    assert!(
        need.abs_diff(needed) < slack,
        "asked for {need}, needed {needed}"
    );
    assert_eq!(crate::server::files_in(&disk.at), Vec::<String>::new());
    // Whole segments need no more than their zip.
    let (_, whole) = make(&server, ask(of(&[OTHER], proto::ArchiveSpec::default()))).await;
    assert_eq!(
        fetch(&server, &whole).await.footage().first(),
        Some(&heldar_name(OTHER, epoch()))
    );
    assert_eq!(server.stop(), 0);
}
