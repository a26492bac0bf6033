"""The API: photographs come back as asked for and as they came; what is too much, or no picture, is refused."""

import io
import re
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps
from serving import TERMS, Patient, encoded, leave, picture, post, server, write_model, write_several

from stylization import model_file, serve, stylizer
from stylization.serve import Limits, Model
from stylization.serve.models import load_models

SERVE = Path(serve.__file__).parent


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("models")
    written = [
        write_model(folder / f"{number}.safetensors", style, norm, number)
        for number, (style, norm) in enumerate([("my cat", "instance"), ("ink", "batch"), ("ink", "batch")])
    ]
    return load_models(written, "cpu")


@pytest.fixture(scope="module")
def client(models: dict[str, Model]) -> Iterator[httpx.Client]:
    with server(models) as address, httpx.Client(base_url=address, timeout=60) as opened:
        yield opened


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """A model of three styles, another of two, and one of one."""
    folder = tmp_path_factory.mktemp("several")
    written = [
        write_several(folder / "three.safetensors", ["ink", "my cat", "waves"]),
        write_several(folder / "two.safetensors", ["waves", "my_cat"], seed=1),
        write_model(folder / "one.safetensors", "ink"),
    ]
    return load_models([*written, written[0]], "cpu")


@pytest.fixture(scope="module")
def mixing(several: dict[str, Model]) -> Iterator[httpx.Client]:
    with server(several) as address, httpx.Client(base_url=address, timeout=60) as opened:
        yield opened


def decoded(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    return Image.open(io.BytesIO(response.content))


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a.convert("RGB"), float) - np.asarray(b.convert("RGB"), float)).mean())


def test_models_are_named_by_style_and_norm_and_shown_by_a_thumbnail(client: httpx.Client) -> None:
    told = client.get("/models").json()
    assert [model["name"] for model in told] == ["my_cat-instance", "ink-batch", "ink-batch-2"]
    assert told[0]["style"] == "my cat" and told[0]["steps"] == 9 and told[0]["held_out"] == TERMS
    thumbnails = [client.get(f"/models/{model['name']}/thumbnail") for model in told]
    assert all(decoded(thumbnail).size == (288, 288) for thumbnail in thumbnails)
    assert thumbnails[1].content != thumbnails[2].content
    assert client.get("/models/nobody/thumbnail").status_code == 404


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("JPEG", "JPEG"),
        ("PNG", "PNG"),
        ("WEBP", "WEBP"),
        ("TIFF", "PNG"),
        ("GIF", "PNG"),
        ("BMP", "PNG"),
        ("PPM", "PNG"),
    ],
)
def test_the_answer_has_the_size_and_the_format_of_the_upload(client: httpx.Client, sent: str, answered: str) -> None:
    response = post(client, encoded(picture(), sent), "misnamed.txt")
    assert decoded(response).format == answered and decoded(response).size == (64, 48)
    assert response.headers["content-type"] == f"image/{answered.lower()}"
    assert response.headers["cache-control"] == "no-store"


def test_orientation_profile_and_opacity_are_kept_in_full_size_and_in_a_preview(client: httpx.Client) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    turned = encoded(picture((400, 300)), exif=exif, icc_profile=profile)
    cut_out = picture((400, 300))
    cut_out.putalpha(Image.linear_gradient("L").resize(cut_out.size))
    for fields, size in (({}, (300, 400)), ({"size_px": 200}, (150, 200))):
        answer = decoded(post(client, turned, **fields))
        assert answer.size == size and answer.info["icc_profile"] == profile
        assert ExifTags.Base.Orientation not in answer.getexif()
        opacity = decoded(post(client, encoded(cut_out, "PNG"), **fields)).getchannel("A")
        assert np.abs(np.asarray(opacity, float) - np.asarray(cut_out.getchannel("A").resize(opacity.size))).mean() < 1


