package heldar.footage;

import com.google.protobuf.Message;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A fault of the server. */
public final class InternalException extends FootageException {
  private static final long serialVersionUID = 1;

  InternalException(String message, List<Message> details, @Nullable Throwable cause) {
    super(Status.Code.INTERNAL, message, details, cause);
  }
}
