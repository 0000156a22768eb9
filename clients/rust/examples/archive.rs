//! Saves the last minute of up to three cameras as one archive that proves what it contains.
//!
//!     cargo run --example archive -- [ADDRESS]

use std::time::{Duration, SystemTime};

use futures::{StreamExt as _, TryStreamExt as _, future};
use heldar_footage::client::{Footage, progress_line};
use heldar_footage::proto::{ArchiveSpec, Camera};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let footage = Footage::connect(address.unwrap_or("127.0.0.1:50051".to_owned()))?;
    let cameras: Vec<Camera> = footage
        .cameras()
        .try_filter(|camera| future::ready(camera.segment_count > 0))
        .take(3)
        .try_collect()
        .await?;
    let ends = cameras.iter().filter_map(|camera| camera.last_segment_time);
    let end = ends
        .filter_map(|end| SystemTime::try_from(end).ok())
        .max()
        .ok_or("no camera has footage")?;
    let ids = cameras.iter().map(|camera| &camera.id);
    let spec = ArchiveSpec {
        case_id: "2026-117".to_owned(),
        operator: "control room".to_owned(),
        reason: "example".to_owned(),
        ..ArchiveSpec::of(ids, end - Duration::from_secs(60), end)
    };

    let mut job = footage.create_archive(spec).await?.cancel_on_ctrl_c();
    let mut states = job.states();
    while let Some(state) = states.try_next().await? {
        println!("{}", progress_line(&state));
    }
    drop(states);
    let archive = job.result().await?;
    let path = footage
        .download_with(&archive, ".", |received, total| {
            println!("{received} of {total} bytes");
        })
        .await?;
    println!(
        "{}: {} entries of {} cameras, SHA-256 {}",
        path.display(),
        archive.entry_count,
        archive.cameras.len(),
        archive.sha256
    );
    Ok(())
}
