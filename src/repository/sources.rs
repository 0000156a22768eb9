//! Sources: the root folders below which recorders write.

use super::database::Area;
use super::error::{time, us};
use super::statement::sql;
use super::{Store, StoreError};
use crate::domain::source::Source;

const TABLE: &str = "sources";

const UPSERT: &str = "
    INSERT INTO sources (id, root, layout, zone, follow, create_time_us) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (id) DO UPDATE SET root = $2, layout = $3, zone = $4, follow = $5";
/// A file's times depend on how its path is read: with another layout or zone every file has to be read again.
const READ_AGAIN: &str = "
    UPDATE segments SET modified_us = -1 WHERE source_id = $1
      AND EXISTS (SELECT 1 FROM sources WHERE id = $1 AND (layout <> $2 OR zone <> $3 OR root <> $4))";
const GET: &str =
    "SELECT id, root, layout, zone, follow, create_time_us FROM sources WHERE id = $1";
const LIST: &str = "SELECT id, root, layout, zone, follow, create_time_us FROM sources ORDER BY id";

#[derive(sqlx::FromRow)]
struct SourceRow {
    id: String,
    root: String,
    layout: String,
    zone: String,
    follow: bool,
    create_time_us: i64,
}

impl TryFrom<SourceRow> for Source {
    type Error = StoreError;

    fn try_from(row: SourceRow) -> Result<Self, StoreError> {
        Ok(Self {
            create_time: time(TABLE, &row.id, row.create_time_us)?,
            id: row.id,
            root: row.root.into(),
            layout: row.layout,
            zone: row.zone,
            follow: row.follow,
        })
    }
}

impl Store {
    /// Writes a source, or changes all but its id and age. The root must be UTF-8.
    pub async fn put_source(&self, source: &Source) -> Result<(), StoreError> {
        let mut transaction = self.write(Area::Catalog).await?;
        sql(READ_AGAIN)
            .bind(&source.id)
            .bind(&source.layout)
            .bind(&source.zone)
            .bind(source.root.to_string_lossy())
            .execute(&mut transaction)
            .await?;
        sql(UPSERT)
            .bind(&source.id)
            .bind(source.root.to_string_lossy())
            .bind(&source.layout)
            .bind(&source.zone)
            .bind(source.follow)
            .bind(us(source.create_time))
            .execute(&mut transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The source with this id.
    pub async fn source(&self, id: &str) -> Result<Option<Source>, StoreError> {
        let row: Option<SourceRow> = sql(GET)
            .bind(id)
            .fetch_optional(&mut self.read().await?)
            .await?;
        row.map(Source::try_from).transpose()
    }

    /// All sources, by id.
    pub async fn sources(&self) -> Result<Vec<Source>, StoreError> {
        let rows: Vec<SourceRow> = sql(LIST).fetch_all(&mut self.read().await?).await?;
        rows.into_iter().map(Source::try_from).collect()
    }
}
