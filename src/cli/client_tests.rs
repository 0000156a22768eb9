//! Following a job, fetching its file and receiving an archive, through a server that breaks off.

use heldar_footage::proto::stream_archive_response::Content;
use heldar_footage::proto::{
    Archive, Clip, FileHeader, Job, JobState, StreamArchiveHeader, StreamArchiveRequest,
    StreamArchiveTrailer, job,
};
use sha2::{Digest as _, Sha256};
use tonic::Status;

use super::archive_stream::{self, Destination};
use super::download::{self, StoredFile};
use super::failure::CliError;
use super::follow::{OnInterrupt, to_end};
use super::part_file::Target;
use super::progress::ProgressView;
use super::scripted_server::{Part, Script, serve};
use super::signals::Signals;

const FOOTAGE: &[u8] = b"first part and second part";

fn job_in(state: JobState, revision: i64) -> Job {
    Job {
        id: "job_1".into(),
        state: state.into(),
        revision,
        ..Job::default()
    }
}

fn draining() -> Status {
    Status::unavailable("the server is shutting down; call again")
}

async fn follow(script: &Script) -> Result<(Job, Vec<i64>), CliError> {
    let server = serve(script).await;
    let mut view = ProgressView::new(true);
    let mut signals = Signals::listen()?;
    let mut revisions = Vec::new();
    let begun = job_in(JobState::Queued, 1);
    let job = to_end(
        &server,
        begun,
        &mut view,
        &mut signals,
        OnInterrupt::Leave,
        |job| {
            revisions.push(job.revision);
            Ok(())
        },
    )
    .await?;
    Ok((job, revisions))
}

#[tokio::test]
async fn a_watch_that_breaks_off_goes_on_after_the_revision_seen_last() {
    let script = Script::default();
    *script.watches.lock().unwrap() = vec![
        vec![Ok(job_in(JobState::Running, 4)), Err(draining())],
        vec![Ok(job_in(JobState::Running, 7))],
        vec![Ok(job_in(JobState::Succeeded, 9))],
    ];
    let (job, revisions) = follow(&script).await.unwrap();
    assert_eq!(job.state(), JobState::Succeeded);
    assert_eq!(revisions, [1, 4, 7, 9]);
    assert_eq!(*script.seen.lock().unwrap(), [1, 4, 7]);
}

#[tokio::test]
async fn a_refused_watch_is_not_tried_again() {
    let script = Script::default();
    *script.watches.lock().unwrap() = vec![vec![Err(Status::not_found("job job_1 not found"))]];
    let error = follow(&script).await.unwrap_err();
    assert!(matches!(error, CliError::Refused(status) if status.code() == tonic::Code::NotFound));
}

