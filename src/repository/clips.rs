//! Clips: one row per clip that can be fetched, and one more with the recipe of those that have no file, or one that is not
//! on the disk yet.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::database::Connection;
use super::error::{inconsistent, json, stored, to_json, us};
use super::statement::sql;
use super::{Page, Store, StoreError};
use crate::domain::camera::CameraId;
use crate::domain::clip::Clip;
use crate::domain::clip_recipe::ClipRecipe;

const INSERT: &str = "
    INSERT INTO clips (id, camera_id, requested_start_us, requested_end_us, create_time_us, expire_time_us, file_name,
        size_bytes, sha256, media_type, job_id, created_by, details, unsynced_in)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
const GET: &str = "SELECT id, create_time_us, details, unsynced_in FROM clips WHERE id = $1";
const GET_BY_FILE: &str =
    "SELECT id, create_time_us, details, unsynced_in FROM clips WHERE file_name = $1";
/// An id can be used again, so that it alone does not say which clip is meant.
const DELETE: &str = "DELETE FROM clips WHERE id = $1 AND create_time_us = $2";
const INSERT_RECIPE: &str =
    "INSERT INTO clip_recipes (clip_id, recipe, held_in) VALUES ($1, $2, $3)";
const GET_RECIPE: &str = "SELECT recipe FROM clip_recipes WHERE clip_id = $1 AND held_in = ''";
const GET_REMAKE: &str =
    "SELECT recipe, held_in FROM clip_recipes WHERE clip_id = $1 AND held_in <> ''";
const HELD_IN: &str = "SELECT clip_id FROM clip_recipes WHERE held_in = $1 AND held_in <> ''";
const WITH_RECIPE: &str = "
    SELECT clip_id FROM clip_recipes WHERE clip_id IN (SELECT value FROM json_each($1)) AND held_in = ''";
const DELETE_RECIPE: &str = "DELETE FROM clip_recipes WHERE clip_id = $1";
const MATERIALIZE: &str = "
    UPDATE clips SET sha256 = $3, details = $4, unsynced_in = '' WHERE id = $1 AND create_time_us = $2";
const UNSYNCED: &str = "
    SELECT id, create_time_us, details, unsynced_in FROM clips WHERE unsynced_in <> '' ORDER BY create_time_us, id";
const NOTE_UNSYNCED: &str = "
    UPDATE clips SET unsynced_in = $3 WHERE id = $1 AND create_time_us = $2 AND unsynced_in <> ''";
const NOTE_SYNCED: &str = "UPDATE clips SET unsynced_in = '' WHERE id = $1 AND create_time_us = $2";
const EXPIRED: &str = "
    SELECT id, create_time_us, details, unsynced_in FROM clips WHERE expire_time_us <= $1 ORDER BY expire_time_us LIMIT $2";
const FILES: &str = "
    SELECT file_name FROM clips WHERE file_name IN (SELECT value FROM json_each($1))
        AND NOT EXISTS (SELECT 1 FROM clip_recipes WHERE clip_recipes.clip_id = clips.id AND held_in = '')";

#[derive(sqlx::FromRow)]
struct ClipRow {
    id: String,
    create_time_us: i64,
    details: String,
    unsynced_in: String,
}

impl TryFrom<ClipRow> for Clip {
    type Error = StoreError;

    fn try_from(row: ClipRow) -> Result<Self, StoreError> {
        let clip: Self = json("clips", &row.id, &row.details)?;
        if clip.id == row.id {
            Ok(Self {
                unsynced_in: row.unsynced_in,
                ..clip
            })
        } else {
            Err(inconsistent("clips", &row.id, "details of another clip"))
        }
    }
}

#[derive(sqlx::FromRow)]
struct RemakeRow {
    recipe: String,
    held_in: String,
}

