package heldar.footage;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import com.google.rpc.RetryInfo;
import heldar.footage.v1.CancelJobRequest;
import heldar.footage.v1.Camera;
import heldar.footage.v1.Clip;
import heldar.footage.v1.CreateClipRequest;
import heldar.footage.v1.DownloadClipResponse;
import heldar.footage.v1.FileHeader;
import heldar.footage.v1.GetJobRequest;
import heldar.footage.v1.Heartbeat;
import heldar.footage.v1.Job;
import heldar.footage.v1.JobState;
import heldar.footage.v1.ListCamerasRequest;
import heldar.footage.v1.ListCamerasResponse;
import heldar.footage.v1.RegisterSegmentsRequest;
import heldar.footage.v1.RegisterSegmentsResponse;
import heldar.footage.v1.UpsertCameraRequest;
import heldar.footage.v1.WatchJobRequest;
import heldar.footage.v1.WatchJobResponse;
import heldar.footage.v1.WatchJobsRequest;
import heldar.footage.v1.WatchJobsResponse;
import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The helper against faults that the real server does not make on demand. */
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class FaultsTest {
  private static final Instant START = Instant.parse("2026-11-22T13:00:00Z");
  private static final byte[] CONTENT = "exactly what was recorded".getBytes(StandardCharsets.UTF_8);

  private final StandIn server = new StandIn();

  @TempDir private Path folder;

  @AfterEach
  void end() {
    server.close();
  }

  private static Job job(long revision, JobState state) {
    Job.Builder job = Job.newBuilder().setId("job_1").setRevision(revision).setState(state);
    if (state == JobState.JOB_STATE_SUCCEEDED) {
      job.setClip(clip());
    }
    return job.build();
  }

  private static WatchJobResponse seen(long revision, JobState state) {
    return WatchJobResponse.newBuilder().setJob(job(revision, state)).build();
  }

  private static RetryInfo retryAfter(long milliseconds) {
    return RetryInfo.newBuilder().setRetryDelay(Times.toDuration(Duration.ofMillis(milliseconds))).build();
  }

  // Calls with one answer.

  @Test
  void aCallIsRepeatedWithTheSameRequestIdWhileTheServerIsAway() {
    List<String> ids = new CopyOnWriteArrayList<>();
    server.on(
        ClipService.CREATE_CLIP,
        (request, answer) -> {
          ids.add(request.getRequestId());
          if (ids.size() < 3) {
            answer.onError(Status.UNAVAILABLE.asRuntimeException());
          } else {
            StandIn.send(answer, job(1, JobState.JOB_STATE_QUEUED));
          }
        });
    try (Footage footage = server.client().connect()) {
      footage.createClip("gate", START, START.plusSeconds(1));
      footage.clips().createClip(CreateClipRequest.getDefaultInstance());
    }
    assertEquals(4, ids.size());
    assertFalse(ids.get(0).isEmpty());
    assertEquals(List.of(ids.get(0), ids.get(0)), ids.subList(1, 3));
    assertNotEquals(ids.get(0), ids.get(3), "another request has another id");
  }

  @Test
  void theRequestIdOfTheCallerIsKept() {
    List<String> ids = new CopyOnWriteArrayList<>();
    server.on(
        ClipService.CREATE_CLIP,
        (request, answer) -> {
          ids.add(request.getRequestId());
          StandIn.send(answer, job(1, JobState.JOB_STATE_QUEUED));
        });
    try (Footage footage = server.client().connect()) {
      footage.createClip("gate", START, START.plusSeconds(1), request -> request.setRequestId("mine"));
    }
    assertEquals(List.of("mine"), ids);
  }

  @Test
  void theServersPauseIsKept() {
    AtomicInteger calls = new AtomicInteger();
    server.on(
        JobService.GET_JOB,
        (request, answer) -> {
          if (calls.incrementAndGet() == 1) {
            answer.onError(StandIn.error(Status.Code.UNAVAILABLE, "DRAINING", retryAfter(700)));
          } else {
            StandIn.send(answer, job(1, JobState.JOB_STATE_SUCCEEDED));
          }
        });
    try (Footage footage = server.client().connect()) {
      long began = System.nanoTime();
      footage.follow("job_1");
      assertTrue(System.nanoTime() - began >= Duration.ofMillis(700).toNanos());
    }
  }

  @Test
  void whatCouldBeDoneTwiceIsNotRepeated() {
    AtomicInteger calls = new AtomicInteger();
    server.on(
        CatalogService.UPSERT_CAMERA,
        (request, answer) -> {
          calls.incrementAndGet();
          answer.onError(Status.UNAVAILABLE.asRuntimeException());
        });
    try (Footage footage = server.client().connect()) {
      CatalogService catalog = footage.catalog();
      assertThrows(
          UnavailableException.class, () -> catalog.upsertCamera(UpsertCameraRequest.getDefaultInstance()));
    }
    assertEquals(1, calls.get());
  }

  @Test
  void aServerThatIsFullIsTheCallersToDecideAbout() {
    AtomicInteger calls = new AtomicInteger();
    server.on(
        ClipService.CREATE_CLIP,
        (request, answer) -> {
          calls.incrementAndGet();
          answer.onError(StandIn.error(Status.Code.RESOURCE_EXHAUSTED, "QUEUE_FULL", retryAfter(50)));
        });
    try (Footage footage = server.client().connect()) {
      ResourceExhaustedException full =
          assertThrows(
              ResourceExhaustedException.class, () -> footage.createClip("gate", START, START.plusSeconds(1)));
      assertEquals(Duration.ofMillis(50), full.getRetryAfter());
    }
    assertEquals(1, calls.get());
  }

  @Test
  void aCallHasTheTimeoutAndTheWaitOfItsRequestOrItsOwnLimit() {
    List<Long> leftMs = new CopyOnWriteArrayList<>();
    server.on(
        ClipService.CREATE_CLIP,
        (request, answer) -> {
          leftMs.add(Context.current().getDeadline().timeRemaining(TimeUnit.MILLISECONDS));
          StandIn.send(answer, job(1, JobState.JOB_STATE_QUEUED));
        });
    CreateClipRequest request =
        CreateClipRequest.newBuilder().setWait(Times.toDuration(Duration.ofSeconds(40))).build();
    try (Footage footage = server.client().timeout(Duration.ofSeconds(10)).connect()) {
      footage.clips().createClip(request);
      footage.clips().createClip(CreateClipRequest.getDefaultInstance());
      footage.clips().withTimeout(Duration.ofSeconds(5)).createClip(request);
      footage.clips().withTimeout(Duration.ofSeconds(Long.MAX_VALUE)).createClip(request);
    }
    assertWithin(40_000, leftMs.get(0), 50_000);
    assertWithin(5_000, leftMs.get(1), 10_000);
    assertWithin(0, leftMs.get(2), 5_000);
    assertWithin(1L << 40, leftMs.get(3), Long.MAX_VALUE);
  }

  private static void assertWithin(long least, long found, long most) {
    assertTrue(least < found && found <= most, () -> least + " < " + found + " <= " + most);
  }

  @Test
  void aCallWithoutAnAnswerEndsAtItsDeadline() {
    server.on(CatalogService.LIST_CAMERAS, (request, answer) -> {});
    try (Footage footage = server.client().timeout(Duration.ofMillis(300)).connect()) {
      assertThrows(DeadlineExceededException.class, footage::cameras);
    }
  }

  @Test
  void allPagesOfCamerasAreRead() {
    server.on(
        CatalogService.LIST_CAMERAS,
        (request, answer) -> {
          ListCamerasResponse.Builder page = ListCamerasResponse.newBuilder();
          page.addCameras(Camera.newBuilder().setId(request.getPageToken().isEmpty() ? "one" : "two"));
          StandIn.send(answer, page.setNextPageToken(request.getPageToken().isEmpty() ? "more" : "").build());
        });
    try (Footage footage = server.client().connect()) {
      assertEquals(List.of("one", "two"), footage.cameras().stream().map(Camera::getId).toList());
    }
  }

  @Test
  void theTokenGoesWithCallsOfEveryShape() {
    server
        .on(
            CatalogService.LIST_CAMERAS,
            (request, answer) -> StandIn.send(answer, ListCamerasResponse.getDefaultInstance()))
        .on(JobService.WATCH_JOB, (request, answer) -> StandIn.send(answer))
        .onStream(CatalogService.REGISTER_SEGMENTS, answer -> new Counting(answer, Integer.MAX_VALUE));
    try (Footage footage = server.client().token("secret").connect()) {
      footage.cameras();
      footage.jobs().watchJob(WatchJobRequest.getDefaultInstance()).forEach(response -> {});
      footage.catalog().registerSegments(List.of());
    }
    assertEquals(
        List.of("Bearer secret", "Bearer secret", "Bearer secret"),
        server.headers().stream().map(headers -> headers.get(StandIn.AUTHORIZATION)).toList());
  }

  // Interrupts and closing.

  @Test
  void anInterruptEndsACallAndTheThreadStaysInterrupted() throws Exception {
    CountDownLatch isCalled = new CountDownLatch(1);
    server.on(JobService.GET_JOB, (request, answer) -> isCalled.countDown());
    try (Footage footage = server.client().connect()) {
      CompletableFuture<Boolean> wasInterrupted = new CompletableFuture<>();
      Thread caller = inThread(() -> footage.follow("job_1"), wasInterrupted);
      isCalled.await();
      caller.interrupt();
      assertTrue(wasInterrupted.get());
    }
  }

  @Test
  void anInterruptDuringAPauseEndsTheIterationAndNotTheJob() throws Exception {
    CountDownLatch isBroken = new CountDownLatch(1);
    AtomicInteger cancels = new AtomicInteger();
    server
        .on(
            JobService.WATCH_JOB,
            (request, answer) -> {
              answer.onError(StandIn.error(Status.Code.UNAVAILABLE, "DRAINING", retryAfter(50_000)));
              isBroken.countDown();
            })
        .on(JobService.CANCEL_JOB, (request, answer) -> cancels.incrementAndGet());
    try (Footage footage = server.client().connect()) {
      RunningJob<Clip> job = footage.follow(job(1, JobState.JOB_STATE_RUNNING), Clip.class);
      CompletableFuture<Boolean> wasInterrupted = new CompletableFuture<>();
      Thread follower = inThread(() -> job.forEach(state -> {}), wasInterrupted);
      isBroken.await();
      follower.interrupt();
      assertTrue(wasInterrupted.get());
    }
    assertEquals(0, cancels.get());
  }

  @Test
  void aResultThatIsInterruptedCancelsTheJobAndSaysWhenItCannot() throws Exception {
    CountDownLatch isWatched = new CountDownLatch(1);
    List<CancelJobRequest> cancels = new CopyOnWriteArrayList<>();
    server
        .on(JobService.WATCH_JOB, (request, answer) -> isWatched.countDown())
        .on(
            JobService.CANCEL_JOB,
            (request, answer) -> {
              cancels.add(request);
              answer.onError(StandIn.error(Status.Code.FAILED_PRECONDITION, "JOB_STATE"));
            });
    try (Footage footage = server.client().connect()) {
      RunningJob<Clip> job = footage.follow(job(1, JobState.JOB_STATE_RUNNING), Clip.class);
      CompletableFuture<Throwable[]> suppressed = new CompletableFuture<>();
      Thread waiting =
          new Thread(
              () -> {
                CancelledException ended = assertThrows(CancelledException.class, job::result);
                suppressed.complete(ended.getSuppressed());
              });
      waiting.start();
      isWatched.await();
      waiting.interrupt();
      assertTrue(suppressed.get()[0] instanceof FailedPreconditionException);
    }
    assertEquals(List.of("job_1"), cancels.stream().map(CancelJobRequest::getJobId).toList());
  }

  private static Thread inThread(Runnable work, CompletableFuture<Boolean> wasInterrupted) {
    Thread thread =
        new Thread(
            () -> {
              try {
                work.run();
                wasInterrupted.completeExceptionally(new AssertionError("it came to its end"));
              } catch (CancelledException e) {
                wasInterrupted.complete(Thread.currentThread().isInterrupted());
              } catch (RuntimeException e) {
                wasInterrupted.completeExceptionally(e);
              }
            });
    thread.start();
    return thread;
  }

  @Test
  void aClientThatIsClosedEndsWhatGoesOnAndIsNotTakenForAServerThatIsAway() throws Exception {
    CountDownLatch isWatched = new CountDownLatch(1);
    server.on(JobService.WATCH_JOB, (request, answer) -> isWatched.countDown());
    Footage footage = server.client().connect();
    RunningJob<Clip> job = footage.follow(job(1, JobState.JOB_STATE_RUNNING), Clip.class);
    CompletableFuture<Clip> result = CompletableFuture.supplyAsync(job::result);
    isWatched.await();
    footage.close();
    Exception ended = assertThrows(Exception.class, result::get);
    assertTrue(ended.getCause() instanceof CancelledException, ended.toString());
    assertThrows(CancelledException.class, footage::cameras);
    footage.close();
  }

  @Test
  void aStreamThatIsLeftEndsItsCall() throws Exception {
    CountDownLatch isEnded = new CountDownLatch(1);
    server.on(
        JobService.WATCH_JOBS,
        (request, answer) -> {
          ((ServerCallStreamObserver<WatchJobsResponse>) answer).setOnCancelHandler(isEnded::countDown);
          answer.onNext(WatchJobsResponse.getDefaultInstance());
        });
    try (Footage footage = server.client().connect()) {
      try (Responses<WatchJobsResponse> watching = footage.jobs().watchJobs(WatchJobsRequest.getDefaultInstance())) {
        assertEquals(WatchJobsResponse.getDefaultInstance(), watching.iterator().next());
      }
      isEnded.await();
    }
  }

  @Test
  void aStreamThatIsForgottenEndsItsCall() throws Exception {
    CountDownLatch isEnded = new CountDownLatch(1);
    server.on(
        JobService.WATCH_JOBS,
        (request, answer) -> {
          ((ServerCallStreamObserver<WatchJobsResponse>) answer).setOnCancelHandler(isEnded::countDown);
          answer.onNext(WatchJobsResponse.getDefaultInstance());
        });
    try (Footage footage = server.client().connect()) {
      readOne(footage);
      Servers.await(
          "the call ends",
          () -> {
            System.gc();
            return isEnded.getCount() == 0;
          });
    }
  }

  private static void readOne(Footage footage) {
    footage.jobs().watchJobs(WatchJobsRequest.getDefaultInstance()).iterator().next();
  }

  // Streams of requests.

  /** Counts requests; after some of them it has enough. */
  private record Counting(StreamObserver<RegisterSegmentsResponse> answer, AtomicInteger count, int enough)
      implements StreamObserver<RegisterSegmentsRequest> {
    Counting(StreamObserver<RegisterSegmentsResponse> answer, int enough) {
      this(answer, new AtomicInteger(), enough);
    }

    @Override
    public void onNext(RegisterSegmentsRequest request) {
      if (count.incrementAndGet() == enough) {
        answer.onError(StandIn.error(Status.Code.INVALID_ARGUMENT, "INVALID_FIELD"));
      }
    }

    @Override
    public void onError(Throwable error) {}

    @Override
    public void onCompleted() {
      StandIn.send(answer, RegisterSegmentsResponse.newBuilder().setSegmentsAdded(count.get()).build());
    }
  }

  @Test
  void aStreamOfRequestsIsSentToItsEnd() {
    server.onStream(CatalogService.REGISTER_SEGMENTS, answer -> new Counting(answer, Integer.MAX_VALUE));
    try (Footage footage = server.client().connect()) {
      List<RegisterSegmentsRequest> requests =
          Stream.generate(RegisterSegmentsRequest::getDefaultInstance).limit(5000).toList();
      assertEquals(5000, footage.catalog().registerSegments(requests).getSegmentsAdded());
    }
  }

  @Test
  void aStreamOfRequestsEndsWhenTheServerHasHadEnough() {
    server.onStream(CatalogService.REGISTER_SEGMENTS, answer -> new Counting(answer, 3));
    try (Footage footage = server.client().connect()) {
      Iterable<RegisterSegmentsRequest> endless =
          () -> Stream.generate(RegisterSegmentsRequest::getDefaultInstance).iterator();
      assertThrows(InvalidArgumentException.class, () -> footage.catalog().registerSegments(endless));
    }
  }

  @Test
  void requestsThatEndWithAnErrorEndTheCallWithIt() {
    server.onStream(CatalogService.REGISTER_SEGMENTS, answer -> new Counting(answer, Integer.MAX_VALUE));
    try (Footage footage = server.client().connect()) {
      Iterable<RegisterSegmentsRequest> broken =
          () -> {
            throw new IllegalStateException("the list of files is gone");
          };
      assertThrows(IllegalStateException.class, () -> footage.catalog().registerSegments(broken));
    }
  }

  // Jobs that are followed.

  @Test
  void aBrokenStreamIsResumedAfterTheRevisionThatWasSeenLast() {
    List<Long> asked = new CopyOnWriteArrayList<>();
    server.on(
        JobService.WATCH_JOB,
        (request, answer) -> {
          asked.add(request.getAfterRevision());
          switch (asked.size()) {
            case 1 -> {
              answer.onNext(seen(2, JobState.JOB_STATE_RUNNING));
              answer.onNext(seen(5, JobState.JOB_STATE_RUNNING));
              answer.onError(Status.INTERNAL.withDescription("stream closed").asRuntimeException());
            }
            case 2 -> answer.onError(StandIn.error(Status.Code.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS", retryAfter(1)));
            case 3 -> // An end without the end state: the stream is followed up.
                StandIn.send(answer, WatchJobResponse.newBuilder().setHeartbeat(Heartbeat.getDefaultInstance()).build());
            case 4 -> {
              // A state that was seen before is not shown again.
              answer.onNext(seen(5, JobState.JOB_STATE_RUNNING));
              StandIn.send(answer, seen(6, JobState.JOB_STATE_SUCCEEDED));
            }
            default -> answer.onError(Status.UNKNOWN.asRuntimeException());
          }
        });
    try (Footage footage = server.client().connect()) {
      RunningJob<Clip> job = footage.follow(job(1, JobState.JOB_STATE_QUEUED), Clip.class);
      assertEquals(List.of(1L, 2L, 5L, 6L), job.stream().map(Job::getRevision).toList());
      assertEquals(List.of(1L, 5L, 5L, 5L), asked);
      assertEquals(6, job.job().getRevision());
      assertEquals(clip(), job.result());
    }
  }

  @Test
  void patienceEnds() {
    server.on(JobService.WATCH_JOB, (request, answer) -> answer.onError(Status.UNAVAILABLE.asRuntimeException()));
    try (Footage footage = server.client().patience(Duration.ofMillis(300)).connect()) {
      RunningJob<Clip> job = footage.follow(job(1, JobState.JOB_STATE_RUNNING), Clip.class);
      assertThrows(UnavailableException.class, job::result);
    }
  }

  @Test
  void whatTheServerItselfRefusesIsNotTriedAgain() {
    AtomicInteger calls = new AtomicInteger();
    server.on(
        JobService.WATCH_JOB,
        (request, answer) -> {
          calls.incrementAndGet();
          answer.onError(StandIn.error(Status.Code.INTERNAL, "INTERNAL"));
        });
    try (Footage footage = server.client().connect()) {
      RunningJob<Clip> job = footage.follow(job(1, JobState.JOB_STATE_RUNNING), Clip.class);
      assertThrows(InternalException.class, job::result);
    }
    assertEquals(1, calls.get());
  }

  @Test
  void aResultThatThisClientDoesNotKnowIsToldAsSuch() {
    try (Footage footage = server.client().connect()) {
      Job job = job(1, JobState.JOB_STATE_SUCCEEDED).toBuilder().clearResult().build();
      RunningJob<Clip> running = footage.follow(job, Clip.class);
      assertTrue(assertThrows(FootageException.class, running::result).getMessage().contains("does not know"));
    }
  }

  @Test
  void anIteratorThatIsAtItsEndSaysSo() {
    try (Footage footage = server.client().connect()) {
      Iterator<Job> states = footage.follow(job(1, JobState.JOB_STATE_FAILED), Clip.class).iterator();
      states.next();
      assertFalse(states.hasNext());
      assertThrows(java.util.NoSuchElementException.class, states::next);
    }
  }

  // Errors.

  @Test
  void detailsThatCannotBeReadDoNotHideTheError() {
    Metadata trailers = new Metadata();
    trailers.put(Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER), new byte[] {-1, -1});
    StatusRuntimeException failure = Status.NOT_FOUND.withDescription("gone").asRuntimeException(trailers);
    FootageException read = FootageException.of(failure);
    assertTrue(read instanceof NotFoundException);
    assertEquals("gone", read.getMessage());
    assertEquals(List.of(), read.getDetails());
    assertEquals("", read.getReason());
    assertNull(read.getResource());
    assertNull(read.getRetryAfter());
  }

  @Test
  void aCodeOfALaterTimeIsAnErrorAllTheSame() {
    FootageException read = FootageException.of(com.google.rpc.Status.newBuilder().setCode(99).build());
    assertEquals(Status.Code.UNKNOWN, read.getCode());
  }

  // Downloads.

  private static Clip clip() {
    return Clip.newBuilder()
        .setId("clip_1")
        .setFileName("clip.mp4")
        .setSizeBytes(CONTENT.length)
        .setSha256(sha256(CONTENT))
        .build();
  }

  private static String sha256(byte[] content) {
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(content));
    } catch (java.security.NoSuchAlgorithmException e) {
      throw new AssertionError(e);
    }
  }

  private static DownloadClipResponse header(byte[] content, String sha256, String etag, long offset) {
    return DownloadClipResponse.newBuilder()
        .setHeader(
            FileHeader.newBuilder()
                .setTotalSizeBytes(content.length)
                .setSha256(sha256)
                .setEtag(etag)
                .setOffsetBytes(offset)
                .setLengthBytes(content.length - offset))
        .build();
  }

  private static DownloadClipResponse data(byte[] content, long from, long to) {
    return DownloadClipResponse.newBuilder()
        .setData(ByteString.copyFrom(content, (int) from, (int) (to - from)))
        .build();
  }

  private List<String> names() throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(path -> path.getFileName().toString()).toList();
    }
  }

  @Test
  void aVirtualClipThatChangesWhileItIsFetchedIsFetchedAnew() throws Exception {
    byte[] before = "before the recorder wrote over it".getBytes(StandardCharsets.UTF_8);
    List<Long> offsets = new CopyOnWriteArrayList<>();
    server.on(
        ClipService.DOWNLOAD_CLIP,
        (request, answer) -> {
          offsets.add(request.getOffsetBytes());
          long from = request.getOffsetBytes();
          if (offsets.size() == 1) {
            answer.onNext(header(before, "", "one", 0));
            answer.onNext(data(before, 0, 10));
            answer.onError(Status.UNAVAILABLE.asRuntimeException());
          } else {
            answer.onNext(header(CONTENT, "", "two", from));
            StandIn.send(answer, data(CONTENT, from, CONTENT.length));
          }
        });
    try (Footage footage = server.client().connect()) {
      Path path = footage.download(clip().toBuilder().clearSha256().build(), folder);
      assertArrayEquals(CONTENT, Files.readAllBytes(path));
    }
    assertEquals(List.of(0L, 10L, 0L), offsets);
    assertEquals(List.of("clip.mp4"), names());
  }

  @Test
  void anotherFileThanTheClipsIsRefusedBeforeItsBytesCome() throws IOException {
    byte[] other = "what somebody put in its place".getBytes(StandardCharsets.UTF_8);
    server.on(
        ClipService.DOWNLOAD_CLIP,
        (request, answer) -> {
          answer.onNext(header(other, sha256(other), "one", 0));
          StandIn.send(answer, data(other, 0, other.length));
        });
    try (Footage footage = server.client().connect()) {
      assertThrows(DataLossException.class, () -> footage.download(clip(), folder));
    }
    assertEquals(List.of(), names());
  }

  @Test
  void aNameThatLeadsOutOfTheFolderIsRefused() throws IOException {
    try (Footage footage = server.client().connect()) {
      for (String name : List.of("", ".", "..", "../clip.mp4", "/tmp/clip.mp4", "..\\clip.mp4", "a\0b")) {
        Clip clip = clip().toBuilder().setFileName(name).build();
        assertThrows(InternalException.class, () -> footage.download(clip, folder), name);
      }
    }
    assertEquals(List.of(), names());
  }

  @Test
  void whatCameOfADownloadThatIsGivenUpStaysForALaterOne() throws Exception {
    List<Long> offsets = new CopyOnWriteArrayList<>();
    server.on(
        ClipService.DOWNLOAD_CLIP,
        (request, answer) -> {
          long from = request.getOffsetBytes();
          offsets.add(from);
          answer.onNext(header(CONTENT, sha256(CONTENT), "one", from));
          if (offsets.size() == 1) {
            answer.onNext(data(CONTENT, 0, 7));
            answer.onError(StandIn.error(Status.Code.DATA_LOSS, "FILE_CORRUPTED"));
          } else {
            StandIn.send(answer, data(CONTENT, from, CONTENT.length));
          }
        });
    try (Footage footage = server.client().connect()) {
      assertThrows(DataLossException.class, () -> footage.download(clip(), folder));
      assertEquals(1, names().size());
      assertTrue(names().get(0).matches("\\.clip\\.mp4\\.[0-9a-f]{16}\\.part"), names().get(0));
      assertArrayEquals(CONTENT, Files.readAllBytes(footage.download(clip(), folder)));
    }
    assertEquals(List.of(0L, 7L), offsets);
    assertEquals(List.of("clip.mp4"), names());
  }

  @Test
  void twoDownloadsDoNotWriteOneFile() throws Exception {
    CountDownLatch isUnderWay = new CountDownLatch(1);
    CountDownLatch mayGoOn = new CountDownLatch(1);
    server.on(
        ClipService.DOWNLOAD_CLIP,
        (request, answer) -> {
          answer.onNext(header(CONTENT, sha256(CONTENT), "one", 0));
          answer.onNext(data(CONTENT, 0, 3));
          isUnderWay.countDown();
          await(mayGoOn);
          StandIn.send(answer, data(CONTENT, 3, CONTENT.length));
        });
    try (Footage footage = server.client().connect()) {
      CompletableFuture<Path> first =
          CompletableFuture.supplyAsync(
              () -> {
                try {
                  return footage.download(clip(), folder);
                } catch (IOException e) {
                  throw new AssertionError(e);
                }
              });
      isUnderWay.await();
      assertThrows(FileSystemException.class, () -> footage.download(clip(), folder));
      mayGoOn.countDown();
      assertArrayEquals(CONTENT, Files.readAllBytes(first.get()));
    }
  }

  private static void await(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  @Test
  void anEmptyFileIsAFile() throws Exception {
    server.on(ClipService.DOWNLOAD_CLIP, (request, answer) -> StandIn.send(answer, header(new byte[0], "", "one", 0)));
    try (Footage footage = server.client().connect()) {
      Clip empty = clip().toBuilder().setSizeBytes(0).clearSha256().build();
      assertEquals(0, Files.size(footage.download(empty, folder)));
    }
  }

  @Test
  void aDiskThatCannotBeWrittenIsAnErrorOfTheDisk() {
    try (Footage footage = server.client().connect()) {
      assertThrows(IOException.class, () -> footage.download(clip(), folder.resolve("nowhere/clip.mp4")));
    }
  }

  // What stubs of another kind need.

  @Test
  void theChannelAndTheDescriptorsServeOtherCalls() throws Exception {
    server.on(JobService.GET_JOB, (request, answer) -> StandIn.send(answer, job(1, JobState.JOB_STATE_QUEUED)));
    try (Footage footage = server.client().token("secret").connect()) {
      var call = footage.channel().newCall(JobService.GET_JOB, io.grpc.CallOptions.DEFAULT);
      Job job = io.grpc.stub.ClientCalls.futureUnaryCall(call, GetJobRequest.getDefaultInstance()).get();
      assertEquals("job_1", job.getId());
    }
    assertNotNull(server.headers().get(0).get(StandIn.AUTHORIZATION));
  }

  @Test
  void everyMethodOfTheContractIsThere() {
    List<String> declared = new ArrayList<>();
    for (var file :
        List.of(
            heldar.footage.v1.ArchiveProto.getDescriptor(),
            heldar.footage.v1.BackupProto.getDescriptor(),
            heldar.footage.v1.CatalogProto.getDescriptor(),
            heldar.footage.v1.ClipProto.getDescriptor(),
            heldar.footage.v1.JobProto.getDescriptor())) {
      for (var service : file.getServices()) {
        for (var method : service.getMethods()) {
          declared.add(service.getFullName() + "/" + method.getName());
        }
      }
    }
    assertEquals(
        declared.stream().sorted().toList(),
        Contract.descriptors().stream().map(method -> method.getFullMethodName()).sorted().toList());
  }

  @Test
  void aPageOfCamerasIsAskedForAsLargeAsTheyCome() {
    List<ListCamerasRequest> asked = new CopyOnWriteArrayList<>();
    server.on(
        CatalogService.LIST_CAMERAS,
        (request, answer) -> {
          asked.add(request);
          StandIn.send(answer, ListCamerasResponse.getDefaultInstance());
        });
    try (Footage footage = server.client().connect()) {
      assertEquals(List.of(), footage.cameras());
    }
    assertEquals(1000, asked.get(0).getPageSize());
  }
}
