//! A job's progress on standard error: a bar in a terminal, otherwise a plain line each second and for each new phase.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use heldar_footage::proto::{Job, JobKind, JobState};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::words;

const LINE_INTERVAL: Duration = Duration::from_secs(1);
const REDRAWS_PER_SECOND: u8 = 10;
/// The bar counts in thousandths.
const BAR_LENGTH: u64 = 1000;

/// Where progress is shown.
pub struct ProgressView {
    kind: Kind,
}

enum Kind {
    Bar(ProgressBar),
    Lines { next_at: Instant, last: Line },
    Silent,
}

impl ProgressView {
    /// A bar in a terminal; else lines, or nothing when the command's output is for a script.
    pub fn new(json: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let kind = if std::io::stderr().is_terminal() && !is_dumb {
            let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
            let bar = ProgressBar::with_draw_target(Some(BAR_LENGTH), target)
                .with_style(unknown_length());
            bar.enable_steady_tick(Duration::from_millis(200));
            Kind::Bar(bar)
        } else if json {
            Kind::Silent
        } else {
            Kind::Lines {
                next_at: Instant::now(),
                last: Line::default(),
            }
        };
        Self { kind }
    }

    /// Shows the job as it is now.
    pub fn show(&mut self, job: &Job) {
        // The end is told by the result.
        if !has_ended(job.state()) {
            self.show_line(&line(job));
        }
    }

    /// Shows that the server is at work and has not said yet how much there is to come.
    pub fn show_preparing(&mut self) {
        self.show_line(&Line {
            label: "preparing".to_owned(),
            ..Line::default()
        });
    }

    /// Shows how much of a file has arrived.
    pub fn show_download(&mut self, done_bytes: u64, total_bytes: u64, elapsed: Duration) {
        self.show_line(&bytes_line("downloading", done_bytes, total_bytes, elapsed));
    }

    /// Shows how much of a file has been verified.
    pub fn show_verification(&mut self, done_bytes: u64, total_bytes: u64, elapsed: Duration) {
        self.show_line(&bytes_line("verifying", done_bytes, total_bytes, elapsed));
    }

    fn show_line(&mut self, line: &Line) {
        match &mut self.kind {
            Kind::Bar(bar) => {
                if bar.prefix() != line.label {
                    // Each of the calls below may draw; the words of the phase before must not stand beside the new one.
                    bar.set_message("");
                }
                match line.fraction {
                    Some(fraction) => {
                        bar.set_style(known_length());
                        bar.set_position(thousandths(fraction));
                    }
                    None => bar.set_style(unknown_length()),
                }
                bar.set_prefix(line.label.clone());
                bar.set_message(line.text.clone());
            }
            Kind::Lines { next_at, last } => {
                let is_due = line.label != last.label || Instant::now() >= *next_at;
                if is_due && line != last {
                    eprintln!("{line}");
                    *last = line.clone();
                    *next_at = Instant::now() + LINE_INTERVAL;
                }
            }
            Kind::Silent => {}
        }
    }

    /// Says something beside the progress, on standard error.
    pub fn say(&self, text: &str) {
        match &self.kind {
            Kind::Bar(bar) => bar.suspend(|| eprintln!("{text}")),
            Kind::Lines { .. } | Kind::Silent => eprintln!("{text}"),
        }
    }
}

impl Drop for ProgressView {
    /// Results and errors must not stand behind a half-drawn bar.
    fn drop(&mut self) {
        if let Kind::Bar(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }
}

fn known_length() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:11} [{bar:24}] {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn unknown_length() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:11} {spinner} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .tick_strings(&[
            "[=   ]", "[ =  ]", "[  = ]", "[   =]", "[  = ]", "[ =  ]", "[    ]",
        ])
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0 to 1000"
)]
fn thousandths(fraction: f64) -> u64 {
    (fraction.clamp(0.0, 1.0) * 1000.0) as u64
}