/// Which clips.
#[derive(Clone, Debug, Default)]
pub struct ClipFilter {
    /// Of this camera.
    pub camera_id: Option<CameraId>,
    /// Whose requested window ends after this.
    pub ends_after: Option<DateTime<Utc>>,
    /// Whose requested window starts before this.
    pub starts_before: Option<DateTime<Utc>>,
}

impl Store {
    /// The clip with this id.
    pub async fn clip(&self, id: &str) -> Result<Option<Clip>, StoreError> {
        let row: Option<ClipRow> = sql(GET)
            .bind(id)
            .fetch_optional(&mut self.read().await?)
            .await?;
        row.map(Clip::try_from).transpose()
    }

    /// Those of these clips that have no file of their own.
    pub async fn virtual_among(&self, ids: &[String]) -> Result<HashSet<String>, StoreError> {
        self.among(WITH_RECIPE, ids).await
    }

    /// The clip whose file has this name.
    pub async fn clip_by_file(&self, file_name: &str) -> Result<Option<Clip>, StoreError> {
        let row: Option<ClipRow> = sql(GET_BY_FILE)
            .bind(file_name)
            .fetch_optional(&mut self.read().await?)
            .await?;
        row.map(Clip::try_from).transpose()
    }

    /// A page of clips, newest first, and where the next page begins.
    pub async fn clips(
        &self,
        filter: &ClipFilter,
        page: &Page,
    ) -> Result<(Vec<Clip>, Option<(i64, String)>), StoreError> {
        let mut query =
            sql("SELECT id, create_time_us, details, unsynced_in FROM clips WHERE 1 = 1");
        if let Some(camera_id) = &filter.camera_id {
            query
                .push(" AND camera_id = ")
                .push_bind(camera_id.as_str());
        }
        if let Some(after) = filter.ends_after {
            query.push(" AND requested_end_us > ").push_bind(us(after));
        }
        if let Some(before) = filter.starts_before {
            query
                .push(" AND requested_start_us < ")
                .push_bind(us(before));
        }
        page.end(&mut query, "create_time_us");
        let mut rows: Vec<ClipRow> = query.fetch_all(&mut self.read().await?).await?;
        let next = page.cut(&mut rows, |row| (row.create_time_us, row.id.clone()));
        Ok((
            rows.into_iter()
                .map(Clip::try_from)
                .collect::<Result<_, _>>()?,
            next,
        ))
    }

    /// Forgets a clip; whether it was there. Its file is the caller's to remove, afterwards: a row without a file is
    /// noticed, a file without a row is only swept.
    pub async fn delete_clip(&self, clip: &Clip) -> Result<bool, StoreError> {
        self.change_and_drop_recipe(DELETE, clip).await
    }

