"""The cases that every client must see alike, from clients/conformance/cases.json."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from conftest import CLIENTS, Server
from google.protobuf import json_format, message_factory
from google.protobuf.message import Message
from google.protobuf.symbol_database import Default
from heldar.footage.v1 import archive_pb2, backup_pb2, catalog_pb2, clip_pb2, job_pb2  # noqa: F401
from heldar_footage import Footage, errors
from heldar_footage.aio import AsyncFootage

TABLE = json.loads((CLIENTS / "conformance/cases.json").read_text())
SCRIPTED = [case for case in TABLE["cases"] if case["server"] == "scripted"]
#: What the services of the contract are called here.
SERVICES = {"CatalogService": "catalog", "ClipService": "clips", "ArchiveService": "archives", "BackupService": "backups", "JobService": "jobs"}
DEFAULTS: tuple[Any, ...] = (False, "", 0, "0", [], {}, None)


@pytest.fixture(scope="module")
def servers(start_server: Callable[..., Server]) -> dict[str, Server]:
    started = {name: start_server(name, **settings) for name, settings in TABLE["servers"].items()}
    for server in started.values():
        with Footage(server.address) as footage:
            until_imported(footage)
    return started


def until_imported(footage: Footage) -> None:
    """Waits until the first import has ended: sixty seconds of three cameras."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        jobs = call(footage, "heldar.footage.v1.JobService/ListJobs", {"filter": {"kinds": ["JOB_KIND_IMPORT"], "states": ["JOB_STATE_SUCCEEDED"]}})
        if jobs[0].get("jobs"):
            return
        time.sleep(0.05)
    raise AssertionError("the footage was not imported in time")


def call(footage: Footage, method: str, request: Any, leave_after: int | None = None) -> list[dict[str, Any]]:
    """Makes a call of any shape, as a program would, and returns its messages in the JSON form of proto3."""
    service, name = method.split("/")
    descriptor = Default().pool.FindServiceByName(service).methods_by_name[name]
    input_class = message_factory.GetMessageClass(descriptor.input_type)
    invoke = getattr(getattr(footage, SERVICES[service.rsplit(".", 1)[1]]), name)
    if descriptor.client_streaming:
        answers = [invoke(json_format.ParseDict(item, input_class()) for item in request)]
    elif descriptor.server_streaming:
        stream = invoke(json_format.ParseDict(request, input_class()), timeout=60)
        answers = list(itertools.islice(stream, leave_after))
        stream.close()
    else:
        message = json_format.ParseDict(request, input_class())
        answers = [(by_the_helper(footage, message) or invoke)(message)]
    return [as_json(answer) for answer in answers]


def by_the_helper(footage: Footage, message: Any) -> Callable[[Any], Message] | None:
    """The helper's own method for the request, if it has one and the request all that it asks for."""
    fields = {field.name: value for field, value in message.ListFields()}
    if isinstance(message, clip_pb2.CreateClipRequest) and not message.validate_only and {"camera_id", "start_time", "end_time"} <= fields.keys():
        return lambda _: footage.create_clip(**fields).job
    if isinstance(message, archive_pb2.CreateArchiveRequest) and not message.validate_only:
        spec = {field.name: value for field, value in fields.pop("spec").ListFields()}
        return lambda _: footage.create_archive(**spec, **fields).job
    if isinstance(message, backup_pb2.RunPolicyRequest):
        return lambda _: footage.run_policy(**fields).job
    if isinstance(message, job_pb2.GetJobRequest):
        return lambda _: footage.follow(message.job_id).job
    return None


