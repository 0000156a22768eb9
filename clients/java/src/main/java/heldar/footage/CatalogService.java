// Written by clients/java/generate.sh from heldar/footage/v1/catalog.proto. Do not edit.
package heldar.footage;

import heldar.footage.v1.Camera;
import heldar.footage.v1.DeleteCameraRequest;
import heldar.footage.v1.DeleteCameraResponse;
import heldar.footage.v1.GetCameraRequest;
import heldar.footage.v1.GetTimelineRequest;
import heldar.footage.v1.ListCamerasRequest;
import heldar.footage.v1.ListCamerasResponse;
import heldar.footage.v1.ListSegmentsRequest;
import heldar.footage.v1.ListSegmentsResponse;
import heldar.footage.v1.RegisterSegmentsRequest;
import heldar.footage.v1.RegisterSegmentsResponse;
import heldar.footage.v1.SetEvidenceLockRequest;
import heldar.footage.v1.SetEvidenceLockResponse;
import heldar.footage.v1.Timeline;
import heldar.footage.v1.UpsertCameraRequest;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import java.time.Duration;

/**
 * The catalog: which camera recorded what, when, in which file.
 *
 * <p>Footage enters in three ways: sources named in the server's settings are read at start and followed
 * while they grow; {@code footage import} reads a folder once; and a recorder may call RegisterSegments as it
 * closes files. All three read duration, codec, size and key frames from the file itself.
 */
