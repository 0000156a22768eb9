package heldar.footage;

import com.google.protobuf.Message;
import heldar.footage.v1.CancelJobRequest;
import heldar.footage.v1.Job;
import heldar.footage.v1.JobState;
import heldar.footage.v1.WatchJobRequest;
import heldar.footage.v1.WatchJobResponse;
import io.grpc.Status;
import java.time.Duration;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Spliterator;
import java.util.Spliterators;
import java.util.function.Consumer;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.jspecify.annotations.Nullable;

/**
 * A job that the server works on, whether or not anybody follows it.
 *
 * <p>Iterate to get each state up to the last one, or call {@link #result()}. It may be shared by threads.
 *
 * @param <R> what the job makes
 */
public final class RunningJob<R extends Message> implements Iterable<Job> {
  /** A program that ends must not wait long for a server that is away. */
  private static final Duration LAST_CALL = Duration.ofSeconds(5);

  private final JobService jobs;
  private final Duration patience;
  private final Runnable reconnect;
  private final Class<R> kind;
  private Job newest;
  private @Nullable Thread hook;

  RunningJob(JobService jobs, Duration patience, Runnable reconnect, Job job, Class<R> kind) {
    this.jobs = jobs;
    this.patience = patience;
    this.reconnect = reconnect;
    this.kind = kind;
    this.newest = job;
  }

  /** The job's id, for {@link Footage#follow(String)}. */
  public String id() {
    return job().getId();
  }

  /** The newest state that was seen. */
  public synchronized Job job() {
    return newest;
  }

  /**
   * Every state from the present one to the end state; a broken stream is resumed. An interrupt ends the iteration with
   * a {@link CancelledException}, not the job.
   */
  @Override
  public Iterator<Job> iterator() {
    return new States(job());
  }

  /** Every state from the present one to the end state, as {@link #iterator()} has them. */
  public Stream<Job> stream() {
    int kindOfStates = Spliterator.ORDERED | Spliterator.NONNULL;
    return StreamSupport.stream(Spliterators.spliteratorUnknownSize(iterator(), kindOfStates), false);
  }

  /** Waits for the end and returns what was made; see {@link #result(Consumer)}. */
  public R result() {
    return result(state -> {});
  }

  /**
   * Waits for the end and returns what was made. An interrupt cancels the job.
   *
   * @param onProgress gets each state
   * @throws JobFailedException when the job failed; {@link JobCancelledException} when it was cancelled
   * @throws CancelledException when the thread was interrupted
   */
  public R result(Consumer<? super Job> onProgress) {
    Job last = job();
    try {
      for (Job state : this) {
        last = state;
        onProgress.accept(state);
      }
    } catch (CancelledException e) {
      if (Thread.currentThread().isInterrupted() && !hasEnded(job())) {
        try {
          cancel();
        } catch (FootageException failure) {
          e.addSuppressed(failure);
        }
      }
      throw e;
    }
    return made(last);
  }

  /** Asks the job to stop; works also on a thread that was interrupted. */
  public Job cancel() {
    return cancel(jobs);
  }

  /**
   * Has the job cancelled when the program ends before it: by Ctrl-C, by SIGTERM, by its last line. Without this, a
   * program that ends leaves the job alone.
   *
   * @return this
   */
  public synchronized RunningJob<R> cancelOnShutdown() {
    if (hook == null && !hasEnded(newest)) {
      hook = new Thread(this::cancelAtLast, "cancel-" + newest.getId());
      Runtime.getRuntime().addShutdownHook(hook);
    }
    return this;
  }

  private void cancelAtLast() {
    if (!hasEnded(job())) {
      try {
        cancel(jobs.withTimeout(LAST_CALL));
      } catch (FootageException e) {
        // The job has ended already, or the server is away; there is nobody left to tell.
        return;
      }
    }
  }

  private Job cancel(JobService through) {
    // A call on an interrupted thread would end before it begins.
    boolean wasInterrupted = Thread.interrupted();
    try {
      return through.cancelJob(CancelJobRequest.newBuilder().setJobId(id()).build());
    } finally {
      if (wasInterrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private synchronized void saw(Job state) {
    if (state.getRevision() > newest.getRevision()) {
      newest = state;
    }
    if (hook != null && hasEnded(newest)) {
      try {
        Runtime.getRuntime().removeShutdownHook(hook);
      } catch (IllegalStateException e) {
        // The program is ending, and the hook at work.
        return;
      }
      hook = null;
    }
  }

  private R made(Job job) {
    if (job.getState() != JobState.JOB_STATE_SUCCEEDED) {
      throw JobFailedException.of(job);
    }
    Message made =
        switch (job.getResultCase()) {
          case CLIP -> job.getClip();
          case ARCHIVE -> job.getArchive();
          case BACKUP -> job.getBackup();
          case ARCHIVE_VERIFICATION -> job.getArchiveVerification();
          case BACKUP_VERIFICATION -> job.getBackupVerification();
          case RESTORE -> job.getRestore();
          case IMPORT -> job.getImport();
          case RESULT_NOT_SET ->
              throw new FootageException(
                  Status.Code.UNKNOWN,
                  "the job " + job.getId() + " made something that this client does not know",
                  List.of(),
                  null);
        };
    return kind.cast(made);
  }

  private static boolean hasEnded(Job job) {
    return switch (job.getState()) {
      case JOB_STATE_SUCCEEDED, JOB_STATE_FAILED, JOB_STATE_CANCELLED -> true;
      default -> false;
    };
  }

  /** The states from a first one on, through as many streams as it takes. */
  private final class States implements Iterator<Job> {
    private final Patience left = new Patience(patience);
    private Job last;
    private @Nullable Job next;
    private @Nullable Responses<WatchJobResponse> watching;

    States(Job first) {
      last = first;
      next = first;
    }

    @Override
    public boolean hasNext() {
      while (next == null && !hasEnded(last)) {
        FootageException failure = null;
        try {
          next = nextOfStream();
        } catch (FootageException e) {
          failure = e;
        }
        if (next == null) {
          watching = null;
          left.pauseAfter(failure);
          reconnect.run();
        }
      }
      return next != null;
    }

    @Override
    public Job next() {
      if (!hasNext() || next == null) {
        throw new NoSuchElementException("the job has ended");
      }
      last = next;
      next = null;
      return last;
    }

    /** The next state that was not seen before; null when the stream ended without one. */
    private @Nullable Job nextOfStream() {
      if (watching == null) {
        watching =
            jobs.watchJob(
                    WatchJobRequest.newBuilder()
                        .setJobId(last.getId())
                        .setAfterRevision(last.getRevision())
                        .build());
      }
      for (WatchJobResponse response : watching) {
        left.reset();
        if (response.hasJob() && response.getJob().getRevision() > last.getRevision()) {
          saw(response.getJob());
          if (hasEnded(response.getJob())) {
            watching.close();
          }
          return response.getJob();
        }
      }
      return null;
    }
  }
}
