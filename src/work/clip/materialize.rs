//! The job that gives a clip what it lacks: a virtual one its file, which gets the bytes that it would be fetched with, and
//! any its SHA-256.

use std::io;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::work_error;
use super::remake::Remake;
use super::virtual_content::Content;
use super::{ClipError, ClipWork, blocking};
use crate::disk::Writeback;
use crate::domain::clip::{Clip, MaterializeSpec};
use crate::domain::job::{JobResult, Notice, Progress, Reason};
use crate::hashing::Hasher;
use crate::media::{CutError, Pace, hashed_beside};
use crate::packing::hex;
use crate::work::output::{Draft, remove_if_there};
use crate::work::{Attempt, Done, WorkError};

/// Bytes that are read and hashed at once.
const BUFFER_BYTES: usize = 256 << 10;

impl ClipWork {
    /// Checks what can be known before a clip is given what it lacks: that its bytes are there, and room on the disk.
    ///
    /// # Errors
    /// [`ClipError::SourcesGone`], [`ClipError::Corrupted`], [`ClipError::DiskFull`].
    pub async fn admit_materialization(&self, clip: &Clip) -> Result<(), ClipError> {
        if lacks_something(clip) {
            self.content(clip).await?;
        }
        if clip.is_virtual {
            self.check_room(clip.size_bytes)?;
        }
        Ok(())
    }

    /// Gives the clip a file and a SHA-256; one that has both is the result as it is.
    pub(super) async fn materialize(
        &self,
        attempt: &Attempt,
        spec: &MaterializeSpec,
    ) -> Result<Done, WorkError> {
        let found = self.store.clip(&spec.clip_id).await;
        let Some(mut clip) = found.map_err(|error| work_error(error.into()))? else {
            return Err(not_found(format!("clip {} not found", spec.clip_id)));
        };
        if clip.is_virtual {
            self.check_room(clip.size_bytes).map_err(work_error)?;
            let content = self.content(&clip).await.map_err(work_error)?;
            let (draft, sha256) = self
                .write(attempt, &clip, content)
                .await
                .map_err(work_error)?;
            let is_there = self.put_in_place(draft, &clip).await.map_err(work_error)?;
            if !is_there {
                return Err(not_found(format!(
                    "clip {} was deleted while its file was written",
                    clip.id
                )));
            }
            clip.sha256 = sha256;
            clip.is_virtual = false;
            // Links and layout are swept once the row says that nothing needs them: until then they may be all that is left.
            clip.holds_sources = false;
        } else {
            if !clip.unsynced_in.is_empty() {
                let remake = Remake {
                    part_name: attempt.temporary_name(),
                    stop: attempt.cancel.clone(),
                };
                tokio::select! {
                    // The disk may take its time.
                    () = attempt.cancel.cancelled() => return Err(WorkError::Stopped),
                    secured = self.secure(&clip, Some(remake)) => secured.map_err(work_error)?,
                };
                clip.unsynced_in = String::new();
            }
            if lacks_something(&clip) {
                clip.sha256 = self.hash(attempt, &clip).await.map_err(work_error)?;
            }
        }
        Ok(Done {
            result: JobResult::Clip(Box::new(clip)),
            warnings: Vec::new(),
        })
    }

    /// Gives the file the clip's name, for as long as the clip is there. Who deletes a clip deletes its row and then its file,
    /// so that a clip which is there after its file has its name does not leave the file behind. Whether the clip is there.
    pub(super) async fn put_in_place(&self, draft: Draft, clip: &Clip) -> Result<bool, ClipError> {
        // The file of another clip could have the name by now.
        if !self.is_there(clip).await? {
            return Ok(false);
        }
        let file_name = clip.file_name.clone();
        blocking(move || draft.put_in_place(&file_name).map_err(ClipError::Folder)).await?;
        if self.is_there(clip).await? {
            return Ok(true);
        }
        let path = self.settings.folder.join(&clip.file_name);
        blocking(move || remove_if_there(&path).map_err(ClipError::Folder)).await?;
        Ok(false)
    }

    /// Whether the clip itself is there, not only one with its id.
    async fn is_there(&self, clip: &Clip) -> Result<bool, ClipError> {
        let found = self.store.clip(&clip.id).await?;
        Ok(found.is_some_and(|found| found.create_time == clip.create_time))
    }

