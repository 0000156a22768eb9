//! Requests that are wrong, and what is expected of the answers to all of them.

mod fields;
mod ids;
mod times;

use super::*;

/// Texts that are no id of anything.
pub fn bad_ids() -> Vec<String> {
    let ids = [
        "..",
        ".",
        "../../etc/passwd",
        "/abs",
        "a/b",
        "it's",
        "a\"b",
        "a\nb",
        "a\r\nb",
        "a\0b",
        "-rf",
        "--help",
        "A",
        "a b",
        " a",
        "a:b",
        "\u{202e}a",
        "u\u{308}",
        "%00",
        "a;DROP TABLE clips",
        "' OR 1=1 --",
        "\u{7f}",
        "a.mp4",
        "#x",
    ];
    let mut ids: Vec<String> = ids.map(str::to_owned).to_vec();
    ids.push("a".repeat(300));
    ids
}

pub fn check_told(status: &Status) {
    assert!(
        !status.message().chars().any(char::is_control),
        "control characters are told: {:?}",
        status.message()
    );
    assert!(
        status.message().len() < 1_000,
        "{} bytes are told",
        status.message().len()
    );
}

pub fn check_invalid(what: &str, answer: Result<(), Status>, field: &str) {
    let status = answer.expect_err(what);
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "INVALID_FIELD"),
        "{what}: {status:?}"
    );
    assert_eq!(fields(&status), [field], "{what}");
    check_told(&status);
}

pub fn check_missing(what: &str, answer: Result<(), Status>, why: &str) {
    let status = answer.expect_err(what);
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, why),
        "{what}: {status:?}"
    );
    check_told(&status);
}

/// A call whose answer does not matter.
macro_rules! called {
    ($client:expr, $method:ident, $request:expr) => {
        $client.$method($request).await.map(drop)
    };
}
use called;
