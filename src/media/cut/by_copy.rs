//! A cut without ffmpeg: `splice` writes the file, in a thread that may block.

use std::sync::Arc;

use chrono::TimeDelta;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Attempt, Failure, Finished, Made, mismatch, write_error};
use crate::disk::Writeback;
use crate::media::finish::FinishError;
use crate::media::order::{CutError, CutProgress};
use crate::media::pace::Pace;
use crate::media::splice::{Caller, Copied, SpliceError, Spliced, may_share, splice};
use crate::media::suitable::format_of;

/// What a clip that was cut without ffmpeg names as its engine.
pub(super) const ENGINE: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

impl Attempt<'_> {
    /// Copies the samples.
    pub(super) async fn by_copy(
        &self,
        cancel: &CancellationToken,
        on_progress: &mut (impl FnMut(CutProgress) + Send),
    ) -> Result<Made, Failure> {
        let stop = cancel.child_token();
        // A thread that hangs in a read is not waited for; it stops when it comes back.
        let _stopped_with_this = stop.clone().drop_guard();
        let (sender, mut copied) = watch::channel(Copied::default());
        let (file, plan) = (Arc::clone(&self.draft.file), Arc::clone(self.plan));
        let (files, label) = (self.files(), self.label());
        let (with_sound, is_durable, hashes) = (self.with_sound, self.is_durable, self.hashes);
        let mut writing = tokio::task::spawn_blocking(move || {
            // An attempt before this one may have written.
            file.set_len(0).map_err(SpliceError::Write)?;
            let must_stop = || stop.is_cancelled();
            let mut writeback = is_durable.then(Writeback::default);
            let mut pace = Pace::begin();
            let on_copied = |copied: Copied| {
                if let Some(writeback) = &mut writeback {
                    writeback.written_to(&file, copied.written_bytes);
                }
                if pace.is_due() {
                    sender.send_replace(copied);
                }
            };
            let on_written = || if is_durable { file.sync_data() } else { Ok(()) };
            splice(
                &file,
                &plan,
                with_sound,
                &label,
                &files,
                Caller {
                    must_stop,
                    by_kernel: may_share(&file),
                    hashes,
                    on_copied,
                    on_written,
                },
            )
        });
        let deadline = tokio::time::sleep(self.deadline);
        tokio::pin!(deadline);
        let written = loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Failure::Final(CutError::Cancelled)),
                () = &mut deadline => return Err(Failure::Final(CutError::TimedOut)),
                written = &mut writing => break written,
                Ok(()) = copied.changed() => {
                    let copied = *copied.borrow_and_update();
                    on_progress(self.progress_at(copied));
                }
            }
        };
        let written = written.map_err(|_| Failure::Final(CutError::Cancelled))?;
        let Spliced { size_bytes, sha256 } = written.map_err(|error| self.splice_failure(error))?;
        on_progress(self.all_done());
        Ok(Made {
            finished: Finished { size_bytes, sha256 },
            format: format_of(self.plan, self.with_sound),
            engine: ENGINE.to_owned(),
            is_native: true,
        })
    }

    fn progress_at(&self, copied: Copied) -> CutProgress {
        let ticks = i128::from(copied.needed_at.max(0));
        let us = ticks * 1_000_000 / i128::from(self.plan.video.timescale.max(1));
        let media_done = TimeDelta::microseconds(i64::try_from(us).unwrap_or(i64::MAX));
        let whole = self.all_done();
        CutProgress {
            media_done: media_done.min(whole.media_total),
            bytes_done: copied.media_bytes.min(whole.bytes_total),
            ..whole
        }
    }

    fn splice_failure(&self, error: SpliceError) -> Failure {
        match error {
            SpliceError::Broken(broken) => self.broken(&broken),
            SpliceError::Stopped => Failure::Final(CutError::Cancelled),
            SpliceError::Write(error) | SpliceError::NotAsPlanned(FinishError::Io(error)) => {
                Failure::Final(write_error(error))
            }
            error => mismatch(error),
        }
    }
}
