//! Progress in words.

use crate::proto::{Job, JobState};

/// How far a job is, in a line for people: `running · cutting · 44 % · 47.4 of 107.0 MB`.
#[must_use]
#[allow(
    clippy::cast_precision_loss,
    reason = "a number with one decimal for people"
)]
pub fn progress_line(job: &Job) -> String {
    let state = JobState::try_from(job.state).unwrap_or_default();
    let state = state.as_str_name().trim_start_matches("JOB_STATE_");
    let mut words = vec![state.to_lowercase()];
    if let Some(progress) = &job.progress {
        words.push(progress.phase.clone());
        if let Some(fraction) = progress.fraction {
            words.push(format!("{:.0} %", fraction * 100.0));
        }
        if progress.bytes_total > 0 {
            words.push(format!(
                "{:.1} of {:.1} MB",
                progress.bytes_done as f64 / 1e6,
                progress.bytes_total as f64 / 1e6
            ));
        }
    }
    words.retain(|word| !word.is_empty());
    words.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::{Job, JobState, progress_line};
    use crate::proto::JobProgress;

    #[test]
    fn a_line_has_what_is_known() {
        let mut job = Job {
            state: JobState::Queued.into(),
            ..Job::default()
        };
        assert_eq!(progress_line(&job), "queued");
        job.state = JobState::Running.into();
        job.progress = Some(JobProgress {
            phase: "cutting".to_owned(),
            fraction: Some(0.44),
            bytes_done: 47_400_000,
            bytes_total: 107_000_000,
            ..JobProgress::default()
        });
        assert_eq!(
            progress_line(&job),
            "running · cutting · 44 % · 47.4 of 107.0 MB"
        );
    }
}
