"""Time limits of a connection that uvicorn has not: for a request's headers, and for a client that stops reading."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

TOO_SLOW = b"the request's headers took too long"


class Protocol(H11Protocol):
    """HTTP/1.1 with a deadline for a request's headers; a connection whose client stops reading is aborted."""

    max_header_seconds = 10.0
    max_stall_seconds = 60.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._header_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in (self._header_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()

    def _watch_headers(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(self.max_header_seconds, self._refuse_headers)

    def _refuse_headers(self) -> None:
        self._header_timer = None
        if self.conn.our_state is not h11.IDLE or self.transport.is_closing():
            return
        headers = [("connection", "close"), ("content-length", str(len(TOO_SLOW)))]
        for event in (
            h11.Response(status_code=408, headers=headers, reason=b"Request Timeout"),
            h11.Data(data=TOO_SLOW),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch_writing(self, left: int) -> None:
        self._stall_timer = self.loop.call_later(self.max_stall_seconds, self._check_writing, left)

    def _check_writing(self, left: int) -> None:
        still_left = self.transport.get_write_buffer_size()
        if still_left >= left:
            self.transport.abort()
        else:
            self._watch_writing(still_left)
