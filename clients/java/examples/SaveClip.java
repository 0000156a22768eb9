import heldar.footage.Footage;
import heldar.footage.JobFailedException;
import heldar.footage.ProgressLine;
import heldar.footage.RunningJob;
import heldar.footage.Times;
import heldar.footage.v1.Camera;
import heldar.footage.v1.Clip;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;

/**
 * Saves the last minute of a camera.
 *
 * <pre>java -cp 'target/dependency/*' SaveClip.java [ADDRESS [CAMERA]]</pre>
 */
class SaveClip {
  public static void main(String[] args) throws IOException {
    String address = args.length > 0 ? args[0] : "127.0.0.1:50051";
    try (Footage footage = Footage.connect(address)) {
      Camera camera =
          footage.cameras().stream()
              .filter(found -> args.length < 2 || found.getId().equals(args[1]))
              .filter(found -> found.getSegmentCount() > 0)
              .findFirst()
              .orElseThrow();
      Instant end = Times.toInstant(camera.getLastSegmentTime());
      RunningJob<Clip> job =
          footage.createClip(
              camera.getId(), end.minus(Duration.ofMinutes(1)), end, request -> request.setCreatedBy("example"));
      // Ctrl-C cancels the job.
      Clip clip = job.cancelOnShutdown().result(state -> System.out.println(ProgressLine.of(state)));
      Path path = footage.download(clip, Path.of(""));
      System.out.printf(
          "%s: %d bytes, SHA-256 %s, gaps: %d%n", path, clip.getSizeBytes(), clip.getSha256(), clip.getGapsCount());
    } catch (JobFailedException e) {
      System.err.println("no clip: " + e.getMessage() + " (" + e.getReason() + ")");
      System.exit(1);
    }
  }
}
