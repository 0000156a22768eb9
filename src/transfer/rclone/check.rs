//! Compares files at a place with what they should be. Only what rclone puts out is believed: a file that it does not name
//! is not there, whatever its exit code.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::super::{Expected, FileFault, Sha256, TransferError};
use super::Remote;
use super::classify::Cause;
use super::command::{Limit, Patience};
use super::ended::{Ended, error_of};
use super::look::{EarlyLook, Look};
use super::running::{Event, Running};
use crate::domain::backup::destination::DEFAULT_TRANSFERS;
use crate::domain::backup::object::{BackupCheck, BackupFaultKind};
use crate::process::Heard;

/// Paths of one run, so that its list and its answer stay small.
const PATHS_MAX: usize = 1000;

/// A file and what it should be.
#[derive(Clone, Debug)]
pub(super) struct Claim<'a> {
    pub(super) path: &'a str,
    pub(super) size_bytes: u64,
    pub(super) sha256: Sha256,
    /// Known where the place may report it.
    pub(super) md5: Option<[u8; 16]>,
}

/// How a comparison is made.
pub(super) struct Comparing<'a> {
    pub(super) check: BackupCheck,
    pub(super) transfers: u32,
    pub(super) limit: &'a mut Limit,
    pub(super) patience: Patience,
    pub(super) cancel: &'a CancellationToken,
    /// Taken by the first look, if it is of its kind.
    pub(super) early: Option<EarlyLook>,
}

impl Comparing<'_> {
    /// An rclone that waits for the list of a look.
    fn start(&mut self, remote: &Remote, look: Look) -> Result<Running, TransferError> {
        let limit_bytes = self.limit.now();
        let early = self.early.take();
        match early.and_then(|early| early.if_it_is(look, limit_bytes)) {
            Some(running) => Ok(running),
            None => look.start(remote, self.transfers, limit_bytes, self.patience),
        }
    }
}

/// What a place says of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stat {
    pub(super) size_bytes: Option<u64>,
    md5: Option<[u8; 16]>,
}

/// What a place says of files, by their paths. What is not there is not in it.
pub(super) type Reported = HashMap<String, Stat>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    path: String,
    size: i64,
    hashes: Option<HashMap<String, String>>,
}

/// A line of `rclone lsjson`: an object with a comma behind it, or a bracket of the list.
pub(super) fn item_path_and_size(line: &str) -> Option<(String, i64)> {
    let item = item(line)?;
    Some((item.path, item.size))
}

fn item(line: &str) -> Option<Item> {
    serde_json::from_str(line.trim_end_matches(',')).ok()
}

type Outcome = Result<BackupCheck, FileFault>;

impl Remote {
    /// Compares objects; see [`super::super::Place::check`].
    pub(in super::super) async fn check(
        &self,
        objects: &[Expected],
        check: BackupCheck,
        cancel: &CancellationToken,
        mut on_bytes: impl FnMut(u64) + Send,
    ) -> Result<Vec<Outcome>, TransferError> {
        self.ready(false, cancel).await?;
        let claims: Vec<Claim<'_>> = objects
            .iter()
            .map(|object| Claim {
                path: &object.path,
                size_bytes: object.size_bytes,
                sha256: object.sha256,
                md5: None,
            })
            .collect();
        let mut outcomes = Vec::with_capacity(claims.len());
        let mut before = 0;
        for some in claims.chunks(PATHS_MAX) {
            let comparing = Comparing {
                check,
                transfers: DEFAULT_TRANSFERS,
                limit: &mut Limit::none(),
                patience: Self::patience(),
                cancel,
                early: None,
            };
            let mut read = 0;
            let mut tell = |bytes: u64| {
                read = bytes;
                on_bytes(before + bytes);
            };
            outcomes.extend(self.compare(some, comparing, &mut tell).await?);
            before += read;
        }
        Ok(outcomes)
    }

