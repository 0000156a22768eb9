//! Reading how a clip is to be made: engine, gaps, rendering, virtual or not.

use chrono_tz::Tz;

use super::fields::Fields;
use crate::domain::clip::{ClipEngine, GapMode, RenderOptions};
use crate::proto;

const WIDTH_MAX: u32 = 7680;
const HEIGHT_MAX: u32 = 4320;
const SIDE_MIN: u32 = 16;
const SPEED_MIN: f64 = 0.1;
const SPEED_MAX: f64 = 1000.0;
const CRF_MAX: u32 = 51;

/// How a clip is to be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choices {
    pub(super) engine: ClipEngine,
    pub(super) gap_mode: GapMode,
    /// Present exactly with [`ClipEngine::Render`].
    pub(super) render: Option<RenderOptions>,
    pub(super) is_virtual: bool,
    pub(super) hold_sources: bool,
    pub(super) quick: bool,
}

/// Reads the choices of a request; what does not go together is wrong.
pub(super) fn choices(fields: &mut Fields, asked: &proto::CreateClipRequest) -> Choices {
    let engine = match proto::ClipEngine::try_from(asked.engine) {
        Ok(proto::ClipEngine::Unspecified | proto::ClipEngine::Auto) => ClipEngine::Auto,
        Ok(proto::ClipEngine::Native) => ClipEngine::Native,
        Ok(proto::ClipEngine::Ffmpeg) => ClipEngine::Ffmpeg,
        Ok(proto::ClipEngine::Render) => ClipEngine::Render,
        Err(_) => {
            fields.wrong("engine", "is no engine that this version knows");
            ClipEngine::Auto
        }
    };
    let gap_mode = match proto::GapMode::try_from(asked.gap_mode) {
        Ok(proto::GapMode::Unspecified | proto::GapMode::Close) => GapMode::Close,
        Ok(proto::GapMode::Keep) => GapMode::Keep,
        Err(_) => {
            fields.wrong("gap_mode", "is no mode that this version knows");
            GapMode::Close
        }
    };
    let render = match (&asked.render, engine) {
        (options, ClipEngine::Render) => Some(render(
            fields,
            options.as_ref().unwrap_or(&proto::RenderOptions::default()),
        )),
        (Some(_), _) => {
            fields.wrong("render", "goes only with CLIP_ENGINE_RENDER");
            None
        }
        (None, _) => None,
    };
    if asked.r#virtual && matches!(engine, ClipEngine::Ffmpeg | ClipEngine::Render) {
        fields.wrong(
            "virtual",
            "goes only with CLIP_ENGINE_AUTO and CLIP_ENGINE_NATIVE",
        );
    }
    if asked.hold_sources && !asked.r#virtual {
        fields.wrong("hold_sources", "goes only with `virtual`");
    }
    Choices {
        engine,
        gap_mode,
        render,
        is_virtual: asked.r#virtual,
        hold_sources: asked.hold_sources,
        quick: asked.quick,
    }
}

fn render(fields: &mut Fields, asked: &proto::RenderOptions) -> RenderOptions {
    let defaults = RenderOptions::default();
    let speed_milli = if asked.speed == 0.0 {
        defaults.speed_milli
    } else if (SPEED_MIN..=SPEED_MAX).contains(&asked.speed) {
        (asked.speed * 1000.0).round() as u32
    } else {
        fields.wrong(
            "render.speed",
            format!("must be 0 or between {SPEED_MIN} and {SPEED_MAX}"),
        );
        defaults.speed_milli
    };
    let time_zone = if asked.time_zone.is_empty() {
        defaults.time_zone
    } else {
        if asked.time_zone.parse::<Tz>().is_err() {
            fields.wrong(
                "render.time_zone",
                "is no zone of the IANA database, such as Europe/Berlin",
            );
        }
        asked.time_zone.clone()
    };
    let crf = match u32::try_from(asked.crf) {
        Ok(0) => defaults.crf,
        Ok(crf) if crf <= CRF_MAX => crf,
        _ => {
            fields.wrong(
                "render.crf",
                format!("must be 0 or between 1 and {CRF_MAX}"),
            );
            defaults.crf
        }
    };
    RenderOptions {
        width: side(fields, "render.width", asked.width, WIDTH_MAX),
        height: side(fields, "render.height", asked.height, HEIGHT_MAX),
        speed_milli,
        burn_in_camera_name: asked.burn_in_camera_name,
        burn_in_time: asked.burn_in_time,
        time_zone,
        audio_off: asked.audio_off,
        crf,
    }
}

/// A side of the picture; 0 is none.
fn side(fields: &mut Fields, field: &str, asked: i32, max: u32) -> Option<u32> {
    match u32::try_from(asked) {
        Ok(0) => None,
        Ok(side) if (SIDE_MIN..=max).contains(&side) && side % 2 == 0 => Some(side),
        _ => {
            fields.wrong(
                field,
                format!("must be 0 or an even number between {SIDE_MIN} and {max}"),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(asked: &proto::CreateClipRequest) -> Result<Choices, Vec<String>> {
        let mut fields = Fields::default();
        let choices = choices(&mut fields, asked);
        fields
            .of(Some(choices))
            .map_err(|violations| violations.into_iter().map(|(field, _)| field).collect())
    }

    #[test]
    fn a_request_that_chooses_nothing_is_cut_natively_where_possible_with_gaps_closed() {
        assert_eq!(
            read(&proto::CreateClipRequest::default()),
            Ok(Choices {
                engine: ClipEngine::Auto,
                gap_mode: GapMode::Close,
                render: None,
                is_virtual: false,
                hold_sources: false,
                quick: false,
            })
        );
    }

    #[test]
    fn rendering_without_options_has_the_defaults() {
        let asked = proto::CreateClipRequest {
            engine: proto::ClipEngine::Render.into(),
            ..Default::default()
        };
        assert_eq!(read(&asked).unwrap().render, Some(RenderOptions::default()));
    }

    #[test]
    fn all_that_is_wrong_or_does_not_go_together_is_named_at_once() {
        let asked = proto::CreateClipRequest {
            engine: proto::ClipEngine::Render.into(),
            gap_mode: 77,
            r#virtual: true,
            render: Some(proto::RenderOptions {
                width: 17,
                height: 4322,
                speed: f64::NAN,
                time_zone: "Mars/Olympus".to_owned(),
                crf: 52,
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(
            read(&asked).unwrap_err(),
            [
                "gap_mode",
                "render.speed",
                "render.time_zone",
                "render.crf",
                "render.width",
                "render.height",
                "virtual"
            ]
        );
        let asked = proto::CreateClipRequest {
            engine: 99,
            render: Some(proto::RenderOptions::default()),
            hold_sources: true,
            ..Default::default()
        };
        assert_eq!(
            read(&asked).unwrap_err(),
            ["engine", "render", "hold_sources"]
        );
    }
}
