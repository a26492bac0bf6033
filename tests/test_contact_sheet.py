"""Contact sheets: every picture is where its row and column say, below its caption; the `sheet` command makes one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylization import cli
from stylization.errors import InputError
from stylization.images import Cell, contact_sheet, in_rows


def cell(caption: str, color: str, size: tuple[int, int] = (40, 30)) -> Cell:
    return Cell(caption, Image.new("RGB", size, color))


def test_pictures_lie_in_rows_below_their_captions() -> None:
    sheet = contact_sheet([[cell("one", "red"), cell("", "green")], [cell("", "blue")]], caption_px=20)
    assert sheet.size == (2 * 40 + 6, 20 + 2 * 30 + 6)
    assert sheet.getpixel((20, 35)) == (255, 0, 0)
    assert sheet.getpixel((66, 35)) == (0, 128, 0)
    assert sheet.getpixel((20, 20 + 36 + 15)) == (0, 0, 255)
    assert sheet.getpixel((66, 20 + 36 + 15)) == (255, 255, 255)


def test_a_caption_stays_within_its_picture() -> None:
    sheet = np.asarray(contact_sheet([[cell("a very long caption", "white"), cell("", "white")]]).convert("L"))
    assert sheet[:26, :40].min() < 128
    assert sheet[:26, 44:].min() == 255


def test_the_last_row_may_be_shorter() -> None:
    cells = [cell(str(number), "red") for number in range(5)]
    assert [len(row) for row in in_rows(cells, 2)] == [2, 2, 1]


def test_the_command_paints_each_style(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, output = tmp_path / "photo.png", tmp_path / "sheet.png"
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photo)
    cli.main(["sheet", str(photo), "--styles", "ink,mosaic", "--size-px", "48", "--output", str(output)])
    assert capsys.readouterr().out.strip() == str(output)
    assert Image.open(output).size == (3 * 48 + 2 * 6, 26 + 32)
    cli.main(["sheet", *[str(photo)] * 2, "--styles=ink", "--size-px=48", "--square", "--output", str(output)])
    assert Image.open(output).size == (2 * 48 + 6, 2 * (26 + 48) + 6)


@pytest.mark.parametrize(("option", "value"), [("--styles", "nothing"), ("--size-px", "1"), ("--columns", "0")])
def test_wrong_options_are_named(option: str, value: str, tmp_path: Path) -> None:
    parsed = cli.parsed(["sheet", "photo.png", option, value, "--output", str(tmp_path / "sheet.png")])
    with pytest.raises(InputError, match=f"{option}={value}: "):
        parsed.run(parsed)
