package heldar.footage;

import com.google.protobuf.Message;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The server does not have this method, or not yet. */
public final class UnimplementedException extends FootageException {
  private static final long serialVersionUID = 1;

  UnimplementedException(String message, List<Message> details, @Nullable Throwable cause) {
    super(Status.Code.UNIMPLEMENTED, message, details, cause);
  }
}
