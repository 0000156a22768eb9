"""What goes on after a failure, without any connection: the rules that both clients share."""

from __future__ import annotations

import hashlib
import os
import random
import time
import uuid
from pathlib import Path
from typing import BinaryIO, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from heldar.footage.v1.archive_pb2 import DownloadArchiveRequest, DownloadArchiveResponse
from heldar.footage.v1.archive_resources_pb2 import Archive
from heldar.footage.v1.clip_pb2 import DownloadClipRequest, DownloadClipResponse
from heldar.footage.v1.clip_resources_pb2 import Clip
from heldar.footage.v1.job_pb2 import (
    JOB_STATE_CANCELLED,
    JOB_STATE_FAILED,
    JOB_STATE_SUCCEEDED,
    Job,
    WatchJobRequest,
    WatchJobResponse,
)

from .errors import DataLossError, FootageError, UnavailableError

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_END_STATES = (JOB_STATE_SUCCEEDED, JOB_STATE_FAILED, JOB_STATE_CANCELLED)

_Request = TypeVar("_Request", bound=Message)


def has_ended(job: Job) -> bool:
    """Whether the job is in one of the three states that never change."""
    return job.state in _END_STATES


def with_request_id(request: _Request) -> _Request:
    """The request with a `request_id`, where it can have one and the caller gave none."""
    if "request_id" not in request.DESCRIPTOR.fields_by_name or request.request_id:  # type: ignore[attr-defined]
        return request
    copy = type(request)()
    copy.CopyFrom(request)
    copy.request_id = str(uuid.uuid4())  # type: ignore[attr-defined]
    return copy


def is_repeatable(method: MethodDescriptor, request: Message) -> bool:
    """Whether a second call does no more than one: it only reads, or its request id tells the server."""
    return method.name.startswith(("Get", "List")) or bool(getattr(request, "request_id", ""))


