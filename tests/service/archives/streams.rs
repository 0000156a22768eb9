//! The zip without a job and without a file: sent while it is made, as fast as its caller takes it.
//!
//! A caller that takes nothing is the barrier: the server can read no further than what waits on the way to it.

use std::path::PathBuf;

use heldar_footage::proto;
use rustix::process::Signal;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::asking::{
    Stream, another_client, archive_jobs, check_bytes, check_refused, entry, everything, header_of,
    one_cut, plan, rest_of, stream, stream_to, swell, thirty_seconds, trimmed, two_cameras,
    two_cameras_for_ffmpeg,
};
use crate::recorder::{CAMERA, age, import, lay, unfollowed};
use crate::server::{PATIENCE, Site, becomes, eventually, files_in, nothing_left, reason};
use crate::stand_in::Gate;

/// Far more than waits between the server's reading and a caller that does not read.
const LARGE_BYTES: u64 = 32 << 20;

/// A site with three recordings of one camera, each too large to be on its way as a whole; their paths.
fn with_large_recordings() -> (Site, Vec<PathBuf>) {
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &thirty_seconds().record());
    for path in &paths {
        swell(path, LARGE_BYTES);
    }
    import(&site, &[]);
    (site, paths)
}

#[tokio::test]
async fn a_stream_says_its_exact_size_first_and_at_its_end_what_was_sent_and_nothing_is_kept() {
    let site = two_cameras();
    let server = site.start().await;
    for spec in [everything(), trimmed(1_400, 15_000)] {
        let mut streaming = stream(&server, spec.clone()).await.unwrap();
        let header = header_of(&mut streaming).await;
        let (bytes, archive) = rest_of(streaming).await;
        let archive = archive.unwrap();
        check_bytes(&archive, &bytes);
        assert_eq!(header.size_bytes, bytes.len() as i64);
        assert_eq!(header.media_type, "application/zip");
        assert_eq!(header.file_name, archive.file_name);
        assert!(header.file_name.ends_with(".zip"));
        let told = header.plan.unwrap();
        assert!(told.size_exact);
        assert_eq!(
            (told.size_bytes, told.entry_count, told.source_bytes),
            (
                archive.size_bytes,
                archive.entry_count,
                archive.source_bytes
            )
        );
        assert_eq!(
            (&told.spec, &told.cameras),
            (&archive.spec, &archive.cameras)
        );
        for empty in [&archive.id, &archive.job_id, &archive.url, &archive.etag] {
            assert_eq!(empty, "");
        }
        assert_eq!(archive.expire_time, None);
        assert_eq!(archive.created_by, "ann");
        assert_eq!(archive.signing_key_fingerprint.len(), "SHA256:".len() + 43);
    }
    assert_eq!(archive_jobs(&server).await, []);
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn sources_that_are_deleted_while_they_are_sent_are_archived_whole() {
    let (site, paths) = with_large_recordings();
    let server = site.start().await;
    let copies: Vec<_> = paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    let mut streaming = stream(&server, everything()).await.unwrap();
    let header = header_of(&mut streaming).await;
    for path in &paths {
        std::fs::remove_file(path).unwrap();
    }
    let (bytes, archive) = rest_of(streaming).await;
    let archive = archive.unwrap();
    check_bytes(&archive, &bytes);
    assert_eq!(
        (archive.faults.as_slice(), archive.size_bytes),
        (&[][..], header.size_bytes)
    );
    let zip = site.path("received.zip");
    std::fs::write(&zip, bytes).unwrap();
    for (source, copy) in header.plan.unwrap().sources.iter().zip(copies) {
        assert!(
            entry(&zip, &source.entry_name) == copy,
            "{}",
            source.entry_name
        );
    }
    assert_eq!(server.holds_open(&site.recordings()), 0);
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn a_source_that_shrinks_or_is_written_to_while_it_is_sent_ends_the_call_with_data_loss() {
    let (site, paths) = with_large_recordings();
    let server = site.start().await;
    let last = &paths[2];
    let size = std::fs::metadata(last).unwrap().len();
    let harms: [&dyn Fn(); 2] = [
        &|| {
            let file = std::fs::File::options().write(true).open(last).unwrap();
            file.set_len(size - 1).unwrap();
        },
        &|| {
            use std::os::unix::fs::FileExt as _;
            let file = std::fs::File::options().write(true).open(last).unwrap();
            file.set_len(size).unwrap();
            file.write_all_at(b"other", size - 5).unwrap();
        },
    ];
    for harm in harms {
        let mut streaming = stream(&server, everything()).await.unwrap();
        let header = header_of(&mut streaming).await;
        harm();
        let (bytes, ended) = rest_of(streaming).await;
        let lost = ended.unwrap_err();
        assert_eq!(
            (lost.code(), reason(&lost).as_str()),
            (Code::DataLoss, "FILE_CORRUPTED")
        );
        let name = last.file_name().unwrap().to_str().unwrap();
        assert!(lost.message().contains(name), "{}", lost.message());
        assert!(!lost.message().contains(site.recordings().to_str().unwrap()));
        assert!(lost.get_details_resource_info().is_some());
        assert!((bytes.len() as i64) < header.size_bytes);
    }
    // Nobody is worse off for it.
    age(last);
    let mut streaming = stream(&server, everything()).await.unwrap();
    header_of(&mut streaming).await;
    let (bytes, archive) = rest_of(streaming).await;
    check_bytes(&archive.unwrap(), &bytes);
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn only_so_many_are_streamed_at_once_and_a_caller_that_goes_away_makes_room() {
    let (site, _) = with_large_recordings();
    let server = site.start().await;
    let mut streams: Vec<Stream> = Vec::new();
    let refused = loop {
        // Those that do not read would share, and use up, the window of a connection.
        let mut client = another_client(&server).await;
        match stream_to(&mut client, everything()).await {
            Ok(mut streaming) => {
                header_of(&mut streaming).await;
                streams.push(streaming);
                assert!(streams.len() < 100, "there is no limit");
            }
            Err(refused) => break refused,
        }
    };
    let words = format!(
        "{} archives are being streamed already; try again later",
        streams.len()
    );
    let code = Code::ResourceExhausted;
    check_refused(&refused, code, "TOO_MANY_WATCHERS", &words);
    assert!(refused.get_details_quota_failure().is_some());
    assert!(refused.get_details_retry_info().is_some());
    assert!(streams.len() > 1);

    streams.pop();
    let mut last = becomes("a place is free", async || {
        stream(&server, everything()).await.ok()
    })
    .await;
    header_of(&mut last).await;
    streams.clear();
    let (bytes, archive) = rest_of(last).await;
    check_bytes(&archive.unwrap(), &bytes);
    eventually("what was abandoned is given up", || {
        server.holds_open(&site.recordings()) == 0
    });
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn a_caller_that_goes_away_while_clips_are_cut_ends_the_cutting() {
    let mut site = two_cameras_for_ffmpeg();
    let gate = Gate::of(&mut site);
    let server = site.start().await;
    let request = proto::StreamArchiveRequest {
        spec: Some(one_cut()),
        ..Default::default()
    };
    let mut archives = server.archives();
    let call = tokio::spawn(async move { archives.stream_archive(request).await });
    let gate = tokio::task::spawn_blocking(move || {
        gate.reached_by(1);
        gate
    });
    let gate = gate.await.unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    eventually("ffmpeg is ended", || gate.waiting().is_empty());
    let scratch = site.data().join("scratch");
    eventually("the scratch folder is empty", || {
        files_in(&scratch).is_empty()
    });
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn a_stream_ends_as_unavailable_when_the_server_shuts_down() {
    let (site, _) = with_large_recordings();
    let server = site.start().await;
    let mut streaming = stream(&server, everything()).await.unwrap();
    header_of(&mut streaming).await;
    server.signal(Signal::TERM);
    // Over a connection of its own: a request that meets a connection just being closed resets it, and with it what was sent
    // over it and not yet read.
    let address = format!("http://{}", server.address);
    let own = tonic::transport::Endpoint::from_shared(address).unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(own.connect_lazy());
    eventually_draining(&mut health).await;
    let (_, ended) = rest_of(streaming).await;
    let told = ended.unwrap_err();
    let words = "the server is shutting down; call again";
    check_refused(&told, Code::Unavailable, "DRAINING", words);
    assert!(told.get_details_retry_info().is_some());
    let mut server = server;
    assert_eq!(server.wait(), 0);
    drop(server);
    nothing_left(&site, &[]);
}

/// Returns when the server says that it takes no more calls, or takes none.
async fn eventually_draining(
    health: &mut tonic_health::pb::health_client::HealthClient<tonic::transport::Channel>,
) {
    use tonic_health::pb::health_check_response::ServingStatus;
    becomes("the server drains", async || {
        let request = tonic_health::pb::HealthCheckRequest::default();
        match health.check(request).await {
            Ok(answer) => (answer.into_inner().status() != ServingStatus::Serving).then_some(()),
            Err(_) => Some(()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_takes_nothing_does_not_hold_up_a_shutdown() {
    let (site, _) = with_large_recordings();
    let site = site.with("HELDAR_SHUTDOWN_GRACE_S", "1");
    let server = site.start().await;
    let mut streaming = stream(&server, everything()).await.unwrap();
    header_of(&mut streaming).await;
    let from = std::time::Instant::now();
    assert_eq!(server.stop(), 0);
    assert!(from.elapsed() < PATIENCE / 4, "{:?}", from.elapsed());
    drop(streaming);
    nothing_left(&site, &[]);
}

#[tokio::test]
async fn a_plan_for_a_stream_is_the_plan_of_the_archive() {
    let site = two_cameras();
    let server = site.start().await;
    let planned = plan(&server, everything()).await;
    let mut streaming = stream(&server, everything()).await.unwrap();
    assert_eq!(header_of(&mut streaming).await.plan, Some(planned));
    drop(streaming);
    eventually("the stream is given up", || {
        server.holds_open(&site.recordings()) == 0
    });
    server.stop_with_archives(&site, &[]);
}
