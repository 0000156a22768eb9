//! Writing new jobs: calls that come while one is being written share the next transaction, and with it the one wait for
//! the disk that each of them would have had. Where places are free, so do the claims.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shared;
use super::claims::Claimed;
use crate::clock;
use crate::domain::job::NewJob;
use crate::repository::{AdmittedJobs, InsertedJob, StoreError};

/// Jobs written in one transaction at most, so that no other writer waits long.
const AT_ONCE: usize = 64;

/// New jobs that wait to be written.
#[derive(Default)]
pub(super) struct Admission {
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    waiting: Vec<Candidate>,
    /// Whether a task writes what waits. It looks once more before it ends, under the same lock.
    is_served: bool,
}

struct Candidate {
    new: NewJob,
    /// Whether this process made the id, so that nobody else can have written a job with it.
    is_own_id: bool,
    answer: oneshot::Sender<Result<InsertedJob, StoreError>>,
}

impl Admission {
    fn lock(&self) -> MutexGuard<'_, Line> {
        // Nothing panics while it holds the lock.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_batch(&self) -> Vec<Candidate> {
        let mut line = self.lock();
        let count = line.waiting.len().min(AT_ONCE);
        line.is_served = count > 0;
        line.waiting.drain(..count).collect()
    }
}

/// Writes a job, together with others that come at the same time; `None` when the process ends before that. Dropping the
/// future does not take the job back.
pub(super) async fn admit(
    shared: &Arc<Shared>,
    new: NewJob,
    is_own_id: bool,
) -> Option<Result<InsertedJob, StoreError>> {
    let (answer, answered) = oneshot::channel();
    let is_served = {
        let mut line = shared.admission.lock();
        line.waiting.push(Candidate {
            new,
            is_own_id,
            answer,
        });
        std::mem::replace(&mut line.is_served, true)
    };
    if !is_served {
        // A task of its own: the caller that came first may go away while it writes the jobs of others.
        tokio::spawn(serve(Arc::clone(shared)));
    }
    answered.await.ok()
}

async fn serve(shared: Arc<Shared>) {
    loop {
        let batch = shared.admission.next_batch();
        if batch.is_empty() {
            return;
        }
        write(&shared, batch).await;
    }
}

async fn write(shared: &Shared, batch: Vec<Candidate>) {
    let limit = shared.settings.queue_limit;
    let news: Vec<_> = batch
        .iter()
        .map(|candidate| candidate.new.clone())
        .collect();
    let asked = Instant::now();
    let leave = shared.claims.leave(&shared.draining);
    let place = |kind| leave.as_ref()?.place(kind);
    let admitted = shared
        .store
        .admit_jobs(&news, limit, &shared.owner, place, clock::now())
        .await;
    if admitted.is_err() {
        // The runner may have passed over what waits, for want of the places that were held.
        shared.work_to_do.notify_one();
    }
    match admitted {
        Ok(AdmittedJobs { inserted, claimed }) => {
            // In this order: watchers see a job wait before they see it run, and whoever is answered may cancel it.
            for inserted in &inserted {
                if let InsertedJob::New(job) = inserted {
                    if claimed.iter().any(|(claimed, _)| claimed.id == job.id) {
                        shared.hub.publish(Arc::new(job.clone()));
                    } else {
                        shared.announce(job);
                    }
                }
            }
            let claimed = claimed.into_iter();
            let claimed = claimed.map(|(job, place)| Claimed::new(&shared.hub, job, place, asked));
            let claimed = claimed.collect();
            if let Some(leave) = leave {
                leave.hand_over(claimed);
            }
            for (candidate, inserted) in batch.into_iter().zip(inserted) {
                // Whoever asked may be gone; the job is written all the same.
                let _ = candidate.answer.send(Ok(inserted));
            }
        }
        // What stopped one of them must not stop the others.
        Err(_) if batch.len() > 1 => {
            drop(leave);
            for candidate in batch {
                let inserted = write_again(shared, &candidate.new, candidate.is_own_id).await;
                if let Ok(InsertedJob::New(job)) = &inserted {
                    shared.announce(job);
                }
                let _ = candidate.answer.send(inserted);
            }
        }
        Err(error) => {
            if let Some(candidate) = batch.into_iter().next() {
                let _ = candidate.answer.send(Err(error));
            }
        }
    }
}

/// Writes a job that may be written already: the transaction before may have been committed and only its answer be lost.
pub(super) async fn write_again(
    shared: &Shared,
    new: &NewJob,
    is_own_id: bool,
) -> Result<InsertedJob, StoreError> {
    if is_own_id && let Some(job) = shared.store.job(&new.id).await? {
        return Ok(InsertedJob::Existing(job));
    }
    let limit = shared.settings.queue_limit;
    shared.store.insert_job(new, limit, clock::now()).await
}
