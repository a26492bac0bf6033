"""ASGI middleware in front of every route: which hosts and pages may ask, and answers that arrive."""

import asyncio
import contextlib
import ipaddress
from collections.abc import Collection

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
LEAST_SECONDS = 1.0  # for a client that has used up its time to see the answer and to stop sending


class HostCheck:
    """Reject requests under another name than the server's (DNS rebinding), or from another site's page (CSRF).

    The server's names are the address that the connection came in at, `allowed_hosts`, and on the loopback interface
    `localhost`.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str]) -> None:
        self.app = app
        self.allowed_hosts = {_canonical(host) for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        complaint = self._complaint(scope) if scope["type"] == "http" else None
        if complaint is None:
            return await self.app(scope, receive, send)
        await JSONResponse({"detail": complaint}, 403)(scope, receive, send)

    def _complaint(self, scope: Scope) -> str | None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        host = hosts[0] if len(hosts) == 1 else ""
        name = _canonical(_name(host))
        if not name or name not in self.allowed_hosts | _addresses(scope):
            return f"Host={host[:200]!r}: not a name of this server; start it with --allowed-host NAME"
        for origin in origins:
            scheme, separator, rest = origin.lower().partition("://")
            if not separator or _with_port(rest, scheme) != _with_port(host.lower(), scheme):
                return f"Origin={origin[:200]!r}: pages of other sites may not use this server"
        return None


def _name(host: str) -> str:
    """The name in a Host header, without its port and the brackets of an IPv6 address."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _canonical(name: str) -> str:
    name = name.strip("[]").lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _with_port(host: str, scheme: str) -> str:
    return host.removesuffix({"http": ":80", "https": ":443"}.get(scheme, ""))


def _addresses(scope: Scope) -> frozenset[str]:
    """The address of the server's end of the connection, and what else it is called."""
    if not scope.get("server"):
        return frozenset()
    own = _canonical(scope["server"][0].partition("%")[0])
    return LOOPBACK | {own} if own in LOOPBACK or own.startswith("127.") else frozenset({own})


class LingeringClose:
    """Read what a client is still sending after its answer, before the connection is closed.

    Closed at once, the bytes on their way would reset the connection, and most clients would see an error instead of
    the answer. Bounded by `max_bytes`, and by `max_seconds` from the beginning of the request.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_seconds: float) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.max_seconds = max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        whole = not any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
        time = asyncio.get_running_loop().time
        deadline = time() + self.max_seconds

        async def read() -> Message:
            nonlocal whole
            message = await receive()
            whole = whole or not message.get("more_body", False)
            return message

        async def answer(message: Message) -> None:
            if whole:
                return await send(message)
            if message["type"] == "http.response.start":
                return await send({**message, "headers": [*message["headers"], (b"connection", b"close")]})
            if message.get("more_body", False):
                return await send(message)
            await send({**message, "more_body": True})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(max(deadline, time() + LEAST_SECONDS)):
                    num_bytes = 0
                    while num_bytes < self.max_bytes and not whole:
                        num_bytes += len((await read()).get("body", b""))
            await send({"type": "http.response.body", "body": b""})

        await self.app(scope, read, answer)
