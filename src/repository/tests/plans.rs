//! How SQLite goes about each statement that the tests run: none may read a whole table that grows. Asked for with every
//! clip, it would take longer with every clip there ever was.

use std::collections::HashSet;
use std::sync::Mutex;

use sqlx::{AssertSqlSafe, Row as _, raw_sql};

use super::super::database::Connection;

/// Tables of which a machine has few rows, and the names that statements give to what they selected before.
const SMALL: [&str; 6] = [
    "cameras",
    "destinations",
    "nodes",
    "policies",
    "sources",
    "unsent",
];

/// Statements whose plan is good.
static KNOWN: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// Panics when SQLite would read a whole table for this statement that may become large. An index of our own may be read
/// whole: in its order, up to a limit, or because it has only the rows that are asked for.
pub(in super::super) async fn check(text: &str, on: &mut Connection) {
    let plan = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
    let steps = match on {
        Connection::Sqlite(_) | Connection::SqliteTransaction(_) if is_known(text) => return,
        Connection::Sqlite(link) => raw_sql(plan).fetch_all(&mut **link).await,
        Connection::SqliteTransaction(link) => raw_sql(plan).fetch_all(&mut **link).await,
        // Its plans depend on how many rows there are.
        Connection::Postgres(_) => return,
    };
    // What cannot be explained cannot be run, and the caller hears why.
    for step in steps.unwrap_or_default() {
        let step: String = step.get("detail");
        assert!(
            !reads_all(&step),
            "{step}: {}",
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        );
    }
    let mut known = KNOWN.lock().unwrap();
    known.get_or_insert_default().insert(text.to_owned());
}

fn is_known(text: &str) -> bool {
    let known = KNOWN.lock().unwrap();
    known.as_ref().is_some_and(|known| known.contains(text))
}

/// Whether a step of a plan reads all of a table that may be large; see <https://sqlite.org/eqp.html>.
fn reads_all(step: &str) -> bool {
    let Some((table, how)) = step
        .strip_prefix("SCAN ")
        .map(|scan| scan.split_once(' ').unwrap_or((scan, "")))
    else {
        return false;
    };
    let is_own_index = how.starts_with("USING ") && !how.contains("sqlite_autoindex");
    let is_no_table = step == "SCAN CONSTANT ROW"
        || step.ends_with("VALUES CLAUSE")
        || how.contains("VIRTUAL TABLE");
    !is_own_index && !is_no_table && !SMALL.contains(&table)
}

#[test]
fn a_step_that_reads_a_whole_table_is_told_from_one_that_reads_what_it_needs() {
    for bad in [
        "SCAN jobs",
        "SCAN jobs USING INDEX sqlite_autoindex_jobs_1",
        "SCAN other",
        "SCAN clips USING COVERING INDEX sqlite_autoindex_clips_1",
    ] {
        assert!(reads_all(bad), "{bad}");
    }
    for good in [
        "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id=?)",
        "SCAN CONSTANT ROW",
        "SCAN 32-ROW VALUES CLAUSE",
        "SCAN json_each VIRTUAL TABLE INDEX 1:",
        "SCAN jobs USING COVERING INDEX jobs_to_claim",
        "SCAN destinations",
        "SCAN unsent",
        "USE TEMP B-TREE FOR ORDER BY",
    ] {
        assert!(!reads_all(good), "{good}");
    }
}
