//! The built server as a process, with folders of its own, called over TCP.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests start the server and stock tools by themselves"
)]

mod jobs;
mod left_behind;
mod messages;
mod processes;
mod recordings;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use super::postgres::Postgres;
use heldar_footage::proto::archive_service_client::ArchiveServiceClient;
use heldar_footage::proto::backup_service_client::BackupServiceClient;
use heldar_footage::proto::catalog_service_client::CatalogServiceClient;
use heldar_footage::proto::clip_service_client::ClipServiceClient;
use heldar_footage::proto::job_service_client::JobServiceClient;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::Channel;

pub use jobs::{clip_of, ended, next_job, states_of};
pub use left_behind::{nothing_left, nothing_left_but};
pub use messages::{clip_request, fields, notice_reason, reason, seconds, time};
pub use processes::{children_of, is_running};
pub use recordings::{age, put, twelve_seconds};

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
    /// What runs as the server and its commands: ours, unless another build is to be compared with it.
    pub program: PathBuf,
}

impl Site {
    pub fn new() -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
            program: env!("CARGO_BIN_EXE_footage").into(),
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
        let mut command = Command::new(&self.program);
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

/// Waits for something that another process does and that cannot be waited for otherwise.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "did not come true: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
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
