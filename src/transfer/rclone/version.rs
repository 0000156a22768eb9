//! Whether rclone can be started, and which one it is.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::super::TransferError;
use crate::process::{Job, ProcessError, find_program};

/// Older ones leave half a file under its final name when they are killed.
const OLDEST: (u32, u32) = (1, 63);
const OLDEST_TEXT: &str = "1.63";
/// How long an answer holds while the program is the same file, which may only call another. Asking costs a process, or
/// some: rclone calls `lsb_release`, which took it 0.1 s.
const HOLDS: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(10);
const OUTPUT_MAX_BYTES: usize = 64 << 10;

/// A version of rclone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// Major and minor number.
    pub(super) number: (u32, u32),
    /// As rclone says it, without the `v`.
    pub(super) text: String,
}

/// An answer.
#[derive(Clone)]
struct Known {
    since: Instant,
    file: Option<ProgramFile>,
    version: Version,
}

/// By which it is told whether a program is still the same file.
#[derive(Clone, PartialEq, Eq)]
struct ProgramFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    size_bytes: u64,
    modified: (i64, i64),
}

impl ProgramFile {
    fn of(program: &OsStr) -> Option<Self> {
        let path = find_program(program)?;
        let metadata = std::fs::metadata(&path).ok()?;
        Some(Self {
            path,
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// What the programs that were asked answered; a process has one rclone, tests have some.
static KNOWN: LazyLock<Mutex<HashMap<OsString, Known>>> = LazyLock::new(Mutex::default);

/// The version of the rclone at `program`, for example `1.75.2`. An answer is remembered while the program is the same file,
/// for an hour at most.
///
/// # Errors
/// [`TransferError::RcloneMissing`], [`TransferError::RcloneTooOld`], [`TransferError::Failed`] when it does not say,
/// [`TransferError::Cancelled`].
pub async fn rclone_version(
    program: &OsStr,
    cancel: &CancellationToken,
) -> Result<String, TransferError> {
    Ok(version(program, cancel).await?.text)
}

pub(super) async fn version(
    program: &OsStr,
    cancel: &CancellationToken,
) -> Result<Version, TransferError> {
    let file = ProgramFile::of(program);
    let known = KNOWN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(program)
        .cloned();
    if let Some(known) = known
        && file.is_some()
        && known.file == file
        && known.since.elapsed() < HOLDS
    {
        return Ok(known.version);
    }
    let version = ask(program, cancel).await?;
    if version.number < OLDEST {
        return Err(TransferError::RcloneTooOld {
            program: program.to_string_lossy().into_owned(),
            found: version.text,
            needed: OLDEST_TEXT,
        });
    }
    let known = Known {
        since: Instant::now(),
        file,
        version: version.clone(),
    };
    KNOWN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(program.to_owned(), known);
    Ok(version)
}

async fn ask(program: &OsStr, cancel: &CancellationToken) -> Result<Version, TransferError> {
    let name = || program.to_string_lossy().into_owned();
    let failed = |status: String, message: String| TransferError::Failed { status, message };
    let asked = Job::new(program, PATIENCE)
        // No configuration is needed to say a version, and none is looked for.
        .variable("RCLONE_CONFIG", "/dev/null")
        .arguments(["version"])
        .output(cancel, OUTPUT_MAX_BYTES)
        .await;
    match asked {
        Ok(output) => version_in(&String::from_utf8_lossy(&output)).ok_or_else(|| {
            failed(
                "no version".to_owned(),
                format!("`{}` does not say its version", name()),
            )
        }),
        Err(ProcessError::NotFound { .. }) => Err(TransferError::RcloneMissing { program: name() }),
        Err(ProcessError::Cancelled) => Err(TransferError::Cancelled),
        Err(error) => Err(failed("no version".to_owned(), error.to_string())),
    }
}

/// The version in the first line, `rclone v1.75.2` or `rclone v1.66.0-beta.1`.
fn version_in(output: &str) -> Option<Version> {
    let text = output.lines().next()?.strip_prefix("rclone v")?.trim();
    let mut numbers = text.split(['.', '-']);
    let number = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    Some(Version {
        number,
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn an_answer_holds_until_the_program_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("rclone");
        let install = |version: &str, counter: &str| {
            let text = format!("#!/bin/sh\necho >> {counter}\necho rclone v{version}\n");
            let new = folder.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
            std::fs::rename(new, &program).unwrap();
        };
        let asked = folder.path().join("asked");
        let counter = asked.display().to_string();
        let cancel = CancellationToken::new();
        install("1.70.1", &counter);
        for _ in 0..3 {
            let found = rclone_version(program.as_os_str(), &cancel).await.unwrap();
            assert_eq!(found, "1.70.1");
        }
        assert_eq!(std::fs::read_to_string(&asked).unwrap(), "\n", "asked once");
        install("1.71.0", &counter);
        let found = rclone_version(program.as_os_str(), &cancel).await.unwrap();
        assert_eq!(found, "1.71.0");
        std::fs::remove_file(&program).unwrap();
        let gone = rclone_version(program.as_os_str(), &cancel).await;
        assert!(matches!(gone, Err(TransferError::RcloneMissing { .. })));
    }

    #[test]
    fn the_version_is_read_from_the_first_line() {
        let version = version_in("rclone v1.75.2\n- os/version: debian 12.11 (64 bit)\n").unwrap();
        assert_eq!((version.number, version.text.as_str()), ((1, 75), "1.75.2"));
        assert_eq!(version_in("rclone v1.60.1-DEV").unwrap().number, (1, 60));
        assert_eq!(version_in("hello"), None);
        assert_eq!(version_in("rclone v"), None);
    }
}
