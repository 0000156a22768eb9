//! Which objects a policy's retention removes from a destination.
//!
//! What must never be removed is decided here and nowhere else: evidence, what is locked, the newest day of each camera.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::policy::{Policy, Retention};
use crate::domain::camera::CameraId;
use crate::domain::time::TimeRange;

/// The newest footage of each camera at the destination that is always kept.
const NEWEST_KEPT: TimeDelta = TimeDelta::days(1);

/// An object that a policy sent and that its retention may remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionCandidate {
    /// Camera of the segment.
    pub camera_id: CameraId,
    /// What its footage covers.
    pub window: TimeRange,
    /// Its size.
    pub size_bytes: u64,
    /// Whether its segment is held as evidence, as of now.
    pub evidence: bool,
    /// Until when the destination locks it.
    pub locked_until_time: Option<DateTime<Utc>>,
}

/// Decides over the objects that one policy sent, which must be asked about oldest first.
///
/// A clock that is ahead makes footage look old, so age alone never empties a destination: the newest day of a camera is
/// counted in footage time, from the end of its newest object there.
#[derive(Debug)]
pub struct Sweep<'a> {
    retention: Retention,
    now: DateTime<Utc>,
    /// End of the newest footage of each camera at the destination, whoever sent it.
    newest: &'a BTreeMap<CameraId, DateTime<Utc>>,
    /// The other policies with the same destination.
    others: &'a [Policy],
    bytes_left: u64,
}

impl<'a> Sweep<'a> {
    /// For objects of `total_bytes` in all, at `now`.
    pub fn new(
        retention: Retention,
        total_bytes: u64,
        newest: &'a BTreeMap<CameraId, DateTime<Utc>>,
        others: &'a [Policy],
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            retention,
            now,
            newest,
            others,
            bytes_left: total_bytes,
        }
    }

    /// Whether no object whose footage begins at `start` or later can be removed any more, so that the rest need not be
    /// read.
    pub fn is_over_at(&self, start: DateTime<Utc>) -> bool {
        !self.has_too_many_bytes() && self.age_limit().is_none_or(|limit| start >= limit)
    }

    /// Whether this object is to be removed. One that is removed no longer counts against the limit of bytes.
    pub fn removes(&mut self, object: &RetentionCandidate) -> bool {
        let is_old = self
            .age_limit()
            .is_some_and(|limit| object.window.end() < limit);
        if !(is_old || self.has_too_many_bytes()) || self.is_protected(object) {
            return false;
        }
        self.bytes_left = self.bytes_left.saturating_sub(object.size_bytes);
        true
    }

    fn is_protected(&self, object: &RetentionCandidate) -> bool {
        object.evidence
            || object
                .locked_until_time
                .is_some_and(|until| until > self.now)
            // A camera without a newest object cannot have this one: something is wrong, and nothing is removed then.
            || self
                .newest
                .get(&object.camera_id)
                .is_none_or(|newest| object.window.end() > *newest - NEWEST_KEPT)
            || self
                .others
                .iter()
                .any(|other| other.keeps(object, self.now))
    }

    fn has_too_many_bytes(&self) -> bool {
        self.retention.max_bytes > 0 && self.bytes_left > self.retention.max_bytes
    }

    fn age_limit(&self) -> Option<DateTime<Utc>> {
        self.retention.oldest_kept(self.now)
    }
}

impl Retention {
    /// Footage that ends before this moment is removed for its age; `None`: age does not matter.
    pub fn oldest_kept(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        now.checked_sub_signed(TimeDelta::from_std(self.max_age?).ok()?)
    }
}

impl Policy {
    /// Whether this policy wants an object to stay that another one with the same destination sent: it selects the
    /// camera, and either removes nothing or not yet what is so old. One with a limit of bytes promises nothing for a
    /// single object; two such policies would otherwise keep everything for each other.
    fn keeps(&self, object: &RetentionCandidate, now: DateTime<Utc>) -> bool {
        let selects = self.camera_ids.is_empty() || self.camera_ids.contains(&object.camera_id);
        let wants_to_keep = self.retention.is_none_or(|retention| {
            retention.max_bytes == 0
                && retention
                    .oldest_kept(now)
                    .is_none_or(|limit| object.window.end() >= limit)
        });
        // What a policy for evidence alone selects is protected as evidence already.
        selects && !self.evidence_only && wants_to_keep
    }
}

#[cfg(test)]
mod tests;
