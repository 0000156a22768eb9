//! A destination that can be worked with, whatever its kind.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::local::LocalPlace;
use super::rclone::{DescriptorLinks, EarlyPut, Remote};
use super::{
    BatchProgress, BrokenOff, Expected, FileFault, Listed, Outgoing, SendOptions, Space, Stored,
    TransferError, Trial, Wanted, host_keys,
};
use crate::domain::backup::destination::DestinationSettings;
use crate::domain::backup::object::BackupCheck;

/// How long a trial may take.
const TRIAL_LIMIT: Duration = Duration::from_secs(30);
/// How long an SSH server may take to show its keys.
const HOST_KEYS_LIMIT: Duration = Duration::from_secs(5);

/// What transfers need on this machine.
#[derive(Clone, Debug)]
pub struct Engine {
    /// rclone: a path, or a name to be looked for in `PATH`.
    pub rclone: OsString,
    /// The operator's rclone configuration, for destinations of kind rclone.
    pub rclone_config: Option<PathBuf>,
    /// Folder for files that live only while a transfer runs; made where it is missing. What a killed process left in it
    /// is in folders named `transfer-…`.
    pub scratch: PathBuf,
    /// Links under which rclone finds what it sends; they lie in [`Engine::scratch`].
    pub links: DescriptorLinks,
}

enum Kind {
    Local(LocalPlace),
    Rclone(Box<Remote>),
    Sftp(Box<Remote>, String, u16),
}

/// A destination that can be worked with.
///
/// What waits ends within two seconds of a cancellation with [`TransferError::Cancelled`], and leaves neither a process nor
/// an unfinished file. A future that is dropped does so too, except that rclone cannot tidy up at the destination then:
/// what it leaves has a name for which [`super::is_unfinished`] is true.
pub struct Place {
    kind: Kind,
}

impl Place {
    /// Prepares a place. Touches neither disk nor network.
    ///
    /// # Errors
    /// [`TransferError::Settings`] when something is missing in the settings or cannot be used. An SFTP destination needs
    /// host keys: [`super::host_keys`] asks for them.
    pub fn open(settings: &DestinationSettings, engine: &Engine) -> Result<Self, TransferError> {
        let remote = Remote::open(settings, engine)?.map(Box::new);
        let kind = match (settings, remote) {
            (DestinationSettings::Local(local), _) => Kind::Local(LocalPlace::open(local)?),
            (DestinationSettings::Sftp(sftp), Some(remote)) => {
                Kind::Sftp(remote, sftp.host.clone(), sftp.port)
            }
            (_, Some(remote)) => Kind::Rclone(remote),
            (_, None) => {
                return Err(TransferError::Settings(
                    "the kind of the destination is not known".to_owned(),
                ));
            }
        };
        Ok(Self { kind })
    }

    /// Sends files, checks them there, and says of each in its order what became of it. A file is under its final name
    /// only when it is whole. What stands there already is written over only by a file that [replaces](Outgoing::replaces)
    /// it; otherwise it is taken for the file when its bytes are the same, and left alone when they are not.
    ///
    /// # Errors
    /// When the destination as a whole cannot be worked with. Files that were sent and checked by then are in
    /// [`BrokenOff::outcomes`]; sending any of the others again is safe.
    pub async fn send(
        &self,
        batch: Vec<Outgoing>,
        options: &SendOptions,
        cancel: &CancellationToken,
        on_progress: impl FnMut(BatchProgress) + Send,
    ) -> Result<Vec<Result<Stored, FileFault>>, BrokenOff> {
        match &self.kind {
            Kind::Local(local) => local.send(batch, options, cancel, on_progress).await,
            Kind::Rclone(remote) | Kind::Sftp(remote, ..) => {
                remote.send(batch, options, cancel, on_progress).await
            }
        }
    }

    /// Compares files at the place with what they should be, and says of each in its order which check it passed.
    /// `on_bytes` hears how many bytes were read back so far. Hashes are never asked for, as a place may only repeat what
    /// it was told: [`BackupCheck::Hash`] reads back.
    ///
    /// # Errors
    /// When the destination as a whole cannot be worked with.
    pub async fn check(
        &self,
        objects: &[Expected],
        check: BackupCheck,
        cancel: &CancellationToken,
        on_bytes: impl FnMut(u64) + Send,
    ) -> Result<Vec<Result<BackupCheck, FileFault>>, TransferError> {
        match &self.kind {
            Kind::Local(local) => local.check(objects, check, cancel, on_bytes).await,
            Kind::Rclone(remote) | Kind::Sftp(remote, ..) => {
                remote.check(objects, check, cancel, on_bytes).await
            }
        }
    }

