"""The client for ordinary, blocking programs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from heldar.footage.v1 import archive_pb2, backup_pb2, catalog_pb2, clip_pb2, job_pb2
from heldar.footage.v1.archive_pb2_grpc import ArchiveServiceStub
from heldar.footage.v1.archive_resources_pb2 import Archive
from heldar.footage.v1.backup_pb2 import RunPolicyRequest
from heldar.footage.v1.backup_pb2_grpc import BackupServiceStub
from heldar.footage.v1.backup_resources_pb2 import BackupRun
from heldar.footage.v1.catalog_pb2 import ListCamerasRequest
from heldar.footage.v1.catalog_pb2_grpc import CatalogServiceStub
from heldar.footage.v1.catalog_resources_pb2 import Camera
from heldar.footage.v1.clip_pb2_grpc import ClipServiceStub
from heldar.footage.v1.clip_resources_pb2 import Clip
from heldar.footage.v1.job_pb2 import JOB_STATE_SUCCEEDED, CancelJobRequest, GetJobRequest, Job
from heldar.footage.v1.job_pb2_grpc import JobServiceStub

from . import _requests
from ._requests import Moment
from ._resuming import Download, Following, Patience, has_ended, is_repeatable, with_request_id
from .errors import FootageError, from_job, from_rpc_error
from .settings import Settings, Tls

Result = TypeVar("Result")


class Footage:
    """A connection to a server. One is enough for a program; it may be shared by threads.

    `clips`, `archives`, `backups`, `jobs` and `catalog` have every method of the contract. Their calls get a deadline, a
    `request_id` and the token, are repeated while the server is away where that is safe, and raise FootageError.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        *,
        token: str | None = None,
        tls: Tls | bool | None = None,
        timeout_s: float = 30.0,
        patience_s: float = 120.0,
    ) -> None:
        """`timeout_s` is the longest a call may take; `patience_s` is how long a job or a download outlasts a server that is
        away, from the first failure after something came.
        """
        self._settings = Settings.of(address, token, tls, timeout_s, patience_s)
        credentials, options = self._settings.credentials(), self._settings.options()
        self._channel = (
            grpc.insecure_channel(self._settings.target, options)
            if credentials is None
            else grpc.secure_channel(self._settings.target, credentials, options)
        )
        self.clips = cast(ClipServiceStub, self._service(clip_pb2.DESCRIPTOR.services_by_name["ClipService"]))
        self.archives = cast(ArchiveServiceStub, self._service(archive_pb2.DESCRIPTOR.services_by_name["ArchiveService"]))
        self.backups = cast(BackupServiceStub, self._service(backup_pb2.DESCRIPTOR.services_by_name["BackupService"]))
        self.jobs = cast(JobServiceStub, self._service(job_pb2.DESCRIPTOR.services_by_name["JobService"]))
        self.catalog = cast(CatalogServiceStub, self._service(catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"]))

    def __enter__(self) -> Footage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; jobs go on."""
        self._channel.close()

    def cameras(self) -> Iterator[Camera]:
        """Every camera, the most recently created first."""
        request = ListCamerasRequest()
        while True:
            page = self.catalog.ListCameras(request)
            yield from page.cameras
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def create_clip(self, camera_id: str, start_time: Moment, end_time: Moment, **fields: Any) -> RunningJob[Clip]:
        """Starts a clip. `fields` are further ones of CreateClipRequest, such as `labels` or `keep_for`.

        For a plan alone, with `validate_only`, call `clips.CreateClip`: it makes no job.
        """
        return RunningJob(self, self.clips.CreateClip(_requests.create_clip(camera_id, start_time, end_time, fields)))

    def create_archive(
        self,
        camera_ids: Iterable[str] = (),
        start_time: Moment | None = None,
        end_time: Moment | None = None,
        **fields: Any,
    ) -> RunningJob[Archive]:
        """Starts an archive; no ids mean all cameras. `fields` are further ones of ArchiveSpec and CreateArchiveRequest.

        For a plan alone, with `validate_only`, call `archives.CreateArchive`: it makes no job.
        """
        request = _requests.create_archive(camera_ids, start_time, end_time, fields)
        return RunningJob(self, self.archives.CreateArchive(request))

    def run_policy(self, policy_id: str, **fields: Any) -> RunningJob[BackupRun]:
        """Starts a run of a backup policy."""
        return RunningJob(self, self.backups.RunPolicy(RunPolicyRequest(policy_id=policy_id, **fields)))

    def follow(self, job: Job | str) -> RunningJob[Any]:
        """Takes up a job that was started elsewhere, by id or as an answer gave it."""
        return RunningJob(self, self.jobs.GetJob(GetJobRequest(job_id=job)) if isinstance(job, str) else job)

    def download(
        self,
        what: Clip | Archive,
        path: str | os.PathLike[str] | None = None,
        *,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Saves a clip or an archive and returns where: at `path`, or under its own name in the folder `path`.

        Until it is whole and its SHA-256 is right it has a temporary name. A broken download goes on where it stopped, also
        when the program is started again. `on_progress` gets the bytes received and the bytes in all.
        """
        download = Download(what, path, self._settings.patience_s)
        fetch: Callable[[Any], Iterator[Any]] = cast(
            Any, self.archives.DownloadArchive if isinstance(what, Archive) else self.clips.DownloadClip
        )
        try:
            while True:
                error: FootageError | None = None
                try:
                    for response in fetch(download.request()):
                        if not download.take(response):
                            break
                        if on_progress is not None:
                            on_progress(download.received_bytes, download.size_bytes)
                except FootageError as caught:
                    error = caught
                if error is None and download.is_whole():
                    if download.finish():
                        return download.path
                    continue
                time.sleep(download.patience.pause_after(error))
        finally:
            download.close()

    def _service(self, service: ServiceDescriptor) -> object:
        return _Service(self._channel, self._settings, service)


class RunningJob(Generic[Result]):
    """A job that the server works on, whether or not anybody follows it.

    Iterate to get each state up to the last one, or call `result`. As a context manager it cancels the job on Ctrl-C.
    """

    def __init__(self, footage: Footage, job: Job) -> None:
        self._footage = footage
        self._following = Following(job, footage._settings.patience_s)

    @property
    def id(self) -> str:
        """The job's id, for `Footage.follow`."""
        return self._following.job.id

    @property
    def job(self) -> Job:
        """The newest state that was seen."""
        return self._following.job

    def __iter__(self) -> Iterator[Job]:
        """Every state from the present one to the end state; a broken stream is resumed."""
        following = self._following
        yield following.job
        while not has_ended(following.job):
            error: FootageError | None = None
            try:
                for response in self._footage.jobs.WatchJob(following.request()):
                    if following.take(response):
                        yield following.job
            except FootageError as caught:
                error = caught
            if not has_ended(following.job):
                time.sleep(following.patience.pause_after(error))

    def result(self, on_progress: Callable[[Job], None] | None = None) -> Result:
        """Waits for the end and returns what was made; raises JobFailedError or JobCancelledError.

        `on_progress` gets each state. Ctrl-C cancels the job.
        """
        with self:
            for job in self:
                if on_progress is not None:
                    on_progress(job)
        return cast(Result, result_of(self.job))

    def cancel(self) -> Job:
        """Asks the job to stop."""
        return self._footage.jobs.CancelJob(CancelJobRequest(job_id=self.id))

    def __enter__(self) -> RunningJob[Result]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt) and not has_ended(self.job):
            try:
                self.cancel()
            except FootageError as failure:
                error.add_note(f"the job {self.id} was not cancelled: {failure}")


def result_of(job: Job) -> Any:
    """What a job made; raises what it failed with."""
    if job.state != JOB_STATE_SUCCEEDED:
        raise from_job(job)
    kind = job.WhichOneof("result")
    return None if kind is None else getattr(job, kind)


class _Service:
    """The methods of one service, with what every call needs."""

    def __init__(self, channel: grpc.Channel, settings: Settings, service: ServiceDescriptor) -> None:
        for method in service.methods:
            setattr(self, method.name, _method(channel, settings, method))


def _method(channel: grpc.Channel, settings: Settings, method: MethodDescriptor) -> Callable[..., Any]:
    shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    invoke = getattr(channel, shape)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=message_factory.GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )

    def stream(request: Message, timeout: float | None = None) -> Iterator[Any]:
        call = invoke(request, timeout=timeout, metadata=settings.metadata())
        try:
            yield from call
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()

    def send_all(requests: Iterable[Message], timeout: float | None = None) -> Any:
        try:
            return invoke(iter(requests), timeout=timeout, metadata=settings.metadata())
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def unary(request: Message, timeout: float | None = None) -> Any:
        request = with_request_id(request)
        limit_s = timeout if timeout is not None else settings.deadline_s(request)
        patience, give_up_at = Patience(limit_s), time.monotonic() + limit_s
        while True:
            try:
                # All attempts together have the time of one call.
                left_s = max(give_up_at - time.monotonic(), 0.0)
                return invoke(request, timeout=left_s, metadata=settings.metadata())
            except grpc.RpcError as error:
                failure = from_rpc_error(error)
                if failure.code is not grpc.StatusCode.UNAVAILABLE or not is_repeatable(method, request):
                    raise failure from error
                pause_s = patience.pause_after(failure)
            time.sleep(pause_s)

    if method.client_streaming:
        return send_all
    return stream if method.server_streaming else unary
