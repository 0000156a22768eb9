"""Holds docs/operations.md against the server and the programs that it speaks of.

Usage: FOOTAGE_BIN=path/to/footage python3 clients/operations/run_page.py
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

CLIENTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CLIENTS / "conformance"))
from sample_server import SampleServer, grpcurl, sample_server  # noqa: E402

PAGE = (CLIENTS.parent / "docs/operations.md").read_text()
KUBERNETES = "1.37"
JOBS = "heldar.footage.v1.JobService"


def yaml_blocks() -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def the(items: list[Any], **named: Any) -> Any:
    """The one item that has these values."""
    (found,) = (item for item in items if all(item.get(key) == value for key, value in named.items()))
    return found


def known_variables() -> set[str]:
    said = subprocess.run([os.environ["FOOTAGE_BIN"], "settings"], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"\bHELDAR_\w+", said))


def every_variable_has_a_meaning() -> None:
    unknown = set(re.findall(r"\bHELDAR_[A-Z_]*[A-Z]", PAGE)) - known_variables()
    assert not unknown, f"`footage settings` does not know {unknown}"


def the_manifest_is_valid() -> dict[str, Any]:
    """Checks every object of the manifest, and returns the pod."""
    objects = list(yaml.safe_load_all(yaml_blocks()[0]))
    for item in objects:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)
    workload, service, secret = (the(objects, kind=kind) for kind in ("StatefulSet", "Service", "Secret"))
    pod = workload["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert workload["spec"]["serviceName"] == service["metadata"]["name"]
    (container,) = pod["spec"]["containers"]
    for variable in container["env"]:
        if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
            assert reference["name"] == secret["metadata"]["name"] and reference["key"] in secret["stringData"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    offered = [*pod["spec"]["volumes"], *(claim["metadata"] for claim in workload["spec"]["volumeClaimTemplates"])]
    assert mounted == {volume["name"] for volume in offered}
    grace_s = int(the(container["env"], name="HELDAR_SHUTDOWN_GRACE_S")["value"])
    assert pod["spec"]["terminationGracePeriodSeconds"] >= grace_s + 15, "the server needs a while after its grace"
    return pod["spec"]


def settings_of(container: dict[str, Any]) -> dict[str, str]:
    """The settings of the manifest, but for its address and folders."""
    elsewhere = {"HELDAR_LISTEN", "HELDAR_DATA_DIR", "HELDAR_RECORDINGS_DIR"}
    key = subprocess.run([os.environ["FOOTAGE_BIN"], "secret-key", "new"], check=True, capture_output=True, text=True)
    return {
        variable["name"]: variable.get("value", key.stdout.strip())
        for variable in container["env"]
        if variable["name"] not in elsewhere
    }


def health(address: str, service: str) -> str:
    return str(json.loads(grpcurl(address, "grpc.health.v1.Health/Check", data=json.dumps({"service": service})))["status"])


def every_probe_is_answered(container: dict[str, Any], server: SampleServer) -> None:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["grpc"]
        assert asked["port"] == container["ports"][0]["containerPort"]
        assert health(server.address, asked.get("service", "")) == "SERVING", probe


def every_named_service_is_known(server: SampleServer) -> None:
    names = re.findall(r"`(heldar\.footage\.v1\.\w+|\.\w+Service|backups)`", PAGE)
    full = {name if not name.startswith(".") else "heldar.footage.v1" + name for name in names}
    assert full == {"backups"} | {name for name in grpcurl(server.address, "list").split() if name.startswith("heldar.")}
    for name in full:
        assert health(server.address, name) == "SERVING", name
    unknown = subprocess.run(
        ["grpcurl", "-plaintext", "-d", '{"service":"nothing"}', server.address, "grpc.health.v1.Health/Check"],
        capture_output=True, text=True, timeout=10,
    )  # fmt: skip
    assert "Code: NotFound" in unknown.stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def envoy(folder: Path, server: SampleServer) -> Iterator[str]:
    """Envoy with the file of the page, but for its ports and certificate; yields where it listens."""
    key, certificate, port = folder / "tls.key", folder / "tls.crt", free_port()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-keyout", key, "-out", certificate, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    config = yaml_blocks()[1]
    for theirs, ours in (
        ("address: 0.0.0.0, port_value: 8443", f"address: 127.0.0.1, port_value: {port}"),
        ("port_value: 50051", f"port_value: {server.address.rsplit(':', 1)[1]}"),
        ("/etc/envoy/tls.crt", str(certificate)),
        ("/etc/envoy/tls.key", str(key)),
    ):
        assert config.count(theirs) == 1, f"the page no longer has: {theirs}"
        config = config.replace(theirs, ours)
    (folder / "envoy.yaml").write_text(config)
    with open(folder / "envoy.log", "w+") as log:
        process = subprocess.Popen(
            ["envoy", "--config-path", folder / "envoy.yaml", "--use-dynamic-base-id", "--log-level", "warning"],
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 30
            while not is_open(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"error: Envoy did not start:\n{log.read()}")
                time.sleep(0.05)
            yield f"localhost:{port}"
        finally:
            process.terminate()
            process.wait(timeout=30)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def through(proxy: str, folder: Path, method: str, data: str, *options: str) -> subprocess.Popen[str]:
    """A call by grpcurl over TLS."""
    command = ["grpcurl", "-cacert", str(folder / "tls.crt"), *options, "-d", data, proxy, method]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def calls_pass_envoy(proxy: str, folder: Path) -> str:
    """gRPC, gRPC-Web and media pass; returns the path of a clip."""
    wanted = {"camera_id": "gate_a_01", "start_time": "2026-11-22T13:00:00Z", "end_time": "2026-11-22T13:00:20Z", "wait": "30s"}
    said, complaint = through(proxy, folder, "heldar.footage.v1.ClipService/CreateClip", json.dumps(wanted)).communicate(timeout=40)
    assert '"JOB_STATE_SUCCEEDED"' in said, complaint
    web = subprocess.run(
        ["buf", "curl", "--protocol", "grpcweb", "--cacert", folder / "tls.crt", "--schema", CLIENTS.parent / "proto",
         "-d", '{"camera_id":"nowhere"}', f"https://{proxy}/heldar.footage.v1.CatalogService/GetCamera"],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert "camera nowhere not found" in web.stderr and "google.rpc.ErrorInfo" in web.stderr, web.stderr
    return str(json.loads(said)["clip"]["url"])


def media_passes_envoy(proxy: str, folder: Path, path: str) -> None:
    context = ssl.create_default_context(cafile=folder / "tls.crt")
    connection = http.client.HTTPSConnection(proxy, context=context, timeout=10)
    connection.request("GET", path, headers={"Range": "bytes=4-7"})
    response = connection.getresponse()
    assert (response.status, response.read()) == (206, b"ftyp")
    connection.close()


def main() -> None:
    every_variable_has_a_meaning()
    pod = the_manifest_is_valid()
    (container,) = pod["containers"]
    with tempfile.TemporaryDirectory() as scratch, sample_server(**settings_of(container)) as server:
        folder = Path(scratch)
        every_probe_is_answered(container, server)
        every_named_service_is_known(server)
        with envoy(folder, server) as proxy:
            # Longer than Envoy's own limit of 15 s for a call, and long enough for a heartbeat.
            long_stream = through(proxy, folder, f"{JOBS}/WatchJobs", "{}", "-max-time", "17")
            url = calls_pass_envoy(proxy, folder)
            media_passes_envoy(proxy, folder, url)
            said, complaint = long_stream.communicate(timeout=30)
            assert '"heartbeat"' in said and "Code: DeadlineExceeded" in complaint, said[-500:] + complaint
            drained = through(proxy, folder, f"{JOBS}/WatchJobs", "{}", "-max-time", "30")
            assert drained.stdout is not None
            while '"snapshotEnd"' not in drained.stdout.readline():
                pass
            watched = subprocess.Popen(
                ["grpcurl", "-plaintext", "-max-time", "30", server.address, "grpc.health.v1.Health/Watch"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            assert watched.stdout is not None
            while '"SERVING"' not in watched.stdout.readline():
                pass
            server.process.terminate()
            _, complaint = drained.communicate(timeout=30)
            assert "Code: Unavailable" in complaint and '"DRAINING"' in complaint and "retryDelay" in complaint, complaint
            assert any('"NOT_SERVING"' in line for line in watched.stdout)
            # A stream of health does not end by itself, and the server would wait for it.
            watched.terminate()
            watched.communicate(timeout=10)
    print("operations.md: its variables, its manifest, its probes and its Envoy are as they say")


main()