def as_json(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(message)


def fill(value: Any, saved: dict[str, str]) -> Any:
    """Replaces each ${name} by what was saved under the name."""
    if isinstance(value, str):
        for name, text in saved.items():
            value = value.replace("${" + name + "}", text)
        return value
    if isinstance(value, list):
        return [fill(item, saved) for item in value]
    if isinstance(value, dict):
        return {key: fill(item, saved) for key, item in value.items()}
    return value


def assert_within(expected: Any, found: Any, where: str) -> None:
    """Everything expected is found; a default may be absent, and what is not expected may be there."""
    if found is None and expected in DEFAULTS:
        return
    if isinstance(expected, dict):
        assert isinstance(found, dict), f"{where}: {found!r}"
        for key, value in expected.items():
            assert_within(value, found.get(key), f"{where}.{key}")
    elif isinstance(expected, list):
        assert isinstance(found, list) and len(found) == len(expected), f"{where}: {found!r}"
        for number, value in enumerate(expected):
            assert_within(value, found[number], f"{where}[{number}]")
    else:
        assert found == expected, f"{where}: {found!r} is not {expected!r}"


def at_path(message: Any, path: str) -> str:
    for key in path.split("."):
        message = message[key]
    return str(message)


def assert_error(expected: dict[str, Any], error: errors.FootageError, kind: type[errors.FootageError] | None = None) -> None:
    assert error.code.name == expected["code"], error
    assert type(error) is (kind or getattr(errors, TABLE["families"][expected["code"]] + "Error"))
    assert error.reason == expected["reason"], error
    assert error.domain == TABLE["domain"]
    assert {detail.DESCRIPTOR.name for detail in error.details} == {"ErrorInfo", *expected["details"]}
    assert error.message
    if "message" in expected:
        assert error.message == expected["message"]
    if "fieldViolations" in expected:
        assert [violation.field for violation in error.field_violations] == expected["fieldViolations"]
        assert all(violation.description for violation in error.field_violations)
    if "resource" in expected:
        assert error.resource is not None
        assert {"type": error.resource.type, "name": error.resource.name} == expected["resource"]
    if "retryAfter" in expected:
        assert error.retry_after is not None
        assert error.retry_after.total_seconds() == float(expected["retryAfter"].rstrip("s"))
    assert error.metadata == expected.get("metadata", {})


def assert_stream(expected: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    if expected["messages"] is not None:
        assert_within(expected["messages"], messages, "messages")
    if "first" in expected:
        assert_within(expected["first"], messages[0], "first")
    if "last" in expected:
        assert_within(expected["last"], messages[-1], "last")
    content = b"".join(decoded(message) for message in messages if "data" in message)
    if "bytes" in expected:
        assert len(content) == int(expected["bytes"])
    if "sha256" in expected:
        assert hashlib.sha256(content).hexdigest() == expected["sha256"]


def decoded(message: dict[str, Any]) -> bytes:
    import base64

    return base64.b64decode(message["data"])


def follow(footage: Footage, step: dict[str, Any]) -> None:
    """Follows a job by the helper, and holds how it ended."""
    running = footage.follow(step["follow"])
    if "error" in step:
        with pytest.raises(errors.JobFailedError) as failed:
            running.result()
        assert_error(step["error"], failed.value, errors.JobFailedError)
        assert failed.value.job == running.job
    elif "cancelled" in step:
        with pytest.raises(errors.JobCancelledError) as cancelled:
            running.result()
        assert cancelled.value.reason == "CANCELLED"
    else:
        running.result()
        warnings = [errors.from_status(warning) for warning in running.job.warnings]
        assert len(warnings) == len(step["warnings"]), warnings
        for expected, warning in zip(step["warnings"], warnings, strict=True):
            assert_error(expected, warning)


def run_step(footage: Footage, step: dict[str, Any], saved: dict[str, str]) -> None:
    if "truncate" in step:
        with open(step["truncate"], "r+b") as file:
            file.truncate(1)
        return
    if "follow" in step:
        follow(footage, step)
        return
    request: Iterable[Any] = step.get("requests", step.get("request"))
    if "error" in step:
        with pytest.raises(errors.FootageError) as caught:
            call(footage, step["method"], request)
        assert_error(step["error"], caught.value)
        return
    leave_after = step.get("stream", {}).get("leaveAfter")
    messages = call(footage, step["method"], request, leave_after)
    if "stream" in step:
        assert_stream(step["stream"], messages)
    else:
        assert_within(step["response"], messages[0], "response")
    for name, path in step.get("save", {}).items():
        saved[name] = at_path(messages[0], path)


@pytest.mark.parametrize("case", TABLE["cases"], ids=[case["name"] for case in TABLE["cases"]])
def test_conformance(case: dict[str, Any], servers: dict[str, Server]) -> None:
    server = servers[case["server"]]
    saved = {"site": str(server.folder)}
    with Footage(server.address, timeout_s=60) as footage:
        for step in case["steps"]:
            run_step(footage, fill(step, saved), saved)


@pytest.mark.parametrize("case", SCRIPTED, ids=[case["name"] for case in SCRIPTED])
async def test_conformance_of_errors_on_asyncio(case: dict[str, Any], servers: dict[str, Server]) -> None:
    async with AsyncFootage(servers["scripted"].address) as footage:
        for step in case["steps"]:
            if "follow" in step and "error" in step:
                with pytest.raises(errors.JobFailedError) as failed:
                    await (await footage.follow(step["follow"])).result()
                assert_error(step["error"], failed.value, errors.JobFailedError)
            elif "error" in step:
                service, name = step["method"].split("/")
                descriptor = Default().pool.FindServiceByName(service).methods_by_name[name]
                request = json_format.ParseDict(step["request"], message_factory.GetMessageClass(descriptor.input_type)())
                answer = getattr(getattr(footage, SERVICES[service.rsplit(".", 1)[1]]), name)(request)
                with pytest.raises(errors.FootageError) as caught:
                    if descriptor.server_streaming:
                        async for _ in answer:
                            pass
                    else:
                        await answer
                assert_error(step["error"], caught.value)
