/** Where a server is. */

/** The port of the service, where an address has neither a port nor a scheme that implies one. */
const defaultPort = 50051;

/** The URL of an address: `host:port`, or one that begins with http:// or, for TLS, https://. */
export function serverUrl(address: string, tls: boolean): string {
  const hasScheme = /^https?:\/\//.test(address);
  const hasPort = /:\d+$/.test(address);
  const url = hasScheme ? address : `http://${address}${hasPort ? "" : `:${defaultPort}`}`;
  return tls ? url.replace(/^http:/, "https:") : url;
}
