package heldar.footage;

import com.google.protobuf.Message;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The token does not allow this. */
public final class PermissionDeniedException extends FootageException {
  private static final long serialVersionUID = 1;

  PermissionDeniedException(String message, List<Message> details, @Nullable Throwable cause) {
    super(Status.Code.PERMISSION_DENIED, message, details, cause);
  }
}
