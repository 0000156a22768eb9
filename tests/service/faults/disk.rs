//! Disks that are full.

use super::*;
use crate::small_disk::SmallDisk;

#[tokio::test]
async fn a_disk_with_too_little_room_refuses_a_clip_before_any_work() {
    let site = Site::new();
    let disk = SmallDisk::mount(site.path("disk"), 32 << 20);
    let mut site = with_footage(site.with("HELDAR_CLIPS_DIR", disk.at.to_str().unwrap()));
    let server = site.start().await;
    let refused = server
        .clips()
        .create_clip(ask(CAMERA, 0, 5_000))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "DISK_FULL")
    );
    assert!(
        refused
            .message()
            .starts_with("not enough free disk for this export: need ~"),
        "{}",
        refused.message()
    );
    assert!(
        refused.message().ends_with(" free"),
        "{}",
        refused.message()
    );
    assert!(
        refused.get_details_quota_failure().is_some() && refused.get_details_retry_info().is_some()
    );
    server.stop_with(&site, &[]);
    site.set("HELDAR_CLIPS_DIR", site.clips().to_str().unwrap());
    goes_on(&mut site).await;
    // The site can remove its folder only when no disk lies in it.
    drop(disk);
}

#[tokio::test]
async fn a_disk_that_fills_up_during_a_clip_fails_the_job_and_leaves_nothing() {
    let mut site = Site::new();
    let mut gate = Gate::of(&mut site);
    let disk = SmallDisk::mount(site.path("disk"), 80 << 20);
    let site = with_footage(site.with("HELDAR_CLIPS_DIR", disk.at.to_str().unwrap()));
    let server = site.start().await;
    let job_id = submit(&server, later(0, 29_000)).await;
    gate.reached_by(1);
    disk.fill();
    gate.open();
    let job = ended(&server, &job_id).await;
    let (why, message) = failure(&site, &job);
    assert_eq!(why, "DISK_FULL", "{message}");
    assert_eq!(
        crate::server::files_in(&disk.at),
        ["filler"],
        "unfinished files"
    );
    disk.make_room();
    let (_, clip) = cut(&server, ask(CAMERA, 0, 29_000)).await;
    assert_eq!(crate::server::files_in(&disk.at), [clip.file_name.as_str()]);
    server.stop_with(&site, &[]);
    // The site can remove its folder only when no disk lies in it.
    drop(disk);
}

#[tokio::test]
async fn an_ffmpeg_that_finds_the_disk_full_fails_the_job_as_such() {
    let mut site = Site::new();
    script(
        &mut site,
        "full-ffmpeg",
        "echo \"av_interleaved_write_frame(): No space left on device\" >&2\nexit 228",
    );
    let mut site = with_footage(site);
    let server = site.start().await;
    let job = run_job(&server, ask(CAMERA, 0, 5_000)).await;
    assert_eq!(failure(&site, &job).0, "DISK_FULL");
    server.stop_with(&site, &[]);
    goes_on(&mut site).await;
}

#[tokio::test]
async fn a_full_disk_under_the_database_refuses_writes_and_reading_goes_on() {
    let site = Site::new();
    let disk = SmallDisk::mount(site.path("disk"), 4 << 20);
    let database = format!("sqlite://{}/heldar.db", disk.at.display());
    let site = with_footage(site.with("HELDAR_DATABASE_URL", database));
    let server = site.start().await;
    disk.fill();
    let mut refused = None;
    for number in 0..1_000 {
        if let Err(status) = server.catalog().upsert_camera(upsert(number)).await {
            refused = Some((number, status));
            break;
        }
    }
    let (number, status) = refused.expect("the disk is full");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "DISK_FULL")
    );
    assert!(
        status.get_details_quota_failure().is_some() && status.get_details_retry_info().is_some()
    );
    let get = proto::GetCameraRequest {
        camera_id: CAMERA.to_owned(),
    };
    assert_eq!(
        server
            .catalog()
            .get_camera(get)
            .await
            .unwrap()
            .into_inner()
            .segment_count,
        3
    );
    let unknown = proto::GetCameraRequest {
        camera_id: format!("camera_{number}"),
    };
    assert_eq!(
        server
            .catalog()
            .get_camera(unknown)
            .await
            .unwrap_err()
            .code(),
        Code::NotFound,
        "nothing half-written"
    );
    disk.make_room();
    eventually_upserted(&server, upsert(number)).await;
    let (_, clip) = cut(&server, ask(CAMERA, 0, 5_000)).await;
    server.stop_with(&site, &[&clip]);
    // The site can remove its folder only when no disk lies in it.
    drop(disk);
}

