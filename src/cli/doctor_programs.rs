//! What `footage doctor` says of the programs that the service runs.

use std::path::Path;
use std::time::Duration;

use heldar_footage::process::{Job, ProcessError};
use tokio_util::sync::CancellationToken;

use super::doctor::Check;
use super::doctor_checks::chain;
use super::words;

/// A killed transfer of an older rclone leaves a truncated file under its final name.
const OLDEST_RCLONE: (u32, u32) = (1, 63);
/// What was measured and tested.
const OLDEST_FFMPEG: (u32, u32) = (5, 0);
const TOOL_DEADLINE: Duration = Duration::from_secs(10);
const TOOL_OUTPUT_MAX_BYTES: usize = 64 << 10;

/// The first line that a program prints of itself.
async fn tool_version(program: &Path, argument: &str) -> Result<String, ProcessError> {
    let job = Job::new(program, TOOL_DEADLINE).arguments([argument]);
    let output = job
        .output(&CancellationToken::new(), TOOL_OUTPUT_MAX_BYTES)
        .await?;
    let text = String::from_utf8_lossy(&output);
    Ok(words::plain(text.lines().next().unwrap_or_default().trim()))
}

pub(super) async fn ffmpeg(name: &'static str, program: &Path, variable: &str) -> Check {
    let install = format!("install it (Debian, Ubuntu: apt install ffmpeg), or set {variable}");
    match tool_version(program, "-version").await {
        Ok(version) => {
            let short = version
                .split(" Copyright")
                .next()
                .unwrap_or(&version)
                .to_owned();
            match numbers(&version) {
                // Builds from the repository carry a date or a commit instead of numbers, and are newer.
                Some(found) if found < OLDEST_FFMPEG => Check::warn(
                    name,
                    format!("{short}: older than 5.0, not tested"),
                    install,
                ),
                _ => Check::ok(name, short),
            }
        }
        Err(error) => Check::fail(name, chain(&error), install),
    }
}

/// What clips that are encoded anew need beyond copying: has ffmpeg encode a tenth of a second with a text in it.
pub(super) async fn rendering(program: &Path) -> Check {
    const NAME: &str = "rendering";
    const MEND: &str = "only clips that are encoded anew need it: an ffmpeg 5.1 or newer with libx264, libass and \
                        fontconfig, and a font (Debian, Ubuntu: apt install ffmpeg fonts-dejavu-core)";
    let filters = match ffmpeg_output(program, &["-hide_banner", "-filters"]).await {
        Ok(output) => output,
        Err(error) => return Check::warn(NAME, chain(&error), MEND),
    };
    if !filters
        .lines()
        .any(|line| line.split_whitespace().nth(1) == Some("ass"))
    {
        return Check::warn(NAME, "ffmpeg has no filter `ass`", MEND);
    }
    let arguments = [
        "-nostdin",
        "-hide_banner",
        "-loglevel",
        "error",
        "-f",
        "lavfi",
        "-i",
        "color=size=64x64:duration=0.1",
        "-f",
        "lavfi",
        "-i",
        "anullsrc",
        "-shortest",
        "-vf",
        "drawtext=font=DejaVu Sans Mono:text=12",
        "-fps_mode",
        "passthrough",
        "-c:v",
        "libx264",
        "-c:a",
        "aac",
        "-f",
        "null",
        "-",
    ];
    match ffmpeg_output(program, &arguments).await {
        Ok(_) => Check::ok(NAME, "ffmpeg encodes H.264 and AAC, and writes text"),
        Err(error) => Check::warn(NAME, chain(&error), MEND),
    }
}

async fn ffmpeg_output(program: &Path, arguments: &[&str]) -> Result<String, ProcessError> {
    let job = Job::new(program, TOOL_DEADLINE).arguments(arguments);
    let output = job
        .output(&CancellationToken::new(), TOOL_OUTPUT_MAX_BYTES)
        .await?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

pub(super) async fn rclone(program: &Path) -> Check {
    const NAME: &str = "rclone";
    const INSTALL: &str = "only backups to other machines need it: install 1.63 or newer, \
                           or set HELDAR_RCLONE_BIN";
    match tool_version(program, "version").await {
        Ok(version) => match numbers(&version) {
            Some(found) if found >= OLDEST_RCLONE => Check::ok(NAME, version),
            _ => {
                let found = format!(
                    "{version}: older than 1.63 can leave cut-off files at the destination"
                );
                Check::warn(NAME, found, INSTALL)
            }
        },
        Err(error) => Check::warn(NAME, chain(&error), INSTALL),
    }
}

/// The first two numbers of a version: (5, 1) of `ffmpeg version 5.1.6-0+deb12u1`, (1, 75) of `rclone v1.75.0`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    version.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches(['v', 'n']);
        let mut parts = word.split(|c: char| !c.is_ascii_digit());
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        word.starts_with(&format!("{major}."))
            .then_some((major, minor))
    })
}

#[cfg(test)]
mod tests {
    use super::super::doctor::Verdict;
    use super::*;

    #[test]
    fn versions_are_read_as_the_tools_print_them() {
        assert_eq!(
            numbers("ffmpeg version 5.1.6-0+deb12u1 Copyright (c) 2000-2024"),
            Some((5, 1))
        );
        assert_eq!(numbers("ffmpeg version n7.0 Copyright"), Some((7, 0)));
        assert_eq!(numbers("rclone v1.60.1-DEV"), Some((1, 60)));
        assert_eq!(numbers("ffmpeg version N-112233-gabcdef Copyright"), None);
    }

    #[tokio::test]
    async fn rendering_is_well_with_the_ffmpeg_that_is_installed_and_else_only_a_warning() {
        let check = rendering(Path::new("ffmpeg")).await;
        assert_eq!(check.verdict, Verdict::Ok, "{check:?}");
        let check = rendering(Path::new("/no/such/ffmpeg")).await;
        assert_eq!(check.verdict, Verdict::Warn);
        assert!(check.mend.contains("libx264"));
    }

    #[tokio::test]
    async fn a_missing_rclone_is_only_a_warning() {
        let check = rclone(Path::new("/no/such/rclone")).await;
        assert_eq!(check.verdict, Verdict::Warn);
        assert!(check.mend.contains("HELDAR_RCLONE_BIN"));
    }
}
