import heldar.footage.Footage;
import heldar.footage.ProgressLine;
import heldar.footage.RunningJob;
import heldar.footage.Times;
import heldar.footage.v1.Archive;
import heldar.footage.v1.Camera;
import heldar.footage.v1.Job;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Comparator;
import java.util.List;

/**
 * Saves the last minute of up to three cameras as one archive that proves what it contains.
 *
 * <pre>java -cp 'target/dependency/*' SaveArchive.java [ADDRESS]</pre>
 */
class SaveArchive {
  public static void main(String[] args) throws IOException {
    try (Footage footage = Footage.connect(args.length > 0 ? args[0] : "127.0.0.1:50051")) {
      List<Camera> cameras =
          footage.cameras().stream().filter(camera -> camera.getSegmentCount() > 0).limit(3).toList();
      Instant end =
          cameras.stream()
              .map(camera -> Times.toInstant(camera.getLastSegmentTime()))
              .max(Comparator.naturalOrder())
              .orElseThrow();
      RunningJob<Archive> job =
          footage
              .createArchive(
                  cameras.stream().map(Camera::getId).toList(),
                  end.minus(Duration.ofMinutes(1)),
                  end,
                  spec -> spec.setCaseId("2026-117").setOperator("control room").setReason("example"))
              .cancelOnShutdown();
      for (Job state : job) {
        System.out.println(ProgressLine.of(state));
      }
      Archive archive = job.result();
      Path path = footage.download(archive, Path.of(""));
      System.out.printf(
          "%s: %d entries of %d cameras, SHA-256 %s%n",
          path, archive.getEntryCount(), archive.getCamerasCount(), archive.getSha256());
    }
  }
}
