//! The built server as a process, with folders of its own, called over TCP.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests start the server and stock tools by themselves"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use super::footage::{Recipe, Recording, epoch, ms};
use super::postgres::Postgres;
use heldar_footage::proto;
use heldar_footage::proto::archive_service_client::ArchiveServiceClient;
use heldar_footage::proto::backup_service_client::BackupServiceClient;
use heldar_footage::proto::catalog_service_client::CatalogServiceClient;
use heldar_footage::proto::clip_service_client::ClipServiceClient;
use heldar_footage::proto::job_service_client::JobServiceClient;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::Channel;

/// Where in the clips folder the layouts of virtual clips are kept.
pub const KEPT_LAYOUTS: &str = ".layouts";

/// How long anything may take before a test gives up. Far longer than it should.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Drives the connections, so that they answer a server which shuts down also while a test's own thread waits for it.
static CONNECTIONS: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
});

/// Folders and settings of a server; the server itself may be started more than once.
pub struct Site {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Site {
    pub fn new() -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        };
        std::fs::create_dir(site.recordings()).unwrap();
        // Every test of the service holds on either database, but for those that look into the file.
        if std::env::var_os("HELDAR_TEST_POSTGRES").is_some() {
            return site.with("HELDAR_DATABASE_URL", Postgres::shared().database());
        }
        site
    }

    /// Sets a variable for servers and commands started from now on.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.into()));
    }

    /// On a file of its own, for tests that look into it, whatever the others run on.
    #[must_use]
    pub fn on_sqlite(mut self) -> Self {
        self.variables
            .retain(|(name, _)| name != "HELDAR_DATABASE_URL");
        self
    }

    /// The value of a variable that was set.
    pub fn variable(&self, name: &str) -> &str {
        let set = self.variables.iter().find(|(known, _)| known == name);
        &set.expect("the variable is set").1
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn recordings(&self) -> PathBuf {
        self.path("recordings")
    }

    pub fn clips(&self) -> PathBuf {
        self.data().join("clips")
    }

    pub fn archives(&self) -> PathBuf {
        self.data().join("archives")
    }

    /// The command with this site's settings and nothing else of the caller's environment but `PATH`.
    pub fn footage(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_footage"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HELDAR_DATA_DIR", self.data())
            .env("HELDAR_RECORDINGS_DIR", self.recordings())
            .env("HELDAR_LISTEN", "127.0.0.1:0")
            .env("HELDAR_SEGMENT_LENGTH_S", "1")
            .current_dir(self.folder.path())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end: exit code, standard output, standard error.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.footage(arguments).output().unwrap();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Takes what is in the recordings folder into the catalog.
    pub fn import(&self) {
        let recordings = self.recordings();
        let (code, out, err) = self.run(&[
            "import",
            recordings.to_str().unwrap(),
            "--source-id",
            "recordings",
        ]);
        assert_eq!(code, 0, "{out}\n{err}");
    }

    pub async fn start(&self) -> Server {
        Server::start(self).await
    }

    /// A server that may have only so many files open.
    pub async fn start_with_descriptors(&self, count: u32) -> Server {
        let footage = self.footage(&["serve"]);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("ulimit -n {count}; exec \"$0\" \"$@\"")])
            .arg(footage.get_program())
            .args(footage.get_args())
            .env_clear()
            .envs(
                footage
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        Server::spawn(shell).await
    }

    /// Names of the files in the clips folder, but for what is kept of virtual clips.
    pub fn clip_files(&self) -> Vec<String> {
        let mut names = files_in(&self.clips());
        names.retain(|name| name != KEPT_LAYOUTS);
        names
    }

    /// Names of the files that are kept of virtual clips.
    pub fn kept_layouts(&self) -> Vec<String> {
        files_in(&self.clips().join(KEPT_LAYOUTS))
    }
}

