package heldar.footage;

import com.google.protobuf.ByteString;
import heldar.footage.v1.Archive;
import heldar.footage.v1.Clip;
import heldar.footage.v1.DownloadArchiveRequest;
import heldar.footage.v1.DownloadClipRequest;
import heldar.footage.v1.FileHeader;
import java.io.IOException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.function.LongFunction;
import org.jspecify.annotations.Nullable;

/** Fetches a clip or an archive into a file, through as many calls as it takes. */
final class Download {
  /** What a message of a download carries: the file as a whole, or the next bytes. */
  record Piece(@Nullable FileHeader header, ByteString data) {}

  private final String fileName;
  private final long sizeBytes;
  private final String sha256;
  /** Makes the call that answers with the bytes from an offset on. */
  private final LongFunction<Responses<Piece>> fetch;

  private Download(String fileName, long sizeBytes, String sha256, LongFunction<Responses<Piece>> fetch) {
    this.fileName = fileName;
    this.sizeBytes = sizeBytes;
    this.sha256 = sha256;
    this.fetch = fetch;
  }

  static Download of(Clip clip, ClipService clips) {
    return new Download(
        clip.getFileName(),
        clip.getSizeBytes(),
        clip.getSha256(),
        offset ->
            clips
                .downloadClip(DownloadClipRequest.newBuilder().setClipId(clip.getId()).setOffsetBytes(offset).build())
                .map(part -> new Piece(part.hasHeader() ? part.getHeader() : null, part.getData())));
  }

  static Download of(Archive archive, ArchiveService archives) {
    return new Download(
        archive.getFileName(),
        archive.getSizeBytes(),
        archive.getSha256(),
        offset ->
            archives
                .downloadArchive(
                    DownloadArchiveRequest.newBuilder()
                        .setArchiveId(archive.getId())
                        .setOffsetBytes(offset)
                        .build())
                .map(part -> new Piece(part.hasHeader() ? part.getHeader() : null, part.getData())));
  }

  /** Saves the file at the path, or under its own name in the folder that the path is, and returns where. */
  Path save(Path path, ByteProgress progress, Duration longest, Runnable reconnect) throws IOException {
    Patience patience = new Patience(longest);
    try (PartFile part = PartFile.open(target(path), sizeBytes, sha256)) {
      while (true) {
        FootageException failure = null;
        try (Responses<Piece> pieces = fetch.apply(part.receivedBytes())) {
          for (Piece piece : pieces) {
            if (piece.header() == null) {
              patience.reset();
              part.write(piece.data());
              progress.received(part.receivedBytes(), part.sizeBytes());
            } else if (!part.begins(piece.header())) {
              break;
            }
          }
        } catch (FootageException e) {
          failure = e;
        }
        if (failure == null && part.isWhole()) {
          if (part.finish()) {
            return part.path();
          }
        } else {
          patience.pauseAfter(failure);
          reconnect.run();
        }
      }
    } catch (ClosedByInterruptException e) {
      throw new CancelledException("the thread was interrupted", List.of(), e);
    }
  }

  private Path target(Path path) {
    if (!Files.isDirectory(path)) {
      return path;
    }
    // A server's name for a file must not lead out of the folder.
    boolean isPlain =
        !fileName.isEmpty()
            && !fileName.equals(".")
            && !fileName.equals("..")
            && fileName.chars().noneMatch(character -> character == '/' || character == '\\' || character == 0);
    if (!isPlain) {
      throw new InternalException("the server names a file \"" + fileName + "\"", List.of(), null);
    }
    return path.resolve(fileName);
  }
}
