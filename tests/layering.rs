//! The rooms of the house keep their direction: `main → api → jobs → work → {media, packing, transfer, repository} → domain`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A room, the rooms it may use, and the crates that are not for it.
const ROOMS: &[(&str, &[&str], &[&str])] = &[
    (
        "domain",
        &[],
        &["tonic", "sqlx", "tokio", "std::process", "rustix", "prost"],
    ),
    (
        "repository",
        &["domain"],
        &["tonic", "prost", "std::process", "axum"],
    ),
    (
        "media",
        &["domain", "process", "disk", "hashing"],
        &["tonic", "sqlx", "prost", "axum"],
    ),
    (
        "packing",
        &["domain", "disk", "hashing"],
        &["tonic", "sqlx", "prost", "axum", "tokio", "std::process"],
    ),
    (
        "transfer",
        &["domain", "process", "disk", "hashing"],
        &["tonic", "sqlx", "prost", "axum"],
    ),
    ("process", &[], &["tonic", "sqlx", "prost", "axum"]),
    ("disk", &[], &["tonic", "sqlx", "prost", "axum", "tokio"]),
    (
        "hashing",
        &[],
        &["tonic", "sqlx", "prost", "axum", "tokio", "rustix"],
    ),
    ("clock", &["domain"], &["tonic", "sqlx", "tokio"]),
    (
        "work",
        &[
            "domain",
            "repository",
            "media",
            "packing",
            "transfer",
            "process",
            "disk",
            "hashing",
            "clock",
        ],
        &["tonic", "sqlx", "prost", "axum"],
    ),
    (
        "jobs",
        &["domain", "repository", "work", "clock"],
        &["tonic", "sqlx", "prost", "axum"],
    ),
    (
        "api",
        &[
            "domain",
            "repository",
            "media",
            "packing",
            "transfer",
            "work",
            "jobs",
            "clock",
            "proto",
        ],
        &["sqlx", "std::process", "tokio::process"],
    ),
    ("proto", &[], &["sqlx"]),
    (
        "client",
        &["proto"],
        &["sqlx", "axum", "rustix", "std::process", "tokio::process"],
    ),
];

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

/// The room of a file: the folder below `src`, or the file itself.
fn room(path: &Path) -> String {
    let below = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .unwrap();
    below
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap()
        .trim_end_matches(".rs")
        .to_owned()
}

/// Lines of code with their numbers: no comments, and nothing after the tests begin.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .take_while(|line| line.trim() != "#[cfg(test)]")
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line))
}

fn names_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    line.split(prefix).skip(1).map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        &rest[..end]
    })
}

fn uses_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + name.len()..];
        !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
            && after.starts_with("::")
    })
}

#[test]
fn every_room_uses_only_the_rooms_below_it() {
    let known: BTreeSet<&str> = ROOMS.iter().map(|(name, ..)| *name).collect();
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let room = room(&path);
        let Some((_, allowed, banned)) = ROOMS.iter().find(|(name, ..)| *name == room) else {
            assert!(
                matches!(room.as_str(), "lib" | "main" | "cli"),
                "{room} is a room without rules"
            );
            continue;
        };
        for (number, line) in code(&text) {
            for used in names_after(line, "crate::").filter(|name| known.contains(name)) {
                if used != room && !allowed.contains(&used) {
                    faults.push(format!("{}:{number}: {room} uses {used}", path.display()));
                }
            }
            for name in banned.iter().filter(|name| uses_crate(line, name)) {
                faults.push(format!("{}:{number}: {room} uses {name}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_status_is_built_in_one_place() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if path.ends_with("src/api/status.rs") || room(&path) == "cli" {
            continue;
        }
        for (number, line) in code(&text) {
            for (at, prefix) in line.match_indices("Status::") {
                // `PolicyStatus` and its like are types of their own.
                if line[..at].ends_with(|c: char| c.is_ascii_alphanumeric()) {
                    continue;
                }
                let rest = &line[at + prefix.len()..];
                let end = rest
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                let constructor = &rest[..end];
                let builds = constructor.starts_with(|c: char| c.is_ascii_lowercase())
                    && constructor != "from";
                if builds && !line.contains("pb::Status") {
                    faults.push(format!("{}:{number}: {line}", path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_module_is_a_drawer_for_odds_and_ends() {
    for (path, _) in sources() {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        for name in ["utils", "util", "common", "helpers", "misc"] {
            assert_ne!(stem, name, "{}", path.display());
        }
        assert!(!stem.starts_with("new_"), "{}", path.display());
    }
}

#[test]
fn the_rules_would_notice_a_breach() {
    assert!(uses_crate("use sqlx::query;", "sqlx"));
    assert!(uses_crate("    sqlx::query(\"\")", "sqlx"));
    assert!(!uses_crate("use crate::not_sqlx::query;", "sqlx"));
    assert_eq!(
        names_after("use crate::jobs::Jobs;", "crate::").collect::<Vec<_>>(),
        ["jobs"]
    );
    let text = "a\n// sqlx::query\nb\n#[cfg(test)]\nmod tests {}\n";
    assert_eq!(
        code(text).map(|(number, _)| number).collect::<Vec<_>>(),
        [1, 3]
    );
}
