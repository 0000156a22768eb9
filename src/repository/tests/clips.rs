//! Virtual clips: the row, its recipe, and the end of the job that gives them a file.

use std::collections::BTreeMap;

use super::*;
use crate::domain::clip::{Clip, ClipEngine, ClipSpec, GapMode, MaterializeSpec};
use crate::domain::clip_recipe::ClipRecipe;
use crate::domain::job::{Job, JobKind, JobResult, JobSpec, JobState, NewJob, Reason};

const CLIP: &str = "clip_1";

on_both! {
    a_virtual_clip_comes_with_its_recipe_and_loses_it_with_its_file_or_its_end,
    a_clip_that_was_deleted_while_its_file_was_written_does_not_come_back,
    the_id_of_a_clip_is_in_use_while_a_job_gives_it_a_file,
    who_deletes_a_clip_that_is_gone_leaves_a_new_one_with_its_id,
    a_file_written_for_a_clip_that_is_gone_is_not_given_to_a_new_one_with_its_id,
    a_quick_clip_has_a_file_and_is_listed_until_that_is_on_the_disk,
    how_a_file_is_made_again_is_known_until_it_is_on_the_disk,
}

fn virtual_clip() -> Clip {
    let window = TimeRange::new(at_ms(0), at_ms(1_000)).unwrap();
    Clip {
        id: CLIP.to_owned(),
        camera_id: gate(),
        requested_window: window,
        delivered_window: window,
        covered_us: 1,
        duration_us: 1,
        gaps: Vec::new(),
        size_bytes: 7,
        sha256: String::new(),
        media_type: "video/mp4".to_owned(),
        file_name: "gate_19700101T000000Z_clip_1.mp4".to_owned(),
        segment_count: 1,
        video: VideoFormat {
            codec: "h264".to_owned(),
            width: 1,
            height: 1,
            frame_count: 1,
        },
        audio: None,
        hidden_lead_us: 0,
        engine: String::new(),
        engine_used: ClipEngine::Native,
        engine_reason: String::new(),
        gap_mode: GapMode::Close,
        render: None,
        is_virtual: true,
        holds_sources: true,
        bytes_tag: "layout".to_owned(),
        recipe: Some(Box::new(ClipRecipe {
            window,
            title: "gate".to_owned(),
            gap_mode: GapMode::Close,
            sources: Vec::new(),
        })),
        held_in: String::new(),
        unsynced_in: String::new(),
        job_id: "job_1".to_owned(),
        created_by: String::new(),
        labels: BTreeMap::new(),
        create_time: at_ms(0),
        expire_time: None,
    }
}

fn new_job(id: &str, spec: JobSpec) -> NewJob {
    NewJob {
        id: id.to_owned(),
        spec,
        priority: 10,
        max_attempts: 2,
        created_by: String::new(),
        labels: BTreeMap::new(),
        retry_of: String::new(),
        request: None,
    }
}

/// Runs a job to the end that its worker takes for a success.
async fn run(store: &Store, id: &str, spec: JobSpec, clip: &Clip) -> Job {
    let new = new_job(id, spec);
    store.insert_job(&new, 100, at_ms(0)).await.unwrap();
    let claimed = store
        .claim_job(JobKind::Clip, "me", at_ms(0))
        .await
        .unwrap();
    let claimed = claimed.expect("a job waits");
    let fence = Fence {
        job_id: claimed.id,
        epoch: claimed.epoch,
        owner: claimed.owner,
    };
    let finish = Finish::Succeeded(JobResult::Clip(Box::new(clip.clone())), Vec::new());
    let ended = store.finish_job(&fence, finish, None, 0, at_ms(99_000), at_ms(1));
    ended.await.unwrap().expect("the worker has the job")
}

async fn make(store: &Store) -> Clip {
    make_like(store, "job_1", &virtual_clip()).await
}

async fn make_like(store: &Store, job_id: &str, clip: &Clip) -> Clip {
    let spec = JobSpec::Clip(ClipSpec {
        clip_id: CLIP.to_owned(),
        camera_id: gate(),
        start_us: 0,
        end_us: 1,
        keep_for_s: 0,
        created_by: String::new(),
        labels: BTreeMap::new(),
        engine: ClipEngine::Auto,
        gap_mode: GapMode::Close,
        render: None,
        is_virtual: true,
        hold_sources: true,
        quick: false,
    });
    run(store, job_id, spec, clip).await;
    store.clip(CLIP).await.unwrap().expect("a row")
}

