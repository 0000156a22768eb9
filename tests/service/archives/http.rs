//! The files of archives over plain HTTP.

use chrono::DateTime;

use super::asking::{ask, check_bytes, delete, everything, make, two_cameras};
use crate::http::call;
use crate::recorder::{CAMERA, ask as ask_for_clip, cut};
use crate::server::files_in;

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_served_as_a_file_to_be_saved_with_all_that_a_download_needs() {
    let site = two_cameras();
    let server = site.start().await;
    let (_, archive) = make(&server, ask(everything())).await;
    let whole = call(&server, "GET", &archive.url, &[], b"");
    assert_eq!(whole.status, 200);
    check_bytes(&archive, &whole.body);
    let etag = format!("\"{}\"", archive.sha256);
    let created = archive.create_time.unwrap();
    let created = DateTime::from_timestamp(created.seconds, 0).unwrap();
    let modified = created.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let disposition = format!("attachment; filename=\"{}\"", archive.file_name);
    let size = archive.size_bytes.to_string();
    let head = call(&server, "HEAD", &archive.url, &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    for (name, value) in [
        ("content-type", "application/zip"),
        ("content-length", &size),
        ("accept-ranges", "bytes"),
        ("etag", &etag),
        ("last-modified", &modified),
        ("content-disposition", &disposition),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(whole.header(name), Some(value), "{name}");
        assert_eq!(head.header(name), Some(value), "{name} of HEAD");
    }
    for (name, value, status) in [
        ("If-None-Match", etag.as_str(), 304),
        ("If-Modified-Since", modified.as_str(), 304),
        ("If-None-Match", "\"other\"", 200),
        ("If-Match", "\"other\"", 412),
    ] {
        let answer = call(&server, "GET", &archive.url, &[(name, value)], b"");
        assert_eq!(answer.status, status, "{name}: {value}");
    }
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_give_just_the_bytes_that_were_asked_for_while_the_archive_is_the_same() {
    let site = two_cameras();
    let server = site.start().await;
    let (_, archive) = make(&server, ask(everything())).await;
    let bytes = std::fs::read(site.archives().join(&archive.file_name)).unwrap();
    let size = bytes.len();
    let get = |headers: &[(&str, &str)]| call(&server, "GET", &archive.url, headers, b"");
    for (range, from, to) in [
        ("bytes=0-3".to_owned(), 0, 4),
        (format!("bytes={}-", size - 22), size - 22, size),
        ("bytes=-5".to_owned(), size - 5, size),
        (format!("bytes=10-{}", size * 2), 10, size),
    ] {
        let part = get(&[("Range", &range)]);
        assert_eq!(part.status, 206, "{range}");
        assert!(part.body == bytes[from..to], "{range}");
        let told = format!("bytes {from}-{}/{size}", to - 1);
        assert_eq!(part.header("content-range"), Some(told.as_str()));
    }
    let several = get(&[("Range", "bytes=0-9,100-109")]);
    assert_eq!(several.status, 206);
    let kind = several.header("content-type").unwrap();
    assert!(
        kind.starts_with("multipart/byteranges; boundary="),
        "{kind}"
    );
    for part in [&bytes[0..10], &bytes[100..110]] {
        assert!(several.body.windows(10).any(|ten| ten == part));
    }
    let past = get(&[("Range", &format!("bytes={size}-"))]);
    assert_eq!(past.status, 416);
    let told = format!("bytes */{size}");
    assert_eq!(past.header("content-range"), Some(told.as_str()));

    let etag = format!("\"{}\"", archive.sha256);
    let same = get(&[("Range", "bytes=5-9"), ("If-Range", &etag)]);
    assert_eq!((same.status, same.body.len()), (206, 5));
    let other = get(&[("Range", "bytes=5-9"), ("If-Range", "\"other\"")]);
    assert_eq!((other.status, other.body.len()), (200, size));
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_archives_is_served_from_their_folder() {
    let site = two_cameras();
    let server = site.start().await;
    let (_, archive) = make(&server, ask(everything())).await;
    let (_, deleted) = make(&server, ask(everything())).await;
    delete(&server, &deleted.id).await.unwrap();
    let (_, clip) = cut(&server, ask_for_clip(CAMERA, 0, 2_000)).await;
    let stray = site.archives().join("bkj_stray.zip");
    std::fs::write(&stray, "not an archive").unwrap();
    let paths = [
        deleted.url.clone(),
        format!("/media/archives/{}", clip.file_name),
        format!("/media/clips/{}", archive.file_name),
        format!("/media/archives/{}", archive.id),
        format!("/media/archives/{}", archive.file_name.to_uppercase()),
        format!("/media/archives/..%2fclips%2f{}", clip.file_name),
        format!("/media/archives/x%2f..%2f{}", archive.file_name),
        "/media/archives/bkj_stray.zip".to_owned(),
        "/media/archives/bkj_unknown.zip".to_owned(),
        "/media/archives/..%2fsigning_key".to_owned(),
        "/media/archives/../signing_key".to_owned(),
        "/media/archives/%2e%2e/signing_key".to_owned(),
        "/media/archives/..%2fheldar.db".to_owned(),
        "/media/archives/%2fetc%2fpasswd".to_owned(),
        "/media/archives/a%00b".to_owned(),
        "/media/archives/%ff".to_owned(),
        "/media/archives/".to_owned(),
        "/media/archives".to_owned(),
    ];
    for path in &paths {
        let answer = call(&server, "GET", path, &[], b"");
        assert!(
            matches!(answer.status, 400 | 404),
            "{path}: {}",
            answer.status
        );
        let told = answer.text();
        for secret in [
            "OPENSSH",
            archive.file_name.as_str(),
            site.data().to_str().unwrap(),
        ] {
            assert!(!told.contains(secret), "{path}: {told}");
        }
    }
    for method in ["POST", "PUT", "DELETE"] {
        let answer = call(&server, method, &archive.url, &[], b"");
        assert_eq!(answer.status, 405, "{method}");
    }
    assert!(files_in(&site.archives()).contains(&archive.file_name));
    std::fs::remove_file(stray).unwrap();
    assert_eq!(server.stop(), 0);
    site.check_left_with(&[&clip], &[&archive]);
}
