package heldar.footage;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Message;
import heldar.footage.v1.Archive;
import heldar.footage.v1.ArchiveSpec;
import heldar.footage.v1.BackupRun;
import heldar.footage.v1.Clip;
import heldar.footage.v1.CreateArchiveRequest;
import heldar.footage.v1.CreateBackupRequest;
import heldar.footage.v1.CreateClipRequest;
import heldar.footage.v1.CreateDestinationRequest;
import heldar.footage.v1.Destination;
import heldar.footage.v1.GetDestinationRequest;
import heldar.footage.v1.Job;
import heldar.footage.v1.JobFilter;
import heldar.footage.v1.JobState;
import heldar.footage.v1.ListJobsRequest;
import heldar.footage.v1.LocalSettings;
import heldar.footage.v1.TestDestinationRequest;
import heldar.footage.v1.WatchJobsRequest;
import heldar.footage.v1.WatchJobsResponse;
import io.grpc.Status;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The helper against a real server: jobs that are followed through broken streams, downloads, cancelling, errors. */
@AgainstTheServer
class FootageTest {
  private static final Instant START = Instant.parse("2026-11-22T13:00:00Z");
  private static final int SEGMENTS = 17;

  private final Servers servers;
  private final Footage footage;

  @TempDir private Path folder;

  FootageTest(Servers servers) {
    this.servers = servers;
    this.footage = servers.footage();
  }

  private static Instant at(double seconds) {
    return START.plusMillis((long) (seconds * 1000));
  }

