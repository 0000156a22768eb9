package heldar.footage;

import com.google.protobuf.Message;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** No answer came in time. */
public final class DeadlineExceededException extends FootageException {
  private static final long serialVersionUID = 1;

  DeadlineExceededException(String message, List<Message> details, @Nullable Throwable cause) {
    super(Status.Code.DEADLINE_EXCEEDED, message, details, cause);
  }
}
