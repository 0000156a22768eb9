//! How long archives are kept, and what housekeeping takes away.

use std::time::SystemTime;

use chrono::{DateTime, TimeDelta, Utc};
use heldar_footage::proto;

use super::asking::{all_of, ask, get, make, two_cameras};
use crate::recorder::{CAMERA, age};
use crate::server::{Server, eventually, files_in, reason, seconds};

fn instant(time: &prost_types::Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).unwrap()).unwrap()
}

/// How long an archive is kept.
fn kept(archive: &proto::Archive) -> Option<TimeDelta> {
    let created = instant(archive.create_time.as_ref().unwrap());
    archive
        .expire_time
        .as_ref()
        .map(|end| instant(end) - created)
}

async fn keep(server: &Server, keep_for: Option<prost_types::Duration>) -> proto::Archive {
    let request = proto::CreateArchiveRequest {
        keep_for,
        ..ask(all_of(CAMERA))
    };
    make(server, request).await.1
}

#[tokio::test]
async fn an_archive_is_kept_as_long_as_it_was_asked_for_or_as_the_server_is_set() {
    let mut site = two_cameras();
    let server = site.start().await;
    let usual = keep(&server, None).await;
    let asked = keep(&server, seconds(3_600)).await;
    let for_ever = keep(&server, seconds(0)).await;
    assert_eq!(kept(&usual), Some(TimeDelta::hours(48)));
    assert_eq!(kept(&asked), Some(TimeDelta::hours(1)));
    assert_eq!(kept(&for_ever), None);
    assert_eq!(server.stop(), 0);

    site.set("HELDAR_ARCHIVE_RETENTION_HOURS", "0");
    let server = site.start().await;
    let unlimited = keep(&server, None).await;
    let limited = keep(&server, seconds(60)).await;
    assert_eq!(kept(&unlimited), None);
    assert_eq!(kept(&limited), Some(TimeDelta::minutes(1)));
    // One that was made before keeps the time that it was given.
    assert_eq!(get(&server, &usual.id).await.unwrap(), usual);
    server.stop_with_archives(&site, &[&usual, &asked, &for_ever, &unlimited, &limited]);
}

#[tokio::test]
async fn housekeeping_takes_expired_archives_and_forgotten_files_and_nothing_else() {
    let site = two_cameras();
    let server = site.start().await;
    let kept = keep(&server, None).await;
    let expired = keep(&server, seconds(1)).await;
    let end = instant(expired.expire_time.as_ref().unwrap());
    let forgotten = keep(&server, None).await;
    let request = proto::DeleteArchiveRequest {
        archive_id: forgotten.id.clone(),
        ..Default::default()
    };
    server.archives().delete_archive(request).await.unwrap();
    assert_eq!(server.stop(), 0);
    let folder = site.archives();
    for name in [
        forgotten.file_name.as_str(),
        // Made after the copy of the database that the server has now, perhaps.
        "bkj_unknown.zip",
        "bkj_new.zip",
        "holiday.zip",
        "notes.part",
    ] {
        std::fs::write(folder.join(name), "not an archive").unwrap();
    }
    std::fs::write(folder.join(".bkj_dead-1.part"), "unfinished").unwrap();
    age(&folder.join(&forgotten.file_name));
    age(&folder.join("bkj_unknown.zip"));
    age(&folder.join("holiday.zip"));
    eventually("the archive's time is over", || {
        DateTime::<Utc>::from(SystemTime::now()) > end
    });

    // It is done when a server starts, and then each minute.
    let server = site.start().await;
    let left = [
        "bkj_new.zip",
        "bkj_unknown.zip",
        "holiday.zip",
        "notes.part",
    ];
    let mut left: Vec<_> = left.into_iter().chain([kept.file_name.as_str()]).collect();
    left.sort_unstable();
    eventually("housekeeping", || files_in(&folder) == left);
    let gone = get(&server, &expired.id).await.unwrap_err();
    assert_eq!(reason(&gone), "ARCHIVE_NOT_FOUND");
    assert_eq!(get(&server, &kept.id).await.unwrap(), kept);
    assert_eq!(server.stop(), 0);
}
