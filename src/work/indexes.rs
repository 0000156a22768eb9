//! Stored indexes for cuts: a source whose file is still the one that the catalog read needs no reading of its tables.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use crate::domain::time::to_microseconds;
use crate::media::Source;
use crate::media::mp4::SourceIndex;
use crate::repository::{Store, StoreError, StoredIndex};

/// Indexes that are fetched at the same time: those of an hour in ten-second segments, about a megabyte.
const FETCHED_AT_ONCE: usize = 400;

/// Fewer indexes than this are decoded sooner than a thread begins.
const LEAST_SHARE: usize = 16;

/// Gives each source the index that the catalog keeps of its file. The file must be open already: only while the open
/// file has the size and the modification time that the catalog knows is the index its own. Sources without one stay as
/// they are, and their files are read.
///
/// # Errors
/// [`StoreError`] when the catalog cannot be read.
pub(super) async fn attach(store: &Store, sources: &mut [Source]) -> Result<(), StoreError> {
    for part in sources.chunks_mut(FETCHED_AT_ONCE) {
        let ids: Vec<String> = part
            .iter()
            .filter(|source| source.file.is_ok())
            .map(|source| source.id.clone())
            .collect();
        let stored = store.segment_indexes(&ids).await?;
        let files: HashMap<&str, &Arc<File>> = part
            .iter()
            .filter_map(|source| Some((source.id.as_str(), source.file.as_ref().ok()?)))
            .collect();
        let pairs: Vec<(StoredIndex, Arc<File>)> = stored
            .into_iter()
            .filter_map(|stored| {
                let file = files.get(stored.segment_id.as_str())?;
                Some((stored, Arc::clone(file)))
            })
            .collect();
        // Without an answer the files are read, as if nothing were stored.
        let mut indexes = tokio::task::spawn_blocking(move || decode_all(&pairs))
            .await
            .unwrap_or_default();
        for source in part {
            source.index = indexes.remove(&source.id);
        }
    }
    Ok(())
}

/// What can be used of these, by segment. Many are shared out among the processors.
fn decode_all(pairs: &[(StoredIndex, Arc<File>)]) -> HashMap<String, Arc<SourceIndex>> {
    let decode_part = |part: &[(StoredIndex, Arc<File>)]| -> Vec<(String, Arc<SourceIndex>)> {
        part.iter()
            .filter_map(|(stored, file)| {
                let index = decode(stored, file)?;
                Some((stored.segment_id.clone(), Arc::new(index)))
            })
            .collect()
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let share = pairs.len().div_ceil(processors).max(LEAST_SHARE);
    let (mine, others) = pairs.split_at(share.min(pairs.len()));
    std::thread::scope(|threads| {
        let others: Vec<_> = others
            .chunks(share)
            .map(|part| threads.spawn(move || decode_part(part)))
            .collect();
        let mine = decode_part(mine);
        // The files of a part whose thread died are read.
        let others = others
            .into_iter()
            .flat_map(|part| part.join().unwrap_or_default());
        mine.into_iter().chain(others).collect()
    })
}

fn decode(stored: &StoredIndex, file: &File) -> Option<SourceIndex> {
    let metadata = file.metadata().ok()?;
    let modified_time = to_microseconds(metadata.modified().ok()?.into());
    if metadata.len() != stored.size_bytes || modified_time != stored.modified_time {
        return None;
    }
    match SourceIndex::decode(&stored.samples) {
        // A file that grew while it was read was indexed with another size than the catalog has.
        Ok(index) => (index.size_bytes == stored.size_bytes).then_some(index),
        Err(error) => {
            tracing::warn!(
                segment_id = stored.segment_id,
                %error,
                "a stored index cannot be used; the segment's file is read"
            );
            None
        }
    }
}
