//! What `footage doctor` looks at. Each check returns what it found; none stops the others.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use heldar_footage::clock;
use heldar_footage::packing::SigningKey;
use heldar_footage::repository::Store;
use rustix::fs::{Access, CWD, Mode, OFlags, ResolveFlags};

use super::doctor::Check;
use super::doctor_programs::{ffmpeg, rclone, rendering};
use super::settings::Settings;
use super::{connection, doctor_secrets, words};

/// Below this, an hour of footage may no longer fit.
const LITTLE_SPACE_BYTES: u64 = 1 << 30;
/// What listens at our port says so at once, if it is one of us.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// A clock before this was never set: 2026-01-01.
const EARLIEST_UNIX_S: i64 = 1_767_225_600;
/// Files may be this much ahead of the clock, which other machines set.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

/// Looks at everything.
pub async fn all(settings: &Settings) -> Vec<Check> {
    let mut checks = vec![
        kept_folder("data folder", &settings.data_dir, "HELDAR_DATA_DIR"),
        kept_folder("clips folder", &settings.clips_dir, "HELDAR_CLIPS_DIR"),
        kept_folder(
            "archive folder",
            &settings.archive_dir,
            "HELDAR_ARCHIVE_DIR",
        ),
        signing_key(settings),
        recordings(settings),
    ];
    checks.extend(settings.sources.iter().skip(1).map(|source| {
        let found = format!(
            "source {}, {}, layout {}, zone {}",
            source.id,
            shown(&source.root),
            source.layout,
            source.zone
        );
        readable_folder("source", &source.root, found, "HELDAR_SOURCES")
    }));
    checks.extend(database(settings).await);
    checks.push(ffmpeg("ffmpeg", &settings.ffmpeg_bin, "HELDAR_FFMPEG_BIN").await);
    checks.push(rendering(&settings.ffmpeg_bin).await);
    checks.push(ffmpeg("ffprobe", &settings.ffprobe_bin, "HELDAR_FFPROBE_BIN").await);
    checks.push(rclone(&settings.rclone_bin).await);
    checks.push(port(settings.listen).await);
    checks.push(clock_check(settings));
    checks.push(openat2());
    checks
}

fn shown(path: &Path) -> String {
    words::plain(&path.to_string_lossy())
}

/// A folder that the service writes to. A missing one is made at start, if its parent allows.
fn kept_folder(name: &'static str, path: &Path, variable: &str) -> Check {
    let mend = format!("make it writable for this user, or name another one in {variable}");
    let existing = path
        .ancestors()
        .find(|ancestor| ancestor.symlink_metadata().is_ok())
        .unwrap_or(Path::new("/"));
    if !existing.is_dir() {
        return Check::fail(name, format!("{} is no folder", shown(existing)), mend);
    }
    if let Err(error) = rustix::fs::access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        let error = io::Error::from(error);
        return Check::fail(
            name,
            format!("{} cannot be written: {error}", shown(existing)),
            mend,
        );
    }
    let free_bytes = match rustix::fs::statvfs(existing) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => {
            return Check::fail(
                name,
                format!("{}: {}", shown(existing), io::Error::from(error)),
                mend,
            );
        }
    };
    let state = if existing == path {
        "writable"
    } else {
        "will be made at start"
    };
    let free = words::bytes(i64::try_from(free_bytes).unwrap_or(i64::MAX));
    let found = format!("{}: {state}, {free} free", shown(path));
    if free_bytes < LITTLE_SPACE_BYTES {
        return Check::warn(
            name,
            found,
            format!("free some space, or name a folder on another disk in {variable}"),
        );
    }
    Check::ok(name, found)
}

/// The key that signs archives. The fingerprint is what the operator tells those who verify them.
fn signing_key(settings: &Settings) -> Check {
    const NAME: &str = "signing key";
    let path = settings.signing_key_path();
    if settings.signing_key.is_none() && path.symlink_metadata().is_err() {
        return Check::ok(NAME, format!("{}: will be made at start", shown(&path)));
    }
    match SigningKey::load(&path) {
        Ok(key) => Check::ok(NAME, format!("{}: {}", shown(&path), key.fingerprint())),
        Err(error) => Check::fail(
            NAME,
            chain(&error),
            "put it right as it says, or name another key in HELDAR_SIGNING_KEY",
        ),
    }
}

fn recordings(settings: &Settings) -> Check {
    const NAME: &str = "recordings";
    let path = &settings.recordings_dir;
    if !settings.recordings_dir_given && path.symlink_metadata().is_err() {
        return Check::ok(NAME, format!("{}: will be made at start", shown(path)));
    }
    readable_folder(NAME, path, shown(path), "HELDAR_RECORDINGS_DIR")
}

fn readable_folder(name: &'static str, path: &Path, found: String, variable: &str) -> Check {
    match std::fs::read_dir(path) {
        Ok(_) => Check::ok(name, format!("{found}: readable")),
        Err(error) => {
            let mend = format!("make the folder readable for this user, or change {variable}");
            Check::fail(name, format!("{found}: {error}"), mend)
        }
    }
}

