//! The job that gives a virtual clip a file: the bytes that it would be fetched with, written, hashed and published.

use std::io;

use tokio::sync::watch;

use super::error::work_error;
use super::virtual_content::Content;
use super::{ClipError, ClipWork, blocking};
use crate::disk::Writeback;
use crate::domain::clip::{Clip, MaterializeSpec};
use crate::domain::job::{JobResult, Notice, Progress, Reason};
use crate::media::{CutError, Pace, hashed_beside};
use crate::work::output::{Draft, remove_if_there};
use crate::work::{Attempt, Done, WorkError};

impl ClipWork {
    /// Checks what can be known before a clip is given a file: its recordings, and room on the disk.
    ///
    /// # Errors
    /// [`ClipError::SourcesGone`], [`ClipError::DiskFull`].
    pub async fn admit_materialization(&self, clip: &Clip) -> Result<(), ClipError> {
        if clip.is_virtual {
            self.content(clip).await?;
            self.check_room(clip.size_bytes)?;
        }
        Ok(())
    }

    /// Gives the clip a file; one that has a file is the result as it is.
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
            self.put_in_place(draft, &clip).await?;
            clip.sha256 = sha256;
            clip.is_virtual = false;
            // Links and layout are swept once the row says that nothing needs them: until then they may be all that is left.
            clip.holds_sources = false;
        }
        Ok(Done {
            result: JobResult::Clip(Box::new(clip)),
            warnings: Vec::new(),
        })
    }

    /// Gives the file the clip's name, for as long as the clip is there. Who deletes a clip deletes its row and then its file,
    /// so that a clip which is there after its file has its name does not leave the file behind.
    async fn put_in_place(&self, draft: Draft, clip: &Clip) -> Result<(), WorkError> {
        let gone = || {
            not_found(format!(
                "clip {} was deleted while its file was written",
                clip.id
            ))
        };
        // The file of another clip could have the name by now.
        if !self.is_there(clip).await? {
            return Err(gone());
        }
        let file_name = clip.file_name.clone();
        let placing =
            blocking(move || draft.put_in_place(&file_name).map_err(ClipError::Folder)).await;
        placing.map_err(work_error)?;
        if self.is_there(clip).await? {
            return Ok(());
        }
        let path = self.settings.folder.join(&clip.file_name);
        let removing = blocking(move || remove_if_there(&path).map_err(ClipError::Folder)).await;
        removing.map_err(work_error)?;
        Err(gone())
    }

    /// Whether the clip itself is there, not only one with its id.
    async fn is_there(&self, clip: &Clip) -> Result<bool, WorkError> {
        let found = self.store.clip(&clip.id).await;
        let found = found.map_err(|error| work_error(error.into()))?;
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
        let stop = attempt.cancel.child_token();
        // A thread that hangs in a read is not waited for; it stops when it comes back.
        let _stopped_with_this = stop.clone().drop_guard();
        let (sender, mut written) = watch::channel(0);
        let size_bytes = clip.size_bytes;
        let writing = blocking(move || {
            let (draft, file) = Draft::create(&folder, &name).map_err(ClipError::Folder)?;
            let mut writeback = Writeback::default();
            let mut pace = Pace::begin();
            let (written, hashed) = hashed_beside(&file, |mut out| {
                let mut done = 0;
                while done < size_bytes {
                    if stop.is_cancelled() {
                        return Err(ClipError::Cut(CutError::Cancelled));
                    }
                    let part = out.room(size_bytes - done).map_err(write_error)?;
                    content.read(done, part)?;
                    done += part.len() as u64;
                    writeback.written_to(&file, out.written_bytes());
                    if pace.is_due() {
                        sender.send_replace(done);
                    }
                }
                out.flush().map_err(write_error)?;
                drop(out);
                file.sync_data().map_err(write_error)
            });
            written?;
            let sha256 = hashed.map_err(write_error)?;
            if stop.is_cancelled() {
                return Err(ClipError::Cut(CutError::Cancelled));
            }
            let sha256 = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
            Ok((draft, sha256))
        });
        tokio::pin!(writing);
        loop {
            tokio::select! {
                biased;
                ended = &mut writing => {
                    if ended.is_ok() {
                        attempt.report(writing_at(size_bytes, size_bytes));
                    }
                    return ended;
                }
                Ok(()) = written.changed() => attempt.report(writing_at(*written.borrow_and_update(), size_bytes)),
            }
        }
    }
}

fn not_found(message: String) -> WorkError {
    WorkError::Failed(Notice::new(Reason::ClipNotFound, message))
}

fn writing_at(bytes_done: u64, bytes_total: u64) -> Progress {
    Progress {
        phase: "writing".to_owned(),
        bytes_done,
        bytes_total,
        fraction: Some(bytes_done as f64 / bytes_total.max(1) as f64),
        ..Progress::default()
    }
}

fn write_error(error: io::Error) -> ClipError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ClipError::Cut(CutError::DiskFull)
        }
        _ => ClipError::Folder(error),
    }
}