public final class CatalogService {
  /** Describes {@link #upsertCamera}. */
  public static final MethodDescriptor<UpsertCameraRequest, Camera> UPSERT_CAMERA =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.CatalogService",
          "UpsertCamera",
          UpsertCameraRequest.getDefaultInstance(),
          Camera.getDefaultInstance());

  /** Describes {@link #getCamera}. */
  public static final MethodDescriptor<GetCameraRequest, Camera> GET_CAMERA =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.CatalogService",
          "GetCamera",
          GetCameraRequest.getDefaultInstance(),
          Camera.getDefaultInstance());

  /** Describes {@link #listCameras}. */
  public static final MethodDescriptor<ListCamerasRequest, ListCamerasResponse> LIST_CAMERAS =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.CatalogService",
          "ListCameras",
          ListCamerasRequest.getDefaultInstance(),
          ListCamerasResponse.getDefaultInstance());

  /** Describes {@link #deleteCamera}. */
  public static final MethodDescriptor<DeleteCameraRequest, DeleteCameraResponse> DELETE_CAMERA =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.CatalogService",
          "DeleteCamera",
          DeleteCameraRequest.getDefaultInstance(),
          DeleteCameraResponse.getDefaultInstance());

  /** Describes {@link #registerSegments}. */
  public static final MethodDescriptor<RegisterSegmentsRequest, RegisterSegmentsResponse> REGISTER_SEGMENTS =
      Calls.method(
          MethodType.CLIENT_STREAMING,
          "heldar.footage.v1.CatalogService",
          "RegisterSegments",
          RegisterSegmentsRequest.getDefaultInstance(),
          RegisterSegmentsResponse.getDefaultInstance());

  /** Describes {@link #listSegments}. */
  public static final MethodDescriptor<ListSegmentsRequest, ListSegmentsResponse> LIST_SEGMENTS =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.CatalogService",
          "ListSegments",
          ListSegmentsRequest.getDefaultInstance(),
          ListSegmentsResponse.getDefaultInstance());

  /** Describes {@link #getTimeline}. */
  public static final MethodDescriptor<GetTimelineRequest, Timeline> GET_TIMELINE =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.CatalogService",
          "GetTimeline",
          GetTimelineRequest.getDefaultInstance(),
          Timeline.getDefaultInstance());

  /** Describes {@link #setEvidenceLock}. */
  public static final MethodDescriptor<SetEvidenceLockRequest, SetEvidenceLockResponse> SET_EVIDENCE_LOCK =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.CatalogService",
          "SetEvidenceLock",
          SetEvidenceLockRequest.getDefaultInstance(),
          SetEvidenceLockResponse.getDefaultInstance());

  private final Calls calls;

  CatalogService(Calls calls) {
    this.calls = calls;
  }

  /** The same methods with another limit for each call; streams, too, which have none otherwise. */
  public CatalogService withTimeout(Duration timeout) {
    return new CatalogService(calls.withTimeout(timeout));
  }

  /**
   * Creates a camera, or changes the fields that are set.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"camera":{"id":"gate_a_01","display_name":"Gate A"}}' \
   *   127.0.0.1:50051 heldar.footage.v1.CatalogService/UpsertCamera
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD), ABORTED (ETAG_STALE).
   */
  public Camera upsertCamera(UpsertCameraRequest request) {
    return calls.unary(UPSERT_CAMERA, request);
  }

  /**
   * Returns one camera.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"camera_id":"gate_a_01"}' 127.0.0.1:50051 heldar.footage.v1.CatalogService/GetCamera
   * }</pre>
   *
   * <p>Errors: NOT_FOUND (CAMERA_NOT_FOUND).
   */
  public Camera getCamera(GetCameraRequest request) {
    return calls.unary(GET_CAMERA, request);
  }

  /**
   * Lists cameras, the most recently created first.
   *
   * <pre>{@code
   * grpcurl -plaintext 127.0.0.1:50051 heldar.footage.v1.CatalogService/ListCameras
   * }</pre>
   */
  public ListCamerasResponse listCameras(ListCamerasRequest request) {
    return calls.unary(LIST_CAMERAS, request);
  }

  /**
   * Forgets a camera. Recorded files are never touched.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"camera_id":"gate_a_01"}' 127.0.0.1:50051 heldar.footage.v1.CatalogService/DeleteCamera
   * }</pre>
   *
   * <p>Errors: NOT_FOUND (CAMERA_NOT_FOUND); FAILED_PRECONDITION (CAMERA_IN_USE) while it has segments, unless {@code force}.
   */
  public DeleteCameraResponse deleteCamera(DeleteCameraRequest request) {
    return calls.unary(DELETE_CAMERA, request);
  }

  /**
   * Takes in files as a recorder closes them. Send one message per file, close the stream, read the summary.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"camera_id":"gate_a_01","path":"gate_a_01/20261122_100000.mp4"}' \
   *   127.0.0.1:50051 heldar.footage.v1.CatalogService/RegisterSegments
   * }</pre>
   *
   * <p>A file that cannot be taken in is reported in {@code rejected}; the others are taken in all the same. Sending a
   * file twice is harmless. Files are taken in as they arrive; what was taken in stays when the stream breaks.
   * Errors: those of single files are in the answer; the call itself fails only with UNAVAILABLE.
   */
  public RegisterSegmentsResponse registerSegments(Iterable<RegisterSegmentsRequest> requests) {
    return calls.clientStream(REGISTER_SEGMENTS, requests);
  }

  /**
   * Lists segments, newest first.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"camera_id":"gate_a_01","page_size":10}' \
   *   127.0.0.1:50051 heldar.footage.v1.CatalogService/ListSegments
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD, WINDOW_REVERSED, PAGE_TOKEN_INVALID); NOT_FOUND (CAMERA_NOT_FOUND).
   */
  public ListSegmentsResponse listSegments(ListSegmentsRequest request) {
    return calls.unary(LIST_SEGMENTS, request);
  }

  /**
   * Returns what a camera has recorded in a window: covered spans, gaps and evidence locks.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"camera_id":"gate_a_01","start_time":"2026-11-22T00:00:00Z","end_time":"2026-11-23T00:00:00Z"}' \
   *   127.0.0.1:50051 heldar.footage.v1.CatalogService/GetTimeline
   * }</pre>
   *
   * <p>The answer takes as long as it has spans and locks, however many segments lie behind them.
   * Errors: INVALID_ARGUMENT (INVALID_FIELD, WINDOW_REVERSED); NOT_FOUND (CAMERA_NOT_FOUND).
   */
  public Timeline getTimeline(GetTimelineRequest request) {
    return calls.unary(GET_TIMELINE, request);
  }

  /**
   * Holds segments as evidence, or releases them. Held segments are marked in every answer and are never
   * pruned by this service.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"window":{"camera_id":"gate_a_01","start_time":"2026-11-22T10:00:00Z","end_time":"2026-11-22T10:05:00Z"},"incident_id":"case-17"}' \
   *   127.0.0.1:50051 heldar.footage.v1.CatalogService/SetEvidenceLock
   * }</pre>
   *
   * <p>A window holds the segments that overlap it now; segments taken in later are not held.
   * Errors: INVALID_ARGUMENT (INVALID_FIELD, WINDOW_REVERSED); NOT_FOUND (CAMERA_NOT_FOUND, SEGMENT_NOT_FOUND, NO_FOOTAGE).
   */
  public SetEvidenceLockResponse setEvidenceLock(SetEvidenceLockRequest request) {
    return calls.unary(SET_EVIDENCE_LOCK, request);
  }
}
