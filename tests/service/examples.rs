//! The examples in the comments of the contract, called with grpcurl as they stand.

use super::recorder::{heldar_name, import, place, unfollowed};
use super::server::{Site, twelve_seconds};
use super::tools::{PACKAGE, contract, grpcurl};

/// The grpcurl lines in the comments of the contract: what goes before the address and what goes after it.
fn examples() -> Vec<(Vec<String>, Vec<String>)> {
    let mut found = Vec::new();
    for file in contract()
        .file
        .iter()
        .filter(|file| file.package() == PACKAGE)
    {
        for location in file.source_code_info.iter().flat_map(|info| &info.location) {
            let detached = location
                .leading_detached_comments
                .iter()
                .map(String::as_str);
            for comment in detached.chain([location.leading_comments()]) {
                let joined = comment.replace("\\\n", " ");
                // Examples are indented like code; a sentence may begin with the tool's name too.
                for line in joined
                    .lines()
                    .filter(|line| line.starts_with("     grpcurl "))
                    .map(str::trim)
                {
                    let words = words(line);
                    let at = words
                        .iter()
                        .position(|word| word == "127.0.0.1:50051")
                        .unwrap_or_else(|| panic!("{line}"));
                    found.push((words[1..at].to_vec(), words[at + 1..].to_vec()));
                }
            }
        }
    }
    found
}

/// The words of a line of a shell that has no quotes but single ones.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    assert!(!quoted, "{line}");
    words.extend(word);
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_in_the_contract_can_be_called_as_it_stands() {
    let site = Site::new();
    let server = site.start().await;
    let examples = examples();
    let methods: Vec<_> = contract()
        .file
        .iter()
        .filter(|file| file.package() == PACKAGE)
        .flat_map(|file| &file.service)
        .flat_map(|service| {
            service
                .method
                .iter()
                .map(|method| format!("{PACKAGE}.{}/{}", service.name(), method.name()))
        })
        .collect();
    for method in &methods {
        assert!(
            examples
                .iter()
                .any(|(_, after)| after.last() == Some(method)),
            "{method} has no example"
        );
    }
    for (before, after) in examples {
        let options: Vec<_> = before
            .iter()
            .map(String::as_str)
            .filter(|word| *word != "-plaintext")
            .collect();
        // A watch of all jobs does not end by itself.
        let endless = after.iter().any(|word| word.ends_with("/WatchJobs"));
        let limit: &[&str] = if endless { &["-max-time", "1"] } else { &[] };
        let arguments: Vec<_> = after.iter().map(String::as_str).collect();
        let (code, out, err) = grpcurl(&server, &[&options, limit].concat(), &arguments);
        let accepted = ["NotFound", "FailedPrecondition", "Unimplemented"]
            .iter()
            .any(|code| err.contains(&format!("Code: {code}")))
            || (endless && err.contains("Code: DeadlineExceeded"));
        assert!(
            code == 0 || accepted,
            "{before:?} {after:?}: {code}\n{out}\n{err}"
        );
    }
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_archives_make_one_fetch_it_verify_it_and_delete_it() {
    let site = unfollowed();
    // The footage of which the examples speak.
    let start = chrono::DateTime::parse_from_rfc3339("2026-11-22T10:00:00Z").unwrap();
    for camera in ["gate_a_01", "yard_02"] {
        for segment in &twelve_seconds().segments {
            let name = heldar_name(camera, start.to_utc() + segment.start);
            place(&site, &name, &segment.path);
        }
    }
    import(&site, &[]);
    let server = site.start().await;
    let examples = examples();
    let call = |method: &str, id: &str| {
        let method = format!("{PACKAGE}.ArchiveService/{method}");
        let (before, after) = examples
            .iter()
            .find(|(_, after)| after.last() == Some(&method))
            .unwrap();
        let options: Vec<_> = before
            .iter()
            .filter(|word| *word != "-plaintext")
            .map(|word| word.replace("bkj_…", id))
            .collect();
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let after: Vec<_> = after.iter().map(String::as_str).collect();
        let (code, out, err) = grpcurl(&server, &options, &after);
        assert_eq!(code, 0, "{method}: {out}\n{err}");
        out
    };
    let made: serde_json::Value = serde_json::from_str(&call("CreateArchive", "")).unwrap();
    assert_eq!(made["state"], "JOB_STATE_SUCCEEDED", "{made}");
    let archive = &made["archive"];
    let id = archive["id"].as_str().unwrap();
    let told: serde_json::Value = serde_json::from_str(&call("GetArchive", id)).unwrap();
    assert_eq!(&told, archive);
    let listed: serde_json::Value = serde_json::from_str(&call("ListArchives", id)).unwrap();
    assert_eq!(listed["archives"], serde_json::json!([archive]));
    let parts = call("DownloadArchive", id);
    assert!(
        parts.contains("\"header\"") && parts.contains("\"data\""),
        "{parts}"
    );
    let verified: serde_json::Value = serde_json::from_str(&call("VerifyArchive", id)).unwrap();
    let verdict = &verified["archiveVerification"]["verdict"];
    assert_eq!(verdict, "ARCHIVE_VERDICT_INTACT", "{verified}");
    let parts = call("StreamArchive", id);
    assert!(
        parts.contains("\"header\"") && parts.contains("\"trailer\""),
        "{parts}"
    );
    call("DeleteArchive", id);
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}
