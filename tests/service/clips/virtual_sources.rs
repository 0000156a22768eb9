//! Virtual clips and the recordings that they are made from: gone, changed, held.

use super::virtual_clips::{Begun, BegunPlain, get, materialize, virtually};
use super::virtual_layouts::forget_layout;
use super::*;
use std::path::Path;

/// Two minutes: more than a server sends ahead of a slow client.
fn two_minutes() -> Recipe {
    Recipe {
        length_s: 120,
        ..Recipe::plain()
    }
}

fn held(request: proto::CreateClipRequest) -> proto::CreateClipRequest {
    proto::CreateClipRequest {
        hold_sources: true,
        ..virtually(request)
    }
}

/// Checks that a clip is not to be had, and that not one byte of it is sent.
async fn check_gone(server: &Server, clip: &proto::Clip) {
    let lost = download(server, &clip.id, 0, 0).await.unwrap_err();
    assert_eq!(
        (lost.code(), reason(&lost).as_str()),
        (Code::DataLoss, "SOURCES_GONE")
    );
    let resource = lost.get_details_resource_info().unwrap();
    assert_eq!(resource.resource_name, clip.id);
    let answer = get(server, clip, &[("Range", "bytes=0-9")]);
    assert_eq!((answer.status, answer.header("etag")), (410, None));
    let told = answer.text();
    assert!(told.contains("recording"), "{told}");
    let request = proto::MaterializeClipRequest {
        clip_id: clip.id.clone(),
        ..Default::default()
    };
    let lost = server.clips().materialize_clip(request).await.unwrap_err();
    assert_eq!(reason(&lost), "SOURCES_GONE");
}

/// Writes one byte of a file anew, in place.
fn rewrite(path: &Path) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let last = file.metadata().unwrap().len() - 1;
    file.write_all_at(&[0x5a], last).unwrap();
}

#[tokio::test]
async fn a_clip_whose_recordings_are_gone_or_changed_says_so_before_the_first_byte() {
    let recording = thirty_seconds().record();
    type Spoil = fn(&Path);
    let spoilings: [(&str, Spoil); 4] = [
        ("deleted", |path| std::fs::remove_file(path).unwrap()),
        ("written over", rewrite),
        ("cut short", |path| {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            let size = file.metadata().unwrap().len();
            file.set_len(size - 1).unwrap();
        }),
        ("another file of the same size", |path| {
            let other = path.with_extension("new");
            std::fs::copy(path, &other).unwrap();
            std::fs::rename(other, path).unwrap();
        }),
    ];
    for (what, spoil) in spoilings {
        let site = unfollowed();
        let paths = lay(&site, CAMERA, &recording);
        import(&site, &[]);
        let server = site.start().await;
        let (_, clip) = cut(&server, virtually(ask(CAMERA, 1_400, 28_200))).await;
        download(&server, &clip.id, 0, 0).await.unwrap();
        eprintln!("{what}");
        spoil(&paths[1]);
        check_gone(&server, &clip).await;
        server.stop_with(&site, &[]);
        // A server that has nothing but the kept layout finds the same, and so does one that has to lay it out anew.
        let server = site.start().await;
        check_gone(&server, &clip).await;
        server.stop_with(&site, &[]);
        forget_layout(&site, &clip);
        let server = site.start().await;
        check_gone(&server, &clip).await;
        let delete = proto::DeleteClipRequest {
            clip_id: clip.id.clone(),
        };
        server.clips().delete_clip(delete).await.unwrap();
        server.stop_with(&site, &[]);
    }
}

