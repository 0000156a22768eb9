package heldar.footage;

import com.google.protobuf.Timestamp;
import java.time.Duration;
import java.time.Instant;

/** Moments and lengths of time, between {@code java.time} and the contract. */
public final class Times {
  private static final Instant FIRST = Instant.parse("0001-01-01T00:00:00Z");
  private static final Instant LAST = Instant.parse("9999-12-31T23:59:59.999999999Z");

  private Times() {}

  /** A moment of an answer. */
  public static Instant toInstant(Timestamp timestamp) {
    return Instant.ofEpochSecond(timestamp.getSeconds(), timestamp.getNanos());
  }

  /** A moment for a request; the server keeps it to the microsecond. */
  public static Timestamp toTimestamp(Instant instant) {
    if (instant.isBefore(FIRST) || instant.isAfter(LAST)) {
      throw new IllegalArgumentException(instant + " is not within the years 1 to 9999");
    }
    return Timestamp.newBuilder().setSeconds(instant.getEpochSecond()).setNanos(instant.getNano()).build();
  }

  /** A length of time of an answer. */
  public static Duration toJavaDuration(com.google.protobuf.Duration duration) {
    return Duration.ofSeconds(duration.getSeconds(), duration.getNanos());
  }

  /** A length of time for a request. */
  public static com.google.protobuf.Duration toDuration(Duration length) {
    // The contract wants seconds and nanoseconds of one sign, java.time has nanoseconds that are never negative.
    boolean rounds = length.getSeconds() < 0 && length.getNano() > 0;
    return com.google.protobuf.Duration.newBuilder()
        .setSeconds(rounds ? length.getSeconds() + 1 : length.getSeconds())
        .setNanos(rounds ? length.getNano() - 1_000_000_000 : length.getNano())
        .build();
  }
}
