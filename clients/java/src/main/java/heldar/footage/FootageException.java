package heldar.footage;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.PreconditionFailure;
import com.google.rpc.QuotaFailure;
import com.google.rpc.RequestInfo;
import com.google.rpc.ResourceInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.Serializable;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.StringJoiner;
import org.jspecify.annotations.Nullable;

/**
 * A call that failed, with what the server says about it. The subclasses, one for each status code, say how.
 *
 * <p>Every error that the server sends has a reason of {@link heldar.footage.v1.ErrorReason} (without its prefix), and
 * most have more: which fields are wrong, what does not exist, how long to wait.
 */
// The lists and the map are serializable: they are immutable ones of the JDK, of messages and texts.
@SuppressWarnings("serial")
public class FootageException extends RuntimeException {
  private static final long serialVersionUID = 1;

  /** The key under which gRPC carries google.rpc.Status. */
  private static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  /** The types of details that this service uses. */
  private static final List<Message> DETAIL_TYPES =
      List.of(
          ErrorInfo.getDefaultInstance(),
          BadRequest.getDefaultInstance(),
          ResourceInfo.getDefaultInstance(),
          PreconditionFailure.getDefaultInstance(),
          QuotaFailure.getDefaultInstance(),
          RetryInfo.getDefaultInstance(),
          RequestInfo.getDefaultInstance());

  private final Status.Code code;
  private final String message;
  private final List<Message> details;
  private final String reason;
  private final String domain;
  private final Map<String, String> metadata;
  private final List<FieldViolation> fieldViolations;
  private final @Nullable Resource resource;
  private final @Nullable Duration retryAfter;

  /** A field that is wrong: its path in the request, and what would be right. */
  public record FieldViolation(String field, String description) implements Serializable {}

  /** What an error is about, such as the camera that does not exist. */
  public record Resource(String type, String name) implements Serializable {}

  FootageException(Status.Code code, String message, List<Message> details, @Nullable Throwable cause) {
    super(message, cause);
    this.code = code;
    this.message = message;
    this.details = List.copyOf(details);
    ErrorInfo info = ErrorInfo.getDefaultInstance();
    List<FieldViolation> violations = new ArrayList<>();
    Resource about = null;
    Duration pause = null;
    for (Message detail : details) {
      if (detail instanceof ErrorInfo found) {
        info = found;
      } else if (detail instanceof BadRequest request) {
        for (BadRequest.FieldViolation violation : request.getFieldViolationsList()) {
          violations.add(new FieldViolation(violation.getField(), violation.getDescription()));
        }
      } else if (detail instanceof ResourceInfo found) {
        about = new Resource(found.getResourceType(), found.getResourceName());
      } else if (detail instanceof RetryInfo retry) {
        pause = Times.toJavaDuration(retry.getRetryDelay());
      }
    }
    this.reason = info.getReason();
    this.domain = info.getDomain();
    this.metadata = Map.copyOf(info.getMetadataMap());
    this.fieldViolations = List.copyOf(violations);
    this.resource = about;
    this.retryAfter = pause;
  }

  /** What a failed call of gRPC means, for calls that are made on {@link Footage#channel()}. */
  public static FootageException of(StatusRuntimeException failure) {
    return of(failure.getStatus(), failure.getTrailers(), failure);
  }

  /**
   * What a google.rpc.Status inside an answer means, such as a warning of a job or {@code
   * TestDestinationResponse.error}.
   */
  public static FootageException of(com.google.rpc.Status status) {
    return of(code(status), status.getMessage(), unpacked(status), null);
  }

  static FootageException of(Status status, @Nullable Metadata trailers, @Nullable Throwable cause) {
    String description = status.getDescription();
    return of(status.getCode(), description == null ? "" : description, detailsIn(trailers), cause);
  }

  private static FootageException of(
      Status.Code code, String message, List<Message> details, @Nullable Throwable cause) {
    return switch (code) {
      case INVALID_ARGUMENT -> new InvalidArgumentException(message, details, cause);
      case NOT_FOUND -> new NotFoundException(message, details, cause);
      case ALREADY_EXISTS -> new AlreadyExistsException(message, details, cause);
      case FAILED_PRECONDITION -> new FailedPreconditionException(message, details, cause);
      case ABORTED -> new AbortedException(message, details, cause);
      case RESOURCE_EXHAUSTED -> new ResourceExhaustedException(message, details, cause);
      case OUT_OF_RANGE -> new OutOfRangeException(message, details, cause);
      case UNAVAILABLE -> new UnavailableException(message, details, cause);
      case DATA_LOSS -> new DataLossException(message, details, cause);
      case UNIMPLEMENTED -> new UnimplementedException(message, details, cause);
      case INTERNAL -> new InternalException(message, details, cause);
      case DEADLINE_EXCEEDED -> new DeadlineExceededException(message, details, cause);
      case CANCELLED -> new CancelledException(message, details, cause);
      case UNAUTHENTICATED -> new UnauthenticatedException(message, details, cause);
      case PERMISSION_DENIED -> new PermissionDeniedException(message, details, cause);
      case OK, UNKNOWN -> new FootageException(code, message, details, cause);
    };
  }

  static Status.Code code(com.google.rpc.Status status) {
    return Status.fromCodeValue(status.getCode()).getCode();
  }

  /** The details of the types that this service uses; a newer server may send others. */
  static List<Message> unpacked(com.google.rpc.Status status) {
    List<Message> found = new ArrayList<>();
    for (Any packed : status.getDetailsList()) {
      for (Message type : DETAIL_TYPES) {
        if (packed.is(type.getClass())) {
          try {
            found.add(packed.unpack(type.getClass()));
          } catch (InvalidProtocolBufferException e) {
            // What cannot be read says nothing; code and message stand without it.
            continue;
          }
        }
      }
    }
    return found;
  }

  private static List<Message> detailsIn(@Nullable Metadata trailers) {
    byte[] bytes = trailers == null ? null : trailers.get(DETAILS);
    if (bytes == null) {
      return List.of();
    }
    try {
      return unpacked(com.google.rpc.Status.parseFrom(bytes));
    } catch (InvalidProtocolBufferException e) {
      // As above: a proxy that garbles the details must not hide the error itself.
      return List.of();
    }
  }

  /** The status code of gRPC. */
  public final Status.Code getCode() {
    return code;
  }

  /** What happened, for people. */
  @Override
  public final String getMessage() {
    return message;
  }

  /** Everything the server added, as messages of google.rpc. */
  public final List<Message> getDetails() {
    return details;
  }

  /**
   * Why, for programs: a name of {@link heldar.footage.v1.ErrorReason} without its prefix; empty when something else
   * than the server failed.
   */
  public final String getReason() {
    return reason;
  }

  /** The namespace of the reason, {@code footage.heldar}. */
  public final String getDomain() {
    return domain;
  }

  /** More about the reason, such as {@code job_id}. */
  public final Map<String, String> getMetadata() {
    return metadata;
  }

  /** Every field that is wrong. */
  public final List<FieldViolation> getFieldViolations() {
    return fieldViolations;
  }

  /** What the error is about, where it is about something. */
  public final @Nullable Resource getResource() {
    return resource;
  }

  /** How long to wait before calling again, where the server asks for it. */
  public final @Nullable Duration getRetryAfter() {
    return retryAfter;
  }

  @Override
  public String toString() {
    StringJoiner fields = new StringJoiner(", ", ": ", "").setEmptyValue("");
    fieldViolations.forEach(violation -> fields.add(violation.field()));
    return "%s: %s (%s%s)".formatted(getClass().getName(), message, reason.isEmpty() ? code : reason, fields);
  }
}