    /// Tells every file in the folder `below`, or with `""` of the whole place, to `each` as it is found, in no order. An error of `each` ends the list. Control
    /// characters in names are shown as `\n` or `\u{1b}`; no name is to be trusted. A place to which nothing was written
    /// yet is empty.
    ///
    /// # Errors
    /// That of `each`, or when the place cannot be listed.
    pub async fn list(
        &self,
        below: &str,
        cancel: &CancellationToken,
        each: impl FnMut(Listed) -> Result<(), TransferError> + Send,
    ) -> Result<(), TransferError> {
        match &self.kind {
            Kind::Local(local) => local.list(below, cancel, each).await,
            Kind::Rclone(remote) | Kind::Sftp(remote, ..) => remote.list(below, cancel, each).await,
        }
    }

    /// Brings files back, and says of each in its order what became of it. A target is there only when its hash was right
    /// and its bytes are on the disk.
    ///
    /// # Errors
    /// When the destination as a whole cannot be worked with, or this machine's disk fails. Targets that are there by then
    /// are right.
    pub async fn fetch(
        &self,
        wanted: &[Wanted],
        transfers: u32,
        bandwidth: watch::Receiver<u64>,
        cancel: &CancellationToken,
        on_progress: impl FnMut(BatchProgress) + Send,
    ) -> Result<Vec<Result<(), FileFault>>, TransferError> {
        match &self.kind {
            Kind::Local(local) => {
                local
                    .fetch(wanted, transfers, bandwidth, cancel, on_progress)
                    .await
            }
            Kind::Rclone(remote) | Kind::Sftp(remote, ..) => {
                remote
                    .fetch(wanted, transfers, bandwidth, cancel, on_progress)
                    .await
            }
        }
    }

    /// Removes files, and says of each in its order whether it is gone. One that was not there is gone.
    ///
    /// # Errors
    /// When the destination as a whole cannot be worked with.
    pub async fn remove(
        &self,
        paths: &[String],
        cancel: &CancellationToken,
    ) -> Result<Vec<Result<(), FileFault>>, TransferError> {
        match &self.kind {
            Kind::Local(local) => local.remove(paths, cancel).await,
            Kind::Rclone(remote) | Kind::Sftp(remote, ..) => remote.remove(paths, cancel).await,
        }
    }

    /// Starts what writes a small file, before that is known, where starting takes a while. What keeps it from being
    /// started keeps [`Place::put`] from writing, too, which says so.
    pub async fn start_put(&self, cancel: &CancellationToken) -> Option<EarlyPut> {
        match &self.kind {
            Kind::Local(_) => None,
            Kind::Rclone(remote) | Kind::Sftp(remote, ..) => remote.start_put(cancel).await.ok(),
        }
    }

    /// Writes a small file and reads it back, with what was started for it if anything was.
    ///
    /// # Errors
    /// When it could not be written or has other bytes then.
    pub async fn put(
        &self,
        path: &str,
        bytes: &[u8],
        early: Option<EarlyPut>,
        cancel: &CancellationToken,
    ) -> Result<(), TransferError> {
        match &self.kind {
            Kind::Local(local) => local.put(path, bytes, cancel).await,
            Kind::Rclone(remote) | Kind::Sftp(remote, ..) => {
                remote.put(path, bytes, early, cancel).await
            }
        }
    }

    /// Reads a small file; `None` when it is not there.
    ///
    /// # Errors
    /// When it has more than `max_bytes` or cannot be read.
    pub async fn get(
        &self,
        path: &str,
        max_bytes: usize,
        cancel: &CancellationToken,
    ) -> Result<Option<Vec<u8>>, TransferError> {
        match &self.kind {
            Kind::Local(local) => local.get(path, max_bytes, cancel).await,
            Kind::Rclone(remote) | Kind::Sftp(remote, ..) => {
                remote.get(path, max_bytes, cancel).await
            }
        }
    }

    /// Asks how much room there is. What the place does not say is `None`.
    ///
    /// # Errors
    /// When the destination as a whole cannot be worked with.
    pub async fn space(&self, cancel: &CancellationToken) -> Result<Space, TransferError> {
        match &self.kind {
            Kind::Local(local) => local.space(cancel).await,
            Kind::Rclone(remote) | Kind::Sftp(remote, ..) => remote.space(cancel).await,
        }
    }

    /// Lists the place, writes a file there, reads it back and deletes it, within 30 seconds.
    pub async fn trial(&self, cancel: &CancellationToken) -> Trial {
        let mut trial = Trial::default();
        if let Kind::Sftp(_, host, port) = &self.kind
            && let Ok(keys) = host_keys(host, *port, HOST_KEYS_LIMIT, cancel).await
        {
            trial.host_keys = keys;
        }
        let tried = async {
            match &self.kind {
                Kind::Local(local) => local.trial(&mut trial, cancel).await,
                Kind::Rclone(remote) | Kind::Sftp(remote, ..) => {
                    remote.trial(&mut trial, cancel).await
                }
            }
        };
        let limit = TRIAL_LIMIT.saturating_sub(HOST_KEYS_LIMIT);
        trial.error = match tokio::time::timeout(limit, tried).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(TransferError::TimedOut),
        };
        trial
    }
}