    /// Runs a statement on the row of a clip, and forgets its recipe; whether the clip was there.
    async fn change_and_drop_recipe(
        &self,
        statement: &'static str,
        clip: &Clip,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.database.begin().await?;
        let changed = sql(statement)
            .bind(&clip.id)
            .bind(us(clip.create_time))
            .execute(&mut transaction)
            .await?;
        if changed == 0 {
            return Ok(false);
        }
        sql(DELETE_RECIPE)
            .bind(&clip.id)
            .execute(&mut transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// How the bytes of a virtual clip are made; `None` for a clip that has a file, and for one that is gone.
    pub async fn clip_recipe(&self, id: &str) -> Result<Option<ClipRecipe>, StoreError> {
        let recipe: Option<String> = sql(GET_RECIPE)
            .bind(id)
            .fetch_optional_value(&mut self.read().await?)
            .await?;
        recipe
            .map(|recipe| json("clip_recipes", id, &recipe))
            .transpose()
    }

    /// How the file of a clip is made again that may not be on the disk yet, and in which folder the recordings for that are
    /// held; `None` for one that is, that a loss of power may take, or that has none.
    pub async fn clip_remake(&self, id: &str) -> Result<Option<(ClipRecipe, String)>, StoreError> {
        let row: Option<RemakeRow> = sql(GET_REMAKE)
            .bind(id)
            .fetch_optional(&mut self.read().await?)
            .await?;
        row.map(|row| Ok((json("clip_recipes", id, &row.recipe)?, row.held_in)))
            .transpose()
    }

    /// Whether a clip's file may have to be made again from the recordings that are held in this folder.
    pub async fn is_held_in(&self, folder: &str) -> Result<bool, StoreError> {
        let clip: Option<String> = sql(HELD_IN)
            .bind(folder)
            .fetch_optional_value(&mut self.read().await?)
            .await?;
        Ok(clip.is_some())
    }

    /// Clips whose time is over, the longest overdue first.
    pub async fn expired_clips(
        &self,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Clip>, StoreError> {
        let rows: Vec<ClipRow> = sql(EXPIRED)
            .bind(us(now))
            .bind(i64::from(limit))
            .fetch_all(&mut self.read().await?)
            .await?;
        rows.into_iter().map(Clip::try_from).collect()
    }

    /// Clips whose files may not be on the disk yet, the oldest first.
    pub async fn unsynced_clips(&self) -> Result<Vec<Clip>, StoreError> {
        let rows: Vec<ClipRow> = sql(UNSYNCED).fetch_all(&mut self.read().await?).await?;
        rows.into_iter().map(Clip::try_from).collect()
    }

    /// Writes instead of the run of the machine what is known of the file of a clip that is not on the disk.
    pub async fn note_unsynced(&self, clip: &Clip, unsynced_in: &str) -> Result<(), StoreError> {
        let mut transaction = self.database.begin().await?;
        sql(NOTE_UNSYNCED)
            .bind(&clip.id)
            .bind(us(clip.create_time))
            .bind(unsynced_in)
            .execute(&mut transaction)
            .await?;
        transaction.commit().await
    }

    /// Writes that a clip's file is on the disk, and forgets how it would be made again; whether the clip was there.
    pub async fn note_synced(&self, clip: &Clip) -> Result<bool, StoreError> {
        self.change_and_drop_recipe(NOTE_SYNCED, clip).await
    }

    /// Those of these files of the clips folder that a row knows. That of a virtual clip knows none, whatever its name.
    pub async fn clip_files_among(
        &self,
        file_names: &[String],
    ) -> Result<HashSet<String>, StoreError> {
        self.among(FILES, file_names).await
    }
}

/// Writes a finished clip.
pub(super) async fn insert(connection: &mut Connection, clip: &Clip) -> Result<(), StoreError> {
    sql(INSERT)
        .bind(&clip.id)
        .bind(clip.camera_id.as_str())
        .bind(us(clip.requested_window.start()))
        .bind(us(clip.requested_window.end()))
        .bind(us(clip.create_time))
        .bind(clip.expire_time.map(us))
        .bind(&clip.file_name)
        .bind(stored(clip.size_bytes))
        .bind(&clip.sha256)
        .bind(&clip.media_type)
        .bind(&clip.job_id)
        .bind(&clip.created_by)
        .bind(to_json(clip))
        .bind(&clip.unsynced_in)
        .execute(&mut *connection)
        .await?;
    if let Some(recipe) = &clip.recipe {
        sql(INSERT_RECIPE)
            .bind(&clip.id)
            .bind(to_json(recipe.as_ref()))
            .bind(&clip.held_in)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Writes what a clip got that it lacked of file and hash; whether the clip is still there.
pub(super) async fn materialize(
    connection: &mut Connection,
    clip: &Clip,
) -> Result<bool, StoreError> {
    let written = sql(MATERIALIZE)
        .bind(&clip.id)
        .bind(us(clip.create_time))
        .bind(&clip.sha256)
        .bind(to_json(clip))
        .execute(&mut *connection)
        .await?;
    if written == 0 {
        return Ok(false);
    }
    sql(DELETE_RECIPE)
        .bind(&clip.id)
        .execute(connection)
        .await?;
    Ok(true)
}
