//! The step that moves bytes: one rclone for all files that are sent in the same way.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::super::{Engine, Outgoing, SendOptions, TransferError};
use super::super::Remote;
use super::super::command::{FILES, Patience, Run, lines};
use super::super::ended::Ended;
use super::super::look::{EarlyLook, Look, is_better_listed};
use super::super::running::{Event, Running};
use super::{EarlySend, Locks, Sending};
use crate::domain::backup::destination::DestinationKind;
use crate::domain::backup::object::BackupCheck;
use crate::process::Heard;

/// rclone sets times of folders unless it is told not to, which it understands since this version.
const FOLDER_TIMES_SINCE: (u32, u32) = (1, 66);

/// What is sent of so few bytes is looked at as soon as an rclone that looks has loaded itself.
const SOON_SENT_BYTES: u64 = 4 << 20;

/// When the rclone is started that looks at what arrived.
#[derive(Clone, Copy)]
struct EarlyStart {
    look: Look,
    /// From so many files on that have arrived.
    from_arrived: usize,
    limit_bytes: u64,
}

/// An rclone that waits for the list of what it sends.
pub(in super::super) struct WaitingCopy {
    running: Running,
    /// Where it finds what is in the list.
    tree: PathBuf,
}

/// How files are copied.
struct Copying<'a> {
    there: There,
    /// Whether what stands under their paths is found by listing their folders.
    by_folder: bool,
    variables: &'a [(&'static str, String)],
    transfers: u32,
    check: BackupCheck,
    limit_bytes: u64,
    patience: Patience,
    version: (u32, u32),
}

impl Remote {
    /// Starts what sends files and looks at them before it is known which: some that replace what may stand under their
    /// paths, none of them evidence, without a limit of bytes per second.
    pub(in super::super) fn start_early(
        &self,
        options: &SendOptions,
        version: (u32, u32),
    ) -> Result<EarlySend, TransferError> {
        let patience = Patience::new(options.deadline, options.stall_limit);
        let copying = Copying {
            there: There::Earlier,
            by_folder: false,
            variables: &self.prepared.lock,
            transfers: options.transfers,
            check: options.check,
            limit_bytes: 0,
            patience,
            version,
        };
        let copy = copying.start(self)?;
        let look = Look::first(&[], options.check, false);
        let look = EarlyLook::start(self, look, options.transfers, 0, patience)?;
        Ok(EarlySend {
            copy: Some(copy),
            look: Some(look),
        })
    }
}

impl Copying<'_> {
    fn start(&self, remote: &Remote) -> Result<WaitingCopy, TransferError> {
        let transfers = self.transfers.max(1);
        let how: &[&str] = match self.there {
            There::Nothing if self.by_folder => &["--ignore-existing"],
            There::Nothing => &["--ignore-existing", "--no-traverse"],
            There::Earlier => &["--no-check-dest", "--no-traverse"],
            There::Leftover => &["--ignore-times", "--no-traverse"],
        };
        let mut run = Run::new(remote, "copy", self.patience)?;
        let tree = run.workspace().tree()?;
        run = run
            .arguments(["--copy-links", "--log-level=INFO"])
            .arguments(how)
            .arguments([
                format!("--transfers={transfers}"),
                format!("--checkers={transfers}"),
            ])
            .list_later(FILES)
            .arguments([tree.as_os_str(), remote.prepared.root.as_ref()])
            .variables(self.variables);
        if self.check > BackupCheck::Size {
            // Every byte is compared afterwards: rclone need not hash what is hashed here already.
            run = run.arguments(["--ignore-checksum"]);
            if !remote.wants_checksums.load(Ordering::Relaxed) {
                run = run.variables(&remote.prepared.without_checksums);
            }
        }
        run = run.arguments([match remote.prepared.kind {
            // The kernel reads ahead of what is read from a disk: rclone's buffers only copy it once more.
            DestinationKind::S3 | DestinationKind::Sftp => "--buffer-size=0",
            // Of 16 MiB, as they are by default, eight would be all the memory that it gets.
            _ => "--buffer-size=2Mi",
        }]);
        if self.version >= FOLDER_TIMES_SINCE {
            run = run.arguments(["--no-update-dir-modtime"]);
        }
        Ok(WaitingCopy {
            running: run.start_within(self.limit_bytes)?,
            tree,
        })
    }
}

/// Files that one rclone can send.
struct Group {
    files: Vec<usize>,
    /// Variables of the environment that lock what is sent.
    variables: Vec<(&'static str, String)>,
    /// What stands under the paths that they get.
    there: There,
}

/// What may stand under a path to which a file is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    /// Nothing that the ledger knows, nor a try of this batch. rclone looks, and leaves alone what it finds.
    Nothing,
    /// An earlier state of the file, which it replaces.
    Earlier,
    /// What a try before this one left.
    Leftover,
}