/// What is shown of a job at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
struct Line {
    label: String,
    fraction: Option<f64>,
    text: String,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.label)?;
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}

fn percent(fraction: f64) -> String {
    format!("{}%", thousandths(fraction) / 10)
}

fn line(job: &Job) -> Line {
    let progress = job.progress.clone().unwrap_or_default();
    let label = match job.state() {
        JobState::Queued => "waiting".to_owned(),
        JobState::Cancelling => "cancelling".to_owned(),
        JobState::Running if !progress.phase.is_empty() => words::plain(&progress.phase),
        JobState::Running => "working".to_owned(),
        ended => state_word(ended).to_owned(),
    };
    if has_ended(job.state()) {
        return Line {
            label,
            ..Line::default()
        };
    }
    let mut parts = Vec::new();
    parts.extend(progress.fraction.map(percent));
    if job.attempt > 1 {
        parts.push(format!("attempt {} of {}", job.attempt, job.max_attempts));
    }
    if progress.files_total > 1 || (progress.files_done > 0 && job.kind() != JobKind::Clip) {
        parts.push(match progress.files_total {
            0 => words::count(progress.files_done, "file"),
            total => format!(
                "{} of {}",
                words::grouped(progress.files_done),
                words::count(total, "file")
            ),
        });
    }
    if let Some(total) = &progress.media_total {
        let done = progress.media_done.as_ref().map_or(0, words::milliseconds);
        parts.push(format!(
            "{} of {}",
            words::position(done),
            words::position(words::milliseconds(total))
        ));
    }
    if progress.bytes_done > 0 {
        parts.push(match progress.bytes_total {
            0 => words::bytes(progress.bytes_done),
            total => format!(
                "{} of {}",
                words::bytes(progress.bytes_done),
                words::bytes(total)
            ),
        });
    }
    if progress.bytes_per_second > 0 {
        parts.push(format!("{}/s", words::bytes(progress.bytes_per_second)));
    }
    parts.extend(speed(job));
    if let Some(left) = &progress.time_left {
        parts.push(format!(
            "{} left",
            words::roughly(words::milliseconds(left))
        ));
    }
    if !progress.current_item.is_empty() {
        parts.push(words::plain(&progress.current_item));
    }
    Line {
        label,
        fraction: progress.fraction,
        text: parts.join(" · "),
    }
}

/// Footage per time, since the attempt began: `24x`.
fn speed(job: &Job) -> Option<String> {
    let media_ms = words::milliseconds(job.progress.as_ref()?.media_done.as_ref()?);
    let began = words::moment(job.start_time.as_ref()?)?;
    let now = words::moment(job.update_time.as_ref()?)?;
    let elapsed_ms = (now - began).num_milliseconds();
    (media_ms > 0 && elapsed_ms > 0 && media_ms >= elapsed_ms)
        .then(|| format!("{}x", media_ms / elapsed_ms))
}

fn bytes_line(label: &str, done_bytes: u64, total_bytes: u64, elapsed: Duration) -> Line {
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    #[allow(clippy::cast_precision_loss, reason = "a part of a whole, for a bar")]
    let fraction = (total_bytes > 0).then(|| done_bytes as f64 / total_bytes as f64);
    let mut parts: Vec<String> = fraction.map(percent).into_iter().collect();
    parts.push(format!(
        "{} of {}",
        words::bytes(signed(done_bytes)),
        words::bytes(signed(total_bytes))
    ));
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    // The first moments say nothing of the speed.
    if elapsed_ms >= 500 {
        let per_second = done_bytes.saturating_mul(1000) / elapsed_ms;
        parts.push(format!("{}/s", words::bytes(signed(per_second))));
        if let Some(left_s) = total_bytes
            .saturating_sub(done_bytes)
            .checked_div(per_second)
        {
            parts.push(format!(
                "{} left",
                words::roughly(signed(left_s.saturating_mul(1000)))
            ));
        }
    }
    Line {
        label: label.to_owned(),
        fraction,
        text: parts.join(" · "),
    }
}

