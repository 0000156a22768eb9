//! A PostgreSQL server on 127.0.0.1 at a free port, in a temporary folder. A shell looks after it: it stops the server by
//! its pid and removes the folder when the test's end of a pipe closes, however the test ends.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests start servers by themselves; the service never starts one"
)]
#![allow(dead_code, reason = "each program uses what it needs")]

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Runs the server in the folder `$2` with the programs of `$1` at the port `$3` until its input ends. `$4`: whether it waits
/// for the disk.
const LOOK_AFTER: &str = r#"
set -u
cd "$2" || exit 1
"$1/initdb" -D data -U footage -A trust -E UTF8 --no-locale --no-sync >initdb.log 2>&1 || { cat initdb.log >&2; exit 1; }
start() {
  "$1/postgres" -D data -c listen_addresses=127.0.0.1 -c port="$3" -c unix_socket_directories= -c fsync="$4" \
    -c max_connections=300 -c logging_collector=off >server.log 2>&1 &
  pid=$!
}
# It starts no more children once it stands still, and cannot be started again before the last of them is gone.
crash() {
  kill -STOP "$pid"
  children=$(cat "/proc/$pid/task/$pid/children")
  kill -KILL "$pid" $children
  wait "$pid"
  for child in $children; do
    until is_gone "$child"; do sleep 0.01; done
  done
}
is_gone() {
  case $(cut -d ')' -f 2 "/proc/$1/stat" 2>/dev/null) in
    '' | ' Z'*) return 0 ;;
  esac
  return 1
}
start "$@"
while read -r word; do
  case $word in
    restart) kill -INT "$pid"; wait "$pid"; start "$@" ;;
    crash) crash; start "$@" ;;
    stop) kill -INT "$pid"; wait "$pid" ;;
    start) start "$@" ;;
  esac
done
kill -INT "$pid" 2>/dev/null
wait "$pid"
cd / && rm -rf "$2"
"#;

/// A server that runs until this is dropped or the process ends.
pub struct Postgres {
    child: Child,
    /// Whoever looks after the server reads its orders here.
    orders: Option<ChildStdin>,
    port: u16,
    folder: PathBuf,
}

impl Postgres {
    /// Starts a server with an empty data folder, which never waits for the disk.
    pub fn start() -> Self {
        Self::start_with("off")
    }

    /// Starts one that waits for the disk with every commit, as servers do that are not there for tests.
    pub fn start_durable() -> Self {
        Self::start_with("on")
    }

    fn start_with(fsync: &str) -> Self {
        let programs = programs().expect("PostgreSQL is installed: make tools");
        let folder = tempfile::Builder::new()
            .prefix("footage-postgres-")
            .tempdir()
            .unwrap()
            .keep();
        let port = free_port();
        let mut command = if rustix::process::geteuid().is_root() {
            // The server refuses to run as root; the package made this user for it.
            let owned = Command::new("chown").arg("postgres").arg(&folder).status();
            assert!(owned.unwrap().success());
            let mut command = Command::new("setpriv");
            command.args([
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
                "sh",
            ]);
            command
        } else {
            Command::new("sh")
        };
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut child = command
            .args(["-c", LOOK_AFTER, "sh"])
            .arg(&programs)
            .arg(&folder)
            .arg(port.to_string())
            .arg(fsync)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::piped())
            // Ctrl-C ends the tests; their end then ends the server.
            .process_group(0)
            .spawn()
            .unwrap();
        let orders = child.stdin.take();
        let mut server = Self {
            child,
            orders,
            port,
            folder,
        };
        server.wait_until_it_answers();
        server
    }

    /// The one server of this process, started when it is first asked for.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Makes an empty database; its URL.
    pub fn database(&self) -> String {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", MADE.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a database.
    pub fn url(&self, name: &str) -> String {
        format!("postgres://footage@127.0.0.1:{}/{name}", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements in a database and returns what they print, a line for each row.
    pub fn execute(&self, database: &str, statements: &str) -> String {
        let output = Command::new(programs().unwrap().join("psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                "127.0.0.1",
            ])
            .args([
                "-U",
                "footage",
                "-p",
                &self.port.to_string(),
                "-d",
                database,
            ])
            .args(["-c", statements])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statements}: {told}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Stops it as an operator would, and starts it again.
    pub fn restart(&mut self) {
        self.order("restart");
        self.wait_until_it_answers();
    }

    /// Stops it.
    pub fn stop(&mut self) {
        self.order("stop");
        self.wait_for(|port| TcpStream::connect(("127.0.0.1", port)).is_err());
    }

    /// Starts it after [`Postgres::stop`].
    pub fn start_again(&mut self) {
        self.order("start");
        self.wait_until_it_answers();
    }

    /// Kills it, as a loss of power would, and starts it again.
    pub fn crash(&mut self) {
        self.order("crash");
        self.wait_until_it_answers();
    }

    fn order(&mut self, word: &str) {
        use std::io::Write as _;
        let orders = self.orders.as_mut().unwrap();
        writeln!(orders, "{word}").unwrap();
        orders.flush().unwrap();
    }

    fn wait_until_it_answers(&mut self) {
        let ready = programs().unwrap().join("pg_isready");
        self.wait_for(|port| {
            Command::new(&ready)
                .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                .status()
                .unwrap()
                .success()
        });
    }

    fn wait_for(&mut self, is_so: impl Fn(u16) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so(self.port) {
            let log = || std::fs::read_to_string(self.folder.join("server.log"));
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "it ended: {:?}",
                log()
            );
            assert!(Instant::now() < deadline, "no server: {:?}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The folder of the server's programs, the newest where there are several: Debian keeps them out of the search path.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| is_complete(folder))
        .collect();
    found.sort();
    found.pop().map(|(_, folder)| folder)
}

fn is_complete(folder: &Path) -> bool {
    ["initdb", "postgres", "psql", "pg_isready"]
        .iter()
        .all(|name| folder.join(name).is_file())
}
