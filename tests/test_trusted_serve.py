"""Hostile and slow clients of the server are rejected, each in its own time, and keep nobody else waiting."""

import contextlib
import io
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from serving import Patient, encoded, leave, picture, post, server, write_model, write_several
from torch import Tensor, nn

from stylization.serve import Limits, Model
from stylization.serve.models import THUMBNAIL_PX, load_models

FORM = b"Content-Type: multipart/form-data; boundary=x\r\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = write_model(tmp_path_factory.mktemp("model") / "ink.safetensors", "ink", "batch")
    return load_models([path], "cpu")["ink-batch"]


@pytest.fixture(scope="module")
def client(model: Model) -> Iterator[httpx.Client]:
    with (
        server({"ink-batch": model}, allowed_hosts=["Paint.Example.org"]) as address,
        httpx.Client(base_url=address, timeout=30) as opened,
    ):
        yield opened


def connection(address: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(str(address).rstrip("/").rsplit(":", 1)[1])), timeout=30)


def received(opened: socket.socket) -> bytes:
    """All that the server sends until it closes the connection."""
    return b"".join(iter(lambda: opened.recv(65536), b""))


def until(condition: Any) -> None:
    waiting = threading.Event()
    for _ in range(1500):
        if condition():
            return
        waiting.wait(0.02)
    raise AssertionError("condition not met")


