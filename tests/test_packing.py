"""`stylization content check` and `pack`: what they report, and shards that survive an interruption."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylization import cli
from stylization.content import Shards, folder, packing
from stylization.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLIZATION_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "below").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(11):
        pixels = rng.integers(0, 256, (80 + i, 120, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / ("below" if i % 2 else ".") / f"photo.{i:02d}.png")
    return root


def command(*arguments: object) -> int:
    try:
        cli.main(["content", *map(str, arguments)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_check_tells_sizes_and_names_what_is_damaged(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("check", photos, "--workers", 1) == 0
    told = capsys.readouterr().out
    assert "11 images, 11 of them sound" in told and "least 80" in told and "greatest 90" in told
    (photos / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    (photos / "empty.jpg").touch()
    assert command("check", photos, "--workers", 1) == 1
    told = capsys.readouterr().out
    assert "13 images, 11 of them sound" in told and "1 empty" in told
    assert "  empty.jpg: empty" in told and "  cut.jpg: not a picture" in told


def test_packed_shards_hold_the_reduced_images_in_order(photos: Path, tmp_path: Path) -> None:
    (photos / "empty.jpg").touch()
    destination = tmp_path / "shards"
    assert command("pack", photos, destination, "--side-px", 40, "--images-per-shard", 5, "--workers", 1) == 0
    shards = Shards(str(destination))
    assert [len(x) for x in np.split(np.arange(len(shards)), shards.blocks[1:-1])] == [4, 5, 2] or len(shards) == 11
    sizes = [min(Image.open(io.BytesIO(shards.read(i))).size) for i in range(len(shards))]
    assert sizes == [40] * 11
    names = [shards.name(i).split("/")[1] for i in range(len(shards))]
    assert names == sorted(names) and all(name.count(".") == 1 for name in names)
    assert "empty.jpg,empty" in (destination / "skipped.csv").read_text()


def test_interrupted_packing_goes_on_and_gives_the_same_shards(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "aaa.jpg").touch()  # damaged, in the first shard
    settings = {"side_px": 40, "quality": 90, "images_per_shard": 4, "num_workers": 0}
    packing.pack(folder(photos), tmp_path / "whole", **settings)
    encode = packing.Reduction.__getitem__

    def interrupted(self: packing.Reduction, i: int) -> packing.Packed:
        if self.indices[i] == 6:
            raise KeyboardInterrupt
        return encode(self, i)

    with monkeypatch.context() as patched:
        patched.setattr(packing.Reduction, "__getitem__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            packing.pack(folder(photos), tmp_path / "parts", **settings)
    assert {x.name for x in (tmp_path / "parts").glob("*.tar")} == {"content-000000.tar"}
    assert not [x for x in (tmp_path / "parts").iterdir() if x.name.startswith(".")]  # nothing half-written
    packing.pack(folder(photos), tmp_path / "parts", **settings)
    for path in (tmp_path / "whole").iterdir():
        if path.name != "index.npz":  # which holds the times of the files
            assert path.read_bytes() == (tmp_path / "parts" / path.name).read_bytes(), path.name


def test_packing_never_mixes_sources_or_settings(photos: Path, tmp_path: Path) -> None:
    settings = {"quality": 90, "images_per_shard": 4, "num_workers": 0}
    packing.pack(folder(photos), tmp_path / "shards", side_px=40, **settings)
    with pytest.raises(InputError, match="another source or settings"):
        packing.pack(folder(photos), tmp_path / "shards", side_px=50, **settings)
    with pytest.raises(InputError, match="not empty"):
        packing.pack(folder(photos), photos, side_px=40, **settings)


def test_shard_that_changed_after_packing_is_told(photos: Path, tmp_path: Path) -> None:
    packing.pack(folder(photos), tmp_path / "shards", side_px=40, quality=90, images_per_shard=4, num_workers=0)
    with tarfile.open(tmp_path / "shards" / "content-000001.tar", "a") as archive:
        archive.add(photos / "photo.00.png", "more.png")
    with pytest.raises(InputError, match=r"content-000001\.tar has \d+ bytes.*pack again, or remove"):
        Shards(str(tmp_path / "shards"))
    (tmp_path / "shards" / "index.npz").unlink()
    assert len(Shards(str(tmp_path / "shards"))) == 12
