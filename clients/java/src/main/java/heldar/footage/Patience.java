package heldar.footage;

import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** How long to go on after failures that pass: as the server asks, else longer each time, until time is up. */
final class Patience {
  private static final long FIRST_PAUSE_MS = 100;
  private static final long LONGEST_PAUSE_MS = 5_000;

  private final long patienceNs;
  private int failures;
  /** When to give up; meaningless before the first failure in a row. */
  private long giveUpAtNs;

  Patience(Duration patience) {
    patienceNs = nanoseconds(patience);
  }

  /** Something was received: the next failure is a first one. */
  void reset() {
    failures = 0;
  }

  /**
   * Waits before going on; throws the failure when that makes no sense.
   *
   * @param failure null: a stream that ended early
   */
  void pauseAfter(@Nullable FootageException failure) {
    long now = System.nanoTime();
    if (failures == 0) {
      giveUpAtNs = now + patienceNs;
    }
    if (failure != null && !passes(failure)) {
      throw failure;
    }
    double backoffMs =
        Math.min(FIRST_PAUSE_MS << Math.min(failures, 16), LONGEST_PAUSE_MS)
            * ThreadLocalRandom.current().nextDouble(0.5, 1.0);
    long pauseNs = (long) (backoffMs * 1e6);
    if (failure != null && failure.getRetryAfter() != null) {
      pauseNs = Math.max(pauseNs, nanoseconds(failure.getRetryAfter()));
    }
    if (giveUpAtNs - now < pauseNs) {
      throw failure != null
          ? failure
          : new UnavailableException("the stream ended before all had come", List.of(), null);
    }
    failures++;
    sleep(pauseNs);
  }

  /** Whether the same call may succeed a little later. */
  private static boolean passes(FootageException failure) {
    if (failure.getCode() == Status.Code.UNAVAILABLE || failure.getRetryAfter() != null) {
      return true;
    }
    // A connection that breaks in the middle of an answer; what the server itself says has a reason.
    return failure.getReason().isEmpty()
        && (failure.getCode() == Status.Code.INTERNAL || failure.getCode() == Status.Code.UNKNOWN);
  }

  private static void sleep(long lengthNs) {
    try {
      TimeUnit.NANOSECONDS.sleep(lengthNs);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new CancelledException("the thread was interrupted", List.of(), e);
    }
  }

  /** The length in nanoseconds; half of all that a clock can count for lengths that no clock will see the end of. */
  static long nanoseconds(Duration length) {
    long longest = Long.MAX_VALUE / 2;
    return length.compareTo(Duration.ofNanos(longest)) < 0 ? Math.max(length.toNanos(), 0) : longest;
  }
}
