// Written by clients/java/generate.sh from heldar/footage/v1/job.proto. Do not edit.
package heldar.footage;

import heldar.footage.v1.CancelJobRequest;
import heldar.footage.v1.GetJobRequest;
import heldar.footage.v1.Job;
import heldar.footage.v1.ListJobsRequest;
import heldar.footage.v1.ListJobsResponse;
import heldar.footage.v1.RetryJobRequest;
import heldar.footage.v1.WatchJobRequest;
import heldar.footage.v1.WatchJobResponse;
import heldar.footage.v1.WatchJobsRequest;
import heldar.footage.v1.WatchJobsResponse;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import java.time.Duration;

/**
 * Jobs: everything that takes longer than a moment, and how far it is.
 *
 * <p>Life of a job: it is written durably as QUEUED before the call that made it answers; RUNNING while a worker has
 * it; then SUCCEEDED with a result, FAILED with an error, or CANCELLED. CancelJob turns a RUNNING job into
 * CANCELLING until its worker has stopped and cleaned up. A job whose server died goes back to QUEUED and is
 * tried again, up to {@code max_attempts}. The three end states never change.
 *
 * <p>A client that goes away never stops a job.
 */
public final class JobService {
  /** Describes {@link #getJob}. */
  public static final MethodDescriptor<GetJobRequest, Job> GET_JOB =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.JobService",
          "GetJob",
          GetJobRequest.getDefaultInstance(),
          Job.getDefaultInstance());

  /** Describes {@link #listJobs}. */
  public static final MethodDescriptor<ListJobsRequest, ListJobsResponse> LIST_JOBS =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.JobService",
          "ListJobs",
          ListJobsRequest.getDefaultInstance(),
          ListJobsResponse.getDefaultInstance());

  /** Describes {@link #watchJob}. */
  public static final MethodDescriptor<WatchJobRequest, WatchJobResponse> WATCH_JOB =
      Calls.method(
          MethodType.SERVER_STREAMING,
          "heldar.footage.v1.JobService",
          "WatchJob",
          WatchJobRequest.getDefaultInstance(),
          WatchJobResponse.getDefaultInstance());

  /** Describes {@link #watchJobs}. */
  public static final MethodDescriptor<WatchJobsRequest, WatchJobsResponse> WATCH_JOBS =
      Calls.method(
          MethodType.SERVER_STREAMING,
          "heldar.footage.v1.JobService",
          "WatchJobs",
          WatchJobsRequest.getDefaultInstance(),
          WatchJobsResponse.getDefaultInstance());

  /** Describes {@link #cancelJob}. */
  public static final MethodDescriptor<CancelJobRequest, Job> CANCEL_JOB =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.JobService",
          "CancelJob",
          CancelJobRequest.getDefaultInstance(),
          Job.getDefaultInstance());

  /** Describes {@link #retryJob}. */
  public static final MethodDescriptor<RetryJobRequest, Job> RETRY_JOB =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.JobService",
          "RetryJob",
          RetryJobRequest.getDefaultInstance(),
          Job.getDefaultInstance());

  private final Calls calls;

  JobService(Calls calls) {
    this.calls = calls;
  }

  /** The same methods with another limit for each call; streams, too, which have none otherwise. */
  public JobService withTimeout(Duration timeout) {
    return new JobService(calls.withTimeout(timeout));
  }

  /**
   * Returns one job as it is now.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"job_id":"job_…"}' 127.0.0.1:50051 heldar.footage.v1.JobService/GetJob
   * }</pre>
   *
   * <p>A job that failed is an answer like any other: see {@code state} and {@code error}.
   * Errors: NOT_FOUND (JOB_NOT_FOUND).
   */
  public Job getJob(GetJobRequest request) {
    return calls.unary(GET_JOB, request);
  }

  /**
   * Lists jobs, newest first.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"filter":{"states":["JOB_STATE_RUNNING"]}}' 127.0.0.1:50051 heldar.footage.v1.JobService/ListJobs
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD, PAGE_TOKEN_INVALID).
   */
  public ListJobsResponse listJobs(ListJobsRequest request) {
    return calls.unary(LIST_JOBS, request);
  }

  /**
   * Follows one job: its present state at once, then its full state on each change, at most four times a second;
   * a heartbeat when nothing was sent for 15 s. The stream ends with OK after the job's end state was sent.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"job_id":"job_…"}' 127.0.0.1:50051 heldar.footage.v1.JobService/WatchJob
   * }</pre>
   *
   * <p>A slow reader skips states and gets the newest. When the server shuts down, the stream ends with UNAVAILABLE
   * (DRAINING) and RetryInfo: call again with {@code after_revision}.
   * Errors: NOT_FOUND (JOB_NOT_FOUND); RESOURCE_EXHAUSTED (TOO_MANY_WATCHERS).
   */
  public Responses<WatchJobResponse> watchJob(WatchJobRequest request) {
    return calls.serverStream(WATCH_JOB, request);
  }

  /**
   * Follows all jobs that match: first each as it is now, then a mark that this was all, then every change, each
   * job at most four times a second. The stream does not end by itself.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"filter":{"kinds":["JOB_KIND_CLIP"]}}' 127.0.0.1:50051 heldar.footage.v1.JobService/WatchJobs
   * }</pre>
   *
   * <p>The first part has the jobs that have not ended, and at most 1000 of the newest that have. New jobs that match
   * are added as they come; a job that stops matching because its state changed is sent once more.
   *
   * <p>Alerts of backups come too: those that are present in the first part, after its jobs, then each that is raised,
   * gets another message or is cleared. A slow reader skips those that were cleared before it saw them. The {@code kinds} of
   * the filter must be empty or hold JOB_KIND_BACKUP, {@code policy_id} and {@code destination_id} are those of the alert, and any
   * other condition, being one that only a job can meet, leaves alerts out.
   * Errors: INVALID_ARGUMENT (INVALID_FIELD); RESOURCE_EXHAUSTED (TOO_MANY_WATCHERS).
   */
  public Responses<WatchJobsResponse> watchJobs(WatchJobsRequest request) {
    return calls.serverStream(WATCH_JOBS, request);
  }

  /**
   * Asks a job to stop. A QUEUED job is CANCELLED at once; a RUNNING one becomes CANCELLING, and CANCELLED when
   * its worker has stopped and removed what was unfinished. Cancelling twice is harmless.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"job_id":"job_…"}' 127.0.0.1:50051 heldar.footage.v1.JobService/CancelJob
   * }</pre>
   *
   * <p>Errors: NOT_FOUND (JOB_NOT_FOUND); FAILED_PRECONDITION (JOB_STATE) when the job SUCCEEDED or FAILED before.
   */
  public Job cancelJob(CancelJobRequest request) {
    return calls.unary(CANCEL_JOB, request);
  }

  /**
   * Makes a new job with the request of one that FAILED or was CANCELLED. The old job stays as it is; the new one
   * names it in {@code retry_of}.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"job_id":"job_…"}' 127.0.0.1:50051 heldar.footage.v1.JobService/RetryJob
   * }</pre>
   *
   * <p>Errors: NOT_FOUND (JOB_NOT_FOUND); FAILED_PRECONDITION (JOB_STATE) when the job has not ended, or SUCCEEDED.
   */
  public Job retryJob(RetryJobRequest request) {
    return calls.unary(RETRY_JOB, request);
  }
}
