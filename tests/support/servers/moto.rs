//! An S3 server with versions and object lock, of which `rclone serve s3` knows nothing.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use heldar_footage::domain::backup::destination::{S3Settings, Secret};

use super::{Running, free_port, needed};

const BUCKET: &str = "locked";

/// `moto_server` with one bucket in which objects can be locked. It keeps all in memory, and looks at no signature.
pub struct Moto {
    pub running: Running,
    port: u16,
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Moto {
    pub fn start() -> Self {
        let port = free_port();
        let mut running = Running::start(Command::new(needed("moto_server")).args([
            "-H",
            "127.0.0.1",
            "-p",
            &port.to_string(),
        ]));
        running.wait_for(port);
        let moto = Self { running, port };
        let made = moto.ask("PUT", "", &["x-amz-bucket-object-lock-enabled: true"]);
        assert_eq!(made.status, 200, "{made:?}");
        moto
    }

    pub fn settings(&self) -> S3Settings {
        S3Settings {
            bucket: BUCKET.to_owned(),
            endpoint: format!("http://127.0.0.1:{}", self.port),
            region: "us-east-1".to_owned(),
            access_key: "access".to_owned(),
            secret_key: Secret::new("secret"),
            path_style: Some(true),
            ..S3Settings::default()
        }
    }

    /// What it says of the newest version of an object.
    pub fn head(&self, key: &str) -> Answer {
        self.ask("HEAD", &format!("/{key}"), &[])
    }

    /// The versions of all objects: key and version of each.
    pub fn versions(&self) -> Vec<(String, String)> {
        let listed = self.ask("GET", "?versions", &[]).body;
        let text = |from: &str, name: &str| {
            let (_, rest) = from.split_once(&format!("<{name}>")).unwrap();
            rest.split_once("</").unwrap().0.to_owned()
        };
        listed
            .split("<Version>")
            .skip(1)
            .map(|version| (text(version, "Key"), text(version, "VersionId")))
            .collect()
    }

    /// Tries to remove a version for ever.
    pub fn delete(&self, key: &str, version: &str) -> Answer {
        self.ask("DELETE", &format!("/{key}?versionId={version}"), &[])
    }

    fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        write!(
            stream,
            "{method} /{BUCKET}{path} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=access/20260101/us-east-1/s3/aws4_request\r\n\
             Content-Length: 0\r\n{headers}\r\n",
            self.port
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        Answer {
            status: status.parse().unwrap(),
            headers: lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }
}
