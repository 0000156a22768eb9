package heldar.footage;

import com.google.protobuf.Message;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The server is away or shuts down; call again after {@link #getRetryAfter}. */
public final class UnavailableException extends FootageException {
  private static final long serialVersionUID = 1;

  UnavailableException(String message, List<Message> details, @Nullable Throwable cause) {
    super(Status.Code.UNAVAILABLE, message, details, cause);
  }
}
