"""Limits of the server: one stylization at a time, few requests waiting, uploads cut at limits of bytes and time."""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive
from torch import nn

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """Limits of requests: bytes, pixels, seconds of the headers, of the upload, and from then on of waiting and work;
    requests waiting or in work, and uploads under way for each of them."""

    max_bytes: int = 50_000_000
    max_pixels: int = 50_000_000
    max_requests: int = 8
    max_header_seconds: float = 10.0
    max_upload_seconds: float = 60.0
    max_seconds: float = 60.0
    uploads_per_request: int = 4


@dataclass
class _Upload:
    """A body that is being received."""

    begun: float
    num_bytes: int = 0
    is_cut: asyncio.Event = field(default_factory=asyncio.Event)

    def rank(self, now: float) -> tuple[bool, float]:
        """Key that sorts slow uploads first, and those that have hardly begun last."""
        seconds = now - self.begun
        return seconds < 1, self.num_bytes / max(seconds, 1e-9)


class Stopped(Exception):
    """Raised inside work that nobody waits for any longer."""


class Stop:
    """A request to stop work in another thread, obeyed at the next layer of a network or the next `check`."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def check(self) -> None:
        """Raise `Stopped` if it is requested."""
        if self._event.is_set():
            raise Stopped

    @contextlib.contextmanager
    def at_layers(self) -> Iterator[None]:
        """Inside, every module called by this thread checks first."""
        thread = threading.get_ident()

        def check(module: nn.Module, inputs: Any) -> None:
            if threading.get_ident() == thread:
                self.check()

        hook = nn.modules.module.register_module_forward_pre_hook(check)
        try:
            yield
        finally:
            hook.remove()


class Queue:
    """Work for one thread, and places for the requests that wait for it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.num_requests = 0
        self.uploads: list[_Upload] = []
        self.seconds = 1.0  # that the last stylization took
        self.worker = ThreadPoolExecutor(1, "stylization")

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place among the requests. Raises 429 if all are taken."""
        self.check_places()
        self.num_requests += 1
        try:
            yield
        finally:
            self.num_requests -= 1

    def check_places(self) -> None:
        """Raise 429 if all places are taken."""
        if self.num_requests >= self.limits.max_requests:
            raise self._busy(429, f"{self.num_requests} requests are waiting already")

    async def result(self, work: Callable[[Stop], T], request: Request) -> T:
        """Run the work when its turn has come, and return its result.

        Raises 503 at the deadline, and `ClientDisconnect` if the client disconnects. The work is then stopped, or not
        begun.
        """
        stop = Stop()
        working = asyncio.get_running_loop().run_in_executor(self.worker, self._timed, work, stop)
        leaving = asyncio.ensure_future(_disconnect(request))
        seconds = self.limits.max_seconds
        try:
            done, _ = await asyncio.wait((working, leaving), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if working in done:
                return working.result()
            if not done:
                raise self._busy(503, f"not painted within {seconds:g} seconds")
            raise ClientDisconnect
        except asyncio.CancelledError:
            raise HTTPException(503, "the server is stopping") from None
        finally:
            stop.set()
            working.cancel()
            leaving.cancel()

    def _busy(self, status: int, reason: str) -> HTTPException:
        wait = {"Retry-After": str(math.ceil(self.seconds))}
        return HTTPException(status, f"{reason}: try again later", wait)

    def _timed(self, work: Callable[[Stop], T], stop: Stop) -> T:
        begun = time.perf_counter()
        try:
            with stop.at_layers():
                return work(stop)
        finally:
            self.seconds = time.perf_counter() - begun

    @contextlib.contextmanager
    def upload(self) -> Iterator[_Upload]:
        """Room for a body to be received. If there is none, the slowest upload is cut to make some."""
        now = asyncio.get_running_loop().time()
        if len(self.uploads) >= self.limits.max_requests * self.limits.uploads_per_request:
            slowest = min(self.uploads, key=lambda upload: upload.rank(now))
            slowest.is_cut.set()
            self.uploads.remove(slowest)
        own = _Upload(now)
        self.uploads.append(own)
        try:
            yield own
        finally:
            self.forget(own)

    def forget(self, upload: _Upload) -> None:
        """Give the room back that is still held."""
        if upload in self.uploads:
            self.uploads.remove(upload)

    def check_length(self, request: Request) -> None:
        """Raise 413 if the upload says itself that it is too large."""
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self.limits.max_bytes:
            raise self._too_large()

    def limited(self, receive: Receive, upload: _Upload) -> Receive:
        """The upload, read no further than its limits: raises 413 for bytes and 408 for seconds."""
        whole = False
        deadline = upload.begun + self.limits.max_upload_seconds

        async def read() -> Message:
            nonlocal whole
            if whole:
                return await receive()
            message = await _before(deadline, upload.is_cut, receive)
            if message is None:
                seconds = f"{self.limits.max_upload_seconds:g} seconds"
                reason = "too slow among many" if upload.is_cut.is_set() else f"not complete after {seconds}"
                raise HTTPException(408, f"the upload is {reason}")
            upload.num_bytes += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if upload.num_bytes > self.limits.max_bytes:
                raise self._too_large()
            if whole:
                self.forget(upload)
            return message

        return read

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the upload is larger than {self.limits.max_bytes / 1e6:g} MB")


async def _before(deadline: float, cut: asyncio.Event, receive: Receive) -> Message | None:
    """Return the next message; None if the deadline or the cut comes first."""
    message = asyncio.ensure_future(receive())
    cutting = asyncio.ensure_future(cut.wait())
    left = deadline - asyncio.get_running_loop().time()
    try:
        await asyncio.wait((message, cutting), timeout=max(0, left), return_when=asyncio.FIRST_COMPLETED)
        return message.result() if message.done() and not cut.is_set() else None
    finally:
        message.cancel()
        cutting.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class QueuedRoute(APIRoute):
    """A route whose bodies are received within the limits of the `Queue`, and not at all while it is full.

    A request takes its place only when its body is there: slow ones keep no others out.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def queued(request: Request) -> Response:
            queue: Queue = request.app.state.queue
            queue.check_length(request)
            queue.check_places()
            with queue.upload() as upload:
                return await handle(Request(request.scope, queue.limited(request.receive, upload)))

        return queued
