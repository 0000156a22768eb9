"""The client for programs on asyncio: the same as Footage, to be awaited."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from heldar.footage.v1 import archive_pb2, backup_pb2, catalog_pb2, clip_pb2, job_pb2
from heldar.footage.v1.archive_resources_pb2 import Archive
from heldar.footage.v1.backup_pb2 import RunPolicyRequest
from heldar.footage.v1.backup_resources_pb2 import BackupRun
from heldar.footage.v1.catalog_pb2 import ListCamerasRequest
from heldar.footage.v1.catalog_resources_pb2 import Camera
from heldar.footage.v1.clip_resources_pb2 import Clip
from heldar.footage.v1.job_pb2 import CancelJobRequest, GetJobRequest, Job

from . import _requests
from ._requests import Moment
from ._resuming import Download, Following, Patience, has_ended, is_repeatable, with_request_id
from .client import result_of
from .errors import FootageError, from_rpc_error
from .settings import Settings, Tls

if TYPE_CHECKING:
    from heldar.footage.v1.archive_pb2_grpc import ArchiveServiceAsyncStub
    from heldar.footage.v1.backup_pb2_grpc import BackupServiceAsyncStub
    from heldar.footage.v1.catalog_pb2_grpc import CatalogServiceAsyncStub
    from heldar.footage.v1.clip_pb2_grpc import ClipServiceAsyncStub
    from heldar.footage.v1.job_pb2_grpc import JobServiceAsyncStub

Result = TypeVar("Result")

#: How long a task that is being cancelled waits for the server to be told.
_CANCEL_TIMEOUT_S = 5.0


class AsyncFootage:
    """A connection to a server, for the running event loop. One is enough for a program.

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
            grpc.aio.insecure_channel(self._settings.target, options)
            if credentials is None
            else grpc.aio.secure_channel(self._settings.target, credentials, options)
        )
        self.clips = cast("ClipServiceAsyncStub", self._service(clip_pb2.DESCRIPTOR.services_by_name["ClipService"]))
        self.archives = cast(
            "ArchiveServiceAsyncStub", self._service(archive_pb2.DESCRIPTOR.services_by_name["ArchiveService"])
        )
        self.backups = cast("BackupServiceAsyncStub", self._service(backup_pb2.DESCRIPTOR.services_by_name["BackupService"]))
        self.jobs = cast("JobServiceAsyncStub", self._service(job_pb2.DESCRIPTOR.services_by_name["JobService"]))
        self.catalog = cast(
            "CatalogServiceAsyncStub", self._service(catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"])
        )

    async def __aenter__(self) -> AsyncFootage:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection; jobs go on."""
        await self._channel.close(None)

    async def cameras(self) -> AsyncIterator[Camera]:
        """Every camera, the most recently created first."""
        request = ListCamerasRequest()
        while True:
            page = await self.catalog.ListCameras(request)
            for camera in page.cameras:
                yield camera
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def create_clip(
        self, camera_id: str, start_time: Moment, end_time: Moment, **fields: Any
    ) -> AsyncRunningJob[Clip]:
        """Starts a clip. `fields` are further ones of CreateClipRequest, such as `labels` or `keep_for`.

        For a plan alone, with `validate_only`, call `clips.CreateClip`: it makes no job.
        """
        request = _requests.create_clip(camera_id, start_time, end_time, fields)
        return AsyncRunningJob(self, await self.clips.CreateClip(request))

    async def create_archive(
        self,
        camera_ids: Iterable[str] = (),
        start_time: Moment | None = None,
        end_time: Moment | None = None,
        **fields: Any,
    ) -> AsyncRunningJob[Archive]:
        """Starts an archive; no ids mean all cameras. `fields` are further ones of ArchiveSpec and CreateArchiveRequest.

        For a plan alone, with `validate_only`, call `archives.CreateArchive`: it makes no job.
        """
        request = _requests.create_archive(camera_ids, start_time, end_time, fields)
        return AsyncRunningJob(self, await self.archives.CreateArchive(request))

    async def run_policy(self, policy_id: str, **fields: Any) -> AsyncRunningJob[BackupRun]:
        """Starts a run of a backup policy."""
        return AsyncRunningJob(self, await self.backups.RunPolicy(RunPolicyRequest(policy_id=policy_id, **fields)))

    async def follow(self, job: Job | str) -> AsyncRunningJob[Any]:
        """Takes up a job that was started elsewhere, by id or as an answer gave it."""
        if isinstance(job, str):
            job = await self.jobs.GetJob(GetJobRequest(job_id=job))
        return AsyncRunningJob(self, job)

    async def download(
        self,
        what: Clip | Archive,
        path: str | os.PathLike[str] | None = None,
        *,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Saves a clip or an archive and returns where; see `Footage.download`."""
        download = await asyncio.to_thread(Download, what, path, self._settings.patience_s)
        fetch: Callable[[Any], AsyncIterator[Any]] = cast(
            Any, self.archives.DownloadArchive if isinstance(what, Archive) else self.clips.DownloadClip
        )
        try:
            while True:
                error: FootageError | None = None
                try:
                    async for response in fetch(download.request()):
                        if not await asyncio.to_thread(download.take, response):
                            break
                        if on_progress is not None:
                            on_progress(download.received_bytes, download.size_bytes)
                except FootageError as caught:
                    error = caught
                if error is None and download.is_whole():
                    if await asyncio.to_thread(download.finish):
                        return download.path
                    continue
                await asyncio.sleep(download.patience.pause_after(error))
        finally:
            download.close()

    def _service(self, service: ServiceDescriptor) -> object:
        return _AsyncService(self._channel, self._settings, service)


class AsyncRunningJob(Generic[Result]):
    """A job that the server works on, whether or not anybody follows it.

    Iterate with `async for` to get each state up to the last one, or await `result`. As a context manager it cancels the
    job when its task is cancelled, as asyncio does on Ctrl-C.
    """

    def __init__(self, footage: AsyncFootage, job: Job) -> None:
        self._footage = footage
        self._following = Following(job, footage._settings.patience_s)

    @property
    def id(self) -> str:
        """The job's id, for `AsyncFootage.follow`."""
        return self._following.job.id

    @property
    def job(self) -> Job:
        """The newest state that was seen."""
        return self._following.job

    async def __aiter__(self) -> AsyncIterator[Job]:
        """Every state from the present one to the end state; a broken stream is resumed."""
        following = self._following
        yield following.job
        while not has_ended(following.job):
            error: FootageError | None = None
            try:
                async for response in self._footage.jobs.WatchJob(following.request()):
                    if following.take(response):
                        yield following.job
            except FootageError as caught:
                error = caught
            if not has_ended(following.job):
                await asyncio.sleep(following.patience.pause_after(error))

    async def result(self, on_progress: Callable[[Job], None] | None = None) -> Result:
        """Waits for the end and returns what was made; raises JobFailedError or JobCancelledError.

        `on_progress` gets each state. The job is cancelled with the task.
        """
        async with self:
            async for job in self:
                if on_progress is not None:
                    on_progress(job)
        return cast(Result, result_of(self.job))

    async def cancel(self) -> Job:
        """Asks the job to stop."""
        return await self._footage.jobs.CancelJob(CancelJobRequest(job_id=self.id))

    async def __aenter__(self) -> AsyncRunningJob[Result]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, asyncio.CancelledError | KeyboardInterrupt) and not has_ended(self.job):
            try:
                await asyncio.wait_for(self.cancel(), _CANCEL_TIMEOUT_S)
            except (FootageError, TimeoutError) as failure:
                error.add_note(f"the job {self.id} was not cancelled: {failure}")


