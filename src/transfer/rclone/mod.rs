//! Places that rclone speaks to. One short-lived rclone per batch and step, never a server of ours.
//!
//! `settings` says what rclone is told and `command` how it is run; `running`, `log`, `classify` and `ended` hear what it
//! says; `send`, `check` (`look` says how), `fetch`, `list` and `small` are what is done with it. No text leaves before
//! `scrub` has been over it.

mod check;
mod classify;
mod command;
mod descriptors;
mod ended;
mod fetch;
mod hashing;
mod list;
mod log;
mod look;
mod obscure;
mod running;
mod scrub;
mod send;
mod settings;
mod small;
mod version;
mod workspace;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use descriptors::DescriptorLinks;
pub use small::EarlyPut;
pub use version::rclone_version;
pub use workspace::sweep_scratch;

use self::command::Patience;
use self::settings::Prepared;
use super::{Engine, TransferError};
use crate::domain::backup::destination::DestinationSettings;

/// Object locks came with this version.
const OBJECT_LOCK_SINCE: (u32, u32) = (1, 74);
/// How long nothing may move where the caller sets no limit of its own.
const STALL_LIMIT: Duration = Duration::from_secs(120);
/// Longer than any list or check takes that moves at all.
const DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// A place that rclone speaks to.
pub(super) struct Remote {
    engine: Engine,
    prepared: Prepared,
    /// Whether the place takes no object without its MD5, as buckets do that lock what they get.
    wants_checksums: AtomicBool,
}

impl Remote {
    /// The place of these settings; `None` for the local folder, which needs no rclone.
    pub(super) fn open(
        settings: &DestinationSettings,
        engine: &Engine,
    ) -> Result<Option<Self>, TransferError> {
        let prepared = settings::prepare(settings, engine)?;
        Ok(prepared.map(|prepared| Self {
            engine: engine.clone(),
            wants_checksums: AtomicBool::new(!prepared.lock.is_empty()),
            prepared,
        }))
    }

    /// Whether rclone is there and new enough for what is asked of it, and its version.
    async fn ready(
        &self,
        writes: bool,
        cancel: &CancellationToken,
    ) -> Result<(u32, u32), TransferError> {
        let found = version::version(&self.engine.rclone, cancel).await?;
        if writes && !self.prepared.lock.is_empty() && found.number < OBJECT_LOCK_SINCE {
            return Err(settings::settings_error(format!(
                "`object_lock` needs rclone 1.74 or newer; this server has {}",
                found.text
            )));
        }
        Ok(found.number)
    }

    fn patience() -> Patience {
        Patience::new(DEADLINE, STALL_LIMIT)
    }
}
