//! Attempts that end in ways which no true work can be made to end in from outside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::domain::job::{Notice, Reason};
use crate::domain::source::ImportSpec;
use crate::work::{Attempt, Done, WorkError};

const PATIENCE: Duration = Duration::from_secs(30);

/// What an attempt does.
#[derive(Clone, Copy)]
enum Deed {
    Panic,
    WaitForTheEnd,
    BreakWhenStopped,
}

struct Scripted {
    deed: Deed,
    begun: Arc<Notify>,
}

impl Work for Scripted {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, Result<Done, WorkError>> {
        async move {
            self.begun.notify_one();
            match self.deed {
                Deed::Panic => panic!("a fault in the work, made by a test"),
                Deed::WaitForTheEnd => {
                    attempt.cancel.cancelled().await;
                    Err(WorkError::Stopped)
                }
                Deed::BreakWhenStopped => {
                    attempt.cancel.cancelled().await;
                    let broken = Notice::new(Reason::FfmpegFailed, "killed by a signal");
                    Err(WorkError::Retry(broken))
                }
            }
        }
        .boxed()
    }
}

fn import() -> Submission {
    Submission {
        job_id: None,
        spec: JobSpec::Import(ImportSpec {
            source_id: "recordings".to_owned(),
        }),
        priority: PRIORITY_INTERACTIVE,
        created_by: String::new(),
        labels: BTreeMap::new(),
        retry_of: String::new(),
        request: None,
    }
}

impl Jobs {
    /// The job as the database has it.
    async fn stored(&self, id: &str) -> Job {
        self.shared.store.job(id).await.unwrap().unwrap()
    }
}

/// A database with one job, and a runner whose work does as told.
struct Stage {
    store: Store,
    jobs: Jobs,
    job: Arc<Job>,
    begun: Arc<Notify>,
    running: JoinHandle<()>,
    _folder: TempDir,
}

impl Stage {
    async fn of(deed: Deed, deadline: Option<Duration>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/test.db", folder.path().display());
        let store = Store::open(&url).await.unwrap();
        let jobs = Jobs::new(store.clone(), JobSettings::default());
        let begun = Arc::new(Notify::new());
        let work = Scripted {
            deed,
            begun: Arc::clone(&begun),
        };
        let limits = KindLimits {
            // One for the first job, one that the runner holds while it looks for another, and a free one.
            at_once: 3,
            deadline,
        };
        let registry = Registry::default().with(JobKind::Import, limits, work);
        let runner = Runner::new(&jobs, registry);
        let running = tokio::spawn(runner.run(Duration::ZERO));
        let job = jobs.submit(import()).await.unwrap();
        Self {
            store,
            jobs,
            job,
            begun,
            running,
            _folder: folder,
        }
    }

    async fn begun(&self) {
        tokio::time::timeout(PATIENCE, self.begun.notified())
            .await
            .expect("the work begins");
    }

