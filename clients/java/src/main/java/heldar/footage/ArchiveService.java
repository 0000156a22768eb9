// Written by clients/java/generate.sh from heldar/footage/v1/archive.proto. Do not edit.
package heldar.footage;

import heldar.footage.v1.Archive;
import heldar.footage.v1.CreateArchiveRequest;
import heldar.footage.v1.DeleteArchiveRequest;
import heldar.footage.v1.DeleteArchiveResponse;
import heldar.footage.v1.DownloadArchiveRequest;
import heldar.footage.v1.DownloadArchiveResponse;
import heldar.footage.v1.GetArchiveRequest;
import heldar.footage.v1.Job;
import heldar.footage.v1.ListArchivesRequest;
import heldar.footage.v1.ListArchivesResponse;
import heldar.footage.v1.StreamArchiveRequest;
import heldar.footage.v1.StreamArchiveResponse;
import heldar.footage.v1.VerifyArchiveRequest;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import java.time.Duration;

/**
 * Archives: the footage of several cameras in one zip that proves what it contains.
 *
 * <p>An archive is one zip, stored without compression (ZIP64 where needed), with these entries:
 * the footage as {@code {camera_id}/{file name}} (entries that would have equal names get a suffix, none
 * is lost); {@code manifest.json} (request, delivered windows, every source with size and SHA-256, gaps,
 * faults); {@code README.txt} with the commands that check the archive; {@code allowed_signers}, the key by
 * which {@code ssh-keygen} knows who signed; {@code SHA256SUMS} for {@code sha256sum -c}; and {@code SHA256SUMS.sig} for
 * {@code ssh-keygen -Y verify}. Equal input and options give equal bytes.
 *
 * <p>Life cycle: CreateArchive makes a Job of kind archive; when it succeeds, the Archive exists and
 * is the result of the job; at {@code expire_time} (48 h after creation unless the operator set another
 * time) or with DeleteArchive the zip and the resource go. A failed or cancelled job leaves no file.
 *
 * <p>In JSON, integers of 64 bits come as strings: "size_bytes": "1800000000".
 */
