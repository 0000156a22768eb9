//! The repository over a real database file.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::domain::camera::CameraId;
use crate::domain::catalog::{Container, MediaFacts, NewSegment, Taken, VideoFormat};
use crate::domain::clip::ClipSpec;
use crate::domain::coverage::{GAP_TOLERANCE, gaps};
use crate::domain::job::{
    JobKind, JobResult, JobSpec, JobState, LEASE, NewJob, Notice, Reason, RequestKey,
};
use crate::domain::source::Source;
use crate::domain::time::TimeRange;

struct Database {
    store: Store,
    _folder: TempDir,
}

impl Database {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite://{}/test.db", folder.path().display()))
            .await
            .unwrap();
        let source = Source {
            id: "recordings".to_owned(),
            root: folder.path().to_owned(),
            layout: "heldar".to_owned(),
            zone: "UTC".to_owned(),
            follow: false,
            create_time: at_ms(0),
        };
        store.put_source(&source).await.unwrap();
        Self {
            store,
            _folder: folder,
        }
    }
}

fn at_ms(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_800_000_000_000 + ms).unwrap()
}

fn range(start_ms: i64, end_ms: i64) -> TimeRange {
    TimeRange::new(at_ms(start_ms), at_ms(end_ms)).unwrap()
}

fn gate() -> CameraId {
    CameraId::parse("gate").unwrap()
}

fn segment(path: &str, start_ms: i64, length_ms: i64) -> NewSegment {
    NewSegment {
        camera_id: gate(),
        source_id: "recordings".to_owned(),
        path: path.to_owned(),
        start_time: at_ms(start_ms),
        start_accuracy: TimeDelta::zero(),
        size_bytes: 100,
        modified_time: at_ms(start_ms + length_ms),
        facts: MediaFacts {
            container: Container::Mp4,
            duration: TimeDelta::milliseconds(length_ms),
            video: VideoFormat {
                codec: "h264".to_owned(),
                width: 64,
                height: 48,
                frame_count: 25,
            },
            video_fingerprint: "f".to_owned(),
            audio: None,
            key_frames: vec![TimeDelta::zero()],
            truncated: false,
        },
    }
}

fn clip_job(id: &str, request: Option<(&str, &str)>) -> NewJob {
    NewJob {
        id: id.to_owned(),
        spec: JobSpec::Clip(ClipSpec {
            clip_id: format!("clip_{id}"),
            camera_id: gate(),
            start_us: 0,
            end_us: 1,
            keep_for_s: 0,
            created_by: String::new(),
            labels: BTreeMap::new(),
        }),
        priority: 10,
        max_attempts: 2,
        created_by: String::new(),
        labels: BTreeMap::from([("case".to_owned(), "17".to_owned())]),
        retry_of: String::new(),
        request: request.map(|(request_id, digest)| RequestKey {
            request_id: request_id.to_owned(),
            digest: digest.to_owned(),
        }),
    }
}

fn fence(job: &crate::domain::job::Job) -> Fence {
    Fence {
        job_id: job.id.clone(),
        epoch: job.epoch,
        owner: job.owner.clone(),
    }
}