/// Whether a row says of a file that it is this clip's.
async fn has_file(store: &Store, clip: &Clip) -> bool {
    let names = [clip.file_name.clone(), "of_nobody.mp4".to_owned()];
    let known = store.clip_files_among(&names).await.unwrap();
    assert!(!known.contains("of_nobody.mp4"));
    known.contains(&clip.file_name)
}

async fn a_quick_clip_has_a_file_and_is_listed_until_that_is_on_the_disk() {
    let Database { store, _folder } = Database::new().await;
    let quick = Clip {
        is_virtual: false,
        holds_sources: false,
        recipe: None,
        unsynced_in: "this run".to_owned(),
        ..virtual_clip()
    };
    let earlier = make_like(&store, "job_1", &quick).await;
    assert!(has_file(&store, &earlier).await, "without a hash, too");
    let unsynced = store.unsynced_clips().await.unwrap();
    assert!(matches!(&unsynced[..], [clip] if *clip == quick));
    assert!(store.delete_clip(&earlier).await.unwrap());
    let again = Clip {
        create_time: at_ms(1),
        job_id: "job_2".to_owned(),
        ..quick.clone()
    };
    make_like(&store, "job_2", &again).await;
    assert!(!store.note_synced(&earlier).await.unwrap());
    let listed = store.unsynced_clips().await.unwrap();
    let is_again = matches!(&listed[..], [clip] if *clip == again);
    assert!(is_again, "a sync of its predecessor is not its own");
    assert!(store.note_synced(&again).await.unwrap());
    assert_eq!(store.unsynced_clips().await.unwrap(), []);
}

async fn how_a_file_is_made_again_is_known_until_it_is_on_the_disk() {
    let Database { store, _folder } = Database::new().await;
    let remade = Clip {
        is_virtual: false,
        holds_sources: false,
        held_in: "links".to_owned(),
        unsynced_in: "this run".to_owned(),
        ..virtual_clip()
    };
    let clip = make_like(&store, "job_1", &remade).await;
    assert!(has_file(&store, &clip).await);
    assert_eq!(clip.unsynced_in, "this run");
    assert_eq!(store.clip_recipe(CLIP).await.unwrap(), None);
    let ids = [CLIP.to_owned()];
    assert!(store.virtual_among(&ids).await.unwrap().is_empty());
    let remake = remade.recipe.map(|recipe| (*recipe, "links".to_owned()));
    assert_eq!(store.clip_remake(CLIP).await.unwrap(), remake);
    assert!(store.is_held_in("links").await.unwrap());
    assert!(!store.is_held_in("").await.unwrap());

    store.note_unsynced(&clip, "refused").await.unwrap();
    let refused = store.clip(CLIP).await.unwrap().unwrap();
    assert_eq!(refused.unsynced_in, "refused");
    assert!(store.note_synced(&clip).await.unwrap());
    store.note_unsynced(&clip, "refused").await.unwrap();
    assert_eq!(store.unsynced_clips().await.unwrap(), [], "it is synced");
    assert_eq!(store.clip_remake(CLIP).await.unwrap(), None);
    assert!(!store.is_held_in("links").await.unwrap());
    assert!(has_file(&store, &clip).await);
}

fn materialize_spec() -> JobSpec {
    JobSpec::MaterializeClip(MaterializeSpec {
        clip_id: CLIP.to_owned(),
        camera_id: gate(),
    })
}

async fn materialize(store: &Store, clip: &Clip) -> Job {
    let solid = Clip {
        sha256: "hash".to_owned(),
        is_virtual: false,
        holds_sources: false,
        ..clip.clone()
    };
    run(store, "job_2", materialize_spec(), &solid).await
}

