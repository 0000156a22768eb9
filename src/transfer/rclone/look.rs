//! The ways in which files at a place are looked at, and an rclone that is started for one before it is known which files.

use std::collections::BTreeSet;

use super::super::TransferError;
use super::Remote;
use super::command::{FILES, Patience, RULES, Run, lines};
use super::running::Running;
use crate::domain::backup::destination::DestinationKind;
use crate::domain::backup::object::BackupCheck;

/// A folder is listed when so many of its files are asked for; fewer are asked for one by one.
const LISTED_FROM: usize = 64;

/// So many files are asked for over a connection before it is worth making another: a session of SSH takes both sides
/// 0.1 s, so that 40 files were answered in 0.16 s over one and in 0.89 s over eight.
const ASKED_PER_SESSION: usize = 32;

/// A way to look at files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// By what the place says of them.
    Reported {
        with_md5: bool,
        /// By listing their folders rather than asking for each.
        by_folder: bool,
        /// Over so many connections at most, where each takes its time to make.
        sessions: u32,
    },
    /// By reading them.
    ReadBack,
}

/// A look whose rclone was started before it is known at which files.
pub(super) struct EarlyLook {
    look: Look,
    running: Running,
}

impl Look {
    /// The look with which a comparison begins. `has_md5`: whether there is an MD5 to compare the place's with.
    pub(super) fn first(paths: &[&str], check: BackupCheck, has_md5: bool) -> Self {
        let with_md5 = check == BackupCheck::Hash && has_md5;
        if check == BackupCheck::Size || with_md5 {
            Self::reported(paths, with_md5)
        } else {
            Self::ReadBack
        }
    }

    /// A look at what the place says of files.
    pub(super) fn reported(paths: &[&str], with_md5: bool) -> Self {
        Self::Reported {
            with_md5,
            by_folder: is_better_listed(paths),
            sessions: u32::try_from(paths.len() / ASKED_PER_SESSION + 1).unwrap_or(u32::MAX),
        }
    }

    /// Starts an rclone that waits for the list of what to look at. `limit_bytes`: bytes per second that may be read back; 0
    /// is no limit.
    pub(super) fn start(
        self,
        remote: &Remote,
        transfers: u32,
        limit_bytes: u64,
        patience: Patience,
    ) -> Result<Running, TransferError> {
        let transfers = transfers.max(1);
        match self {
            Self::Reported {
                with_md5,
                by_folder,
                sessions,
            } => {
                let checkers = match remote.prepared.kind {
                    DestinationKind::Sftp | DestinationKind::Ftp if !by_folder => {
                        transfers.min(sessions)
                    }
                    _ => transfers,
                };
                let mut run = Run::new(remote, "lsjson", patience)?
                    .arguments(["-R", "--files-only", "--no-mimetype", "--no-modtime"])
                    .arguments(["--log-level=NOTICE".to_owned()])
                    .arguments([format!("--checkers={checkers}")]);
                if with_md5 {
                    run = run.arguments(["--hash", "--hash-type=md5"]);
                }
                run = match by_folder {
                    true => run.list_later(RULES),
                    // For a single file, rclone lists the whole folder of an FTP server that lacks MLST (RFC 3659,
                    // section 7).
                    false if remote.prepared.kind == DestinationKind::Ftp => run.list_later(FILES),
                    false => run.arguments(["--no-traverse"]).list_later(FILES),
                };
                run.arguments([&remote.prepared.root]).start()
            }
            Self::ReadBack => Run::new(remote, "hashsum", patience)?
                .arguments(["SHA-256", "--download", "--log-level=NOTICE"])
                .arguments([
                    format!("--checkers={transfers}"),
                    format!("--transfers={transfers}"),
                ])
                .list_later(FILES)
                .arguments([&remote.prepared.root])
                .start_within(limit_bytes),
        }
    }

    /// The list that an rclone waits for which was started for such a look at these files.
    pub(super) fn list(self, paths: &[&str]) -> String {
        match (self, folders_to_list(paths)) {
            (
                Self::Reported {
                    by_folder: true, ..
                },
                Some(rules),
            ) => lines(rules.iter().map(String::as_str)),
            _ => lines(paths.iter().copied()),
        }
    }
}

impl EarlyLook {
    /// See [`Look::start`].
    pub(super) fn start(
        remote: &Remote,
        look: Look,
        transfers: u32,
        limit_bytes: u64,
        patience: Patience,
    ) -> Result<Self, TransferError> {
        Ok(Self {
            look,
            running: look.start(remote, transfers, limit_bytes, patience)?,
        })
    }

    /// Its rclone, if this look is wanted after all, with this limit.
    pub(super) fn if_it_is(self, wanted: Look, limit_bytes: u64) -> Option<Running> {
        // What a place says is not limited.
        let is_as_limited = wanted != Look::ReadBack || self.running.limit_bytes() == limit_bytes;
        (self.look == wanted && is_as_limited).then_some(self.running)
    }
}

/// Whether what stands under `paths` is found by listing their folders, rather than by asking for each.
pub(super) fn is_better_listed(paths: &[&str]) -> bool {
    folders_to_list(paths).is_some()
}

/// Filter rules that make rclone list the folders of `paths` and no other; `None` when it is to ask for each path, which
/// is the better way for some few files of folders that may hold many more.
fn folders_to_list(paths: &[&str]) -> Option<Vec<String>> {
    let folders: BTreeSet<&str> = paths
        .iter()
        .map(|path| path.rsplit_once('/').map_or("", |(folder, _)| folder))
        .collect();
    // In a rule some characters have a meaning; the folders that we name have none of them.
    let is_literal = |folder: &&str| {
        folder
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
    };
    if paths.len() < LISTED_FROM * folders.len() || !folders.iter().all(is_literal) {
        return None;
    }
    Some(
        folders
            .into_iter()
            .map(|folder| match folder {
                "" => "/*".to_owned(),
                folder => format!("/{folder}/*"),
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_listed_for_many_files_of_them_and_not_for_few() {
        let names: Vec<String> = (0..2 * LISTED_FROM)
            .map(|number| format!("gate/2026-11-2{}/{number}.mp4", number % 2))
            .collect();
        let paths: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(
            folders_to_list(&paths).unwrap(),
            ["/gate/2026-11-20/*", "/gate/2026-11-21/*"]
        );
        assert_eq!(folders_to_list(&paths[1..]), None);
        let odd = vec!["gate*/1.mp4"; LISTED_FROM];
        assert_eq!(folders_to_list(&odd), None);
        let top = vec!["1.mp4"; LISTED_FROM];
        assert_eq!(folders_to_list(&top).unwrap(), ["/*"]);
    }

    #[test]
    fn a_list_is_of_the_kind_that_its_look_waits_for() {
        let few = ["gate/1.mp4", "gate/2.mp4"];
        let many = vec!["gate/1.mp4"; LISTED_FROM];
        let each = Look::reported(&few, true);
        let by_folder = Look::reported(&many, true);
        assert_ne!(each, by_folder);
        assert_eq!(each.list(&few), "gate/1.mp4\ngate/2.mp4\n");
        assert_eq!(by_folder.list(&many), "/gate/*\n");
        let sessions = |count: usize| match Look::reported(&vec!["1.mp4"; count], false) {
            Look::Reported { sessions, .. } => sessions,
            Look::ReadBack => 0,
        };
        assert_eq!([0, 1, 31, 32, 40].map(sessions), [1, 1, 1, 2, 2]);
        assert_eq!(Look::ReadBack.list(&many).lines().count(), LISTED_FROM);
    }
}
