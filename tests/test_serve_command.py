"""The command: it tells what is wrong in one line, ends when it is asked to, and stands many clients at once."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from serving import encoded, picture, post, write_model

from stylization import cli, model_file
from stylization.cli import serving as command

ROOT = Path(cli.__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "no model file at nowhere"),
        (["README.md"], "README.md is cut, damaged or no .safetensors file"),
        (["README.md", "--port", "99999"], "--port 99999: must be from 0 to 65535"),
        (["README.md", "--max-mb", "0"], "--max-mb must be 1 at least"),
        (["README.md", "--host", "256.0.0.1", "--port", "0"], "cannot listen on 256.0.0.1"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    refused(["serve", *arguments, *([] if "--port" in arguments else ["--port", "0"])], told, capsys)


def test_a_taken_port_and_a_missing_package_are_told_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused(["serve", "nowhere", "--port", port], f"cannot listen on 127.0.0.1, port {port}: Address", capsys)
    monkeypatch.setattr(command, "find_spec", lambda module: None if module == "uvicorn" else module)
    refused(["serve", "nowhere"], "serve needs uvicorn: pip install 'stylization[serve]'", capsys)


def test_without_a_model_the_bundled_one_is_served(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "BUNDLED", Path("not bundled"))
    refused(["serve", "--port", "0"], "no model file at not bundled", capsys)


def refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    errors = capsys.readouterr().err
    assert stopped.value.code == 2 and told in errors and errors.count("\n") == 1


@contextlib.contextmanager
def process(model: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, started and ready, and the address that it has printed."""
    command = [sys.executable, "-m", "stylization.cli", "serve", str(model), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ, cwd=ROOT
    ) as started:
        try:
            assert started.stdout is not None
            yield started, started.stdout.readline().split()[0]
        finally:
            started.kill()


def test_it_prints_its_address_and_ends_quietly_when_interrupted(tmp_path: Path) -> None:
    with process(write_model(tmp_path / "model.safetensors", "ink")) as (started, address):
        assert address.startswith("http://127.0.0.1:")
        assert httpx.get(f"{address}/models").json()[0]["name"] == "ink-instance"
        started.send_signal(signal.SIGINT)
        out, errors = started.communicate(timeout=20)
    assert (started.returncode, out, errors) == (0, "", "")


@pytest.mark.slow
def test_it_ends_quietly_in_the_middle_of_its_work(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.safetensors", "ink")
    with process(model) as (started, address), httpx.Client(base_url=address, timeout=60) as client:
        with ThreadPoolExecutor(1) as other:
            waiting = other.submit(post, client, encoded(picture((6000, 4000)), "PNG"), model="ink-instance")
            time.sleep(2)
            started.send_signal(signal.SIGINT)
            assert started.wait(10) == 0 and isinstance(waiting.exception(), httpx.TransportError)
        assert started.communicate() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [60])
def test_many_clients_at_once_are_answered_or_told_to_wait_in_memory_that_stays(tmp_path: Path, seconds: float) -> None:
    uploads = [
        encoded(picture(size), kind)
        for kind in ("JPEG", "PNG", "WEBP")
        for size in ((320, 200), (1200, 900), (2000, 3000))
    ]
    with process(write_model(tmp_path / "model.safetensors", "ink")) as (started, address):
        begun = time.monotonic()
        resident: dict[float, float] = {}

        def visit(number: int) -> list[int]:
            random, statuses = np.random.default_rng(number), []
            with httpx.Client(base_url=address, timeout=120) as client:
                while time.monotonic() < begun + seconds:
                    fields = {"strength": random.random(), "size_px": int(random.integers(200, 1024))}
                    upload = uploads[random.integers(len(uploads))]
                    statuses.append(post(client, upload, model="ink-instance", **fields).status_code)
                    if statuses[-1] == 429:
                        time.sleep(random.random())
            return statuses

        with ThreadPoolExecutor(32) as clients:
            visits = [clients.submit(visit, number) for number in range(32)]
            while not all(visit.done() for visit in visits):
                status = Path(f"/proc/{started.pid}/status").read_text()
                resident[time.monotonic() - begun] = int(status.split("VmRSS:")[1].split()[0]) / 1000
                time.sleep(0.5)
        statuses = [status for visit in visits for status in visit.result()]
    assert set(statuses) == {200, 429}
    settled = max(size for at, size in resident.items() if at < seconds / 3)
    late = max(size for at, size in resident.items() if at > 2 * seconds / 3)
    print(f"{statuses.count(200)} answered, {statuses.count(429)} told to wait; {settled:.0f} MB, then {late:.0f} MB")
    assert late < settled + 50
