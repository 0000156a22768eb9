//! How fast backups are: against one plain `rclone copy` of the same files, against one `rclone copyto` per file (what
//! the predecessor did), on this machine against `cp -r`; and what a run costs that finds nothing to send. Run it with
//! `make bench`.
//!
//! Every comparison is made in this one run: read the ratios. `make bench ARGS=quick` makes every measurement once and
//! sends only some of the files by `copyto`; `ARGS=full` sends all of them. The words `ledger`, `sftp`, `S3` and `local`
//! leave out what they do not name.

#![allow(
    clippy::disallowed_methods,
    reason = "the benchmark runs the programs to compare with"
)]

#[path = "../tests/support/footage.rs"]
#[allow(dead_code, reason = "only the harness uses it here")]
mod footage;
#[allow(dead_code, reason = "only what is done with times is used here")]
mod hour;
#[path = "backups/ledger.rs"]
mod ledger;
#[path = "../tests/support/postgres.rs"]
mod postgres;
#[path = "../tests/service/server/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the tests use more of the harness"
)]
mod server;
#[path = "../tests/support/servers/mod.rs"]
mod servers;
#[path = "backups/sets.rs"]
mod sets;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use heldar_footage::domain::backup::destination::S3Settings;
use heldar_footage::proto::{self, BackupCheck, JobState};
use hour::{median, ms};
use server::{Server, Site, ended, seconds};
use servers::{OpenSsh, RcloneS3, S3sFs, s3_destination, sftp_destination};
use sets::Set;

/// 32 bytes in base64.
const SECRET_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// The folder of what was measured on this machine's own disk.
const MEASURED: &str = "measured";
/// Files that rclone sends at a time where it is compared with us: as many as we do unless told otherwise.
const TRANSFERS: &str = "--transfers=8";

/// As rclone is quickest by sftp: left to itself it runs a command at the server for the hash of each file.
const WITHOUT_SHELL: &[&str] = &[
    "copy",
    TRANSFERS,
    "--sftp-shell-type=none",
    "--sftp-disable-hashcheck",
];

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    /// Measurements of each kind, of which the median is shown.
    runs: usize,
    /// Whether every file is sent by a process of its own, instead of some whose time is scaled.
    all_by_copyto: bool,
}

fn main() {
    let has = |word: &str| std::env::args().any(|argument| argument == word);
    let effort = Effort {
        runs: if has("quick") { 1 } else { 3 },
        all_by_copyto: has("full"),
    };
    let named: Vec<&str> = ["ledger", "sftp", "S3", "local"]
        .into_iter()
        .filter(|word| has(word))
        .collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run(effort, |what| {
        named.is_empty() || named.iter().any(|word| what.starts_with(word))
    }));
}

async fn run(effort: Effort, is_wanted: impl Fn(&str) -> bool) {
    if is_wanted("ledger") {
        ledger::measure().await;
    }
    let site = site();
    let sets = sets::make(&site.recordings());
    let recordings = site.recordings();
    let (code, out, err) = site.run(&[
        "import",
        recordings.to_str().unwrap(),
        "--source-id",
        "still",
    ]);
    assert_eq!(code, 0, "{out}\n{err}");
    let server = site.start().await;
    let (ssh, by_rclone, by_s3s) = (
        OpenSsh::start(),
        RcloneS3::start("only-for-this-run"),
        S3sFs::start(),
    );
    let places = [
        to_ssh(&ssh, &site),
        to_s3(
            "S3 (rclone serve s3)",
            by_rclone.settings(),
            &by_rclone.files,
        ),
        to_s3("S3 (s3s-fs)", by_s3s.settings(), &by_s3s.files),
        to_folder(&site),
    ];
    for set in &sets {
        for place in places.iter().filter(|place| is_wanted(place.name)) {
            compare(&server, place, set, effort).await;
        }
    }
    assert_eq!(server.stop(), 0);
}