class _AsyncService:
    """The methods of one service, with what every call needs."""

    def __init__(self, channel: grpc.aio.Channel, settings: Settings, service: ServiceDescriptor) -> None:
        for method in service.methods:
            setattr(self, method.name, _method(channel, settings, method))


def _method(channel: grpc.aio.Channel, settings: Settings, method: MethodDescriptor) -> Callable[..., Any]:
    shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    invoke = getattr(channel, shape)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=message_factory.GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )

    async def stream(request: Message, timeout: float | None = None) -> AsyncIterator[Any]:
        call = invoke(request, timeout=timeout, metadata=settings.metadata())
        try:
            async for response in call:
                yield response
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()

    async def send_all(requests: Iterable[Message] | AsyncIterable[Message], timeout: float | None = None) -> Any:
        try:
            return await invoke(requests, timeout=timeout, metadata=settings.metadata())
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    async def unary(request: Message, timeout: float | None = None) -> Any:
        request = with_request_id(request)
        limit_s = timeout if timeout is not None else settings.deadline_s(request)
        patience, give_up_at = Patience(limit_s), time.monotonic() + limit_s
        while True:
            try:
                # All attempts together have the time of one call.
                left_s = max(give_up_at - time.monotonic(), 0.0)
                return await invoke(request, timeout=left_s, metadata=settings.metadata())
            except grpc.RpcError as error:
                failure = from_rpc_error(error)
                if failure.code is not grpc.StatusCode.UNAVAILABLE or not is_repeatable(method, request):
                    raise failure from error
                pause_s = patience.pause_after(failure)
            await asyncio.sleep(pause_s)

    if method.client_streaming:
        return send_all
    return stream if method.server_streaming else unary
