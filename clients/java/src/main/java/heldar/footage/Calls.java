package heldar.footage;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import java.time.Duration;
import java.util.Iterator;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** Makes calls of every shape, with a deadline, a request id, repetition where it is safe, and typed errors. */
final class Calls {
  private static final String REQUEST_ID = "request_id";

  private final ManagedChannel connection;
  private final Channel channel;
  private final Duration timeout;
  /** The limit of each call, whatever its request says; null: the timeout and the request's {@code wait}. */
  private final @Nullable Duration limit;

  Calls(ManagedChannel connection, Channel channel, Duration timeout) {
    this(connection, channel, timeout, null);
  }

  private Calls(ManagedChannel connection, Channel channel, Duration timeout, @Nullable Duration limit) {
    this.connection = connection;
    this.channel = channel;
    this.timeout = timeout;
    this.limit = limit;
  }

  Calls withTimeout(Duration ofEachCall) {
    return new Calls(connection, channel, timeout, ofEachCall);
  }

  /** Describes a method, for the classes of the services. */
  static <Q extends Message, A extends Message> MethodDescriptor<Q, A> method(
      MethodType type, String service, String name, Q request, A response) {
    return MethodDescriptor.<Q, A>newBuilder(ProtoUtils.marshaller(request), ProtoUtils.marshaller(response))
        .setType(type)
        .setFullMethodName(MethodDescriptor.generateFullMethodName(service, name))
        .setSafe(name.startsWith("Get") || name.startsWith("List"))
        .build();
  }

  /** A call with one answer. All attempts together have the time of one call. */
  <Q extends Message, A extends Message> A unary(MethodDescriptor<Q, A> method, Q given) {
    Q request = withRequestId(given);
    Duration longest = limit != null ? limit : timeout.plus(waitOf(request));
    Patience patience = new Patience(longest);
    long giveUpAtNs = System.nanoTime() + Patience.nanoseconds(longest);
    while (true) {
      try {
        long leftNs = Math.max(giveUpAtNs - System.nanoTime(), 0);
        CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(leftNs, TimeUnit.NANOSECONDS);
        return ClientCalls.blockingUnaryCall(channel, method, options, request);
      } catch (StatusRuntimeException e) {
        FootageException failure = failure(e);
        // A server that is full, and says when to come again, is the caller's to decide about.
        if (failure.getCode() != Status.Code.UNAVAILABLE || !isRepeatable(method, request)) {
          throw failure;
        }
        patience.pauseAfter(failure);
        reconnect();
      }
    }
  }

  /** A call whose answer is a stream. */
  <Q extends Message, A extends Message> Responses<A> serverStream(MethodDescriptor<Q, A> method, Q request) {
    Context.CancellableContext context = Context.current().withCancellation();
    Context before = context.attach();
    try {
      Iterator<A> messages = ClientCalls.blockingServerStreamingCall(channel, method, options(), request);
      return new Responses<>(messages, context, this::failure);
    } catch (StatusRuntimeException e) {
      throw failure(e);
    } finally {
      context.detach(before);
    }
  }

  /** A call whose request is a stream. */
  <Q extends Message, A extends Message> A clientStream(MethodDescriptor<Q, A> method, Iterable<? extends Q> requests) {
    try {
      return new Sending<Q, A>(channel.newCall(method, options())).sendAll(requests);
    } catch (StatusRuntimeException e) {
      throw failure(e);
    }
  }

  /** Lets the next call connect at once: how long to wait is decided here, not by the channel's own backoff. */
  void reconnect() {
    connection.resetConnectBackoff();
  }

  private CallOptions options() {
    return limit == null
        ? CallOptions.DEFAULT
        : CallOptions.DEFAULT.withDeadlineAfter(Patience.nanoseconds(limit), TimeUnit.NANOSECONDS);
  }

  /** What a failure means; one of a channel that was closed must not look like that of a server that is away. */
  private FootageException failure(StatusRuntimeException failure) {
    Status.Code code = failure.getStatus().getCode();
    if (connection.isShutdown() && (code == Status.Code.UNAVAILABLE || code == Status.Code.CANCELLED)) {
      return new CancelledException("the client was closed", List.of(), failure);
    }
    return FootageException.of(failure);
  }

  /** The request with a {@code request_id}, where it can have one and the caller gave none. */
  private static <Q extends Message> Q withRequestId(Q request) {
    FieldDescriptor field = request.getDescriptorForType().findFieldByName(REQUEST_ID);
    if (field == null || !request.getField(field).equals("")) {
      return request;
    }
    Message filled = request.toBuilder().setField(field, UUID.randomUUID().toString()).build();
    @SuppressWarnings("unchecked") // A builder makes messages of the type that it came from.
    Q same = (Q) filled;
    return same;
  }

  /** Whether a second call does no more than one: it only reads, or its request id tells the server. */
  private static boolean isRepeatable(MethodDescriptor<?, ?> method, Message request) {
    return method.isSafe() || request.getDescriptorForType().findFieldByName(REQUEST_ID) != null;
  }

  /** How long the server may hold the answer, as the request allows. */
  private static Duration waitOf(Message request) {
    FieldDescriptor field = request.getDescriptorForType().findFieldByName("wait");
    if (field == null || !(request.getField(field) instanceof com.google.protobuf.Duration wait)) {
      return Duration.ZERO;
    }
    Duration length = Times.toJavaDuration(wait);
    return length.isNegative() ? Duration.ZERO : length;
  }
}