def test_strength_and_colours_are_those_of_the_stylizer(client: httpx.Client, models: dict[str, Model]) -> None:
    photograph = picture((160, 120))
    sent = encoded(photograph, "PNG")
    assert difference(decoded(post(client, sent, strength=0)), photograph) == 0
    own = models["ink-batch"].stylizer(photograph, strength=0.6, keep_colors="matched", scale=1.5)
    answer = decoded(post(client, sent, strength=0.6, keep_colors="matched", scale=1.5))
    assert difference(answer, own) < 0.5


@pytest.mark.parametrize(
    ("served", "model", "scale", "other_scale"), [("client", "ink-batch", 2.5, 0.8), ("mixing", "ink", 1.2, 2.0)]
)
def test_a_preview_shows_what_the_whole_will_be(
    served: str, model: str, scale: float, other_scale: float, request: pytest.FixtureRequest
) -> None:
    sent = encoded(ImageOps.mirror(picture((900, 600))), quality=95)
    ask = partial(post, request.getfixturevalue(served), sent, model=model)
    whole = decoded(ask(scale=scale))
    small = decoded(ask(scale=scale, size_px=450))
    assert small.size == (450, 300)
    reduced = whole.resize(small.size, Image.Resampling.LANCZOS)
    other = decoded(ask(scale=other_scale, size_px=450))
    assert difference(reduced, small) < 0.5 * difference(reduced, other)


def test_a_model_of_several_styles_is_loaded_once_and_offered_style_by_style(
    mixing: httpx.Client, several: dict[str, Model]
) -> None:
    told = {model["name"]: model for model in mixing.get("/models").json()}
    assert list(told) == ["ink", "my_cat", "waves", "waves-2", "my_cat-2", "ink-instance"]
    assert told["ink"]["mixes_with"] == ["my_cat", "waves"] and told["my_cat-2"]["mixes_with"] == ["waves-2"]
    assert told["ink-instance"]["mixes_with"] == []
    assert [model["held_out"]["total"] for model in told.values()] == [0.0, 1.0, 2.0, 0.0, 1.0, TERMS["total"]]
    assert told["my_cat"]["style"] == "my cat" and told["my_cat"]["number"] == 1 and told["my_cat-2"]["number"] == 2
    assert len({id(model.stylizer.generator) for model in several.values()}) == 3
    thumbnails = {mixing.get(f"/models/{name}/thumbnail").content for name in told}
    assert len(thumbnails) == len(told)


def test_bundled_styles_are_served_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_several(tmp_path / "bundled.safetensors", ["ink", "swirl", "waves"])
    for module in (model_file, stylizer):
        monkeypatch.setattr(module, "BUNDLED", written)
    assert list(load_models([Path("bundled")], "cpu")) == ["ink", "swirl", "waves"]
    chosen = load_models([Path("waves"), Path("ink")], "cpu")
    assert list(chosen) == ["waves", "ink"] and chosen["waves"].stylizer is chosen["ink"].stylizer
    assert chosen["ink"].facts.mixes_with == ["waves"]


def test_a_mixture_is_the_stylizers_whatever_the_shares_add_up_to(
    mixing: httpx.Client, several: dict[str, Model]
) -> None:
    photograph = picture((160, 120))
    ask = partial(post, mixing, encoded(photograph, "PNG"), model="ink", scale=1.2)
    mixed = ask(mix="my_cat=0.25,ink=0.75", strength=0.6, keep_colors="matched")
    style = {"ink": 0.75, "my cat": 0.25}
    look = {"style": style, "strength": 0.6, "keep_colors": "matched", "scale": 1.2}
    own = several["ink"].stylizer(photograph, **look)
    assert difference(decoded(mixed), own) < 0.5
    assert ask(mix=" ink=3, my_cat=1,waves=0", strength=0.6, keep_colors="matched").content == mixed.content
    assert ask(model="ink-instance", mix="ink-instance=1").content == ask(model="ink-instance").content
    assert ask(mix="waves=9").content == ask(model="waves").content != ask(mix="").content == ask().content