    /// The first state of the job that `holds`.
    async fn becomes(&self, holds: impl Fn(&Job) -> bool) -> Arc<Job> {
        let mut watch = self.jobs.watch(&self.job.id, 0).await.unwrap();
        let seen = async {
            loop {
                match watch.next().await.unwrap() {
                    Some(JobChange::Job(job)) if holds(&job) => return job,
                    Some(_) => {}
                    None => panic!("the job ended otherwise"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, seen)
            .await
            .expect("the state comes")
    }

    /// Shuts down; the job as it is then.
    async fn shut_down(self) -> Job {
        self.jobs.drain();
        self.running.await.unwrap();
        let job = self.store.job(&self.job.id).await.unwrap().unwrap();
        self.store.close().await;
        job
    }
}

#[tokio::test]
async fn work_that_panics_costs_an_attempt_and_is_tried_again_after_a_wait() {
    let stage = Stage::of(Deed::Panic, None).await;
    let waiting = stage.becomes(|job| job.next_attempt_time.is_some()).await;
    assert_eq!((waiting.state, waiting.attempt), (JobState::Queued, 1));
    let wait = waiting.next_attempt_time.unwrap() - waiting.update_time;
    assert!(
        wait >= TimeDelta::milliseconds(1_900) && wait <= TimeDelta::seconds(4),
        "{wait}"
    );
    stage.shut_down().await;
}

#[tokio::test]
async fn work_that_is_not_done_by_its_deadline_is_stopped_and_its_job_has_failed() {
    let stage = Stage::of(Deed::WaitForTheEnd, Some(Duration::from_millis(50))).await;
    let failed = stage.becomes(|job| job.state.is_terminal()).await;
    assert_eq!((failed.state, failed.attempt), (JobState::Failed, 1));
    assert_eq!(failed.error.as_ref().unwrap().reason, Reason::TimedOut);
    stage.shut_down().await;
}

#[tokio::test]
async fn work_that_breaks_while_a_shutdown_stops_it_costs_no_attempt() {
    let stage = Stage::of(Deed::BreakWhenStopped, None).await;
    stage.begun().await;
    let job = stage.shut_down().await;
    assert_eq!((job.state, job.attempt), (JobState::Queued, 0));
    assert_eq!(job.next_attempt_time, None);
}

#[tokio::test]
async fn a_job_that_runs_here_is_not_taken_for_that_of_a_dead_process() {
    let stage = Stage::of(Deed::WaitForTheEnd, None).await;
    stage.begun().await;
    let runner = Runner::new(&stage.jobs, Registry::default());
    runner.take_over_from(stage.jobs.owner()).await.unwrap();
    let job = stage.jobs.get(&stage.job.id).await.unwrap();
    assert_eq!((job.state, job.attempt), (JobState::Running, 1));
    stage.jobs.cancel(&job.id).await.unwrap();
    stage.becomes(|job| job.state == JobState::Cancelled).await;
    stage.shut_down().await;
}

#[tokio::test]
async fn a_job_that_finds_a_place_is_claimed_while_it_is_let_in_and_seen_to_wait_and_then_to_run() {
    let stage = Stage::of(Deed::WaitForTheEnd, None).await;
    stage.begun().await;
    let mut changes = stage.jobs.shared.hub.changes();
    let second = stage.jobs.submit(import()).await.unwrap();
    assert_eq!(second.state, JobState::Queued);
    let stored = stage.store.job(&second.id).await.unwrap().unwrap();
    assert_eq!(stored.state, JobState::Running);
    let seen = async {
        let mut states = Vec::new();
        while states.last() != Some(&JobState::Running) {
            let job = changes.recv().await.unwrap();
            if job.id == second.id {
                states.push(job.state);
            }
        }
        states
    };
    let states = tokio::time::timeout(PATIENCE, seen).await.expect("it runs");
    assert_eq!(states, [JobState::Queued, JobState::Running]);
    stage.begun().await;
    stage.shut_down().await;
}

/// Jobs with a place for an import, and no runner that would run it.
async fn without_a_runner(folder: &TempDir) -> (Jobs, Runner) {
    let url = format!("sqlite://{}/test.db", folder.path().display());
    let jobs = Jobs::new(Store::open(&url).await.unwrap(), JobSettings::default());
    let work = Scripted {
        deed: Deed::WaitForTheEnd,
        begun: Arc::default(),
    };
    let limits = KindLimits {
        at_once: 1,
        deadline: None,
    };
    let registry = Registry::default().with(JobKind::Import, limits, work);
    // As the runner does when it begins.
    jobs.shared.claims.open(&registry);
    let runner = Runner::new(&jobs, registry);
    (jobs, runner)
}

#[tokio::test]
async fn a_job_that_was_claimed_while_it_was_let_in_can_be_stopped_and_is_not_abandoned_before_it_runs()
 {
    let folder = tempfile::tempdir().unwrap();
    let (jobs, runner) = without_a_runner(&folder).await;
    let job = jobs.submit(import()).await.unwrap();
    runner.take_over_from(jobs.owner()).await.unwrap();
    runner.give_back_unheard().await.unwrap();
    let stored = jobs.stored(&job.id).await;
    assert_eq!((stored.state, stored.attempt), (JobState::Running, 1));
    jobs.cancel(&job.id).await.unwrap();
    let claimed = jobs.shared.claims.take();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].job.id, job.id);
    assert!(claimed[0].stop.is_cancelled());
}

#[tokio::test]
async fn a_claim_of_which_this_process_never_heard_is_given_back_and_costs_no_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let (jobs, runner) = without_a_runner(&folder).await;
    let shared = &jobs.shared;
    let news = [jobs.new_job(import()).unwrap()];
    let place = |_| Some(());
    let admitted = shared
        .store
        .admit_jobs(&news, 100, jobs.owner(), place, clock::now());
    // As when the answer to the commit is lost.
    let lost = admitted.await.unwrap().claimed;
    assert_eq!(lost.len(), 1);
    let leave = shared.claims.leave(&shared.draining).expect("leave");
    runner.give_back_unheard().await.unwrap();
    let stored = jobs.stored(&lost[0].0.id).await;
    // Whoever has leave may be about to tell of it.
    assert_eq!(stored.state, JobState::Running);
    drop(leave);
    runner.give_back_unheard().await.unwrap();
    let stored = jobs.stored(&stored.id).await;
    assert_eq!((stored.state, stored.attempt), (JobState::Queued, 0));
}

