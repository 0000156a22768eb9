package heldar.footage;

import com.google.protobuf.Message;
import heldar.footage.v1.Archive;
import heldar.footage.v1.ArchiveSpec;
import heldar.footage.v1.BackupRun;
import heldar.footage.v1.Camera;
import heldar.footage.v1.Clip;
import heldar.footage.v1.CreateArchiveRequest;
import heldar.footage.v1.CreateClipRequest;
import heldar.footage.v1.GetJobRequest;
import heldar.footage.v1.Job;
import heldar.footage.v1.ListCamerasRequest;
import heldar.footage.v1.ListCamerasResponse;
import heldar.footage.v1.RunPolicyRequest;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * A connection to a server. One is enough for a program; it may be shared by threads.
 *
 * <pre>{@code
 * try (Footage footage = Footage.connect("127.0.0.1:50051")) {
 *   Clip clip = footage.createClip("gate_a_01", start, end).result();
 *   footage.download(clip, Path.of("."));
 * }
 * }</pre>
 *
 * <p>{@link #clips}, {@link #archives}, {@link #backups}, {@link #jobs} and {@link #catalog} have every method of the
 * contract. Their calls get a deadline, a {@code request_id} and the token, are repeated while the server is away where
 * that is safe, and throw {@link FootageException}. All of them wait for their answer; an interrupt ends that with a
 * {@link CancelledException}, and the thread stays interrupted.
 */
public final class Footage implements AutoCloseable {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
  private static final int CAMERAS_PER_PAGE = 1000;

  private final ManagedChannel connection;
  private final Channel channel;
  private final Duration patience;
  private final Calls calls;
  private final ClipService clips;
  private final ArchiveService archives;
  private final BackupService backups;
  private final JobService jobs;
  private final CatalogService catalog;

  Footage(ManagedChannel connection, @Nullable String token, Duration timeout, Duration patience) {
    this.connection = connection;
    this.patience = patience;
    this.channel = token == null ? connection : withToken(connection, token);
    calls = new Calls(connection, channel, timeout);
    clips = new ClipService(calls);
    archives = new ArchiveService(calls);
    backups = new BackupService(calls);
    jobs = new JobService(calls);
    catalog = new CatalogService(calls);
  }

  /**
   * A client of the server at {@code host:port}, {@code http://host:port}, or {@code https://host:port}, which means
   * TLS and trusts what Java trusts. The first call connects.
   */
  public static Footage connect(String address) {
    return builder(address).connect();
  }

  /** A client with settings of its own, of the server at an address as {@link #connect} takes it. */
  public static FootageBuilder builder(String address) {
    return new FootageBuilder(Address.parse(address));
  }

  /** A client on a channel of any other kind, such as one within the process; everything of TLS is the channel's. */
  public static FootageBuilder builder(ManagedChannelBuilder<?> channel) {
    return new FootageBuilder(channel);
  }

  private static Channel withToken(Channel connection, String token) {
    Metadata headers = new Metadata();
    headers.put(AUTHORIZATION, "Bearer " + token);
    return ClientInterceptors.intercept(connection, MetadataUtils.newAttachHeadersInterceptor(headers));
  }

  /** The methods for clips. */
  public ClipService clips() {
    return clips;
  }

  /** The methods for archives. */
  public ArchiveService archives() {
    return archives;
  }

  /** The methods for backups: destinations, policies, runs, restores. */
  public BackupService backups() {
    return backups;
  }

  /** The methods for jobs. */
  public JobService jobs() {
    return jobs;
  }

  /** The methods for cameras, segments and timelines. */
  public CatalogService catalog() {
    return catalog;
  }

  /**
   * The connection itself, which puts the token on each call and does nothing else: for stubs of another kind, and with
   * the methods that the services describe, such as {@link ClipService#CREATE_CLIP}.
   */
  public Channel channel() {
    return channel;
  }

  Calls calls() {
    return calls;
  }

  /** Every camera, the most recently created first. */
  public List<Camera> cameras() {
    List<Camera> cameras = new ArrayList<>();
    ListCamerasRequest request = ListCamerasRequest.newBuilder().setPageSize(CAMERAS_PER_PAGE).build();
    while (true) {
      ListCamerasResponse page = catalog.listCameras(request);
      cameras.addAll(page.getCamerasList());
      if (page.getNextPageToken().isEmpty()) {
        return cameras;
      }
      request = request.toBuilder().setPageToken(page.getNextPageToken()).build();
    }
  }

  /** Starts a clip of a camera. */
  public RunningJob<Clip> createClip(String cameraId, Instant start, Instant end) {
    return createClip(cameraId, start, end, request -> {});
  }

  /**
   * Starts a clip of a camera.
   *
   * @param fields sets further fields, such as {@code labels} or {@code keep_for}
   */
  public RunningJob<Clip> createClip(
      String cameraId, Instant start, Instant end, Consumer<CreateClipRequest.Builder> fields) {
    CreateClipRequest.Builder request =
        CreateClipRequest.newBuilder()
            .setCameraId(cameraId)
            .setStartTime(Times.toTimestamp(start))
            .setEndTime(Times.toTimestamp(end));
    fields.accept(request);
    return follow(clips.createClip(request.build()), Clip.class);
  }

  /** Starts an archive; no ids mean all cameras. */
  public RunningJob<Archive> createArchive(Collection<String> cameraIds, Instant start, Instant end) {
    return createArchive(cameraIds, start, end, spec -> {});
  }

  /**
   * Starts an archive; no ids mean all cameras.
   *
   * @param fields sets further fields, such as {@code case_id} or {@code operator}
   */
  public RunningJob<Archive> createArchive(
      Collection<String> cameraIds, Instant start, Instant end, Consumer<ArchiveSpec.Builder> fields) {
    ArchiveSpec.Builder spec =
        ArchiveSpec.newBuilder()
            .addAllCameraIds(cameraIds)
            .setStartTime(Times.toTimestamp(start))
            .setEndTime(Times.toTimestamp(end));
    fields.accept(spec);
    return createArchive(CreateArchiveRequest.newBuilder().setSpec(spec).build());
  }

  /** Starts an archive. */
  public RunningJob<Archive> createArchive(CreateArchiveRequest request) {
    return follow(archives.createArchive(request), Archive.class);
  }

  /** Starts a run of a backup policy. */
  public RunningJob<BackupRun> runPolicy(String policyId) {
    return follow(backups.runPolicy(RunPolicyRequest.newBuilder().setPolicyId(policyId).build()), BackupRun.class);
  }

  /** Takes up a job that was started elsewhere. */
  public RunningJob<Message> follow(String jobId) {
    return follow(jobId, Message.class);
  }

  /** Takes up a job that was started elsewhere and makes this kind of thing. */
  public <R extends Message> RunningJob<R> follow(String jobId, Class<R> kind) {
    return follow(jobs.getJob(GetJobRequest.newBuilder().setJobId(jobId).build()), kind);
  }

  /** Takes up a job as an answer gave it, which makes this kind of thing. */
  public <R extends Message> RunningJob<R> follow(Job job, Class<R> kind) {
    return new RunningJob<>(jobs, patience, connection::resetConnectBackoff, job, kind);
  }

  /**
   * Saves a clip and returns where: at the path, or under its own name in the folder that the path is.
   *
   * <p>Until it is whole and its SHA-256 is right it has a temporary name. A broken download goes on where it stopped,
   * also when the program is started again.
   *
   * @throws IOException when the file cannot be written
   * @throws DataLossException when what came is not what the clip says
   */
  public Path download(Clip clip, Path path) throws IOException {
    return download(clip, path, (bytes, totalBytes) -> {});
  }

  /** Saves a clip as {@link #download(Clip, Path)} does, and says how far it is. */
  public Path download(Clip clip, Path path, ByteProgress progress) throws IOException {
    return Download.of(clip, clips).save(path, progress, patience, connection::resetConnectBackoff);
  }

  /** Saves an archive as {@link #download(Clip, Path)} does a clip. */
  public Path download(Archive archive, Path path) throws IOException {
    return download(archive, path, (bytes, totalBytes) -> {});
  }

  /** Saves an archive as {@link #download(Clip, Path)} does a clip, and says how far it is. */
  public Path download(Archive archive, Path path, ByteProgress progress) throws IOException {
    return Download.of(archive, archives).save(path, progress, patience, connection::resetConnectBackoff);
  }

  /** Ends the connection and every call on it; jobs go on. */
  @Override
  public void close() {
    connection.shutdownNow();
  }
}
