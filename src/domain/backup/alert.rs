//! What somebody has to look at: overdue policies, paused destinations, and footage that is about to be lost.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::destination::Destination;
use super::policy::Policy;
use super::schedule::{OVERDUE_GRACE, overdue_since};

/// All alerts that are present at a moment, in order.
pub type PresentAlerts = Arc<[Alert]>;

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertKind {
    /// A policy that is enabled owes a run.
    PolicyOverdue,
    /// A destination that is enabled waits for somebody to look at it.
    DestinationPaused,
    /// Footage will be deleted by its recorder before its policy sends it.
    FootageAtRisk,
}

impl AlertKind {
    /// The kind's name in logs and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PolicyOverdue => "POLICY_OVERDUE",
            Self::DestinationPaused => "DESTINATION_PAUSED",
            Self::FootageAtRisk => "FOOTAGE_AT_RISK",
        }
    }
}

/// One thing that somebody has to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alert {
    /// What it is about.
    pub kind: AlertKind,
    /// The policy; empty for a paused destination.
    pub policy_id: String,
    /// The destination, of the policy or itself.
    pub destination_id: String,
    /// Since when it is so, or since when it is known for footage at risk.
    pub since: DateTime<Utc>,
    /// The same for people, without secrets.
    pub message: String,
}

/// How the present alerts changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertChange {
    /// It was not there before.
    Raised(Alert),
    /// It was there, with another message.
    Updated(Alert),
    /// It is there no longer.
    Cleared(Alert),
}

impl Alert {
    /// That a policy owes a run at `now`. `is_scheduled`: whether this server starts runs by itself.
    pub fn overdue(
        policy: &Policy,
        destination: Option<&Destination>,
        is_scheduled: bool,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        if !policy.enabled {
            return None;
        }
        let since = overdue_since(policy, now, OVERDUE_GRACE)?;
        let is_disabled = destination.is_some_and(|destination| !destination.enabled);
        let pause = destination.and_then(|destination| destination.status.pause.as_ref());
        let why = if !is_scheduled {
            "runs start only by hand, because the scheduler is off (HELDAR_BACKUP_ENABLED)"
                .to_owned()
        } else if is_disabled {
            "its destination is disabled".to_owned()
        } else if let Some(pause) = pause {
            format!("its destination is paused: {}", pause.message)
        } else if policy.status.overdue_since_time.is_some() {
            "a run did not send everything".to_owned()
        } else {
            "its run has not begun".to_owned()
        };
        Some(Self {
            kind: AlertKind::PolicyOverdue,
            policy_id: policy.id.clone(),
            destination_id: policy.destination_id.clone(),
            since,
            message: format!("policy {} is overdue: {why}", name(policy)),
        })
    }

    /// That a destination is paused. One that is disabled was looked at by somebody.
    pub fn paused(destination: &Destination) -> Option<Self> {
        let pause = destination.status.pause.as_ref()?;
        destination.enabled.then(|| Self {
            kind: AlertKind::DestinationPaused,
            policy_id: String::new(),
            destination_id: destination.id.clone(),
            since: pause.start_time,
            message: format!(
                "destination {:?} is paused: {}",
                destination.display_name, pause.message
            ),
        })
    }

    /// That a recorder will delete so many segments before the policy has sent them.
    pub fn at_risk(policy: &Policy, files: u64, since: DateTime<Utc>) -> Self {
        let segments = if files == 1 { "segment" } else { "segments" };
        Self {
            kind: AlertKind::FootageAtRisk,
            policy_id: policy.id.clone(),
            destination_id: policy.destination_id.clone(),
            since,
            message: format!(
                "{files} {segments} of policy {} will be deleted by their recorder before the next run sends them",
                name(policy)
            ),
        }
    }

    /// Whether both say the same of the same thing; what the message says may have changed.
    fn is_same(&self, other: &Self) -> bool {
        (self.kind, &self.policy_id, &self.destination_id, self.since)
            == (
                other.kind,
                &other.policy_id,
                &other.destination_id,
                other.since,
            )
    }
}

fn name(policy: &Policy) -> String {
    format!("{:?}", policy.display_name)
}

/// What turns the alerts that were `shown` into those that are `present`: what is over first.
pub fn changes(shown: &[Alert], present: &[Alert]) -> Vec<AlertChange> {
    let cleared = shown
        .iter()
        .filter(|alert| !present.iter().any(|other| other.is_same(alert)))
        .map(|alert| AlertChange::Cleared(alert.clone()));
    let there =
        present.iter().filter_map(
            |alert| match shown.iter().find(|other| other.is_same(alert)) {
                None => Some(AlertChange::Raised(alert.clone())),
                Some(before) if before.message != alert.message => {
                    Some(AlertChange::Updated(alert.clone()))
                }
                Some(_) => None,
            },
        );
    cleared.chain(there).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(policy_id: &str, since_s: i64, message: &str) -> Alert {
        Alert {
            kind: AlertKind::PolicyOverdue,
            policy_id: policy_id.to_owned(),
            destination_id: "bkd_1".to_owned(),
            since: DateTime::from_timestamp(since_s, 0).unwrap(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn what_is_over_comes_before_what_is_new_and_what_stays_is_not_told_again() {
        let shown = [alert("a", 1, "x"), alert("b", 1, "x"), alert("c", 1, "x")];
        let present = [alert("b", 1, "x"), alert("c", 1, "y"), alert("d", 1, "x")];
        assert_eq!(
            changes(&shown, &present),
            [
                AlertChange::Cleared(alert("a", 1, "x")),
                AlertChange::Updated(alert("c", 1, "y")),
                AlertChange::Raised(alert("d", 1, "x")),
            ]
        );
        assert_eq!(changes(&present, &present), []);
    }

    #[test]
    fn what_ended_and_began_again_is_another_alert() {
        assert_eq!(
            changes(&[alert("a", 1, "x")], &[alert("a", 2, "x")]),
            [
                AlertChange::Cleared(alert("a", 1, "x")),
                AlertChange::Raised(alert("a", 2, "x")),
            ]
        );
    }
}
