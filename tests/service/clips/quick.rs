//! Quick clips: made without SHA-256 and without a wait for the disk, and what makes up for both.

use super::remade::{set_unsynced_in, start_and_tidy, this_run, unsynced_in};
use super::virtual_clips::{clip_id_in, get, materialize, virtually};
use super::*;
use crate::http::Answer;

/// A request for the same clip in a hurry.
fn quickly(request: proto::CreateClipRequest) -> proto::CreateClipRequest {
    proto::CreateClipRequest {
        quick: true,
        ..request
    }
}

fn etag(answer: &Answer) -> String {
    answer.header("etag").unwrap().to_owned()
}

async fn with_footage(site: &Site) -> Server {
    lay(site, CAMERA, &thirty_seconds().record());
    import(site, &[]);
    site.start().await
}

#[tokio::test]
async fn they_have_the_bytes_of_others_and_keep_all_else_when_they_get_their_hash() {
    let site = unfollowed();
    let server = with_footage(&site).await;
    let mut kept = Vec::new();
    let mut etags = std::collections::BTreeSet::new();
    for engine in [
        proto::ClipEngine::Native,
        proto::ClipEngine::Ffmpeg,
        proto::ClipEngine::Render,
    ] {
        let request = proto::CreateClipRequest {
            engine: engine.into(),
            ..ask(CAMERA, 1_400, 8_200)
        };
        let (_, clip) = cut(&server, quickly(request)).await;
        assert_eq!(clip.sha256, "", "{engine:?}");
        assert!(!clip.r#virtual && clip.engine_used() == engine);
        let (header, bytes) = download(&server, &clip.id, 0, 0).await.unwrap();
        assert_eq!(header.sha256, "");
        let whole = get(&server, &clip, &[]);
        assert!(whole.body == bytes, "the same over HTTP");
        assert_eq!(etag(&whole), format!("\"{}\"", header.etag));
        assert!(etags.insert(header.etag), "the etag names these bytes only");

        let hashed = materialize(&server, &clip.id).await;
        let expected = proto::Clip {
            sha256: sha256(&bytes),
            ..clip.clone()
        };
        assert_eq!(hashed, expected, "nothing else of the clip changes");
        assert_eq!(etag(&get(&server, &clip, &[])), etag(&whole));
        let (header, _) = download(&server, &clip.id, 0, 1).await.unwrap();
        assert_eq!(header.sha256, hashed.sha256);
        assert_eq!(materialize(&server, &clip.id).await, hashed, "once more");
        kept.push(hashed);
    }
    let native = ask(CAMERA, 1_400, 8_200);
    let (_, at_once) = cut(&server, native.clone()).await;
    assert_eq!(at_once.sha256, kept[0].sha256);
    let (_, virtual_one) = cut(&server, quickly(virtually(native))).await;
    assert_eq!(
        materialize(&server, &virtual_one.id).await.sha256,
        at_once.sha256
    );
    drop(server);
}

#[tokio::test]
async fn only_what_a_loss_of_power_may_have_taken_is_gone_when_the_machine_is_started_anew() {
    let site = unfollowed().on_sqlite();
    lay(&site, CAMERA, &thirty_seconds().record());
    import(&site, &[]);
    let run = this_run();

    let server = start_and_tidy(&site).await;
    let (_, stopped) = cut(&server, quickly(ask(CAMERA, 1_400, 8_200))).await;
    assert!(unsynced_in(&site, &stopped).await.starts_with(&run));
    let (_, hashed) = cut(&server, quickly(ask(CAMERA, 1_400, 8_200))).await;
    let hashed = materialize(&server, &hashed.id).await;
    assert_eq!(unsynced_in(&site, &hashed).await, "");
    let (_, usual) = cut(&server, ask(CAMERA, 1_400, 8_200)).await;
    assert!(unsynced_in(&site, &usual).await.starts_with(&run));
    server.stop_with(&site, &[&stopped, &hashed, &usual]);
    assert_eq!(unsynced_in(&site, &stopped).await, "", "synced at the end");

    let server = site.start().await;
    let (_, killed) = cut(&server, quickly(ask(CAMERA, 1_400, 8_200))).await;
    let (_, lost) = cut(&server, quickly(ask(CAMERA, 1_400, 8_200))).await;
    server.kill();
    set_unsynced_in(&site, &killed, &run).await;
    set_unsynced_in(&site, &lost, "another run of the machine").await;

    // A file that no row knows is deleted once it is old.
    age(&site.clips().join(&killed.file_name));
    let server = start_and_tidy(&site).await;
    assert_eq!(unsynced_in(&site, &killed).await, "", "synced by now");
    let kept = [&stopped, &hashed, &usual, &killed];
    for clip in kept {
        let (_, bytes) = download(&server, &clip.id, 0, 0).await.unwrap();
        assert_eq!(sha256(&bytes), usual.sha256);
    }
    let gone = download(&server, &lost.id, 0, 0).await.unwrap_err();
    assert_eq!(
        (gone.code(), reason(&gone).as_str()),
        (Code::NotFound, "CLIP_NOT_FOUND")
    );
    server.stop_with(&site, &kept);
}

#[tokio::test]
async fn a_file_that_lost_its_end_gets_no_hash_and_one_that_is_gone_neither() {
    let site = unfollowed();
    let server = with_footage(&site).await;
    let (_, clip) = cut(&server, quickly(ask(CAMERA, 1_400, 8_200))).await;
    let path = site.clips().join(&clip.file_name);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(1_000).unwrap();
    let ask_for_it = || proto::MaterializeClipRequest {
        clip_id: clip.id.clone(),
        wait: seconds(60),
        request_id: String::new(),
    };
    for words in ["no longer has its size", "is gone"] {
        let refused = server.clips().materialize_clip(ask_for_it()).await;
        let status = refused.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::DataLoss, "FILE_CORRUPTED")
        );
        assert!(status.message().contains(words), "{}", status.message());
        let _ = std::fs::remove_file(&path);
    }
    drop(server);
}

#[tokio::test]
async fn the_commands_make_one_fetch_it_and_have_it_hashed() {
    let site = unfollowed();
    let server = with_footage(&site).await;
    let at = format!("http://{}", server.address);
    let from = (epoch() + ms(1_000)).to_rfc3339();
    let to = (epoch() + ms(20_000)).to_rfc3339();
    let output = site.path("fetched.mp4");
    let (code, told, err) = site.run(&[
        "clip",
        CAMERA,
        "--quick",
        "--from",
        &from,
        "--to",
        &to,
        "--output",
        output.to_str().unwrap(),
        "--server",
        &at,
    ]);
    assert_eq!(code, 0, "{told}\n{err}");
    assert!(
        told.contains("none; `footage materialize` makes it"),
        "{told}"
    );
    let clip_id = clip_id_in(&told);
    let (code, told, err) = site.run(&["materialize", &clip_id, "--server", &at]);
    assert_eq!(code, 0, "{told}\n{err}");
    let hash = sha256(&std::fs::read(&output).unwrap());
    assert!(told.contains(&hash), "{told}");
    drop(server);
}
