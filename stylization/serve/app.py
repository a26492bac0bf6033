"""The page and the API: what can be asked for, and how it is refused."""

import asyncio
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Form, HTTPException, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader, select_autoescape
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from stylization import images
from stylization.blending import KeepColors
from stylization.conditions import Mixture
from stylization.errors import Damaged, InputError
from stylization.serve.guard import HostCheck, LingeringClose
from stylization.serve.models import LEAST_SCALE, Facts, Model, mixture, sample
from stylization.serve.queue import Limits, Queue, QueuedRoute, Stop

FOLDER = Path(__file__).parent
ONLY_FROM_HERE = (  # what the page may load: nothing of any other server
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Wish(BaseModel, extra="forbid"):
    """What is to be repainted, and how."""

    picture: UploadFile = Field(description="The photograph. Its file name is ignored.")
    model: str = Field(description="A name from `/models`, or a style as on the command line.")
    mix: str | None = Field(
        None,
        description="One style or weights of several of the model's, written as `--style` on the command line. They "
        "need not add up to 1; a style without a number has weight 1.",
        examples=["mosaic=0.6,ink=0.4"],
    )
    strength: float = Field(1.0, ge=0, le=1, description="From the photograph, 0, to its stylization, 1.")
    keep_colors: KeepColors | None = Field(
        None, description="Give the photograph's colours back: all but their luminance, or their mean and covariance."
    )
    scale: float = Field(
        1.0,
        ge=LEAST_SCALE,
        le=10,
        description="Stroke size multiplier. At 1, strokes are as large as in a picture whose long side has 768 px, "
        "whatever the size of the photograph.",
    )
    size_px: int | None = Field(None, ge=16, description="Long side of the answer, for a preview (as it was).")


class Refusal(BaseModel):
    """Why a request was refused, in one line."""

    detail: str


class Static(StaticFiles):
    """The page's files, which a browser asks for anew: another version may have been installed."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def application(models: Mapping[str, Model], limits: Limits, allowed_hosts: Collection[str] = ()) -> FastAPI:
    """The page at `/`, the API beside it, and its description at `/openapi.json`.

    Requests are answered under the address of the server and the names in `allowed_hosts`.
    """
    app = FastAPI(
        title="stylization",
        description=f"Trained generators repaint photographs. An upload may have {limits.max_bytes / 1e6:g} MB and "
        f"{limits.max_pixels / 1e6:g} megapixels. One photograph is repainted at a time, and {limits.max_requests} "
        "requests may be waiting or in work. What is refused is told in one line, as `detail`. Nothing is kept.",
        docs_url=None,  # FastAPI's pages for people load their scripts from elsewhere
        redoc_url=None,
    )
    app.state.queue = Queue(limits)
    app.add_middleware(HostCheck, allowed_hosts=allowed_hosts)
    app.add_middleware(LingeringClose, max_bytes=2 * limits.max_bytes, max_seconds=limits.max_upload_seconds)
    _add_health(app)
    _add_page(app, models, limits)
    _add_models(app, models)
    _add_stylize(app, models, limits)
    app.add_exception_handler(RequestValidationError, _refuse_values)
    app.add_exception_handler(Damaged, _refuse_picture)
    app.add_exception_handler(ClientDisconnect, lambda request, error: Response(status_code=499))
    return app


def _refuse_values(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    told = "; ".join(f"{wrong['loc'][-1]}: {wrong['msg']}" for wrong in error.errors())
    return JSONResponse({"detail": told}, 422)


def _refuse_picture(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Damaged)
    status = {"too large": 413, "not a picture": 415, "empty": 415}.get(error.reason, 422)
    wanted = f": send one of {', '.join(images.UPLOAD_FORMATS)}" if status == 415 else ""
    return JSONResponse({"detail": f"{error}{wanted}"}, status)


class Health(BaseModel):
    """State of the server."""

    status: str = Field(description="`ok`, whenever the server answers.")
    num_requests: int = Field(description="How many photographs are waiting or in work.")


def _add_health(app: FastAPI) -> None:
    queue: Queue = app.state.queue

    @app.get("/health")
    async def health() -> Health:
        """Whether the server answers, and how busy it is. Never waits for a photograph."""
        return Health(status="ok", num_requests=queue.num_requests)


def _add_page(app: FastAPI, models: Mapping[str, Model], limits: Limits) -> None:
    template = Environment(
        loader=PackageLoader("stylization.serve", "."),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html")
    facts = [model.facts for model in models.values()]
    page = template.render(models=facts, limits=limits, formats=images.UPLOAD_FORMATS)
    photograph = images.encoded(sample(), "JPEG")

    @app.get("/", include_in_schema=False)
    def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": ONLY_FROM_HERE})

    app.mount("/static", Static(directory=FOLDER / "static"))

    @app.get("/sample.jpg", include_in_schema=False)
    def sample_photograph() -> Response:
        return Response(photograph, media_type="image/jpeg")


def _add_models(app: FastAPI, models: Mapping[str, Model]) -> None:
    # In the photographs' thread, for a generator knows one wish at a time; the server need not wait for them.
    worker = app.state.queue.worker
    thumbnails = {name: worker.submit(model.thumbnail) for name, model in models.items()}

    @app.get("/models")
    def list_models() -> list[Facts]:
        """The models, in the order they were named."""
        return [model.facts for model in models.values()]

    @app.get(
        "/models/{name}/thumbnail",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}, 404: {"model": Refusal, "description": "No such model"}},
    )
    async def thumbnail(name: str) -> Response:
        """What a model makes of a sample photograph: a small square JPEG."""
        _known(models, name)
        content = await asyncio.shield(asyncio.wrap_future(thumbnails[name]))  # others may wait for it, too
        return Response(content, media_type="image/jpeg")


def _named(models: Mapping[str, Model], name: str) -> Model:
    """The model of this name, or the first of this style, which is its name on the command line."""
    return next(
        (model for model in models.values() if name not in models and model.facts.style == name), None
    ) or _known(models, name)


def _known(models: Mapping[str, Model], name: str) -> Model:
    if name not in models:
        raise HTTPException(404, f"no model {name}; there are {', '.join(models)}")
    return models[name]


def _add_stylize(app: FastAPI, models: Mapping[str, Model], limits: Limits) -> None:
    queue: Queue = app.state.queue
    refusals = {
        400: "No form that can be read",
        404: "No such model",
        403: "Another name than the server's in Host, or a page of another site in Origin",
        408: f"The upload took more than {limits.max_upload_seconds:g} seconds, or was the slowest of many",
        413: f"More than {limits.max_bytes / 1e6:g} MB, or more than {limits.max_pixels / 1e6:g} megapixels",
        415: f"No picture, or none of {', '.join(images.UPLOAD_FORMATS)}",
        422: "A damaged picture, a value out of its range, or a mixture that cannot be",
        429: f"{limits.max_requests} requests are waiting already; Retry-After says how many seconds to wait",
        503: f"Not painted within {limits.max_seconds:g} seconds",
    }

    async def stylize(request: Request, wish: Annotated[Wish, Form(media_type="multipart/form-data")]) -> Response:
        """Repaint a photograph.

        The answer is JPEG, PNG or WebP as the upload was, PNG for other formats; upright, with the photograph's EXIF,
        colour profile and opacity.
        """
        model = _named(models, wish.model)
        style = _mixture(models, model, wish.mix) if wish.mix else None
        images.check_upload(await wish.picture.read(images.HEAD_BYTES))
        await wish.picture.seek(0)
        with queue.place():
            work = partial(_repainted, wish, model, style, limits.max_pixels)
            media_type, content = await queue.result(work, request)
        return Response(content, media_type=media_type, headers={"Cache-Control": "no-store"})

    app.router.add_api_route(
        "/stylize",
        stylize,
        methods=["POST"],
        route_class_override=QueuedRoute,
        response_class=Response,
        responses={
            200: {"content": {f"image/{kind}": {} for kind in ("jpeg", "png", "webp")}, "description": "The picture"},
            **{status: {"model": Refusal, "description": told} for status, told in refusals.items()},
        },
    )


def _mixture(models: Mapping[str, Model], model: Model, mix: str) -> Mixture:
    try:
        return mixture(models, model, mix)
    except InputError as error:
        raise HTTPException(422, f"mix: {error}") from None


def _repainted(wish: Wish, model: Model, style: Mixture | None, max_pixels: int, stop: Stop) -> tuple[str, bytes]:
    """The media type and the content of the answer."""
    stop.check()
    upload = images.read_upload(wish.picture.file.read(), max_pixels, wish.size_px)
    stop.check()
    return upload.media_type, model.repainted(upload, wish.strength, wish.keep_colors, wish.scale, style)
