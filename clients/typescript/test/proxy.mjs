// A TCP proxy that cuts connections, between a client and the server.
import net from "node:net";
import { once } from "node:events";

export class CuttingProxy {
  /** Connections that were accepted. */
  connections = 0;
  #open = new Set();
  #left;

  static async to(port) {
    const proxy = new CuttingProxy();
    proxy.listener = net.createServer((client) => {
      proxy.connections += 1;
      const server = net.connect(port, "127.0.0.1");
      for (const [from, to] of [[client, server], [server, client]]) {
        proxy.#open.add(from);
        from.on("error", () => undefined);
        from.on("close", () => to.destroy());
      }
      client.on("data", (chunk) => server.write(chunk));
      server.on("data", (chunk) => {
        // A slow reader slows the server down, so that what was counted has also passed.
        if (!client.write(chunk)) {
          server.pause();
          client.once("drain", () => server.resume());
        }
        if (proxy.#left !== undefined && (proxy.#left -= chunk.length) <= 0) {
          proxy.#left = undefined;
          proxy.cut();
        }
      });
    });
    proxy.listener.listen(0, "127.0.0.1");
    await once(proxy.listener, "listening");
    proxy.address = `127.0.0.1:${proxy.listener.address().port}`;
    return proxy;
  }

  /** Ends every connection that is open now, in the middle of whatever it carries. */
  cut() {
    for (const end of this.#open) end.destroy();
    this.#open.clear();
  }

  /** Cuts once, when so many further bytes of the server have passed. */
  cutAfter(sizeBytes) {
    this.#left = sizeBytes;
  }

  close() {
    this.listener.close();
    this.cut();
  }
}
