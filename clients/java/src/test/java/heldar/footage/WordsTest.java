package heldar.footage;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import heldar.footage.v1.Job;
import heldar.footage.v1.JobProgress;
import heldar.footage.v1.JobState;
import java.time.Duration;
import java.time.Instant;
import java.util.Locale;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Progress in words, and times as the contract has them. */
class WordsTest {
  @Test
  void progressIsTheSameLineInEveryLanguageOfTheMachine() {
    JobProgress progress =
        JobProgress.newBuilder()
            .setPhase("cutting")
            .setFraction(0.441)
            .setBytesDone(47_400_000)
            .setBytesTotal(107_000_000)
            .build();
    Job job = Job.newBuilder().setState(JobState.JOB_STATE_RUNNING).setProgress(progress).build();
    Locale before = Locale.getDefault();
    Locale.setDefault(Locale.forLanguageTag("tr-TR"));
    try {
      assertEquals("running · cutting · 44 % · 47.4 of 107.0 MB", ProgressLine.of(job));
    } finally {
      Locale.setDefault(before);
    }
    assertEquals("queued", ProgressLine.of(Job.newBuilder().setState(JobState.JOB_STATE_QUEUED).build()));
    Job later =
        Job.newBuilder().setStateValue(99).setProgress(JobProgress.newBuilder().setPhase("cutting")).build();
    assertEquals("cutting", ProgressLine.of(later), "a state of a later time has no word");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "2026-11-22T13:00:00.000001Z", "1969-12-31T23:59:59.5Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"
      })
  void aMomentComesBackAsItWas(String text) {
    Instant moment = Instant.parse(text);
    assertEquals(moment, Times.toInstant(Times.toTimestamp(moment)));
  }

  @Test
  void aMomentThatNoTimestampHoldsIsRefused() {
    assertThrows(IllegalArgumentException.class, () -> Times.toTimestamp(Instant.MAX));
    assertThrows(IllegalArgumentException.class, () -> Times.toTimestamp(Instant.MIN));
  }

  @ParameterizedTest
  @ValueSource(strings = {"PT0S", "PT1.5S", "PT-1.5S", "PT-0.000000001S", "PT168H"})
  void aLengthComesBackAsItWasAndHasOneSign(String text) {
    Duration length = Duration.parse(text);
    com.google.protobuf.Duration converted = Times.toDuration(length);
    assertEquals(length, Times.toJavaDuration(converted));
    assertTrue(Long.signum(converted.getSeconds()) * converted.getNanos() >= 0);
  }
}
