//! A cut without ffmpeg: `splice` writes the file, in a thread that may block.

use std::sync::Arc;

use chrono::TimeDelta;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Attempt, Failure, Finished, Made, Prepared, format_of, mismatch, write_error};
use crate::domain::catalog::Container;
use crate::media::ffmpeg::Format;
use crate::media::finish::FinishError;
use crate::media::interleave::sound_of;
use crate::media::order::{CutError, CutProgress};
use crate::media::plan::Plan;
use crate::media::splice::{Copied, SpliceError, Spliced, splice};

/// What a clip that was cut without ffmpeg names as its engine.
pub(super) const ENGINE: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

/// Whether the samples can be copied without ffmpeg, or what is in the way: they must come from MP4 as it was recorded,
/// and their codecs be those of which every recorder's form is known.
pub(super) fn can_copy(prepared: &Prepared, plan: &Plan, with_sound: bool) -> Result<(), String> {
    const PICTURES: [&[u8; 4]; 4] = [b"avc1", b"avc3", b"hvc1", b"hev1"];
    let picture = &plan.video.entry;
    let other = prepared
        .opened_of(plan)
        .map(|opened| opened.container)
        .find(|container| !matches!(container, Container::Mp4 | Container::FragmentedMp4));
    if let Some(container) = other {
        return Err(format!("a recording is {}", container.name()));
    }
    if !PICTURES.contains(&&picture.four_cc) || picture.nal_length_bytes.is_none() {
        return Err(format!("the picture is {}", picture.codec));
    }
    if let Some(sound) = sound_of(plan, with_sound) {
        let is_aac = &sound.entry.four_cc == b"mp4a" && sound.entry.codec == "aac";
        if !is_aac || sound.unit_bytes.is_some() {
            return Err(format!("the sound is {}", sound.entry.codec));
        }
    }
    if format_of(plan, with_sound) != Format::Mp4 {
        return Err("it needs a QuickTime file".to_owned());
    }
    Ok(())
}

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
        let (with_sound, is_durable) = (self.with_sound, self.is_durable);
        let mut writing = tokio::task::spawn_blocking(move || {
            // An attempt before this one may have written.
            file.set_len(0).map_err(SpliceError::Write)?;
            let must_stop = || stop.is_cancelled();
            let on_copied = |copied| {
                sender.send_replace(copied);
            };
            let spliced = splice(
                &file, &plan, with_sound, &label, &files, must_stop, on_copied,
            )?;
            if is_durable {
                file.sync_data().map_err(SpliceError::Write)?;
            }
            Ok(spliced)
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
            format: Format::Mp4,
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
