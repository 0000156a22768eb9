"""A server with footage and grpcurl, for tests of pages that are no client of a language."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVER = Path(__file__).resolve().parent / "server.sh"


@dataclass
class SampleServer:
    """A running server, and its folder."""

    address: str
    site: Path
    process: subprocess.Popen[str]


@contextmanager
def sample_server(**settings: str) -> Iterator[SampleServer]:
    """A fresh server whose footage has been imported; it ends with the block, and nothing stays."""
    with tempfile.TemporaryDirectory() as scratch, open(Path(scratch) / "log", "w+") as log:
        site = Path(scratch) / "site"
        command = [SERVER, site, *(f"{name}={value}" for name, value in settings.items())]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline()
            if " listening on http://" not in greeting:
                log.seek(0)
                raise SystemExit(f"error: the server did not start:\n{log.read()}")
            address = greeting.rsplit("http://", 1)[1].strip()
            _wait_for_footage(address)
            yield SampleServer(address, site, process)
        finally:
            process.terminate()
            process.wait(timeout=60)


def grpcurl(address: str, *arguments: str, data: str | None = None) -> str:
    """What a call that must not fail answers."""
    options = ["-plaintext", *(["-d", data] if data else [])]
    command = ["grpcurl", *options, address, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout


def _wait_for_footage(address: str) -> None:
    deadline = time.monotonic() + 30
    ended = json.dumps({"filter": {"kinds": ["JOB_KIND_IMPORT"], "states": ["JOB_STATE_SUCCEEDED"]}})
    while "jobs" not in json.loads(grpcurl(address, "heldar.footage.v1.JobService/ListJobs", data=ended)):
        if time.monotonic() > deadline:
            raise SystemExit("error: the footage was not imported in time")
        time.sleep(0.05)
