package heldar.footage;

import com.google.protobuf.Message;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The token is missing or wrong. */
public final class UnauthenticatedException extends FootageException {
  private static final long serialVersionUID = 1;

  UnauthenticatedException(String message, List<Message> details, @Nullable Throwable cause) {
    super(Status.Code.UNAUTHENTICATED, message, details, cause);
  }
}