#[tokio::test]
async fn an_attempt_whose_end_could_not_be_written_is_not_taken_for_one_that_never_began() {
    let folder = tempfile::tempdir().unwrap();
    let (jobs, runner) = without_a_runner(&folder).await;
    let job = jobs.submit(import()).await.unwrap();
    let hub = &jobs.shared.hub;
    hub.set_stopped(&job.id, 1, false);
    runner.give_back_unheard().await.unwrap();
    assert_eq!(jobs.stored(&job.id).await.state, JobState::Running);
    // It is a lost attempt, like that of a dead process.
    runner.take_over_from(jobs.owner()).await.unwrap();
    let stored = jobs.stored(&job.id).await;
    assert_eq!((stored.state, stored.attempt), (JobState::Queued, 1));
    assert!(hub.has_heard_of(&job.id, 1));
    runner.give_back_unheard().await.unwrap();
    assert!(!hub.has_heard_of(&job.id, 1), "it is over for everybody");
}

#[tokio::test]
async fn an_attempt_that_ends_late_takes_nothing_from_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let (jobs, _runner) = without_a_runner(&folder).await;
    let hub = &jobs.shared.hub;
    let job = jobs.submit(import()).await.unwrap();
    let first = jobs.stored(&job.id).await;
    let next = Job {
        epoch: 2,
        ..first.clone()
    };
    let stop = CancellationToken::new();
    hub.set_running(Arc::new(next), stop.clone());
    hub.set_stopped(&job.id, 1, true);
    assert!(hub.is_running(&job.id, 2));
    hub.stop_running(&job.id);
    assert!(stop.is_cancelled());
}

#[tokio::test]
async fn calls_that_come_together_are_answered_each_for_itself() {
    let stage = Stage::of(Deed::WaitForTheEnd, None).await;
    let ask = |number: usize| {
        let jobs = stage.jobs.clone();
        let submission = Submission {
            job_id: Some(format!("job_{number}")),
            spec: stage.job.spec.clone(),
            priority: PRIORITY_INTERACTIVE,
            created_by: format!("caller {}", number % 3),
            labels: BTreeMap::new(),
            retry_of: String::new(),
            // Each request comes twice.
            request: Some(RequestKey {
                request_id: format!("request {}", number / 2),
                digest: "the same".to_owned(),
            }),
        };
        tokio::spawn(async move { jobs.submit(submission).await })
    };
    let calls: Vec<_> = (0..200).map(ask).collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().unwrap());
    }
    for (number, pair) in answers.chunks(2).enumerate() {
        assert_eq!(pair[0].id, pair[1].id, "a request made two jobs");
        assert_eq!(pair[0].request_id, format!("request {number}"));
        let stored = stage.store.job(&pair[0].id).await.unwrap();
        assert_eq!(stored.unwrap().request_id, pair[0].request_id);
    }
    let taken = Submission {
        job_id: Some(answers[0].id.clone()),
        ..import()
    };
    let refused = stage.jobs.submit(taken).await;
    assert!(matches!(refused, Err(JobsError::IdTaken(_))), "{refused:?}");
    stage.shut_down().await;
}

#[tokio::test]
async fn what_is_asked_for_while_the_process_shuts_down_is_refused() {
    let stage = Stage::of(Deed::WaitForTheEnd, None).await;
    stage.begun().await;
    stage.jobs.drain();
    let refused = stage.jobs.submit(import()).await;
    assert!(matches!(refused, Err(JobsError::Draining)), "{refused:?}");
    stage.shut_down().await;
}

