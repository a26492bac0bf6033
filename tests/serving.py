"""A server of tiny models on a free port, for the tests of its API and of its page."""

import io
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
import uvicorn
from conftest import ARCHITECTURE
from PIL import Image

from stylization import generators, model_file, normalization
from stylization.serve import Limits, Model, application, configured, listening
from stylization.serve.models import THUMBNAIL_PX

TERMS = {"content": 0.5, "style": 0.01, "tv": 0.05, "total": 0.8}


def write_model(path: Path, style: str, norm: str = "instance", seed: int = 0) -> Path:
    torch.manual_seed(seed)
    generator = generators.Johnson(normalization.Norm, width=4, num_blocks=1)
    model_file.write(path, generator, ARCHITECTURE, {"style": style, "norm": norm, "steps": 9, "val": TERMS})
    return path


def write_several(path: Path, styles: list[str], seed: int = 0) -> Path:
    torch.manual_seed(seed)
    norm = partial(normalization.Conditional, num_styles=len(styles))
    generator = generators.Johnson(norm, width=4, num_blocks=1)
    for each in normalization.norms(generator):
        assert isinstance(each, normalization.Conditional)
        for table in (each.gamma, each.beta):
            table.data += torch.randn_like(table)
    architecture = ARCHITECTURE | {
        "norm": {"_target_": "stylization.normalization.Conditional", "num_styles": len(styles)}
    }
    by_style = {style: TERMS | {"total": float(number)} for number, style in enumerate(styles)}
    facts = {"style": "all", "norm": "conditional", "styles": styles, "val": TERMS, "val_by_style": by_style}
    model_file.write(path, generator, architecture, facts)
    return path


@contextmanager
def server(
    models: Mapping[str, Model], limits: Limits | None = None, allowed_hosts: Sequence[str] = ()
) -> Iterator[str]:
    """The address of a server in a thread."""
    with listening("127.0.0.1", 0) as listener:
        app = application(models, limits or Limits(), allowed_hosts)
        settings = configured(app, limits or Limits())
        settings.timeout_graceful_shutdown = 1
        running = uvicorn.Server(settings)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        running.should_exit = True
        thread.join()


def picture(size: tuple[int, int] = (64, 48)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, image_format: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def post(client: httpx.Client, content: bytes, name: str = "photo.jpg", **fields: Any) -> httpx.Response:
    return client.post("/stylize", data={"model": "ink-batch"} | fields, files={"picture": (name, content)})


def leave(address: object, read_s: float) -> None:
    """Post a photograph and hang up after so many seconds without an answer."""
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{address}/stylize",
            data={"model": "ink-batch"},
            files={"picture": encoded(picture())},
            timeout=httpx.Timeout(10, read=read_s),
        )


class Patient:
    """A stylizer that works until it may end, and counts what it has begun. Thumbnails it does at once."""

    def __init__(self) -> None:
        self.may_end, self.num_begun = threading.Event(), 0

    def __call__(self, image: Image.Image, **options: Any) -> Image.Image:
        if image.size == (THUMBNAIL_PX, THUMBNAIL_PX):
            return image
        self.num_begun += 1
        assert self.may_end.wait(10)
        return image
