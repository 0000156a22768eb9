//! What is kept of a virtual clip from one run of the server to the next: its layout, which saves planning.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::{Connection as _, SqliteConnection};

use super::virtual_clips::{get, materialize, virtually};
use super::*;
use crate::recorder::blank_headers;

/// Where the layout of a clip is kept.
fn layout_of(site: &Site, clip: &proto::Clip) -> PathBuf {
    site.clips().join(KEPT_LAYOUTS).join(&clip.id)
}

/// Takes away what is kept of a clip, while no server runs.
pub(super) fn forget_layout(site: &Site, clip: &proto::Clip) {
    std::fs::remove_file(layout_of(site, clip)).unwrap();
}

async fn delete(server: &Server, clip: &proto::Clip) {
    let request = proto::DeleteClipRequest {
        clip_id: clip.id.clone(),
    };
    server.clips().delete_clip(request).await.unwrap();
}

fn etag_of(server: &Server, clip: &proto::Clip) -> String {
    let answer = get(server, clip, &[("Range", "bytes=0-0")]);
    assert_eq!(answer.status, 206);
    answer.header("etag").unwrap().to_owned()
}

#[tokio::test]
async fn a_restarted_server_serves_from_the_kept_layout_what_it_could_not_lay_out_anew() {
    let recording = thirty_seconds().record();
    let site = unfollowed().on_sqlite();
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let server = site.start().await;
    let (_, clip) = cut(&server, virtually(ask(CAMERA, 1_400, 28_200))).await;
    let (header, bytes) = download(&server, &clip.id, 0, 0).await.unwrap();
    let etag = etag_of(&server, &clip);
    server.stop_with(&site, &[]);

    // Where the samples lie is known to nobody but the layout now.
    paths.iter().for_each(|path| blank_headers(path));
    let database = format!("sqlite://{}/heldar.db", site.data().display());
    let mut connection = SqliteConnection::connect(&database).await.unwrap();
    let forgotten = sqlx::query("DELETE FROM segment_indexes")
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(forgotten.rows_affected(), 3);
    connection.close().await.unwrap();
    let server = site.start().await;
    assert_eq!(etag_of(&server, &clip), etag);
    let (again, same) = download(&server, &clip.id, 0, 0).await.unwrap();
    assert!(same == bytes);
    assert_eq!(again.etag, header.etag);
    server.stop_with(&site, &[]);

    forget_layout(&site, &clip);
    let server = site.start().await;
    let lost = download(&server, &clip.id, 0, 0).await.unwrap_err();
    assert_eq!(reason(&lost), "SOURCES_GONE");
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn a_kept_layout_that_is_gone_or_damaged_is_made_again() {
    let site = unfollowed();
    lay(&site, CAMERA, &thirty_seconds().record());
    import(&site, &[]);
    let server = site.start().await;
    let (_, clip) = cut(&server, virtually(ask(CAMERA, 1_400, 28_200))).await;
    let (_, other) = cut(&server, virtually(ask(CAMERA, 1_400, 28_160))).await;
    let (_, bytes) = download(&server, &clip.id, 0, 0).await.unwrap();
    let etag = etag_of(&server, &clip);
    server.stop_with(&site, &[]);
    let (path, other) = (layout_of(&site, &clip), layout_of(&site, &other));
    let kept = std::fs::read(&path).unwrap();

    type Spoil = fn(&Path, &Path, Vec<u8>);
    let spoilings: [(&str, Spoil); 8] = [
        ("gone", |path, _, _| std::fs::remove_file(path).unwrap()),
        ("empty", |path, _, _| std::fs::write(path, "").unwrap()),
        ("cut short", |path, _, kept| {
            std::fs::write(path, &kept[..kept.len() - 1]).unwrap();
        }),
        ("rubbish", |path, _, kept| {
            std::fs::write(path, vec![0x5a; kept.len()]).unwrap();
        }),
        ("of another version", |path, _, mut kept| {
            kept[7] = 0xfe;
            std::fs::write(path, kept).unwrap();
        }),
        ("changed by one bit", |path, _, mut kept| {
            let middle = kept.len() / 2;
            kept[middle] ^= 1;
            std::fs::write(path, kept).unwrap();
        }),
        ("of another clip", |path, other, _| {
            std::fs::copy(other, path).unwrap();
        }),
        ("a terabyte of nothing", |path, _, _| {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_len(1 << 40).unwrap();
        }),
    ];
    for (what, spoil) in spoilings {
        spoil(&path, &other, kept.clone());
        let server = site.start().await;
        assert_eq!(etag_of(&server, &clip), etag, "{what}");
        let (_, same) = download(&server, &clip.id, 0, 0).await.unwrap();
        assert!(same == bytes, "{what}");
        let log = server.log();
        let is_told = log.contains("the kept layout of a virtual clip is not used");
        assert_eq!(is_told, what != "gone", "{what}: {log}");
        server.stop_with(&site, &[]);
        assert!(std::fs::read(&path).unwrap() == kept, "{what}");
    }
}

#[tokio::test]
async fn a_kept_layout_goes_when_its_clip_is_deleted_or_expires_or_gets_a_file() {
    let site = unfollowed();
    lay(&site, CAMERA, &thirty_seconds().record());
    import(&site, &[]);
    let server = site.start().await;
    let short = proto::CreateClipRequest {
        keep_for: seconds(1),
        ..virtually(ask(CAMERA, 0, 9_000))
    };
    let (_, short) = cut(&server, short).await;
    let (_, deleted) = cut(&server, virtually(ask(CAMERA, 1_400, 5_000))).await;
    let (_, solid) = cut(&server, virtually(ask(CAMERA, 1_400, 28_200))).await;
    assert_eq!(site.kept_layouts().len(), 3);
    for path in [
        format!("/media/clips/{KEPT_LAYOUTS}/{}", solid.id),
        format!("/media/clips/{KEPT_LAYOUTS}%2f{}", solid.id),
        format!("/media/clips/{KEPT_LAYOUTS}"),
    ] {
        let (status, _) = http_get(&server, &path);
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    delete(&server, &deleted).await;
    let solid = materialize(&server, &solid.id).await;
    let kept = site.kept_layouts();
    assert!(!kept.contains(&deleted.id), "{kept:?}");
    assert_eq!(server.stop(), 0);
    let expires = short.expire_time.unwrap();
    eventually("the clip has expired", || {
        Utc::now().timestamp() > expires.seconds + 1
    });
    // What has expired, and what no virtual clip has, is looked for at every start.
    let server = site.start().await;
    eventually("nothing is kept any more", || {
        files_in(&site.clips()) == [solid.file_name.as_str()]
    });
    server.stop_with(&site, &[&solid]);
}

#[tokio::test]
async fn layouts_that_no_virtual_clip_has_are_swept_and_other_files_stay() {
    let site = unfollowed();
    lay(&site, CAMERA, &thirty_seconds().record());
    import(&site, &[]);
    let server = site.start().await;
    let (_, clip) = cut(&server, virtually(ask(CAMERA, 1_400, 28_200))).await;
    let (_, solid) = cut(&server, ask(CAMERA, 1_400, 5_000)).await;
    assert_eq!(server.stop(), 0);
    let hours_ago = SystemTime::now() - Duration::from_secs(7200);
    let folder = site.clips().join(KEPT_LAYOUTS);
    for (name, is_old) in [
        // As of a server that died while it wrote, or just before the clip's row was written or removed.
        (".clip_half_written.part", true),
        (".clip_being_written.part", false),
        ("clip_of_a_lost_database", true),
        ("clip_about_to_be_written", false),
        (solid.id.as_str(), false),
        ("notes.txt", true),
    ] {
        std::fs::write(folder.join(name), "a layout").unwrap();
        if is_old {
            let file = std::fs::File::options()
                .write(true)
                .open(folder.join(name))
                .unwrap();
            file.set_modified(hours_ago).unwrap();
        }
    }
    let server = site.start().await;
    let mut left = [
        ".clip_being_written.part",
        "clip_about_to_be_written",
        clip.id.as_str(),
        "notes.txt",
    ];
    left.sort_unstable();
    eventually("what nobody has is gone", || site.kept_layouts() == left);
    download(&server, &clip.id, 0, 0).await.unwrap();
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn a_clip_whose_layout_cannot_be_kept_is_made_and_served_and_deleted_all_the_same() {
    let site = unfollowed();
    lay(&site, CAMERA, &thirty_seconds().record());
    import(&site, &[]);
    std::fs::create_dir_all(site.clips()).unwrap();
    std::fs::write(site.clips().join(KEPT_LAYOUTS), "no folder").unwrap();
    let server = site.start().await;
    let (_, clip) = cut(&server, virtually(ask(CAMERA, 1_400, 28_200))).await;
    let (_, bytes) = download(&server, &clip.id, 0, 0).await.unwrap();
    let log = server.log();
    assert!(
        log.contains("the layout of a virtual clip is not kept"),
        "{log}"
    );
    server.stop_with(&site, &[]);
    let server = site.start().await;
    let (_, same) = download(&server, &clip.id, 0, 0).await.unwrap();
    assert!(same == bytes);
    delete(&server, &clip).await;
    server.stop_with(&site, &[]);
}
