//! Page sizes and page tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use sha2::{Digest as _, Sha256};

use super::fields::Fields;
use super::status::ApiError;
use crate::proto::ErrorReason;
use crate::repository::Page;

const PAGE_SIZE_DEFAULT: u32 = 50;
const PAGE_SIZE_MAX: u32 = 1000;
const ANSWER_MAX_BYTES: usize = 3 << 20;
const TOKEN_INVALID: &str = "is not a page token of this method with these filters";

/// The size of a page: 0 asks for the usual one.
pub(super) fn page_size(fields: &mut Fields, asked: i32) -> u32 {
    match u32::try_from(asked) {
        Ok(0) => PAGE_SIZE_DEFAULT,
        Ok(size) if size <= PAGE_SIZE_MAX => size,
        _ => {
            fields.wrong(
                "page_size",
                format!("must be between 0 and {PAGE_SIZE_MAX}"),
            );
            PAGE_SIZE_DEFAULT
        }
    }
}

/// Turns positions in one list into tokens and back.
///
/// A token carries a digest of the method and its filters, so that it cannot be used to continue another list.
pub(super) struct Tokens {
    list: String,
}

impl Tokens {
    /// For the list that `method` returns for `request`, whose page fields must have been cleared.
    pub(super) fn of(method: &str, request: &impl Message) -> Self {
        let digest = Sha256::new()
            .chain_update(method)
            .chain_update([0])
            .chain_update(request.encode_to_vec())
            .finalize();
        Self {
            list: URL_SAFE_NO_PAD.encode(&digest[..9]),
        }
    }

    /// The page of this size that was asked for.
    pub(super) fn page(&self, size: u32, page_token: &str) -> Result<Page, ApiError> {
        if page_token.is_empty() {
            return Ok(Page { size, after: None });
        }
        let after = self.read(page_token).ok_or_else(|| ApiError::Invalid {
            reason: ErrorReason::PageTokenInvalid,
            violations: vec![("page_token".to_owned(), TOKEN_INVALID.to_owned())],
        })?;
        Ok(Page {
            size,
            after: Some(after),
        })
    }

    /// The token of the page that begins after this row; empty when there is none.
    pub(super) fn token(&self, after: Option<(i64, String)>) -> String {
        after.map_or_else(String::new, |(key, id)| {
            URL_SAFE_NO_PAD.encode(format!("{}.{key}.{id}", self.list))
        })
    }

    fn read(&self, token: &str) -> Option<(i64, String)> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (list, position) = text.split_once('.')?;
        let (key, id) = position.split_once('.')?;
        (list == self.list).then_some((key.parse().ok()?, id.to_owned()))
    }
}

/// Cuts a page to what every client takes: with gRPC's usual limit of 4 MiB for a message, an answer that is larger is
/// an error on the other side. `next` is where the page after a whole one begins.
pub(super) fn fit<T: Message>(
    rows: Vec<((i64, String), T)>,
    next: Option<(i64, String)>,
) -> (Vec<T>, Option<(i64, String)>) {
    let mut fitting = Vec::with_capacity(rows.len());
    let mut bytes = 0;
    let mut last = None;
    for (key, row) in rows {
        bytes += row.encoded_len();
        if bytes > ANSWER_MAX_BYTES && last.is_some() {
            return (fitting, last);
        }
        fitting.push(row);
        last = Some(key);
    }
    (fitting, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{ListCamerasRequest, ListClipsRequest};

    #[test]
    fn a_token_continues_only_the_list_it_was_made_for() {
        let tokens = Tokens::of("ListClips", &ListClipsRequest::default());
        let token = tokens.token(Some((-7, "clip_a.b".to_owned())));
        assert_eq!(
            tokens.page(3, &token).unwrap(),
            Page {
                size: 3,
                after: Some((-7, "clip_a.b".to_owned()))
            }
        );

        let filtered = ListClipsRequest {
            camera_id: "gate".to_owned(),
            ..Default::default()
        };
        assert!(Tokens::of("ListClips", &filtered).page(3, &token).is_err());
        assert!(
            Tokens::of("ListCameras", &ListCamerasRequest::default())
                .page(3, &token)
                .is_err()
        );
        for bad in ["x", "AAAA", "é", "…", &token[1..]] {
            assert!(tokens.page(3, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn page_sizes_have_a_default_and_bounds() {
        for (asked, size, is_right) in [
            (0, 50, true),
            (1000, 1000, true),
            (1001, 50, false),
            (-1, 50, false),
        ] {
            let mut fields = Fields::default();
            assert_eq!(page_size(&mut fields, asked), size);
            assert_eq!(fields.check().is_ok(), is_right, "{asked}");
        }
    }

    #[test]
    fn a_page_of_large_rows_is_cut_and_goes_on_after_its_last_row() {
        let row = |number: i64| {
            let clip = crate::proto::Clip {
                engine: "x".repeat(1 << 20),
                ..Default::default()
            };
            ((number, format!("clip_{number}")), clip)
        };
        let (rows, next) = fit((0..5).map(row).collect(), Some((4, "clip_4".to_owned())));
        assert_eq!((rows.len(), next), (2, Some((1, "clip_1".to_owned()))));
        let (rows, next) = fit((0..1).map(row).collect(), None);
        assert_eq!((rows.len(), next), (1, None));
    }
}
