package heldar.footage;

import com.google.protobuf.Message;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Something has to be put right first. */
public final class FailedPreconditionException extends FootageException {
  private static final long serialVersionUID = 1;

  FailedPreconditionException(String message, List<Message> details, @Nullable Throwable cause) {
    super(Status.Code.FAILED_PRECONDITION, message, details, cause);
  }
}