/// A request that takes a few pages of the database.
fn upsert(number: usize) -> proto::UpsertCameraRequest {
    let labels = (0..64)
        .map(|key| (format!("{number}-{key}"), "x".repeat(255)))
        .collect();
    let camera = proto::Camera {
        id: format!("camera_{number}"),
        labels,
        ..Default::default()
    };
    proto::UpsertCameraRequest {
        camera: Some(camera),
        update_mask: None,
    }
}

#[tokio::test]
async fn the_end_of_a_job_waits_until_the_disk_under_the_database_has_room_again() {
    let mut site = Site::new();
    let mut gate = Gate::of(&mut site);
    let disk = SmallDisk::mount(site.path("disk"), 4 << 20);
    let database = format!("sqlite://{}/heldar.db", disk.at.display());
    let site = with_footage(site.with("HELDAR_DATABASE_URL", database));
    let server = site.start().await;
    let job_id = submit(&server, later(0, 5_000)).await;
    gate.reached_by(1);
    disk.fill();
    let mut number = 0;
    while server.catalog().upsert_camera(upsert(number)).await.is_ok() {
        number += 1;
    }
    gate.open();
    eventually("the end of the job cannot be written", || {
        server.log().contains("writing the end of the job failed")
    });
    disk.make_room();
    let job = ended(&server, &job_id).await;
    assert_eq!(job.attempt, 1, "the work was done once");
    let clip = clip_of(&job);
    server.stop_with(&site, &[&clip]);
    // The site can remove its folder only when no disk lies in it.
    drop(disk);
}

#[tokio::test]
async fn a_disk_under_everything_that_fills_up_in_mid_clip_and_mid_archive_fails_both_and_nothing_else()
 {
    let mut site = Site::new();
    let mut gate = Gate::of(&mut site);
    // As much as is asked for before anything is cut; it goes away once that was seen.
    let disk = SmallDisk::mount(site.data(), 2 << 30);
    // What only ffmpeg cuts, so that the archive waits at the gate, too.
    let opus = Recipe {
        sound_codec: "libopus",
        ..footage()
    };
    lay(&site, CAMERA, &opus.record());
    site.import();
    let server = site.start().await;
    let clip = submit(&server, later(0, 29_000)).await;
    let archive = proto::CreateArchiveRequest {
        spec: Some(proto::ArchiveSpec {
            start_time: crate::server::time(crate::footage::epoch() + ms(1_000)),
            end_time: crate::server::time(crate::footage::epoch() + ms(25_000)),
            trim: true,
            layout: proto::ArchiveLayout::Clips.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let archive = server.archives().create_archive(archive).await.unwrap();
    let archive = archive.into_inner().id;
    gate.reached_by(2);
    disk.resize(64 << 20);
    disk.fill();
    gate.open();
    // The ends may find room where the unfinished files were, or wait for it.
    let is_at_its_end = |id: &str| {
        server.log().lines().any(|line| {
            line.contains(id)
                && (line.contains("writing the end of the job failed")
                    || line.contains("job ended"))
        })
    };
    eventually("both have come to their ends", || {
        is_at_its_end(&clip) && is_at_its_end(&archive)
    });
    disk.make_room();
    disk.resize(2 << 30);
    for id in [clip, archive] {
        let job = ended(&server, &id).await;
        assert_eq!(failure(&site, &job).0, "DISK_FULL");
        assert_eq!(job.attempt, 1);
    }
    site.check_left(&[]);
    let (_, clip) = cut(&server, ask(CAMERA, 0, 29_000)).await;
    server.stop_with(&site, &[&clip]);
    let (code, out, _) = site.run(&["doctor"]);
    assert!(out.contains("ok    database"), "{code} {out}");
    // The site can remove its folder only when no disk lies in it.
    drop(disk);
}

async fn eventually_upserted(server: &Server, request: proto::UpsertCameraRequest) {
    let answered = server.catalog().upsert_camera(request).await;
    assert!(answered.is_ok(), "writing works again: {answered:?}");
}
