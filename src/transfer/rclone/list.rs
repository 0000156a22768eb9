//! What is at a place, as it comes: nothing is collected.

use tokio_util::sync::CancellationToken;

use super::super::paths::shown;
use super::super::{Listed, Space, TransferError};
use super::Remote;
use super::check::item_path_and_size;
use super::classify::Cause;
use super::command::Run;
use super::running::Event;
use crate::process::Heard;

impl Remote {
    /// Lists all files; see [`super::super::Place::list`].
    pub(in super::super) async fn list(
        &self,
        below: &str,
        cancel: &CancellationToken,
        mut each: impl FnMut(Listed) -> Result<(), TransferError> + Send,
    ) -> Result<(), TransferError> {
        self.list_with(below, &["-R", "--files-only"], cancel, |listed| {
            each(match below {
                "" => listed,
                below => Listed {
                    path: format!("{below}/{}", listed.path),
                    ..listed
                },
            })
        })
        .await
    }

    /// Whether the place can be listed. Ends with the first name.
    pub(super) async fn list_one(&self, cancel: &CancellationToken) -> Result<(), TransferError> {
        let mut enough = false;
        let listed = self
            .list_with("", &[], cancel, |_| {
                enough = true;
                Err(TransferError::Cancelled)
            })
            .await;
        if enough { Ok(()) } else { listed }
    }

    async fn list_with(
        &self,
        below: &str,
        flags: &[&str],
        cancel: &CancellationToken,
        mut each: impl FnMut(Listed) -> Result<(), TransferError> + Send,
    ) -> Result<(), TransferError> {
        self.ready(false, cancel).await?;
        // The caller's error ends rclone, too.
        let stop = cancel.child_token();
        let mut refused = None;
        let root = match (below, self.prepared.root.as_str()) {
            ("", root) => root.to_owned(),
            (below, root) if root.ends_with([':', '/']) => format!("{root}{below}"),
            (below, root) => format!("{root}/{below}"),
        };
        let ended = Run::new(self, "lsjson", Self::patience())?
            .arguments(flags)
            .arguments(["--no-mimetype", "--no-modtime", "--log-level=NOTICE"])
            .arguments([root])
            .run(&stop, |event| {
                let Event::Line(line) = event else {
                    return Heard::Nothing;
                };
                let told = match (line.trim(), item_path_and_size(line)) {
                    ("" | "[" | "]", _) => Ok(()),
                    _ if refused.is_some() => Ok(()),
                    (_, Some((path, size))) => each(Listed {
                        path: shown(&path),
                        size_bytes: u64::try_from(size).unwrap_or(0),
                    }),
                    // Lines are cut at a length that no name of a file system reaches.
                    (_, None) => Err(TransferError::Failed {
                        status: "listing".to_owned(),
                        message: "the destination's list has a name that cannot be read".to_owned(),
                    }),
                };
                if let Err(error) = told {
                    refused = Some(error);
                    stop.cancel();
                }
                Heard::Progress
            })
            .await;
        if let Some(error) = refused {
            return Err(error);
        }
        let ended = ended?;
        let is_missing = ended.has(Cause::Missing)
            && ended
                .complaints
                .iter()
                .all(|said| said.cause == Cause::Missing);
        // A folder that nobody has written to yet is empty.
        if ended.failure.is_none() || is_missing {
            return Ok(());
        }
        Err(ended.into_error(false))
    }

    /// Asks how much room there is; see [`super::super::Place::space`].
    pub(in super::super) async fn space(
        &self,
        cancel: &CancellationToken,
    ) -> Result<Space, TransferError> {
        if !self.prepared.reports_space {
            return Ok(Space::default());
        }
        self.ready(false, cancel).await?;
        let mut text = String::new();
        let ended = Run::new(self, "about", Self::patience())?
            .arguments(["--json", "--log-level=NOTICE"])
            .arguments([&self.prepared.root])
            .run(cancel, |event| {
                if let Event::Line(line) = event
                    && text.len() < 4096
                {
                    text.push_str(line);
                }
                Heard::Nothing
            })
            .await?;
        if ended.failure.is_some() {
            // Not every server says how much room it has; what else is wrong shows in the work itself.
            return match ended.error(false) {
                Some(error) => Err(error),
                None if ended.has(Cause::Unreachable) => Err(ended.into_error(false)),
                None => Ok(Space::default()),
            };
        }
        let about: About = serde_json::from_str(&text).unwrap_or_default();
        Ok(Space {
            free_bytes: about.free,
            total_bytes: about.total,
        })
    }
}

#[derive(Default, serde::Deserialize)]
struct About {
    free: Option<u64>,
    total: Option<u64>,
}
