"""The cases that every client must see alike, from clients/conformance/cases.json."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import grpc
import pytest
from conftest import CLIENTS, Server
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.symbol_database import Default
from heldar.footage.v1 import archive_pb2, backup_pb2, catalog_pb2, clip_pb2, job_pb2  # noqa: F401
from heldar_footage import errors

TABLE = json.loads((CLIENTS / "conformance/cases.json").read_text())
DEFAULTS: tuple[Any, ...] = (False, "", 0, "0", [], {}, None)


@pytest.fixture(scope="module")
def servers(start_server: Callable[..., Server]) -> dict[str, Server]:
    started = {name: start_server(name, **settings) for name, settings in TABLE["servers"].items()}
    for server in started.values():
        with grpc.insecure_channel(server.address) as channel:
            until_imported(channel)
    return started


def until_imported(channel: grpc.Channel) -> None:
    """Waits until the first import has ended: sixty seconds of three cameras."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        jobs = call(channel, "heldar.footage.v1.JobService/ListJobs", {"filter": {"kinds": ["JOB_KIND_IMPORT"], "states": ["JOB_STATE_SUCCEEDED"]}})
        if jobs[0].get("jobs"):
            return
        time.sleep(0.05)
    raise AssertionError("the footage was not imported in time")


def call(channel: grpc.Channel, method: str, request: Any, leave_after: int | None = None) -> list[dict[str, Any]]:
    """Makes a call of any shape and returns its messages in the JSON form of proto3."""
    service, name = method.split("/")
    descriptor = Default().pool.FindServiceByName(service).methods_by_name[name]
    input_class, output_class = message_class(descriptor.input_type), message_class(descriptor.output_type)
    shape = ("stream" if descriptor.client_streaming else "unary") + "_" + ("stream" if descriptor.server_streaming else "unary")
    invoke = getattr(channel, shape)("/" + method, request_serializer=input_class.SerializeToString, response_deserializer=output_class.FromString)
    if descriptor.client_streaming:
        answers = [invoke(iter([json_format.ParseDict(item, input_class()) for item in request]), timeout=60)]
    elif descriptor.server_streaming:
        stream = invoke(json_format.ParseDict(request, input_class()), timeout=60)
        answers = []
        for message in stream:
            answers.append(message)
            if leave_after is not None and len(answers) == leave_after:
                stream.cancel()
                break
    else:
        answers = [invoke(json_format.ParseDict(request, input_class()), timeout=60)]
    return [as_json(answer) for answer in answers]


def message_class(descriptor: Any) -> type[Message]:
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(descriptor)


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


def assert_error(expected: dict[str, Any], error: errors.FootageError) -> None:
    assert error.code.name == expected["code"], error
    assert type(error).__name__ == TABLE["families"][expected["code"]] + "Error"
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


def run_step(channel: grpc.Channel, step: dict[str, Any], saved: dict[str, str]) -> None:
    if "truncate" in step:
        with open(step["truncate"], "r+b") as file:
            file.truncate(1)
        return
    request: Iterable[Any] = step.get("requests", step.get("request"))
    if "error" in step:
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, step["method"], request)
        assert_error(step["error"], errors.from_rpc_error(caught.value))
        return
    leave_after = step.get("stream", {}).get("leaveAfter")
    messages = call(channel, step["method"], request, leave_after)
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
    with grpc.insecure_channel(server.address) as channel:
        for step in case["steps"]:
            run_step(channel, fill(step, saved), saved)
