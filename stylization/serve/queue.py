"""What keeps the server within bounds: one stylization at a time, few requests waiting, uploads cut at a limit."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """What the server takes: bytes and seconds of an upload, pixels of its picture, requests waiting or in work."""

    max_bytes: int = 50_000_000
    max_pixels: int = 50_000_000
    max_requests: int = 8
    max_upload_seconds: float = 60.0


class Queue:
    """Work for one thread, and places for the requests that wait for it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.num_requests = 0
        self.seconds = 1.0  # that the last stylization took
        self.worker = ThreadPoolExecutor(1, "stylization")

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place among the requests. Raises 429 if all are taken."""
        if self.num_requests == self.limits.max_requests:
            wait = {"Retry-After": str(math.ceil(self.seconds))}
            raise HTTPException(429, f"{self.num_requests} requests are waiting already: try again later", wait)
        self.num_requests += 1
        try:
            yield
        finally:
            self.num_requests -= 1

    async def result(self, work: Callable[[], T], request: Request) -> T:
        """What the work returns when its turn has come.

        Raises `ClientDisconnect` as soon as nobody waits for it any more; work that has not begun is then left undone.
        """
        working = asyncio.get_running_loop().run_in_executor(self.worker, self._timed, work)
        leaving = asyncio.ensure_future(_disconnect(request))
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise ClientDisconnect
        except asyncio.CancelledError:
            raise HTTPException(503, "the server is stopping") from None
        finally:
            working.cancel()
            leaving.cancel()

    def _timed(self, work: Callable[[], T]) -> T:
        begun = time.perf_counter()
        try:
            return work()
        finally:
            self.seconds = time.perf_counter() - begun

    def check_length(self, request: Request) -> None:
        """Raise 413 if the upload says itself that it is too large."""
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self.limits.max_bytes:
            raise self._too_large()

    def limited(self, receive: Receive) -> Receive:
        """The upload, read no further than its limits: raises 413 for bytes and 408 for seconds."""
        num_bytes, whole = 0, False
        deadline = asyncio.get_running_loop().time() + self.limits.max_upload_seconds

        async def read() -> Message:
            nonlocal num_bytes, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise Cut(408, f"the upload took more than {self.limits.max_upload_seconds:g} seconds") from None
            num_bytes += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if num_bytes > self.limits.max_bytes:
                raise self._too_large()
            return message

        return read

    def _too_large(self) -> "Cut":
        return Cut(413, f"the upload is larger than {self.limits.max_bytes / 1e6:g} MB")


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Cut(HTTPException):
    """An upload that is read no further."""


class CutResponse(JSONResponse):
    """The answer to an upload that is cut, after which the connection is closed.

    Closed at once, what is still on its way would reset it, and the answer might be lost. So a little more is read, and
    forgotten, while the client has time to see the answer and to stop.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*self.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                num_bytes = 0
                while num_bytes < 10_000_000 and (message := await receive()).get("more_body"):
                    num_bytes += len(message["body"])
        await send({"type": "http.response.body", "body": b""})


class QueuedRoute(APIRoute):
    """A route whose requests take a place in the `Queue` before their bodies are read, within its limits."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def queued(request: Request) -> Response:
            queue: Queue = request.app.state.queue
            queue.check_length(request)
            with queue.place():
                return await handle(Request(request.scope, queue.limited(request.receive)))

        return queued
