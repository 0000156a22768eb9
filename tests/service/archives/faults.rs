//! What breaks around an archive: disks that fill up, an ffmpeg that hangs.

use heldar_footage::proto::{self, JobState};

use super::asking::{
    ask, check_bytes, download, everything, header_of, later, make, rest_of, stream, submit,
    trimmed, two_cameras, with_footage,
};
use crate::recorder::unfollowed;
use crate::server::{Site, ended, files_in, notice_reason};
use crate::small_disk::SmallDisk;
use crate::stand_in::{Gate, script};

/// The reason and the words of a job that failed, which must not tell where things lie on the server.
fn failure(site: &Site, job: &proto::Job) -> (String, String) {
    assert_eq!(job.state(), JobState::Failed, "{job:?}");
    assert!(job.result.is_none());
    let error = job.error.as_ref().unwrap();
    let told = format!("{error:?}");
    assert!(!told.contains(site.path("").to_str().unwrap()), "{told}");
    (notice_reason(error), error.message.clone())
}

#[tokio::test]
async fn a_disk_that_filled_up_since_the_request_fails_the_job_and_leaves_nothing() {
    let mut site = unfollowed();
    let mut gate = Gate::of(&mut site);
    let Some(disk) = SmallDisk::mount(site.path("disk"), 2 << 30) else {
        return;
    };
    let site = site.with("HELDAR_ARCHIVE_DIR", disk.at.to_str().unwrap());
    with_footage(&site);
    let server = site.start().await;
    let job_id = submit(&server, later(trimmed(1_000, 15_000))).await;
    gate.reached_by(1);
    disk.resize(1 << 30);
    gate.open();
    let job = ended(&server, &job_id).await;
    let (why, words) = failure(&site, &job);
    assert_eq!(why, "DISK_FULL", "{words}");
    let begin = "not enough free disk for this export: need ~";
    assert!(
        words.starts_with(begin) && words.ends_with(" free"),
        "{words}"
    );
    assert_eq!(files_in(&disk.at), Vec::<String>::new(), "unfinished files");
    disk.resize(2 << 30);
    let (_, archive) = make(&server, ask(everything())).await;
    assert_eq!(files_in(&disk.at), [archive.file_name.as_str()]);
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn an_ffmpeg_that_finds_the_disk_full_fails_the_job_and_ends_the_stream_as_such() {
    let mut site = two_cameras();
    script(
        &mut site,
        "full-ffmpeg",
        "echo \"av_interleaved_write_frame(): No space left on device\" >&2\nexit 228",
    );
    let server = site.start().await;
    let job_id = submit(&server, later(trimmed(1_000, 15_000))).await;
    let job = ended(&server, &job_id).await;
    assert_eq!(failure(&site, &job).0, "DISK_FULL");
    let refused = stream(&server, trimmed(1_000, 15_000)).await.unwrap_err();
    assert_eq!(
        (refused.code(), crate::server::reason(&refused).as_str()),
        (tonic::Code::ResourceExhausted, "DISK_FULL")
    );
    let (_, archive) = make(&server, ask(everything())).await;
    let (_, bytes) = download(&server, &archive.id, 0, 0).await.unwrap();
    check_bytes(&archive, &bytes);
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn an_archive_that_takes_too_long_is_ended_by_the_time_limit() {
    let mut site = two_cameras().with("HELDAR_ARCHIVE_TIMEOUT_S", "5");
    let gate = Gate::of(&mut site);
    let server = site.start().await;
    let job_id = submit(&server, later(trimmed(1_000, 15_000))).await;
    gate.reached_by(1);
    let job = ended(&server, &job_id).await;
    assert_eq!(
        failure(&site, &job),
        (
            "TIMED_OUT".to_owned(),
            "archive export timed out".to_owned()
        )
    );
    assert!(gate.waiting().is_empty(), "ffmpeg outlives its job");
    let mut streaming = stream(&server, everything()).await.unwrap();
    header_of(&mut streaming).await;
    let (bytes, archive) = rest_of(streaming).await;
    check_bytes(&archive.unwrap(), &bytes);
    server.stop_with_archives(&site, &[]);
}
