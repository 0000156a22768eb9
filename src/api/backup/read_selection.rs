//! What a call about footage at a destination selects, and how its bytes are checked.

use chrono::{DateTime, Utc};

use crate::api::catalog::range;
use crate::api::fields::Fields;
use crate::api::status::ApiError;
use crate::domain::backup::object::{BackupCheck, ObjectState};
use crate::domain::backup::run::{BackupSelection, LedgerSource};
use crate::proto;

/// Longest name of a folder that footage is restored into.
const FOLDER_MAX_BYTES: usize = 128;

/// Reads the footage that is meant.
pub(super) fn selection(
    fields: &mut Fields,
    start: Option<prost_types::Timestamp>,
    end: Option<prost_types::Timestamp>,
    camera_ids: &[String],
    evidence_only: bool,
) -> BackupSelection {
    BackupSelection {
        start: fields.optional_time("start_time", start),
        end: fields.optional_time("end_time", end),
        camera_ids: fields.camera_ids("camera_ids", camera_ids),
        evidence_only,
        without_removed_by: String::new(),
    }
}

/// Refuses a window that is empty or reversed.
pub(super) fn in_order(
    start: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
) -> Result<(), ApiError> {
    match (start, end) {
        (Some(start), Some(end)) => range(start, end).map(|_| ()),
        _ => Ok(()),
    }
}

/// Reads how to check; unspecified is by hash.
pub(super) fn check(fields: &mut Fields, field: &str, asked: i32) -> BackupCheck {
    match proto::BackupCheck::try_from(asked) {
        Ok(proto::BackupCheck::Size) => BackupCheck::Size,
        Ok(proto::BackupCheck::Unspecified | proto::BackupCheck::Hash) => BackupCheck::Hash,
        Ok(proto::BackupCheck::ReadBack) => BackupCheck::ReadBack,
        Err(_) => {
            fields.wrong(field, "is no known check");
            BackupCheck::Hash
        }
    }
}

/// Reads a filter by state; unspecified is any.
pub(super) fn object_state(fields: &mut Fields, asked: i32) -> Option<ObjectState> {
    match proto::BackupObjectState::try_from(asked) {
        Ok(proto::BackupObjectState::Unspecified) => None,
        Ok(proto::BackupObjectState::Present) => Some(ObjectState::Present),
        Ok(proto::BackupObjectState::Missing) => Some(ObjectState::Missing),
        Ok(proto::BackupObjectState::Changed) => Some(ObjectState::Changed),
        Err(_) => {
            fields.wrong("state", "is no known state");
            None
        }
    }
}

/// Reads which ledger to go by.
pub(super) fn ledger_source(fields: &mut Fields, asked: i32) -> LedgerSource {
    match proto::LedgerSource::try_from(asked) {
        Ok(proto::LedgerSource::Unspecified) => LedgerSource::Either,
        Ok(proto::LedgerSource::Server) => LedgerSource::Server,
        Ok(proto::LedgerSource::Destination) => LedgerSource::Destination,
        Err(_) => {
            fields.wrong("ledger_source", "is no known source");
            LedgerSource::Either
        }
    }
}

/// Reads the folder to restore into: a single name that leads nowhere else. Empty is none.
pub(super) fn folder(fields: &mut Fields, asked: &str) {
    let is_name = asked.len() <= FOLDER_MAX_BYTES
        && asked.starts_with(|first: char| first.is_ascii_alphanumeric())
        && asked
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !asked.is_empty() && !is_name {
        fields.wrong(
            "folder",
            format!("must be one name of at most {FOLDER_MAX_BYTES} letters, digits, `.`, `_` and `-`, a letter or digit first"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_name_that_leads_nowhere_else() {
        let is_right = |name: &str| {
            let mut fields = Fields::default();
            folder(&mut fields, name);
            fields.check().is_ok()
        };
        for good in ["", "case-17", "0", "A.b_c", "a..b", &"a".repeat(128)] {
            assert!(is_right(good), "{good:?}");
        }
        for bad in [
            ".",
            "..",
            ".a",
            "-a",
            "a/b",
            "a\\b",
            "a b",
            "a\n",
            "\u{e4}",
            &"a".repeat(129),
        ] {
            assert!(!is_right(bad), "{bad:?}");
        }
    }

    #[test]
    fn values_that_are_not_in_the_contract_are_refused() {
        for bad in [-1, 99] {
            let mut fields = Fields::default();
            check(&mut fields, "check", bad);
            object_state(&mut fields, bad);
            ledger_source(&mut fields, bad);
            let Err(ApiError::Invalid { violations, .. }) = fields.check() else {
                panic!("{bad} was taken");
            };
            let named: Vec<_> = violations.iter().map(|(field, _)| field.as_str()).collect();
            assert_eq!(named, ["check", "state", "ledger_source"]);
        }
    }

    #[test]
    fn what_is_not_said_has_the_default_of_its_field() {
        let mut fields = Fields::default();
        assert_eq!(check(&mut fields, "check", 0), BackupCheck::Hash);
        assert_eq!(object_state(&mut fields, 0), None);
        assert_eq!(ledger_source(&mut fields, 0), LedgerSource::Either);
        let all = selection(&mut fields, None, None, &[], false);
        assert_eq!(all, BackupSelection::default());
        assert!(fields.check().is_ok());
    }

    #[test]
    fn a_window_is_not_reversed_and_may_be_open() {
        let moment = |seconds| DateTime::from_timestamp(seconds, 0);
        assert!(in_order(moment(1), moment(2)).is_ok());
        assert!(in_order(moment(1), None).is_ok());
        assert!(in_order(None, moment(1)).is_ok());
        for end in [1, 0] {
            assert!(in_order(moment(1), moment(end)).is_err());
        }
    }
}
