package heldar.footage;

import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannelBuilder;
import io.grpc.TlsChannelCredentials;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** How a client reaches the server, and how long it has patience. */
public final class FootageBuilder {
  private static final Duration TIMEOUT = Duration.ofSeconds(30);
  private static final Duration PATIENCE = Duration.ofSeconds(120);

  /** Pages of a thousand segments are larger than the 4 MiB that gRPC allows by default. */
  private static final int LARGEST_MESSAGE_BYTES = 64 << 20;

  private static final int KEEP_ALIVE_S = 20;
  private static final int KEEP_ALIVE_TIMEOUT_S = 10;

  private final @Nullable Address address;
  private final @Nullable ManagedChannelBuilder<?> channel;
  private Duration timeout = TIMEOUT;
  private Duration patience = PATIENCE;
  private boolean isTls;
  private TlsChannelCredentials.@Nullable Builder tls;
  private @Nullable String token;
  private @Nullable String serverName;

  FootageBuilder(Address address) {
    this.address = address;
    this.channel = null;
    this.isTls = Boolean.TRUE.equals(address.tls());
  }

  FootageBuilder(ManagedChannelBuilder<?> channel) {
    this.address = null;
    this.channel = channel;
  }

  /** Sent with every call as {@code authorization: Bearer}, for the proxy before the server. */
  public FootageBuilder token(String value) {
    token = value;
    return this;
  }

  /**
   * Longest that a call may take, beyond the {@code wait} of its request; 30 s unless set. Streams have no such limit.
   */
  public FootageBuilder timeout(Duration value) {
    timeout = value;
    return this;
  }

  /** How long a job or a download outlasts a server that is away; 120 s unless set. */
  public FootageBuilder patience(Duration value) {
    patience = value;
    return this;
  }

  /** Speaks TLS, as an address with {@code https://} does. */
  public FootageBuilder tls() {
    if (address == null || Boolean.FALSE.equals(address.tls())) {
      throw new IllegalStateException("TLS is for an address that begins with https://, or has no scheme");
    }
    isTls = true;
    return this;
  }

  /**
   * Speaks TLS, and trusts these certificates instead of those that Java trusts.
   *
   * @param pem a file of certificates
   * @throws UncheckedIOException when the file cannot be read
   */
  public FootageBuilder trust(Path pem) {
    try {
      credentials().trustManager(pem.toFile());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return this;
  }

  /**
   * Speaks TLS, and shows this certificate, where the server wants one.
   *
   * @param certificatePem a file of the certificate, and those that it builds on
   * @param privateKeyPem a file of its key, as PKCS #8
   * @throws UncheckedIOException when a file cannot be read
   */
  public FootageBuilder certificate(Path certificatePem, Path privateKeyPem) {
    try {
      credentials().keyManager(certificatePem.toFile(), privateKeyPem.toFile());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return this;
  }

  /** Speaks TLS with a server whose certificate has another name than the host of the address: this one. */
  public FootageBuilder serverName(String name) {
    tls();
    serverName = name;
    return this;
  }

  /** A client with these settings. The first call connects. */
  public Footage connect() {
    ManagedChannelBuilder<?> builder = channel != null ? channel : channelTo(address);
    // A connection that gives no sign of life is given up, so that a stream on it ends and is resumed.
    builder
        .keepAliveTime(KEEP_ALIVE_S, TimeUnit.SECONDS)
        .keepAliveTimeout(KEEP_ALIVE_TIMEOUT_S, TimeUnit.SECONDS)
        .maxInboundMessageSize(LARGEST_MESSAGE_BYTES);
    return new Footage(builder.build(), token, timeout, patience);
  }

  private ManagedChannelBuilder<?> channelTo(Address to) {
    ManagedChannelBuilder<?> builder = Grpc.newChannelBuilderForAddress(to.host(), to.port(), channelCredentials());
    if (serverName != null) {
      builder.overrideAuthority(serverName);
    }
    return builder;
  }

  private ChannelCredentials channelCredentials() {
    if (!isTls) {
      return InsecureChannelCredentials.create();
    }
    return tls == null ? TlsChannelCredentials.create() : tls.build();
  }

  private TlsChannelCredentials.Builder credentials() {
    tls();
    if (tls == null) {
      tls = TlsChannelCredentials.newBuilder();
    }
    return tls;
  }
}
