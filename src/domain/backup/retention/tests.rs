use std::time::Duration;

use super::*;
use crate::domain::backup::object::BackupCheck;
use crate::domain::backup::policy::{PolicyStatus, Schedule};
use proptest::prelude::*;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn moment(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn camera(name: &str) -> CameraId {
    CameraId::parse(name).unwrap()
}

/// An hour of footage of 100 bytes.
fn object(camera_id: &str, start: i64) -> RetentionCandidate {
    RetentionCandidate {
        camera_id: camera(camera_id),
        window: TimeRange::new(moment(start), moment(start + HOUR)).unwrap(),
        size_bytes: 100,
        evidence: false,
        locked_until_time: None,
    }
}

fn retention(max_age_days: u64, max_bytes: u64) -> Retention {
    Retention {
        max_age: (max_age_days > 0).then(|| Duration::from_secs(max_age_days * 86_400)),
        max_bytes,
    }
}

fn policy(camera_ids: &[&str], retention: Option<Retention>) -> Policy {
    Policy {
        id: "bkp_b".to_owned(),
        display_name: String::new(),
        destination_id: "bkd_a".to_owned(),
        enabled: true,
        schedule: Schedule::Interval(Duration::from_secs(3600)),
        lookback: None,
        camera_ids: camera_ids.iter().map(|id| camera(id)).collect(),
        evidence_only: false,
        transfer_hours: None,
        bandwidth_limit_bytes_per_second: 0,
        check: BackupCheck::Hash,
        retention,
        run_timeout: None,
        labels: BTreeMap::new(),
        create_time: moment(0),
        update_time: moment(0),
        revision: 1,
        status: PolicyStatus::default(),
    }
}

/// The hours since the epoch at which the removed objects begin.
fn removed(
    retention: Retention,
    objects: &[RetentionCandidate],
    others: &[Policy],
    now: i64,
) -> Vec<i64> {
    let mut newest = BTreeMap::new();
    for object in objects {
        let end = newest.entry(object.camera_id.clone()).or_insert(moment(0));
        *end = object.window.end().max(*end);
    }
    let total_bytes = objects.iter().map(|object| object.size_bytes).sum();
    let mut sweep = Sweep::new(retention, total_bytes, &newest, others, moment(now));
    let mut gone = Vec::new();
    for object in objects {
        let is_over = sweep.is_over_at(object.window.start());
        if sweep.removes(object) {
            assert!(!is_over, "the sweep was over too early");
            gone.push(object.window.start().timestamp() / HOUR);
        }
    }
    gone
}

/// `count` objects of a camera, one after the other.
fn hours(camera_id: &str, count: i64) -> Vec<RetentionCandidate> {
    (0..count)
        .map(|hour| object(camera_id, hour * HOUR))
        .collect()
}

#[test]
fn what_is_older_than_the_limit_goes_and_nothing_else() {
    let objects = hours("gate", 100);
    // The first ends at 1 h, so at 49 h it is exactly 48 h old.
    assert_eq!(
        removed(retention(2, 0), &objects, &[], 49 * HOUR),
        [0_i64; 0]
    );
    assert_eq!(removed(retention(2, 0), &objects, &[], 49 * HOUR + 1), [0]);
    assert_eq!(
        removed(retention(2, 0), &objects, &[], 52 * HOUR + 1),
        [0, 1, 2, 3]
    );
}

#[test]
fn the_oldest_go_until_no_more_than_the_limit_of_bytes_is_left() {
    let objects = hours("gate", 40);
    assert_eq!(removed(retention(0, 4000), &objects, &[], 0), [0_i64; 0]);
    assert_eq!(removed(retention(0, 3801), &objects, &[], 0), [0, 1]);
    assert_eq!(removed(retention(0, 3800), &objects, &[], 0), [0, 1]);
}

#[test]
fn either_limit_is_enough() {
    let objects = hours("gate", 40);
    assert_eq!(
        removed(retention(1, 3800), &objects, &[], 30 * HOUR),
        [0, 1, 2, 3, 4]
    );
    assert_eq!(removed(retention(1, 3800), &objects, &[], HOUR), [0, 1]);
}

#[test]
fn evidence_and_locked_objects_stay_and_younger_ones_go_in_their_place() {
    let mut objects = hours("gate", 40);
    objects[0].evidence = true;
    objects[1].locked_until_time = Some(moment(100 * HOUR + 1));
    objects[2].locked_until_time = Some(moment(100 * HOUR));
    assert_eq!(
        removed(retention(0, 3800), &objects, &[], 100 * HOUR),
        [2, 3]
    );
    assert_eq!(
        removed(retention(1, 0), &objects, &[], 100 * HOUR),
        (2..16).collect::<Vec<_>>()
    );
}

#[test]
fn a_clock_that_is_years_ahead_leaves_the_newest_day_of_each_camera() {
    let mut objects = hours("gate", 100);
    objects.extend(hours("yard", 10));
    objects.sort_by_key(|object| object.window.start());
    let gone = removed(retention(2, 1), &objects, &[], 10_000 * DAY);
    assert_eq!(gone, (0..76).collect::<Vec<_>>());
}

#[test]
fn what_another_policy_still_keeps_stays() {
    let objects = hours("gate", 100);
    let now = 60 * HOUR + 1;
    let gone = |other: Policy| removed(retention(2, 0), &objects, &[other], now).len();
    let twelve = 12;
    assert_eq!(removed(retention(2, 0), &objects, &[], now).len(), twelve);
    assert_eq!(gone(policy(&[], None)), 0);
    assert_eq!(gone(policy(&["gate"], None)), 0);
    assert_eq!(gone(policy(&["yard"], None)), twelve);
    assert_eq!(gone(policy(&[], Some(retention(30, 0)))), 0);
    assert_eq!(gone(policy(&[], Some(retention(1, 0)))), twelve);
    assert_eq!(gone(policy(&[], Some(retention(0, 1_000_000)))), twelve);
    assert_eq!(gone(policy(&[], Some(retention(30, 1_000_000)))), twelve);
    let evidence_only = Policy {
        evidence_only: true,
        ..policy(&[], None)
    };
    assert_eq!(gone(evidence_only), twelve);
}

#[test]
fn a_run_looks_at_nothing_that_retention_would_remove_again() {
    let days = |days: u64| Some(Duration::from_secs(days * 86_400));
    let start = |lookback, kept: Option<Retention>| {
        let policy = Policy {
            lookback,
            ..policy(&["gate"], kept)
        };
        policy.selection(moment(100 * DAY)).start
    };
    assert_eq!(start(None, None), None);
    assert_eq!(start(days(7), None), Some(moment(93 * DAY)));
    assert_eq!(start(None, Some(retention(30, 0))), Some(moment(70 * DAY)));
    assert_eq!(
        start(days(7), Some(retention(30, 0))),
        Some(moment(93 * DAY))
    );
    assert_eq!(
        start(days(60), Some(retention(30, 0))),
        Some(moment(70 * DAY))
    );
    assert_eq!(start(None, Some(retention(0, 5))), None);
    assert_eq!(start(Some(Duration::MAX), None), None);
}

#[test]
fn an_object_of_a_camera_whose_newest_is_not_known_stays() {
    let newest = BTreeMap::new();
    let mut sweep = Sweep::new(retention(1, 1), 100, &newest, &[], moment(10_000 * DAY));
    assert!(!sweep.removes(&object("gate", 0)));
}

proptest! {
    #[test]
    fn nothing_that_must_stay_is_ever_removed(
        drawn in prop::collection::vec((0_u8..3, 0_i64..2000, 1_u64..1000, any::<bool>(), prop::option::of(0_i64..4000)), 1..80),
        max_age_days in 0_u64..60,
        max_bytes in 0_u64..20_000,
        now in 0_i64..100_000,
    ) {
        let mut objects: Vec<_> = drawn
            .into_iter()
            .map(|(name, start, size_bytes, evidence, locked)| RetentionCandidate {
                size_bytes,
                evidence,
                locked_until_time: locked.map(|hour| moment(hour * HOUR)),
                ..object(["a", "b", "c"][usize::from(name)], start * HOUR)
            })
            .collect();
        objects.sort_by_key(|object| object.window.start());
        let now = now * HOUR;
        let mut newest = BTreeMap::new();
        for object in &objects {
            newest.insert(object.camera_id.clone(), object.window.end());
        }
        let total: u64 = objects.iter().map(|object| object.size_bytes).sum();
        let retention = retention(max_age_days, max_bytes);
        let mut sweep = Sweep::new(retention, total, &newest, &[], moment(now));
        let mut left = total;
        for object in &objects {
            if sweep.removes(object) {
                left -= object.size_bytes;
                prop_assert!(!object.evidence);
                prop_assert!(object.locked_until_time.is_none_or(|until| until <= moment(now)));
                prop_assert!(object.window.end() <= newest[&object.camera_id] - TimeDelta::days(1));
                prop_assert!(max_age_days > 0 || max_bytes > 0);
            } else if max_bytes > 0 && left > max_bytes {
                // With too many bytes left only what is protected stays.
                prop_assert!(
                    object.evidence
                        || object.locked_until_time.is_some_and(|until| until > moment(now))
                        || object.window.end() > newest[&object.camera_id] - TimeDelta::days(1)
                );
            }
        }
    }
}
