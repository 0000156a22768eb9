//! Tables with columns as wide as their widest cell.

use std::io::Write as _;

use super::failure::CliError;

/// Rows below a header.
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(header: &[&str]) -> Self {
        Self {
            header: header.iter().map(|&name| name.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with as many cells as the header has.
    pub fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Prints the table, or on standard error that there is nothing.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn print(&self, when_empty: &str) -> Result<(), CliError> {
        if self.rows.is_empty() {
            eprintln!("{when_empty}");
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        self.lines()
            .iter()
            .try_for_each(|line| writeln!(out, "{line}"))
            .map_err(CliError::output)
    }

    fn lines(&self) -> Vec<String> {
        let all = || std::iter::once(&self.header).chain(&self.rows);
        let width = |column: usize| {
            all()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| width(column).unwrap_or(0))
            .collect();
        let line = |row: &Vec<String>| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        all().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["JOB", "STATE"]);
        table.push(vec!["job_1".into(), "running".into()]);
        table.push(vec!["ü".into(), String::new()]);
        assert_eq!(table.lines(), ["JOB    STATE", "job_1  running", "ü"]);
    }
}
