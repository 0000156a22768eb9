package heldar.footage;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.ProcessBuilder.Redirect;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** A running server and its folder: the built binary as a process, on a free port, stopped by its process id. */
final class Server implements AutoCloseable {
  private static final Path SCRIPT = Path.of("../conformance/server.sh").toAbsolutePath().normalize();

  private final Path folder;
  private final Path log;
  private final List<String> command;
  private Process process;
  private String address;

  Server(Path folder, Map<String, String> settings) {
    this.folder = folder;
    this.log = folder.resolveSibling(folder.getFileName() + ".log");
    this.command = new ArrayList<>(List.of(SCRIPT.toString(), folder.toString()));
    settings.forEach((name, value) -> command.add(name + "=" + value));
    start(0);
  }

  /** Starts the server, again on the port it had when that is given. */
  void start(int port) {
    try {
      ProcessBuilder builder = new ProcessBuilder(command).redirectError(Redirect.appendTo(log.toFile()));
      builder.environment().put("HELDAR_LISTEN", "127.0.0.1:" + port);
      process = builder.start();
      BufferedReader said = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
      String line = said.readLine();
      if (line == null || !line.contains(" listening on http://")) {
        throw new AssertionError("the server did not start: " + Files.readString(log));
      }
      address = line.substring(line.indexOf("http://") + "http://".length()).strip();
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  Path folder() {
    return folder;
  }

  String address() {
    return address;
  }

  int port() {
    return Integer.parseInt(address.substring(address.lastIndexOf(':') + 1));
  }

  /** Asks the server to end. */
  void terminate() {
    process.destroy();
  }

  /** Ends the server and waits for its end. */
  void stop() {
    terminate();
    try {
      if (!process.waitFor(30, TimeUnit.SECONDS)) {
        process.destroyForcibly();
        throw new AssertionError("the server did not stop: " + Files.readString(log));
      }
    } catch (IOException | InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  @Override
  public void close() {
    if (process.isAlive()) {
      stop();
    }
  }
}