    /// Writes the bytes into a file; it, and the SHA-256.
    async fn write(
        &self,
        attempt: &Attempt,
        clip: &Clip,
        content: Content,
    ) -> Result<(Draft, String), ClipError> {
        let (folder, name) = (self.settings.folder.clone(), attempt.temporary_name());
        let size_bytes = clip.size_bytes;
        in_steps(attempt, "writing", size_bytes, move |steps| {
            let (draft, file) = Draft::create(&folder, &name).map_err(ClipError::Folder)?;
            let mut writeback = Writeback::default();
            let (written, hashed) = hashed_beside(&file, |mut out| {
                let mut done = 0;
                while done < size_bytes {
                    let part = out.room(size_bytes - done).map_err(write_error)?;
                    content.read(done, part)?;
                    done += part.len() as u64;
                    writeback.written_to(&file, out.written_bytes());
                    steps.done(done)?;
                }
                out.flush().map_err(write_error)?;
                drop(out);
                file.sync_data().map_err(write_error)
            });
            written?;
            let sha256 = hashed.map_err(write_error)?;
            steps.done(size_bytes)?;
            Ok((draft, hex(&sha256)))
        })
        .await
    }

    /// The SHA-256 of a clip's file.
    async fn hash(&self, attempt: &Attempt, clip: &Clip) -> Result<String, ClipError> {
        let content = self.content(clip).await?;
        let size_bytes = clip.size_bytes;
        in_steps(attempt, "hashing", size_bytes, move |steps| {
            let mut hasher = Hasher::default();
            let mut buffer = vec![0; BUFFER_BYTES];
            let mut done = 0;
            while done < size_bytes {
                let part = &mut buffer[..(size_bytes - done).min(BUFFER_BYTES as u64) as usize];
                content.read(done, part).map_err(shortened)?;
                hasher.update(part);
                done += part.len() as u64;
                steps.done(done)?;
            }
            Ok(hex(&hasher.finish()))
        })
        .await
    }
}

/// A file that ends early lost its end since it was opened.
fn shortened(error: ClipError) -> ClipError {
    match error {
        ClipError::Folder(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            ClipError::Corrupted("no longer has its size")
        }
        error => error,
    }
}

/// Whether the clip has no file or no SHA-256: a virtual one has neither.
fn lacks_something(clip: &Clip) -> bool {
    clip.sha256.is_empty()
}

/// What a thread tells that works on a clip.
struct Steps {
    stop: CancellationToken,
    done_bytes: watch::Sender<u64>,
    pace: Pace,
}

impl Steps {
    /// Tells how far it is; an error when it is to end.
    fn done(&mut self, done_bytes: u64) -> Result<(), ClipError> {
        if self.stop.is_cancelled() {
            return Err(ClipError::Cut(CutError::Cancelled));
        }
        if self.pace.is_due() {
            self.done_bytes.send_replace(done_bytes);
        }
        Ok(())
    }
}

/// Runs `work` in a thread that may block, and tells how far it is.
async fn in_steps<T: Send + 'static>(
    attempt: &Attempt,
    phase: &str,
    total_bytes: u64,
    work: impl FnOnce(&mut Steps) -> Result<T, ClipError> + Send + 'static,
) -> Result<T, ClipError> {
    let stop = attempt.cancel.child_token();
    // A thread that hangs in a read is not waited for; it stops when it comes back.
    let _stopped_with_this = stop.clone().drop_guard();
    let (done_bytes, mut told) = watch::channel(0);
    let mut steps = Steps {
        stop,
        done_bytes,
        pace: Pace::begin(),
    };
    let working = blocking(move || work(&mut steps));
    tokio::pin!(working);
    let report = |bytes_done: u64| {
        attempt.report(Progress {
            phase: phase.to_owned(),
            bytes_done,
            bytes_total: total_bytes,
            fraction: Some(bytes_done as f64 / total_bytes.max(1) as f64),
            ..Progress::default()
        });
    };
    loop {
        tokio::select! {
            biased;
            ended = &mut working => {
                if ended.is_ok() {
                    report(total_bytes);
                }
                return ended;
            }
            Ok(()) = told.changed() => report(*told.borrow_and_update()),
        }
    }
}

fn not_found(message: String) -> WorkError {
    WorkError::Failed(Notice::new(Reason::ClipNotFound, message))
}

fn write_error(error: io::Error) -> ClipError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ClipError::Cut(CutError::DiskFull)
        }
        _ => ClipError::Folder(error),
    }
}
