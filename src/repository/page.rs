//! Pages of lists: newest first, continued after the last row of the page before.

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
    /// One row more than wanted tells whether there is a next page.
    pub(super) fn rows_to_fetch(&self) -> i64 {
        i64::from(self.size) + 1
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
