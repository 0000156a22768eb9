"""The helper against a real server: jobs that are followed through broken streams, downloads, cancelling, errors."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import pytest
from conftest import Server
from google.protobuf.duration_pb2 import Duration
from heldar_footage import (
    AsyncFootage,
    DataLossError,
    DeadlineExceededError,
    Footage,
    FootageError,
    InvalidArgumentError,
    JobCancelledError,
    JobFailedError,
    NotFoundError,
    RunningJob,
    Tls,
    UnavailableError,
    from_status,
    progress_line,
    proto,
)
from heldar_footage.errors import from_rpc_error
from heldar_footage.settings import Settings
from proxy import CuttingProxy

START = datetime(2026, 11, 22, 13, tzinfo=timezone.utc)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.fixture
def proxy(server: Server, footage: Footage) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(server.port)
    yield proxy
    proxy.close()


def slow_destination(footage: Footage, server: Server, bytes_per_second: int = 3_000_000) -> str:
    """A destination to which all footage takes some seconds."""
    folder = server.folder / "backups" / uuid.uuid4().hex
    folder.mkdir()
    destination = proto.Destination(
        bandwidth_limit_bytes_per_second=bytes_per_second, local=proto.LocalSettings(path=str(folder)), transfers=1
    )
    return footage.backups.CreateDestination(proto.CreateDestinationRequest(destination=destination)).id


def slow_job(through: Footage, footage: Footage, server: Server, **fields: Any) -> RunningJob[Any]:
    destination_id = slow_destination(footage, server, **fields)
    return through.follow(through.backups.CreateBackup(proto.CreateBackupRequest(destination_id=destination_id)))


def test_a_clip_is_made_followed_and_saved_with_its_hash(footage: Footage, tmp_path: Path) -> None:
    seen: list[proto.Job] = []
    clip = footage.create_clip("gate_a_01", at(3.2), at(8.1), labels={"Straße": "東京"}).result(seen.append)
    assert clip.labels == {"Straße": "東京"}
    assert [job.revision for job in seen] == sorted({job.revision for job in seen})
    assert progress_line(seen[-1]).startswith("succeeded")
    assert seen[-1].request_id, "the client chose a request id"
    received: list[tuple[int, int]] = []
    path = footage.download(clip, tmp_path, on_progress=lambda done, total: received.append((done, total)))
    assert path == tmp_path / clip.file_name
    assert hashlib.sha256(path.read_bytes()).hexdigest() == clip.sha256
    assert received[-1] == (clip.size_bytes, clip.size_bytes)
    assert os.listdir(tmp_path) == [clip.file_name]


def test_an_archive_of_three_cameras_is_saved_under_a_name_of_ones_own(footage: Footage, tmp_path: Path) -> None:
    job = footage.create_archive(["gate_a_01", "yard_02", "lobby_03"], at(0), at(10), case_id="117", labels={"a": "b"})
    archive = job.result()
    assert (archive.spec.case_id, len(archive.cameras)) == ("117", 3)
    path = footage.download(archive, tmp_path / "evidence.zip")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == archive.sha256


def test_a_job_is_followed_through_streams_that_break(footage: Footage, server: Server, proxy: CuttingProxy) -> None:
    with Footage(proxy.address) as through:
        job = slow_job(through, footage, server)
        revisions = []
        for state in job:
            revisions.append(state.revision)
            if len(revisions) in (2, 4):
                proxy.cut()
    assert job.job.state == proto.JOB_STATE_SUCCEEDED
    assert proxy.connections >= 3, "the connection was made anew after each cut"
    assert revisions == sorted(set(revisions)), "no state came twice"
    assert job.result().files_sent == 17


def test_a_job_is_followed_through_a_restart_of_the_server(start_server: Callable[..., Server]) -> None:
    server = start_server("restarted")
    with Footage(server.address) as footage:
        while sum(camera.segment_count for camera in footage.cameras()) < 17:
            time.sleep(0.05)
        job = slow_job(footage, footage, server)
        restarted = False
        for state in job:
            if state.state == proto.JOB_STATE_RUNNING and state.progress.bytes_done and not restarted:
                restarted = True
                port = server.port
                stopping = threading.Thread(target=lambda: (server.stop(), server.start(port)))
                stopping.start()
        stopping.join()
        assert job.result().files_selected == 17


def test_a_stream_of_a_server_that_shuts_down_ends_with_the_time_to_wait(start_server: Callable[..., Server]) -> None:
    server = start_server("drained")
    with Footage(server.address, patience_s=5) as footage:
        watching = footage.jobs.WatchJobs(proto.WatchJobsRequest())
        with pytest.raises(UnavailableError) as caught:
            for response in watching:
                if response.HasField("snapshot_end"):
                    server.terminate()
    assert caught.value.reason == "DRAINING"
    assert caught.value.retry_after == timedelta(seconds=1)


def test_a_call_that_breaks_is_repeated_and_makes_one_job(footage: Footage, server: Server, proxy: CuttingProxy) -> None:
    request = proto.CreateBackupRequest(
        destination_id=slow_destination(footage, server), wait=Duration(seconds=30), labels={"test": "repeated"}
    )
    with Footage(proxy.address) as through:
        threading.Timer(0.7, proxy.cut).start()
        job = through.backups.CreateBackup(request)
    assert job.state == proto.JOB_STATE_SUCCEEDED
    assert proxy.connections == 2
    page = footage.jobs.ListJobs(proto.ListJobsRequest(filter=proto.JobFilter(labels={"test": "repeated"})))
    assert [listed.id for listed in page.jobs] == [job.id]


@pytest.fixture(scope="module")
def archive(footage: Footage) -> proto.Archive:
    return footage.create_archive().result()


def test_a_download_that_breaks_goes_on_where_it_stopped(archive: proto.Archive, proxy: CuttingProxy, tmp_path: Path) -> None:
    with Footage(proxy.address) as through:
        proxy.cut_after(archive.size_bytes // 2)
        received: list[int] = []
        path = through.download(archive, tmp_path, on_progress=lambda done, _: received.append(done))
    assert proxy.connections == 2
    assert received == sorted(received), "nothing was received twice"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == archive.sha256


def test_a_download_takes_up_what_an_earlier_program_left(
    archive: proto.Archive, footage: Footage, tmp_path: Path
) -> None:
    whole = footage.download(archive, tmp_path / "whole.zip").read_bytes()
    part = tmp_path / f".again.zip.{archive.sha256[:16]}.part"
    part.write_bytes(whole[: len(whole) // 2])
    received: list[int] = []
    path = footage.download(archive, tmp_path / "again.zip", on_progress=lambda done, _: received.append(done))
    assert min(received) >= len(whole) // 2
    assert path.read_bytes() == whole
    # What does not fit is fetched anew.
    part.write_bytes(b"x" * 1000)
    assert footage.download(archive, tmp_path / "again.zip").read_bytes() == whole
    assert not part.exists()


def test_a_file_that_is_not_the_one_that_was_asked_for_gets_no_name(
    archive: proto.Archive, footage: Footage, tmp_path: Path
) -> None:
    other = proto.Archive()
    other.CopyFrom(archive)
    other.sha256 = "0" * 64
    with pytest.raises(DataLossError, match="another file"):
        footage.download(other, tmp_path)
    assert os.listdir(tmp_path) == []
    other.CopyFrom(archive)
    for other.file_name in ("..", "."):
        with pytest.raises(DataLossError):
            footage.download(other, tmp_path)


def test_downloads_of_one_file_to_one_place_at_the_same_time_do_not_spoil_it(
    archive: proto.Archive, footage: Footage, tmp_path: Path
) -> None:
    place = tmp_path / "same.zip"
    with ThreadPoolExecutor(4) as threads:
        paths = list(threads.map(lambda _: footage.download(archive, place), range(4)))
    assert set(paths) == {place}
    assert hashlib.sha256(place.read_bytes()).hexdigest() == archive.sha256
    assert os.listdir(tmp_path) == ["same.zip"]


def test_a_file_with_another_hash_gets_no_name(footage: Footage, server: Server, tmp_path: Path) -> None:
    clip = footage.create_clip("yard_02", at(1), at(3)).result()
    stored = server.folder / "data" / "clips" / clip.file_name
    with open(stored, "r+b") as file:
        file.seek(clip.size_bytes // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(DataLossError, match="SHA-256"):
        footage.download(clip, tmp_path)
    assert os.listdir(tmp_path) == []


def test_ctrl_c_cancels_the_job(footage: Footage, server: Server) -> None:
    destination_id = slow_destination(footage, server, 1000)
    # What runs in the background of a shell ignores Ctrl-C, and so do its children.
    program = f"""
