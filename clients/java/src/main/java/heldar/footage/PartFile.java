package heldar.footage;

import com.google.protobuf.ByteString;
import heldar.footage.v1.FileHeader;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/** A file on its way: kept under a temporary name until it is whole and has the right hash. Not for several threads. */
final class PartFile implements AutoCloseable {
  private static final int MARK_LENGTH = 16;
  private static final int BUFFER_BYTES = 1 << 20;

  private final Path path;
  private final Path part;
  private final FileChannel file;
  private final MessageDigest hash = sha256Digest();
  private final String expectedSha256;
  private String sha256;
  private @Nullable String etag;
  private long sizeBytes;
  private long receivedBytes;
  /** Whether there are bytes that an earlier program left, which only the hash can vouch for. */
  private boolean isInherited;
  private boolean isOpen = true;

  private PartFile(Path path, Path part, FileChannel file, long sizeBytes, String sha256) {
    this.path = path;
    this.part = part;
    this.file = file;
    this.sizeBytes = sizeBytes;
    this.expectedSha256 = sha256;
    this.sha256 = sha256;
  }

  static PartFile open(Path path, long sizeBytes, String sha256) throws IOException {
    // What an earlier program left is taken up only where the hash can tell whether it fits.
    String mark = sha256.length() < MARK_LENGTH ? UUID.randomUUID().toString() : sha256.substring(0, MARK_LENGTH);
    Path part = path.resolveSibling("." + path.getFileName() + "." + mark + ".part");
    PartFile opened = new PartFile(path, part, openAlone(part), sizeBytes, sha256);
    try {
      opened.readInherited();
    } catch (IOException | RuntimeException e) {
      opened.file.close();
      throw e;
    }
    return opened;
  }

  Path path() {
    return path;
  }

  long receivedBytes() {
    return receivedBytes;
  }

  long sizeBytes() {
    return sizeBytes;
  }

  boolean isWhole() {
    return receivedBytes >= sizeBytes;
  }

  /** Takes the header of an answer; false when the file changed meanwhile and the call has to be made anew. */
  boolean begins(FileHeader header) throws IOException {
    if (!expectedSha256.isEmpty() && !header.getSha256().equals(expectedSha256)) {
      throw new DataLossException(
          "%s: the server has a file with SHA-256 %s, not %s"
              .formatted(path.getFileName(), header.getSha256(), expectedSha256),
          List.of(),
          null);
    }
    boolean hasChanged = etag != null && !etag.equals(header.getEtag());
    etag = header.getEtag();
    sha256 = header.getSha256();
    sizeBytes = header.getTotalSizeBytes();
    if (hasChanged) {
      restart();
    }
    return header.getOffsetBytes() == receivedBytes;
  }

  void write(ByteString data) throws IOException {
    for (ByteBuffer buffer : data.asReadOnlyByteBufferList()) {
      hash.update(buffer.duplicate());
      while (buffer.hasRemaining()) {
        file.write(buffer);
      }
    }
    receivedBytes += data.size();
  }

  /**
   * Gives the file its name; false when what an earlier program left was wrong, and all has to come again.
   *
   * @throws DataLossException when the bytes are not those that the server promised
   */
  boolean finish() throws IOException {
    String found = HexFormat.of().formatHex(hash.digest());
    if (receivedBytes == sizeBytes && (sha256.isEmpty() || found.equals(sha256))) {
      file.force(true);
      // While the lock is held, as whatever is done to the part: another download may open it the moment it is free.
      Files.move(part, path, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
      shut();
      return true;
    }
    if (isInherited) {
      restart();
      return false;
    }
    Files.delete(part);
    shut();
    throw new DataLossException(
        "%s: %d bytes with SHA-256 %s came, not %d with %s"
            .formatted(path.getFileName(), receivedBytes, found, sizeBytes, sha256.isEmpty() ? "any" : sha256),
        List.of(),
        null);
  }

  /** Leaves what came where a later download finds it; nothing where none could tell whether it fits. */
  @Override
  public void close() throws IOException {
    if (isOpen) {
      try {
        if (expectedSha256.isEmpty() || receivedBytes == 0) {
          Files.deleteIfExists(part);
        }
      } finally {
        shut();
      }
    }
  }

  /** Opens the file for this download alone: two that write to one file would spoil it for both. */
  private static FileChannel openAlone(Path part) throws IOException {
    while (true) {
      FileChannel file =
          FileChannel.open(part, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
      try {
        if (file.tryLock() == null) {
          throw inUse(part, null);
        }
        // Another download may have given the file its name between opening and locking.
        if (Files.exists(part)) {
          return file;
        }
        file.close();
      } catch (OverlappingFileLockException e) {
        file.close();
        throw inUse(part, e);
      } catch (IOException | RuntimeException e) {
        file.close();
        throw e;
      }
    }
  }

  private static IOException inUse(Path part, @Nullable Exception cause) {
    IOException inUse = new FileSystemException(part.toString(), null, "another download is writing it");
    if (cause != null) {
      inUse.initCause(cause);
    }
    return inUse;
  }

  private void readInherited() throws IOException {
    ByteBuffer buffer = ByteBuffer.allocate(BUFFER_BYTES);
    int length = file.read(buffer);
    while (length >= 0) {
      receivedBytes += length;
      hash.update(buffer.flip());
      buffer.clear();
      length = file.read(buffer);
    }
    isInherited = receivedBytes > 0;
    if (receivedBytes > sizeBytes) {
      restart();
    }
  }

  private void restart() throws IOException {
    file.truncate(0);
    hash.reset();
    receivedBytes = 0;
    isInherited = false;
  }

  private void shut() throws IOException {
    isOpen = false;
    file.close();
  }

  private static MessageDigest sha256Digest() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError("every Java platform has SHA-256", e);
    }
  }
}
