package heldar.footage;

import com.google.protobuf.Message;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** What was named does not exist, or there is no footage; see {@link #getResource}. */
public final class NotFoundException extends FootageException {
  private static final long serialVersionUID = 1;

  NotFoundException(String message, List<Message> details, @Nullable Throwable cause) {
    super(Status.Code.NOT_FOUND, message, details, cause);
  }
}