import signal
from heldar_footage import Footage, proto
signal.signal(signal.SIGINT, signal.default_int_handler)
with Footage("{server.address}") as footage:
    job = footage.follow(footage.backups.CreateBackup(proto.CreateBackupRequest(destination_id="{destination_id}")))
    print(job.id, flush=True)
    job.result(lambda state: print(state.state, flush=True))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        job_id = child.stdout.readline().strip()
        while child.stdout.readline().strip() != str(proto.JOB_STATE_RUNNING):
            pass
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=20)
        assert child.returncode != 0
    with pytest.raises(JobCancelledError) as caught:
        footage.follow(job_id).result()
    assert caught.value.reason == "CANCELLED"
    assert caught.value.job.id == job_id


def test_a_bad_field_is_named_with_its_path(footage: Footage) -> None:
    request = proto.CreateDestinationRequest(
        destination=proto.Destination(local=proto.LocalSettings(path="/nonexistent/backup"))
    )
    with pytest.raises(InvalidArgumentError) as refused:
        footage.backups.CreateDestination(request)
    assert [violation.field for violation in refused.value.field_violations] == ["destination.local.path"]


def test_a_failed_job_has_code_reason_and_metadata(footage: Footage, server: Server) -> None:
    destination_id = slow_destination(footage, server)
    destination = footage.backups.GetDestination(proto.GetDestinationRequest(destination_id=destination_id))
    os.rmdir(destination.local.path)
    tested = footage.backups.TestDestination(proto.TestDestinationRequest(destination_id=destination_id))
    assert from_status(tested.error).domain == "footage.heldar"
    with pytest.raises(JobFailedError) as caught:
        footage.follow(footage.backups.CreateBackup(proto.CreateBackupRequest(destination_id=destination_id))).result()
    assert caught.value.reason == "DESTINATION_UNREACHABLE"
    assert caught.value.metadata == {"retryable": "true"}
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


