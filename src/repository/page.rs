//! Pages of lists: newest first, continued after the last row of the page before.

use super::statement::Statement;

/// Which page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows wanted, at least 1.
    pub size: u32,
    /// Sort key (microseconds) and id of the last row already seen. Rows added meanwhile sort before it, so nothing
    /// is skipped or repeated.
    pub after: Option<(i64, String)>,
}

impl Page {
    /// Ends a query of rows that pass its conditions: those of this page, newest first by `time_column` and id.
    pub(super) fn end(&self, query: &mut Statement, time_column: &'static str) {
        self.end_by(query, time_column, "id");
    }

    /// The same for rows whose id has another name.
    pub(super) fn end_by(
        &self,
        query: &mut Statement,
        time_column: &'static str,
        id_column: &'static str,
    ) {
        if let Some((after_us, after_id)) = &self.after {
            query
                .push(" AND (")
                .push(time_column)
                .push(", ")
                .push(id_column)
                .push(") < (")
                .push_bind(*after_us)
                .push(", ")
                .push_bind(after_id.clone())
                .push(")");
        }
        query
            .push(" ORDER BY ")
            .push(time_column)
            .push(" DESC, ")
            .push(id_column)
            .push(" DESC LIMIT ")
            // One row more than wanted tells whether there is a next page.
            .push_bind(i64::from(self.size) + 1);
    }

    /// Cuts `rows` to the page; the key of its last row when there are more.
    pub(super) fn cut<T>(
        &self,
        rows: &mut Vec<T>,
        key: impl Fn(&T) -> (i64, String),
    ) -> Option<(i64, String)> {
        let size = self.size as usize;
        if rows.len() <= size {
            return None;
        }
        rows.truncate(size);
        rows.last().map(key)
    }
}
