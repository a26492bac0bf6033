"""Archives and what is far away: read in place, by ranges, through outages, and named when they cannot be."""

import io
import random
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ranges import Server
from torch.utils.data import DataLoader

from stylization.content import Endless, Files, Shards, Source, Stream, Zip, archives, folder, open_source
from stylization.content.files import Cache, RemoteFile, cache_folder
from stylization.content.stream import collated
from stylization.errors import Damaged, InputError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLIZATION_CACHE", str(tmp_path / "cache"))


def jpegs(num: int) -> list[bytes]:
    contents = []
    rng = np.random.default_rng(0)
    for _ in range(num):
        content = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (96, 80, 3), dtype=np.uint8)).save(content, "JPEG", quality=90)
        contents.append(content.getvalue())
    return contents


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same 40 pictures as a folder, a stored and a deflated zip, and four shards."""
    root = tmp_path_factory.mktemp("files")
    (root / "train").mkdir()
    contents = jpegs(40)
    for kind, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(root / f"{kind}.zip", "w", method) as archive:
            archive.writestr("train/", "")
            archive.writestr("train/notes.txt", "no picture")
            archive.writestr("__MACOSX/train/._000.jpg", "no picture either")
            for i, content in enumerate(contents):
                archive.writestr(f"train/{i:03d}.jpg", content)
    for i, content in enumerate(contents):
        (root / "train" / f"{i:03d}.jpg").write_bytes(content)
    (root / "shards").mkdir()
    for k in range(4):
        with tarfile.open(root / "shards" / f"part-{k:03d}.tar", "w") as archive:
            for i in range(10 * k, 10 * k + 10):
                for suffix, content in ((".jpg", contents[i]), (".json", b"{}")):
                    entry = tarfile.TarInfo(f"{i:03d}{suffix}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
    return root


@pytest.fixture
def server(files: Path) -> Iterator[Server]:
    with Server(files) as server:
        yield server


def contents(source: Source) -> list[bytes]:
    return [source.read(i) for i in range(len(source))]


def test_every_kind_of_source_holds_the_same_images(files: Path, server: Server) -> None:
    expected = contents(folder(files / "train"))
    assert expected == jpegs(40)
    for location in (files, server.url.rstrip("/")):
        for name in ("stored.zip", "deflated.zip", "shards/part-{000..003}.tar", "train"):
            source = open_source(f"{location}/{name}")
            assert contents(source) == expected, name
    assert contents(open_source(str(files / "shards"))) == expected
    assert contents(open_source(str(files / "shards" / "part-*.tar"))) == expected
    assert Zip(str(files / "stored.zip")).name(3) == "train/003.jpg"
    assert Shards(str(files / "shards")).name(13) == "part-001.tar/013.jpg"


def test_image_is_read_alone_and_in_any_order(files: Path) -> None:
    expected = jpegs(40)
    for name in ("stored.zip", "deflated.zip", "shards"):
        source = open_source(str(files / name))
        for i in random.Random(0).sample(range(40), 10):
            assert source.read(i) == expected[i]


def test_index_is_made_once_and_again_when_the_archive_changes(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.zip"
    copy.write_bytes((files / "stored.zip").read_bytes())
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.tar").write_bytes((files / "shards" / "part-000.tar").read_bytes())
    assert (len(Zip(str(copy))), len(Shards(str(tmp_path / "shards")))) == (40, 10)
    with monkeypatch.context() as patched:
        patched.delattr(archives, "_index")
        assert (len(Zip(str(copy))), len(Shards(str(tmp_path / "shards")))) == (40, 10)
    with zipfile.ZipFile(copy, "a") as archive:
        archive.writestr("train/more.jpg", jpegs(1)[0])
    (tmp_path / "shards" / "a.tar").write_bytes((files / "shards" / "part-001.tar").read_bytes() + b"\0" * 512)
    shards = Shards(str(tmp_path / "shards"))
    assert (len(Zip(str(copy))), shards.name(0)) == (41, "a.tar/010.jpg")
    for path in (cache_folder() / "indexes").iterdir():
        path.write_bytes(path.read_bytes()[:100])  # a cut index is no index
    assert len(Zip(str(copy))) == 41


def test_first_batch_of_a_remote_zip_costs_a_fiftieth_of_it_at_most(tmp_path: Path) -> None:
    some = jpegs(50)
    (tmp_path / "served").mkdir()
    with zipfile.ZipFile(tmp_path / "served" / "many.zip", "w") as archive:
        for i in range(3000):
            archive.writestr(f"train2017/{i:012d}.jpg", some[i % 50])
    size = (tmp_path / "served" / "many.zip").stat().st_size
    with Server(tmp_path / "served") as server:
        source = Zip(f"{server.url}many.zip")
        loader = DataLoader(Stream(source, 64, seed=0), batch_size=4, sampler=Endless(), collate_fn=collated)
        assert next(iter(loader)).pixels.shape == (4, 3, 64, 64)
        assert len(source) == 3000
        assert server.num_bytes < 0.02 * size
        before = server.num_bytes
        assert next(iter(loader)).pixels.shape == (4, 3, 64, 64)  # again: from the cache
        assert server.num_bytes == before


def test_outage_of_some_seconds_is_waited_for(server: Server) -> None:
    source = Zip(f"{server.url}stored.zip")
    stream = Stream(source, 32, seed=0)
    assert not stream[0].skips
    server.stop()
    threading.Timer(2.0, server.start).start()
    started = time.monotonic()
    assert not any(stream[n].skips for n in range(1, 40))
    assert time.monotonic() - started > 1.5  # it was away indeed


def test_source_that_is_gone_is_told_after_its_patience(server: Server) -> None:
    source = Zip(f"{server.url}stored.zip", patience_s=1.5)
    server.stop()
    started = time.monotonic()
    with pytest.raises(InputError, match=r"stored\.zip is gone: no answer for 1\.5 s") as caught:
        Stream(source, 32, seed=0)[0]
    assert not isinstance(caught.value, Damaged)  # the run stops: no substitute would be any better
    assert time.monotonic() - started < 5
    server.start()
    assert Stream(source, 32, seed=0)[0].pixels.shape == (3, 32, 32)


def test_server_without_ranges_is_downloaded_within_bounds_or_refused(files: Path) -> None:
    with Server(files, ranges=False) as server:
        with pytest.raises(InputError, match=r"cannot send parts of a file.*cache_gb"):
            Zip(f"{server.url}stored.zip", cache_gb=1e-5)
        source = Zip(f"{server.url}stored.zip")
        assert contents(source) == jpegs(40)
        assert server.num_bytes < 5 * (files / "stored.zip").stat().st_size


def test_shard_is_fetched_once_a_pass_though_its_images_are_shuffled(
    files: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shards, "BLOCK_BYTES", 16384)
    source = Shards(f"{server.url}shards/part-{{000..003}}.tar")
    before, total = server.num_bytes, sum(path.stat().st_size for path in (files / "shards").glob("*.tar"))
    stream = Stream(source, 32, seed=0)
    for n in range(len(source)):
        assert stream[n].pixels.shape == (3, 32, 32)
    assert server.num_bytes - before <= total
    order = [int(np.searchsorted(source.blocks, i, side="right")) for i in stream.permutation(0)]
    assert sum(a != b for a, b in pairwise(order)) == 3  # one shard after the other


def test_cache_stays_within_its_bound_and_keeps_what_was_used_last(server: Server, tmp_path: Path) -> None:
    file = RemoteFile(f"{server.url}stored.zip", Cache(gigabytes=1e-4))
    for k in range(30):
        assert len(file.read(10_000 * k, 10_000)) == 10_000
    kept = list((cache_folder() / "ranges").glob("??/*"))
    assert 0 < sum(path.stat().st_size for path in kept) <= 1.1e5
    before = server.num_bytes
    file.read(10_000 * 29, 10_000)
    assert server.num_bytes == before


def test_member_with_a_wrong_checksum_is_damaged(files: Path, tmp_path: Path) -> None:
    content = bytearray((files / "stored.zip").read_bytes())
    content[content.index(jpegs(40)[7]) + 500] ^= 1
    (tmp_path / "flipped.zip").write_bytes(content)
    source = Zip(str(tmp_path / "flipped.zip"))
    with pytest.raises(Damaged, match=r"007\.jpg.*checksum"):
        source.read(7)
    assert source.read(8) == jpegs(40)[8]


def bad_sources(root: Path, files: Path) -> Iterator[tuple[str, str]]:
    """Locations that cannot be read, and what the message must say."""
    yield str(root / "absent.zip"), "No such file"
    yield str(root / "absent"), "no content at"
    yield str(root / "absent" / "train-{000..003}.tar"), "No such file"
    yield str(root / "none-*.tar"), "no tar files"
    (root / "empty").mkdir()
    yield str(root / "empty"), "no picture"
    (root / "empty.zip").write_bytes(b"")
    yield str(root / "empty.zip"), "no zip file"
    with zipfile.ZipFile(root / "text.zip", "w") as archive:
        archive.writestr("notes.txt", "no picture")
    yield str(root / "text.zip"), "no picture"
    whole = (files / "stored.zip").read_bytes()
    (root / "cut.zip").write_bytes(whole[: len(whole) // 2])
    yield str(root / "cut.zip"), "truncated"
    shard = (files / "shards" / "part-000.tar").read_bytes()
    (root / "cut.tar").write_bytes(shard[: len(shard) // 2])
    yield str(root / "cut.tar"), "truncated"
    (root / "text.tar").write_text("no tar file" * 100)
    yield str(root / "text.tar"), "no uncompressed tar file"
    yield "http://127.0.0.1:9/absent.zip", "gone"
    yield "nonsense://bucket/train.zip", "nonsense"


def test_bad_sources_are_named_in_one_line(files: Path, tmp_path: Path, server: Server) -> None:
    for location, reason in bad_sources(tmp_path, files):
        with pytest.raises(InputError, match=reason) as caught:
            open_source(location, patience_s=0.1)
        assert "\n" not in str(caught.value)
        assert Path(location.split("{", 1)[0].split("*", 1)[0]).name[:4] in str(caught.value) or "nonsense" in location
    with pytest.raises(InputError, match="not there"):
        open_source(f"{server.url}absent.zip", patience_s=0.1)


def test_folder_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()

    def refuse(path: Path, **options: object) -> Iterator[object]:
        options["onerror"](PermissionError(13, "Permission denied", str(path)))  # type: ignore[operator]
        return iter(())

    monkeypatch.setattr("os.walk", refuse)  # root may read everything
    with pytest.raises(InputError, match="locked: Permission denied"):
        folder(tmp_path / "locked")


def test_opening_what_holds_118000_images_is_a_matter_of_seconds(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "large.zip", "w") as archive:
        for i in range(118_000):
            archive.writestr(zipfile.ZipInfo(f"train2017/{i:012d}.jpg"), b"x")
    times = []
    for _ in range(2):
        started = time.monotonic()
        assert len(Zip(str(tmp_path / "large.zip"))) == 118_000
        times.append(time.monotonic() - started)
    assert times[0] < 30 and times[1] < 5  # generous: 2 s and 0.1 s where nothing else runs


def test_paths_of_a_large_folder_are_no_python_objects() -> None:
    assert isinstance(Files([Path("a.jpg"), Path("b.jpg")]).paths, np.ndarray)
