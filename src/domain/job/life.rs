//! The life of a job: its states, what can happen to it, and who makes it happen. `docs/jobs.md` draws it.

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Waits for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// Told to stop; its worker is cleaning up.
    Cancelling,
    /// Ended with a result.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Ended because somebody cancelled it.
    Cancelled,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Cancelling,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The state's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Cancelling => "CANCELLING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The state with this name in the database.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether the job has ended. An ended job never changes again.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// Who makes something happen to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Whoever calls the service.
    Caller,
    /// A server with a free place for this kind of job.
    Runner,
    /// The attempt that the last claim began: the row has its epoch and its owner.
    Worker,
    /// A server that knows that the worker is gone: its lease ran out, or the lock of its data folder was to be had.
    Rescuer,
}

/// What can happen to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// It is taken from the queue.
    Claim,
    /// It is no longer wanted.
    Cancel,
    /// The result is there.
    Succeed,
    /// Another attempt would end the same way.
    Fail,
    /// Its worker has stopped because it was told to.
    Stop,
    /// It failed in a way that another attempt may mend.
    Retry,
    /// Its worker's process gave it back, because it shuts down or had not heard that the job was its own.
    Interrupt,
    /// Its worker is gone without a word.
    Abandon,
}

impl JobEvent {
    /// Every event.
    pub const ALL: [Self; 8] = [
        Self::Claim,
        Self::Cancel,
        Self::Succeed,
        Self::Fail,
        Self::Stop,
        Self::Retry,
        Self::Interrupt,
        Self::Abandon,
    ];

    /// The only one who may make it happen.
    pub fn actor(self) -> Actor {
        match self {
            Self::Claim => Actor::Runner,
            Self::Cancel => Actor::Caller,
            Self::Succeed | Self::Fail | Self::Stop | Self::Retry | Self::Interrupt => {
                Actor::Worker
            }
            Self::Abandon => Actor::Rescuer,
        }
    }
}

/// What of a job decides how it may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Where it stands.
    pub state: JobState,
    /// Number of the present or last attempt; 0 before the first.
    pub attempt: u32,
    /// Attempts allowed in all, at least 1.
    pub max_attempts: u32,
    /// How often it was claimed. A worker's writes hold only while it is the epoch of the worker's claim.
    pub epoch: i64,
}

impl Life {
    /// A job that was just written.
    pub fn new(max_attempts: u32) -> Self {
        Self {
            state: JobState::Queued,
            attempt: 0,
            max_attempts,
            epoch: 0,
        }
    }