async fn insert(store: &Store, new: &NewJob) -> crate::domain::job::Job {
    match store.insert_job(new, 100, at_ms(0)).await.unwrap() {
        InsertedJob::New(job) => job,
        other => panic!("{other:?}"),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add { start_ms: i64, length_ms: i64 },
    Vanish(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let add = (0..60_000i64, 1..9_000i64).prop_map(|(start_ms, length_ms)| Step::Add {
        start_ms: start_ms / 500 * 500,
        length_ms,
    });
    prop::collection::vec(
        prop_oneof![3 => add, 2 => any::<prop::sample::Index>().prop_map(Step::Vanish)],
        1..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_timeline_is_always_the_merged_segments_that_are_there_and_those_that_are_gone(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let database = Database::new().await;
            let mut there: Vec<(String, TimeRange)> = Vec::new();
            let mut gone: Vec<TimeRange> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Add { start_ms, length_ms } => {
                        let path = format!("{number}.mp4");
                        database.store.take_in(&[segment(&path, start_ms, length_ms)], at_ms(0)).await.unwrap();
                        there.push((path, range(start_ms, start_ms + length_ms)));
                    }
                    Step::Vanish(which) if !there.is_empty() => {
                        let (path, range) = there.swap_remove(which.index(there.len()));
                        gone.push(range);
                        database.store.mark_missing("recordings", &[path], at_ms(1)).await.unwrap();
                    }
                    Step::Vanish(_) => {}
                }
                let mut ranges: Vec<_> = there.iter().map(|(_, range)| *range).collect();
                ranges.sort_by_key(|range| range.start());
                gone.sort_by_key(|range| range.start());
                let tolerance = GAP_TOLERANCE;
                for window in [range(-1, 100_000), range(20_000, 30_000)] {
                    let timeline = database.store.timeline(&gate(), window).await.unwrap();
                    assert_eq!(
                        gaps(window, timeline.spans.iter().copied(), tolerance),
                        gaps(window, ranges.iter().copied(), tolerance),
                    );
                    assert_eq!(
                        gaps(window, timeline.missing.iter().copied(), tolerance),
                        gaps(window, gone.iter().copied(), tolerance),
                    );
                    for pair in timeline.spans.windows(2) {
                        assert!(pair[1].start() - pair[0].end() > tolerance, "two spans that should be one");
                    }
                }
                let last = ranges.iter().map(|range| range.end()).max();
                let camera = database.store.camera(&gate()).await.unwrap();
                let recorded = camera.and_then(|camera| camera.recorded);
                assert_eq!(recorded.map(|range| range.end()), last);
            }
        });
    }
}

#[tokio::test]
async fn a_segment_that_is_taken_in_twice_is_unchanged_and_one_that_changed_is_updated() {
    let Database { store, _folder } = Database::new().await;
    let first = segment("a.mp4", 0, 10_000);
    assert_eq!(
        store
            .take_in(std::slice::from_ref(&first), at_ms(0))
            .await
            .unwrap(),
        [Taken::Added]
    );
    assert_eq!(
        store
            .take_in(std::slice::from_ref(&first), at_ms(0))
            .await
            .unwrap(),
        [Taken::Unchanged]
    );
    let grown = NewSegment {
        size_bytes: 150,
        ..segment("a.mp4", 0, 20_000)
    };
    assert_eq!(
        store.take_in(&[grown], at_ms(0)).await.unwrap(),
        [Taken::Updated]
    );
    let camera = store.camera(&gate()).await.unwrap().unwrap();
    assert_eq!((camera.segment_count, camera.size_bytes), (1, 150));
    assert_eq!(camera.recorded, Some(range(0, 20_000)));
}

#[tokio::test]
async fn a_window_finds_segments_that_began_long_before_it() {
    let Database { store, _folder } = Database::new().await;
    let hour = segment("hour.mp4", 0, 3_600_000);
    let short = segment("short.mp4", 3_600_000, 2_000);
    store.take_in(&[hour, short], at_ms(0)).await.unwrap();
    let found = store
        .segments_in(&gate(), range(3_599_000, 3_601_000))
        .await
        .unwrap();
    let paths: Vec<_> = found
        .iter()
        .map(|segment| segment.file.path.as_str())
        .collect();
    assert_eq!(paths, ["hour.mp4", "short.mp4"]);
    assert!(
        store
            .segments_in(&gate(), range(3_602_000, 3_603_000))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn vanished_segments_stay_known_until_they_are_forgotten_and_never_while_held() {
    let Database { store, _folder } = Database::new().await;
    store
        .take_in(
            &[segment("a.mp4", 0, 1_000), segment("b.mp4", 5_000, 1_000)],
            at_ms(0),
        )
        .await
        .unwrap();
    let selection = LockSelection::Window(gate(), range(0, 500));
    store.hold(&selection, "case-17", at_ms(0)).await.unwrap();
    let paths = ["a.mp4".to_owned(), "b.mp4".to_owned()];
    assert_eq!(
        store
            .mark_missing("recordings", &paths, at_ms(10))
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        store
            .mark_missing("recordings", &paths, at_ms(20))
            .await
            .unwrap(),
        0
    );
    assert_eq!(store.forget_missing(at_ms(10), 10).await.unwrap(), 0);
    assert_eq!(store.forget_missing(at_ms(11), 10).await.unwrap(), 1);
    let left = store.segments_in(&gate(), range(0, 10_000)).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].locks, ["case-17"]);
    assert_eq!(
        store.camera(&gate()).await.unwrap().unwrap().segment_count,
        1
    );
}

