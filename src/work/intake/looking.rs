//! Looking at files that a walk found, some at a time: one question to the catalog and one thread for all of them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use chrono::TimeDelta;
use futures::{StreamExt as _, future, stream};
use tokio_util::sync::CancellationToken;

use super::{Intake, Looked, Opened, REPACKED_AT_ONCE, SourceRules};
use crate::clock;
use crate::domain::catalog::{NewSegment, SegmentState};
use crate::domain::layout::{ClosedRule, Closing, WrittenFile};
use crate::domain::time::to_microseconds;
use crate::media::{self, FileFacts, ReadError};
use crate::repository::StoreError;
use crate::work::look::LookError;
use crate::work::scan::Candidate;
use crate::work::source_file::open_beneath;

/// A file on its way into the catalog.
enum Stage {
    Done(Looked),
    /// It is there and has not been read.
    Found {
        later_file_exists: bool,
    },
    /// It is no MP4.
    Other {
        opened: Opened,
        later_file_exists: bool,
    },
}

impl Intake {
    /// Looks at files that a walk found, and reads those that the catalog does not know as they are; what became of each,
    /// in order. Where `cancel` says so the last ones are left out.
    pub async fn look_at(
        &self,
        rules: &Arc<SourceRules>,
        found: Vec<Candidate>,
        cancel: &CancellationToken,
    ) -> Result<Vec<(Candidate, Looked)>, LookError> {
        let stages = self.known_or_found(rules, &found).await?;
        let (reader_rules, reader_cancel) = (Arc::clone(rules), cancel.clone());
        let read = tokio::task::spawn_blocking(move || {
            found
                .into_iter()
                .zip(stages)
                .take_while(|_| !reader_cancel.is_cancelled())
                .map(|(candidate, stage)| {
                    let stage = match stage {
                        Stage::Found { later_file_exists } => {
                            reader_rules.read(&candidate, later_file_exists)
                        }
                        stage => stage,
                    };
                    (candidate, stage)
                })
                .collect::<Vec<_>>()
        })
        .await
        .map_err(LookError::Thread)?;

        // What only ffmpeg can read waits for it, the others meanwhile do not.
        let looked = stream::iter(read)
            .map(|(candidate, stage)| async move {
                let looked = match stage {
                    Stage::Done(looked) => looked,
                    Stage::Found { .. } => return None,
                    Stage::Other {
                        opened,
                        later_file_exists,
                    } => {
                        let read = self.read_repacked(&opened, cancel).await;
                        if cancel.is_cancelled() {
                            return None;
                        }
                        rules.conclude(&candidate, later_file_exists, &opened, read)
                    }
                };
                Some((candidate, looked))
            })
            .buffered(REPACKED_AT_ONCE)
            .take_while(|looked| future::ready(looked.is_some()))
            .filter_map(future::ready);
        Ok(looked.collect().await)
    }

    async fn known_or_found(
        &self,
        rules: &SourceRules,
        found: &[Candidate],
    ) -> Result<Vec<Stage>, StoreError> {
        let paths: Vec<&str> = found
            .iter()
            .map(|candidate| candidate.relative_path.as_str())
            .collect();
        let known = self
            .store
            .known_files_among(&rules.source_id, &paths)
            .await?;
        let mut stages = Vec::with_capacity(found.len());
        for candidate in found {
            let is_known = known.get(&candidate.relative_path).is_some_and(|known| {
                known.state == SegmentState::Available
                    && known.size_bytes == candidate.size_bytes
                    && known.modified_time == to_microseconds(candidate.mtime)
            });
            stages.push(if is_known {
                Stage::Done(Looked::Known)
            } else {
                Stage::Found {
                    later_file_exists: candidate.later_file_exists
                        || self
                            .store
                            .has_later_segment(&candidate.camera, candidate.start_time)
                            .await?,
                }
            });
        }
        Ok(stages)
    }
}

impl SourceRules {
    /// Opens and reads a file, unless its recorder may still write to it. Blocks.
    fn read(&self, found: &Candidate, later_file_exists: bool) -> Stage {
        if !self.judges_inside()
            && let Some(still_written) = self.still_written(found, later_file_exists, None)
        {
            return Stage::Done(still_written);
        }
        let opened = match Opened::beneath(&self.scan.root, &found.relative_path) {
            Ok(opened) => opened,
            Err(error) => {
                return Stage::Done(Looked::LeftOut(format!("cannot be opened: {error}")));
            }
        };
        // One file on which the reader fails must not take the others with it.
        let read = match catch_unwind(AssertUnwindSafe(|| media::read_facts(&opened.file))) {
            Ok(Err(ReadError::NotMp4)) => {
                return Stage::Other {
                    opened,
                    later_file_exists,
                };
            }
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(_) => Err("reading it failed".to_owned()),
        };
        Stage::Done(self.conclude(found, later_file_exists, &opened, read))
    }

    /// What becomes of a file that was read.
    fn conclude(
        &self,
        found: &Candidate,
        later_file_exists: bool,
        opened: &Opened,
        read: Result<FileFacts, String>,
    ) -> Looked {
        let read = match read {
            Ok(read) => read,
            // A file without its headers may get them yet.
            Err(error) => {
                return self
                    .still_written(found, later_file_exists, None)
                    .unwrap_or(Looked::LeftOut(error));
            }
        };
        let duration_inside_ms = Some(u64::from(!read.declares_no_duration));
        if self.judges_inside()
            && let Some(still_written) =
                self.still_written(found, later_file_exists, duration_inside_ms)
        {
            return still_written;
        }
        let (start_time, start_accuracy) = match read.time_inside {
            Some(exact) => (exact, TimeDelta::zero()),
            None => (found.start_time, TimeDelta::microseconds(found.accuracy_us)),
        };
        Looked::Segment(Box::new(NewSegment {
            camera_id: found.camera.clone(),
            source_id: self.source_id.clone(),
            path: found.relative_path.clone(),
            start_time: to_microseconds(start_time),
            start_accuracy,
            size_bytes: opened.size_bytes,
            modified_time: opened.modified_time,
            facts: read.media,
        }))
    }

    /// Whether only what is in a file tells that its recorder is done with it.
    fn judges_inside(&self) -> bool {
        matches!(self.closed, ClosedRule::DurationInside { .. })
    }

    fn still_written(
        &self,
        found: &Candidate,
        later_file_exists: bool,
        duration_inside_ms: Option<u64>,
    ) -> Option<Looked> {
        let written = WrittenFile {
            file_name: found
                .relative_path
                .rsplit('/')
                .next()
                .unwrap_or(&found.relative_path),
            mtime: found.mtime,
            unchanged_for: None,
            later_file_exists,
            duration_inside_ms,
            duration_in_name_ms: found.duration_in_name_ms,
        };
        match self.closed.judge(&written, clock::now()) {
            Closing::StillWritten { retry_after } => Some(Looked::StillWritten(retry_after)),
            Closing::Closed => None,
        }
    }
}

impl Opened {
    /// Opens a file of a source. Blocks.
    pub(super) fn beneath(root: &Path, path: &str) -> io::Result<Self> {
        let file = open_beneath(root, Path::new(path))?;
        let metadata = file.metadata()?;
        Ok(Self {
            size_bytes: metadata.len(),
            modified_time: to_microseconds(metadata.modified()?.into()),
            file: Arc::new(file),
        })
    }
}
