//! The examples and the program on the page, run as a person would.

#![allow(
    clippy::disallowed_methods,
    reason = "the children of tests are not those of the service"
)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use heldar_footage::client::{Error, Footage};
use heldar_footage::proto::{Job, JobFilter, JobKind, ListJobsRequest, job};
use support::Server;

/// An example as it is built beside this test.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap().join("examples");
    Command::new(folder.join(name))
}

fn run(name: &str, folder: &Path, arguments: &[&str]) -> String {
    let done = example(name)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

fn only_file_in(folder: &Path) -> std::path::PathBuf {
    let mut files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let file = files.next().unwrap();
    assert!(files.next().is_none());
    file
}

#[tokio::test]
async fn the_examples_save_a_clip_and_an_archive_and_send_a_backup_once() {
    let server = Server::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let said = run("clip", folder.path(), &[&server.address, "gate_a_01"]);
    assert!(said.contains("succeeded"), "{said}");
    let size = only_file_in(folder.path()).metadata().unwrap().len();
    assert!(said.contains(&format!("{size} bytes")), "{said}");

    let folder = tempfile::tempdir().unwrap();
    let said = run("archive", folder.path(), &[&server.address]);
    assert!(said.contains("of 3 cameras"), "{said}");
    let mut tested = Command::new("python3");
    tested
        .args(["-m", "zipfile", "-t"])
        .arg(only_file_in(folder.path()));
    assert!(tested.status().unwrap().success());

    let backup = server.site().join("backups/example");
    std::fs::create_dir(&backup).unwrap();
    let arguments = [backup.to_str().unwrap(), &server.address];
    assert!(run("backup", folder.path(), &arguments).contains("17 files sent, 0 failed"));
    assert!(run("backup", folder.path(), &arguments).contains("0 files sent, 0 failed"));

    let folder = tempfile::tempdir().unwrap();
    let said = run("minute", folder.path(), &[&server.address]);
    assert!(said.contains("succeeded"), "{said}");
    assert_eq!(only_file_in(folder.path()).extension().unwrap(), "mp4");
}

#[test]
fn the_page_begins_with_the_program_that_was_run() {
    let folder = support::clients().join("rust");
    let page = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let (_, shown) = page.split_once("```rust\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let program = std::fs::read_to_string(folder.join("examples/minute.rs")).unwrap();
    assert_eq!(program.split_once("\n\n").unwrap().1, shown);
}

#[tokio::test]
async fn ctrl_c_cancels_the_job_of_an_example() {
    let server = Server::start(&[]).await;
    let backup = server.site().join("backups/slow");
    std::fs::create_dir(&backup).unwrap();
    let footage = server.footage();
    slow_down(&footage, &backup).await;
    let mut child = example("backup")
        .args([backup.to_str().unwrap(), &server.address])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().starts_with("running")),
        "the job ran"
    );
    let told = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(told.unwrap().success());
    assert!(!child.wait().unwrap().success());
    let mut complaint = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut complaint)
        .unwrap();
    assert!(complaint.contains("Interrupted"), "{complaint}");

    let job = newest_backup(&footage).await;
    let mut job = footage.follow::<job::Result>(job.id).await.unwrap();
    assert!(matches!(
        job.result().await,
        Err(Error::JobCancelled { .. })
    ));
}

/// Makes the destination of the example beforehand, with a limit.
async fn slow_down(footage: &Footage, folder: &Path) {
    use heldar_footage::proto::{
        CreateDestinationRequest, Destination, LocalSettings, destination,
    };
    let settings = LocalSettings {
        path: folder.display().to_string(),
        ..LocalSettings::default()
    };
    let destination = Destination {
        bandwidth_limit_bytes_per_second: 1000,
        settings: Some(destination::Settings::Local(settings)),
        ..Destination::default()
    };
    let request = CreateDestinationRequest {
        destination_id: "bkd_example".to_owned(),
        destination: Some(destination),
        ..CreateDestinationRequest::default()
    };
    footage.call(request).await.unwrap();
}

async fn newest_backup(footage: &Footage) -> Job {
    let filter = JobFilter {
        kinds: vec![JobKind::Backup.into()],
        ..JobFilter::default()
    };
    let request = ListJobsRequest {
        filter: Some(filter),
        ..ListJobsRequest::default()
    };
    footage.call(request).await.unwrap().jobs.swap_remove(0)
}
