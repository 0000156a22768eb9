package heldar.footage;

import com.google.protobuf.Any;
import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import io.grpc.HandlerRegistry;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.MethodDescriptor;
import io.grpc.ServerMethodDefinition;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.inprocess.InProcessChannelBuilder;
import io.grpc.inprocess.InProcessServerBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.BiConsumer;

/** A server within the process that says what a test wants, for faults that the real one does not make on demand. */
final class StandIn extends HandlerRegistry implements AutoCloseable {
  static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final Map<String, ServerMethodDefinition<?, ?>> methods = new ConcurrentHashMap<>();
  private final List<Metadata> headers = new CopyOnWriteArrayList<>();
  private final String name = UUID.randomUUID().toString();
  private final Server server;

  StandIn() {
    try {
      server = InProcessServerBuilder.forName(name).fallbackHandlerRegistry(this).intercept(listening()).build().start();
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  /** Settings of a client of this server. */
  FootageBuilder client() {
    return Footage.builder(InProcessChannelBuilder.forName(name));
  }

  /** Notes what comes with each call. */
  ServerInterceptor listening() {
    return new ServerInterceptor() {
      @Override
      public <Q, A> ServerCall.Listener<Q> interceptCall(
          ServerCall<Q, A> call, Metadata received, ServerCallHandler<Q, A> next) {
        headers.add(received);
        return next.startCall(call, received);
      }
    };
  }

  List<Metadata> headers() {
    return headers;
  }

  /** Answers a method with one request. */
  <Q, A> StandIn on(MethodDescriptor<Q, A> method, BiConsumer<Q, StreamObserver<A>> answer) {
    ServerCallHandler<Q, A> handler =
        method.getType() == MethodDescriptor.MethodType.UNARY
            ? ServerCalls.asyncUnaryCall(answer::accept)
            : ServerCalls.asyncServerStreamingCall(answer::accept);
    methods.put(method.getFullMethodName(), ServerMethodDefinition.create(method, handler));
    return this;
  }

  /** Answers a method with a stream of requests. */
  <Q, A> StandIn onStream(MethodDescriptor<Q, A> method, ServerCalls.ClientStreamingMethod<Q, A> answer) {
    methods.put(
        method.getFullMethodName(), ServerMethodDefinition.create(method, ServerCalls.asyncClientStreamingCall(answer)));
    return this;
  }

  /** Sends these messages and ends the call with OK. */
  @SafeVarargs
  static <A> void send(StreamObserver<A> to, A... messages) {
    for (A message : messages) {
      to.onNext(message);
    }
    to.onCompleted();
  }

  /** An error as the server sends it. */
  static StatusRuntimeException error(Status.Code code, String reason, Message... further) {
    com.google.rpc.Status.Builder status =
        com.google.rpc.Status.newBuilder()
            .setCode(code.value())
            .setMessage("on purpose")
            .addDetails(Any.pack(ErrorInfo.newBuilder().setReason(reason).setDomain("footage.heldar").build()));
    for (Message detail : further) {
      status.addDetails(Any.pack(detail));
    }
    return StatusProto.toStatusRuntimeException(status.build());
  }

  @Override
  public ServerMethodDefinition<?, ?> lookupMethod(String methodName, String authority) {
    return methods.get(methodName);
  }

  @Override
  public void close() {
    server.shutdownNow();
  }
}
