//! The options of `footage clip` about encoding a clip anew.

use heldar_footage::proto::{ClipEngine, CreateClipRequest, RenderOptions};

/// How the pictures are encoded anew.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of --render")]
pub struct RenderArgs {
    /// Encode the pictures anew, for players that ignore edit lists, and for what follows: slow, and never evidence
    #[arg(long)]
    render: bool,
    /// Width of the picture, even; without --height in the recorded proportion
    #[arg(
        long,
        value_name = "PIXELS",
        requires = "render",
        default_value_t = 0,
        hide_default_value = true
    )]
    width: i32,
    /// Height of the picture, even; without --width in the recorded proportion
    #[arg(
        long,
        value_name = "PIXELS",
        requires = "render",
        default_value_t = 0,
        hide_default_value = true
    )]
    height: i32,
    /// This many times faster than it happened, without sound: 60 shows an hour in a minute, 0.5 is slow motion
    #[arg(
        long,
        value_name = "TIMES",
        requires = "render",
        default_value_t = 0.0,
        hide_default_value = true
    )]
    speed: f64,
    /// Write the camera's name into the picture
    #[arg(long, requires = "render")]
    burn_in_name: bool,
    /// Write the time of each picture into it
    #[arg(long, requires = "render")]
    burn_in_time: bool,
    /// Zone of that time, for example Europe/Berlin; else UTC
    #[arg(
        long,
        value_name = "ZONE",
        requires = "burn_in_time",
        default_value = "",
        hide_default_value = true
    )]
    time_zone: String,
    /// Leave the sound out
    #[arg(long, requires = "render")]
    no_audio: bool,
    /// Quality: 1 is best and largest, 51 worst; else 23
    #[arg(
        long,
        value_name = "CRF",
        requires = "render",
        default_value_t = 0,
        hide_default_value = true
    )]
    crf: i32,
}

impl RenderArgs {
    /// The request, with what the options ask for.
    pub fn put_into(&self, request: CreateClipRequest) -> CreateClipRequest {
        if !self.render {
            return request;
        }
        CreateClipRequest {
            engine: ClipEngine::Render.into(),
            render: Some(RenderOptions {
                width: self.width,
                height: self.height,
                speed: self.speed,
                burn_in_camera_name: self.burn_in_name,
                burn_in_time: self.burn_in_time,
                time_zone: self.time_zone.clone(),
                audio_off: self.no_audio,
                crf: self.crf,
            }),
            ..request
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        render: RenderArgs,
    }

    fn asked(line: &str) -> Result<CreateClipRequest, clap::Error> {
        let command =
            Command::try_parse_from(std::iter::once("clip").chain(line.split_whitespace()))?;
        Ok(command.render.put_into(CreateClipRequest::default()))
    }

    #[test]
    fn every_option_reaches_the_request() {
        let line = "--render --width 640 --height 360 --speed 0.5 --burn-in-name --burn-in-time \
                    --time-zone Europe/Berlin --no-audio --crf 18";
        let request = asked(line).unwrap();
        assert_eq!(request.engine(), ClipEngine::Render);
        assert_eq!(
            request.render,
            Some(RenderOptions {
                width: 640,
                height: 360,
                speed: 0.5,
                burn_in_camera_name: true,
                burn_in_time: true,
                time_zone: "Europe/Berlin".to_owned(),
                audio_off: true,
                crf: 18,
            })
        );
        assert_eq!(asked("").unwrap(), CreateClipRequest::default());
    }

    #[test]
    fn what_only_rendering_does_is_refused_without_it() {
        for line in [
            "--width 640",
            "--burn-in-time",
            "--crf 1",
            "--render --time-zone UTC",
        ] {
            assert!(asked(line).is_err(), "{line}");
        }
    }
}
