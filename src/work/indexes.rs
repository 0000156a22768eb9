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
        let decode = move || -> HashMap<String, Arc<SourceIndex>> {
            pairs
                .into_iter()
                .filter_map(|(stored, file)| {
                    let index = decode(&stored, &file)?;
                    Some((stored.segment_id, Arc::new(index)))
                })
                .collect()
        };
        // Without an answer the files are read, as if nothing were stored.
        let mut indexes = tokio::task::spawn_blocking(decode)
            .await
            .unwrap_or_default();
        for source in part {
            source.index = indexes.remove(&source.id);
        }
    }
    Ok(())
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
