/**
 * Clips, archives and backups of recorded video, from a heldar-footage server.
 *
 * <p>{@link heldar.footage.Footage} is where to begin. The messages of the contract are in {@code heldar.footage.v1}.
 */
@NullMarked
package heldar.footage;

import org.jspecify.annotations.NullMarked;