fn sha256_of(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The jobs of a finished clip and of a finished archive, both of [`FOOTAGE`].
fn finished_jobs() -> [Job; 2] {
    let size_bytes = FOOTAGE.len() as i64;
    let clip = Clip {
        id: "clip_1".into(),
        file_name: "clip_1.mp4".into(),
        size_bytes,
        sha256: sha256_of(FOOTAGE),
        ..Clip::default()
    };
    let archive = Archive {
        id: "bkj_1".into(),
        file_name: "bkj_1.zip".into(),
        size_bytes,
        sha256: sha256_of(FOOTAGE),
        ..Archive::default()
    };
    [job::Result::Clip(clip), job::Result::Archive(archive)].map(|result| Job {
        result: Some(result),
        ..job_in(JobState::Succeeded, 9)
    })
}

fn header(sha256: &str, offset_bytes: i64) -> Result<Part, Status> {
    Ok(Part::Header(FileHeader {
        total_size_bytes: FOOTAGE.len() as i64,
        sha256: sha256.into(),
        offset_bytes,
        ..FileHeader::default()
    }))
}

fn names_in(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

async fn fetch(script: &Script, job: &Job, folder: &std::path::Path) -> Result<(), CliError> {
    let server = serve(script).await;
    let stored = StoredFile::of(job).unwrap();
    let target = Target::check(folder, false).unwrap();
    let mut signals = Signals::listen().unwrap();
    let mut view = ProgressView::new(true);
    download::fetch(&server, &stored, &target, &mut view, &mut signals)
        .await
        .map(drop)
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_where_it_was() {
    let hash = sha256_of(FOOTAGE);
    let (first, second) = FOOTAGE.split_at(10);
    for (job, name) in finished_jobs().iter().zip(["clip_1.mp4", "bkj_1.zip"]) {
        let script = Script::default();
        *script.downloads.lock().unwrap() = vec![
            vec![
                header(&hash, 0),
                Ok(Part::Data(first.to_vec())),
                Err(draining()),
            ],
            vec![header(&hash, 10), Ok(Part::Data(second.to_vec()))],
        ];
        let folder = tempfile::tempdir().unwrap();
        fetch(&script, job, folder.path()).await.unwrap();
        assert_eq!(names_in(folder.path()), [name]);
        assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), FOOTAGE);
        assert_eq!(*script.seen.lock().unwrap(), [0, 10]);
    }
}

#[tokio::test]
async fn a_download_of_another_file_leaves_nothing_behind() {
    for job in finished_jobs() {
        let script = Script::default();
        *script.downloads.lock().unwrap() =
            vec![vec![header("00", 0), Ok(Part::Data(FOOTAGE.to_vec()))]];
        let folder = tempfile::tempdir().unwrap();
        assert!(fetch(&script, &job, folder.path()).await.is_err());
        assert!(names_in(folder.path()).is_empty());
    }
}

fn stream_header() -> Content {
    Content::Header(StreamArchiveHeader {
        file_name: "gate.zip".into(),
        size_bytes: FOOTAGE.len() as i64,
        ..StreamArchiveHeader::default()
    })
}

fn stream_trailer(sha256: String) -> Content {
    Content::Trailer(StreamArchiveTrailer {
        archive: Some(Archive {
            size_bytes: FOOTAGE.len() as i64,
            sha256,
            entry_count: 7,
            ..Archive::default()
        }),
    })
}

fn data(bytes: &[u8]) -> Content {
    Content::Data(bytes.to_vec())
}

/// Receives a stream into `folder`.
async fn receive(
    steps: Vec<Result<Content, Status>>,
    folder: &std::path::Path,
) -> Result<Archive, CliError> {
    let script = Script::default();
    *script.streamed.lock().unwrap() = vec![steps];
    let server = serve(&script).await;
    let destination = Destination::File(Target::check(folder, false).unwrap());
    let mut signals = Signals::listen().unwrap();
    let mut view = ProgressView::new(true);
    let request = StreamArchiveRequest::default();
    archive_stream::receive(&server, request, &destination, &mut view, &mut signals)
        .await
        .map(|(archive, _)| archive)
}

#[tokio::test]
async fn a_streamed_archive_gets_its_name_when_the_trailer_has_come() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = FOOTAGE.split_at(10);
    let steps = vec![
        Ok(stream_header()),
        Ok(data(first)),
        Ok(data(second)),
        Ok(stream_trailer(sha256_of(FOOTAGE))),
    ];
    let archive = receive(steps, folder.path()).await.unwrap();
    assert_eq!(archive.entry_count, 7);
    assert_eq!(names_in(folder.path()), ["gate.zip"]);
    let arrived = std::fs::read(folder.path().join("gate.zip")).unwrap();
    assert_eq!(arrived, FOOTAGE);
}

#[tokio::test]
async fn a_streamed_archive_that_is_not_whole_leaves_nothing_behind() {
    let good = || Ok(stream_trailer(sha256_of(FOOTAGE)));
    let head = || Ok(stream_header());
    let all = || Ok(data(FOOTAGE));
    let other_size = Content::Header(StreamArchiveHeader {
        file_name: "gate.zip".into(),
        size_bytes: 1,
        ..StreamArchiveHeader::default()
    });
    let cases: [(&str, Vec<Result<Content, Status>>); 10] = [
        ("nothing at all", vec![]),
        ("no trailer", vec![head(), all()]),
        ("an error in the middle", vec![head(), Err(draining())]),
        (
            "an error after the trailer",
            vec![head(), all(), good(), Err(draining())],
        ),
        (
            "too few bytes",
            vec![head(), Ok(data(&FOOTAGE[1..])), good()],
        ),
        (
            "another hash",
            vec![head(), all(), Ok(stream_trailer("00".into()))],
        ),
        (
            "another size announced",
            vec![Ok(other_size), all(), good()],
        ),
        ("no header", vec![all(), good()]),
        ("two headers", vec![head(), head(), all(), good()]),
        ("bytes after the trailer", vec![head(), good(), all()]),
    ];
    for (case, steps) in cases {
        let folder = tempfile::tempdir().unwrap();
        assert!(receive(steps, folder.path()).await.is_err(), "{case}");
        assert!(names_in(folder.path()).is_empty(), "{case}");
    }
}

#[tokio::test]
async fn a_streamed_archive_cannot_choose_a_place_outside_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let hostile = Content::Header(StreamArchiveHeader {
        file_name: "../evil.zip".into(),
        size_bytes: FOOTAGE.len() as i64,
        ..StreamArchiveHeader::default()
    });
    let steps = vec![
        Ok(hostile),
        Ok(data(FOOTAGE)),
        Ok(stream_trailer(sha256_of(FOOTAGE))),
    ];
    assert!(receive(steps, &inner).await.is_err());
    assert_eq!(names_in(folder.path()), ["inner"]);
}