class Patience:
    """How long to go on after failures that pass: as the server asks, else longer each time, until time is up."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self.reset()

    def reset(self) -> None:
        """Something was received: the next failure is a first one."""
        self._failures = 0
        self._give_up_at: float | None = None

    def pause_after(self, error: FootageError | None) -> float:
        """Seconds to wait before going on; raises the error when that makes no sense. None: a stream that ended early."""
        now = time.monotonic()
        if self._give_up_at is None:
            self._give_up_at = now + self._patience_s
        if error is not None and not self._passes(error):
            raise error
        asked = error.retry_after.total_seconds() if error is not None and error.retry_after is not None else 0.0
        backoff = min(_FIRST_PAUSE_S * 2**self._failures, _LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)
        pause_s: float = max(asked, backoff)
        if now + pause_s > self._give_up_at:
            raise error or UnavailableError(grpc.StatusCode.UNAVAILABLE, "the stream ended before all had come")
        self._failures += 1
        return pause_s

    @staticmethod
    def _passes(error: FootageError) -> bool:
        if error.code is grpc.StatusCode.UNAVAILABLE or error.retry_after is not None:
            return True
        # A connection that breaks in the middle of an answer; what the server itself says has a reason.
        return not error.reason and error.code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


class Following:
    """A job that is followed: its newest state, and where to go on."""

    def __init__(self, job: Job, patience_s: float) -> None:
        self.job = job
        self.patience = Patience(patience_s)

    def request(self) -> WatchJobRequest:
        """Asks for what comes after the newest state seen."""
        return WatchJobRequest(job_id=self.job.id, after_revision=self.job.revision)

    def take(self, response: WatchJobResponse) -> bool:
        """Takes a message of the stream; true when it holds a state that was not seen before."""
        self.patience.reset()
        if not response.HasField("job") or response.job.revision <= self.job.revision:
            return False
        self.job = response.job
        return True


class Download:
    """A file on its way: kept under a temporary name until it is whole and has the right hash."""

    def __init__(self, what: Clip | Archive, path: str | os.PathLike[str] | None, patience_s: float) -> None:
        self._what = what
        self.path = _target(path, what.file_name)
        self.size_bytes = what.size_bytes
        self._sha256 = what.sha256
        self._etag: str | None = None
        self.patience = Patience(patience_s)
        # What an earlier program left is taken up only where the hash can tell whether it fits.
        mark = self._sha256[:16] or uuid.uuid4().hex[:16]
        self._part = self.path.with_name(f".{self.path.name}.{mark}.part")
        self._hash = hashlib.sha256()
        self._file = self._open()
        if os.fstat(self._file.fileno()).st_size > self.size_bytes:
            self._restart()
        while chunk := self._file.read(1 << 20):
            self._hash.update(chunk)
        self.received_bytes = self._file.tell()
        self._inherited = self.received_bytes > 0

    def request(self) -> DownloadClipRequest | DownloadArchiveRequest:
        """Asks for the bytes that are not there yet."""
        if isinstance(self._what, Archive):
            return DownloadArchiveRequest(archive_id=self._what.id, offset_bytes=self.received_bytes)
        return DownloadClipRequest(clip_id=self._what.id, offset_bytes=self.received_bytes)

    def take(self, response: DownloadClipResponse | DownloadArchiveResponse) -> bool:
        """Takes a message; false when the file changed meanwhile and the call has to be made anew, from the start."""
        if response.HasField("header"):
            header = response.header
            if self._what.sha256 and header.sha256 != self._what.sha256:
                raise DataLossError(
                    grpc.StatusCode.DATA_LOSS,
                    f"{self.path.name}: the server has another file under this name, with SHA-256 {header.sha256}, "
                    f"not {self._what.sha256}",
                )
            changed = self._etag is not None and header.etag != self._etag
            self._etag, self._sha256, self.size_bytes = header.etag, header.sha256, header.total_size_bytes
            if changed:
                self._restart()
                return header.offset_bytes == 0
            return True
        self.patience.reset()
        self._file.write(response.data)
        self._hash.update(response.data)
        self.received_bytes += len(response.data)
        return True

    def is_whole(self) -> bool:
        """Whether all bytes are there."""
        return self.received_bytes >= self.size_bytes

    def finish(self) -> bool:
        """Gives the file its name; false when what an earlier program left was wrong, and all has to come again.

        Raises DataLossError when the bytes are not those that the server promised.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        found = self._hash.hexdigest()
        if self.received_bytes == self.size_bytes and (not self._sha256 or found == self._sha256):
            if self._named():
                return True
            self._restart()
            return False
        if self._inherited:
            self._restart()
            return False
        self._file.close()
        self._part.unlink(missing_ok=True)
        raise DataLossError(
            grpc.StatusCode.DATA_LOSS,
            f"{self.path.name}: {self.received_bytes} bytes with SHA-256 {found} came, "
            f"not {self.size_bytes} with {self._sha256 or 'any'}",
        )

    def close(self) -> None:
        """Leaves what came where a later download finds it; nothing where none could tell whether it fits."""
        if not self._file.closed:
            self._file.close()
            if not self._sha256 or self.received_bytes == 0:
                self._part.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        # Not for appending: two downloads of one file to one place write the same bytes to the same positions.
        return os.fdopen(os.open(self._part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b")

    def _named(self) -> bool:
        """Gives the file its name; false when another download of it to the same place took it away and began anew."""
        own = os.fstat(self._file.fileno())
        self._file.close()
        try:
            if os.path.samestat(own, os.stat(self._part)):
                os.replace(self._part, self.path)
                return True
        except FileNotFoundError:
            pass
        # The other was faster.
        return self.path.exists() and os.path.samestat(own, os.stat(self.path))

    def _restart(self) -> None:
        # In a new file: another download may be at work in this one.
        self._file.close()
        self._part.unlink(missing_ok=True)
        self._file = self._open()
        self._hash = hashlib.sha256()
        self.received_bytes = 0
        self._inherited = False


def _target(path: str | os.PathLike[str] | None, file_name: str) -> Path:
    target = Path(path) if path is not None else Path()
    if not target.is_dir():
        return target
    # A server's name for a file must not lead out of the folder.
    name = Path(file_name).name
    if name in ("", ".", ".."):
        raise DataLossError(grpc.StatusCode.DATA_LOSS, f"the server names a file {file_name!r}, which is no name for one")
    return target / name
