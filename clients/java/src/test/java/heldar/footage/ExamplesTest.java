package heldar.footage;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import java.util.zip.ZipFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The examples and the page, as a person would use them. */
@AgainstTheServer
class ExamplesTest {
  private static final Path EXAMPLES = Path.of("examples").toAbsolutePath();
  private static final Path PAGE = Path.of("README.md");
  private static final Path CHECKOUT = Path.of("../..").toAbsolutePath().normalize();

  private final Server server;

  @TempDir private Path folder;

  ExamplesTest(Servers servers) {
    server = servers.shared();
  }

  private String example(String name, String... arguments) {
    List<String> command =
        List.of("java", Run.QUICK_START, "-cp", Run.classPath(), EXAMPLES.resolve(name + ".java").toString());
    return Run.in(folder, Stream.concat(command.stream(), Stream.of(arguments)).toArray(String[]::new));
  }

  private Path saved(String ending) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      List<Path> found = files.filter(path -> path.toString().endsWith(ending)).toList();
      assertEquals(1, found.size(), found::toString);
      return found.get(0);
    }
  }

  @Test
  void theClipExampleSavesTheLastMinute() throws IOException {
    String said = example("SaveClip", server.address(), "gate_a_01");
    assertTrue(said.contains("succeeded"), said);
    assertTrue(said.contains(Files.size(saved(".mp4")) + " bytes"), said);
  }

  @Test
  void theArchiveExampleSavesThreeCameras() throws IOException {
    String said = example("SaveArchive", server.address());
    assertTrue(said.contains("of 3 cameras"), said);
    try (ZipFile archive = new ZipFile(saved(".zip").toFile())) {
      assertTrue(said.contains(": " + archive.size() + " entries"), said);
    }
  }

  @Test
  void theBackupExampleSendsEverythingOnce() throws IOException {
    Path place = Files.createDirectory(server.folder().resolve("backups/example"));
    String first = example("RunBackup", place.toString(), server.address());
    assertTrue(first.contains("17 files sent, 0 failed"), first);
    String second = example("RunBackup", place.toString(), server.address());
    assertTrue(second.contains("0 files sent, 0 failed"), second);
  }

  /** The package must be installed, as the page's first command has it. */
  @Test
  void thePageLeadsFromAnEmptyFolderToAClip() throws IOException {
    String page = Files.readString(PAGE);
    String program = block(page, "java").replace("127.0.0.1:50051", server.address());
    Files.writeString(folder.resolve("SaveClip.java"), program);
    Files.writeString(folder.resolve("pom.xml"), block(page, "xml"));
    List<String> commands = block(page, "console").lines().map(line -> line.replaceFirst("^\\$ ", "")).toList();
    assertEquals(3, commands.size());
    assertEquals(
        "mvn -q -f " + CHECKOUT + "/clients/java install -Dmaven.test.skip",
        commands.get(0).replaceFirst(" +#.*", "").replace("CHECKOUT", CHECKOUT.toString()));
    for (String command : commands.subList(1, commands.size())) {
      Run.in(folder, "bash", "-c", command);
    }
    assertTrue(Files.size(saved(".mp4")) > 0);
    String pomOfExamples = Files.readString(EXAMPLES.resolve("pom.xml"));
    assertEquals(pomOfExamples.replace("footage-examples", "save-clip"), block(page, "xml"));
  }

  /** The first block of a language. */
  private static String block(String page, String language) {
    Matcher found = Pattern.compile("```" + language + "\n(.*?)```", Pattern.DOTALL).matcher(page);
    assertTrue(found.find());
    return found.group(1);
  }
}
