//! Downloads that break, that go on, and that are not what was promised.

use heldar_footage::client::{Code, Footage};
use heldar_footage::proto::{Archive, CreateClipRequest};

use super::support::at;
use super::support::proxy::CuttingProxy;
use super::{archive_of_all, names_in, server, sha256_of};

#[tokio::test]
async fn a_download_that_breaks_goes_on_where_it_stopped() {
    let server = server().await;
    let archive = archive_of_all(&server).await;
    let proxy = CuttingProxy::start(&server.address).await;
    let through = Footage::connect(&proxy.address).unwrap();
    let folder = tempfile::tempdir().unwrap();
    proxy.cut_after(usize::try_from(archive.size_bytes).unwrap() / 2);
    let mut received = Vec::new();
    let saved = through.download_with(&archive, &folder, |done, _| received.push(done));
    let path = saved.await.unwrap();
    assert_eq!(proxy.connections(), 2);
    assert!(
        received.is_sorted_by(|before, after| before < after),
        "nothing came twice"
    );
    assert_eq!(sha256_of(&path), archive.sha256);
}

#[tokio::test]
async fn a_download_takes_up_what_an_earlier_program_left() {
    let server = server().await;
    let footage = server.footage();
    let archive = archive_of_all(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.zip");
    footage.download(&archive, &whole).await.unwrap();
    let bytes = std::fs::read(&whole).unwrap();
    let again = folder.path().join("again.zip");
    let part = folder
        .path()
        .join(format!(".again.zip.{}.part", &archive.sha256[..16]));
    std::fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    let mut received = Vec::new();
    let saved = footage.download_with(&archive, &again, |done, _| received.push(done));
    saved.await.unwrap();
    assert!(received[0] >= bytes.len() as u64 / 2);
    assert_eq!(std::fs::read(&again).unwrap(), bytes);
    // What does not fit is fetched anew.
    std::fs::write(&part, vec![b'x'; 1000]).unwrap();
    footage.download(&archive, &again).await.unwrap();
    assert_eq!(std::fs::read(&again).unwrap(), bytes);
    assert!(!part.exists());
}

#[tokio::test]
async fn a_file_with_another_hash_gets_no_name() {
    let server = server().await;
    let footage = server.footage();
    let request = CreateClipRequest::of("yard_02", at(1.0), at(3.0));
    let clip = footage
        .create_clip(request)
        .await
        .unwrap()
        .result()
        .await
        .unwrap();
    let stored = server.site().join("data/clips").join(&clip.file_name);
    let mut bytes = std::fs::read(&stored).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&stored, bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = footage.download(&clip, &folder).await.unwrap_err();
    assert_eq!(error.code(), Code::DataLoss);
    assert!(error.to_string().contains("SHA-256"), "{error}");
    assert!(names_in(folder.path()).is_empty());
}

#[tokio::test]
async fn a_file_that_is_not_the_one_that_was_asked_for_gets_no_name() {
    let server = server().await;
    let archive = archive_of_all(&server).await;
    let other = Archive {
        sha256: "0".repeat(64),
        ..archive
    };
    let folder = tempfile::tempdir().unwrap();
    let error = server.footage().download(&other, &folder).await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), Code::DataLoss);
    assert!(error.to_string().contains("another file"), "{error}");
    assert!(names_in(folder.path()).is_empty());
}

#[tokio::test]
async fn downloads_of_one_file_to_one_place_at_the_same_time_do_not_spoil_it() {
    let server = server().await;
    let footage = server.footage();
    let archive = archive_of_all(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("same.zip");
    let download = || footage.download(&archive, &place);
    let saved = tokio::join!(download(), download(), download(), download());
    for path in [saved.0, saved.1, saved.2, saved.3] {
        assert_eq!(path.unwrap(), place);
    }
    assert_eq!(sha256_of(&place), archive.sha256);
    assert_eq!(names_in(folder.path()), ["same.zip"]);
}
