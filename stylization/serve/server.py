"""The server as a process: its port, its start and its end."""

import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from stylization.errors import InputError
from stylization.serve.app import application
from stylization.serve.models import load_models
from stylization.serve.protocol import Protocol
from stylization.serve.queue import Limits


def serve(
    models: Sequence[Path], host: str, port: int, device: str, limits: Limits, allowed_hosts: Sequence[str] = ()
) -> None:
    """Serve the models until the process is interrupted; print the address when ready. Raises `InputError`."""
    with contextlib.suppress(KeyboardInterrupt), listening(host, port) as listener:
        app = application(load_models(models, device), limits, [host, *allowed_hosts])
        name, port = listener.getsockname()[:2]
        print(f"http://{f'[{name}]' if ':' in name else name}:{port}  (Ctrl-C ends it)", flush=True)
        _Server(configured(app, limits)).run(sockets=[listener])


def configured(app: FastAPI, limits: Limits) -> uvicorn.Config:
    """Settings of uvicorn for the application, with the limits of its connections."""

    class Limited(Protocol):
        max_header_seconds = limits.max_header_seconds

    return uvicorn.Config(app, http=Limited, ws="none", lifespan="off", log_level="warning", access_log=False)


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the process at once: nothing of it is kept, and a stylization in work could only be waited for."""
        os._exit(0 if sig == signal.SIGINT else 128 + sig)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises `InputError`, before anything slow is done, if the port is taken."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise InputError(f"cannot listen on {host}, port {port}: {error.strerror}; choose another --port") from None
