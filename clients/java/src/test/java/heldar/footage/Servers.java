package heldar.footage;

import heldar.footage.v1.Camera;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.ExtensionContext.Namespace;
import org.junit.jupiter.api.extension.ParameterContext;
import org.junit.jupiter.api.extension.ParameterResolver;

/** The servers of the tests, with the sample footage. They end, and their folders go, with the tests. */
final class Servers implements AutoCloseable {
  private static final int SEGMENTS = 17;

  private final Path root;
  private final List<Server> started = new ArrayList<>();
  private Server shared;
  private Footage footage;

  private Servers() {
    try {
      root = Files.createTempDirectory("footage-java-");
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  /** Starts a server; the first one makes the footage of all. */
  Server start(String name, Map<String, String> settings) {
    Path folder = root.resolve(name);
    Path recordings = root.resolve("recordings");
    if (Files.isDirectory(recordings)) {
      Run.command("mkdir", folder.toString());
      Run.command("cp", "-rp", recordings.toString(), folder.toString());
    }
    Server server = new Server(folder, settings);
    started.add(server);
    if (!Files.isDirectory(recordings)) {
      Run.command("cp", "-rp", folder.resolve("recordings").toString(), root.toString());
    }
    return server;
  }

  /** The server that most tests share, once its footage was imported. */
  Server shared() {
    if (shared == null) {
      shared = start("shared", Map.of());
      footage = Footage.connect(shared.address());
      awaitFootage(footage);
    }
    return shared;
  }

  /** A client of the shared server. */
  Footage footage() {
    shared();
    return footage;
  }

  static void awaitFootage(Footage footage) {
    await(
        "the footage is imported",
        () -> footage.cameras().stream().mapToLong(Camera::getSegmentCount).sum() >= SEGMENTS);
  }

  /** Waits for what nothing announces. */
  static void await(String what, BooleanSupplier condition) {
    long deadline = System.nanoTime() + Duration.ofSeconds(60).toNanos();
    while (!condition.getAsBoolean()) {
      if (System.nanoTime() > deadline) {
        throw new AssertionError("not in time: " + what);
      }
      try {
        Thread.sleep(50);
      } catch (InterruptedException e) {
        throw new AssertionError(e);
      }
    }
  }

  @Override
  public void close() throws IOException {
    if (footage != null) {
      footage.close();
    }
    started.forEach(Server::close);
    try (Stream<Path> paths = Files.walk(root)) {
      for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(path);
      }
    }
  }

  /** Hands the servers to the tests that ask for them. */
  static final class Extension implements ParameterResolver {
    @Override
    public boolean supportsParameter(ParameterContext parameter, ExtensionContext context) {
      return parameter.getParameter().getType() == Servers.class;
    }

    @Override
    public Object resolveParameter(ParameterContext parameter, ExtensionContext context) {
      return context
          .getRoot()
          .getStore(Namespace.create(Servers.class))
          .getOrComputeIfAbsent(Servers.class, key -> new Servers(), Servers.class);
    }
  }
}
