//! Asking for backups.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use heldar_footage::proto::{self, JobState};
use tonic::{Response, Status};

use crate::archives::two_cameras;
use crate::server::{Server, Site, ended, seconds};

/// 32 bytes in base64.
pub const SECRET_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// A site with six segments of two cameras that may back up to folders of its own.
pub fn site() -> Site {
    let site = two_cameras();
    let roots = site.path("");
    let roots = roots.to_str().unwrap().trim_end_matches('/').to_owned();
    site.with("HELDAR_BACKUP_LOCAL_ROOTS", roots)
        .with("HELDAR_SECRET_KEY", SECRET_KEY)
        .with("HELDAR_BACKUP_ENABLED", "false")
}

/// A folder to back up to.
pub fn nas(site: &Site) -> PathBuf {
    site.path("nas")
}

pub fn local(path: &Path) -> proto::Destination {
    proto::Destination {
        display_name: "NAS".to_owned(),
        settings: Some(proto::destination::Settings::Local(proto::LocalSettings {
            path: path.to_str().unwrap().to_owned(),
            require_mount: false,
        })),
        ..Default::default()
    }
}

pub async fn create_destination(
    server: &Server,
    destination: proto::Destination,
) -> Result<proto::Destination, Status> {
    let request = proto::CreateDestinationRequest {
        destination: Some(destination),
        ..Default::default()
    };
    let answer = server.backups().create_destination(request).await;
    answer.map(Response::into_inner)
}

/// The id of a destination in the site's folder.
pub async fn local_destination(site: &Site, server: &Server) -> String {
    let path = nas(site);
    std::fs::create_dir_all(&path).unwrap();
    create_destination(server, local(&path)).await.unwrap().id
}

pub fn everything_to(destination_id: &str) -> proto::CreateBackupRequest {
    proto::CreateBackupRequest {
        destination_id: destination_id.to_owned(),
        wait: seconds(60),
        ..Default::default()
    }
}

/// A job at its end.
pub async fn at_its_end(server: &Server, job: proto::Job) -> proto::Job {
    if job.end_time.is_some() {
        job
    } else {
        ended(server, &job.id).await
    }
}

/// The job of a backup of everything, at its end.
pub async fn back_up(server: &Server, request: proto::CreateBackupRequest) -> proto::Job {
    let job = server.backups().create_backup(request).await.unwrap();
    at_its_end(server, job.into_inner()).await
}

/// The run of a job that succeeded.
pub fn run_of(job: &proto::Job) -> proto::BackupRun {
    assert_eq!(job.state(), JobState::Succeeded, "{:?}", job.error);
    match &job.result {
        Some(proto::job::Result::Backup(run)) => run.clone(),
        other => panic!("no run: {other:?}"),
    }
}

pub async fn run_everything(server: &Server, destination_id: &str) -> proto::BackupRun {
    run_of(&back_up(server, everything_to(destination_id)).await)
}

/// What the ledger says is at a destination, by path.
pub async fn objects(
    server: &Server,
    destination_id: &str,
) -> BTreeMap<String, proto::BackupObject> {
    let request = proto::ListBackupObjectsRequest {
        destination_id: destination_id.to_owned(),
        page_size: 1000,
        ..Default::default()
    };
    let answer = server.backups().list_backup_objects(request).await.unwrap();
    let objects = answer.into_inner().objects;
    objects
        .into_iter()
        .map(|object| (object.remote_path.clone(), object))
        .collect()
}

/// Files below a folder, by relative path, without those of the service itself.
pub fn footage_in(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    files_below(folder)
        .into_iter()
        .filter(|(path, _)| !path.starts_with(".heldar-footage/"))
        .collect()
}

pub fn files_below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path
                    .strip_prefix(folder)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// The recordings of the site by the path that they have at a destination.
pub fn expected(site: &Site) -> BTreeMap<String, Vec<u8>> {
    files_below(&site.recordings())
        .into_iter()
        .map(|(path, bytes)| {
            let (camera, name) = path.split_once('/').unwrap();
            let day = format!("{}-{}-{}", &name[..4], &name[4..6], &name[6..8]);
            (format!("{camera}/{day}/{name}"), bytes)
        })
        .collect()
}

pub async fn destination(server: &Server, destination_id: &str) -> proto::Destination {
    let request = proto::GetDestinationRequest {
        destination_id: destination_id.to_owned(),
    };
    let answer = server.backups().get_destination(request).await.unwrap();
    answer.into_inner()
}

pub async fn try_out(server: &Server, destination_id: &str) -> proto::TestDestinationResponse {
    let request = proto::TestDestinationRequest {
        subject: Some(proto::test_destination_request::Subject::DestinationId(
            destination_id.to_owned(),
        )),
    };
    let answer = server.backups().test_destination(request).await.unwrap();
    answer.into_inner()
}

/// Lifts the limit of bytes per second of a destination.
pub async fn lift_limit(server: &Server, id: &str) {
    let request = proto::UpdateDestinationRequest {
        destination: Some(proto::Destination {
            id: id.to_owned(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["bandwidth_limit_bytes_per_second".to_owned()],
        }),
    };
    server.backups().update_destination(request).await.unwrap();
}

/// An rclone that does something else first; `$rclone` is the true program.
pub fn stand_in(site: &mut Site, body: &str) {
    let path = site.path("stand-in-rclone");
    let rclone = crate::servers::needed("rclone");
    let text = format!(
        "#!/bin/sh\nrclone='{}'\n{body}\nexec \"$rclone\" \"$@\"\n",
        rclone.display()
    );
    crate::stand_in::write_program(&path, &text);
    site.set("HELDAR_RCLONE_BIN", path.to_str().unwrap());
}
