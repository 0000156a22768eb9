package heldar.footage;

import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** Where a server is. {@code tls} is null where the address leaves it open. */
record Address(String host, int port, @Nullable Boolean tls) {
  private static final int DEFAULT_PORT = 50051;
  private static final Pattern FORM =
      Pattern.compile(
          "(?:(?<scheme>https?)://)?"
              + "(?:\\[(?<ipv6>[0-9A-Fa-f:.]+)\\]|(?<name>[^\\s/:@\\[\\]]+))"
              + "(?::(?<port>\\d{1,5}))?/?");

  /** Reads {@code host:port}, {@code http://host:port}, or {@code https://host:port}, which means TLS. */
  static Address parse(String address) {
    Matcher found = FORM.matcher(address);
    if (!found.matches()) {
      throw new IllegalArgumentException(
          "an address is host:port, http://host:port or https://host:port, not \"" + address + "\"");
    }
    String scheme = found.group("scheme");
    String host = found.group("ipv6") == null ? found.group("name") : found.group("ipv6");
    int port = found.group("port") == null ? defaultPort(scheme) : Integer.parseInt(found.group("port"));
    if (port > 65_535) {
      throw new IllegalArgumentException("there is no port " + port);
    }
    return new Address(host, port, scheme == null ? null : scheme.equals("https"));
  }

  private static int defaultPort(@Nullable String scheme) {
    if (scheme == null) {
      return DEFAULT_PORT;
    }
    return scheme.equals("https") ? 443 : 80;
  }
}