#[tokio::test]
async fn locks_of_different_incidents_come_and_go_on_their_own() {
    let Database { store, _folder } = Database::new().await;
    store
        .take_in(
            &[segment("a.mp4", 0, 1_000), segment("b.mp4", 1_000, 1_000)],
            at_ms(0),
        )
        .await
        .unwrap();
    let window = LockSelection::Window(gate(), range(0, 2_000));
    assert_eq!(
        store
            .hold(&window, "one", at_ms(0))
            .await
            .unwrap()
            .segments_changed,
        2
    );
    assert_eq!(
        store
            .hold(&window, "one", at_ms(0))
            .await
            .unwrap()
            .segments_changed,
        0
    );
    assert_eq!(
        store
            .hold(&window, "", at_ms(0))
            .await
            .unwrap()
            .segments_changed,
        2
    );
    assert_eq!(
        store
            .release(&window, Some("other"))
            .await
            .unwrap()
            .segments_changed,
        0
    );
    assert_eq!(
        store
            .release(&window, Some(""))
            .await
            .unwrap()
            .segments_changed,
        2
    );
    let timeline = store.timeline(&gate(), range(-500, 5_000)).await.unwrap();
    assert_eq!(timeline.locks, [(range(0, 2_000), "one".to_owned())]);
    assert_eq!(
        store.release(&window, None).await.unwrap().segments_changed,
        2
    );
    assert!(
        store
            .timeline(&gate(), range(0, 5_000))
            .await
            .unwrap()
            .locks
            .is_empty()
    );
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_rows_while_others_are_added() {
    let Database { store, _folder } = Database::new().await;
    let new = |number: i64| segment(&format!("{number}.mp4"), number * 1_000, 500);
    store
        .take_in(&(0..25).map(new).collect::<Vec<_>>(), at_ms(0))
        .await
        .unwrap();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let (segments, next) = store
            .segments(&SegmentFilter::default(), &Page { size: 10, after })
            .await
            .unwrap();
        seen.extend(segments.into_iter().map(|segment| segment.file.path));
        store
            .take_in(&[new(100 + seen.len() as i64)], at_ms(0))
            .await
            .unwrap();
        after = next;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (0..25)
        .rev()
        .map(|number| format!("{number}.mp4"))
        .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_same_request_makes_one_job_and_another_with_its_id_is_refused() {
    let Database { store, _folder } = Database::new().await;
    insert(&store, &clip_job("job_1", Some(("r", "one")))).await;
    let again = store
        .insert_job(&clip_job("job_2", Some(("r", "one"))), 100, at_ms(0))
        .await
        .unwrap();
    assert!(matches!(again, InsertedJob::Existing(job) if job.id == "job_1"));
    let other = store
        .insert_job(&clip_job("job_3", Some(("r", "two"))), 100, at_ms(0))
        .await
        .unwrap();
    assert!(matches!(other, InsertedJob::RequestIdReused));
}

#[tokio::test]
async fn an_output_id_is_taken_while_its_job_lives() {
    let Database { store, _folder } = Database::new().await;
    insert(&store, &clip_job("job_1", None)).await;
    let same_output = NewJob {
        id: "job_2".to_owned(),
        ..clip_job("job_1", None)
    };
    let taken = store.insert_job(&same_output, 100, at_ms(0)).await.unwrap();
    assert!(matches!(taken, InsertedJob::OutputTaken));
    store
        .cancel_job("job_1", 0, at_ms(99), at_ms(1))
        .await
        .unwrap();
    assert!(matches!(
        store.insert_job(&same_output, 100, at_ms(0)).await.unwrap(),
        InsertedJob::New(_)
    ));
}

#[tokio::test]
async fn a_full_queue_refuses_jobs_until_one_is_claimed() {
    let Database { store, _folder } = Database::new().await;
    insert(&store, &clip_job("job_1", None)).await;
    let second = clip_job("job_2", None);
    assert!(matches!(
        store.insert_job(&second, 1, at_ms(0)).await.unwrap(),
        InsertedJob::QueueFull(1)
    ));
    store
        .claim_job(JobKind::Clip, "me", at_ms(0))
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(
        store.insert_job(&second, 1, at_ms(0)).await.unwrap(),
        InsertedJob::New(_)
    ));
}

#[tokio::test]
async fn a_worker_that_lost_its_job_can_write_nothing_about_it() {
    let Database { store, _folder } = Database::new().await;
    insert(&store, &clip_job("job_1", None)).await;
    let first = store
        .claim_job(JobKind::Clip, "first", at_ms(0))
        .await
        .unwrap()
        .unwrap();
    let later = at_ms(0) + LEASE + TimeDelta::milliseconds(1);
    let rescued = store.rescue_jobs("", at_ms(99), later).await.unwrap();
    assert_eq!(rescued[0].state, JobState::Queued);
    let second = store
        .claim_job(JobKind::Clip, "second", later)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((second.attempt, second.epoch), (2, 2));

    let lost = fence(&first);
    assert_eq!(store.renew_lease(&lost, later).await.unwrap(), None);
    assert_eq!(
        store
            .save_progress(&lost, &Default::default(), 1, later)
            .await
            .unwrap(),
        None
    );
    let finish = Finish::Failed(Notice::new(Reason::Internal, "late"), Vec::new());
    assert!(
        store
            .finish_job(&lost, finish, None, 0, at_ms(99), later)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        store.job("job_1").await.unwrap().unwrap().state,
        JobState::Running
    );
    assert_eq!(
        store.renew_lease(&fence(&second), later).await.unwrap(),
        Some(JobState::Running)
    );
}

#[tokio::test]
async fn a_job_whose_attempts_are_used_up_fails_and_an_interruption_costs_none() {
    let Database { store, _folder } = Database::new().await;
    insert(&store, &clip_job("job_1", None)).await;
    for _ in 0..5 {
        let job = store
            .claim_job(JobKind::Clip, "me", at_ms(0))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(job.attempt, 1);
        store
            .finish_job(
                &fence(&job),
                Finish::Interrupted,
                None,
                0,
                at_ms(99),
                at_ms(1),
            )
            .await
            .unwrap();
    }
    for attempt in 1..=2 {
        let job = store
            .claim_job(JobKind::Clip, "me", at_ms(2))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(job.attempt, attempt);
        store.rescue_jobs("me", at_ms(99), at_ms(2)).await.unwrap();
    }
    let ended = store.job("job_1").await.unwrap().unwrap();
    assert_eq!(ended.state, JobState::Failed);
    assert_eq!(ended.error.unwrap().reason, Reason::AttemptsUsedUp);
    assert!(
        store
            .claim_job(JobKind::Clip, "me", at_ms(3))
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_cancelled_job_ends_cancelled_even_when_its_worker_fails_or_dies() {
    let Database { store, _folder } = Database::new().await;
    for (id, finish) in [
        ("job_1", Some(Finish::Stopped)),
        (
            "job_2",
            Some(Finish::Failed(
                Notice::new(Reason::Internal, "boom"),
                Vec::new(),
            )),
        ),
        ("job_3", Some(Finish::Interrupted)),
        ("job_4", None),
    ] {
        insert(&store, &clip_job(id, None)).await;
        let job = store
            .claim_job(JobKind::Clip, "me", at_ms(0))
            .await
            .unwrap()
            .unwrap();
        let marked = store
            .cancel_job(id, job.revision, at_ms(99), at_ms(1))
            .await
            .unwrap();
        assert!(matches!(marked, CancelledJob::Marked(job) if job.state == JobState::Cancelling));
        match finish {
            Some(finish) => {
                store
                    .finish_job(&fence(&job), finish, None, 0, at_ms(99), at_ms(2))
                    .await
                    .unwrap();
            }
            None => {
                store.rescue_jobs("me", at_ms(99), at_ms(2)).await.unwrap();
            }
        }
        let ended = store.job(id).await.unwrap().unwrap();
        assert_eq!(
            (ended.state, ended.error),
            (JobState::Cancelled, None),
            "{id}"
        );
    }
}

#[tokio::test]
async fn revisions_grow_with_every_change_and_never_fall_behind_what_watchers_saw() {
    let Database { store, _folder } = Database::new().await;
    let mut seen = insert(&store, &clip_job("job_1", None)).await.revision;
    assert_eq!(seen, 1);
    let job = store
        .claim_job(JobKind::Clip, "me", at_ms(0))
        .await
        .unwrap()
        .unwrap();
    assert!(job.revision > seen);
    seen = store
        .save_progress(&fence(&job), &Default::default(), 40, at_ms(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(seen, 40);
    let result = JobResult::Import(Default::default());
    let ended = store
        .finish_job(
            &fence(&job),
            Finish::Succeeded(result, Vec::new()),
            None,
            50,
            at_ms(99),
            at_ms(2),
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!((ended.state, ended.revision), (JobState::Succeeded, 50));
}

#[tokio::test]
async fn jobs_are_listed_by_kind_state_camera_and_labels() {
    let Database { store, _folder } = Database::new().await;
    insert(&store, &clip_job("job_1", None)).await;
    insert(
        &store,
        &NewJob {
            labels: BTreeMap::new(),
            ..clip_job("job_2", None)
        },
    )
    .await;
    let page = Page {
        size: 10,
        after: None,
    };
    let count = async |filter: JobFilter| {
        let (jobs, _) = store.jobs(&filter, &page).await.unwrap();
        assert!(jobs.iter().all(|job| filter.matches(job)));
        jobs.len()
    };
    assert_eq!(count(JobFilter::default()).await, 2);
    let labels = BTreeMap::from([("case".to_owned(), "17".to_owned())]);
    assert_eq!(
        count(JobFilter {
            labels,
            ..Default::default()
        })
        .await,
        1
    );
    assert_eq!(
        count(JobFilter {
            kinds: vec![JobKind::Import],
            ..Default::default()
        })
        .await,
        0
    );
    assert_eq!(
        count(JobFilter {
            states: vec![JobState::Queued],
            ..Default::default()
        })
        .await,
        2
    );
    assert_eq!(
        count(JobFilter {
            camera_id: Some("other".to_owned()),
            ..Default::default()
        })
        .await,
        0
    );
}

#[tokio::test]
async fn a_camera_is_deleted_only_when_nothing_of_it_is_held() {
    let Database { store, _folder } = Database::new().await;
    store
        .take_in(&[segment("a.mp4", 0, 1_000)], at_ms(0))
        .await
        .unwrap();
    assert_eq!(
        store.delete_camera(&gate(), false, None).await.unwrap(),
        DeletedCamera::InUse(1)
    );
    let window = LockSelection::Window(gate(), range(0, 2_000));
    store.hold(&window, "", at_ms(0)).await.unwrap();
    assert_eq!(
        store.delete_camera(&gate(), true, None).await.unwrap(),
        DeletedCamera::Locked(1)
    );
    store.release(&window, None).await.unwrap();
    assert_eq!(
        store.delete_camera(&gate(), true, Some(7)).await.unwrap(),
        DeletedCamera::Stale
    );
    assert_eq!(
        store.delete_camera(&gate(), true, None).await.unwrap(),
        DeletedCamera::Deleted(1)
    );
    assert_eq!(
        store.delete_camera(&gate(), true, None).await.unwrap(),
        DeletedCamera::NotFound
    );
}

#[tokio::test]
async fn a_database_that_cannot_be_written_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not-a-database.db");
    std::fs::write(
        &path,
        "this is no database, but long enough to be read as one".repeat(40),
    )
    .unwrap();
    let error = Store::open(&format!("sqlite://{}", path.display()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not-a-database.db"), "{error}");
    assert!(matches!(
        Store::open("postgres://localhost/x").await.unwrap_err(),
        OpenError::Unsupported
    ));
}