pub fn files_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .map(|entries| {
            entries
                .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

/// A running server. It must be stopped or killed by the test; one that is only dropped is killed.
pub struct Server {
    child: Option<Child>,
    pub address: String,
    log: Arc<Mutex<String>>,
    channel: Channel,
}

impl Server {
    async fn start(site: &Site) -> Self {
        Self::spawn(site.footage(&["serve"])).await
    }

    async fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut stderr = child.stderr.take().unwrap();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut bytes) {
                kept.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (first_line, ready) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = first_line.send(line);
            }
        });
        let line = ready.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("the server did not start:\n{}", log.lock().unwrap());
        });
        let address = line
            .rsplit_once("http://")
            .expect("the first line names the address")
            .1
            .trim()
            .to_owned();
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        let channel = CONNECTIONS
            .spawn(async move { endpoint.connect().await })
            .await
            .unwrap()
            .unwrap();
        Self {
            child: Some(child),
            address,
            log,
            channel,
        }
    }

    pub fn catalog(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.channel.clone())
    }

    pub fn clips(&self) -> ClipServiceClient<Channel> {
        ClipServiceClient::new(self.channel.clone())
    }

    pub fn archives(&self) -> ArchiveServiceClient<Channel> {
        ArchiveServiceClient::new(self.channel.clone())
    }

    pub fn backups(&self) -> BackupServiceClient<Channel> {
        BackupServiceClient::new(self.channel.clone())
    }

    pub fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel.clone())
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Asks the server to stop and waits for it; its exit code, and it must have left no child behind.
    pub fn stop(mut self) -> i32 {
        self.signal(Signal::TERM);
        let code = self.wait();
        self.child = None;
        code
    }

    /// Kills the server without a warning.
    pub fn kill(mut self) {
        let children = children_of(self.pid());
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("children of a killed server end", || {
            children.iter().all(|pid| !is_running(*pid))
        });
    }

    pub fn wait(&mut self) -> i32 {
        let children = children_of(self.pid());
        let child = self.child.as_mut().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the server did not stop");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(
            children.iter().all(|pid| !is_running(*pid)),
            "the server left children behind"
        );
        status.code().unwrap_or(-1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                eprintln!("--- the server's log\n{}", self.log());
            }
        }
    }
}

/// Process ids of the children of a process, all threads' together.
pub fn children_of(pid: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|children| {
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Whether a process runs; one that ended and was not waited for does not.
pub fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .starts_with('Z')
    })
}

/// Waits for something that another process does and that cannot be waited for otherwise.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "did not come true: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The reason in an error's details.
pub fn reason(status: &tonic::Status) -> String {
    use tonic_types::StatusExt as _;
    let info = status
        .get_details_error_info()
        .expect("every error has an ErrorInfo");
    assert_eq!(info.domain, "footage.heldar");
    info.reason
}

/// The field paths in an error's details.
pub fn fields(status: &tonic::Status) -> Vec<String> {
    use tonic_types::StatusExt as _;
    let request = status.get_details_bad_request().expect("a BadRequest");
    request
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

/// Seconds on the wire.
pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// A time on the wire.
pub fn time(time: chrono::DateTime<chrono::Utc>) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap(),
    })
}

/// The clip of a job that succeeded.
pub fn clip_of(job: &proto::Job) -> proto::Clip {
    assert_eq!(job.state(), proto::JobState::Succeeded, "{:?}", job.error);
    match &job.result {
        Some(proto::job::Result::Clip(clip)) => clip.clone(),
        other => panic!("no clip: {other:?}"),
    }
}

impl Server {
    /// Stops the server and checks that it left nothing behind but the files of these clips.
    pub fn stop_with(self, site: &Site, clips: &[&proto::Clip]) {
        assert_eq!(self.stop(), 0, "the server ends well");
        nothing_left(site, clips);
    }

    /// The memory that the server holds.
    pub fn memory_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The most memory that the server has held so far.
    pub fn peak_memory_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// From now on the most memory is that since now (proc(5), clear_refs).
    pub fn forget_peak_memory(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").unwrap();
    }

