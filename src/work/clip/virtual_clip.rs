//! The job of a clip without a file: opens the recordings, plans, lays the clip out and notes from what, so that
//! `virtual_content` can do the same again whenever the clip is fetched.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::cut::{describe, wanted};
use super::error::{notice, work_error};
use super::held_sources::{Hold, may_hold};
use super::layouts::Known;
use super::{ClipError, ClipWork, begin, blocking, touches};
use crate::domain::camera::CameraId;
use crate::domain::catalog::{Container, Segment, SegmentState};
use crate::domain::clip::ClipSpec;
use crate::domain::clip_recipe::{ClipRecipe, FileVersion, Found, RecipeSource};
use crate::domain::coverage::GapReason;
use crate::domain::job::{JobResult, Progress};
use crate::domain::time::TimeRange;
use crate::hashing::Hasher;
use crate::media::{self, CutError, LaidOut, Prepared};
use crate::work::{Attempt, Done, WorkError};

/// A clip laid out from the sources of a recipe, of which `found` is not yet true.
pub(super) struct Drawn {
    pub(super) laid_out: LaidOut,
    /// Of each source, why it could not be used after all.
    pub(super) unusable: Vec<Option<GapReason>>,
}

impl ClipWork {
    /// Checks what can be known before the work on a virtual clip: camera, footage that needs no ffmpeg, and, when its
    /// sources are to be held, that they lie where they can be.
    ///
    /// # Errors
    /// [`ClipError`]; what only shows in the files is the error of the job.
    pub async fn admit_virtual(
        &self,
        camera_id: &CameraId,
        window: TimeRange,
        hold_sources: bool,
    ) -> Result<(), ClipError> {
        let segments = self.footage(camera_id, window).await?;
        check_containers(&segments)?;
        if !hold_sources {
            return Ok(());
        }
        let roots = self.roots().await?;
        let clips = self.settings.folder.clone();
        blocking(move || {
            // All of them lie below the same few roots; the job looks at each.
            for Segment { file, .. } in &segments {
                let found = roots.look_for(&file.source_id, &file.path);
                if let Ok(file) = found.map_err(ClipError::Machine)? {
                    return may_hold(&clips, &file);
                }
            }
            Ok(())
        })
        .await
    }

    /// Makes a virtual clip.
    pub(super) async fn make_virtual(
        &self,
        attempt: &Attempt,
        spec: &ClipSpec,
    ) -> Result<Done, WorkError> {
        let window = begin(attempt, spec)?;
        let (touching, mut around) = self
            .footage_around(&spec.camera_id, window)
            .await
            .map_err(work_error)?;
        check_containers(&touching).map_err(work_error)?;
        around.retain(|segment| is_mp4(segment) || touches(segment, window));
        let (sources, found) = self.look_at(&around).await.map_err(work_error)?;
        let mut recipe = recipe_of(spec, window, around, found);
        let to_hold = spec.hold_sources.then(|| sources.clone());
        attempt.report(Progress {
            phase: "planning".to_owned(),
            fraction: Some(0.5),
            ..Progress::default()
        });
        let drawn = self
            .draw(&recipe, sources, &attempt.cancel)
            .await
            .map_err(work_error)?;
        let Drawn { laid_out, unusable } = drawn;
        let LaidOut { outcome, layout } = laid_out;
        let layout = Arc::new(layout);
        note_use(&mut recipe, &unusable, layout.sources());
        if let Some(opened) = to_hold {
            let (folder, name) = (self.settings.folder.clone(), attempt.temporary_name());
            let (clip_id, to_hold) = (spec.clip_id.clone(), held_files(&recipe, &opened));
            blocking(move || Hold::make(&folder, &name, &to_hold)?.keep_for(&clip_id))
                .await
                .map_err(work_error)?;
        }
        let kept = self.keep_layout(&spec.clip_id, &layout);
        let known = blocking({
            let layout = Arc::clone(&layout);
            move || {
                let digest = digest(&layout, &recipe);
                Ok(Known {
                    recipe,
                    layout,
                    digest,
                })
            }
        });
        let ((), known) = tokio::join!(kept, known);
        let known = Arc::new(known.map_err(work_error)?);
        // Whoever waits for the clip fetches it next.
        self.layouts.put(&spec.clip_id, Arc::clone(&known));
        let mut clip = describe(
            &attempt.job_id,
            spec,
            window,
            &outcome,
            outcome.engine.clone(),
        );
        clip.is_virtual = true;
        clip.holds_sources = spec.hold_sources;
        clip.bytes_tag.clone_from(&known.digest);
        clip.recipe = Some(Box::new(known.recipe.clone()));
        Ok(Done {
            result: JobResult::Clip(Box::new(clip)),
            warnings: outcome.warnings.into_iter().map(notice).collect(),
        })
    }

    /// Opens every segment, and notes which version of its file that is.
    async fn look_at(
        &self,
        segments: &[Segment],
    ) -> Result<(Vec<media::Source>, Vec<Found>), ClipError> {
        let sources = self.open_sources(self.roots().await?, segments).await?;
        blocking(move || {
            let found = found_in(&sources)?;
            Ok((sources, found))
        })
        .await
    }

