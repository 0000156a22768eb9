//! Clips that are told of before the disk has their files, and that a loss of power does not take: the recordings are held
//! until then.

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
    let layouts = site.clips().join(KEPT_LAYOUTS);
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
    let folder = site.clips().join(".held").join(&clip.id);
    let names = files_in(&folder);
    names.iter().map(|name| folder.join(name)).collect()
}

fn with_footage() -> (Site, Vec<PathBuf>) {
    let site = unfollowed().on_sqlite();
    let paths = lay(&site, CAMERA, &thirty_seconds().record());
    import(&site, &[]);
    (site, paths)
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
            assert_eq!(unsynced_in(&site, &clip).await, this_run());
            assert_eq!(held_for(&site, &clip).len(), 3);
            clips.push(clip);
        }
    }
    server.kill();
    for path in &recordings {
        std::fs::remove_file(path).unwrap();
    }
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
    for clip in &clips {
        fetch(&server, clip).await;
        assert_eq!(unsynced_in(&site, clip).await, "");
        assert_eq!(held_for(&site, clip), Vec::<PathBuf>::new());
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
    assert!(!site.clips().join(".held").exists());
}

#[tokio::test]
async fn a_file_that_cannot_be_made_again_is_said_to_be_lost_and_no_other_bytes_are_served() {
    let (site, recordings) = with_footage();
    let server = start_and_tidy(&site).await;
    let (_, clip) = cut(&server, ask(CAMERA, 1_400, 28_200)).await;
    let (_, other) = cut(&server, ask(CAMERA, 1_400, 28_200)).await;
    server.kill();
    for clip in [&clip, &other] {
        set_unsynced_in(&site, clip, "another run of the machine").await;
        empty_out(&site.clips().join(&clip.file_name));
    }
    std::fs::remove_dir_all(site.clips().join(".held").join(&clip.id)).unwrap();
    std::fs::remove_file(&recordings[1]).unwrap();
    let server = start_and_tidy(&site).await;
    let lost = download(&server, &clip.id, 0, 0).await.unwrap_err();
    assert_eq!(
        (lost.code(), reason(&lost).as_str()),
        (Code::DataLoss, "FILE_CORRUPTED")
    );
    assert!(server.log().contains("the file of a clip is lost"));
    assert_eq!(
        unsynced_in(&site, &clip).await,
        "",
        "nothing is left to try"
    );
    fetch(&server, &other).await;
    server.stop_with(&site, &[&other]);
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
    let (site, _) = with_footage();
    let server = start_and_tidy(&site).await;
    let (_, clip) = cut(&server, ask(CAMERA, 1_400, 8_200)).await;
    std::fs::remove_file(site.clips().join(&clip.file_name)).unwrap();
    server.kill();
    let server = start_and_tidy(&site).await;
    fetch(&server, &clip).await;
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn what_cannot_be_made_again_is_waited_for() {
    let (site, _) = with_footage();
    let server = site.start().await;
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
    let server = site.start().await;
    let (_, clip) = cut(&server, ask(CAMERA, 1_400, 8_200)).await;
    assert_eq!(unsynced_in(&site, &clip).await, "", "another file system");
    assert_eq!(files_in(&disk.at), [clip.file_name.as_str()]);
    drop(server);
}
