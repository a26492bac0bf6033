"""What reaches the terminal: one line, whatever names are in it, and an exit status."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylization import cli
from stylization.configuration import CONF
from stylization.errors import Damaged, InputError, clear_errors, printable

TEXT = st.text(alphabet=st.characters(), max_size=40)  # surrogates too


@given(TEXT)
def test_printable_text_controls_no_terminal(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert not any(
        ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029\u202a\u202b\u202d\u202e\u2066\ufeff" for c in shown
    )
    assert printable(shown) == shown


def test_plain_text_stays_as_it_is() -> None:
    for text in ("photo.jpg", "Größe/写真 é.jpg", "\U0001f469\u200d\U0001f3a8.png", "C:\\photos"):
        assert printable(text) == text
    assert printable("a\nb\x1b[31m\u202e\udce9") == "a\\nb\\x1b[31m\\u202e\\udce9"


@pytest.mark.parametrize(
    "name", ["a\nb.jpg", "\x1b[2J.jpg", "\u202egpj.exe.jpg", os.fsdecode(b"caf\xe9.jpg"), "a\rerror:b.jpg"]
)
def test_names_in_errors_are_one_printable_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ["apply", str(tmp_path / name), "--style", "mosaic", "--output", str(tmp_path / "x.jpg")],
        ["report", str(tmp_path / name)],
        ["sweep", str(tmp_path / name)],
        ["models", str(tmp_path / name)],
        ["report", "x", f"--{name}"],
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main(command)
        told = capsys.readouterr().err.splitlines()[-1]
        assert stopped.value.code == 2 and told.isprintable() and printable(name)[:4] in told, told


def test_the_message_of_a_worker_is_told_without_its_traceback() -> None:
    wrapped = (
        "Caught InputError in DataLoader worker process 0.\nTraceback:\n  x\nstylization.errors.InputError: no a.jpg\n"
    )
    assert str(InputError(wrapped)) == "no a.jpg"
    assert str(Damaged(wrapped.replace("errors.InputError: no a", "errors.Damaged: no b"), "empty")) == "no b.jpg"


def interrupted(raised: type) -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        if raised is SystemExit:
            sys.exit(1)  # as Lightning does
        raise


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_interruption_ends_with_130(raised: type, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped, clear_errors():
        interrupted(raised)
    assert stopped.value.code == 130 and capsys.readouterr().err == "interrupted\n"


def test_other_exits_keep_their_status() -> None:
    for status in (0, 1, 3):
        with pytest.raises(SystemExit) as stopped, clear_errors():
            raise SystemExit(status)
        assert stopped.value.code == status


SMALL = (
    "trainer.max_steps=100000",
    "generator.width=4",
    "generator.num_blocks=1",
    "style.size_px=64",
    "data.size_px=32",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "sign"),
    [
        ([str(CONF.parent / "train.py"), *SMALL, "data.held_out_size_px=32", "trainer.val_check_interval=5"], "step"),
        (["-m", "stylization.cli", "optimize", "{photo}", "--output", "x.png", "--num-steps", "100000"], "step/s"),
    ],
)
def test_ctrl_c_ends_a_command_with_130_and_no_traceback(command: list[str], sign: str, tmp_path: Path) -> None:
    from PIL import Image

    photo = tmp_path / "photo.png"
    Image.effect_noise((64, 64), 60).convert("RGB").save(photo)
    words = [word.format(photo=photo) for word in command]
    words += [f"hydra.run.dir={tmp_path}/run"] if "train.py" in words[0] else []
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, *words], stderr=errors, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(CONF.parent)}
        )
        deadline = time.monotonic() + 120
        while sign not in (tmp_path / "errors").read_text():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    told = (tmp_path / "errors").read_text()
    assert process.returncode == 130 and "Traceback" not in told and told.endswith("interrupted\n"), told[-1000:]
