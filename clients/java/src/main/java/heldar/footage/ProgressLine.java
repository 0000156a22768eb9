package heldar.footage;

import heldar.footage.v1.Job;
import heldar.footage.v1.JobProgress;
import heldar.footage.v1.JobState;
import java.util.Locale;
import java.util.StringJoiner;

/** Progress in words. */
public final class ProgressLine {
  private ProgressLine() {}

  /** How far a job is, in a line for people: {@code running · cutting · 44 % · 47.4 of 107.0 MB}. */
  public static String of(Job job) {
    JobProgress progress = job.getProgress();
    StringJoiner words = new StringJoiner(" · ");
    // A newer server may have states that this client has no word for.
    if (job.getState() != JobState.UNRECOGNIZED) {
      words.add(job.getState().name().substring("JOB_STATE_".length()).toLowerCase(Locale.ROOT));
    }
    if (!progress.getPhase().isEmpty()) {
      words.add(progress.getPhase());
    }
    if (progress.hasFraction()) {
      words.add(Math.round(progress.getFraction() * 100) + " %");
    }
    if (progress.getBytesTotal() > 0) {
      double done = progress.getBytesDone() / 1e6;
      words.add(String.format(Locale.ROOT, "%.1f of %.1f MB", done, progress.getBytesTotal() / 1e6));
    }
    return words.toString();
  }
}