/// The database and, when it can be read, whether the key opens the secrets in it.
async fn database(settings: &Settings) -> Vec<Check> {
    const NAME: &str = "database";
    let url = &settings.database_url;
    let (shown, mend) = match url.file() {
        Some(path) if path.symlink_metadata().is_err() => {
            let found = format!("{}: none yet, it is made at start", shown(&path));
            return vec![Check::ok(NAME, found)];
        }
        Some(path) => (
            shown(&path),
            "make the file and its folder writable for this user; a newer version's database needs that version",
        ),
        None => (
            words::plain(&url.shown()),
            "see that the server runs, and that the user of HELDAR_DATABASE_URL may log in and make tables in the database; \
             a newer version's database needs that version",
        ),
    };
    let store = match Store::open(url.reveal()).await {
        Ok(store) => store,
        Err(error) => return vec![Check::fail(NAME, chain(&error), mend)],
    };
    let sound = match store.check_integrity().await {
        Ok(_) if store.is_shared() => Ok(format!("{shown}: up to date, answers")),
        Ok(answer) if answer == "ok" => Ok(format!("{shown}: up to date and sound")),
        Ok(faults) => Err(Check::fail(
            NAME,
            format!("{shown} is damaged: {}", words::plain(&faults)),
            "stop the server, move the file away and import the recordings anew, or restore a copy of the file",
        )),
        Err(error) => Err(Check::fail(
            NAME,
            chain(&error),
            "see that the disk is sound and the file is readable",
        )),
    };
    let checks = match sound {
        Ok(found) => {
            let key = settings.secret_key.as_ref();
            vec![
                Check::ok(NAME, found),
                doctor_secrets::secret_key(&store, key).await,
            ]
        }
        Err(check) => vec![check],
    };
    store.close().await;
    checks
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    // A program that failed without a word leaves its message open.
    words::plain(text.trim_end_matches([' ', ':']))
}

async fn port(listen: SocketAddr) -> Check {
    const NAME: &str = "port";
    match std::net::TcpListener::bind(listen) {
        Ok(_) => Check::ok(NAME, format!("{listen}: free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            match served_by_us(listen).await {
                true => Check::ok(NAME, format!("{listen}: a healthy server listens there")),
                false => Check::fail(
                    NAME,
                    format!(
                        "{listen}: another program listens there, or a server that is not healthy"
                    ),
                    format!(
                        "`ss -ltnp 'sport = :{}'` names it; or set HELDAR_LISTEN to another port",
                        listen.port()
                    ),
                ),
            }
        }
        Err(error) => Check::fail(
            NAME,
            format!("{listen}: {error}"),
            "set HELDAR_LISTEN to an address of this machine, and a port that this user may use",
        ),
    }
}

/// Whether a server answers there that is healthy and has our services.
async fn served_by_us(listen: SocketAddr) -> bool {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let Ok(endpoint) = tonic::transport::Endpoint::from_shared(format!("http://{listen}")) else {
        return false;
    };
    let Ok(channel) = endpoint.connect_timeout(ANSWER_DEADLINE).connect().await else {
        return false;
    };
    let request = HealthCheckRequest {
        service: "heldar.footage.v1.ClipService".to_owned(),
    };
    let answer = HealthClient::new(channel)
        .check(connection::asking(request))
        .await;
    answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
}

/// A clock that is behind gives footage of today a future; one that was never set starts in 1970.
fn clock_check(settings: &Settings) -> Check {
    const NAME: &str = "clock";
    const MEND: &str = "set the clock and keep it set (Debian, Ubuntu: timedatectl set-ntp true)";
    let now = clock::now();
    let found = now.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    if now.timestamp() < EARLIEST_UNIX_S {
        return Check::fail(NAME, format!("{found}: the clock was never set"), MEND);
    }
    let newest = settings
        .database_url
        .file()
        .and_then(|path| written_last(&path));
    let ahead = newest.and_then(|newest| newest.duration_since(SystemTime::from(now)).ok());
    match ahead.filter(|ahead| *ahead > CLOCK_TOLERANCE) {
        Some(ahead) => {
            let ahead = words::roughly(i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX));
            Check::warn(
                NAME,
                format!(
                    "{found}: the database was last written {ahead} later; the clock went back"
                ),
                MEND,
            )
        }
        None => Check::ok(NAME, found),
    }
}

/// SQLite writes to the log beside the database first.
fn written_last(database: &Path) -> Option<SystemTime> {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    let modified = |path: &Path| {
        path.metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
    };
    modified(database).max(modified(&PathBuf::from(log)))
}

fn openat2() -> Check {
    const NAME: &str = "openat2";
    match rustix::fs::openat2(
        CWD,
        "/",
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::empty(),
    ) {
        Ok(_) => Check::ok(
            NAME,
            "recordings are opened with the kernel's own guard against links that lead out",
        ),
        Err(error) => Check::warn(
            NAME,
            format!(
                "{}: recordings are opened step by step, which is as safe and slower",
                io::Error::from(error)
            ),
            "use Linux 5.6 or newer, and allow openat2 in the sandbox",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::doctor::Verdict;
    use super::{kept_folder, readable_folder};
    use std::path::Path;

    #[test]
    fn a_folder_that_can_be_made_is_well_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        assert_ne!(
            kept_folder("data folder", &path, "HELDAR_DATA_DIR").verdict,
            Verdict::Fail
        );
        assert!(!folder.path().join("a").exists());
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_fails() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(
            kept_folder("clips folder", file.path(), "HELDAR_CLIPS_DIR").verdict,
            Verdict::Fail
        );
        assert_eq!(
            kept_folder("clips folder", &file.path().join("x"), "HELDAR_CLIPS_DIR").verdict,
            Verdict::Fail
        );
        let missing = readable_folder(
            "source",
            Path::new("/no/such"),
            String::new(),
            "HELDAR_SOURCES",
        );
        assert_eq!(missing.verdict, Verdict::Fail);
    }
}
