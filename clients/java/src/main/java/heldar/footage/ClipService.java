// Written by clients/java/generate.sh from heldar/footage/v1/clip.proto. Do not edit.
package heldar.footage;

import heldar.footage.v1.Clip;
import heldar.footage.v1.CreateClipRequest;
import heldar.footage.v1.DeleteClipRequest;
import heldar.footage.v1.DeleteClipResponse;
import heldar.footage.v1.DownloadClipRequest;
import heldar.footage.v1.DownloadClipResponse;
import heldar.footage.v1.GetClipRequest;
import heldar.footage.v1.Job;
import heldar.footage.v1.ListClipsRequest;
import heldar.footage.v1.ListClipsResponse;
import heldar.footage.v1.MaterializeClipRequest;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import java.time.Duration;

/**
 * Clips: the exact footage of a camera between two moments, as one playable file.
 *
 * <p>Life of a clip: CreateClip writes a job and answers; the job cuts the file; when it has SUCCEEDED its result is
 * the Clip, and the file can be fetched with DownloadClip or over HTTP until it expires or is deleted.
 */
public final class ClipService {
  /** Describes {@link #createClip}. */
  public static final MethodDescriptor<CreateClipRequest, Job> CREATE_CLIP =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.ClipService",
          "CreateClip",
          CreateClipRequest.getDefaultInstance(),
          Job.getDefaultInstance());

  /** Describes {@link #getClip}. */
  public static final MethodDescriptor<GetClipRequest, Clip> GET_CLIP =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.ClipService",
          "GetClip",
          GetClipRequest.getDefaultInstance(),
          Clip.getDefaultInstance());

  /** Describes {@link #listClips}. */
  public static final MethodDescriptor<ListClipsRequest, ListClipsResponse> LIST_CLIPS =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.ClipService",
          "ListClips",
          ListClipsRequest.getDefaultInstance(),
          ListClipsResponse.getDefaultInstance());

  /** Describes {@link #deleteClip}. */
  public static final MethodDescriptor<DeleteClipRequest, DeleteClipResponse> DELETE_CLIP =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.ClipService",
          "DeleteClip",
          DeleteClipRequest.getDefaultInstance(),
          DeleteClipResponse.getDefaultInstance());

  /** Describes {@link #materializeClip}. */
  public static final MethodDescriptor<MaterializeClipRequest, Job> MATERIALIZE_CLIP =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.ClipService",
          "MaterializeClip",
          MaterializeClipRequest.getDefaultInstance(),
          Job.getDefaultInstance());

  /** Describes {@link #downloadClip}. */
  public static final MethodDescriptor<DownloadClipRequest, DownloadClipResponse> DOWNLOAD_CLIP =
      Calls.method(
          MethodType.SERVER_STREAMING,
          "heldar.footage.v1.ClipService",
          "DownloadClip",
          DownloadClipRequest.getDefaultInstance(),
          DownloadClipResponse.getDefaultInstance());

  private final Calls calls;

  ClipService(Calls calls) {
    this.calls = calls;
  }

  /** The same methods with another limit for each call; streams, too, which have none otherwise. */
  public ClipService withTimeout(Duration timeout) {
    return new ClipService(calls.withTimeout(timeout));
  }

  /**
   * Cuts a clip. The shortest way, one call that answers with the finished clip:
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"camera_id":"gate_a_01","start_time":"2026-11-22T10:00:00Z","end_time":"2026-11-22T10:01:00Z","wait":"30s"}' \
   *   127.0.0.1:50051 heldar.footage.v1.ClipService/CreateClip
   * }</pre>
   *
   * <p>Without {@code wait} the answer is the queued job; follow it with JobService/WatchJob.
   *
   * <p>Every frame with start_time ≤ its time &lt; end_time is in the clip, once, and no other is shown. Where footage
   * is missing the clip goes on with what comes next, unless {@code gap_mode} says otherwise, and {@code gaps} says what is
   * missing and where in the clip. The pictures are copied as they were recorded, so the clip must be shown by a
   * player that honours MP4 edit lists, as all common ones do; {@code CLIP_ENGINE_RENDER} makes one that needs no such
   * player.
   *
   * <p>A clip may be *virtual*: no file is made, and its bytes come from the recordings while they are fetched:
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"camera_id":"gate_a_01","start_time":"2026-11-22T10:00:00Z","end_time":"2026-11-22T11:00:00Z","virtual":true,"wait":"5s"}' \
   *   127.0.0.1:50051 heldar.footage.v1.ClipService/CreateClip
   * }</pre>
   *
   * <p>Checks, in this order: INVALID_ARGUMENT (INVALID_FIELD; WINDOW_REVERSED "{@code to} must be after {@code from}";
   * WINDOW_TOO_LONG "clip too long (3601s); max 3600s"), NOT_FOUND (CAMERA_NOT_FOUND; NO_FOOTAGE "no recorded
   * footage in the requested range"), ALREADY_EXISTS (ID_TAKEN), FAILED_PRECONDITION (FFMPEG_UNAVAILABLE, when
   * ffmpeg is needed; ENGINE_UNSUITABLE, when the engine that was asked for cannot cut this footage),
   * RESOURCE_EXHAUSTED (DISK_FULL, QUEUE_FULL).
   */
  public Job createClip(CreateClipRequest request) {
    return calls.unary(CREATE_CLIP, request);
  }

  /**
   * Returns one finished clip.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"clip_id":"clip_…"}' 127.0.0.1:50051 heldar.footage.v1.ClipService/GetClip
   * }</pre>
   *
   * <p>Errors: NOT_FOUND (CLIP_NOT_FOUND).
   */
  public Clip getClip(GetClipRequest request) {
    return calls.unary(GET_CLIP, request);
  }

  /**
   * Lists finished clips, newest first.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"camera_id":"gate_a_01"}' 127.0.0.1:50051 heldar.footage.v1.ClipService/ListClips
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD, PAGE_TOKEN_INVALID).
   */
  public ListClipsResponse listClips(ListClipsRequest request) {
    return calls.unary(LIST_CLIPS, request);
  }

  /**
   * Deletes a clip with its file, or with what was held for it. Recorded footage is never touched.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"clip_id":"clip_…"}' 127.0.0.1:50051 heldar.footage.v1.ClipService/DeleteClip
   * }</pre>
   *
   * <p>Errors: NOT_FOUND (CLIP_NOT_FOUND).
   */
  public DeleteClipResponse deleteClip(DeleteClipRequest request) {
    return calls.unary(DELETE_CLIP, request);
  }

  /**
   * Turns a virtual clip into one with a file: the same bytes under the same id, name and URL, with a SHA-256, from then
   * on independent of the recordings. The job's result is the clip; it names no other output, and cancelling it leaves the
   * clip as it was. Recordings that were held for the clip are let go of soon after. A clip that was made with
   * {@code quick} gets its SHA-256, of what is in its file now, and is on the disk then. Of one that has both the job SUCCEEDS at its
   * turn with the clip as it is, whose file is on the disk then.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"clip_id":"clip_…","wait":"60s"}' 127.0.0.1:50051 heldar.footage.v1.ClipService/MaterializeClip
   * }</pre>
   *
   * <p>Errors, of the call or, when it shows later, of the job: NOT_FOUND (CLIP_NOT_FOUND); DATA_LOSS (SOURCES_GONE, or
   * FILE_CORRUPTED when a clip's file is gone, no longer has its size, or was not taken by the disk); RESOURCE_EXHAUSTED
   * (DISK_FULL, QUEUE_FULL).
   */
  public Job materializeClip(MaterializeClipRequest request) {
    return calls.unary(MATERIALIZE_CLIP, request);
  }

  /**
   * Streams a clip's file: first a header, then the bytes in order, in messages of at most 256 KiB.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"clip_id":"clip_…","limit_bytes":1000}' 127.0.0.1:50051 heldar.footage.v1.ClipService/DownloadClip
   * }</pre>
   *
   * <p>A broken download goes on with {@code offset_bytes} set to the number of bytes already received.
   * Errors: NOT_FOUND (CLIP_NOT_FOUND); OUT_OF_RANGE (OFFSET_PAST_END); DATA_LOSS (FILE_CORRUPTED) when the file
   * no longer has its recorded size, (SOURCES_GONE) when a virtual clip's recordings are gone or changed, also when
   * they go while it is fetched: a stream that ends with OK is complete.
   */
  public Responses<DownloadClipResponse> downloadClip(DownloadClipRequest request) {
    return calls.serverStream(DOWNLOAD_CLIP, request);
  }
}
