//! Saves the last minute of a camera.
//!
//!     cargo run --example clip -- [ADDRESS [CAMERA]]

use std::time::{Duration, SystemTime};

use futures::{TryStreamExt as _, future};
use heldar_footage::client::{Error, Footage, progress_line};
use heldar_footage::proto::CreateClipRequest;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:50051".to_owned());
    let wanted = arguments.next();

    let footage = Footage::connect(address)?;
    let camera = footage
        .cameras()
        .try_filter(|camera| {
            let is_wanted = wanted.as_ref().is_none_or(|id| *id == camera.id);
            future::ready(is_wanted && camera.segment_count > 0)
        })
        .try_next()
        .await?
        .ok_or("there is no such camera with footage")?;
    let end = SystemTime::try_from(
        camera
            .last_segment_time
            .ok_or("the camera has no footage")?,
    )?;
    let request = CreateClipRequest {
        created_by: "example".to_owned(),
        ..CreateClipRequest::of(&camera.id, end - Duration::from_secs(60), end)
    };
    let mut job = footage.create_clip(request).await?.cancel_on_ctrl_c();
    let clip = match job
        .result_with(|state| println!("{}", progress_line(state)))
        .await
    {
        Ok(clip) => clip,
        Err(Error::JobFailed { failure, .. }) => return Err(format!("no clip: {failure}").into()),
        Err(error) => return Err(error.into()),
    };
    let path = footage.download(&clip, ".").await?;
    println!(
        "{}: {} bytes, SHA-256 {}, gaps: {}",
        path.display(),
        clip.size_bytes,
        clip.sha256,
        clip.gaps.len()
    );
    Ok(())
}