    /// A size that the kernel tells of the server's process.
    fn status_bytes(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

/// Checks that no server of this site runs and that it left nothing behind but the files of these clips: no other
/// file beside them, nothing in the scratch folder, no process that was started for it.
pub fn nothing_left(site: &Site, clips: &[&proto::Clip]) {
    nothing_left_but(site, clips, &[]);
}

/// The same with the files of archives.
pub fn nothing_left_but(site: &Site, clips: &[&proto::Clip], archives: &[&proto::Archive]) {
    site.check_left_with(clips, archives);
    assert_eq!(
        processes_of(site),
        Vec::<String>::new(),
        "processes left behind"
    );
}

/// Command lines of the running processes that name the site's folder.
pub fn processes_of(site: &Site) -> Vec<String> {
    let folder = site.path("");
    let folder = folder.to_str().unwrap().trim_end_matches('/');
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| is_running(*pid))
        .filter_map(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(folder))
        .collect()
}

/// The next state of a job that is watched.
pub async fn next_job(watch: &mut tonic::Streaming<proto::WatchJobResponse>) -> Option<proto::Job> {
    loop {
        match watch.message().await.unwrap()?.event {
            Some(proto::watch_job_response::Event::Job(job)) => return Some(job),
            Some(proto::watch_job_response::Event::Heartbeat(_)) => {}
            None => panic!("an event without content"),
        }
    }
}

/// The states that a job goes through from now on, to its end.
pub async fn states_of(server: &Server, job_id: &str) -> Vec<proto::Job> {
    let request = proto::WatchJobRequest {
        job_id: job_id.to_owned(),
        ..Default::default()
    };
    let mut states = Vec::new();
    let watched = async {
        let mut watch = server.jobs().watch_job(request).await.unwrap().into_inner();
        while let Some(job) = next_job(&mut watch).await {
            states.push(job);
        }
    };
    if tokio::time::timeout(PATIENCE, watched).await.is_err() {
        panic!(
            "the job does not end; last seen: {:?}; children: {:?}; log:\n{}",
            states.last(),
            children_of(server.pid()),
            server.log()
        );
    }
    states
}

/// A job at its end.
pub async fn ended(server: &Server, job_id: &str) -> proto::Job {
    states_of(server, job_id)
        .await
        .pop()
        .expect("a watch answers with the state at once")
}

/// The reason in the error or warning of a job.
pub fn notice_reason(notice: &tonic_types::pb::Status) -> String {
    use tonic_types::RpcStatusExt as _;
    let info = notice.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.domain, "footage.heldar");
    info.reason
}

/// A request over HTTP for a path: status, and the body.
pub fn http_get(server: &Server, path: &str) -> (u16, Vec<u8>) {
    use std::io::Write as _;
    let mut connection = std::net::TcpStream::connect(&server.address).unwrap();
    write!(
        connection,
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        server.address
    )
    .unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let status = std::str::from_utf8(&answer[9..12])
        .unwrap()
        .parse()
        .unwrap();
    (status, answer[end + 4..].to_vec())
}

impl Site {
    /// Puts a recording where a Heldar recorder would have put it, closed an hour ago.
    pub fn record(&self, camera: &str, recording: &Recording) {
        for segment in &recording.segments {
            let name = (epoch() + segment.start)
                .format("%Y%m%d_%H%M%S.mp4")
                .to_string();
            put(&segment.path, &self.recordings().join(camera).join(name));
        }
    }

    /// Checks that the clips folder holds these clips and that nothing unfinished lies anywhere.
    pub fn check_left(&self, clips: &[&proto::Clip]) {
        self.check_left_with(clips, &[]);
    }

