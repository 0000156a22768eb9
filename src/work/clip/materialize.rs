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
use crate::work::output::Draft;
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
            return Err(WorkError::Failed(Notice::new(
                Reason::ClipNotFound,
                format!("clip {} not found", spec.clip_id),
            )));
        };
        if clip.is_virtual {
            self.check_room(clip.size_bytes).map_err(work_error)?;
            let content = self.content(&clip).await.map_err(work_error)?;
            clip.sha256 = self
                .write(attempt, &clip, content)
                .await
                .map_err(work_error)?;
            clip.is_virtual = false;
            // Links and layout are swept once the row says that nothing needs them: until then they may be all that is left.
            clip.holds_sources = false;
        }
        Ok(Done {
            result: JobResult::Clip(Box::new(clip)),
            warnings: Vec::new(),
        })
    }

    /// Writes the bytes into a file and gives it the clip's name; the SHA-256.
    async fn write(
        &self,
        attempt: &Attempt,
        clip: &Clip,
        content: Content,
    ) -> Result<String, ClipError> {
        let (folder, name) = (self.settings.folder.clone(), attempt.temporary_name());
        let stop = attempt.cancel.child_token();
        // A thread that hangs in a read is not waited for; it stops when it comes back.
        let _stopped_with_this = stop.clone().drop_guard();
        let (sender, mut written) = watch::channel(0);
        let (size_bytes, file_name) = (clip.size_bytes, clip.file_name.clone());
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
            draft.put_in_place(&file_name).map_err(ClipError::Folder)?;
            Ok(sha256.iter().map(|byte| format!("{byte:02x}")).collect())
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
