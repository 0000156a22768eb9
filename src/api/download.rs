//! Streaming a stored file, or what is made while it is streamed, in messages.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use futures::Stream;

use super::fields::Fields;
use super::status::ApiError;

/// Bytes in one message: large enough that messages cost little, small enough for every client's default limit.
pub(super) const CHUNK_BYTES: u64 = 256 * 1024;

/// The part of a file that a caller asks for.
pub(super) struct Part {
    offset: u64,
    limit: u64,
}

impl Part {
    /// Reads offset and limit of a request; a limit of 0 is none.
    pub(super) fn asked(fields: &mut Fields, offset_bytes: i64, limit_bytes: i64) -> Self {
        let offset = fields.not_negative("offset_bytes", offset_bytes);
        let limit = fields.not_negative("limit_bytes", limit_bytes);
        Self {
            offset,
            limit: if limit == 0 { u64::MAX } else { limit },
        }
    }

    /// The bytes of a file of this size. The very end is a valid offset: nothing is left to send.
    pub(super) fn within(&self, size_bytes: u64) -> Result<Range<u64>, ApiError> {
        if self.offset > size_bytes {
            return Err(ApiError::PastEnd {
                message: format!(
                    "offset_bytes {} is past the end of the file, which has {size_bytes} bytes",
                    self.offset
                ),
            });
        }
        Ok(self.offset..self.offset.saturating_add(self.limit).min(size_bytes))
    }
}

/// The bytes of `part`, read only as fast as they are taken. `read` fills a buffer from a position, and may block. The stream
/// ends with its first error, so that one which ends well is complete.
pub(super) fn chunks(
    read: impl Fn(u64, &mut [u8]) -> Result<(), ApiError> + Send + Sync + 'static,
    part: Range<u64>,
) -> impl Stream<Item = Result<Vec<u8>, ApiError>> + Send {
    let read = Arc::new(read);
    futures::stream::try_unfold(part, move |left| {
        let read = Arc::clone(&read);
        async move {
            if left.is_empty() {
                return Ok(None);
            }
            let length = (left.end - left.start).min(CHUNK_BYTES);
            let chunk = tokio::task::spawn_blocking(move || {
                let mut chunk = vec![0; length as usize];
                read(left.start, &mut chunk).map(|()| chunk)
            })
            .await
            .map_err(|error| ApiError::Internal {
                cause: error.to_string(),
            })??;
            Ok(Some((chunk, left.start + length..left.end)))
        }
    })
}

/// Reads a stored file for [`chunks`].
pub(super) fn stored(file: File) -> impl Fn(u64, &mut [u8]) -> Result<(), ApiError> + Send + Sync {
    move |position, buffer| {
        file.read_exact_at(buffer, position)
            .map_err(|error| ApiError::Internal {
                cause: format!("reading a stored file: {error}"),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_to_the_file_and_the_very_end_is_valid() {
        let part = |offset, limit| Part::asked(&mut Fields::default(), offset, limit).within(100);
        assert_eq!(part(0, 0).unwrap(), 0..100);
        assert_eq!(part(90, 20).unwrap(), 90..100);
        assert_eq!(part(100, 0).unwrap(), 100..100);
        assert_eq!(part(10, i64::MAX).unwrap(), 10..100);
        assert!(part(101, 0).is_err());
        let mut fields = Fields::default();
        Part::asked(&mut fields, -1, -1);
        let refused = fields.check().unwrap_err();
        assert!(matches!(refused, ApiError::Invalid { violations, .. } if violations.len() == 2));
    }
}