    /// The same with what the archive folder holds.
    pub fn check_left_with(&self, clips: &[&proto::Clip], archives: &[&proto::Archive]) {
        let mut zips: Vec<_> = archives
            .iter()
            .map(|made| made.file_name.as_str())
            .collect();
        zips.sort_unstable();
        assert_eq!(
            files_in(&self.archives()),
            zips,
            "files in the archive folder"
        );
        let mut known: Vec<_> = clips.iter().map(|clip| clip.file_name.as_str()).collect();
        known.sort_unstable();
        assert_eq!(self.clip_files(), known, "files in the clips folder");
        // That of a clip which has a file by now is swept later.
        for name in self.kept_layouts() {
            assert!(
                name.starts_with("clip_"),
                "{name} is kept, which is no clip's"
            );
        }
        let scratch = files_in(&self.data().join("scratch"));
        assert_eq!(scratch, Vec::<String>::new(), "files in the scratch folder");
        for name in files_in(&self.data()) {
            let is_known = [
                "archives",
                "clips",
                "restores",
                "scratch",
                "footage.lock",
                "signing_key",
                "signing_keys.pub",
            ]
            .contains(&name.as_str())
                || name.starts_with("heldar.db");
            assert!(is_known, "{name} in the data folder");
        }
    }
}

/// Copies a closed file into place in one step, with all folders that it needs. It was last written an hour ago.
pub fn put(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    // Names that begin with a dot are nobody's footage.
    let hidden = to.with_file_name(format!(
        ".{}.part",
        to.file_name().unwrap().to_str().unwrap()
    ));
    std::fs::copy(from, &hidden).unwrap();
    age(&hidden);
    std::fs::rename(hidden, to).unwrap();
}

/// Makes a file look as if it was last written an hour ago.
pub fn age(path: &Path) {
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options()
        .append(true)
        .open(path)
        .unwrap()
        .set_modified(hour_ago)
        .unwrap();
}

/// Asks until an answer comes, for what happens in the server at a time of its own.
pub async fn becomes<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "did not come true: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Server {
    /// Waits for the import with which the `nth` server of the site began to follow a source.
    pub async fn imported(&self, source_id: &str, nth: usize) -> proto::ImportSummary {
        let filter = proto::JobFilter {
            kinds: vec![proto::JobKind::Import.into()],
            created_by: "serve".to_owned(),
            ..Default::default()
        };
        let mut jobs = self.jobs();
        becomes("the source is imported", async || {
            let request = proto::ListJobsRequest {
                filter: Some(filter.clone()),
                ..Default::default()
            };
            let jobs = jobs.list_jobs(request).await.unwrap().into_inner().jobs;
            let mut summaries = jobs.into_iter().rev().filter_map(|job| match job.result {
                Some(proto::job::Result::Import(summary)) if summary.source_id == source_id => {
                    Some(summary)
                }
                _ => None,
            });
            summaries.nth(nth - 1)
        })
        .await
    }

    /// The segments of a camera, oldest first.
    pub async fn segments(&self, camera_id: &str) -> Vec<proto::Segment> {
        let request = proto::ListSegmentsRequest {
            camera_id: camera_id.to_owned(),
            ..Default::default()
        };
        match self.catalog().list_segments(request).await {
            Ok(answer) => answer.into_inner().segments.into_iter().rev().collect(),
            Err(status) => {
                assert_eq!(reason(&status), "CAMERA_NOT_FOUND");
                Vec::new()
            }
        }
    }
}

/// A request for a clip of milliseconds `from` to `to` of a recording, cut by ffmpeg: a test can hold that up.
pub fn clip_request(camera_id: &str, from: i64, to: i64) -> proto::CreateClipRequest {
    proto::CreateClipRequest {
        camera_id: camera_id.to_owned(),
        start_time: time(epoch() + ms(from)),
        end_time: time(epoch() + ms(to)),
        engine: proto::ClipEngine::Ffmpeg.into(),
        ..Default::default()
    }
}

/// Twelve seconds in three segments of four.
pub fn twelve_seconds() -> std::sync::Arc<Recording> {
    Recipe {
        segment_s: 4,
        length_s: 12,
        ..Recipe::plain()
    }
    .record()
}
