package heldar.footage;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** Programs that a test runs. */
final class Run {
  /** Lets a program that runs for a second start sooner. */
  static final String QUICK_START = "-XX:TieredStopAtLevel=1";

  private Run() {}

  /** The classes of the client, of its tests and of what they use. */
  static String classPath() {
    return System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
  }

  /** Runs a command to its end and returns what it said; it must succeed. */
  static String command(String... command) {
    return in(Path.of("."), command);
  }

  /** Runs a command in a folder to its end and returns what it said; it must succeed. */
  static String in(Path folder, String... command) {
    try {
      Path said = Files.createTempFile("said-", ".txt");
      try {
        Process process =
            new ProcessBuilder(List.of(command))
                .directory(folder.toFile())
                .redirectErrorStream(true)
                .redirectOutput(said.toFile())
                .start();
        boolean hasEnded = process.waitFor(120, TimeUnit.SECONDS);
        if (!hasEnded) {
          process.destroyForcibly();
        }
        String text = Files.readString(said, StandardCharsets.UTF_8);
        if (!hasEnded || process.exitValue() != 0) {
          throw new AssertionError(String.join(" ", command) + ": " + text);
        }
        return text;
      } finally {
        Files.delete(said);
      }
    } catch (IOException | InterruptedException e) {
      throw new AssertionError(e);
    }
  }
}
