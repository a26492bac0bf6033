"""serve: trained models on a page."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from stylization.errors import InputError

if TYPE_CHECKING:
    from stylization.cli import Commands


def add(commands: Commands) -> None:
    """Add it to the parser."""
    command = commands.add_parser("serve", help="a local page, and an HTTP API, for trained models")
    command.add_argument(
        "models",
        metavar="MODEL",
        type=Path,
        nargs="*",
        default=[Path("bundled")],
        help="run folders, model files, names of bundled styles (the model of all bundled styles)",
    )
    command.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1: this machine alone)")
    command.add_argument("--port", type=int, default=8000, help="(8000; 0 takes a free one)")
    command.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (cpu)")
    command.add_argument("--max-mb", type=int, default=50, help="megabytes of an upload (50)")
    command.add_argument("--max-megapixels", type=int, default=50, help="of its picture (50)")
    command.add_argument("--max-requests", type=int, default=8, help="waiting or in work at a time (8)")
    command.add_argument(
        "--max-seconds", type=int, default=60, help="seconds that a photograph may wait and be painted (default: 60)"
    )
    command.add_argument(
        "--allowed-host",
        metavar="NAME",
        action="append",
        default=[],
        help="another name that browsers may use for this server, e.g. paint.example.org behind a proxy; repeatable "
        "(default: the address of the connection, localhost on this machine, --host)",
    )
    command.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> None:
    needed = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
    if missing := [package for module, package in needed.items() if find_spec(module) is None]:
        raise InputError(f"serve needs {', '.join(missing)}: pip install 'stylization[serve]'")
    for name in ("max_mb", "max_megapixels", "max_requests", "max_seconds"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} must be 1 at least")
    if not 0 <= options.port <= 65535:
        raise InputError(f"--port {options.port}: must be from 0 to 65535")
    from stylization.serve import Limits, serve

    limits = Limits(
        max_bytes=options.max_mb * 1_000_000,
        max_pixels=options.max_megapixels * 1_000_000,
        max_requests=options.max_requests,
        max_seconds=options.max_seconds,
    )
    serve(options.models, options.host, options.port, options.device, limits, options.allowed_host)
