"""Servers for the tests: the built binary as a process, on a free port, in a folder of its own, stopped by its pid."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from heldar_footage import Footage

CLIENTS = Path(__file__).resolve().parents[2]


class Server:
    """A running server and its folder."""

    def __init__(self, folder: Path, settings: dict[str, str], port: int = 0) -> None:
        self.folder = folder
        self._settings = settings
        self._log = open(folder.with_suffix(".log"), "ab")
        self.start(port)

    def start(self, port: int = 0) -> None:
        """Starts the server, again on the port it had when that is given."""
        self._process = subprocess.Popen(
            [CLIENTS / "conformance/server.sh", self.folder, *(f"{name}={value}" for name, value in self._settings.items())],
            env={**os.environ, "HELDAR_LISTEN": f"127.0.0.1:{port}"},
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert " listening on http://" in line, f"the server did not start: {self.folder.with_suffix('.log').read_text()}"
        self.address = line.rsplit("http://", 1)[1].strip()

    @property
    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1])

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Ends the server and waits for its end."""
        self._process.send_signal(by)
        self._process.wait(timeout=30)

    def terminate(self) -> None:
        """Asks the server to end."""
        self._process.terminate()

    def close(self) -> None:
        if self._process.poll() is None:
            self.stop()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the footage is kept that the first server makes."""
    return tmp_path_factory.mktemp("footage")


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory, recordings: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers with the sample footage; all end with the tests."""
    assert os.environ.get("FOOTAGE_BIN"), "FOOTAGE_BIN names the built server"
    servers: list[Server] = []

    def start(name: str, **settings: str) -> Server:
        folder = tmp_path_factory.mktemp(name)
        if (recordings / "recordings").is_dir():
            subprocess.run(["cp", "-rp", recordings / "recordings", folder], check=True)
        server = Server(folder, settings)
        servers.append(server)
        if not (recordings / "recordings").is_dir():
            subprocess.run(["cp", "-rp", folder / "recordings", recordings], check=True)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Server]) -> Server:
    """The server that most tests share."""
    return start_server("server")


@pytest.fixture(scope="session")
def footage(server: Server) -> Iterator[Footage]:
    """A client of that server, once its footage was imported."""
    with Footage(server.address) as footage:
        deadline = time.monotonic() + 30
        while sum(camera.segment_count for camera in footage.cameras()) < 17:
            assert time.monotonic() < deadline, "the footage was not imported in time"
            time.sleep(0.05)
        yield footage
