//! Asking for archives and fetching them, and footage that takes long to pack.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use heldar_footage::proto::archive_service_client::ArchiveServiceClient;
use heldar_footage::proto::stream_archive_response::Content as Streamed;
use heldar_footage::proto::{self, JobState};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::footage::{Recipe, epoch, ms};
use crate::recorder::{CAMERA, age, import, lay, sha256, unfollowed};
use crate::server::{PATIENCE, Server, Site, ended, nothing_left_but, reason, seconds, time};

/// A second camera.
pub const OTHER: &str = "yard_02";

/// A site with thirty seconds of two cameras, in three segments each.
pub fn two_cameras() -> Site {
    let site = unfollowed();
    with_footage(&site);
    site
}

/// Lays thirty seconds of two cameras and imports them; the paths of the six segments.
pub fn with_footage(site: &Site) -> Vec<PathBuf> {
    let recording = thirty_seconds().record();
    let paths = [CAMERA, OTHER].map(|camera| lay(site, camera, &recording));
    import(site, &[]);
    paths.concat()
}

/// The same with footage that only ffmpeg cuts, so that a test can hold the cutting up.
pub fn two_cameras_for_ffmpeg() -> Site {
    let site = unfollowed();
    with_footage_for_ffmpeg(&site);
    site
}

/// Lays thirty seconds of two cameras with sound in Opus and imports them; the paths of the six segments.
pub fn with_footage_for_ffmpeg(site: &Site) -> Vec<PathBuf> {
    let recording = thirty_seconds_for_ffmpeg().record();
    let paths = [CAMERA, OTHER].map(|camera| lay(site, camera, &recording));
    import(site, &[]);
    paths.concat()
}

/// Footage that only ffmpeg cuts: its sound is Opus.
pub fn thirty_seconds_for_ffmpeg() -> Recipe {
    Recipe {
        sound_codec: "libopus",
        ..thirty_seconds()
    }
}

pub fn thirty_seconds() -> Recipe {
    Recipe {
        length_s: 30,
        ..Recipe::plain()
    }
}

/// All footage of all cameras.
pub fn everything() -> proto::ArchiveSpec {
    proto::ArchiveSpec::default()
}

/// All footage of one camera.
pub fn all_of(camera: &str) -> proto::ArchiveSpec {
    proto::ArchiveSpec {
        camera_ids: vec![camera.to_owned()],
        ..Default::default()
    }
}

/// A window in milliseconds from the epoch of the tests, cut out.
pub fn trimmed(from_ms: i64, to_ms: i64) -> proto::ArchiveSpec {
    proto::ArchiveSpec {
        start_time: time(epoch() + ms(from_ms)),
        end_time: time(epoch() + ms(to_ms)),
        trim: true,
        ..Default::default()
    }
}

/// Fourteen seconds of one camera as a clip: ffmpeg is called once for it.
pub fn one_cut() -> proto::ArchiveSpec {
    proto::ArchiveSpec {
        camera_ids: vec![CAMERA.to_owned()],
        layout: proto::ArchiveLayout::Clips.into(),
        ..trimmed(1_000, 15_000)
    }
}

/// A request that waits for the end of its job.
pub fn ask(spec: proto::ArchiveSpec) -> proto::CreateArchiveRequest {
    proto::CreateArchiveRequest {
        wait: seconds(60),
        ..later(spec)
    }
}

/// A request that does not wait.
pub fn later(spec: proto::ArchiveSpec) -> proto::CreateArchiveRequest {
    proto::CreateArchiveRequest {
        spec: Some(spec),
        ..Default::default()
    }
}

/// The answer to a request.
pub async fn create(
    server: &Server,
    request: proto::CreateArchiveRequest,
) -> Result<proto::Job, Status> {
    let answer = server.archives().create_archive(request).await;
    answer.map(tonic::Response::into_inner)
}

/// The id of the job of a request that does not wait.
pub async fn submit(server: &Server, request: proto::CreateArchiveRequest) -> String {
    create(server, request).await.unwrap().id
}

