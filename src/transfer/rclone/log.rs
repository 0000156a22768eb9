//! rclone's log: one JSON object a line.

use serde::Deserialize;

/// What a line says that matters.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// A file is whole at the other side.
    Copied(String),
    /// How far it is.
    Stats {
        /// Bytes moved since rclone was started, retries included.
        bytes: u64,
        /// Files that are on their way.
        current: Vec<String>,
    },
    /// Something failed.
    Complaint {
        /// The file, where it is one.
        path: Option<String>,
        /// What rclone says.
        message: String,
    },
    /// Nothing that matters.
    Nothing,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
    object: Option<String>,
    stats: Option<Stats>,
}

#[derive(Deserialize)]
struct Stats {
    #[serde(default)]
    bytes: i64,
    transferring: Option<Vec<Transfer>>,
}

#[derive(Deserialize)]
struct Transfer {
    name: String,
}

/// Reads a line of the log.
pub(super) fn read(line: &str) -> Said {
    let Ok(line) = serde_json::from_str::<Line>(line) else {
        // Only what ends rclone is said outside of its log.
        return match line.trim() {
            "" => Said::Nothing,
            text => Said::Complaint {
                path: None,
                message: text.to_owned(),
            },
        };
    };
    if let Some(stats) = line.stats {
        return Said::Stats {
            bytes: u64::try_from(stats.bytes).unwrap_or(0),
            current: stats
                .transferring
                .unwrap_or_default()
                .into_iter()
                .map(|transfer| transfer.name)
                .collect(),
        };
    }
    let path = line.object.filter(|path| !path.is_empty());
    let is_complaint = matches!(
        line.level.as_str(),
        "error" | "critical" | "alert" | "emergency" | "fatal"
    ) || (line.level == "notice" && line.msg.starts_with("Failed to "));
    match path {
        path if is_complaint => Said::Complaint {
            path,
            message: line.msg,
        },
        Some(path) if line.level == "info" && line.msg.starts_with("Copied (") => {
            Said::Copied(path)
        }
        _ => Said::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_rclone_are_understood() {
        let copied = r#"{"time":"2026-11-22T17:54:18Z","level":"info","msg":"Copied (new)","size":3,"object":"c/a.mp4","objectType":"*local.Object","source":"operations/copy.go:382"}"#;
        assert_eq!(read(copied), Said::Copied("c/a.mp4".to_owned()));
        let failed = r#"{"level":"error","msg":"Failed to copy: no","object":"big","objectType":"*local.Object"}"#;
        assert_eq!(
            read(failed),
            Said::Complaint {
                path: Some("big".to_owned()),
                message: "Failed to copy: no".to_owned()
            }
        );
        let critical =
            r#"{"level":"critical","msg":"Failed to create file system for \"dest:\": no"}"#;
        assert!(matches!(read(critical), Said::Complaint { path: None, .. }));
        let stats = r#"{"level":"notice","msg":"\nTransferred:","stats":{"bytes":1024,"transferring":[{"bytes":1,"name":"c/b.mp4","size":2}],"transfers":5}}"#;
        assert_eq!(
            read(stats),
            Said::Stats {
                bytes: 1024,
                current: vec!["c/b.mp4".to_owned()]
            }
        );
        assert_eq!(read(r#"{"level":"info","msg":"x"}"#), Said::Nothing);
        assert!(matches!(
            read("panic: runtime error"),
            Said::Complaint { path: None, .. }
        ));
    }
}
