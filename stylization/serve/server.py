"""The server as a process: its port, its start and its end."""

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from stylization.errors import InputError
from stylization.serve.app import application
from stylization.serve.models import load_models
from stylization.serve.queue import Limits


def serve(models: Sequence[Path], host: str, port: int, device: str, limits: Limits) -> None:
    """Serve the models until the process is interrupted; print the address when ready. Raises `InputError`."""
    with contextlib.suppress(KeyboardInterrupt), listening(host, port) as listener:
        app = application(load_models(models, device), limits)
        name, port = listener.getsockname()[:2]
        print(f"http://{f'[{name}]' if ':' in name else name}:{port}  (Ctrl-C ends it)", flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3)
        uvicorn.Server(config).run(sockets=[listener])


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises `InputError`, before anything slow is done, if the port is taken."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise InputError(f"cannot listen on {host}, port {port}: {error.strerror}; choose another --port") from None
