"""Requests from native values."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from heldar.footage.v1.archive_pb2 import CreateArchiveRequest
from heldar.footage.v1.archive_resources_pb2 import ArchiveSpec
from heldar.footage.v1.clip_pb2 import CreateClipRequest

Moment = datetime | Timestamp


def timestamp(moment: Moment) -> Timestamp:
    """A moment as the contract wants it. A datetime without a zone would be a guess, and is refused."""
    if isinstance(moment, Timestamp):
        return moment
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; use datetime.now(timezone.utc) or .astimezone()")
    converted = Timestamp()
    converted.FromDatetime(moment)
    return converted


def create_clip(camera_id: str, start_time: Moment, end_time: Moment, fields: dict[str, Any]) -> CreateClipRequest:
    _refuse_plan(fields, "clips.CreateClip")
    return CreateClipRequest(
        camera_id=camera_id, start_time=timestamp(start_time), end_time=timestamp(end_time), **_converted(fields)
    )


def create_archive(
    camera_ids: Iterable[str], start_time: Moment | None, end_time: Moment | None, fields: dict[str, Any]
) -> CreateArchiveRequest:
    _refuse_plan(fields, "archives.CreateArchive")
    of_spec = {name: fields.pop(name) for name in list(fields) if name in ArchiveSpec.DESCRIPTOR.fields_by_name}
    spec = ArchiveSpec(camera_ids=camera_ids, **of_spec)
    if start_time is not None:
        spec.start_time.CopyFrom(timestamp(start_time))
    if end_time is not None:
        spec.end_time.CopyFrom(timestamp(end_time))
    return CreateArchiveRequest(spec=spec, **_converted(fields))


def _refuse_plan(fields: dict[str, Any], method: str) -> None:
    if fields.get("validate_only"):
        raise ValueError(f"a plan makes no job that could be followed; call {method}, whose answer has the plan")


def _converted(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _duration(value) if isinstance(value, timedelta) else value for name, value in fields.items()}


def _duration(length: timedelta) -> Duration:
    converted = Duration()
    converted.FromTimedelta(length)
    return converted
