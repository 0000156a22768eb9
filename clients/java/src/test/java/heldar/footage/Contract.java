package heldar.footage;

import io.grpc.MethodDescriptor;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.List;

/** What the classes of the services say that the contract is. */
final class Contract {
  private static final List<Class<?>> SERVICES =
      List.of(ArchiveService.class, BackupService.class, CatalogService.class, ClipService.class, JobService.class);

  private Contract() {}

  /** Every method that the services describe. */
  static List<MethodDescriptor<?, ?>> descriptors() {
    List<MethodDescriptor<?, ?>> found = new ArrayList<>();
    for (Class<?> service : SERVICES) {
      for (Field field : service.getDeclaredFields()) {
        if (Modifier.isPublic(field.getModifiers()) && field.getType() == MethodDescriptor.class) {
          try {
            found.add((MethodDescriptor<?, ?>) field.get(null));
          } catch (IllegalAccessException e) {
            throw new AssertionError(e);
          }
        }
      }
    }
    return found;
  }
}
