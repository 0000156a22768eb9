"""Errors of calls and of jobs, with what the server says about them.

Every error that the server sends has a reason of `heldar.footage.v1.ErrorReason` (without its prefix), and most have
more: which fields are wrong, what does not exist, how long to wait. A class per status code lets `except` choose.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from heldar.footage.v1.job_pb2 import Job

#: The key under which gRPC carries google.rpc.Status.
_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class FieldViolation:
    """A field that is wrong: its path in the request, and what would be right."""

    field: str
    description: str


@dataclass(frozen=True)
class Resource:
    """What an error is about, such as the camera that does not exist."""

    type: str
    name: str


class FootageError(Exception):
    """A call that failed. The subclasses say how."""

    def __init__(self, code: grpc.StatusCode, message: str, details: Iterable[Message] = ()) -> None:
        super().__init__(message)
        #: The status code of gRPC.
        self.code = code
        #: What happened, for people.
        self.message = message
        #: Everything the server added, as messages of google.rpc.
        self.details = tuple(details)
        #: Why, for programs: a name of ErrorReason without its prefix; empty when something else than the server failed.
        self.reason = ""
        #: The namespace of the reason, `footage.heldar`.
        self.domain = ""
        #: More about the reason, such as `job_id`.
        self.metadata: dict[str, str] = {}
        #: Every field that is wrong.
        self.field_violations: list[FieldViolation] = []
        #: What the error is about.
        self.resource: Resource | None = None
        #: How long to wait before calling again.
        self.retry_after: timedelta | None = None
        for detail in self.details:
            self._read(detail)

    def _read(self, detail: Message) -> None:
        if isinstance(detail, error_details_pb2.ErrorInfo):
            self.reason, self.domain, self.metadata = detail.reason, detail.domain, dict(detail.metadata)
        elif isinstance(detail, error_details_pb2.BadRequest):
            self.field_violations = [FieldViolation(v.field, v.description) for v in detail.field_violations]
        elif isinstance(detail, error_details_pb2.ResourceInfo):
            self.resource = Resource(detail.resource_type, detail.resource_name)
        elif isinstance(detail, error_details_pb2.RetryInfo):
            self.retry_after = detail.retry_delay.ToTimedelta()

    def __str__(self) -> str:
        fields = ", ".join(violation.field for violation in self.field_violations)
        return f"{self.message} ({self.reason or self.code.name}{fields and f': {fields}'})"


class InvalidArgumentError(FootageError):
    """The request is wrong; `field_violations` names every field at once."""


class NotFoundError(FootageError):
    """What was named does not exist, or there is no footage; see `resource`."""


class AlreadyExistsError(FootageError):
    """The id that was chosen is taken."""


class FailedPreconditionError(FootageError):
    """Something has to be put right first."""


class AbortedError(FootageError):
    """Somebody else changed it since it was read."""


class ResourceExhaustedError(FootageError):
    """There is too much of something just now; see `retry_after`."""


class OutOfRangeError(FootageError):
    """An offset past the end."""


class UnavailableError(FootageError):
    """The server is away or shuts down; call again after `retry_after`."""


class DataLossError(FootageError):
    """A file is not what it was."""


class UnimplementedError(FootageError):
    """The server does not have this method, or not yet."""


class InternalError(FootageError):
    """A fault of the server."""


class DeadlineExceededError(FootageError):
    """No answer came in time."""


class CancelledError(FootageError):
    """The call was cancelled on this side."""


class UnauthenticatedError(FootageError):
    """The token is missing or wrong."""


class PermissionDeniedError(FootageError):
    """The token does not allow this."""


class JobFailedError(FootageError):
    """A job ended without a result. `reason` and `metadata` are as those of a failed call."""

    def __init__(self, job: Job, code: grpc.StatusCode, message: str, details: Iterable[Message] = ()) -> None:
        super().__init__(code, message, details)
        #: The job as it ended.
        self.job = job


class JobCancelledError(JobFailedError):
    """A job was cancelled by somebody."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, grpc.StatusCode.CANCELLED, f"job {job.id} was cancelled")
        self.reason = "CANCELLED"


_FAMILIES: dict[grpc.StatusCode, type[FootageError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.ABORTED: AbortedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRangeError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DATA_LOSS: DataLossError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.CANCELLED: CancelledError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_DETAIL_TYPES: dict[str, type[Message]] = {
    f"google.rpc.{kind.DESCRIPTOR.name}": kind
    for kind in (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.ResourceInfo,
        error_details_pb2.PreconditionFailure,
        error_details_pb2.QuotaFailure,
        error_details_pb2.RetryInfo,
        error_details_pb2.RequestInfo,
    )
}


def from_rpc_error(error: grpc.RpcError) -> FootageError:
    """What a failed call of gRPC means."""
    code = error.code() or grpc.StatusCode.UNKNOWN
    details: list[Message] = []
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
        if key == _DETAILS_KEY:
            try:
                details = _unpack(status_pb2.Status.FromString(value).details)
            except DecodeError:
                # A proxy that garbles the details must not hide the error itself.
                continue
    return _FAMILIES.get(code, FootageError)(code, error.details() or "", details)


def from_status(status: status_pb2.Status) -> FootageError:
    """What a google.rpc.Status inside an answer means, such as a warning of a job or `TestDestinationResponse.error`."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return _FAMILIES.get(code, FootageError)(code, status.message, _unpack(status.details))


def from_job(job: Job) -> JobFailedError:
    """Why a job that ended has no result."""
    from heldar.footage.v1.job_pb2 import JOB_STATE_CANCELLED

    if job.state == JOB_STATE_CANCELLED:
        return JobCancelledError(job)
    code = _CODES.get(job.error.code, grpc.StatusCode.UNKNOWN)
    return JobFailedError(job, code, job.error.message, _unpack(job.error.details))


def _unpack(details: Iterable[any_pb2.Any]) -> list[Message]:
    """The details of the types that this service uses; a newer server may send others."""
    unpacked: list[Message] = []
    for packed in details:
        kind = _DETAIL_TYPES.get(packed.TypeName())
        if kind is not None:
            try:
                unpacked.append(kind.FromString(packed.value))
            except DecodeError:
                continue
    return unpacked
