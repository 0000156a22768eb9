package heldar.footage;

import com.google.protobuf.Message;
import heldar.footage.v1.Job;
import io.grpc.Status;
import java.util.List;

/** A job was cancelled by somebody. */
public final class JobCancelledException extends JobFailedException {
  private static final long serialVersionUID = 1;

  JobCancelledException(Job job, List<Message> details) {
    super(job, Status.Code.CANCELLED, "job " + job.getId() + " was cancelled", details);
  }
}