def many_scans(num_scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    jpeg = encoded(picture((640, 480)), "JPEG", progressive=True, quality=30)
    start = jpeg.rindex(b"\xff\xda")
    return jpeg[:start] + (num_scans - jpeg[:start].count(b"\xff\xda")) * jpeg[start:-2] + jpeg[-2:]


def test_a_jpeg_of_many_scans_is_rejected_undecoded_and_one_of_few_is_painted(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert post(client, many_scans(20)).status_code == 200
    decoded: list[Image.Image] = []
    monkeypatch.setattr(Image.Image, "draft", lambda image, *_: decoded.append(image))
    response = post(client, many_scans(3000), size_px=100)
    assert response.status_code == 422 and "scans" in response.json()["detail"] and decoded == []


@pytest.mark.parametrize("size_px", [None, 60])
def test_a_jpeg_that_lost_pixels_is_not_painted(client: httpx.Client, size_px: int | None) -> None:
    whole = encoded(picture((160, 120)), "JPEG", quality=90)
    half = len(whole) // 2
    fields = {} if size_px is None else {"size_px": size_px}
    response = post(client, whole[:half] + bytes(200) + whole[half + 200 :], **fields)
    assert response.status_code == 422 and "damaged" in response.json()["detail"]
    assert post(client, whole + b"after the picture", **fields).status_code == 200


class Endless(nn.Module):
    """A network that never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.num_layers = nn.Identity(), 0

    def forward(self, x: Tensor) -> Tensor:
        while True:
            x = self.layer(x)
            self.num_layers += 1


class Endlessly:
    """A stylizer that never ends the first photograph, and the others at once."""

    def __init__(self) -> None:
        self.network, self.num_begun = Endless(), 0

    def __call__(self, image: Image.Image, **options: Any) -> Image.Image:
        if image.size != (THUMBNAIL_PX, THUMBNAIL_PX):
            self.num_begun += 1
            if self.num_begun == 1:
                self.network(torch.zeros(1))
        return image


def test_work_stops_at_the_deadline_and_the_next_request_is_answered(model: Model) -> None:
    stylizer = Endlessly()
    served = {"ink-batch": Model(stylizer, model.facts)}  # type: ignore[arg-type]
    with server(served, Limits(max_seconds=1)) as address, httpx.Client(base_url=address, timeout=30) as client:
        late = post(client, encoded(picture()))
        assert late.status_code == 503 and "within 1 seconds" in late.json()["detail"] and "retry-after" in late.headers
        assert post(client, encoded(picture())).status_code == 200
        assert stylizer.network.num_layers > 0


def test_work_stops_when_its_client_leaves(model: Model) -> None:
    stylizer = Endlessly()
    served = {"ink-batch": Model(stylizer, model.facts)}  # type: ignore[arg-type]
    with server(served) as address, httpx.Client(base_url=address, timeout=30) as client:
        leave(address, 0.5)
        assert post(client, encoded(picture())).status_code == 200 and stylizer.num_begun == 2
        assert client.get("/health").json()["num_requests"] == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},
        {"Host": "attacker.example:{port}"},
        {"Host": "127.0.0.1.attacker.example:{port}"},
        {"Host": "localhost@attacker.example"},
        {"Host": "10.1.2.3:{port}"},
        {"Host": ""},
        {"Origin": "http://attacker.example"},
        {"Origin": "http://attacker.example:{port}"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:{port}"},
        {"Origin": "null"},
        {"Host": "paint.example.org", "Origin": "https://attacker.example"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/stylize"])
def test_other_hosts_and_pages_of_other_sites_are_rejected(
    client: httpx.Client, headers: dict[str, str], path: str
) -> None:
    sent = {name: value.replace("{port}", str(client.base_url.port)) for name, value in headers.items()}
    form: dict[str, Any] = {"data": {"model": "ink-batch"}, "files": {"picture": encoded(picture())}}
    response = client.get("/", headers=sent) if path == "/" else client.post(path, headers=sent, **form)
    assert response.status_code == 403 and list(response.json()) == ["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost"},
        {"Host": "LOCALHOST.:{port}"},
        {"Host": "[::1]:{port}"},
        {"Origin": "http://127.0.0.1:{port}"},
        {"Host": "paint.example.org", "Origin": "https://paint.example.org"},
        {"Host": "paint.example.org:443", "Origin": "https://paint.example.org"},
    ],
)
def test_the_servers_own_names_and_its_own_page_are_served(client: httpx.Client, headers: dict[str, str]) -> None:
    sent = {name: value.replace("{port}", str(client.base_url.port)) for name, value in headers.items()}
    form: dict[str, Any] = {"data": {"model": "ink-batch"}, "files": {"picture": encoded(picture())}}
    assert client.post("/stylize", headers=sent, **form).status_code == 200


@pytest.mark.parametrize(
    ("before", "begun"),
    [
        (b"", b""),
        (b"", b"GET / HTTP/1.1\r\nHost: loc"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.1\r\nHost: loc"),
    ],
)
def test_headers_that_do_not_end_are_given_up(model: Model, before: bytes, begun: bytes) -> None:
    with (
        server({"ink-batch": model}, Limits(max_header_seconds=0.3)) as address,
        connection(address) as opened,
    ):
        opened.sendall(before)
        answer = b""
        while before and b'"ok"' not in answer:
            answer += opened.recv(65536)
        opened.sendall(begun)
        answer = received(opened)
        assert answer.startswith(b"HTTP/1.1 408 ") and b"connection: close" in answer.lower()


def test_dripping_headers_and_bodies_are_given_up(model: Model) -> None:
    bodies = b"POST /stylize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n" + FORM + b"\r\n"
    bodies += b'--x\r\nContent-Disposition: form-data; name="picture"; filename="p"\r\n\r\n'
    with server({"ink-batch": model}, Limits(max_header_seconds=0.5, max_upload_seconds=0.5)) as address:
        for begun in (b"GET / HTTP/1.1\r\nX: ", bodies):
            with connection(address) as opened:
                opened.sendall(begun)
                ended = threading.Event()

                def drip(opened: socket.socket = opened, ended: threading.Event = ended) -> None:
                    with contextlib.suppress(OSError):
                        while not ended.wait(0.05):
                            opened.sendall(b"x")

                with ThreadPoolExecutor(1) as other:
                    other.submit(drip)
                    answer = opened.recv(65536)
                    ended.set()
                assert answer.startswith(b"HTTP/1.1 408 ")


def test_slow_bodies_take_no_place_and_the_slowest_make_room(model: Model) -> None:
    limits = Limits(max_requests=1, uploads_per_request=3)
    begun = b"POST /stylize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n" + FORM + b"\r\n--x"
    with (
        server({"ink-batch": model}, limits) as address,
        httpx.Client(base_url=address, timeout=30) as client,
        contextlib.ExitStack() as stack,
    ):
        slow = [stack.enter_context(connection(address)) for _ in range(5)]
        for opened in slow:
            opened.sendall(begun)
        assert post(client, encoded(picture())).status_code == 200
        assert sum(received_now(opened).startswith(b"HTTP/1.1 408 ") for opened in slow) >= 2


def received_now(opened: socket.socket) -> bytes:
    opened.settimeout(1)
    with contextlib.suppress(TimeoutError):
        return opened.recv(65536)
    return b""


@contextlib.contextmanager
def busy(model: Model, max_requests: int) -> Iterator[tuple[str, httpx.Client, Future[httpx.Response], Patient]]:
    """A server whose worker holds a first photograph until the stylizer may end: address, client, its answer."""
    stylizer = Patient()
    served = {"ink-batch": Model(stylizer, model.facts)}  # type: ignore[arg-type]
    with (
        server(served, Limits(max_requests=max_requests)) as address,
        httpx.Client(base_url=address, timeout=30) as client,
        ThreadPoolExecutor(1) as other,
    ):
        first = other.submit(post, client, encoded(picture()))
        until(lambda: stylizer.num_begun == 1)
        yield address, client, first, stylizer


def test_429_reaches_clients_that_send_their_whole_body_first(model: Model) -> None:
    with busy(model, max_requests=1) as (address, client, first, stylizer):
        request = urllib.request.Request(f"{address}/stylize", bytes(40_000_000))  # sends Connection: close
        request.add_header("Content-Type", "multipart/form-data; boundary=x")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        assert refused.value.code == 429 and b"try again later" in refused.value.read()
        with connection(address) as opened:  # as curl asks before it sends
            opened.sendall(
                b"POST /stylize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\nExpect: 100-continue\r\n"
                + FORM
                + b"\r\n"
            )
            assert opened.recv(65536).startswith(b"HTTP/1.1 429 ")
        assert client.get("/health").json() == {"status": "ok", "num_requests": 1}
        stylizer.may_end.set()
        assert first.result().status_code == 200


def test_a_text_file_is_answered_while_the_server_is_busy(model: Model) -> None:
    with busy(model, max_requests=2) as (_, client, first, stylizer):
        answer = post(client, b"Dear diary", "notes.txt")
        assert answer.status_code == 415 and "not a picture" in answer.json()["detail"]
        assert not first.done()
        stylizer.may_end.set()
        assert first.result().status_code == 200


def test_a_client_that_stops_reading_is_dropped(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from stylization.serve.protocol import Protocol

    aborted = threading.Event()
    monkeypatch.setattr(Protocol, "max_stall_seconds", 0.2)
    check = Protocol._check_writing

    def watched(protocol: Protocol, left: int) -> None:
        check(protocol, left)
        if protocol.transport.is_closing():
            aborted.set()

    monkeypatch.setattr(Protocol, "_check_writing", watched)
    noise = encoded(Image.effect_noise((2500, 2500), 99).convert("RGB"), "PNG")
    form = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nink-batch\r\n'
    form += b'--x\r\nContent-Disposition: form-data; name="strength"\r\n\r\n0\r\n'
    form += b'--x\r\nContent-Disposition: form-data; name="picture"; filename="p"\r\n\r\n' + noise + b"\r\n--x--\r\n"
    head = f"POST /stylize HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(form)}\r\n".encode()
    with server({"ink-batch": model}) as address, socket.socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.connect(("127.0.0.1", int(address.rsplit(":", 1)[1])))
        opened.sendall(head + FORM + b"\r\n" + form)
        assert aborted.wait(30)


def test_styles_and_mixtures_are_written_as_on_the_command_line(tmp_path: Path) -> None:
    from stylization.cli.painting import mixture

    served = load_models([write_several(tmp_path / "three.safetensors", ["ink", "my cat", "waves"])], "cpu")
    sent = encoded(picture(), "PNG")
    with server(served) as address, httpx.Client(base_url=address, timeout=30) as client:
        for written in ("my cat", "my cat=0.6,ink=.4", "my cat=3.,ink=1", "ink,waves", "waves,my cat=2"):
            answer = post(client, sent, model="my cat", mix=written)
            assert answer.status_code == 200, answer.text
            painted = served["ink"].stylizer(Image.open(io.BytesIO(sent)), style=mixture(written))
            difference = np.abs(np.asarray(Image.open(io.BytesIO(answer.content)), int) - np.asarray(painted, int))
            assert difference.max() <= 1
        assert post(client, sent, model="my cat").content == post(client, sent, model="my_cat").content
        masked = post(client, sent, model="ink", mix="ink=mask.png,waves")
        assert masked.status_code == 422 and "ink=mask.png: not a weight" in masked.json()["detail"]


def test_the_page_rejects_what_is_no_picture_by_itself(client: httpx.Client) -> None:
    page, script = client.get("/").text, client.get("/static/page.js").text
    assert 'data-formats="JPEG, PNG, WEBP' in page
    opening = script[script.index("async function open(file)") :]
    assert opening.index('!file.type.startsWith("image/")') < opening.index("decoded(")


def test_the_command_passes_its_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from stylization import cli, serve

    passed: list[Any] = []
    monkeypatch.setattr(serve, "serve", lambda *arguments: passed.extend(arguments))
    cli.main(["serve", str(Path("ink")), "--max-seconds", "7", "--allowed-host", "a.example", "--allowed-host", "b"])
    assert passed[4].max_seconds == 7 and passed[5] == ["a.example", "b"]
