"""How a client reaches the server, and how long it has patience."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

#: How often the connection is asked for a sign of life, so that a dead one ends a stream. In milliseconds.
_KEEPALIVE_OPTIONS = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    # Pages of a thousand segments are larger than the 4 MiB that gRPC allows by default.
    ("grpc.max_receive_message_length", 64 << 20),
]

_DEFAULT_PORTS = {"": 50051, "http": 80, "https": 443}
_TARGET = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s/:@\[\]]+)(?::(?P<port>\d{1,5}))?/?")


@dataclass(frozen=True)
class Tls:
    """TLS of a connection. Everything in PEM form; without `ca_certificates` those of the machine are trusted."""

    ca_certificates: bytes | None = None
    #: Certificate and key of the client, where the server wants them.
    certificate: bytes | None = None
    private_key: bytes | None = None
    #: The name in the server's certificate, where it is not the host of the address.
    server_name: str | None = None


@dataclass(frozen=True)
class Settings:
    """What all calls of a client have in common. Times are in seconds."""

    target: str
    tls: Tls | None
    token: str | None
    #: Longest that a call may take, beyond the `wait` of its request. Streams have no such limit.
    timeout_s: float
    #: How long a job or a download outlasts a server that is away.
    patience_s: float

    @staticmethod
    def of(address: str, token: str | None, tls: Tls | bool | None, timeout_s: float, patience_s: float) -> Settings:
        """Reads an address: `host:port`, `http://host:port`, or `https://host:port`, which means TLS.

        Without a port it is the scheme's, or that of the service where there is no scheme.
        """
        scheme, separator, target = address.partition("://")
        if not separator:
            scheme, target = "", address
        if scheme not in _DEFAULT_PORTS:
            raise ValueError(f"an address begins with http:// or https:// or has no scheme, not {scheme}://")
        found = _TARGET.fullmatch(target)
        if found is None:
            raise ValueError(f"an address is host:port, http://host:port or https://host:port, not {address!r}")
        if tls is None:
            tls = scheme == "https"
        if tls is True:
            tls = Tls()
        target = f"{found['host']}:{found['port'] or _DEFAULT_PORTS[scheme]}"
        return Settings(target, tls or None, token, timeout_s, patience_s)

    def credentials(self) -> grpc.ChannelCredentials | None:
        """None: without TLS."""
        if self.tls is None:
            return None
        return grpc.ssl_channel_credentials(self.tls.ca_certificates, self.tls.private_key, self.tls.certificate)

    def options(self) -> list[tuple[str, Any]]:
        """Options of the channel."""
        options: list[tuple[str, Any]] = list(_KEEPALIVE_OPTIONS)
        if self.tls is not None and self.tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata of every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def deadline_s(self, request: Message) -> float:
        """The deadline of a call with one answer that has none of its own."""
        wait_s = request.wait.ToTimedelta().total_seconds() if "wait" in request.DESCRIPTOR.fields_by_name else 0.0  # type: ignore[attr-defined]
        return self.timeout_s + max(wait_s, 0.0)