#[tokio::test]
async fn who_waits_for_a_job_that_ended_after_it_was_read_hears_of_the_end() {
    let stage = Stage::of(Deed::WaitForTheEnd, Some(Duration::from_millis(50))).await;
    stage.becomes(|job| job.state.is_terminal()).await;
    // As a call has it that read the job a moment before its end.
    let read_before = Arc::clone(&stage.job);
    assert!(!read_before.state.is_terminal());
    let waited = tokio::time::timeout(PATIENCE, stage.jobs.wait(read_before, 2 * PATIENCE));
    let ended = waited.await.expect("the wait ends").unwrap();
    assert_eq!(ended.state, JobState::Failed);
    stage.shut_down().await;
}

#[tokio::test]
async fn who_waits_is_given_the_job_when_the_database_goes_away() {
    let stage = Stage::of(Deed::WaitForTheEnd, None).await;
    stage.begun().await;
    stage.store.close().await;
    let waited = stage
        .jobs
        .wait(Arc::clone(&stage.job), Duration::from_millis(50));
    let job = waited.await.expect("the job is written");
    assert_eq!(job.id, stage.job.id);
    stage.running.abort();
}

#[tokio::test]
async fn a_job_whose_transaction_was_committed_without_an_answer_is_found_and_not_refused() {
    let stage = Stage::of(Deed::WaitForTheEnd, None).await;
    let new = stage.jobs.new_job(import()).unwrap();
    let written = stage.store.insert_job(&new, 100, clock::now()).await;
    assert!(matches!(written, Ok(InsertedJob::New(_))), "{written:?}");
    let shared = &stage.jobs.shared;
    let again = admission::write_again(shared, &new, true).await.unwrap();
    assert!(
        matches!(&again, InsertedJob::Existing(job) if job.id == new.id),
        "{again:?}"
    );
    // An id that a caller chose may be another job's.
    let again = admission::write_again(shared, &new, false).await.unwrap();
    assert!(matches!(again, InsertedJob::IdTaken), "{again:?}");
    stage.shut_down().await;
}

/// A runner that does no work itself, beside the one of `stage`, on the same database.
fn onlooker(stage: &Stage) -> (Jobs, JoinHandle<()>) {
    let jobs = Jobs::new(stage.store.clone(), JobSettings::default());
    let runner = Runner::new(&jobs, Registry::default());
    (jobs, tokio::spawn(runner.run(Duration::ZERO)))
}

#[tokio::test]
async fn who_watches_hears_of_an_end_that_no_look_at_changes_can_find() {
    let stage = Stage::of(Deed::WaitForTheEnd, None).await;
    stage.begun().await;
    let (jobs, running) = onlooker(&stage);
    let mut one = jobs.watch(&stage.job.id, 0).await.unwrap();
    let (_alerts, alerts) = tokio::sync::watch::channel(Default::default());
    let mut all = jobs.watch_all(JobFilter::default(), alerts).await.unwrap();
    let shown = all.next().await.unwrap();
    assert!(matches!(shown, JobChange::Job(job) if job.id == stage.job.id));
    stage.jobs.cancel(&stage.job.id).await.unwrap();
    stage.becomes(|job| job.state == JobState::Cancelled).await;
    // As when the clock of the database was set back, and as when a worker that was cut off told states that nobody wrote.
    let long_ago = clock::now() - TimeDelta::hours(1);
    let changed = stage.store.set_change(&stage.job.id, 1, long_ago).await;
    assert_eq!(changed.unwrap(), 1);
    let told_of_one = async {
        while let Some(change) = one.next().await.unwrap() {
            if let JobChange::Job(job) = change
                && job.state.is_terminal()
            {
                break;
            }
        }
    };
    let told_of_all = async {
        while !matches!(all.next().await.unwrap(), JobChange::Job(job) if job.state.is_terminal()) {
        }
    };
    let told = async { tokio::join!(told_of_one, told_of_all) };
    tokio::time::timeout(PATIENCE, told)
        .await
        .expect("the end is told");
    jobs.drain();
    running.await.unwrap();
    stage.shut_down().await;
}