def test_strength_is_asked_of_a_generator_that_knows_it_and_none_is_the_photograph(
    mixing: httpx.Client, several: dict[str, Model]
) -> None:
    photograph = picture((160, 120))
    ask = partial(post, mixing, encoded(photograph, "PNG"), model="waves", scale=6.0)
    assert several["waves"].facts.paints_strength and not several["ink-instance"].facts.paints_strength
    assert difference(decoded(ask(strength=0)), photograph) == 0
    assert difference(Image.blend(photograph, decoded(ask()), 0.5), decoded(ask(strength=0.5))) > 2


def test_who_asks_at_the_same_time_gets_what_was_asked_for(several: dict[str, Model]) -> None:
    sent = encoded(picture((160, 120)))
    wishes = [{"model": model, "mix": mix} for model in ("ink", "my_cat") for mix in ("", "ink=1,waves=1", "waves=1")]
    with server(several) as address, httpx.Client(base_url=address, timeout=60) as client:
        with ThreadPoolExecutor(len(wishes)) as others:  # while the thumbnails are painted
            answers = [others.submit(post, client, sent, **wish) for wish in wishes]
        for wish, answer in zip(wishes, answers, strict=True):
            assert answer.result().content == post(client, sent, **wish).content


@pytest.mark.parametrize(
    ("model", "mix", "told"),
    [
        ("ink", "ink=0.5,candy=0.5", "mix: no candy to mix here; there are ink, my_cat, waves"),
        ("ink", "ink=0.5,waves-2=0.5", "mix: no waves-2 to mix here"),
        ("ink-instance", "waves=1", "mix: no waves to mix here; there is ink-instance"),
        ("ink", "ink=1,waves=-0.5", "mix: shares must not be negative"),
        ("ink", "ink=0,waves=0.0", "add up to more than nothing"),
        ("ink", f"ink={'9' * 400}", "mix: shares must"),
        ("ink", "ink=0.5,ink=0.5", "write it as mosaic=0.6,ink=0.4, each style once"),
        *(("ink", mix, "as mosaic=0.6,ink=0.4") for mix in ("ink=", "=1", "ink=nan", "ink=1e9", ",", "ink=1,")),
        ("ink", "ink=1\nwaves=1", "as mosaic=0.6,ink=0.4"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused_in_one_line(mixing: httpx.Client, model: str, mix: str, told: str) -> None:
    response = post(mixing, encoded(picture()), model=model, mix=mix)
    assert response.status_code == 422
    assert told in response.json()["detail"] and "\n" not in response.json()["detail"]


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    size = width.to_bytes(4) + height.to_bytes(4)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + bytes([8, 2, 0, 0, 0])) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize(
    ("content", "fields", "status", "told"),
    [
        (png_header(60000, 60000), {}, 413, "too large"),
        (png_header(8000, 8000), {}, 413, "the upload is 8000 x 8000 pixels: 50 megapixels are the most"),
        (bytes(50_000_001), {}, 413, "larger than 50 MB"),
        (b"no picture", {}, 415, "send one of JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", {}, 415, "not a picture"),
        (b"", {}, 415, "empty"),
        (encoded(picture((640, 480)))[:3000], {}, 422, "damaged"),
        (encoded(picture()), {"model": "nobody"}, 404, "no model nobody; there are my_cat-instance, ink-batch"),
        (encoded(picture()), {"strength": 2}, 422, "strength: "),
        (encoded(picture()), {"scale": 0.1}, 422, "scale: "),
        (encoded(picture()), {"keep_colors": "all"}, 422, "keep_colors: "),
        (encoded(picture()), {"strenght": 1}, 422, "strenght: "),
    ],
)
def test_what_cannot_be_repainted_is_refused_in_one_line(
    client: httpx.Client, content: bytes, fields: dict[str, Any], status: int, told: str
) -> None:
    response = post(client, content, "../../etc/passwd", **fields)
    assert response.status_code == status
    assert told in response.json()["detail"] and "\n" not in response.json()["detail"]


def test_the_name_of_the_upload_means_nothing(client: httpx.Client) -> None:
    answers = [post(client, encoded(picture()), name).content for name in ("../../etc/passwd", "photo.jpg")]
    assert answers[0] == answers[1]
    assert client.post("/stylize", data={"model": "ink-batch", "picture": "/etc/passwd"}).status_code == 422
    assert client.post("/stylize", data={"model": "ink-batch"}).status_code == 422
    assert client.post("/stylize", content=b"no form").status_code == 422


def test_an_upload_without_a_length_is_cut_at_the_limit(models: dict[str, Model]) -> None:
    num_sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal num_sent
        yield b'--x\r\nContent-Disposition: form-data; name="picture"; filename="p"\r\n\r\n'
        while num_sent < 300_000_000:
            num_sent += 65536
            yield bytes(65536)

    with server(models, Limits(max_bytes=1_000_000)) as address:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        response = httpx.post(f"{address}/stylize", content=endless(), headers=headers, timeout=60)
    assert response.status_code == 413 and response.json() == {"detail": "the upload is larger than 1 MB"}
    assert num_sent < 30_000_000  # the buffers of two sockets


def test_an_upload_that_does_not_end_is_given_up(models: dict[str, Model]) -> None:
    with (
        server(models, Limits(max_upload_seconds=0.2)) as address,
        socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])), timeout=10) as connection,
    ):
        connection.sendall(
            b"POST /stylize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")


