package heldar.footage;

import com.google.protobuf.Message;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A file is not what it was. */
public final class DataLossException extends FootageException {
  private static final long serialVersionUID = 1;

  DataLossException(String message, List<Message> details, @Nullable Throwable cause) {
    super(Status.Code.DATA_LOSS, message, details, cause);
  }
}
