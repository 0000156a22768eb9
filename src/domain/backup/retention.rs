//! Retention: which objects a policy removes from its destination.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::object::BackupObject;
use super::policy::Policy;
use crate::domain::camera::CameraId;

/// What is kept of each camera whatever the limits say, so that a wrong clock cannot empty a destination.
pub const ALWAYS_KEPT: TimeDelta = TimeDelta::days(1);

/// The rule by which a policy's objects are removed at the end of a run.
#[derive(Clone, Debug)]
pub struct RetentionRule<'a> {
    policy: &'a Policy,
    others: &'a [Policy],
    newest: &'a BTreeMap<CameraId, DateTime<Utc>>,
    now: DateTime<Utc>,
}

impl<'a> RetentionRule<'a> {
    /// The rule of `policy`. `others` are policies with the same destination (the policy itself does not count among
    /// them), `newest` is the end of the newest footage of each camera there.
    pub fn new(
        policy: &'a Policy,
        others: &'a [Policy],
        newest: &'a BTreeMap<CameraId, DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            policy,
            others,
            newest,
            now,
        }
    }

    /// Whether an object that the policy sent goes. `stored_bytes` are the bytes of all that the policy sent and that is
    /// still there. Objects are to be asked for oldest first.
    pub fn removes(&self, object: &BackupObject, stored_bytes: u64) -> bool {
        let Some(retention) = self.policy.retention else {
            return false;
        };
        let is_too_much = retention.max_bytes > 0 && stored_bytes > retention.max_bytes;
        let is_too_old = retention
            .max_age
            .and_then(|age| self.cutoff(age))
            .is_some_and(|cutoff| object.window.end() <= cutoff);
        (is_too_much || is_too_old) && !self.is_protected(object)
    }

    /// Whether an object stays whatever the policy's limits say.
    pub fn is_protected(&self, object: &BackupObject) -> bool {
        let is_newest_day = self
            .newest
            .get(&object.camera_id)
            .is_none_or(|newest| object.window.end() > *newest - ALWAYS_KEPT);
        object.evidence
            || object
                .locked_until_time
                .is_some_and(|until| until > self.now)
            || is_newest_day
            || self
                .others
                .iter()
                .any(|other| other.id != self.policy.id && self.is_kept_by(other, object))
    }

    /// Whether another policy keeps the object: it would have sent it, and its age limit does not remove it yet. A
    /// limit of bytes promises nothing for a single object.
    fn is_kept_by(&self, other: &Policy, object: &BackupObject) -> bool {
        let is_selected = other.destination_id == object.destination_id
            && !other.evidence_only
            && (other.camera_ids.is_empty() || other.camera_ids.contains(&object.camera_id));
        let is_within_limits = match other.retention {
            None => true,
            Some(retention) if retention.max_bytes > 0 => false,
            Some(retention) => retention
                .max_age
                .and_then(|age| self.cutoff(age))
                .is_none_or(|cutoff| object.window.end() > cutoff),
        };
        is_selected && is_within_limits
    }

    /// The moment at or before which footage is older than `age`; `None` when no footage can be.
    fn cutoff(&self, age: std::time::Duration) -> Option<DateTime<Utc>> {
        self.now.checked_sub_signed(TimeDelta::from_std(age).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::backup::object::{BackupCheck, ObjectState};
    use crate::domain::backup::policy::{PolicyStatus, Retention, Schedule};
    use crate::domain::time::TimeRange;

    fn day(day: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + day * 86_400, 0).unwrap()
    }

    fn gate() -> CameraId {
        CameraId::parse("gate").unwrap()
    }

    fn policy(id: &str, retention: Option<Retention>) -> Policy {
        Policy {
            id: id.to_owned(),
            display_name: String::new(),
            destination_id: "bkd_nas".to_owned(),
            enabled: true,
            schedule: Schedule::Interval(Duration::from_secs(60)),
            lookback: None,
            camera_ids: Vec::new(),
            evidence_only: false,
            transfer_hours: None,
            bandwidth_limit_bytes_per_second: 0,
            check: BackupCheck::Hash,
            retention,
            run_timeout: None,
            labels: BTreeMap::new(),
            create_time: day(0),
            update_time: day(0),
            revision: 1,
            status: PolicyStatus::default(),
        }
    }

    fn days(count: u64) -> Option<Retention> {
        Some(Retention {
            max_age: Some(Duration::from_secs(count * 86_400)),
            max_bytes: 0,
        })
    }

    fn bytes(max_bytes: u64) -> Option<Retention> {
        Some(Retention {
            max_age: None,
            max_bytes,
        })
    }

    /// An object whose footage ends at the beginning of a day.
    fn object(end_day: i64) -> BackupObject {
        BackupObject {
            destination_id: "bkd_nas".to_owned(),
            segment_id: "seg_1".to_owned(),
            camera_id: gate(),
            window: TimeRange::new(day(end_day) - TimeDelta::seconds(10), day(end_day)).unwrap(),
            remote_path: "gate/1.mp4".to_owned(),
            size_bytes: 10,
            sha256: String::new(),
            state: ObjectState::Present,
            check: BackupCheck::Hash,
            check_time: day(end_day),
            create_time: day(end_day),
            job_id: "bkj_1".to_owned(),
            source_modified_time: day(end_day),
            evidence: false,
            locked_until_time: None,
        }
    }

    fn removes(policy: &Policy, others: &[Policy], object: &BackupObject, stored: u64) -> bool {
        let newest = BTreeMap::from([(gate(), day(100))]);
        RetentionRule::new(policy, others, &newest, day(100)).removes(object, stored)
    }

    #[test]
    fn age_and_bytes_each_suffice_and_without_a_limit_nothing_goes() {
        let monthly = policy("bkp_a", days(30));
        assert!(removes(&monthly, &[], &object(70), 0));
        assert!(!removes(&monthly, &[], &object(71), u64::MAX));
        let small = policy("bkp_a", bytes(100));
        assert!(removes(&small, &[], &object(98), 101));
        assert!(!removes(&small, &[], &object(98), 100));
        assert!(!removes(&policy("bkp_a", None), &[], &object(1), u64::MAX));
    }

    #[test]
    fn evidence_locks_and_the_newest_day_of_a_camera_stay_whatever_the_limits_say() {
        let small = policy("bkp_a", bytes(1));
        let old = object(50);
        assert!(removes(&small, &[], &old, 100));
        let evidence = BackupObject {
            evidence: true,
            ..old.clone()
        };
        assert!(!removes(&small, &[], &evidence, 100));
        let locked = |until| BackupObject {
            locked_until_time: Some(until),
            ..old.clone()
        };
        assert!(!removes(&small, &[], &locked(day(101)), 100));
        assert!(removes(&small, &[], &locked(day(100)), 100));
        assert!(!removes(&small, &[], &object(100), 100));
        assert!(removes(&small, &[], &object(99), 100));
        let of_unknown_camera = BackupObject {
            camera_id: CameraId::parse("other").unwrap(),
            ..old
        };
        assert!(!removes(&small, &[], &of_unknown_camera, 100));
    }

    #[test]
    fn what_another_policy_still_keeps_stays() {
        let weekly = policy("bkp_a", days(7));
        let old = object(50);
        let keeps_all = policy("bkp_b", None);
        assert!(!removes(&weekly, std::slice::from_ref(&keeps_all), &old, 0));
        assert!(!removes(&weekly, &[policy("bkp_b", days(90))], &old, 0));
        assert!(removes(&weekly, &[policy("bkp_b", days(30))], &old, 0));
        assert!(removes(&weekly, &[policy("bkp_b", bytes(1))], &old, 0));
        let of_other_camera = Policy {
            camera_ids: vec![CameraId::parse("other").unwrap()],
            ..keeps_all.clone()
        };
        let at_other_destination = Policy {
            destination_id: "bkd_other".to_owned(),
            ..keeps_all.clone()
        };
        let of_evidence = Policy {
            evidence_only: true,
            ..keeps_all
        };
        assert!(removes(
            &weekly,
            &[
                of_other_camera,
                at_other_destination,
                of_evidence,
                weekly.clone()
            ],
            &old,
            0
        ));
    }
}
