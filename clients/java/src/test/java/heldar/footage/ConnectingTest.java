package heldar.footage;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import heldar.footage.v1.Camera;
import heldar.footage.v1.ListCamerasResponse;
import io.grpc.Grpc;
import io.grpc.Server;
import io.grpc.TlsServerCredentials;
import io.grpc.TlsServerCredentials.ClientAuth;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Addresses, TLS, and servers that are away. */
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class ConnectingTest {
  @TempDir private Path folder;

  @ParameterizedTest
  @CsvSource(
      nullValues = "null",
      value = {
        "127.0.0.1:50051, 127.0.0.1, 50051, null",
        "nas, nas, 50051, null",
        "http://nas.example:8080/, nas.example, 8080, false",
        "http://nas.example, nas.example, 80, false",
        "https://footage.example, footage.example, 443, true",
        "https://[::1]:50051, ::1, 50051, true",
        "[fe80::1]:1, fe80::1, 1, null",
      })
  void anAddressIsRead(String address, String host, int port, Boolean tls) {
    assertEquals(new Address(host, port, tls), Address.parse(address));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "", "ftp://nas", "nas:port", "nas:70000", "http://nas/path", "::1:50051", "https://", "a b:1", "u@nas:1"
      })
  void whatIsNoAddressIsRefused(String address) {
    assertThrows(IllegalArgumentException.class, () -> Footage.connect(address));
  }

  @Test
  void tlsOverAnAddressWithHttpIsRefused() {
    FootageBuilder plain = Footage.builder("http://nas:50051");
    assertThrows(IllegalStateException.class, plain::tls);
    assertThrows(IllegalStateException.class, () -> plain.serverName("footage.example"));
  }

  @Test
  void aFileOfCertificatesThatIsNotThereIsToldAtOnce() {
    FootageBuilder builder = Footage.builder("https://nas:50051");
    assertThrows(UncheckedIOException.class, () -> builder.trust(folder.resolve("nowhere.pem")));
  }

  @Test
  void aServerThatIsAwayIsTriedAgainUntilTheDeadline() {
    try (Footage footage = Footage.builder("127.0.0.1:1").timeout(Duration.ofSeconds(1)).connect()) {
      long began = System.nanoTime();
      FootageException away = assertThrows(FootageException.class, footage::cameras);
      assertTrue(away instanceof UnavailableException || away instanceof DeadlineExceededException, away.toString());
      long tookMs = Duration.ofNanos(System.nanoTime() - began).toMillis();
      // Three pauses fit before the deadline in any case; they take 350 ms when chance makes them shortest.
      assertTrue(350 <= tookMs && tookMs < 5_000, () -> tookMs + " ms");
    }
  }

  @Test
  void aServerThatSaysNothingIsGivenUpAtTheDeadline() throws IOException {
    try (ServerSocket silent = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        Footage footage =
            Footage.builder("127.0.0.1:" + silent.getLocalPort()).timeout(Duration.ofMillis(300)).connect()) {
      assertThrows(DeadlineExceededException.class, footage::cameras);
    }
  }

  @Test
  void certificatesOfBothSidesAreCheckedAndTheTokenGoesAlong() throws IOException {
    Path key = folder.resolve("key.pem");
    Path certificate = folder.resolve("certificate.pem");
    Run.command(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
        "-keyout", key.toString(), "-out", certificate.toString(), "-subj", "/CN=footage.test",
        "-addext", "subjectAltName=DNS:footage.test");
    try (StandIn standIn = new StandIn()) {
      standIn.on(
          CatalogService.LIST_CAMERAS,
          (request, answer) ->
              StandIn.send(
                  answer,
                  ListCamerasResponse.newBuilder().addCameras(Camera.newBuilder().setId("behind_tls")).build()));
      Server server =
          Grpc.newServerBuilderForPort(
                  0,
                  TlsServerCredentials.newBuilder()
                      .keyManager(certificate.toFile(), key.toFile())
                      .trustManager(certificate.toFile())
                      .clientAuth(ClientAuth.REQUIRE)
                      .build())
              .fallbackHandlerRegistry(standIn)
              .intercept(standIn.listening())
              .build()
              .start();
      try {
        String address = "https://127.0.0.1:" + server.getPort();
        try (Footage footage =
            Footage.builder(address)
                .token("secret")
                .trust(certificate)
                .certificate(certificate, key)
                .serverName("footage.test")
                .connect()) {
          assertEquals(List.of("behind_tls"), footage.cameras().stream().map(Camera::getId).toList());
        }
        assertEquals("Bearer secret", standIn.headers().get(0).get(StandIn.AUTHORIZATION));
        FootageBuilder another = Footage.builder(address).timeout(Duration.ofSeconds(1));
        assertRefused(another);
        assertRefused(another.trust(certificate));
        assertRefused(another.serverName("footage.test"));
        assertEquals(1, standIn.headers().size());
      } finally {
        server.shutdownNow();
      }
    }
  }

  private static void assertRefused(FootageBuilder builder) {
    try (Footage footage = builder.connect()) {
      assertThrows(FootageException.class, footage::cameras);
    }
  }
}