impl Sending<'_> {
    /// Sends files: one rclone for all that are sent in the same way.
    pub(super) async fn copy(
        &mut self,
        files: &[usize],
        round: usize,
    ) -> Result<Ended, TransferError> {
        let mut ended = Ended::success();
        let early_start = self.early_start(files);
        for group in self.groups(files, round) {
            ended.add(self.copy_group(group, early_start).await?);
        }
        Ok(ended)
    }

    /// Nearly at the end of these files: an rclone that waits takes memory.
    fn early_start(&mut self, files: &[usize]) -> EarlyStart {
        let bytes = files.iter().map(|index| self.batch[*index].size_bytes);
        let still_to_arrive = match bytes.sum() {
            0..=SOON_SENT_BYTES => 0,
            _ => files.len() - files.len() / 8,
        };
        EarlyStart {
            look: self.first_look(files, self.options.check),
            from_arrived: self.arrived.len() + still_to_arrive,
            limit_bytes: self.limit.now(),
        }
    }

    fn groups(&self, files: &[usize], round: usize) -> Vec<Group> {
        let prepared = &self.remote.prepared;
        let (lock, hold) = match self.locks {
            Locks::AsSet => (prepared.lock.as_slice(), prepared.hold.as_slice()),
            Locks::Never => (&[][..], &[][..]),
        };
        let mut groups: Vec<Group> = Vec::new();
        for index in files {
            let file = &self.batch[*index];
            let there = match round {
                0 if file.replaces => There::Earlier,
                _ if file.replaces || self.begun.contains(&file.path) => There::Leftover,
                _ => There::Nothing,
            };
            let mut variables = lock.to_vec();
            if file.is_evidence {
                variables.extend_from_slice(hold);
            }
            let like_it = groups
                .iter_mut()
                .find(|group| group.there == there && group.variables == variables);
            match like_it {
                Some(group) => group.files.push(*index),
                None => groups.push(Group {
                    files: vec![*index],
                    variables,
                    there,
                }),
            }
        }
        groups
    }

    async fn copy_group(
        &mut self,
        mut group: Group,
        early_start: EarlyStart,
    ) -> Result<Ended, TransferError> {
        let batch = Arc::clone(&self.batch);
        loop {
            let files = || group.files.iter().map(|index| &batch[*index]);
            let paths: Vec<&str> = files().map(|file| file.path.as_str()).collect();
            let copying = Copying {
                there: group.there,
                by_folder: is_better_listed(&paths),
                variables: &group.variables,
                transfers: self.options.transfers,
                check: self.options.check,
                limit_bytes: self.limit.now(),
                patience: self.patience,
                version: self.version,
            };
            let waiting = match self.waiting.take() {
                Some(waiting) => waiting,
                None => copying.start(self.remote)?,
            };
            // While rclone loads itself.
            name(&self.remote.engine, &batch, &group.files, waiting.tree).await?;
            let running = waiting.running.give(lines(paths));
            let (remote, transfers, patience) =
                (self.remote, self.options.transfers, self.patience);
            let early = &mut self.early;
            let mut was_tried = early.is_some();
            let mut look_early = |arrived: usize| {
                if !was_tried && arrived >= early_start.from_arrived {
                    was_tried = true;
                    let EarlyStart {
                        look, limit_bytes, ..
                    } = early_start;
                    // What keeps it from being started keeps the look from it that is made in its time, too.
                    *early = EarlyLook::start(remote, look, transfers, limit_bytes, patience).ok();
                }
            };
            look_early(self.arrived.len());
            let before = self.progress.bytes_moved;
            let (progress, arrived) = (&mut self.progress, &mut self.arrived);
            let (begun, on_progress) = (&mut self.begun, &mut self.on_progress);
            let mut now_arrived = HashSet::new();
            let ended = running
                .run_within(remote, &mut self.limit, self.cancel, |event| {
                    match event {
                        Event::Copied(path) => {
                            now_arrived.insert(path.to_owned());
                            arrived.insert(path.to_owned());
                            begun.insert(path.to_owned());
                            progress.files_done = arrived.len() as u64;
                            look_early(arrived.len());
                        }
                        Event::Stats { bytes, current } => {
                            progress.bytes_moved = before + bytes;
                            begun.extend(current.iter().cloned());
                            progress.current = current.to_vec();
                        }
                        Event::Line(_) => return Heard::Nothing,
                    }
                    on_progress(progress.clone());
                    Heard::Nothing
                })
                .await?;
            self.begun.extend(ended.broken_off().map(str::to_owned));
            if !ended.limit_changed {
                return Ok(ended);
            }
            group
                .files
                .retain(|index| !now_arrived.contains(&batch[*index].path));
            if group.files.is_empty() {
                return Ok(Ended::success());
            }
        }
    }
}

/// Gives files the names that rclone finds them under.
async fn name(
    engine: &Engine,
    batch: &Arc<Vec<Outgoing>>,
    files: &[usize],
    tree: PathBuf,
) -> Result<(), TransferError> {
    let (links, scratch) = (engine.links.clone(), engine.scratch.clone());
    let (batch, files) = (Arc::clone(batch), files.to_vec());
    tokio::task::spawn_blocking(move || {
        let files = files.iter().map(|index| &batch[*index]);
        let open = files.map(|file| (file.path.as_str(), &*file.file));
        links.name(&scratch, &tree, open)
    })
    .await
    .map_err(std::io::Error::other)??;
    Ok(())
}
