package heldar.footage;

import com.google.protobuf.Message;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** There is too much of something just now; see {@link #getRetryAfter}. */
public final class ResourceExhaustedException extends FootageException {
  private static final long serialVersionUID = 1;

  ResourceExhaustedException(String message, List<Message> details, @Nullable Throwable cause) {
    super(Status.Code.RESOURCE_EXHAUSTED, message, details, cause);
  }
}