async fn a_virtual_clip_comes_with_its_recipe_and_loses_it_with_its_file_or_its_end() {
    let Database { store, _folder } = Database::new().await;
    let clip = make(&store).await;
    let recipe = virtual_clip().recipe.map(|recipe| *recipe);
    assert_eq!(store.clip_recipe(CLIP).await.unwrap(), recipe);
    let ids = [CLIP.to_owned(), "clp_other".to_owned()];
    let virtual_ones = store.virtual_among(&ids).await.unwrap();
    assert!(virtual_ones.iter().eq([CLIP]), "{virtual_ones:?}");
    assert_eq!(clip.recipe, None, "it is read by itself");
    assert_eq!(clip.etag(), "layout");
    assert!(!has_file(&store, &clip).await);

    assert_eq!(materialize(&store, &clip).await.state, JobState::Succeeded);
    let solid = store.clip(CLIP).await.unwrap().unwrap();
    assert_eq!((solid.sha256.as_str(), solid.is_virtual), ("hash", false));
    assert_eq!(solid.etag(), "layout", "the bytes are the same");
    assert!(has_file(&store, &solid).await);
    assert_eq!(store.clip_recipe(CLIP).await.unwrap(), None);
    assert!(store.virtual_among(&ids).await.unwrap().is_empty());

    assert!(store.delete_clip(&clip).await.unwrap());
    assert_eq!(store.clip(CLIP).await.unwrap(), None);
}

async fn a_clip_that_was_deleted_while_its_file_was_written_does_not_come_back() {
    let Database { store, _folder } = Database::new().await;
    let clip = make(&store).await;
    assert!(store.delete_clip(&clip).await.unwrap());
    assert_eq!(store.clip_recipe(CLIP).await.unwrap(), None);
    let job = materialize(&store, &clip).await;
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.error.unwrap().reason, Reason::ClipNotFound);
    assert_eq!(job.result, None);
    assert_eq!(store.clip(CLIP).await.unwrap(), None);
}

/// Deletes a clip, and makes another one with its id; the new one.
async fn make_anew(store: &Store, clip: &Clip) -> Clip {
    assert!(store.delete_clip(clip).await.unwrap());
    let later = Clip {
        create_time: at_ms(1),
        ..virtual_clip()
    };
    make_like(store, "job_3", &later).await
}

async fn who_deletes_a_clip_that_is_gone_leaves_a_new_one_with_its_id() {
    let Database { store, _folder } = Database::new().await;
    let listed = make(&store).await;
    let new = make_anew(&store, &listed).await;
    assert!(!store.delete_clip(&listed).await.unwrap());
    assert_eq!(store.clip(CLIP).await.unwrap().as_ref(), Some(&new));
    assert!(store.clip_recipe(CLIP).await.unwrap().is_some());
    assert!(store.delete_clip(&new).await.unwrap());
}

async fn a_file_written_for_a_clip_that_is_gone_is_not_given_to_a_new_one_with_its_id() {
    let Database { store, _folder } = Database::new().await;
    let written = make(&store).await;
    let new = make_anew(&store, &written).await;
    let job = materialize(&store, &written).await;
    assert_eq!(job.error.unwrap().reason, Reason::ClipNotFound);
    assert_eq!(store.clip(CLIP).await.unwrap().as_ref(), Some(&new));
    assert!(store.clip_recipe(CLIP).await.unwrap().is_some());
}

async fn the_id_of_a_clip_is_in_use_while_a_job_gives_it_a_file() {
    let Database { store, _folder } = Database::new().await;
    let new = |id| new_job(id, materialize_spec());
    for id in ["job_1", "job_2"] {
        let inserted = store.insert_job(&new(id), 100, at_ms(0)).await.unwrap();
        assert!(matches!(inserted, InsertedJob::New(_)), "{inserted:?}");
    }
    let is_used = async || {
        (
            store.is_output_taken(CLIP).await.unwrap(),
            store.is_output_of_live_job(CLIP).await.unwrap(),
            store.is_output_of_ended_job(CLIP).await.unwrap(),
        )
    };
    assert_eq!(is_used().await, (true, true, false));
    for id in ["job_1", "job_2"] {
        let cancelled = store.cancel_job(id, 0, at_ms(99), at_ms(1)).await;
        cancelled.unwrap();
    }
    assert_eq!(is_used().await, (false, false, true));
}
