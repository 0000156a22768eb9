//! Clips that are told of before the disk has their files, and that a loss of power does not take: the recordings are held
//! until then.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sqlx::{Connection as _, SqliteConnection};

use super::virtual_clips::materialize;
use super::*;

async fn database(site: &Site) -> SqliteConnection {
    let url = format!("sqlite://{}/heldar.db", site.data().display());
    SqliteConnection::connect(&url).await.unwrap()
}

/// In which run of the machine the file of a clip was written that may not be on the disk yet.
pub(super) async fn unsynced_in(site: &Site, clip: &proto::Clip) -> String {
    let mut database = database(site).await;
    let found = sqlx::query_scalar("SELECT unsynced_in FROM clips WHERE id = $1")
        .bind(&clip.id)
        .fetch_one(&mut database);
    let found = found.await.unwrap();
    database.close().await.unwrap();
    found
}

pub(super) async fn set_unsynced_in(site: &Site, clip: &proto::Clip, run: &str) {
    let mut database = database(site).await;
    let changed = sqlx::query("UPDATE clips SET unsynced_in = $2 WHERE id = $1")
        .bind(&clip.id)
        .bind(run)
        .execute(&mut database);
    assert_eq!(changed.await.unwrap().rows_affected(), 1);
    database.close().await.unwrap();
}

/// Names this run of the machine, as rows have it.
pub(super) fn this_run() -> String {
    let run = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    run.trim().to_owned()
}

/// Starts a server and waits until its first housekeeping is over, which ends with layouts that no clip has.
pub(super) async fn start_and_tidy(site: &Site) -> Server {
    start_and_tidy_with(site, &site.clips()).await
}

/// The same of a site whose clips lie elsewhere.
async fn start_and_tidy_with(site: &Site, clips: &Path) -> Server {
    let layouts = clips.join(KEPT_LAYOUTS);
    std::fs::create_dir_all(&layouts).unwrap();
    let stray = layouts.join("clip_stray");
    std::fs::write(&stray, "of nobody").unwrap();
    age(&stray);
    let server = site.start().await;
    eventually("the stray layout is swept", || !stray.exists());
    server
}

/// The recordings that are held for a clip.
fn held_for(site: &Site, clip: &proto::Clip) -> Vec<PathBuf> {
    // That of the job's first attempt.
    let folder = site
        .clips()
        .join(".held")
        .join(format!(".{}-1.part", clip.job_id));
    if !folder.exists() {
        return Vec::new();
    }
    let names = files_in(&folder);
    names.iter().map(|name| folder.join(name)).collect()
}

fn with_footage() -> (Site, Vec<PathBuf>) {
    let site = unfollowed().on_sqlite();
    let paths = lay(&site, CAMERA, &thirty_seconds().record());
    import(&site, &[]);
    (site, paths)
}

/// A clip of nearly all of the footage, the recordings, and that the server which made it was killed right afterwards.
async fn made_and_killed() -> (Site, Vec<PathBuf>, proto::Clip) {
    let (site, recordings) = with_footage();
    let server = start_and_tidy(&site).await;
    let (_, clip) = cut(&server, ask(CAMERA, 1_400, 28_200)).await;
    server.kill();
    (site, recordings, clip)
}

/// Starts a server that has the whole clip, and stops it.
async fn check_whole_after_a_start(site: &Site, clip: &proto::Clip) {
    let server = site.start().await;
    fetch(&server, clip).await;
    assert_eq!(unsynced_in(site, clip).await, "");
    server.stop_with(site, &[clip]);
}

/// What the disk has of a file whose pages were not written: its length.
fn empty_out(path: &Path) {
    let size_bytes = std::fs::metadata(path).unwrap().len();
    let file = std::fs::File::create(path).unwrap();
    file.set_len(size_bytes).unwrap();
}

