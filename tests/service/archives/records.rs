//! The record of exports: who made, took and deleted what, and when. Nothing can be taken out of it.

use chrono::{DateTime, Utc};
use heldar_footage::proto;
use sqlx::{Connection as _, SqliteConnection};

use super::asking::{
    ask, delete, download, everything, header_of, make, rest_of, stream, swell, thirty_seconds,
    two_cameras,
};
use crate::http::call;
use crate::recorder::{CAMERA, import, lay, unfollowed};
use crate::server::{Site, becomes, seconds};

#[derive(Debug, sqlx::FromRow)]
struct Row {
    time_us: i64,
    action: String,
    archive_id: String,
    sha256: String,
    size_bytes: i64,
    created_by: String,
    operator: String,
    case_id: String,
    reason: String,
    peer: String,
    note: String,
}

async fn database(site: &Site) -> SqliteConnection {
    let path = site.data().join("heldar.db");
    let url = format!("sqlite://{}", path.display());
    SqliteConnection::connect(&url).await.unwrap()
}

async fn rows(site: &Site) -> Vec<Row> {
    let mut database = database(site).await;
    let rows = sqlx::query_as("SELECT * FROM export_records ORDER BY id")
        .fetch_all(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
    rows
}

fn for_a_case() -> proto::ArchiveSpec {
    proto::ArchiveSpec {
        case_id: "2026-117".to_owned(),
        operator: "control room".to_owned(),
        reason: "collision at gate A".to_owned(),
        ..everything()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_leaves_the_service_is_on_record_with_who_took_which_part() {
    let site = unfollowed().on_sqlite();
    let paths = lay(&site, CAMERA, &thirty_seconds().record());
    // A caller that does not read has only a part of it on its way.
    swell(&paths[0], 32 << 20);
    import(&site, &[]);
    let server = site.start().await;
    let begun = Utc::now();
    let request = proto::CreateArchiveRequest {
        created_by: "ann".to_owned(),
        ..ask(for_a_case())
    };
    let (_, archive) = make(&server, request.clone()).await;
    let size = archive.size_bytes;

    let mut streaming = stream(&server, for_a_case()).await.unwrap();
    header_of(&mut streaming).await;
    let streamed = rest_of(streaming).await.1.unwrap();
    // Who takes only part of it has that part, and who stays shortly before the end nearly all.
    let mut broken = stream(&server, for_a_case()).await.unwrap();
    header_of(&mut broken).await;

    download(&server, &archive.id, 0, 0).await.unwrap();
    download(&server, &archive.id, 100, 50).await.unwrap();
    download(&server, &archive.id, size + 1, 0)
        .await
        .unwrap_err();
    let get = |headers: &[(&str, &str)]| call(&server, "GET", &archive.url, headers, b"").status;
    assert_eq!(get(&[]), 200);
    assert_eq!(get(&[("Range", "bytes=10-19")]), 206);
    assert_eq!(get(&[("Range", "bytes=0-9,100-109")]), 206);
    let other = [("Range", "bytes=0-9"), ("If-Range", "\"other\"")];
    assert_eq!(get(&other), 200);
    assert_eq!(get(&[("Range", &format!("bytes={size}-"))]), 416);
    assert_eq!(call(&server, "HEAD", &archive.url, &[], b"").status, 200);
    assert_eq!(call(&server, "POST", &archive.url, &[], b"").status, 405);
    let etag = format!("\"{}\"", archive.sha256);
    assert_eq!(get(&[("If-None-Match", &etag)]), 304);
    delete(&server, &archive.id).await.unwrap();

    let short_lived = proto::CreateArchiveRequest {
        keep_for: seconds(1),
        ..request
    };
    let (_, expired) = make(&server, short_lived).await;
    drop(broken);
    assert_eq!(server.stop(), 0);
    becomes("the archive's time is over", async || {
        let end = expired.expire_time.unwrap();
        (Utc::now().timestamp() > end.seconds).then_some(())
    })
    .await;
    let server = site.start().await;
    let rows = becomes("housekeeping has been", async || {
        let rows = rows(&site).await;
        (rows.last()?.action == "EXPIRED").then_some(rows)
    })
    .await;

    let part = |from: i64, to: i64| format!("bytes {from} to {to}");
    let expected = [
        ("CREATED", &archive.id, String::new()),
        ("STREAMED", &String::new(), "begun".to_owned()),
        ("STREAMED", &String::new(), "whole".to_owned()),
        ("STREAMED", &String::new(), "begun".to_owned()),
        ("DOWNLOADED", &archive.id, "whole".to_owned()),
        ("DOWNLOADED", &archive.id, part(100, 150)),
        ("DOWNLOADED", &archive.id, "whole".to_owned()),
        ("DOWNLOADED", &archive.id, part(10, 20)),
        (
            "DOWNLOADED",
            &archive.id,
            "bytes 0 to 10, 100 to 110".to_owned(),
        ),
        ("DOWNLOADED", &archive.id, "whole".to_owned()),
        ("DELETED", &archive.id, String::new()),
        ("CREATED", &expired.id, String::new()),
        ("EXPIRED", &expired.id, String::new()),
    ];
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.action.as_str(), &row.archive_id, row.note.clone()))
        .collect();
    assert_eq!(told, expected);
    let mut earlier = begun.timestamp_micros();
    for row in &rows {
        assert!(
            (earlier..=Utc::now().timestamp_micros()).contains(&row.time_us),
            "{row:?}"
        );
        earlier = row.time_us;
        let digest = match (row.action.as_str(), row.note.as_str()) {
            ("STREAMED", "begun") => "",
            ("STREAMED", _) => &streamed.sha256,
            _ => &archive.sha256,
        };
        assert_eq!(
            (row.sha256.as_str(), row.size_bytes),
            (digest, size),
            "{row:?}"
        );
        assert_eq!(
            (
                row.created_by.as_str(),
                row.operator.as_str(),
                row.case_id.as_str(),
                row.reason.as_str()
            ),
            ("ann", "control room", "2026-117", "collision at gate A")
        );
        // What the service does by itself, or for a job that outlives its caller, has no address.
        let is_of_a_caller = !["CREATED", "EXPIRED"].contains(&row.action.as_str());
        assert_eq!(
            row.peer.starts_with("127.0.0.1:"),
            is_of_a_caller,
            "{row:?}"
        );
        assert!(DateTime::from_timestamp_micros(row.time_us).is_some());
    }
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn the_record_can_be_neither_changed_nor_emptied() {
    let site = two_cameras().on_sqlite();
    let server = site.start().await;
    let (_, archive) = make(&server, ask(everything())).await;
    assert_eq!(server.stop(), 0);
    let mut database = database(&site).await;
    for statement in [
        "DELETE FROM export_records",
        "UPDATE export_records SET operator = 'somebody else'",
        "UPDATE export_records SET id = id + 1",
        "INSERT OR REPLACE INTO export_records SELECT * FROM export_records",
    ] {
        let refused = sqlx::query(statement).execute(&mut database).await;
        let refused = refused.expect_err(statement).to_string();
        assert!(
            refused.contains("export records are only ever added"),
            "{statement}: {refused}"
        );
    }
    database.close().await.unwrap();
    let rows = rows(&site).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].archive_id, archive.id);
}