def test_a_server_that_is_away_is_tried_again_until_the_deadline() -> None:
    with Footage("127.0.0.1:1", timeout_s=0.5) as footage:
        began = time.monotonic()
        with pytest.raises((UnavailableError, DeadlineExceededError)):
            next(footage.cameras())
        assert time.monotonic() - began < 5


def test_a_call_without_an_answer_ends_at_its_deadline() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent, Footage(f"127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.3) as footage:
        with pytest.raises(DeadlineExceededError):
            next(footage.cameras())


def test_a_time_without_a_zone_is_refused(footage: Footage) -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        footage.create_clip("gate_a_01", datetime(2026, 11, 22), at(10))


def test_an_address_without_a_port_means_that_of_the_service_or_of_its_scheme() -> None:
    addresses = {
        "nas": "nas:50051",
        "nas:7": "nas:7",
        "[::1]": "[::1]:50051",
        "[::1]:7": "[::1]:7",
        "http://nas": "nas:80",
        "https://nas/": "nas:443",
        "https://[::1]:7/": "[::1]:7",
    }
    assert {address: Settings.of(address, None, None, 1, 1).target for address in addresses} == addresses
    for address in ("nas:", "http://", "nas/path", "nas:port", "::1"):
        with pytest.raises(ValueError, match="host:port"):
            Settings.of(address, None, None, 1, 1)


async def test_a_plan_is_no_job_to_follow(footage: Footage, server: Server) -> None:
    with pytest.raises(ValueError, match=r"clips\.CreateClip"):
        footage.create_clip("gate_a_01", at(0), at(1), validate_only=True)
    with pytest.raises(ValueError, match=r"archives\.CreateArchive"):
        footage.create_archive(validate_only=True)
    async with AsyncFootage(server.address) as awaited:
        with pytest.raises(ValueError, match=r"clips\.CreateClip"):
            await awaited.create_clip("gate_a_01", at(0), at(1), validate_only=True)


def test_progress_in_a_state_of_a_newer_server_is_told_without_it() -> None:
    job = proto.Job(state=99, progress=proto.JobProgress(phase="cutting", fraction=0.44))  # type: ignore[arg-type]
    assert progress_line(job) == "cutting · 44 %"


class Refused(grpc.RpcError):
    """A failed call with these details, as they came over the wire."""

    def __init__(self, details: bytes) -> None:
        self._details = details

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.NOT_FOUND

    def details(self) -> str:
        return "no such camera"

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return (("grpc-status-details-bin", self._details),)


def test_details_that_cannot_be_read_do_not_hide_the_error() -> None:
    error = from_rpc_error(Refused(b"\xff\xff"))
    assert (type(error), error.message, error.reason, error.details) == (NotFoundError, "no such camera", "", ())


def test_an_error_in_words_names_the_fields_that_are_wrong(footage: Footage) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        footage.clips.GetClip(proto.GetClipRequest())
    assert str(refused.value) == "is required (INVALID_FIELD: clip_id)"


def test_the_token_goes_with_every_call_and_tls_is_checked(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-keyout", key, "-out", certificate, "-subj", "/CN=footage.test", "-addext", "subjectAltName=DNS:footage.test"],
        check=True, capture_output=True,
    )  # fmt: skip
    heard: list[dict[str, str]] = []

    def answer(_: object, context: Any) -> proto.ListCamerasResponse:
        heard.append(dict(context.invocation_metadata()))
        return proto.ListCamerasResponse(cameras=[proto.Camera(id="behind_tls")])

    from concurrent.futures import ThreadPoolExecutor

    stand_in = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(
        answer, proto.ListCamerasRequest.FromString, proto.ListCamerasResponse.SerializeToString
    )
    stand_in.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("heldar.footage.v1.CatalogService", {"ListCameras": handler}),)
    )
    port = stand_in.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    )
    stand_in.start()
    tls = Tls(ca_certificates=certificate.read_bytes(), server_name="footage.test")
    with Footage(f"https://127.0.0.1:{port}", token="secret", tls=tls) as footage:
        assert [camera.id for camera in footage.cameras()] == ["behind_tls"]
    assert heard[0]["authorization"] == "Bearer secret"
    with Footage(f"https://127.0.0.1:{port}", timeout_s=1) as footage:
        with pytest.raises(FootageError):
            next(footage.cameras())
    stand_in.stop(None)


