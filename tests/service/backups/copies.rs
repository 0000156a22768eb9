//! The copy of the ledger at the destination, when a run of several batches ends before it was to.

use std::path::Path;

use heldar_footage::proto::{self, JobState};

use super::asking::{
    back_up, destination, everything_to, files_below, lift_limit, local, nas, run_of, site,
};
use crate::recorder::{CAMERA, import};
use crate::server::{Server, Site, becomes, files_in, states_of, twelve_seconds};
use crate::small_disk::SmallDisk;

/// As many files as a batch has at most.
const BATCH: usize = 500;

/// A site with the usual six segments and many more, older ones.
fn crowded_site(count: usize) -> Site {
    let site = site();
    let file = &twelve_seconds().segments[0].path;
    let folder = site.recordings().join("dock");
    let first = folder.join("20240110_000000.mp4");
    crate::server::put(file, &first);
    for number in 1..count {
        let (hours, minutes, seconds) = (number / 900, number / 15 % 60, number % 15 * 4);
        let name = format!("20240110_{hours:02}{minutes:02}{seconds:02}.mp4");
        std::fs::hard_link(&first, folder.join(name)).unwrap();
    }
    import(&site, &[]);
    site
}

/// Paths that the ledger's copy says are there.
fn copied(nas: &Path) -> std::collections::BTreeSet<String> {
    let folder = nas.join(".heldar-footage/ledger");
    let names = if folder.exists() {
        files_in(&folder)
    } else {
        Vec::new()
    };
    names
        .into_iter()
        .filter(|name| name.ends_with(".jsonl"))
        .flat_map(|name| {
            let text = std::fs::read_to_string(folder.join(name)).unwrap();
            text.lines()
                .filter_map(|line| {
                    let line: serde_json::Value = serde_json::from_str(line).ok()?;
                    Some(line.get("path")?.as_str()?.to_owned())
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

async fn slow_destination(server: &Server, path: &Path, bytes_per_second: i64) -> String {
    std::fs::create_dir_all(path).unwrap();
    let settings = proto::Destination {
        bandwidth_limit_bytes_per_second: bytes_per_second,
        ..local(path)
    };
    let made = super::asking::create_destination(server, settings).await;
    made.unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_has_sent_is_found_without_the_database_and_the_next_attempt_sends_the_rest()
 {
    let site = crowded_site(BATCH + 200);
    let server = site.start().await;
    let size = std::fs::metadata(site.recordings().join("dock/20240110_000000.mp4"))
        .unwrap()
        .len();
    // The second batch takes some seconds.
    let limit = i64::try_from(size * 60).unwrap();
    let id = slow_destination(&server, &nas(&site), limit).await;
    let request = proto::CreateBackupRequest {
        wait: None,
        ..everything_to(&id)
    };
    let job = server.backups().create_backup(request).await.unwrap();
    let job_id = job.into_inner().id;
    becomes("the first batch is in the copy", async || {
        (copied(&nas(&site)).len() == BATCH).then_some(())
    })
    .await;
    server.kill();

    let described = site.path("nas.json");
    let text = format!(r#"{{"local":{{"path":{:?}}}}}"#, nas(&site));
    std::fs::write(&described, text).unwrap();
    let empty = Site::new();
    let into = empty.path("restored");
    let (code, out, err) = empty.run(&[
        "restore",
        "--destination",
        described.to_str().unwrap(),
        "--into",
        into.to_str().unwrap(),
    ]);
    assert_eq!(code, 0, "{out}\n{err}");
    assert_eq!(files_below(&into).len(), BATCH);

    let server = site.start().await;
    lift_limit(&server, &id).await;
    let states = states_of(&server, &job_id).await;
    for progress in states.iter().filter_map(|job| job.progress.as_ref()) {
        assert!(progress.files_done <= progress.files_total, "{progress:?}");
    }
    let run = run_of(states.last().unwrap());
    let all = i64::try_from(BATCH + 200 + 6).unwrap();
    assert_eq!((run.files_sent, run.files_failed), (all, 0));
    assert_eq!(copied(&nas(&site)).len(), BATCH + 200 + 6);
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_leaves_the_copy_of_the_ledger_as_whole_as_the_ledger() {
    let site = crowded_site(2 * BATCH);
    // The last file of all is one that the disk has no room for.
    let folder = site.recordings().join(CAMERA);
    let last = folder.join(files_in(&folder).into_iter().max().unwrap());
    let mut bytes = std::fs::read(&last).unwrap();
    let filling = 8 << 20;
    bytes.extend_from_slice(&u32::try_from(filling).unwrap().to_be_bytes());
    bytes.extend_from_slice(b"free");
    bytes.resize(bytes.len() + filling - 8, 0);
    std::fs::write(&last, bytes).unwrap();
    crate::server::age(&last);
    import(&site, &[]);
    let small: u64 = files_below(&site.recordings())
        .values()
        .map(|bytes| (bytes.len() as u64).next_multiple_of(4096))
        .sum();
    let _disk = SmallDisk::mount(nas(&site), small - 4 * (1 << 20));
    let server = site.start().await;
    let id = slow_destination(&server, &nas(&site), 0).await;
    let job = back_up(&server, everything_to(&id)).await;
    assert_eq!(job.state(), JobState::Failed, "{job:?}");
    let status = destination(&server, &id).await.status.unwrap();
    let count = usize::try_from(status.object_count).unwrap();
    assert!(count >= 2 * BATCH, "{status:?}");
    assert_eq!(copied(&nas(&site)).len(), count);
    assert_eq!(server.stop(), 0);
}
