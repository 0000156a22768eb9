//! The record of exports: who exported and who took what, and when. Rows are only ever added.

use super::database::Connection;
use super::error::{count, inconsistent, stored, time, us};
use super::statement::sql;
use super::{Store, StoreError};
use crate::domain::export_record::{ExportAction, ExportRecord};

const WRITE: &str = "
    INSERT INTO export_records (time_us, action, archive_id, sha256, size_bytes, created_by, operator, case_id, reason,
        peer, note)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

#[derive(sqlx::FromRow)]
struct RecordRow {
    id: i64,
    time_us: i64,
    action: String,
    archive_id: String,
    sha256: String,
    size_bytes: i64,
    created_by: String,
    operator: String,
    case_id: String,
    reason: String,
    peer: String,
    note: String,
}

impl TryFrom<RecordRow> for ExportRecord {
    type Error = StoreError;

    fn try_from(row: RecordRow) -> Result<Self, StoreError> {
        let (table, id) = ("export_records", row.id.to_string());
        Ok(Self {
            time: time(table, &id, row.time_us)?,
            action: ExportAction::parse(&row.action)
                .ok_or_else(|| inconsistent(table, &id, "unknown action"))?,
            archive_id: row.archive_id,
            sha256: row.sha256,
            size_bytes: count(table, &id, row.size_bytes)?,
            created_by: row.created_by,
            operator: row.operator,
            case_id: row.case_id,
            reason: row.reason,
            peer: row.peer,
            note: row.note,
        })
    }
}

impl Store {
    /// Adds to the record of exports.
    pub async fn record_export(&self, record: &ExportRecord) -> Result<(), StoreError> {
        let mut connection = self.writer().await?;
        write(&mut connection, record).await
    }

    /// The newest `limit` lines of the record, of one archive or of one case where such is given, the oldest first.
    pub async fn export_records(
        &self,
        archive_id: Option<&str>,
        case_id: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ExportRecord>, StoreError> {
        let mut query = sql("SELECT * FROM export_records WHERE 1 = 1");
        if let Some(archive_id) = archive_id {
            query.push(" AND archive_id = ").push_bind(archive_id);
        }
        if let Some(case_id) = case_id {
            query.push(" AND case_id = ").push_bind(case_id);
        }
        query
            .push(" ORDER BY id DESC LIMIT ")
            .push_bind(i64::from(limit));
        let rows: Vec<RecordRow> = query.fetch_all(&mut self.read().await?).await?;
        rows.into_iter().rev().map(ExportRecord::try_from).collect()
    }
}

/// Adds a line within a transaction.
pub(super) async fn write(
    connection: &mut Connection,
    record: &ExportRecord,
) -> Result<(), StoreError> {
    sql(WRITE)
        .bind(us(record.time))
        .bind(record.action.as_str())
        .bind(&record.archive_id)
        .bind(&record.sha256)
        .bind(stored(record.size_bytes))
        .bind(&record.created_by)
        .bind(&record.operator)
        .bind(&record.case_id)
        .bind(&record.reason)
        .bind(&record.peer)
        .bind(&record.note)
        .execute(connection)
        .await?;
    Ok(())
}