    /// Compares files with what they should be. `on_bytes` hears how many bytes were read back so far.
    pub(super) async fn compare(
        &self,
        claims: &[Claim<'_>],
        mut comparing: Comparing<'_>,
        on_bytes: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Vec<Outcome>, TransferError> {
        let paths: Vec<&str> = claims.iter().map(|claim| claim.path).collect();
        let has_md5 = claims.iter().any(|claim| claim.md5.is_some());
        let look = Look::first(&paths, comparing.check, has_md5);
        let reported = self.reported(&paths, look, &mut comparing).await?;
        self.compare_reported(claims, reported.as_ref(), comparing, on_bytes)
            .await
    }

    /// What the place says of files, where the first look is to ask for that.
    pub(super) async fn reported(
        &self,
        paths: &[&str],
        first_look: Look,
        comparing: &mut Comparing<'_>,
    ) -> Result<Option<Reported>, TransferError> {
        match first_look {
            Look::Reported { with_md5, .. } => {
                self.stat(paths, with_md5, comparing).await.map(Some)
            }
            Look::ReadBack => Ok(None),
        }
    }

    /// As [`Remote::compare`], with what the place said of the files.
    pub(super) async fn compare_reported(
        &self,
        claims: &[Claim<'_>],
        reported: Option<&Reported>,
        mut comparing: Comparing<'_>,
        on_bytes: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Vec<Outcome>, TransferError> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; claims.len()];
        if let Some(found) = reported {
            for (claim, outcome) in claims.iter().zip(&mut outcomes) {
                *outcome = compare_stat(claim, found.get(claim.path), comparing.check);
            }
        }
        let unread: Vec<usize> = (0..claims.len())
            .filter(|index| outcomes[*index].is_none())
            .collect();
        if !unread.is_empty() {
            let paths: Vec<&str> = unread.iter().map(|index| claims[*index].path).collect();
            let (hashes, ended) = self.read_back(&paths, &mut comparing, on_bytes).await?;
            // A size tells more of a file that has other bytes, or none that could be read.
            let doubtful: Vec<&str> = unread
                .iter()
                .map(|index| &claims[*index])
                .filter(|claim| hashes.get(claim.path) != Some(&claim.sha256))
                .map(|claim| claim.path)
                .collect();
            let found = match doubtful.as_slice() {
                [] => HashMap::new(),
                doubtful => self.stat(doubtful, false, &mut comparing).await?,
            };
            for index in unread {
                let claim = &claims[index];
                let hash = hashes.get(claim.path);
                outcomes[index] = Some(if hash == Some(&claim.sha256) {
                    Ok(BackupCheck::ReadBack)
                } else {
                    let said = ended.of(claim.path).map(|said| said.message.as_str());
                    Err(other_bytes(claim, hash, found.get(claim.path), said))
                });
            }
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// Asks for sizes, and for MD5s where the place has them. What is not there is not in the answer.
    pub(super) async fn stat(
        &self,
        paths: &[&str],
        with_md5: bool,
        comparing: &mut Comparing<'_>,
    ) -> Result<Reported, TransferError> {
        let mut found = HashMap::new();
        for paths in paths.chunks(PATHS_MAX) {
            let wanted: HashSet<&str> = paths.iter().copied().collect();
            let look = Look::reported(paths, with_md5);
            let ended = comparing
                .start(self, look)?
                .give(look.list(paths))
                .run(self, comparing.cancel, |event| {
                    if let Event::Line(line) = event
                        && let Some(item) = item(line)
                        && wanted.contains(item.path.as_str())
                    {
                        let md5 = item.hashes.as_ref().and_then(|hashes| hashes.get("md5"));
                        found.insert(
                            item.path,
                            Stat {
                                size_bytes: u64::try_from(item.size).ok(),
                                md5: md5.and_then(|md5| bytes_of(md5)),
                            },
                        );
                        return Heard::Progress;
                    }
                    Heard::Nothing
                })
                .await?;
            fail_unless_answered(ended, paths.iter().all(|path| found.contains_key(*path)))?;
        }
        Ok(found)
    }

    /// Reads files whole and hashes them, without a file here. What could not be read is not in the answer.
    async fn read_back(
        &self,
        paths: &[&str],
        comparing: &mut Comparing<'_>,
        on_bytes: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(HashMap<String, Sha256>, Ended), TransferError> {
        let mut hashes: HashMap<String, Sha256> = HashMap::new();
        let mut before = 0;
        loop {
            let outstanding: Vec<&str> = paths
                .iter()
                .copied()
                .filter(|path| !hashes.contains_key(*path))
                .collect();
            let mut read = 0;
            let ended = comparing
                .start(self, Look::ReadBack)?
                .give(Look::ReadBack.list(&outstanding))
                .run_within(
                    self,
                    comparing.limit,
                    comparing.cancel,
                    |event| match event {
                        Event::Line(line) => match hash_line(line) {
                            Some((hash, path)) if outstanding.contains(&path) => {
                                hashes.insert(path.to_owned(), hash);
                                Heard::Progress
                            }
                            _ => Heard::Nothing,
                        },
                        Event::Stats { bytes, .. } => {
                            read = bytes;
                            on_bytes(before + bytes);
                            Heard::Nothing
                        }
                        Event::Copied(_) => Heard::Nothing,
                    },
                )
                .await?;
            before += read;
            if ended.limit_changed && hashes.len() < paths.len() {
                continue;
            }
            if hashes.len() < paths.len() {
                fail_if_unreachable(&ended)?;
            }
            return Ok((hashes, ended));
        }
    }
}

/// An answer that lacks files counts only when nothing kept rclone from asking.
fn fail_unless_answered(ended: Ended, is_complete: bool) -> Result<(), TransferError> {
    if is_complete || ended.failure.is_none() {
        return Ok(());
    }
    // A folder that is not there has no files.
    let only_missing = !ended.complaints.is_empty()
        && ended
            .complaints
            .iter()
            .all(|said| said.cause == Cause::Missing);
    if only_missing {
        return Ok(());
    }
    Err(ended.into_error(false))
}

fn fail_if_unreachable(ended: &Ended) -> Result<(), TransferError> {
    if let Some(error) = ended.error(false) {
        return Err(error);
    }
    if ended.failure.is_some()
        && let Some(said) = ended
            .complaints
            .iter()
            .find(|said| said.cause == Cause::Unreachable)
    {
        return Err(error_of(said, false));
    }
    Ok(())
}

/// What size and reported hash show; `None` when the bytes must be read back.
fn compare_stat(claim: &Claim<'_>, found: Option<&Stat>, check: BackupCheck) -> Option<Outcome> {
    let Some(found) = found else {
        return Some(Err(FileFault::new(
            BackupFaultKind::ObjectMissing,
            "it is not at the destination",
        )));
    };
    if found.size_bytes != Some(claim.size_bytes) {
        return Some(Err(FileFault {
            found_size_bytes: found.size_bytes,
            ..FileFault::new(
                BackupFaultKind::ObjectChanged,
                "it has another size at the destination",
            )
        }));
    }
    match check {
        BackupCheck::Size => Some(Ok(BackupCheck::Size)),
        // Another MD5 proves nothing: not every ETag is one.
        _ if claim.md5.is_some() && claim.md5 == found.md5 => Some(Ok(BackupCheck::Hash)),
        _ => None,
    }
}

fn other_bytes(
    claim: &Claim<'_>,
    hash: Option<&Sha256>,
    found: Option<&Stat>,
    said: Option<&str>,
) -> FileFault {
    let fault = match (hash, found) {
        (None, None) => FileFault::new(
            BackupFaultKind::ObjectMissing,
            "it is not at the destination",
        ),
        (Some(_), _) => FileFault::new(
            BackupFaultKind::ObjectChanged,
            "it has other bytes at the destination",
        ),
        (None, Some(stat)) if stat.size_bytes != Some(claim.size_bytes) => FileFault::new(
            BackupFaultKind::ObjectChanged,
            "it has another size at the destination",
        ),
        (None, Some(_)) => FileFault::new(
            BackupFaultKind::TransferFailed,
            &format!(
                "it could not be read back: {}",
                said.unwrap_or("rclone names no reason")
            ),
        ),
    };
    FileFault {
        found_sha256: hash.copied(),
        found_size_bytes: found.and_then(|stat| stat.size_bytes),
        ..fault
    }
}

/// A line of `rclone hashsum`: 64 digits, two spaces, the path.
fn hash_line(line: &str) -> Option<(Sha256, &str)> {
    let (hash, path) = line.split_once("  ")?;
    Some((bytes_of(hash)?, path))
}

/// Bytes from hexadecimal digits.
fn bytes_of<const LENGTH: usize>(digits: &str) -> Option<[u8; LENGTH]> {
    if digits.len() != 2 * LENGTH || !digits.is_ascii() {
        return None;
    }
    let mut bytes = [0; LENGTH];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim<'static> {
        Claim {
            path: "a",
            size_bytes: 3,
            sha256: [1; 32],
            md5: Some([2; 16]),
        }
    }

    #[test]
    fn lines_of_rclone_are_understood() {
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let line = format!("{digits}  cam/a  b.mp4");
        let (hash, path) = hash_line(&line).unwrap();
        assert_eq!((hash[0], path), (0xba, "cam/a  b.mp4"));
        assert!(hash_line("ERROR  cam/a.mp4").is_none());
        let line = r#"{"Path":"c/0.mp4","Name":"0.mp4","Size":20,"ModTime":"","IsDir":false,"Hashes":{"md5":"0e045c87d4e818a52e11cc210fb115d0"}},"#;
        let item = item(line).unwrap();
        assert_eq!((item.path.as_str(), item.size), ("c/0.mp4", 20));
        assert!(item_path_and_size("[").is_none());
    }

    #[test]
    fn another_md5_is_no_proof_and_the_same_one_is() {
        let stat = |size_bytes, md5| Stat { size_bytes, md5 };
        let with = |found: Stat| compare_stat(&claim(), Some(&found), BackupCheck::Hash);
        assert_eq!(
            with(stat(Some(3), Some([2; 16]))),
            Some(Ok(BackupCheck::Hash))
        );
        assert_eq!(with(stat(Some(3), Some([3; 16]))), None);
        assert_eq!(with(stat(Some(3), None)), None);
        let kind = |outcome: Option<Outcome>| outcome.unwrap().unwrap_err().kind;
        assert_eq!(
            kind(with(stat(Some(4), Some([2; 16])))),
            BackupFaultKind::ObjectChanged
        );
        assert_eq!(
            kind(compare_stat(&claim(), None, BackupCheck::Size)),
            BackupFaultKind::ObjectMissing
        );
    }
}
