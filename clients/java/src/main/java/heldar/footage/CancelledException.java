package heldar.footage;

import com.google.protobuf.Message;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The call was ended on this side: the thread was interrupted, or what it used was closed. */
public final class CancelledException extends FootageException {
  private static final long serialVersionUID = 1;

  CancelledException(String message, List<Message> details, @Nullable Throwable cause) {
    super(Status.Code.CANCELLED, message, details, cause);
  }
}
