package heldar.footage;

import io.grpc.Context.CancellableContext;
import io.grpc.StatusRuntimeException;
import java.lang.ref.Cleaner;
import java.util.Iterator;
import java.util.Spliterator;
import java.util.Spliterators;
import java.util.function.Function;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * The answers of a stream, as they come, once. Waiting for the next one ends with a {@link FootageException} when the
 * stream breaks, and with a {@link CancelledException} when the thread is interrupted.
 *
 * <p>Close what is not read to its end, or leave the block of a {@code try}: this ends the call.
 *
 * @param <T> the answers
 */
public final class Responses<T> implements Iterable<T>, AutoCloseable {
  private static final Cleaner CLEANER = Cleaner.create();

  private final CancellableContext context;
  private final Iterator<T> messages;

  Responses(
      Iterator<T> messages,
      CancellableContext context,
      Function<StatusRuntimeException, FootageException> failure) {
    this.context = context;
    this.messages = new Messages(messages, failure);
    // A loop that was left without closing must not leave a call that nobody reads.
    CLEANER.register(this, () -> context.cancel(null));
  }

  private <U> Responses(Responses<U> others, Function<? super U, ? extends T> form) {
    this.context = others.context;
    Iterator<U> received = others.messages;
    this.messages =
        new Iterator<>() {
          @Override
          public boolean hasNext() {
            return received.hasNext();
          }

          @Override
          public T next() {
            return form.apply(received.next());
          }
        };
  }

  /** The answers that were not read yet; the same iterator each time. */
  @Override
  public Iterator<T> iterator() {
    return messages;
  }

  /** The answers that were not read yet. Closing the stream closes this. */
  public Stream<T> stream() {
    int kind = Spliterator.ORDERED | Spliterator.NONNULL;
    return StreamSupport.stream(Spliterators.spliteratorUnknownSize(messages, kind), false).onClose(this::close);
  }

  /** Ends the call, unless it has ended. May be called by another thread than the one that reads. */
  @Override
  public void close() {
    context.cancel(null);
  }

  /** The same answers in another form, in the place of these. */
  <U> Responses<U> map(Function<? super T, ? extends U> form) {
    return new Responses<>(this, form);
  }

  /** An inner class, not a nested one: while somebody iterates, these answers are not abandoned. */
  private final class Messages implements Iterator<T> {
    private final Iterator<T> received;
    private final Function<StatusRuntimeException, FootageException> failure;

    Messages(Iterator<T> received, Function<StatusRuntimeException, FootageException> failure) {
      this.received = received;
      this.failure = failure;
    }

    @Override
    public boolean hasNext() {
      try {
        boolean isMore = received.hasNext();
        if (!isMore) {
          close();
        }
        return isMore;
      } catch (StatusRuntimeException e) {
        throw failure.apply(e);
      }
    }

    @Override
    public T next() {
      try {
        return received.next();
      } catch (StatusRuntimeException e) {
        throw failure.apply(e);
      }
    }
  }
}
