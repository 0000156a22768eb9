// A proxy as it stands before a server: it lets nobody call without the token, and hands on the page itself.
import http from "node:http";
import { once } from "node:events";

export class Proxy {
  /** What came without the token. */
  refused = 0;

  static async to(port, token) {
    const proxy = new Proxy();
    proxy.server = http.createServer((request, answer) => {
      const isPage = request.method === "GET" && (request.url === "/" || request.url.startsWith("/page/"));
      if (!isPage && request.headers.authorization !== `Bearer ${token}`) {
        proxy.refused += 1;
        answer.writeHead(401, { "content-type": "text/plain" }).end("a token, please\n");
        return;
      }
      const { method, url: path, headers } = request;
      const onward = http.request({ host: "127.0.0.1", port, method, path, headers }, (answered) => {
        answer.writeHead(answered.statusCode, answered.headers);
        answered.pipe(answer);
      });
      onward.on("error", () => answer.destroy());
      answer.on("close", () => onward.destroy());
      request.pipe(onward);
    });
    proxy.server.listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    proxy.url = `http://127.0.0.1:${proxy.server.address().port}`;
    return proxy;
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }
}
