package heldar.footage;

import com.google.protobuf.Message;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The request is wrong; {@link #getFieldViolations} names every field at once. */
public final class InvalidArgumentException extends FootageException {
  private static final long serialVersionUID = 1;

  InvalidArgumentException(String message, List<Message> details, @Nullable Throwable cause) {
    super(Status.Code.INVALID_ARGUMENT, message, details, cause);
  }
}
