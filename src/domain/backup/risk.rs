//! Footage that its recorder is about to delete before it was sent.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::domain::camera::CameraId;

/// How far recorders have deleted: for each camera the end of the newest segment whose file is gone. A camera whose
/// recorder deletes nothing is not in it.
pub type Frontier = BTreeMap<CameraId, DateTime<Utc>>;

/// Of segments that are not sent, given by camera and the end of their footage at `now`: how many will be gone when the
/// next run ends at `next_run_end`.
///
/// A recorder that deletes keeps about as much as it records, so its frontier moves by a second each second.
pub fn at_risk<'a>(
    unsent: impl IntoIterator<Item = (&'a CameraId, DateTime<Utc>)>,
    frontier: &Frontier,
    now: DateTime<Utc>,
    next_run_end: DateTime<Utc>,
) -> u64 {
    let moves = (next_run_end - now).max(chrono::TimeDelta::zero());
    let is_at_risk = |(camera_id, end): &(&CameraId, DateTime<Utc>)| {
        frontier
            .get(*camera_id)
            .is_some_and(|deleted_to| *end <= *deleted_to + moves)
    };
    unsent.into_iter().filter(is_at_risk).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn moment(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn camera(name: &str) -> CameraId {
        CameraId::parse(name).unwrap()
    }

    /// Segments of ten seconds that end at 10, 20, … 100; the recorder has deleted up to 20 at the moment 1000.
    fn at_risk_when_the_run_ends_at(next_run_end: i64) -> u64 {
        let gate = camera("gate");
        let frontier = Frontier::from([(gate.clone(), moment(20))]);
        let unsent = (1..=10).map(|number| (&gate, moment(number * 10)));
        at_risk(unsent, &frontier, moment(1000), moment(next_run_end))
    }

    #[test]
    fn what_the_frontier_passes_before_the_run_ends_is_at_risk() {
        for (next_run_end, count) in [(1000, 2), (1009, 2), (1010, 3), (1050, 7), (9999, 10)] {
            assert_eq!(
                at_risk_when_the_run_ends_at(next_run_end),
                count,
                "{next_run_end}"
            );
        }
    }

    #[test]
    fn a_run_that_ended_in_the_past_moves_no_frontier_back() {
        assert_eq!(at_risk_when_the_run_ends_at(10), 2);
    }

    #[test]
    fn a_recorder_that_deletes_nothing_puts_nothing_at_risk() {
        let (gate, yard) = (camera("gate"), camera("yard"));
        let frontier = Frontier::from([(gate.clone(), moment(20))]);
        let unsent = [(&yard, moment(5)), (&gate, moment(5))];
        assert_eq!(at_risk(unsent, &frontier, moment(0), moment(0)), 1);
        assert_eq!(at_risk(unsent, &Frontier::new(), moment(0), moment(0)), 0);
    }

    proptest! {
        #[test]
        fn a_later_end_of_the_run_never_puts_less_at_risk(one in 0_i64..5000, other in 0_i64..5000) {
            let (sooner, later) = (one.min(other), one.max(other));
            prop_assert!(at_risk_when_the_run_ends_at(sooner) <= at_risk_when_the_run_ends_at(later));
        }
    }
}
