package heldar.footage;

import com.google.protobuf.Message;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Somebody else changed it since it was read. */
public final class AbortedException extends FootageException {
  private static final long serialVersionUID = 1;

  AbortedException(String message, List<Message> details, @Nullable Throwable cause) {
    super(Status.Code.ABORTED, message, details, cause);
  }
}
