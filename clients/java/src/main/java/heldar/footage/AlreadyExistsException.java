package heldar.footage;

import com.google.protobuf.Message;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The id that was chosen is taken. */
public final class AlreadyExistsException extends FootageException {
  private static final long serialVersionUID = 1;

  AlreadyExistsException(String message, List<Message> details, @Nullable Throwable cause) {
    super(Status.Code.ALREADY_EXISTS, message, details, cause);
  }
}