/// The job and the archive of a request that succeeds.
pub async fn make(
    server: &Server,
    request: proto::CreateArchiveRequest,
) -> (proto::Job, proto::Archive) {
    let job = create(server, request).await.unwrap();
    let job = if job.end_time.is_some() {
        job
    } else {
        ended(server, &job.id).await
    };
    let archive = archive_of(&job);
    (job, archive)
}

/// The archive of a job that succeeded.
pub fn archive_of(job: &proto::Job) -> proto::Archive {
    assert_eq!(job.state(), JobState::Succeeded, "{:?}", job.error);
    match &job.result {
        Some(proto::job::Result::Archive(archive)) => archive.clone(),
        other => panic!("no archive: {other:?}"),
    }
}

/// The plan of a request that is only to be checked.
pub async fn plan(server: &Server, spec: proto::ArchiveSpec) -> proto::ArchivePlan {
    let request = proto::CreateArchiveRequest {
        validate_only: true,
        ..later(spec)
    };
    match create(server, request).await.unwrap().plan {
        Some(proto::job::Plan::ArchivePlan(plan)) => plan,
        other => panic!("no plan: {other:?}"),
    }
}

pub async fn job(server: &Server, job_id: &str) -> proto::Job {
    let request = proto::GetJobRequest {
        job_id: job_id.to_owned(),
    };
    server.jobs().get_job(request).await.unwrap().into_inner()
}

