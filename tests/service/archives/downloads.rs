//! The files of archives over gRPC: in parts, while they are deleted, and when they are no longer what was stored.

use std::io::{Read as _, Write as _};

use heldar_footage::proto;
use heldar_footage::proto::download_archive_response::Content;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::asking::{
    all_of, ask, check_bytes, check_refused, delete, download, everything, get, make, swell,
    thirty_seconds, two_cameras,
};
use crate::recorder::{CAMERA, import, lay, sha256, unfollowed};
use crate::server::{files_in, http_get, reason};

#[tokio::test]
async fn a_download_can_be_taken_in_parts_and_goes_on_where_it_broke() {
    let site = two_cameras();
    let server = site.start().await;
    let (_, archive) = make(&server, ask(everything())).await;
    let (size, id) = (archive.size_bytes, archive.id.as_str());
    let (header, whole) = download(&server, id, 0, 0).await.unwrap();
    check_bytes(&archive, &whole);
    assert_eq!(
        (header.media_type.as_str(), &header.file_name),
        ("application/zip", &archive.file_name)
    );
    for (offset, limit) in [
        (0, 1),
        (1, 300_000),
        (size - 1, 0),
        (size - 10, 100),
        (size, 0),
        (size, 5),
        (7, i64::MAX),
    ] {
        let (header, part) = download(&server, id, offset, limit).await.unwrap();
        assert_eq!(
            (header.total_size_bytes, &header.sha256),
            (size, &archive.sha256)
        );
        let end = if limit == 0 {
            size
        } else {
            offset.saturating_add(limit).min(size)
        };
        assert!(
            part == whole[offset as usize..end as usize],
            "{offset} {limit}"
        );
    }
    // A client goes away in the middle and comes back for the rest.
    let request = proto::DownloadArchiveRequest {
        archive_id: id.to_owned(),
        ..Default::default()
    };
    let answer = server.archives().download_archive(request).await.unwrap();
    let mut messages = answer.into_inner();
    let mut received = Vec::new();
    while received.len() < 100_000 {
        if let Some(Content::Data(data)) = messages.message().await.unwrap().unwrap().content {
            received.extend(data);
        }
    }
    assert!((received.len() as i64) < size);
    drop(messages);
    let (_, rest) = download(&server, id, received.len() as i64, 0)
        .await
        .unwrap();
    received.extend(rest);
    assert_eq!(sha256(&received), archive.sha256);

    let past = download(&server, id, size + 1, 0).await.unwrap_err();
    let words = format!(
        "offset_bytes {} is past the end of the file, which has {size} bytes",
        size + 1
    );
    check_refused(&past, Code::OutOfRange, "OFFSET_PAST_END", &words);
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn downloads_that_have_begun_are_delivered_to_the_end_when_the_archive_is_deleted() {
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &thirty_seconds().record());
    // Far more than waits on the way to a caller that does not read.
    swell(&paths[0], 64 << 20);
    import(&site, &[]);
    let server = site.start().await;
    let (_, archive) = make(&server, ask(everything())).await;

    let request = proto::DownloadArchiveRequest {
        archive_id: archive.id.clone(),
        ..Default::default()
    };
    let answer = server.archives().download_archive(request).await.unwrap();
    let mut messages = answer.into_inner();
    assert!(messages.message().await.unwrap().is_some(), "the header");
    let mut http = std::net::TcpStream::connect(&server.address).unwrap();
    let (url, host) = (&archive.url, &server.address);
    write!(
        http,
        "GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut begun = [0; 12];
    http.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");

    delete(&server, &archive.id).await.unwrap();
    assert_eq!(files_in(&site.archives()), Vec::<String>::new());
    let gone = get(&server, &archive.id).await.unwrap_err();
    assert_eq!(reason(&gone), "ARCHIVE_NOT_FOUND");

    let mut received = Vec::new();
    while let Some(message) = messages.message().await.unwrap() {
        match message.content {
            Some(Content::Data(data)) => received.extend(data),
            other => panic!("no data: {other:?}"),
        }
    }
    check_bytes(&archive, &received);
    let reading = tokio::task::spawn_blocking(move || {
        let mut rest = Vec::new();
        http.read_to_end(&mut rest).map(|_| rest)
    });
    let rest = reading.await.unwrap().unwrap();
    let body = rest.len() - archive.size_bytes as usize;
    check_bytes(&archive, &rest[body..]);
    assert_eq!(http_get(&server, &archive.url).0, 404);
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn an_archive_whose_file_was_damaged_or_removed_is_data_loss_and_gone_over_http() {
    let site = two_cameras();
    let server = site.start().await;
    let (_, whole) = make(&server, ask(everything())).await;
    let (_, cut_short) = make(&server, ask(everything())).await;
    let (_, removed) = make(&server, ask(all_of(CAMERA))).await;
    let (_, longer) = make(&server, ask(all_of(CAMERA))).await;
    let set_size = |archive: &proto::Archive, size: i64| {
        let path = site.archives().join(&archive.file_name);
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(size as u64).unwrap();
    };
    set_size(&cut_short, cut_short.size_bytes - 1);
    set_size(&longer, longer.size_bytes + 1);
    std::fs::remove_file(site.archives().join(&removed.file_name)).unwrap();
    for (archive, words) in [
        (&cut_short, "the archive's file no longer has its size"),
        (&longer, "the archive's file no longer has its size"),
        (&removed, "the archive's file is gone"),
    ] {
        let lost = download(&server, &archive.id, 0, 0).await.unwrap_err();
        check_refused(&lost, Code::DataLoss, "FILE_CORRUPTED", words);
        let resource = lost.get_details_resource_info().unwrap();
        assert_eq!(
            (resource.resource_type.as_str(), &resource.resource_name),
            ("archive", &archive.id)
        );
        assert_eq!(http_get(&server, &archive.url).0, 410);
        // The record stays, so that it can be seen what was lost, and can be deleted.
        assert_eq!(get(&server, &archive.id).await.unwrap(), *archive);
        delete(&server, &archive.id).await.unwrap();
    }
    let (_, bytes) = download(&server, &whole.id, 0, 0).await.unwrap();
    check_bytes(&whole, &bytes);
    server.stop_with_archives(&site, &[&whole]);
}

#[tokio::test]
async fn an_archive_is_deleted_only_as_it_was_read() {
    let site = two_cameras();
    let server = site.start().await;
    let named = |spec| proto::CreateArchiveRequest {
        archive_id: "bkj_again".to_owned(),
        ..ask(spec)
    };
    let (_, first) = make(&server, named(everything())).await;
    delete(&server, &first.id).await.unwrap();
    let (_, second) = make(&server, named(all_of(CAMERA))).await;
    assert_ne!(first.etag, second.etag);
    let mut archives = server.archives();
    let mut with_etag = async |etag: &str| {
        let request = proto::DeleteArchiveRequest {
            archive_id: "bkj_again".to_owned(),
            etag: etag.to_owned(),
        };
        archives.delete_archive(request).await
    };
    let stale = with_etag(&first.etag).await.unwrap_err();
    let words = "archive bkj_again was changed since it was read; read it again";
    check_refused(&stale, Code::Aborted, "ETAG_STALE", words);
    assert_eq!(files_in(&site.archives()), ["bkj_again.zip"]);
    with_etag(&second.etag).await.unwrap();
    let twice = with_etag(&second.etag).await.unwrap_err();
    let words = "archive bkj_again not found";
    check_refused(&twice, Code::NotFound, "ARCHIVE_NOT_FOUND", words);
    server.stop_with_archives(&site, &[]);
}
