package heldar.footage;

import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

/** A TCP proxy that cuts connections, between a client and the server. */
final class CuttingProxy implements AutoCloseable {
  private final int upstream;
  private final ServerSocket listener;
  private final List<Socket> open = new ArrayList<>();
  private long leftBytes = Long.MAX_VALUE;
  private int connections;

  CuttingProxy(int upstream) throws IOException {
    this.upstream = upstream;
    listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    daemon(this::accept);
  }

  String address() {
    return "127.0.0.1:" + listener.getLocalPort();
  }

  /** Connections that were accepted. */
  synchronized int connections() {
    return connections;
  }

  /** Ends every connection that is open now, in the middle of whatever it carries. */
  synchronized void cut() {
    open.forEach(CuttingProxy::end);
    open.clear();
  }

  /** Cuts once, when so many further bytes of the server have passed. */
  synchronized void cutAfter(long sizeBytes) {
    leftBytes = sizeBytes;
  }

  @Override
  public void close() throws IOException {
    listener.close();
    cut();
  }

  private void accept() {
    while (true) {
      try {
        Socket client = listener.accept();
        Socket server;
        try {
          server = new Socket(InetAddress.getLoopbackAddress(), upstream);
        } catch (IOException e) {
          client.close();
          continue;
        }
        synchronized (this) {
          connections++;
          open.add(client);
          open.add(server);
        }
        daemon(() -> pass(client, server, false));
        daemon(() -> pass(server, client, true));
      } catch (IOException e) {
        return;
      }
    }
  }

  private void pass(Socket source, Socket target, boolean isCounted) {
    byte[] chunk = new byte[1 << 14];
    try {
      InputStream input = source.getInputStream();
      for (int length = input.read(chunk); length >= 0; length = input.read(chunk)) {
        target.getOutputStream().write(chunk, 0, length);
        if (isCounted && isSpent(length)) {
          cut();
        }
      }
    } catch (IOException e) {
      // One end is gone, and the other goes now.
    }
    end(source);
    end(target);
  }

  private synchronized boolean isSpent(int sizeBytes) {
    leftBytes -= sizeBytes;
    if (leftBytes > 0) {
      return false;
    }
    leftBytes = Long.MAX_VALUE;
    return true;
  }

  private static void end(Socket socket) {
    try {
      socket.close();
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  private static void daemon(Runnable work) {
    Thread thread = new Thread(work);
    thread.setDaemon(true);
    thread.start();
  }
}