#[tokio::test]
async fn recordings_deleted_in_mid_download_are_sent_whole_and_changed_ones_break_it_off() {
    let recording = two_minutes().record();
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let server = site.start().await;
    let (_, clip) = cut(&server, virtually(ask(CAMERA, 0, 119_000))).await;
    let (_, bytes) = download(&server, &clip.id, 0, 0).await.unwrap();
    let last = &paths[11];
    let saved = site.path("saved.mp4");
    std::fs::hard_link(last, &saved).unwrap();

    let begun = Begun::of(&server, &clip.id).await;
    std::fs::remove_file(last).unwrap();
    let (received, end) = begun.rest().await;
    assert!(end.is_none() && received == bytes, "{end:?}");

    std::fs::hard_link(&saved, last).unwrap();
    let begun = Begun::of(&server, &clip.id).await;
    rewrite(last);
    let (received, end) = begun.rest().await;
    let end = end.expect("a stream that is not complete never ends well");
    assert_eq!(
        (end.code(), reason(&end).as_str()),
        (Code::DataLoss, "SOURCES_GONE")
    );
    assert!(received.len() < bytes.len());
    assert!(bytes.starts_with(&received), "what came before is right");
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn a_connection_over_http_breaks_before_the_announced_length_when_a_recording_changes() {
    // Larger than what the system keeps between the two ends of a connection.
    let recording = Recipe {
        size: "640x360",
        ..two_minutes()
    }
    .record();
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let server = site.start().await;
    let (_, clip) = cut(&server, virtually(ask(CAMERA, 0, 119_000))).await;
    let begun = BegunPlain::of(&server, &clip);
    rewrite(&paths[11]);
    let (announced, received) = begun.rest();
    assert_eq!(announced as i64, clip.size_bytes);
    assert!(received < announced, "{received} of {announced}");
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn held_recordings_outlive_the_recorders_deletion_until_the_clip_goes() {
    let recording = thirty_seconds().record();
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let server = site.start().await;
    let (_, clip) = cut(&server, held(ask(CAMERA, 1_400, 28_200))).await;
    let (_, other) = cut(&server, held(ask(CAMERA, 1_400, 5_000))).await;
    assert!(clip.r#virtual && clip.holds_sources);
    let (_, bytes) = download(&server, &clip.id, 0, 0).await.unwrap();
    for path in &paths {
        std::fs::remove_file(path).unwrap();
    }
    let links = site.clips().join(".held").join(&clip.id);
    assert_eq!(files_in(&links).len(), 3);
    assert!(download(&server, &clip.id, 0, 0).await.unwrap().1 == bytes);
    for path in [
        format!("/media/clips/.held/{}/0.mp4", clip.id),
        "/media/clips/.held".to_owned(),
        format!("/media/clips/.held%2f{}%2f0.mp4", clip.id),
    ] {
        let (status, _) = http_get(&server, &path);
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    assert_eq!(server.stop(), 0);
    let server = site.start().await;
    assert!(download(&server, &clip.id, 0, 0).await.unwrap().1 == bytes);
    // A link does not keep a file from being written over.
    rewrite(&site.clips().join(".held").join(&other.id).join("0.mp4"));
    check_gone(&server, &other).await;
    for clip in [&clip, &other] {
        let delete = proto::DeleteClipRequest {
            clip_id: clip.id.clone(),
        };
        server.clips().delete_clip(delete).await.unwrap();
    }
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn a_clip_that_expires_or_gets_a_file_lets_go_of_what_it_held() {
    let recording = thirty_seconds().record();
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let server = site.start().await;
    let short = proto::CreateClipRequest {
        keep_for: seconds(1),
        ..held(ask(CAMERA, 0, 9_000))
    };
    let (_, short) = cut(&server, short).await;
    let (_, clip) = cut(&server, held(ask(CAMERA, 1_400, 28_200))).await;
    for path in &paths {
        std::fs::remove_file(path).unwrap();
    }
    let solid = materialize(&server, &clip.id).await;
    assert!(!solid.r#virtual && !solid.holds_sources);
    let expires = std::time::UNIX_EPOCH
        + std::time::Duration::from_secs(short.expire_time.unwrap().seconds as u64 + 1);
    assert_eq!(server.stop(), 0);
    // What nobody knows of, as attempts leave it that died, and what is none of ours.
    let stray = site.clips().join(".held/clip_of_a_lost_database");
    for folder in [&stray, &site.clips().join(".held/.job_gone-3.part")] {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("0.mp4"), "footage").unwrap();
    }
    let hours_ago = SystemTime::now() - std::time::Duration::from_secs(7200);
    std::fs::File::open(&stray)
        .unwrap()
        .set_modified(hours_ago)
        .unwrap();
    if let Ok(left) = expires.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
    let server = site.start().await;
    eventually("nothing is held any more", || {
        !site.clips().join(".held").exists()
    });
    let gone = download(&server, &short.id, 0, 0).await.unwrap_err();
    assert_eq!(reason(&gone), "CLIP_NOT_FOUND");
    let frames = recording.between(ms(1_400), ms(28_200));
    check(&server, &solid, &frames, START, FRAME).await;
    server.stop_with(&site, &[&solid]);
}

#[tokio::test]
async fn a_download_that_was_begun_before_the_clip_got_its_file_goes_on() {
    let recording = two_minutes().record();
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let server = site.start().await;
    let (_, clip) = cut(&server, virtually(ask(CAMERA, 0, 119_000))).await;
    let begun = Begun::of(&server, &clip.id).await;
    let solid = materialize(&server, &clip.id).await;
    for path in paths {
        std::fs::remove_file(path).unwrap();
    }
    let (received, end) = begun.rest().await;
    assert!(end.is_none(), "{end:?}");
    assert_eq!(sha256(&received), solid.sha256);
    // Now the clip no longer needs them.
    fetch(&server, &solid).await;
    server.stop_with(&site, &[&solid]);
}

/// How many of a folder's files a server has open.
fn open_in(server: &Server, folder: &Path) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    descriptors
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|path| path.starts_with(folder))
        .count()
}

#[tokio::test]
async fn recordings_are_open_from_one_fetch_to_the_next_and_closed_soon_after_the_last() {
    let site = unfollowed();
    lay(&site, CAMERA, &thirty_seconds().record());
    import(&site, &[]);
    let server = site.start().await;
    let (_, clip) = cut(&server, virtually(ask(CAMERA, 1_400, 28_200))).await;
    let recordings = site.recordings().canonicalize().unwrap();
    let (_, bytes) = download(&server, &clip.id, 0, 0).await.unwrap();
    assert_eq!(open_in(&server, &recordings), 3);
    assert!(download(&server, &clip.id, 0, 0).await.unwrap().1 == bytes);
    eventually("the recordings are closed", || {
        open_in(&server, &recordings) == 0
    });
    assert!(download(&server, &clip.id, 0, 0).await.unwrap().1 == bytes);
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn a_neighbour_that_only_told_times_may_go() {
    let recording = thirty_seconds().record();
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let server = site.start().await;
    // The recordings before and after are looked at, as the window is near to them.
    let (_, clip) = cut(&server, virtually(ask(CAMERA, 12_000, 18_000))).await;
    assert_eq!(clip.segment_count, 1);
    let (_, bytes) = download(&server, &clip.id, 0, 0).await.unwrap();
    assert_eq!(server.stop(), 0);
    std::fs::remove_file(&paths[0]).unwrap();
    std::fs::remove_file(&paths[2]).unwrap();
    forget_layout(&site, &clip);
    let server = site.start().await;
    assert!(download(&server, &clip.id, 0, 0).await.unwrap().1 == bytes);
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn recordings_on_another_file_system_cannot_be_held() {
    let mut site = unfollowed();
    let disk = SmallDisk::mount(site.path("disk"), 64 << 20);
    site.set("HELDAR_CLIPS_DIR", disk.at.to_str().unwrap());
    lay(&site, CAMERA, &thirty_seconds().record());
    import(&site, &[]);
    let server = site.start().await;
    let refused = server
        .clips()
        .create_clip(held(ask(CAMERA, 1_400, 28_200)))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "HOLD_UNSUPPORTED")
    );
    let (_, clip) = cut(&server, virtually(ask(CAMERA, 1_400, 28_200))).await;
    // A layout leaves as much room as a clip does, and the whole disk has no more than that.
    let log = server.log();
    assert!(
        log.contains("the layout of a virtual clip is not kept"),
        "{log}"
    );
    download(&server, &clip.id, 0, 0).await.unwrap();
    disk.fill();
    let request = proto::MaterializeClipRequest {
        clip_id: clip.id.clone(),
        ..Default::default()
    };
    let refused = server.clips().materialize_clip(request).await.unwrap_err();
    assert_eq!(reason(&refused), "DISK_FULL");
    disk.make_room();
    download(&server, &clip.id, 0, 0).await.unwrap();
    assert_eq!(server.stop(), 0);
    assert_eq!(files_in(&disk.at), Vec::<String>::new());
}
