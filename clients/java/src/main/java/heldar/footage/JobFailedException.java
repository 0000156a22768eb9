package heldar.footage;

import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import heldar.footage.v1.Job;
import heldar.footage.v1.JobState;
import io.grpc.Status;
import java.util.List;

/** A job ended without a result. Reason and metadata are as those of a failed call. */
public class JobFailedException extends FootageException {
  private static final long serialVersionUID = 1;

  private final Job job;

  JobFailedException(Job job, Status.Code code, String message, List<Message> details) {
    super(code, message, details, null);
    this.job = job;
  }

  /** Why a job that ended has no result. */
  static JobFailedException of(Job job) {
    if (job.getState() == JobState.JOB_STATE_CANCELLED) {
      return new JobCancelledException(job, cancelled());
    }
    com.google.rpc.Status error = job.getError();
    return new JobFailedException(job, code(error), error.getMessage(), unpacked(error));
  }

  private static List<Message> cancelled() {
    return List.of(ErrorInfo.newBuilder().setReason("CANCELLED").setDomain("footage.heldar").build());
  }

  /** The job as it ended. */
  public final Job getJob() {
    return job;
  }
}