    /// Plans and lays out the clip of a recipe from its open sources.
    pub(super) async fn draw(
        &self,
        recipe: &ClipRecipe,
        sources: Vec<media::Source>,
        cancel: &CancellationToken,
    ) -> Result<Drawn, ClipError> {
        let mut prepared = Prepared::open(&self.engine, sources, cancel).await?;
        let (wanted, title) = (wanted(recipe.window, recipe.gap_mode), recipe.title.clone());
        blocking(move || {
            let laid_out = prepared.lay_out(&wanted, &title)?;
            let unusable = prepared.unusable();
            // The samples of an hour are megabytes, and whoever waits for the clip need not wait until they are given back.
            drop(tokio::task::spawn_blocking(move || drop(prepared)));
            Ok(Drawn { laid_out, unusable })
        })
        .await
    }
}

fn is_mp4(segment: &Segment) -> bool {
    matches!(
        segment.file.facts.container,
        Container::Mp4 | Container::FragmentedMp4
    )
}

/// What is no MP4 needs ffmpeg, whatever else is in the window.
fn check_containers(segments: &[Segment]) -> Result<(), ClipError> {
    let available = |segment: &&Segment| segment.state == SegmentState::Available;
    match segments
        .iter()
        .filter(available)
        .find(|segment| !is_mp4(segment))
    {
        None => Ok(()),
        Some(segment) => Err(ClipError::Cut(CutError::Unsuitable {
            reason: format!("a recording is {}", segment.file.facts.container.name()),
        })),
    }
}

/// The recipe of a clip, from what was found of the segments around its window.
pub(super) fn recipe_of(
    spec: &ClipSpec,
    window: TimeRange,
    around: Vec<Segment>,
    found: Vec<Found>,
) -> ClipRecipe {
    let sources = around.into_iter().zip(found);
    ClipRecipe {
        window,
        title: spec.camera_id.to_string(),
        gap_mode: spec.gap_mode,
        sources: sources
            .map(|(segment, found)| recipe_source(segment, found))
            .collect(),
    }
}

/// Which version of its file each source is. Blocks.
pub(super) fn found_in(sources: &[media::Source]) -> Result<Vec<Found>, ClipError> {
    let found = |source: &media::Source| match &source.file {
        Err(reason) => Ok(Found::Unusable(*reason)),
        Ok(file) => Ok(Found::File {
            version: version_of(&file.metadata().map_err(ClipError::Folder)?),
            is_read: false,
        }),
    };
    sources.iter().map(found).collect()
}

fn recipe_source(segment: Segment, found: Found) -> RecipeSource {
    RecipeSource {
        segment_id: segment.id,
        expected_end: Some(segment.file.end_time()),
        source_id: segment.file.source_id,
        path: segment.file.path,
        start: segment.file.start_time,
        start_accuracy: segment.file.start_accuracy,
        found,
    }
}

/// Notes in the recipe what became of its sources: which could not be used after all, and of which bytes are read.
fn note_use(recipe: &mut ClipRecipe, unusable: &[Option<GapReason>], read: &[usize]) {
    for (at, (source, reason)) in recipe.sources.iter_mut().zip(unusable).enumerate() {
        match (&mut source.found, reason) {
            (found, Some(reason)) => *found = Found::Unusable(*reason),
            (Found::File { is_read, .. }, None) => *is_read = read.contains(&at),
            (Found::Unusable(_), None) => {}
        }
    }
}

/// The files that a recipe needs, by the place of their source.
pub(super) fn held_files(
    recipe: &ClipRecipe,
    sources: &[media::Source],
) -> Vec<(usize, Arc<File>)> {
    let sources = recipe.sources.iter().zip(sources).enumerate();
    sources
        .filter_map(|(at, (named, source))| match (&named.found, &source.file) {
            (Found::File { .. }, Ok(file)) => Some((at, Arc::clone(file))),
            _ => None,
        })
        .collect()
}

/// Which version of a file is open.
pub(super) fn version_of(metadata: &Metadata) -> FileVersion {
    FileVersion {
        size_bytes: metadata.len(),
        modified_s: metadata.mtime(),
        modified_ns: metadata.mtime_nsec(),
    }
}

/// Names the bytes of a clip: by its layout, and by the versions of the files that they come from.
pub(super) fn digest(layout: &media::Layout, recipe: &ClipRecipe) -> String {
    let mut hasher = Hasher::default();
    hasher.update(&layout.digest());
    for source in &recipe.sources {
        if let Found::File {
            version,
            is_read: true,
        } = &source.found
        {
            for text in [&source.source_id, &source.path] {
                hasher.update(&(text.len() as u64).to_be_bytes());
                hasher.update(text.as_bytes());
            }
            hasher.update(&version.size_bytes.to_be_bytes());
            hasher.update(&version.modified_s.to_be_bytes());
            hasher.update(&version.modified_ns.to_be_bytes());
        }
    }
    let digest = hasher.finish();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
