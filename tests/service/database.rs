//! The database as a file: copies of it.

use std::os::unix::fs::PermissionsExt as _;

use heldar_footage::proto;
use sqlx::{Connection as _, Executor as _};

use crate::archives::two_cameras;
use crate::recorder::{CAMERA, ask, cut, import, lay, unfollowed};
use crate::server::{Site, files_in};

fn back_up(site: &Site, name: &str) -> (i32, String, String) {
    let path = site.path(name);
    site.run(&["database", "backup", path.to_str().unwrap()])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_while_the_server_writes_is_a_database_that_a_server_goes_on_with() {
    let site = two_cameras();
    let server = site.start().await;
    let (_, clip) = cut(&server, ask(CAMERA, 0, 4_000)).await;
    let mut clips = server.clips();
    let writing = tokio::spawn(async move {
        let mut made = Vec::new();
        while made.len() < 50 {
            let request = proto::CreateClipRequest {
                wait: None,
                ..ask(CAMERA, 0, 1_000)
            };
            made.push(clips.create_clip(request).await.unwrap().into_inner().id);
        }
        made
    });
    let (code, out, err) = tokio::task::block_in_place(|| back_up(&site, "copy.db"));
    assert_eq!(code, 0, "{out}\n{err}");
    assert!(
        out.contains("copy.db: ") && out.contains("checked"),
        "{out}"
    );
    writing.await.unwrap();
    let copy = site.path("copy.db");
    let mode = copy.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "secrets, though sealed, are in it");
    server.kill();

    // The copy takes the place of the database, as the command's help says.
    for name in ["heldar.db", "heldar.db-wal", "heldar.db-shm"] {
        let _ = std::fs::remove_file(site.data().join(name));
    }
    std::fs::rename(copy, site.data().join("heldar.db")).unwrap();
    let server = site.start().await;
    let request = proto::GetClipRequest {
        clip_id: clip.id.clone(),
    };
    let known = server.clips().get_clip(request).await.unwrap().into_inner();
    assert_eq!(known, clip);
    let (_, another) = cut(&server, ask(CAMERA, 2_000, 5_000)).await;
    assert!(site.clip_files().contains(&another.file_name));
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_copy_takes_nobodys_name_and_leaves_nothing_when_it_fails() {
    let site = unfollowed();
    let (code, _, err) = back_up(&site, "copy.db");
    assert_eq!(code, 1, "there is no database yet: {err}");
    lay(&site, CAMERA, &crate::server::twelve_seconds());
    import(&site, &[]);
    std::fs::write(site.path("taken.db"), "mine").unwrap();
    let (code, _, err) = back_up(&site, "taken.db");
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("exists already"), "{err}");
    assert_eq!(std::fs::read(site.path("taken.db")).unwrap(), b"mine");

    // A page in the middle that says nothing: what it held is gone, and a copy must not pass for whole.
    let path = site.data().join("heldar.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let from = bytes.len() / 4096 / 2 * 4096;
    bytes[from..].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let (code, _, err) = back_up(&site, "copy.db");
    assert_eq!(code, 1, "{err}");
    let (code, out, _) = site.run(&["doctor"]);
    assert_eq!(code, 1);
    assert!(
        out.contains("fail  database") && out.contains("malformed"),
        "{out}"
    );
    let left: Vec<_> = files_in(&site.path(""))
        .into_iter()
        .filter(|name| name.contains("copy"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_an_index_that_does_not_say_what_its_table_says() {
    let site = unfollowed().on_sqlite();
    lay(&site, CAMERA, &crate::server::twelve_seconds());
    import(&site, &[]);
    let doctor = || tokio::task::block_in_place(|| site.run(&["doctor"])).1;
    let sound = doctor();
    assert!(sound.contains("up to date and sound"), "{sound}");

    // Each page is well-formed; only reading the index beside its table shows the damage.
    let url = format!("sqlite://{}", site.data().join("heldar.db").display());
    let run = async |statements: &'static str| {
        let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
        database.execute(statements).await.unwrap();
        database.close().await.unwrap();
    };
    run(
        "CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'jobs_by_age';
         PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'jobs_by_age'",
    )
    .await;
    run("UPDATE jobs SET create_time_us = create_time_us + 1;
         PRAGMA writable_schema = ON; INSERT INTO sqlite_schema SELECT * FROM kept")
    .await;
    run("DROP TABLE kept").await;
    let damaged = doctor();
    assert!(
        damaged.contains("fail  database") && damaged.contains("jobs_by_age"),
        "{damaged}"
    );
}
