//! The program that the page begins with.

use std::time::{Duration, SystemTime};

use heldar_footage::client::{Footage, progress_line};
use heldar_footage::proto::{CreateClipRequest, ListCamerasRequest};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or("127.0.0.1:50051".to_owned());
    let footage = Footage::connect(address)?;
    let cameras = footage.call(ListCamerasRequest::default()).await?.cameras;
    let camera = cameras
        .into_iter()
        .find(|camera| camera.segment_count > 0)
        .ok_or("no footage")?;
    let end = SystemTime::try_from(camera.last_segment_time.ok_or("no footage")?)?;
    let request = CreateClipRequest::of(camera.id, end - Duration::from_secs(60), end);
    let mut job = footage.create_clip(request).await?;
    let clip = job
        .result_with(|state| println!("{}", progress_line(state)))
        .await?;
    println!("{}", footage.download(&clip, ".").await?.display());
    Ok(())
}
