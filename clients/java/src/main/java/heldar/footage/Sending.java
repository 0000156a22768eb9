package heldar.footage;

import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A call whose request is a stream: sends no faster than the server reads, and stops when the server has answered. */
final class Sending<Q, A> extends ClientCall.Listener<A> {
  private final ClientCall<Q, A> call;
  private @Nullable A answer;
  private @Nullable Status end;
  private @Nullable Metadata trailers;

  Sending(ClientCall<Q, A> call) {
    this.call = call;
  }

  A sendAll(Iterable<? extends Q> requests) {
    call.start(this, new Metadata());
    // A second answer would be a fault, and is noticed only when asked for.
    call.request(2);
    try {
      for (Q request : requests) {
        if (!awaitReady()) {
          break;
        }
        call.sendMessage(request);
      }
      call.halfClose();
      return awaitAnswer();
    } catch (InterruptedException e) {
      call.cancel("the thread was interrupted", e);
      Thread.currentThread().interrupt();
      throw new CancelledException("the thread was interrupted", List.of(), e);
    } catch (RuntimeException | Error e) {
      call.cancel("the requests ended with an error", e);
      throw e;
    }
  }

  @Override
  public synchronized void onMessage(A message) {
    answer = message;
  }

  @Override
  public synchronized void onReady() {
    notifyAll();
  }

  @Override
  public synchronized void onClose(Status status, Metadata metadata) {
    end = status;
    trailers = metadata;
    notifyAll();
  }

  /** False: the call has ended. */
  private synchronized boolean awaitReady() throws InterruptedException {
    while (end == null && !call.isReady()) {
      wait();
    }
    return end == null;
  }

  private synchronized A awaitAnswer() throws InterruptedException {
    while (end == null) {
      wait();
    }
    if (!end.isOk()) {
      throw end.asRuntimeException(trailers);
    }
    if (answer == null) {
      throw new InternalException("the call ended without an answer", List.of(), null);
    }
    return answer;
  }
}
