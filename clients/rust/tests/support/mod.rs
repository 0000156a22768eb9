//! Servers for the tests: the built binary as a process, on a free port, in a folder of its own, stopped by its pid.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(
    clippy::disallowed_methods,
    reason = "the children of tests are not those of the service"
)]

pub mod proxy;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use futures::TryStreamExt as _;
use heldar_footage::client::Footage;

/// The folder `clients`.
pub fn clients() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A moment of the footage, which begins at 13:00:00.
pub fn at(seconds: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_352_400) + Duration::from_secs_f64(seconds)
}

/// A running server and its folder.
pub struct Server {
    folder: tempfile::TempDir,
    settings: Vec<(String, String)>,
    child: Option<Child>,
    pub address: String,
}

/// The footage that the first server of this program makes.
fn recordings() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        // A test program has no end at which it could be removed; the folder of the target is the build's own. What
        // another script made is not what this one makes.
        let mut script = DefaultHasher::new();
        std::fs::read(clients().join("conformance/server.sh"))
            .unwrap()
            .hash(&mut script);
        let name = format!("footage-{:016x}", script.finish());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if !folder.join("recordings").is_dir() {
            let mut server = Server::in_folder(tempfile::tempdir().unwrap(), Vec::new());
            server.stop();
            std::fs::create_dir_all(&folder).unwrap();
            let made = server.site().join("recordings");
            // Another test program may have done the same meanwhile.
            let part = tempfile::tempdir_in(&folder).unwrap();
            copy(&made, part.path());
            let _ = std::fs::rename(part.path().join("recordings"), folder.join("recordings"));
        }
        folder.join("recordings")
    })
}

fn copy(from: &Path, into: &Path) {
    let copied = Command::new("cp").arg("-rp").args([from, into]).status();
    assert!(copied.unwrap().success());
}

impl Server {
    /// A server with the sample footage, once it has taken it in.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(recordings(), folder.path());
        let settings = settings.iter();
        let settings = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let server = Self::in_folder(folder, settings.collect());
        let footage = server.footage();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let cameras: Vec<_> = footage.cameras().try_collect().await.unwrap();
            if cameras
                .iter()
                .map(|camera| camera.segment_count)
                .sum::<i64>()
                == 17
            {
                return server;
            }
            assert!(
                Instant::now() < deadline,
                "the footage was not imported in time"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn in_folder(folder: tempfile::TempDir, settings: Vec<(String, String)>) -> Self {
        let mut server = Self {
            folder,
            settings,
            child: None,
            address: "127.0.0.1:0".to_owned(),
        };
        server.run();
        server
    }

    /// Starts the server, again on the port that it had.
    pub fn run(&mut self) {
        assert!(self.child.is_none());
        let settings = self.settings.iter();
        let mut child = Command::new(clients().join("conformance/server.sh"))
            .arg(self.site())
            .args(settings.map(|(name, value)| format!("{name}={value}")))
            .env("HELDAR_LISTEN", &self.address)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(self.site().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        self.child = Some(child);
        let log = || std::fs::read_to_string(self.site().join("log"));
        let (_, address) = line
            .trim()
            .rsplit_once(" listening on http://")
            .unwrap_or_else(|| panic!("the server did not start: {}", log().unwrap()));
        self.address = address.to_owned();
    }

    pub fn site(&self) -> &Path {
        self.folder.path()
    }

    /// A client of this server.
    pub fn footage(&self) -> Footage {
        Footage::connect(&self.address).unwrap()
    }

    /// Asks the server to end.
    pub fn terminate(&self) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(told.unwrap().success());
    }

    /// Ends the server and waits for its end.
    pub fn stop(&mut self) {
        self.terminate();
        self.child.take().unwrap().wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
    }
}
