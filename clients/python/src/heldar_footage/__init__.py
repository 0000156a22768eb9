"""Clips, archives and backups of recorded video, from a heldar-footage server.

    from heldar_footage import Footage

    with Footage("127.0.0.1:50051") as footage:
        camera = next(footage.cameras())
        ...

`Footage` blocks, `AsyncFootage` is awaited. `heldar_footage.proto` has every message of the contract.
"""

from ._progress import progress_line
from .aio import AsyncFootage, AsyncRunningJob
from .client import Footage, RunningJob
from .errors import (
    AbortedError,
    AlreadyExistsError,
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    FieldViolation,
    FootageError,
    InternalError,
    InvalidArgumentError,
    JobCancelledError,
    JobFailedError,
    NotFoundError,
    OutOfRangeError,
    PermissionDeniedError,
    Resource,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    from_status,
)
from .settings import Tls

__version__ = "0.1.0"

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "AsyncFootage",
    "AsyncRunningJob",
    "CancelledError",
    "DataLossError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "FieldViolation",
    "Footage",
    "FootageError",
    "InternalError",
    "InvalidArgumentError",
    "JobCancelledError",
    "JobFailedError",
    "NotFoundError",
    "OutOfRangeError",
    "PermissionDeniedError",
    "Resource",
    "ResourceExhaustedError",
    "RunningJob",
    "Tls",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "from_status",
    "progress_line",
]