  /** A destination to which all footage takes some seconds. */
  private static String slowDestination(Footage footage, Server server, long bytesPerSecond) {
    Path place = server.folder().resolve("backups").resolve(UUID.randomUUID().toString());
    try {
      Files.createDirectory(place);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
    return footage
        .backups()
        .createDestination(
            CreateDestinationRequest.newBuilder()
                .setDestination(
                    Destination.newBuilder()
                        .setBandwidthLimitBytesPerSecond(bytesPerSecond)
                        .setLocal(LocalSettings.newBuilder().setPath(place.toString()))
                        .setTransfers(1))
                .build())
        .getId();
  }

  private static RunningJob<BackupRun> slowJob(Footage footage, Server server, long bytesPerSecond) {
    CreateBackupRequest request =
        CreateBackupRequest.newBuilder().setDestinationId(slowDestination(footage, server, bytesPerSecond)).build();
    return footage.follow(footage.backups().createBackup(request), BackupRun.class);
  }

  private static String sha256(Path file) throws Exception {
    return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(file)));
  }

  private List<String> names() throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(path -> path.getFileName().toString()).sorted().toList();
    }
  }

  private static void assertAscending(List<Long> values) {
    assertEquals(values.stream().sorted().distinct().toList(), values);
  }

  @Test
  void aClipIsMadeFollowedAndSavedWithItsHash() throws Exception {
    List<Job> seen = new ArrayList<>();
    Clip clip =
        footage
            .createClip("gate_a_01", at(3.2), at(8.1), request -> request.putLabels("Straße", "東京"))
            .result(seen::add);
    assertEquals(Map.of("Straße", "東京"), clip.getLabelsMap());
    assertAscending(seen.stream().map(Job::getRevision).toList());
    Job last = seen.get(seen.size() - 1);
    assertTrue(ProgressLine.of(last).startsWith("succeeded"), ProgressLine.of(last));
    assertNotNull(UUID.fromString(last.getRequestId()), "the client chose a request id");
    List<Long> received = new ArrayList<>();
    Path path = footage.download(clip, folder, (bytes, total) -> received.add(bytes));
    assertEquals(folder.resolve(clip.getFileName()), path);
    assertEquals(clip.getSha256(), sha256(path));
    assertEquals(clip.getSizeBytes(), received.get(received.size() - 1));
    assertEquals(List.of(clip.getFileName()), names());
  }

  @Test
  void aVirtualClipIsSavedWithoutAHash() throws Exception {
    Clip clip = footage.createClip("gate_a_01", at(1), at(5), request -> request.setVirtual(true)).result();
    assertEquals("", clip.getSha256());
    assertEquals(clip.getSizeBytes(), Files.size(footage.download(clip, folder)));
    assertEquals(List.of(clip.getFileName()), names());
  }

  @Test
  void anArchiveOfThreeCamerasIsSavedUnderANameOfOnesOwn() throws Exception {
    Archive archive =
        footage
            .createArchive(List.of("gate_a_01", "yard_02", "lobby_03"), at(0), at(10), spec -> spec.setCaseId("117"))
            .result();
    assertEquals("117", archive.getSpec().getCaseId());
    assertEquals(3, archive.getCamerasCount());
    Path path = footage.download(archive, folder.resolve("evidence.zip"));
    assertEquals(folder.resolve("evidence.zip"), path);
    assertEquals(archive.getSha256(), sha256(path));
  }

  @Test
  void aJobIsFollowedThroughStreamsThatBreak() throws Exception {
    try (CuttingProxy proxy = new CuttingProxy(servers.shared().port());
        Footage through = Footage.connect(proxy.address())) {
      RunningJob<BackupRun> job = slowJob(through, servers.shared(), 3_000_000);
      List<Long> revisions = new ArrayList<>();
      for (Job state : job) {
        revisions.add(state.getRevision());
        if (revisions.size() == 2 || revisions.size() == 4) {
          proxy.cut();
        }
      }
      assertEquals(JobState.JOB_STATE_SUCCEEDED, job.job().getState());
      assertTrue(proxy.connections() >= 3, "the connection was made anew after each cut");
      assertAscending(revisions);
      assertEquals(SEGMENTS, job.result().getFilesSent());
    }
  }

  @Test
  void aJobIsFollowedThroughARestartOfTheServer() throws Exception {
    Server server = servers.start("restarted", Map.of());
    try (Footage client = Footage.connect(server.address())) {
      Servers.awaitFootage(client);
      RunningJob<BackupRun> job = slowJob(client, server, 3_000_000);
      CompletableFuture<Void> restarted = null;
      for (Job state : job) {
        boolean isUnderWay = state.getState() == JobState.JOB_STATE_RUNNING && state.getProgress().getBytesDone() > 0;
        if (isUnderWay && restarted == null) {
          int port = server.port();
          restarted =
              CompletableFuture.runAsync(
                  () -> {
                    server.stop();
                    server.start(port);
                  });
        }
      }
      assertNotNull(restarted, "the job ran");
      restarted.get(60, TimeUnit.SECONDS);
      assertEquals(SEGMENTS, job.result().getFilesSelected());
    } finally {
      server.close();
    }
  }

  @Test
  void aStreamOfAServerThatShutsDownEndsWithTheTimeToWait() {
    Server server = servers.start("drained", Map.of());
    try (Footage client = Footage.connect(server.address());
        Responses<WatchJobsResponse> watching = client.jobs().watchJobs(WatchJobsRequest.getDefaultInstance())) {
      UnavailableException ended =
          assertThrows(
              UnavailableException.class,
              () -> {
                for (WatchJobsResponse response : watching) {
                  if (response.hasSnapshotEnd()) {
                    server.terminate();
                  }
                }
              });
      assertEquals("DRAINING", ended.getReason());
      assertEquals(Duration.ofSeconds(1), ended.getRetryAfter());
    } finally {
      server.close();
    }
  }

  @Test
  void aCallThatBreaksIsRepeatedAndMakesOneJob() throws Exception {
    Server server = servers.shared();
    String label = UUID.randomUUID().toString();
    CreateBackupRequest request =
        CreateBackupRequest.newBuilder()
            .setDestinationId(slowDestination(footage, server, 3_000_000))
            .setWait(Times.toDuration(Duration.ofSeconds(30)))
            .putLabels("test", label)
            .build();
    ListJobsRequest mine =
        ListJobsRequest.newBuilder().setFilter(JobFilter.newBuilder().putLabels("test", label)).build();
    try (CuttingProxy proxy = new CuttingProxy(server.port());
        Footage through = Footage.connect(proxy.address())) {
      CompletableFuture<Job> made = CompletableFuture.supplyAsync(() -> through.backups().createBackup(request));
      Servers.await("the job is written", () -> footage.jobs().listJobs(mine).getJobsCount() > 0);
      proxy.cut();
      Job job = made.get(60, TimeUnit.SECONDS);
      assertEquals(JobState.JOB_STATE_SUCCEEDED, job.getState());
      assertEquals(2, proxy.connections());
      assertEquals(
          List.of(job.getId()), footage.jobs().listJobs(mine).getJobsList().stream().map(Job::getId).toList());
    }
  }

  private Archive archiveOfAll() {
    ArchiveSpec everything = ArchiveSpec.getDefaultInstance();
    return footage.createArchive(CreateArchiveRequest.newBuilder().setSpec(everything).build()).result();
  }

  @Test
  void aDownloadThatBreaksGoesOnWhereItStopped() throws Exception {
    Archive archive = archiveOfAll();
    try (CuttingProxy proxy = new CuttingProxy(servers.shared().port());
        Footage through = Footage.connect(proxy.address())) {
      proxy.cutAfter(archive.getSizeBytes() / 2);
      List<Long> received = new ArrayList<>();
      Path path = through.download(archive, folder, (bytes, total) -> received.add(bytes));
      assertEquals(2, proxy.connections());
      assertAscending(received);
      assertEquals(archive.getSha256(), sha256(path));
    }
  }

  @Test
  void aDownloadTakesUpWhatAnEarlierProgramLeft() throws Exception {
    Archive archive = archiveOfAll();
    byte[] whole = Files.readAllBytes(footage.download(archive, folder.resolve("whole.zip")));
    Path part = folder.resolve("." + "again.zip." + archive.getSha256().substring(0, 16) + ".part");
    Files.write(part, Arrays.copyOf(whole, whole.length / 2));
    List<Long> received = new ArrayList<>();
    Path path = footage.download(archive, folder.resolve("again.zip"), (bytes, total) -> received.add(bytes));
    assertTrue(received.get(0) > whole.length / 2, "only the rest came");
    assertArrayEquals(whole, Files.readAllBytes(path));
    // What does not fit is fetched anew, also when it is longer than the file.
    for (int length : List.of(1000, whole.length, whole.length + 1)) {
      Files.write(part, new byte[length]);
      assertArrayEquals(whole, Files.readAllBytes(footage.download(archive, folder.resolve("again.zip"))));
      assertFalse(Files.exists(part));
    }
  }

  @Test
  void aFileWithAnotherHashGetsNoName() throws Exception {
    Clip clip = footage.createClip("yard_02", at(1), at(3)).result();
    Path stored = servers.shared().folder().resolve("data/clips").resolve(clip.getFileName());
    try (RandomAccessFile file = new RandomAccessFile(stored.toFile(), "rw")) {
      file.seek(clip.getSizeBytes() / 2);
      int found = file.read();
      file.seek(clip.getSizeBytes() / 2);
      file.write(found ^ 1);
    }
    DataLossException refused = assertThrows(DataLossException.class, () -> footage.download(clip, folder));
    assertTrue(refused.getMessage().contains("SHA-256"), refused.getMessage());
    assertEquals(List.of(), names());
  }

  @Test
  void aProgramThatIsEndedCancelsTheJobThatAskedForIt() throws Exception {
    String destination = slowDestination(footage, servers.shared(), 1000);
    // What runs in the background of a shell ignores Ctrl-C, and so do its children.
    Process program =
        new ProcessBuilder(
                "env", "--default-signal=INT", "java", Run.QUICK_START, "-cp", Run.classPath(),
                FollowedJob.class.getName(), servers.shared().address(), destination)
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    try (BufferedReader said =
        new BufferedReader(new InputStreamReader(program.getInputStream(), StandardCharsets.UTF_8))) {
      String id = said.readLine();
      while (!JobState.JOB_STATE_RUNNING.name().equals(said.readLine())) {
        assertTrue(program.isAlive());
      }
      Run.command("kill", "-INT", Long.toString(program.pid()));
      assertTrue(program.waitFor(20, TimeUnit.SECONDS));
      assertNotEquals(0, program.exitValue());
      JobCancelledException cancelled =
          assertThrows(JobCancelledException.class, () -> footage.follow(id).result());
      assertEquals("CANCELLED", cancelled.getReason());
      assertEquals(id, cancelled.getJob().getId());
    } finally {
      program.destroyForcibly();
    }
  }

  @Test
  void anInterruptOfTheThreadThatWaitsForTheResultCancelsTheJob() throws Exception {
    RunningJob<BackupRun> job = slowJob(footage, servers.shared(), 1000);
    CountDownLatch running = new CountDownLatch(1);
    CompletableFuture<Boolean> wasInterrupted = new CompletableFuture<>();
    Thread waiting =
        new Thread(
            () -> {
              try {
                job.result(
                    state -> {
                      if (state.getState() == JobState.JOB_STATE_RUNNING) {
                        running.countDown();
                      }
                    });
                wasInterrupted.completeExceptionally(new AssertionError("there is a result"));
              } catch (CancelledException e) {
                wasInterrupted.complete(Thread.currentThread().isInterrupted());
              } catch (RuntimeException e) {
                wasInterrupted.completeExceptionally(e);
              }
            });
    waiting.start();
    assertTrue(running.await(30, TimeUnit.SECONDS));
    waiting.interrupt();
    assertTrue(wasInterrupted.get(30, TimeUnit.SECONDS), "the thread stays interrupted");
    assertThrows(JobCancelledException.class, () -> footage.follow(job.id(), BackupRun.class).result());
  }

  @Test
  void aBadFieldIsNamedWithItsPath() {
    CreateDestinationRequest request =
        CreateDestinationRequest.newBuilder()
            .setDestination(
                Destination.newBuilder().setLocal(LocalSettings.newBuilder().setPath("/nonexistent/backup")))
            .build();
    InvalidArgumentException refused =
        assertThrows(InvalidArgumentException.class, () -> footage.backups().createDestination(request));
    assertEquals(
        List.of("destination.local.path"),
        refused.getFieldViolations().stream().map(FootageException.FieldViolation::field).toList());
    assertTrue(refused.toString().endsWith("(INVALID_FIELD: destination.local.path)"), refused.toString());
  }

  @Test
  void aFailedJobHasCodeReasonAndMetadata() throws Exception {
    String id = slowDestination(footage, servers.shared(), 3_000_000);
    Destination destination =
        footage.backups().getDestination(GetDestinationRequest.newBuilder().setDestinationId(id).build());
    Files.delete(Path.of(destination.getLocal().getPath()));
    TestDestinationRequest test = TestDestinationRequest.newBuilder().setDestinationId(id).build();
    FootageException tested = FootageException.of(footage.backups().testDestination(test).getError());
    assertEquals("footage.heldar", tested.getDomain());
    Job job = footage.backups().createBackup(CreateBackupRequest.newBuilder().setDestinationId(id).build());
    JobFailedException failed =
        assertThrows(JobFailedException.class, () -> footage.follow(job, BackupRun.class).result());
    assertEquals("DESTINATION_UNREACHABLE", failed.getReason());
    assertEquals(Map.of("retryable", "true"), failed.getMetadata());
    assertEquals(Status.Code.UNAVAILABLE, failed.getCode());
    assertEquals(job.getId(), failed.getJob().getId());
  }

  @Test
  void aJobIsTakenUpByItsIdAsWhatItMakes() {
    Job job =
        footage
            .clips()
            .createClip(
                CreateClipRequest.newBuilder()
                    .setCameraId("lobby_03")
                    .setStartTime(Times.toTimestamp(at(2)))
                    .setEndTime(Times.toTimestamp(at(9)))
                    .build());
    Message made = footage.follow(job.getId()).result();
    assertEquals(made, footage.follow(job.getId(), Clip.class).result());
    assertEquals(
        List.of(JobState.JOB_STATE_SUCCEEDED), footage.follow(job.getId()).stream().map(Job::getState).toList());
    RunningJob<Archive> mistaken = footage.follow(job.getId(), Archive.class);
    assertThrows(ClassCastException.class, mistaken::result);
  }

  @Test
  void manyThreadsShareOneClient() throws Exception {
    List<CompletableFuture<Clip>> clips = new ArrayList<>();
    for (int number = 0; number < 8; number++) {
      int second = number;
      clips.add(
          CompletableFuture.supplyAsync(
              () -> footage.createClip("gate_a_01", at(second), at(second + 1.5)).result()));
    }
    for (CompletableFuture<Clip> clip : clips) {
      try {
        assertFalse(clip.get(60, TimeUnit.SECONDS).getSha256().isEmpty());
      } catch (ExecutionException e) {
        throw new AssertionError(e.getCause());
      }
    }
  }
}
