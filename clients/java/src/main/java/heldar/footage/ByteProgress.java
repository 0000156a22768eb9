package heldar.footage;

/** Hears how far a download is. */
@FunctionalInterface
public interface ByteProgress {
  /** So many bytes are there, of so many. */
  void received(long bytes, long totalBytes);
}
