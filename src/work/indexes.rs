//! Stored indexes for cuts: a source whose file is still the one that the catalog read needs no reading of its tables.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::domain::time::to_microseconds;
use crate::media::Source;
use crate::media::mp4::{DecodeError, SourceIndex};
use crate::repository::{Store, StoreError, StoredIndex};

/// Indexes that are fetched at the same time: while these are decoded, the next ones come from the database.
const FETCHED_AT_ONCE: usize = 64;

/// Gives each source the index that the catalog keeps of its file. The file must be open already: only while the open
/// file has the size and the modification time that the catalog knows is the index its own. Sources without one stay as
/// they are, and their files are read.
///
/// # Errors
/// [`StoreError`] when the catalog cannot be read.
pub(super) async fn attach(store: &Store, sources: &mut [Source]) -> Result<(), StoreError> {
    let mut decoding = Vec::new();
    for part in sources.chunks(FETCHED_AT_ONCE) {
        let files: HashMap<String, Arc<File>> = part
            .iter()
            .filter_map(|source| Some((source.id.clone(), Arc::clone(source.file.as_ref().ok()?))))
            .collect();
        let ids: Vec<String> = files.keys().cloned().collect();
        let stored = store.segment_indexes(&ids).await?;
        decoding.push(tokio::task::spawn_blocking(move || {
            decode_all(stored, &files)
        }));
    }
    let mut indexes = HashMap::with_capacity(sources.len());
    for part in decoding {
        // Without an answer the files are read, as if nothing were stored.
        indexes.extend(part.await.unwrap_or_default());
    }
    for source in sources {
        source.index = indexes.remove(&source.id);
    }
    Ok(())
}

/// What can be used of these, by segment.
fn decode_all(
    mut stored: Vec<StoredIndex>,
    files: &HashMap<String, Arc<File>>,
) -> Vec<(String, Arc<SourceIndex>)> {
    stored.retain(|stored| {
        let file = files.get(&stored.segment_id);
        file.is_some_and(|file| is_of(stored, file).unwrap_or(false))
    });
    let decoded = SourceIndex::decode_all(stored.iter().map(|stored| &*stored.samples));
    stored
        .into_iter()
        .zip(decoded)
        .filter_map(|(stored, decoded)| {
            let index = checked(&stored, decoded)?;
            Some((stored.segment_id, Arc::new(index)))
        })
        .collect()
}

/// Whether the open file is the one that was indexed.
fn is_of(stored: &StoredIndex, file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    let modified_time = to_microseconds(metadata.modified()?.into());
    Ok(metadata.len() == stored.size_bytes && modified_time == stored.modified_time)
}

fn checked(stored: &StoredIndex, decoded: Result<SourceIndex, DecodeError>) -> Option<SourceIndex> {
    match decoded {
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