#[tokio::test]
async fn whatever_a_loss_of_power_took_of_a_file_it_is_made_again_though_the_recordings_are_gone() {
    let (site, recordings) = with_footage();
    let server = start_and_tidy(&site).await;
    let mut clips = Vec::new();
    for gap_mode in [proto::GapMode::Close, proto::GapMode::Keep] {
        for _ in 0..3 {
            let request = proto::CreateClipRequest {
                gap_mode: gap_mode.into(),
                ..ask(CAMERA, 1_400, 28_200)
            };
            let (_, clip) = cut(&server, request).await;
            assert!(unsynced_in(&site, &clip).await.starts_with(&this_run()));
            assert_eq!(held_for(&site, &clip).len(), 3);
            clips.push(clip);
        }
    }
    server.kill();
    for path in &recordings {
        std::fs::remove_file(path).unwrap();
    }
    let inode = |clip: &proto::Clip| {
        let path = site.clips().join(&clip.file_name);
        std::fs::metadata(path).map_or(0, |file| file.ino())
    };
    let inodes: Vec<u64> = clips.iter().map(inode).collect();
    // While they are open their numbers are not given again.
    let _open: Vec<_> = clips
        .iter()
        .map(|clip| std::fs::File::open(site.clips().join(&clip.file_name)).unwrap())
        .collect();
    for (at, clip) in clips.iter().enumerate() {
        set_unsynced_in(&site, clip, "another run of the machine").await;
        let path = site.clips().join(&clip.file_name);
        match at % 3 {
            0 => std::fs::remove_file(&path).unwrap(),
            1 => empty_out(&path),
            _ => {}
        }
    }
    let server = site.start().await;
    for (at, clip) in clips.iter().enumerate() {
        fetch(&server, clip).await;
        let is_as_it_was = inode(clip) == inodes[at];
        assert_eq!(is_as_it_was, at % 3 == 2, "only what is whole stays");
        assert_eq!(unsynced_in(&site, clip).await, "");
        assert_eq!(held_for(&site, clip), Vec::<PathBuf>::new());
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
    assert!(!site.clips().join(".held").exists());
}

#[tokio::test]
async fn what_is_not_whole_is_not_served_while_it_cannot_be_made_again_and_what_is_held_stays() {
    let (site, recordings) = with_footage();
    let server = start_and_tidy(&site).await;
    let (_, clip) = cut(&server, ask(CAMERA, 1_400, 28_200)).await;
    let (_, other) = cut(&server, ask(CAMERA, 1_400, 28_200)).await;
    server.kill();
    for clip in [&clip, &other] {
        set_unsynced_in(&site, clip, "another run of the machine").await;
        empty_out(&site.clips().join(&clip.file_name));
    }
    let held = held_for(&site, &clip);
    let aside = site.path("aside.mp4");
    std::fs::rename(&held[1], &aside).unwrap();
    std::fs::remove_file(&recordings[1]).unwrap();
    let server = start_and_tidy(&site).await;
    let lost = download(&server, &clip.id, 0, 0).await.unwrap_err();
    assert_eq!(
        (lost.code(), reason(&lost).as_str()),
        (Code::DataLoss, "FILE_CORRUPTED")
    );
    assert!(
        server
            .log()
            .contains("the file of a clip cannot be made again")
    );
    fetch(&server, &other).await;
    assert_eq!(held_for(&site, &clip).len(), 2);
    assert_eq!(server.stop(), 0);

    std::fs::rename(&aside, &held[1]).unwrap();
    let server = start_and_tidy(&site).await;
    fetch(&server, &clip).await;
    server.stop_with(&site, &[&clip, &other]);
}

#[tokio::test]
async fn a_killed_server_leaves_no_file_that_is_taken_for_whole_though_the_machine_went_on() {
    let (site, _, clip) = made_and_killed().await;
    // As one whose disk was taken away before it had the file, and put back.
    empty_out(&site.clips().join(&clip.file_name));
    check_whole_after_a_start(&site, &clip).await;
}

#[tokio::test]
async fn a_file_that_the_disk_did_not_take_is_made_again_though_it_reads_well() {
    let (site, _, clip) = made_and_killed().await;
    set_unsynced_in(&site, &clip, &format!("{}/refused", this_run())).await;
    let path = site.clips().join(&clip.file_name);
    let inode = || std::fs::metadata(&path).unwrap().ino();
    let before = inode();
    check_whole_after_a_start(&site, &clip).await;
    assert_ne!(inode(), before);
}

#[tokio::test]
async fn a_recording_that_grew_since_makes_the_same_file_again() {
    let (site, recordings, clip) = made_and_killed().await;
    set_unsynced_in(&site, &clip, "another run of the machine").await;
    empty_out(&site.clips().join(&clip.file_name));
    let mut last = std::fs::File::options()
        .append(true)
        .open(&recordings[2])
        .unwrap();
    // A free box (ISO/IEC 14496-12 section 8.1.2).
    std::io::Write::write_all(&mut last, b"\0\0\0\x08free").unwrap();
    check_whole_after_a_start(&site, &clip).await;
}

#[tokio::test]
async fn a_clip_with_a_damaged_recording_is_waited_for() {
    let (site, recordings) = with_footage();
    std::fs::write(&recordings[1], "no recording").unwrap();
    let server = start_and_tidy(&site).await;
    let (_, clip) = cut(&server, ask(CAMERA, 1_400, 28_200)).await;
    assert_eq!(gap_reasons(&clip), [GapReason::FileDamaged]);
    assert_eq!(unsynced_in(&site, &clip).await, "");
    assert_eq!(held_for(&site, &clip), Vec::<PathBuf>::new());
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn a_file_that_cannot_be_made_again_yet_is_once_it_can_be() {
    let mut site = unfollowed().on_sqlite();
    let disk = SmallDisk::mount(site.path("disk"), 128 << 20);
    let [clips, recordings] = ["clips", "recordings"].map(|name| disk.at.join(name));
    std::fs::create_dir(&recordings).unwrap();
    std::fs::remove_dir(site.recordings()).unwrap();
    std::os::unix::fs::symlink(&recordings, site.recordings()).unwrap();
    site.set("HELDAR_CLIPS_DIR", clips.to_str().unwrap());
    lay(&site, CAMERA, &thirty_seconds().record());
    import(&site, &[]);
    let server = site.start().await;
    let (_, clip) = cut(&server, ask(CAMERA, 1_400, 28_200)).await;
    server.kill();
    set_unsynced_in(&site, &clip, "another run of the machine").await;
    empty_out(&clips.join(&clip.file_name));
    disk.fill();
    let server = site.start().await;
    let missing = download(&server, &clip.id, 0, 0).await.unwrap_err();
    assert_eq!(reason(&missing), "FILE_CORRUPTED");
    disk.make_room();
    let made = materialize(&server, &clip.id).await;
    assert_eq!(made, clip);
    fetch(&server, &clip).await;
    assert_eq!(server.stop(), 0);
    assert_eq!(files_in(&clips), [clip.file_name.as_str()]);
}

#[tokio::test]
async fn the_recordings_are_let_go_of_when_the_disk_has_the_file_and_when_the_clip_is_deleted() {
    let (site, _) = with_footage();
    let server = start_and_tidy(&site).await;
    let (_, deleted) = cut(&server, ask(CAMERA, 1_400, 8_200)).await;
    assert_eq!(held_for(&site, &deleted).len(), 2);
    let request = proto::DeleteClipRequest {
        clip_id: deleted.id.clone(),
    };
    server.clips().delete_clip(request).await.unwrap();
    assert_eq!(held_for(&site, &deleted), Vec::<PathBuf>::new());

    let (_, killed) = cut(&server, ask(CAMERA, 1_400, 8_200)).await;
    server.kill();
    let server = start_and_tidy(&site).await;
    assert_eq!(unsynced_in(&site, &killed).await, "");
    assert_eq!(held_for(&site, &killed), Vec::<PathBuf>::new());
    fetch(&server, &killed).await;

    let (_, stopped) = cut(&server, ask(CAMERA, 1_400, 8_200)).await;
    assert_eq!(held_for(&site, &stopped).len(), 2);
    server.stop_with(&site, &[&killed, &stopped]);
    assert_eq!(unsynced_in(&site, &stopped).await, "");
    assert_eq!(held_for(&site, &stopped), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_file_that_vanishes_before_the_disk_has_it_is_made_again() {
    let (site, _, clip) = made_and_killed().await;
    std::fs::remove_file(site.clips().join(&clip.file_name)).unwrap();
    check_whole_after_a_start(&site, &clip).await;
}

#[tokio::test]
async fn what_cannot_be_made_again_is_waited_for() {
    let (site, _) = with_footage();
    let server = start_and_tidy(&site).await;
    for engine in [proto::ClipEngine::Ffmpeg, proto::ClipEngine::Render] {
        let request = proto::CreateClipRequest {
            engine: engine.into(),
            ..ask(CAMERA, 1_400, 8_200)
        };
        let (_, clip) = cut(&server, request).await;
        assert_eq!(unsynced_in(&site, &clip).await, "", "{engine:?}");
        assert_eq!(held_for(&site, &clip), Vec::<PathBuf>::new());
    }
    drop(server);

    let mut site = unfollowed().on_sqlite();
    let disk = SmallDisk::mount(site.path("disk"), 128 << 20);
    site.set("HELDAR_CLIPS_DIR", disk.at.to_str().unwrap());
    lay(&site, CAMERA, &thirty_seconds().record());
    import(&site, &[]);
    let server = start_and_tidy_with(&site, &disk.at).await;
    let (_, clip) = cut(&server, ask(CAMERA, 1_400, 8_200)).await;
    assert_eq!(unsynced_in(&site, &clip).await, "", "another file system");
    assert_eq!(files_in(&disk.at), [clip.file_name.as_str()]);
    drop(server);
}
