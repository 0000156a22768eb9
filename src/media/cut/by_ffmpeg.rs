//! A cut whose samples ffmpeg copies: fed with exactly these, measured and given its header afterwards.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::{Attempt, Failure, Finished, Made, mismatch, process_error, write_error};
use crate::media::feed::{Feed, FeedOutcome, placed};
use crate::media::ffmpeg::{Format, Progress, copy_arguments};
use crate::media::finish::{FinishError, Sealed, hash, seal};
use crate::media::follow::{FollowOptions, Follower};
use crate::media::movie::{self, Times};
use crate::media::open::FFMPEG_MEMORY_BYTES;
use crate::media::order::{CutError, CutProgress};
use crate::media::plan::OutputTrack;
use crate::media::suitable::format_of;
use crate::process::{Feeder, Heard, Job, Limits, ProcessError};

/// ffmpeg reports ten times a second; silence this long means that it hangs.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

impl Attempt<'_> {
    /// Has ffmpeg copy the samples.
    pub(super) async fn by_ffmpeg(
        &self,
        cancel: &CancellationToken,
        on_progress: &mut (impl FnMut(CutProgress) + Send),
    ) -> Result<Made, Failure> {
        let format = format_of(self.plan, self.with_sound);
        let header_bytes = match self.header_room {
            Some(bytes) => bytes,
            None => self.header_bytes()?,
        };
        let quicktime = format == Format::QuickTime;
        let feed =
            Feed::new(self.plan, self.with_sound, quicktime, self.files()).map_err(mismatch)?;
        let fed = FeedOutcome::default();
        let feeder: Feeder = {
            let fed = fed.clone();
            Box::new(move |pipe| feed.write(pipe, &fed))
        };
        let arguments = copy_arguments(format, header_bytes, &self.draft.path);
        let engine = command_line(&self.engine.ffmpeg, &arguments);
        let follows = self.hashes || self.is_durable;
        let follower = follows.then(|| {
            Follower::start(
                &self.draft.path,
                self.plan,
                self.with_sound,
                self.label(),
                header_bytes,
                FollowOptions {
                    is_durable: self.is_durable,
                    hashes: self.hashes,
                },
            )
            .ok()
        });
        let follower = follower.flatten();
        let media_total = self.plan.duration_shown;
        let mut progress = Progress::default();
        let ran = Job::new(self.engine.ffmpeg.clone(), self.deadline)
            .arguments(arguments)
            .idle_limit(IDLE_LIMIT)
            .limits(Limits {
                memory_bytes: Some(FFMPEG_MEMORY_BYTES),
                cpu_s: Some(self.deadline.as_secs() + 1),
                file_bytes: Some(self.plan.expected_bytes + 2 * header_bytes as u64 + (1 << 20)),
            })
            .input(feeder)
            .run(cancel, |line| {
                if !progress.hear(line) {
                    return Heard::Nothing;
                }
                let media = TimeDelta::from_std(progress.media).unwrap_or(media_total);
                on_progress(CutProgress {
                    media_done: media.min(media_total),
                    media_total,
                    bytes_done: progress
                        .bytes
                        .saturating_sub(header_bytes as u64)
                        .min(self.plan.expected_bytes),
                    bytes_total: self.plan.expected_bytes,
                });
                Heard::Progress
            })
            .await;
        if let Some(broken) = fed.broken() {
            return Err(self.broken(&broken));
        }
        ran.map_err(|error| self.ffmpeg_failure(error, progress))?;
        let finished = self.finish(follower).await?;
        on_progress(self.all_done());
        Ok(Made {
            finished,
            format,
            engine,
            is_native: false,
        })
    }

    /// Room for the larger of ffmpeg's header and ours.
    fn header_bytes(&self) -> Result<usize, Failure> {
        let sizes = |track: Option<&OutputTrack>| -> Vec<u64> {
            // Far apart, so that every sample is a chunk of its own: the longest that the tables can be.
            let count = track.map_or(0, |track| track.samples.len() as u64);
            (0..count).map(|at| at * (1 << 33)).collect()
        };
        let (video, sound) = (
            sizes(Some(&self.plan.video)),
            sizes(self.plan.sound.as_ref()),
        );
        let tracks = placed(self.plan, self.with_sound, &video, &sound);
        let longest =
            movie::encode(&tracks, Times::Shown, Some(&self.label())).map_err(mismatch)?;
        Ok(longest.len() + 4096)
    }

    /// Seals the file while the rest of it is hashed.
    async fn finish(&self, follower: Option<Follower>) -> Result<Finished, Failure> {
        let (path, plan, label) = (self.draft.path.clone(), Arc::clone(self.plan), self.label());
        let (with_sound, is_durable) = (self.with_sound, self.is_durable);
        let sealing =
            tokio::task::spawn_blocking(move || seal(&path, &plan, with_sound, &label, is_durable));
        let following = async {
            match follower {
                Some(follower) => follower.finish().await,
                None => None,
            }
        };
        let (sealed, foreseen) = tokio::join!(sealing, following);
        let stopped = |_| Failure::Final(CutError::Cancelled);
        let Sealed { size_bytes, head } =
            sealed.map_err(stopped)?.map_err(|error| match error {
                FinishError::HeaderTooLarge { needed_bytes } => {
                    Failure::HeaderTooLarge { needed_bytes }
                }
                FinishError::Io(error) => Failure::Final(write_error(error)),
                error => mismatch(error),
            })?;
        let sha256 = match foreseen {
            _ if !self.hashes => None,
            Some(foreseen) if foreseen.head == head && foreseen.size_bytes == size_bytes => {
                foreseen.sha256
            }
            _ => {
                tracing::debug!("the clip is not as foreseen; it is hashed again");
                let path = self.draft.path.clone();
                tokio::task::spawn_blocking(move || hash(&path))
                    .await
                    .map_err(stopped)?
                    .map_err(|error| Failure::Final(write_error(error)))
                    .map(Some)?
            }
        };
        Ok(Finished { size_bytes, sha256 })
    }

    fn ffmpeg_failure(&self, error: ProcessError, progress: Progress) -> Failure {
        // One that was killed refused nothing.
        let exited =
            matches!(&error, ProcessError::Failed { status, .. } if status.code().is_some());
        let refused = exited && progress.media.is_zero();
        match process_error(error, &self.draft.path) {
            error @ CutError::FfmpegFailed { .. } if refused => Failure::Refused(error),
            error => Failure::Final(error),
        }
    }
}

/// For the record of how a clip was made; the output path is the server's own business.
fn command_line(program: &OsString, arguments: &[OsString]) -> String {
    let shown = arguments.split_last().map_or(&[][..], |(_, rest)| rest);
    std::iter::once(program)
        .chain(shown)
        .map(|part| part.to_string_lossy().into_owned())
        .chain(std::iter::once("OUTPUT".to_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}