@pytest.fixture
def patient(models: dict[str, Model]) -> Iterator[tuple[Patient, httpx.Client]]:
    stylizer = Patient()
    waiting = {"ink-batch": Model(stylizer, models["ink-batch"].facts)}  # type: ignore[arg-type]
    with server(waiting, Limits(max_requests=2)) as address, httpx.Client(base_url=address, timeout=10) as opened:
        yield stylizer, opened
        stylizer.may_end.set()


def until(condition: Any) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come to pass")


def test_one_is_repainted_at_a_time_and_who_comes_to_a_full_queue_is_told_when_to_come_again(
    patient: tuple[Patient, httpx.Client],
) -> None:
    stylizer, client = patient
    with ThreadPoolExecutor(2) as others:
        first = others.submit(post, client, encoded(picture()))
        until(lambda: stylizer.num_begun == 1)
        second = others.submit(post, client, encoded(picture()))
        time.sleep(0.2)
        refused = post(client, encoded(picture()))
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        assert "try again later" in refused.json()["detail"] and stylizer.num_begun == 1
        stylizer.may_end.set()
        assert first.result().status_code == second.result().status_code == 200
    assert post(client, encoded(picture())).status_code == 200


def test_who_leaves_the_queue_gives_up_the_place_and_the_work(patient: tuple[Patient, httpx.Client]) -> None:
    stylizer, client = patient
    with ThreadPoolExecutor(1) as other:
        first = other.submit(post, client, encoded(picture()))
        until(lambda: stylizer.num_begun == 1)
        for _ in range(5):  # none of them finds the queue full
            leave(client.base_url, 0.2)
            time.sleep(0.1)
        stylizer.may_end.set()
        assert first.result().status_code == 200
    assert post(client, encoded(picture())).status_code == 200 and stylizer.num_begun == 2


def test_the_description_tells_the_limits_and_no_page_loads_anything_from_elsewhere(client: httpx.Client) -> None:
    description = client.get("/openapi.json").json()
    assert "50 MB and 50 megapixels" in description["info"]["description"]
    answers = description["paths"]["/stylize"]["post"]["responses"]
    assert "50 MB" in answers["413"]["description"] and "8 requests" in answers["429"]["description"]
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    for text in (
        page.text,
        *(file.read_text() for file in SERVE.rglob("*.*") if file.suffix in (".html", ".css", ".js")),
    ):
        assert "://" not in text and not re.search(r"""["'(=]\s*//""", text)