public final class ArchiveService {
  /** Describes {@link #createArchive}. */
  public static final MethodDescriptor<CreateArchiveRequest, Job> CREATE_ARCHIVE =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.ArchiveService",
          "CreateArchive",
          CreateArchiveRequest.getDefaultInstance(),
          Job.getDefaultInstance());

  /** Describes {@link #getArchive}. */
  public static final MethodDescriptor<GetArchiveRequest, Archive> GET_ARCHIVE =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.ArchiveService",
          "GetArchive",
          GetArchiveRequest.getDefaultInstance(),
          Archive.getDefaultInstance());

  /** Describes {@link #listArchives}. */
  public static final MethodDescriptor<ListArchivesRequest, ListArchivesResponse> LIST_ARCHIVES =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.ArchiveService",
          "ListArchives",
          ListArchivesRequest.getDefaultInstance(),
          ListArchivesResponse.getDefaultInstance());

  /** Describes {@link #deleteArchive}. */
  public static final MethodDescriptor<DeleteArchiveRequest, DeleteArchiveResponse> DELETE_ARCHIVE =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.ArchiveService",
          "DeleteArchive",
          DeleteArchiveRequest.getDefaultInstance(),
          DeleteArchiveResponse.getDefaultInstance());

  /** Describes {@link #downloadArchive}. */
  public static final MethodDescriptor<DownloadArchiveRequest, DownloadArchiveResponse> DOWNLOAD_ARCHIVE =
      Calls.method(
          MethodType.SERVER_STREAMING,
          "heldar.footage.v1.ArchiveService",
          "DownloadArchive",
          DownloadArchiveRequest.getDefaultInstance(),
          DownloadArchiveResponse.getDefaultInstance());

  /** Describes {@link #streamArchive}. */
  public static final MethodDescriptor<StreamArchiveRequest, StreamArchiveResponse> STREAM_ARCHIVE =
      Calls.method(
          MethodType.SERVER_STREAMING,
          "heldar.footage.v1.ArchiveService",
          "StreamArchive",
          StreamArchiveRequest.getDefaultInstance(),
          StreamArchiveResponse.getDefaultInstance());

  /** Describes {@link #verifyArchive}. */
  public static final MethodDescriptor<VerifyArchiveRequest, Job> VERIFY_ARCHIVE =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.ArchiveService",
          "VerifyArchive",
          VerifyArchiveRequest.getDefaultInstance(),
          Job.getDefaultInstance());

  private final Calls calls;

  ArchiveService(Calls calls) {
    this.calls = calls;
  }

  /** The same methods with another limit for each call; streams, too, which have none otherwise. */
  public ArchiveService withTimeout(Duration timeout) {
    return new ArchiveService(calls.withTimeout(timeout));
  }

  /**
   * Starts an archive of a selection of footage and returns its Job; the result is an Archive.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"spec":{"start_time":"2026-11-22T10:00:00Z","end_time":"2026-11-22T10:05:00Z","camera_ids":["gate_a_01","yard_02"],"trim":true,"layout":"ARCHIVE_LAYOUT_SEGMENTS_AND_CLIPS","case_id":"2026-117","operator":"control room","reason":"collision at gate A"},"wait":"30s"}' \
   *   127.0.0.1:50051 heldar.footage.v1.ArchiveService/CreateArchive
   * }</pre>
   *
   * <p>All checks are made before a byte is written, in this order: INVALID_ARGUMENT (INVALID_FIELD;
   * WINDOW_REVERSED "{@code to} must be after {@code from}"; INVALID_FIELD "{@code trim} requires both {@code from} and
   * {@code to}"; REQUEST_ID_REUSED), NOT_FOUND (CAMERA_NOT_FOUND; NO_FOOTAGE "no recorded footage matches
   * the requested archive selection"), INVALID_ARGUMENT (ARCHIVE_TOO_LARGE "archive selection is N
   * bytes; exceeds the limit of M bytes (HELDAR_ARCHIVE_MAX_BYTES)", 10 GiB unless set, or "archive
   * selection is N segments; exceeds the limit of M segments (HELDAR_ARCHIVE_MAX_SEGMENTS)", 200000
   * unless set, vanished ones included),
   * FAILED_PRECONDITION (FILE_MISSING or FILE_DAMAGED with {@code all_or_nothing}; FFMPEG_UNAVAILABLE when
   * something has to be cut), RESOURCE_EXHAUSTED (DISK_FULL "not enough free disk for this export:
   * need ~N bytes, M free", also when the archive folder would exceed HELDAR_ARCHIVE_DIR_MAX_BYTES),
   * ALREADY_EXISTS (ID_TAKEN), RESOURCE_EXHAUSTED (QUEUE_FULL), UNAVAILABLE (DRAINING,
   * DATABASE_UNAVAILABLE). Of more than 5000 segments only the catalog's sums are looked at before
   * the job is accepted. Later failures are in {@code Job.error}.
   */
  public Job createArchive(CreateArchiveRequest request) {
    return calls.unary(CREATE_ARCHIVE, request);
  }

  /**
   * Returns one archive.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"archive_id":"bkj_…"}' \
   *   127.0.0.1:50051 heldar.footage.v1.ArchiveService/GetArchive
   * }</pre>
   *
   * <p>Errors: NOT_FOUND (ARCHIVE_NOT_FOUND: no such archive, expired, or not finished yet; ask
   * JobService for its job).
   */
  public Archive getArchive(GetArchiveRequest request) {
    return calls.unary(GET_ARCHIVE, request);
  }

  /**
   * Lists archives, newest first.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"case_id":"2026-117","page_size":20}' \
   *   127.0.0.1:50051 heldar.footage.v1.ArchiveService/ListArchives
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD, WINDOW_REVERSED, PAGE_TOKEN_INVALID).
   */
  public ListArchivesResponse listArchives(ListArchivesRequest request) {
    return calls.unary(LIST_ARCHIVES, request);
  }

  /**
   * Deletes the zip and the resource. A download that has begun is delivered to its end. The
   * record of who exported what stays.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"archive_id":"bkj_…"}' \
   *   127.0.0.1:50051 heldar.footage.v1.ArchiveService/DeleteArchive
   * }</pre>
   *
   * <p>Errors: NOT_FOUND (ARCHIVE_NOT_FOUND), ABORTED (ETAG_STALE).
   */
  public DeleteArchiveResponse deleteArchive(DeleteArchiveRequest request) {
    return calls.unary(DELETE_ARCHIVE, request);
  }

  /**
   * Streams the bytes of a finished archive: one header, then 64 KiB to 1 MiB per message. To
   * resume, call again with {@code offset_bytes} set to the number of bytes received. The same file is at
   * {@code Archive.url} over HTTP.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"archive_id":"bkj_…","limit_bytes":65536}' \
   *   127.0.0.1:50051 heldar.footage.v1.ArchiveService/DownloadArchive
   * }</pre>
   *
   * <p>Errors: NOT_FOUND (ARCHIVE_NOT_FOUND), OUT_OF_RANGE (OFFSET_PAST_END), DATA_LOSS
   * (FILE_CORRUPTED: the zip is gone or no longer has its recorded size), UNAVAILABLE
   * (DRAINING: resume by offset).
   */
  public Responses<DownloadArchiveResponse> downloadArchive(DownloadArchiveRequest request) {
    return calls.serverStream(DOWNLOAD_ARCHIVE, request);
  }

  /**
   * Streams the zip while it is made, without a file for it on the server and without a Job: one
   * header with the exact total size, then the bytes, then a trailer with the SHA-256. Nothing can
   * be downloaded later. The bytes received are an archive only when the trailer has come and the
   * call has ended with OK; there is no resuming. A client that goes away ends the work.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"spec":{"start_time":"2026-11-22T10:00:00Z","end_time":"2026-11-22T11:00:00Z","camera_ids":["gate_a_01"]}}' \
   *   127.0.0.1:50051 heldar.footage.v1.ArchiveService/StreamArchive
   * }</pre>
   *
   * <p>When something has to be cut ({@code trim}, or a layout with clips) the cuts are made first, into
   * temporary files, and the header comes after them; whole segments start at once.
   * Errors: those of CreateArchive that concern the selection; RESOURCE_EXHAUSTED
   * (TOO_MANY_WATCHERS); and in mid-stream DATA_LOSS (FILE_CORRUPTED: a source could not be read to
   * its end or changed while it was read) and UNAVAILABLE (DRAINING; TIMED_OUT: the caller took nothing for a minute).
   */
  public Responses<StreamArchiveResponse> streamArchive(StreamArchiveRequest request) {
    return calls.serverStream(STREAM_ARCHIVE, request);
  }

  /**
   * Starts reading an archive again and comparing every entry with SHA256SUMS, and SHA256SUMS with
   * its signature. Returns the Job; the result is an ArchiveVerification that names each entry that
   * is not as recorded. The job succeeds whatever the verdict is, and fails (FILE_CORRUPTED) only
   * when the zip is gone or is no zip any more.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"archive_id":"bkj_…","wait":"60s"}' \
   *   127.0.0.1:50051 heldar.footage.v1.ArchiveService/VerifyArchive
   * }</pre>
   *
   * <p>Errors: NOT_FOUND (ARCHIVE_NOT_FOUND), INVALID_ARGUMENT (INVALID_FIELD, REQUEST_ID_REUSED),
   * RESOURCE_EXHAUSTED (QUEUE_FULL), UNAVAILABLE (DRAINING, DATABASE_UNAVAILABLE).
   */
  public Job verifyArchive(VerifyArchiveRequest request) {
    return calls.unary(VERIFY_ARCHIVE, request);
  }
}