/// A state in small letters, as it stands in tables.
pub fn state_word(state: JobState) -> &'static str {
    match state {
        JobState::Unspecified => "unknown",
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Cancelling => "cancelling",
        JobState::Succeeded => "succeeded",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    }
}

/// Whether a job in this state never changes again.
pub fn has_ended(state: JobState) -> bool {
    matches!(
        state,
        JobState::Succeeded | JobState::Failed | JobState::Cancelled
    )
}

/// A job's progress in a few words, for tables.
pub fn in_short(job: &Job) -> String {
    let fraction = job.progress.as_ref().and_then(|progress| progress.fraction);
    match fraction {
        Some(fraction) if !has_ended(job.state()) => percent(fraction),
        _ => String::new(),
    }
}

/// The whole line, for a list of jobs that are followed together.
pub fn in_words(job: &Job) -> String {
    line(job).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use heldar_footage::proto::{Job, JobKind, JobProgress, JobState};

    use super::{bytes_line, line};

    fn seconds(seconds: i64) -> prost_types::Duration {
        prost_types::Duration { seconds, nanos: 0 }
    }

    fn moment(seconds: i64) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds, nanos: 0 }
    }

    #[test]
    fn a_clip_shows_footage_bytes_speed_and_time_left() {
        let job = Job {
            kind: JobKind::Clip.into(),
            state: JobState::Running.into(),
            attempt: 1,
            start_time: Some(moment(100)),
            update_time: Some(moment(105)),
            progress: Some(JobProgress {
                phase: "cutting".into(),
                files_total: 1,
                bytes_done: 52_123_456,
                bytes_per_second: 10_400_000,
                media_done: Some(seconds(120)),
                media_total: Some(seconds(210)),
                fraction: Some(0.571),
                time_left: Some(seconds(3)),
                ..JobProgress::default()
            }),
            ..Job::default()
        };
        assert_eq!(
            line(&job).to_string(),
            "cutting: 57% · 2:00 of 3:30 · 52.1 MB · 10.4 MB/s · 24x · 3 s left"
        );
    }

    #[test]
    fn an_import_shows_files_and_the_present_one() {
        let job = Job {
            kind: JobKind::Import.into(),
            state: JobState::Running.into(),
            attempt: 2,
            max_attempts: 3,
            progress: Some(JobProgress {
                phase: "reading".into(),
                files_done: 1200,
                files_total: 5000,
                bytes_done: 1_000_000,
                bytes_total: 4_000_000,
                current_item: "gate/1.mp4\n".into(),
                ..JobProgress::default()
            }),
            ..Job::default()
        };
        assert_eq!(
            line(&job).to_string(),
            "reading: attempt 2 of 3 · 1,200 of 5,000 files · 1.00 MB of 4.00 MB · gate/1.mp4\\u{a}"
        );
    }

    #[test]
    fn a_job_without_progress_is_waiting() {
        let job = Job {
            state: JobState::Queued.into(),
            ..Job::default()
        };
        assert_eq!(line(&job).to_string(), "waiting");
    }

    #[test]
    fn a_job_that_has_ended_shows_no_progress() {
        let progress = Some(JobProgress {
            fraction: Some(0.0),
            ..JobProgress::default()
        });
        let job = Job {
            state: JobState::Succeeded.into(),
            progress,
            ..Job::default()
        };
        assert_eq!(line(&job).to_string(), "succeeded");
    }

    #[test]
    fn a_download_knows_its_speed_after_half_a_second() {
        let shown =
            bytes_line("downloading", 5_000_000, 10_000_000, Duration::from_secs(1)).to_string();
        assert_eq!(
            shown,
            "downloading: 50% · 5.00 MB of 10.0 MB · 5.00 MB/s · 1 s left"
        );
        let shown = bytes_line("downloading", 0, 10, Duration::ZERO).to_string();
        assert_eq!(shown, "downloading: 0% · 0 B of 10 B");
    }
}
