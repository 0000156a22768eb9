"""A TCP proxy that cuts connections, between a client and the server."""

from __future__ import annotations

import socket
import threading


class CuttingProxy:
    """Passes bytes on until it is told to cut, or has passed so many of the server's."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._left: int | None = None
        #: Connections that were accepted.
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Ends every connection that is open now, in the middle of whatever it carries."""
        with self._lock:
            for end in self._open:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self._open.clear()

    def cut_after(self, size_bytes: int) -> None:
        """Cuts once, when so many further bytes of the server have passed."""
        with self._lock:
            self._left = size_bytes

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream))
            except OSError:
                client.close()
                continue
            with self._lock:
                self.connections += 1
                self._open += [client, server]
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        try:
            while chunk := source.recv(1 << 14):
                target.sendall(chunk)
                if counted and self._is_spent(len(chunk)):
                    self.cut()
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _is_spent(self, size_bytes: int) -> bool:
        with self._lock:
            if self._left is None:
                return False
            self._left -= size_bytes
            if self._left > 0:
                return False
            self._left = None
            return True