/// A site that may back up to its own folder, and whose recordings no server follows.
pub fn site() -> Site {
    let site = Site::new();
    let (all, followed) = (site.path(""), site.path("followed"));
    std::fs::create_dir(&followed).unwrap();
    site.with("HELDAR_RECORDINGS_DIR", followed.to_str().unwrap())
        .with(
            "HELDAR_BACKUP_LOCAL_ROOTS",
            all.to_str().unwrap().trim_end_matches('/'),
        )
        .with("HELDAR_SECRET_KEY", SECRET_KEY)
        .with("HELDAR_BACKUP_ENABLED", "false")
}

/// A destination, in our words and in those of the programs that are compared with us.
struct PlaceToSend {
    name: &'static str,
    /// The destination with everything in a folder of this name.
    destination: Box<dyn Fn(&str) -> proto::Destination>,
    /// What tells rclone the same; none: `cp` sends there.
    rclone: Option<Rclone>,
    /// Where the folders are on this machine.
    files: PathBuf,
}

/// How rclone gets to a destination.
struct Rclone {
    variables: Vec<(&'static str, String)>,
    /// Remote and path in front of the folder.
    root: String,
    /// What all files are sent with in one go: a name for people, and arguments.
    ways: Vec<(&'static str, &'static [&'static str])>,
}

impl Rclone {
    fn command(&self, arguments: &[&str], from: &Path, to: &str) -> Command {
        let mut command = Command::new("rclone");
        command
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env("RCLONE_CONFIG", "/dev/null")
            .args(arguments)
            .arg(from)
            .arg(format!("{}/{to}", self.root));
        command
    }
}

fn to_ssh(ssh: &OpenSsh, site: &Site) -> PlaceToSend {
    let settings = ssh.settings();
    let known = site.path("known_hosts");
    let lines = settings
        .host_keys
        .iter()
        .map(|key| format!("[{}]:{} {key}\n", settings.host, settings.port));
    std::fs::write(&known, lines.collect::<String>()).unwrap();
    let rclone = Rclone {
        variables: vec![
            ("RCLONE_CONFIG_DEST_TYPE", "sftp".to_owned()),
            ("RCLONE_CONFIG_DEST_HOST", settings.host.clone()),
            ("RCLONE_CONFIG_DEST_PORT", settings.port.to_string()),
            ("RCLONE_CONFIG_DEST_USER", settings.user.clone()),
            (
                "RCLONE_CONFIG_DEST_KEY_PEM",
                settings.private_key.reveal().replace('\n', "\\n"),
            ),
            (
                "RCLONE_CONFIG_DEST_KNOWN_HOSTS_FILE",
                known.display().to_string(),
            ),
        ],
        root: format!("dest:{}", settings.path),
        ways: vec![
            ("rclone copy", &["copy", TRANSFERS]),
            ("rclone copy without a shell", WITHOUT_SHELL),
        ],
    };
    PlaceToSend {
        name: "sftp",
        files: ssh.files.clone(),
        rclone: Some(rclone),
        destination: Box::new(move |folder| {
            let mut settings = settings.clone();
            settings.path = format!("{}/{folder}", settings.path);
            sftp_destination(&settings)
        }),
    }
}

fn to_s3(name: &'static str, settings: S3Settings, files: &Path) -> PlaceToSend {
    let rclone = Rclone {
        variables: vec![
            ("RCLONE_CONFIG_DEST_TYPE", "s3".to_owned()),
            ("RCLONE_CONFIG_DEST_PROVIDER", "Other".to_owned()),
            ("RCLONE_CONFIG_DEST_ENDPOINT", settings.endpoint.clone()),
            ("RCLONE_CONFIG_DEST_REGION", settings.region.clone()),
            (
                "RCLONE_CONFIG_DEST_ACCESS_KEY_ID",
                settings.access_key.clone(),
            ),
            (
                "RCLONE_CONFIG_DEST_SECRET_ACCESS_KEY",
                settings.secret_key.reveal().to_owned(),
            ),
            ("RCLONE_CONFIG_DEST_FORCE_PATH_STYLE", "true".to_owned()),
        ],
        root: format!("dest:{}", settings.bucket),
        ways: vec![("rclone copy", &["copy", TRANSFERS])],
    };
    PlaceToSend {
        name,
        files: files.to_owned(),
        rclone: Some(rclone),
        destination: Box::new(move |folder| {
            let mut settings = settings.clone();
            folder.clone_into(&mut settings.prefix);
            s3_destination(&settings)
        }),
    }
}

fn to_folder(site: &Site) -> PlaceToSend {
    let files = site.path("nas");
    std::fs::create_dir(&files).unwrap();
    let nas = files.clone();
    PlaceToSend {
        name: "local folder",
        files,
        rclone: None,
        destination: Box::new(move |folder| {
            let path = nas.join(folder);
            std::fs::create_dir(&path).unwrap();
            local(&path)
        }),
    }
}

/// A destination in a folder of this machine.
pub fn local(path: &Path) -> proto::Destination {
    proto::Destination {
        settings: Some(proto::destination::Settings::Local(proto::LocalSettings {
            path: path.to_str().unwrap().to_owned(),
            require_mount: false,
        })),
        ..Default::default()
    }
}

/// Sends a set to a place in every way, in turns.
async fn compare(server: &Server, place: &PlaceToSend, set: &Set, effort: Effort) {
    println!(
        "\n{} files of {} KiB to {} ({} of each, in turns; the sources are in the page cache)",
        set.files.len(),
        set.file_bytes / 1024,
        place.name,
        effort.runs
    );
    let ways: Vec<&str> = match &place.rclone {
        Some(rclone) => rclone.ways.iter().map(|(name, _)| *name).collect(),
        None => vec!["cp -r", "cp -r, then sync"],
    };
    let (mut by_size, mut by_hash) = (Vec::new(), Vec::new());
    let mut theirs = vec![Vec::new(); ways.len()];
    for _ in 0..effort.runs {
        by_size.push(ours(server, place, set, BackupCheck::Size).await);
        by_hash.push(ours(server, place, set, BackupCheck::Hash).await);
        let took = match &place.rclone {
            Some(rclone) => in_one_go(place, rclone, set),
            None => copied(place, set),
        };
        for (times, took) in theirs.iter_mut().zip(took) {
            times.push(took);
        }
    }
    let measured = place.files.join(MEASURED);
    if measured.exists() {
        std::fs::remove_dir_all(measured).unwrap();
    }
    let ours = (median(by_size), median(by_hash));
    print("ours, size checked", ours.0, ours);
    print("ours, hash checked", ours.1, ours);
    for (way, times) in ways.into_iter().zip(theirs) {
        print(way, median(times), ours);
    }
    if let Some(rclone) = &place.rclone {
        let count = if effort.all_by_copyto {
            set.files.len()
        } else {
            set.few
        };
        let few = one_by_one(rclone, set, count);
        check_and_clear(place, "each", count);
        let all = few.mul_f64(set.files.len() as f64 / count as f64);
        print(&format!("rclone copyto each ({count} sent)"), all, ours);
    }
}

/// From the call to the end of the job, everything checked and in the ledger.
async fn ours(server: &Server, place: &PlaceToSend, set: &Set, check: BackupCheck) -> Duration {
    let destination = create(server, (place.destination)("ours")).await;
    let begun = Instant::now();
    let run = back_up(
        server,
        proto::CreateBackupRequest {
            destination_id: destination.id.clone(),
            camera_ids: vec![set.camera.to_owned()],
            check: check.into(),
            ..Default::default()
        },
    )
    .await;
    let took = begun.elapsed();
    assert_eq!(
        (run.files_sent, run.files_failed, run.retries),
        (i64::try_from(set.files.len()).unwrap(), 0, 0),
        "{:?}",
        run.faults
    );
    // The ledger's copy is one file more.
    check_and_clear(place, "ours", set.files.len() + 1);
    let request = proto::DeleteDestinationRequest {
        destination_id: destination.id,
        etag: String::new(),
    };
    server.backups().delete_destination(request).await.unwrap();
    took
}

pub async fn create(server: &Server, destination: proto::Destination) -> proto::Destination {
    let request = proto::CreateDestinationRequest {
        destination: Some(destination),
        ..Default::default()
    };
    let answer = server.backups().create_destination(request).await.unwrap();
    answer.into_inner()
}

/// A run to its end.
pub async fn back_up(server: &Server, request: proto::CreateBackupRequest) -> proto::BackupRun {
    let request = proto::CreateBackupRequest {
        wait: seconds(60),
        ..request
    };
    let mut job = server
        .backups()
        .create_backup(request)
        .await
        .unwrap()
        .into_inner();
    if job.end_time.is_none() {
        job = ended(server, &job.id).await;
    }
    assert_eq!(job.state(), JobState::Succeeded, "{:?}", job.error);
    match job.result {
        Some(proto::job::Result::Backup(run)) => run,
        other => panic!("{other:?}"),
    }
}

/// `cp -r`, and `cp -r` with the time until all of it is on the disk, where our files are before they count.
fn copied(place: &PlaceToSend, set: &Set) -> Vec<Duration> {
    let to = place.files.join("plain");
    let copy = timed(Command::new("cp").arg("-r").arg(&set.folder).arg(&to));
    let sync = timed(Command::new("sync").arg("-f").arg(&to));
    check_and_clear(place, "plain", set.files.len());
    vec![copy, copy + sync]
}

/// One rclone for all files, in each way.
fn in_one_go(place: &PlaceToSend, rclone: &Rclone, set: &Set) -> Vec<Duration> {
    let send = |(_, arguments): &(_, &[&str])| {
        let took = timed(&mut rclone.command(arguments, &set.folder, "plain"));
        check_and_clear(place, "plain", set.files.len());
        took
    };
    rclone.ways.iter().map(send).collect()
}

/// What the predecessor did: a process for each file.
fn one_by_one(rclone: &Rclone, set: &Set, count: usize) -> Duration {
    let begun = Instant::now();
    for path in &set.files[..count] {
        let name = path.file_name().unwrap().to_str().unwrap();
        timed(&mut rclone.command(&["copyto"], path, &format!("each/{name}")));
    }
    begun.elapsed()
}

/// Checks that so many files are in a folder at the destination, and takes it away.
///
/// On this machine's own disk it goes to the others that were measured: ext4 passes over the inodes of files that were removed
/// in the last minutes (fs/ext4/ialloc.c, `recently_deleted`), one by one for each new file, and whoever writes next
/// would pay for that.
fn check_and_clear(place: &PlaceToSend, folder: &str, count: usize) {
    let path = place.files.join(folder);
    assert_eq!(count_files(&path), count, "files in {}", path.display());
    if place.rclone.is_some() {
        std::fs::remove_dir_all(path).unwrap();
        return;
    }
    let measured = place.files.join(MEASURED);
    std::fs::create_dir_all(&measured).unwrap();
    let before = std::fs::read_dir(&measured).unwrap().count();
    std::fs::rename(path, measured.join(before.to_string())).unwrap();
}

fn count_files(folder: &Path) -> usize {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { count_files(&path) } else { 1 })
        .sum()
}

fn timed(command: &mut Command) -> Duration {
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}");
    begun.elapsed()
}

fn print(what: &str, took: Duration, (by_size, by_hash): (Duration, Duration)) {
    let times = |ours: Duration| took.as_secs_f64() / ours.as_secs_f64();
    println!(
        "  {what:<32} {:>10.1} ms   {:>6.2} times ours by size, {:>6.2} by hash",
        ms(took),
        times(by_size),
        times(by_hash)
    );
}
