package heldar.footage;

import com.google.protobuf.Message;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** An offset past the end. */
public final class OutOfRangeException extends FootageException {
  private static final long serialVersionUID = 1;

  OutOfRangeException(String message, List<Message> details, @Nullable Throwable cause) {
    super(Status.Code.OUT_OF_RANGE, message, details, cause);
  }
}