/// All jobs that make archives.
pub async fn archive_jobs(server: &Server) -> Vec<proto::Job> {
    let request = proto::ListJobsRequest {
        filter: Some(proto::JobFilter {
            kinds: vec![proto::JobKind::Archive.into()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = server.jobs().list_jobs(request).await.unwrap();
    answer.into_inner().jobs
}

pub async fn get(server: &Server, archive_id: &str) -> Result<proto::Archive, Status> {
    let request = proto::GetArchiveRequest {
        archive_id: archive_id.to_owned(),
    };
    let answer = server.archives().get_archive(request).await;
    answer.map(tonic::Response::into_inner)
}

pub async fn delete(server: &Server, archive_id: &str) -> Result<(), Status> {
    let request = proto::DeleteArchiveRequest {
        archive_id: archive_id.to_owned(),
        ..Default::default()
    };
    server.archives().delete_archive(request).await.map(drop)
}

/// Header and bytes of a download.
pub async fn download(
    server: &Server,
    archive_id: &str,
    offset_bytes: i64,
    limit_bytes: i64,
) -> Result<(proto::FileHeader, Vec<u8>), Status> {
    use proto::download_archive_response::Content;
    let request = proto::DownloadArchiveRequest {
        archive_id: archive_id.to_owned(),
        offset_bytes,
        limit_bytes,
    };
    let mut messages = server
        .archives()
        .download_archive(request)
        .await?
        .into_inner();
    let first = messages.message().await?.expect("a first message").content;
    let Some(Content::Header(header)) = first else {
        panic!("the first message is no header: {first:?}")
    };
    let mut bytes = Vec::new();
    while let Some(message) = messages.message().await? {
        match message.content {
            Some(Content::Data(data)) => {
                assert!((1..=1 << 20).contains(&data.len()), "{} bytes", data.len());
                bytes.extend(data);
            }
            other => panic!("no data: {other:?}"),
        }
    }
    assert_eq!(header.length_bytes, bytes.len() as i64);
    assert_eq!(header.offset_bytes, offset_bytes);
    Ok((header, bytes))
}

/// A call of StreamArchive, begun.
pub type Stream = Streaming<proto::StreamArchiveResponse>;

pub async fn stream(server: &Server, spec: proto::ArchiveSpec) -> Result<Stream, Status> {
    stream_to(&mut server.archives(), spec).await
}

/// The same for a certain client.
pub async fn stream_to(
    client: &mut ArchiveServiceClient<Channel>,
    spec: proto::ArchiveSpec,
) -> Result<Stream, Status> {
    let request = proto::StreamArchiveRequest {
        spec: Some(spec),
        created_by: "ann".to_owned(),
    };
    let answer = client.stream_archive(request).await;
    answer.map(tonic::Response::into_inner)
}

/// A client with a connection of its own, which ends with the client and its streams.
pub async fn another_client(server: &Server) -> ArchiveServiceClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://{}", server.address)).unwrap();
    ArchiveServiceClient::new(endpoint.connect().await.unwrap())
}

/// The first message of a stream.
pub async fn header_of(stream: &mut Stream) -> proto::StreamArchiveHeader {
    match stream.message().await.unwrap().expect("a header").content {
        Some(Streamed::Header(header)) => header,
        other => panic!("no header: {other:?}"),
    }
}

/// What is left of a stream: its bytes, and the archive that they were or why they end.
pub async fn rest_of(mut stream: Stream) -> (Vec<u8>, Result<proto::Archive, Status>) {
    let mut bytes = Vec::new();
    let read = async {
        loop {
            let message = match stream.message().await {
                Ok(message) => message.expect("a trailer or an error before the end"),
                Err(status) => return Err(status),
            };
            match message.content {
                Some(Streamed::Data(data)) => {
                    assert!((1..=1 << 20).contains(&data.len()), "{} bytes", data.len());
                    bytes.extend(data);
                }
                Some(Streamed::Trailer(trailer)) => {
                    assert!(stream.message().await.unwrap().is_none());
                    return Ok(trailer.archive.expect("the archive"));
                }
                other => panic!("neither data nor a trailer: {other:?}"),
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, read).await;
    let ended = ended.expect("the stream ends");
    (bytes, ended)
}

/// Checks an error: its code, its reason, and its words.
pub fn check_refused(status: &Status, code: Code, why: &str, words: &str) {
    assert_eq!(
        (status.code(), reason(status).as_str(), status.message()),
        (code, why, words)
    );
}

/// Checks that these bytes are the zip that an archive describes.
pub fn check_bytes(archive: &proto::Archive, bytes: &[u8]) {
    assert_eq!(archive.size_bytes, bytes.len() as i64, "size");
    assert_eq!(archive.sha256, sha256(bytes), "hash");
}

/// What unzip says a zip has in an entry.
pub fn entry(zip: &Path, name: &str) -> Vec<u8> {
    let mut unzip = std::process::Command::new("unzip");
    let output = unzip.arg("-p").arg(zip).arg(name).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name}: {told}");
    output.stdout
}

/// Makes a recording larger by a box that no player looks at (ISO/IEC 14496-12, sections 4.2 and 8.1.2) and which has
/// other bytes everywhere.
pub fn swell(path: &Path, by_bytes: u64) {
    let mut file = std::fs::File::options().append(true).open(path).unwrap();
    file.write_all(&free_box(by_bytes)).unwrap();
    let left = by_bytes - FREE_HEAD_BYTES;
    let words: Vec<u8> = (0..left / 8).flat_map(u64::to_be_bytes).collect();
    file.write_all(&words).unwrap();
    file.write_all(&vec![0; (left % 8) as usize]).unwrap();
    age(path);
}

/// The same with nothing but a hole in the box, which takes no room on the disk.
pub fn hollow(path: &Path, by_bytes: u64) {
    let mut file = std::fs::File::options().append(true).open(path).unwrap();
    let before = file.metadata().unwrap().len();
    file.write_all(&free_box(by_bytes)).unwrap();
    file.set_len(before + by_bytes).unwrap();
    age(path);
}

const FREE_HEAD_BYTES: u64 = 16;

/// The head of a `free` box with a size of 64 bits.
fn free_box(size_bytes: u64) -> Vec<u8> {
    [&[0, 0, 0, 1], &b"free"[..], &size_bytes.to_be_bytes()].concat()
}

impl Server {
    /// Stops the server and checks that it left nothing behind but the files of these archives.
    pub fn stop_with_archives(self, site: &Site, archives: &[&proto::Archive]) {
        assert_eq!(self.stop(), 0, "the server ends well");
        nothing_left_but(site, &[], archives);
    }

    /// How many files below a folder the server holds open.
    pub fn holds_open(&self, folder: &Path) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        open.flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .filter(|to| to.starts_with(folder))
            .count()
    }
}