async def test_asyncio_makes_follows_and_saves_a_clip(footage: Footage, server: Server, tmp_path: Path) -> None:
    async with AsyncFootage(server.address) as awaited:
        assert {camera.id async for camera in awaited.cameras()} >= {"gate_a_01", "yard_02", "lobby_03"}
        job = await awaited.create_clip("lobby_03", at(2), at(9))
        clip = await job.result()
        path = await awaited.download(clip, tmp_path)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == clip.sha256
        with pytest.raises(NotFoundError) as caught:
            await awaited.create_clip("nowhere", at(0), at(1))
        assert caught.value.resource is not None and caught.value.resource.name == "nowhere"


async def test_asyncio_follows_through_streams_that_break(footage: Footage, server: Server, proxy: CuttingProxy) -> None:
    async with AsyncFootage(proxy.address) as awaited:
        job = await awaited.follow(slow_job(footage, footage, server).id)
        revisions = []
        async for state in job:
            revisions.append(state.revision)
            if len(revisions) in (2, 4):
                proxy.cut()
        assert revisions == sorted(set(revisions))
        assert (await job.result()).files_sent == 17
    assert proxy.connections >= 3


async def test_asyncio_downloads_on_where_it_stopped(
    archive: proto.Archive, proxy: CuttingProxy, tmp_path: Path
) -> None:
    async with AsyncFootage(proxy.address) as awaited:
        proxy.cut_after(archive.size_bytes // 3)
        path = await awaited.download(archive, tmp_path)
    assert proxy.connections == 2
    assert hashlib.sha256(path.read_bytes()).hexdigest() == archive.sha256


async def test_a_task_that_is_cancelled_cancels_its_job(footage: Footage, server: Server) -> None:
    async with AsyncFootage(server.address) as awaited:
        job = await awaited.follow(slow_job(footage, footage, server, bytes_per_second=1000).id)
        running = asyncio.Event()
        task = asyncio.create_task(job.result(lambda state: running.set() if state.state == proto.JOB_STATE_RUNNING else None))
        await running.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(JobCancelledError):
            await (await awaited.follow(job.id)).result()