    /// How it stands after `event`; `None`: the event cannot happen now, and nothing is to be written.
    ///
    /// A result that is there when the cancel comes is kept: work that is finished is not thrown away. An interruption
    /// by shutdown costs no attempt; dying does, because the job may be why.
    pub fn after(self, event: JobEvent) -> Option<Self> {
        use JobEvent as E;
        use JobState as S;
        let to = |state| Some(Self { state, ..self });
        match (self.state, event) {
            (S::Queued, E::Claim) => Some(Self {
                state: S::Running,
                attempt: self.attempt + 1,
                epoch: self.epoch + 1,
                ..self
            }),
            (S::Queued, E::Cancel) => to(S::Cancelled),
            (S::Running, E::Cancel) | (S::Cancelling, E::Cancel) => to(S::Cancelling),
            (S::Running | S::Cancelling, E::Succeed) => to(S::Succeeded),
            (S::Running, E::Fail) => to(S::Failed),
            (S::Running, E::Retry | E::Abandon) if self.attempt >= self.max_attempts => {
                to(S::Failed)
            }
            (S::Running, E::Retry | E::Abandon) => to(S::Queued),
            (S::Running, E::Interrupt) => Some(Self {
                state: S::Queued,
                attempt: self.attempt.saturating_sub(1),
                ..self
            }),
            (S::Cancelling, E::Stop | E::Fail | E::Retry | E::Interrupt | E::Abandon) => {
                to(S::Cancelled)
            }
            (S::Queued, _) | (S::Running, E::Claim | E::Stop) | (S::Cancelling, E::Claim) => None,
            (S::Succeeded | S::Failed | S::Cancelled, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events() -> impl Strategy<Value = Vec<JobEvent>> {
        prop::collection::vec(prop::sample::select(JobEvent::ALL.to_vec()), 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_happens_a_job_keeps_the_rules(events in events(), max_attempts in 1_u32..5) {
            let mut life = Life::new(max_attempts);
            let mut claims = 0;
            let mut interruptions = 0;
            for event in events {
                let Some(next) = life.after(event) else { continue };
                prop_assert!(!life.state.is_terminal(), "an ended job changed: {life:?} {event:?}");
                claims += i64::from(event == JobEvent::Claim);
                interruptions += u32::from(event == JobEvent::Interrupt && next.state == JobState::Queued);
                prop_assert_eq!(next.epoch, claims, "the epoch counts claims");
                prop_assert!(next.attempt <= next.max_attempts, "{next:?}");
                prop_assert_eq!(
                    i64::from(next.attempt + interruptions), claims,
                    "every claim but an interrupted one costs an attempt"
                );
                prop_assert_eq!(next.max_attempts, life.max_attempts);
                if life.state == JobState::Cancelling {
                    prop_assert!(next.state == JobState::Cancelling || next.state.is_terminal(),
                        "a job told to stop went on: {event:?} {next:?}");
                }
                if next.state == JobState::Queued {
                    prop_assert!(next.attempt < next.max_attempts, "it waits for an attempt that it has not");
                }
                life = next;
            }
        }

        #[test]
        fn only_a_caller_cancels(events in events(), max_attempts in 1_u32..5) {
            let mut life = Life::new(max_attempts);
            for event in events.into_iter().filter(|event| event.actor() != Actor::Caller) {
                life = life.after(event).unwrap_or(life);
                prop_assert!(!matches!(life.state, JobState::Cancelling | JobState::Cancelled));
            }
        }
    }

    #[test]
    fn every_state_can_reach_an_end() {
        for state in JobState::ALL {
            let mut reached = vec![Life {
                state,
                ..Life::new(1)
            }];
            let mut next = 0;
            while next < reached.len() {
                for event in JobEvent::ALL {
                    if let Some(found) = reached[next].after(event)
                        && !reached.iter().any(|life| life.state == found.state)
                    {
                        reached.push(found);
                    }
                }
                next += 1;
            }
            assert!(
                reached.iter().any(|life| life.state.is_terminal()),
                "{state:?}"
            );
        }
    }

    #[test]
    fn names_in_the_database_read_back() {
        for state in JobState::ALL {
            assert_eq!(JobState::parse(state.as_str()), Some(state));
        }
    }

    /// The table of `docs/jobs.md`, a line for each event: what follows when it happens in each of the live states.
    #[test]
    fn the_page_of_states_says_what_the_code_does() {
        let page = include_str!("../../../docs/jobs.md");
        let name = |life: Option<Life>| life.map_or("-", |life| life.state.as_str());
        for event in JobEvent::ALL {
            let within = |state, attempt| {
                let life = Life {
                    state,
                    attempt,
                    max_attempts: 3,
                    epoch: 1,
                };
                name(life.after(event))
            };
            let running = match (within(JobState::Running, 1), within(JobState::Running, 3)) {
                (before, last) if before == last => before.to_owned(),
                (before, last) => format!("{before}; {last} at the last attempt"),
            };
            let actor = format!("{:?}", event.actor()).to_lowercase();
            let line = format!(
                "| {event:?} | {actor} | {} | {running} | {} |",
                within(JobState::Queued, 1),
                within(JobState::Cancelling, 1)
            );
            assert!(page.contains(&line), "docs/jobs.md lacks the line\n{line}");
        }
    }
}
